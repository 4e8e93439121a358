/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "control/cvq_relay.h"

#include <string.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/source.h"
#include "virtio/net_ctrl.h"

#define HEADER 2u /* class, command */
#define POLL_US 5000

struct vdt_cvq_relay {
    struct vdt_cvq_relay_config config;
    struct vdt_cvq_relay_hooks hooks;
    struct vdt_control_model *model; /* borrowed */
    struct vdt_device_cvq *device;   /* borrowed, may be NULL */
    struct vdt_guest_ring ring;
    GSource *kick, *clock;
    bool held;
    bool expect_announce;
    bool broken;        /* the guest's ring */
    bool device_failed; /* and was reported */

    /* The command that is taken and not answered. */
    bool busy;
    bool posted; /* @device has it */
    bool orphan; /* the device that had it was taken away */
    struct vdt_chain chain;
    uint8_t bytes[VDT_COMMAND_MAX];      /* our copy of it */
    struct vdt_command command;          /* @data in @bytes */
    const struct vdt_command_rule *rule; /* NULL: untracked */
    uint32_t reply_max;
    bool forwarded;
    int64_t taken_at;
};

static void take_commands(void *ctx);

static bool
read_guest(void *ctx, uint64_t addr, void *dst, uint32_t len)
{
    struct vdt_cvq_relay *relay = ctx;

    return vdt_guest_map_read(relay->config.map, addr, dst, len);
}

static void
mark(struct vdt_cvq_relay *relay, uint64_t gpa, uint64_t len)
{
    if (relay->hooks.mark_dirty)
        relay->hooks.mark_dirty(relay->hooks.ctx, gpa, len);
}

/* What the ring code wrote since the published position was @from. */
static void
mark_ring(struct vdt_cvq_relay *relay, uint16_t from)
{
    struct vdt_ring_span spans[VDT_RING_SPANS_MAX];
    const unsigned count = vdt_guest_ring_written(&relay->ring, from, spans);

    for (unsigned i = 0; i < count; i++) {
        uint64_t area = spans[i].in_desc ? relay->config.gpa.desc : relay->config.gpa.device;
        mark(relay, area + spans[i].offset, spans[i].len);
    }
}

static void
break_ring(struct vdt_cvq_relay *relay, const char *what)
{
    g_autofree char *reason =
        g_strdup_printf("the guest broke its control queue (%s); it is out of service", what);

    relay->broken = true;
    relay->busy = false;
    vdt_source_clear(&relay->kick);
    vdt_source_clear(&relay->clock);
    if (relay->hooks.broken)
        relay->hooks.broken(relay->hooks.ctx, reason);
}

static void
fail_device(struct vdt_cvq_relay *relay, const char *reason)
{
    if (relay->device_failed)
        return;
    relay->device_failed = true;
    vdt_control_model_set_unmigratable(relay->model, reason);
    if (relay->hooks.broken)
        relay->hooks.broken(relay->hooks.ctx, reason);
}

static bool
segments_mapped(const struct vdt_cvq_relay *relay)
{
    for (uint32_t i = 0; i < relay->chain.count; i++) {
        const struct vdt_seg *seg = &relay->chain.seg[i];
        if (!vdt_guest_map_covers(relay->config.map, seg->addr, seg->len))
            return false;
    }
    return true;
}

/* The readable part, however it is cut into segments, as far as our copy reaches. */
static bool
copy_in(struct vdt_cvq_relay *relay, uint32_t *ret_len)
{
    uint32_t len = 0;

    for (uint32_t i = 0; i < relay->chain.count && len < sizeof(relay->bytes); i++) {
        const struct vdt_seg *seg = &relay->chain.seg[i];
        uint32_t part = MIN(seg->len, (uint32_t) sizeof(relay->bytes) - len);

        if (seg->flags & VDT_SEG_WRITE)
            break;
        if (part > 0 && !vdt_guest_map_read(relay->config.map, seg->addr, relay->bytes + len, part))
            return false;
        len += part;
    }
    *ret_len = len;
    return true;
}

