/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/fake_cvq_device.h"

#include <poll.h>
#include <string.h>

#include "base/fd.h"
#include "base/source.h"

struct fake_cvq_device *
fake_cvq_device_new(const struct vdt_ring_format *format, uint32_t out_size, uint32_t in_size)
{
    struct fake_cvq_device *fake = g_new0(struct fake_cvq_device, 1);

    fake->config = (struct vdt_device_cvq_config){
        .format = *format,
        .mem = {g_malloc0(vdt_ring_desc_size(format)), g_malloc0(vdt_ring_driver_size(format)),
                g_malloc0(vdt_ring_device_size(format))},
        .out = g_malloc0(out_size),
        .out_iova = FAKE_OUT_IOVA,
        .out_size = out_size,
        .in = g_malloc0(in_size),
        .in_iova = FAKE_IN_IOVA,
        .in_size = in_size,
        .kick_fd = vdt_eventfd(NULL),
        .call_fd = vdt_eventfd(NULL),
        .device_name = "fake:0",
    };
    vdt_guest_ring_init(&fake->ring, format, &fake->config.mem, vdt_ring_pos_initial(format->kind));
    fake->chain.capacity = 3u * format->num;
    fake->chain.seg = g_new(struct vdt_seg, fake->chain.capacity);
    vdt_net_state_init(&fake->state);
    fake->limits = (struct vdt_control_limits){32, 512, 255, ~0u};
    fake->features = ~0ull;
    fake->stop_fd = -1;
    return fake;
}

void
fake_cvq_device_free(struct fake_cvq_device *fake)
{
    if (fake->thread) {
        vdt_event_signal(fake->stop_fd);
        g_thread_join(fake->thread);
        vdt_close(fake->stop_fd);
    }
    vdt_source_clear(&fake->source);
    vdt_close(fake->config.kick_fd);
    vdt_close(fake->config.call_fd);
    g_free(fake->config.mem.desc);
    g_free(fake->config.mem.driver);
    g_free(fake->config.mem.device);
    g_free(fake->config.out);
    g_free(fake->config.in);
    g_free(fake->chain.seg);
    g_free(fake);
}

static bool
read_nothing(void *ctx, uint64_t addr, void *dst, uint32_t len)
{
    return false;
}

/* What a good device does with the command. */
static void
obey(struct fake_cvq_device *fake, const struct vdt_command *command, struct fake_answer *answer)
{
    const struct vdt_command_rule *rule = vdt_command_find(command->class, command->command);

    answer->ack = VDT_ACK_ERR;
    if (vdt_command_allowed(command, &fake->state, &fake->limits, fake->features)) {
        answer->ack = VDT_ACK_OK;
        answer->reply_len = MIN(rule->reply_min, answer->room - 1);
        for (uint32_t i = 0; i < answer->reply_len; i++)
            answer->reply[i] = (uint8_t) (0xa0 + i);
    }
    answer->written = answer->used_len = 1 + answer->reply_len;
}

static uint32_t
answer_chain(struct fake_cvq_device *fake, bool *ret_mute)
{
    const struct vdt_seg *out = &fake->chain.seg[0], *in = &fake->chain.seg[1];
    struct fake_answer answer = {.index = fake->seen++};
    const struct vdt_command_rule *rule;
    uint8_t *host;

    *ret_mute = true;
    if (fake->chain.count != 2 || out->flags & VDT_SEG_WRITE || !(in->flags & VDT_SEG_WRITE) ||
        out->addr < FAKE_OUT_IOVA || out->len < 2 || in->len < 1 || in->addr < FAKE_IN_IOVA ||
        out->addr - FAKE_OUT_IOVA + out->len > fake->config.out_size ||
        in->addr - FAKE_IN_IOVA + in->len > fake->config.in_size) {
        fake->strange++;
        return 0;
    }
    host = fake->config.out + (out->addr - FAKE_OUT_IOVA);
    answer.command = (struct vdt_command){host[0], host[1], host + 2, out->len - 2};
    answer.room = in->len;
    answer.out_at = (uint32_t) (out->addr - FAKE_OUT_IOVA);
    answer.in_at = (uint32_t) (in->addr - FAKE_IN_IOVA);
    answer.writable = fake->config.in + answer.in_at;
    fake->most_len = MAX(fake->most_len, out->len);
    obey(fake, &answer.command, &answer);
    if (fake->answer)
        fake->answer(fake->ctx, &answer);
    *ret_mute = answer.mute;
    if (answer.mute)
        return 0;
    rule = vdt_command_find(answer.command.class, answer.command.command);
    if (answer.ack == VDT_ACK_OK && answer.written > 0 && rule && rule->apply)
        rule->apply(&answer.command, &fake->state);
    host = fake->config.in + (in->addr - FAKE_IN_IOVA);
    if (answer.written > 0)
        host[0] = answer.ack;
    if (answer.written > 1)
        memcpy(host + 1, answer.reply, MIN(answer.written, in->len) - 1);
    return answer.used_len;
}

void
fake_cvq_device_step(struct fake_cvq_device *fake)
{
    const uint16_t from = fake->ring.published;
    const struct vdt_reader reader = {read_nothing, NULL};
    const unsigned num = fake->config.format.num;
    g_autofree uint32_t *done = g_new(uint32_t, 3 * num);
    unsigned count = 0, found = 0;
    bool mute;

    while (vdt_guest_ring_take(&fake->ring, &reader, &fake->chain) == VDT_TAKE_CHAIN) {
        uint32_t len = answer_chain(fake, &mute);

        found++;
        if (mute)
            continue;
        done[3 * count] = fake->chain.id;
        done[3 * count + 1] = fake->chain.slots;
        done[3 * count + 2] = len;
        count++;
    }
    fake->most = MAX(fake->most, found);
    for (unsigned i = 0; i < count; i++) {
        const uint32_t *p = &done[3 * (fake->reverse ? count - 1 - i : i)];
        vdt_guest_ring_give(&fake->ring, (uint16_t) p[0], (uint16_t) p[1], p[2]);
    }
    vdt_guest_ring_publish(&fake->ring);
    if (vdt_guest_ring_needs_call(&fake->ring, from) && !fake->no_calls)
        vdt_event_signal(fake->config.call_fd);
}

static void
kicked(void *ctx)
{
    struct fake_cvq_device *fake = ctx;

    fake->kicks++;
    do {
        fake_cvq_device_step(fake);
    } while (vdt_guest_ring_kicks_on(&fake->ring));
}

void
fake_cvq_device_attach(struct fake_cvq_device *fake, GMainContext *context)
{
    fake->source = vdt_event_source_new(context, fake->config.kick_fd, kicked, fake);
}

static gpointer
run_thread(gpointer data)
{
    struct fake_cvq_device *fake = data;
    struct pollfd fds[2] = {{fake->config.kick_fd, POLLIN, 0}, {fake->stop_fd, POLLIN, 0}};

    while (poll(fds, 2, -1) >= 0 && !fds[1].revents) {
        if (vdt_event_drain(fake->config.kick_fd))
            kicked(fake);
    }
    return NULL;
}

void
fake_cvq_device_start(struct fake_cvq_device *fake)
{
    fake->stop_fd = vdt_eventfd(NULL);
    fake->thread = g_thread_new("fake-cvq", run_thread, fake);
}

bool
fake_cvq_run(struct vdt_device_cvq *cvq, const struct vdt_command *commands, unsigned count,
             unsigned deadline_ms, struct vdt_command_tally *tally, vdt_command_each each,
             void *ctx, GError **error)
{
    struct vdt_command_tally own;
    GError *reason = NULL;
    bool ok = vdt_device_cvq_begin(cvq, deadline_ms, tally ? tally : &own, each, ctx, error);

    if (!ok)
        return false;
    for (unsigned i = 0; ok && i < count; i++)
        ok = vdt_device_cvq_put(cvq, &commands[i], &reason);
    if (!vdt_device_cvq_broken(cvq) && !vdt_device_cvq_end(cvq, reason ? NULL : &reason))
        g_assert(reason);
    if (reason)
        g_propagate_error(error, reason);
    return !reason;
}