/* @len bytes of @data at @offset of the writable part, however that is cut; it has room for them.
 */
static bool
copy_out(struct vdt_cvq_relay *relay, uint32_t offset, const uint8_t *data, uint32_t len)
{
    for (uint32_t i = 0; i < relay->chain.count && len > 0; i++) {
        const struct vdt_seg *seg = &relay->chain.seg[i];
        uint32_t part;

        if (!(seg->flags & VDT_SEG_WRITE))
            continue;
        if (offset >= seg->len) {
            offset -= seg->len;
            continue;
        }
        part = MIN(seg->len - offset, len);
        if (!vdt_guest_map_write(relay->config.map, seg->addr + offset, data, part))
            return false;
        mark(relay, seg->addr + offset, part);
        data += part;
        len -= part;
        offset = 0;
    }
    return true;
}

/* The ack byte stands first, the result behind it (virtio 1.3, 5.1.6.5). */
static void
give_back(struct vdt_cvq_relay *relay, uint8_t ack, const uint8_t *reply, uint32_t reply_len)
{
    const uint16_t from = relay->ring.published;

    if (!copy_out(relay, 1, reply, reply_len) || !copy_out(relay, 0, &ack, 1)) {
        break_ring(relay, vdt_ring_fault_name(VDT_FAULT_ADDRESS));
        return;
    }
    vdt_guest_ring_give(&relay->ring, relay->chain.id, relay->chain.slots, 1 + reply_len);
    vdt_guest_ring_publish(&relay->ring);
    mark_ring(relay, from);
    if (vdt_guest_ring_needs_call(&relay->ring, from))
        vdt_event_signal(relay->config.call_fd);
    relay->busy = false;
    if (relay->ring.fault != VDT_FAULT_NONE)
        break_ring(relay, vdt_ring_fault_name(relay->ring.fault));
}

static uint16_t
after(const struct vdt_ring_format *format, uint16_t pos, uint16_t slots)
{
    return format->kind == VDT_RING_SPLIT ? (uint16_t) (pos + 1)
                                          : vdt_packed_advance(pos, slots, format->num);
}

/* @reply_len is 0 unless @ack is OK. */
static void
finish(struct vdt_cvq_relay *relay, uint8_t ack, const uint8_t *reply, uint32_t reply_len)
{
    const uint16_t pos = relay->ring.pos.used;
    const struct vdt_cvq_event event = {
        .command = relay->command,
        .ack = ack,
        .forwarded = relay->forwarded,
        .us = g_get_monotonic_time() - relay->taken_at,
        .pos = pos,
        .next = after(&relay->config.format, pos, relay->chain.slots),
    };

    relay->posted = false;
    if (ack == VDT_ACK_OK) {
        if (relay->rule && relay->rule->apply)
            relay->rule->apply(&relay->command, &relay->model->state);
        relay->model->captured++;
    } else {
        relay->model->refused++;
    }
    if (relay->hooks.done)
        relay->hooks.done(relay->hooks.ctx, &event);
    give_back(relay, ack, reply, reply_len);
}

static void
hear_answer(void *ctx, const struct vdt_command_result *result, const GError *error)
{
    struct vdt_cvq_relay *relay = ctx;

    if (!result) {
        fail_device(relay, error->message);
        finish(relay, VDT_ACK_ERR, NULL, 0);
    } else if (relay->rule && result->reply_len < relay->rule->reply_min) {
        finish(relay, VDT_ACK_ERR, NULL, 0);
    } else {
        finish(relay, result->ack, result->reply, result->reply_len);
    }
    take_commands(relay);
}

static void
forward(struct vdt_cvq_relay *relay)
{
    g_autoptr(GError) error = NULL;

    relay->posted = vdt_device_cvq_post(relay->device, &relay->command, relay->reply_max,
                                        relay->config.deadline_ms, relay->config.context,
                                        hear_answer, relay, &error);
    relay->forwarded |= relay->posted;
    if (relay->posted)
        return;
    if (vdt_device_cvq_broken(relay->device))
        fail_device(relay, error->message);
    finish(relay, VDT_ACK_ERR, NULL, 0);
}

/* A command that the table does not know, let through by the user's wish. */
static void
forward_untracked(struct vdt_cvq_relay *relay)
{
    g_autofree char *reason =
        g_strdup_printf("the guest sent control class %u command %u, which cannot be replayed",
                        relay->command.class, relay->command.command);

    vdt_control_model_set_unmigratable(relay->model, reason);
    relay->reply_max = MIN(relay->chain.writable - 1, VDT_COMMAND_REPLY_MAX);
    forward(relay);
}

/* Our own copy is complete: what is to become of it? */
static void
judge(struct vdt_cvq_relay *relay)
{
    const struct vdt_command *command = &relay->command;
    const uint32_t room = relay->chain.writable - 1;
    const struct vdt_control_model *model = relay->model;

    relay->rule = vdt_command_find(command->class, command->command);
    if (!relay->rule && relay->config.allow_untracked) {
        forward_untracked(relay);
    } else if (!vdt_command_allowed(command, &model->state, &model->limits, model->features) ||
               room < relay->rule->reply_min) {
        finish(relay, VDT_ACK_ERR, NULL, 0);
    } else if (relay->expect_announce && command->class == VIRTIO_NET_CTRL_ANNOUNCE) {
        relay->expect_announce = false;
        finish(relay, VDT_ACK_OK, NULL, 0);
    } else {
        relay->reply_max = MIN(room, relay->rule->reply_max);
        forward(relay);
    }
}

static void
handle(struct vdt_cvq_relay *relay)
{
    uint32_t len;

    relay->busy = true;
    relay->posted = relay->forwarded = false;
    relay->rule = NULL;
    relay->command = (struct vdt_command){.data = relay->bytes + HEADER};
    relay->taken_at = g_get_monotonic_time();
    if (relay->chain.writable == 0) {
        break_ring(relay, "a command without room for its ack");
        return;
    }
    if (!segments_mapped(relay) || !copy_in(relay, &len)) {
        break_ring(relay, vdt_ring_fault_name(VDT_FAULT_ADDRESS));
        return;
    }
    if (len < HEADER) {
        finish(relay, VDT_ACK_ERR, NULL, 0);
        return;
    }
    relay->command.class = relay->bytes[0];
    relay->command.command = relay->bytes[1];
    relay->command.len = len - HEADER;
    if (relay->chain.readable > vdt_command_cap(relay->command.class))
        finish(relay, VDT_ACK_ERR, NULL, 0);
    else
        judge(relay);
}

static void
look_again_at(struct vdt_cvq_relay *relay, int64_t time)
{
    if (relay->clock)
        g_source_set_ready_time(relay->clock, time);
}

/* A ring's worth of commands at most, then the loop's other sources have their turn. */
static void
take_commands(void *ctx)
{
    struct vdt_cvq_relay *relay = ctx;
    const struct vdt_reader reader = {read_guest, relay};
    uint32_t budget = relay->config.format.num;

    while (relay->device && !relay->held && !relay->busy && !relay->broken) {
        if (budget-- == 0) {
            look_again_at(relay, 0);
            return;
        }
        switch (vdt_guest_ring_take(&relay->ring, &reader, &relay->chain)) {
        case VDT_TAKE_CHAIN:
            handle(relay);
            break;
        case VDT_TAKE_EMPTY: {
            bool more = vdt_guest_ring_kicks_on(&relay->ring);

            mark_ring(relay, relay->ring.published);
            if (more)
                break;
            if (relay->config.kick_fd < 0)
                look_again_at(relay, g_get_monotonic_time() + POLL_US);
            return;
        }
        case VDT_TAKE_BROKEN:
            break_ring(relay, vdt_ring_fault_name(relay->ring.fault));
            return;
        }
    }
}

struct vdt_cvq_relay *
vdt_cvq_relay_new(const struct vdt_cvq_relay_config *config,
                  const struct vdt_cvq_relay_hooks *hooks, struct vdt_control_model *model)
{
    struct vdt_cvq_relay *relay = g_new0(struct vdt_cvq_relay, 1);

    relay->config = *config;
    relay->config.map = vdt_guest_map_ref(config->map);
    relay->hooks = *hooks;
    relay->model = model;
    relay->chain.capacity = 3u * config->format.num;
    relay->chain.seg = g_new(struct vdt_seg, relay->chain.capacity);
    /* What was taken and not answered is taken again. */
    relay->config.pos.avail = config->pos.used;
    vdt_guest_ring_init(&relay->ring, &config->format, &config->mem, relay->config.pos);
    relay->clock = vdt_clock_source_new(config->context, take_commands, relay);
    if (config->kick_fd >= 0)
        relay->kick = vdt_event_source_new(config->context, config->kick_fd, take_commands, relay);
    return relay;
}

void
vdt_cvq_relay_free(struct vdt_cvq_relay *relay)
{
    if (!relay)
        return;
    if (relay->posted)
        vdt_device_cvq_forget(relay->device);
    vdt_source_clear(&relay->kick);
    vdt_source_clear(&relay->clock);
    vdt_guest_map_unref(relay->config.map);
    g_free(relay->chain.seg);
    g_free(relay);
}

void
vdt_cvq_relay_set_device(struct vdt_cvq_relay *relay, struct vdt_device_cvq *device)
{
    if (relay->device == device)
        return;
    if (relay->posted) {
        vdt_device_cvq_forget(relay->device);
        relay->posted = false;
        relay->orphan = true;
    }
    relay->device = device;
    relay->device_failed = false;
    if (!device)
        return;
    if (relay->orphan) {
        relay->orphan = false;
        forward(relay);
    }
    /* The guest may have kicked while nobody listened. */
    look_again_at(relay, 0);
}

void
vdt_cvq_relay_set_call(struct vdt_cvq_relay *relay, int call_fd)
{
    relay->config.call_fd = call_fd;
}

void
vdt_cvq_relay_hold(struct vdt_cvq_relay *relay)
{
    relay->held = true;
}

void
vdt_cvq_relay_release(struct vdt_cvq_relay *relay)
{
    relay->held = false;
    look_again_at(relay, 0);
}

static void
set_flag(void *ctx)
{
    *(bool *) ctx = true;
}

bool
vdt_cvq_relay_drain(struct vdt_cvq_relay *relay, unsigned deadline_ms, GError **error)
{
    bool late = false;
    GSource *clock;

    vdt_cvq_relay_hold(relay);
    if (!relay->busy)
        return true;
    clock = vdt_clock_source_new(relay->config.context, set_flag, &late);
    g_source_set_ready_time(clock, g_get_monotonic_time() + 1000ll * deadline_ms);
    while (relay->busy && !late)
        g_main_context_iteration(relay->config.context, TRUE);
    vdt_source_clear(&clock);
    if (!relay->busy)
        return true;
    g_autofree char *text = vdt_command_describe(&relay->command);
    g_set_error(error, VDT_ERROR, VDT_ERROR_TIMEOUT,
                "%s has not answered the guest's %s within %u ms; the control queue is not at rest",
                relay->device ? vdt_device_cvq_name(relay->device) : "no device", text,
                deadline_ms);
    return false;
}

struct vdt_ring_pos
vdt_cvq_relay_pos(const struct vdt_cvq_relay *relay)
{
    return (struct vdt_ring_pos){.avail = relay->ring.pos.used, .used = relay->ring.pos.used};
}

void
vdt_cvq_relay_expect_announce(struct vdt_cvq_relay *relay, bool expected)
{
    relay->expect_announce = expected;
}
