/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "control/device_cvq_private.h"

#include <poll.h>
#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/source.h"
#include "base/wire.h"

struct vdt_device_cvq *
vdt_device_cvq_new(const struct vdt_device_cvq_config *config)
{
    struct vdt_device_cvq *cvq = g_new0(struct vdt_device_cvq, 1);
    const uint32_t num = config->format.num;

    g_assert(num >= 2 && config->out_size >= VDT_COMMAND_MAX && config->in_size >= 1);
    cvq->config = *config;
    cvq->name = g_strdup(config->device_name);
    cvq->config.device_name = cvq->name;
    cvq->capacity = num / 2;
    while (cvq->mask + 1 < cvq->capacity)
        cvq->mask = 2 * cvq->mask + 1;
    cvq->flights = g_new0(struct flight, cvq->mask + 1);
    cvq->flight_of = g_new0(uint32_t, num);
    cvq->answers = g_new0(uint8_t, cvq->capacity);
    cvq->sent = g_malloc0_n(cvq->capacity, 2);
    cvq->pairs = config->format.kind == VDT_RING_SPLIT && !config->format.in_order;
    cvq->out.size = config->out_size;
    cvq->in.size = config->in_size;
    vdt_device_ring_init(&cvq->ring, &config->format, &config->mem,
                         vdt_ring_pos_initial(config->format.kind));
    return cvq;
}

/* Nobody waits for an answer of post() any more. */
static void
end_wait(struct vdt_device_cvq *cvq)
{
    vdt_source_clear(&cvq->call);
    vdt_source_clear(&cvq->clock);
    cvq->done = NULL;
}

void
vdt_device_cvq_free(struct vdt_device_cvq *cvq)
{
    if (!cvq)
        return;
    end_wait(cvq);
    vdt_device_ring_clear(&cvq->ring);
    g_free(cvq->flights);
    g_free(cvq->flight_of);
    g_free(cvq->answers);
    g_free(cvq->sent);
    g_free(cvq->broken);
    g_free(cvq->name);
    g_free(cvq);
}

bool
vdt_device_cvq_idle(const struct vdt_device_cvq *cvq)
{
    return cvq->count == 0 && cvq->batch.answered == cvq->batch.posted;
}

const char *
vdt_device_cvq_name(const struct vdt_device_cvq *cvq)
{
    return cvq->name;
}

const char *
vdt_device_cvq_broken(const struct vdt_device_cvq *cvq)
{
    return cvq->broken;
}

static struct flight *
nth_flight(struct vdt_device_cvq *cvq, uint32_t n)
{
    return &cvq->flights[(cvq->first + n) & cvq->mask];
}

static void G_GNUC_PRINTF(2, 3) break_queue(struct vdt_device_cvq *cvq, const char *format, ...)
{
    va_list args;

    if (cvq->broken)
        return;
    va_start(args, format);
    cvq->broken = g_strdup_vprintf(format, args);
    va_end(args);
}

void
vdt_device_cvq_miss_deadline(struct vdt_device_cvq *cvq, unsigned deadline_ms)
{
    const struct flight *oldest = nth_flight(cvq, 0);
    struct vdt_command command = {.class = oldest->class, .command = oldest->command};

    if (cvq->count == 0) {
        command.class = cvq->sent[2 * cvq->batch.heard];
        command.command = cvq->sent[2 * cvq->batch.heard + 1];
    }
    g_autofree char *text = vdt_command_describe(&command);

    break_queue(cvq, "%s did not answer %s within %u ms; its control queue is out of service",
                cvq->name, text, deadline_ms);
}

bool
vdt_device_cvq_set_broken(const struct vdt_device_cvq *cvq, bool timeout, GError **error)
{
    g_set_error_literal(error, VDT_ERROR, timeout ? VDT_ERROR_TIMEOUT : VDT_ERROR_FAILED,
                        cvq->broken);
    return false;
}

/* Both stretches and both descriptors, or nothing: nothing to take back then. */
static bool
place(struct vdt_device_cvq *cvq, const struct vdt_command *command, uint32_t reply_max,
      int64_t now)
{
    const uint32_t out_len = VDT_CVQ_HEADER + command->len, in_len = 1 + reply_max;
    uint32_t out_at, in_at, slot;
    uint16_t id;

    if (cvq->count == cvq->capacity || !vdt_stripe_find(&cvq->out, out_len, &out_at) ||
        !vdt_stripe_find(&cvq->in, in_len, &in_at))
        return false;
    if (!vdt_device_ring_put_pair(&cvq->ring, cvq->config.out_iova + out_at, out_len,
                                  cvq->config.in_iova + in_at, in_len, &id))
        return false;

    /* Nothing of it is the device's before vdt_device_cvq_publish(). */
    cvq->config.out[out_at] = command->class;
    cvq->config.out[out_at + 1] = command->command;
    if (command->len > 0)
        memcpy(cvq->config.out + out_at + VDT_CVQ_HEADER, command->data, command->len);
    memset(cvq->config.in + in_at, 0, in_len);
    cvq->config.in[in_at] = VDT_ACK_ERR;

    slot = (cvq->first + cvq->count++) & cvq->mask;
    cvq->flight_of[id] = slot;
    cvq->flights[slot] = (struct flight){
        .class = command->class,
        .command = command->command,
        .reply_max = reply_max,
        .in_at = in_at,
        .out_end = vdt_stripe_take(&cvq->out, out_at, out_len),
        .in_end = vdt_stripe_take(&cvq->in, in_at, in_len),
        .posted_at = now,
    };
    return true;
}

void
vdt_device_cvq_publish(struct vdt_device_cvq *cvq)
{
    if (vdt_device_ring_publish(&cvq->ring))
        vdt_event_signal(cvq->config.kick_fd);
}

void
vdt_device_cvq_break_by_ring(struct vdt_device_cvq *cvq)
{
    break_queue(cvq, "%s broke its control queue (%s); it is out of service", cvq->name,
                vdt_ring_fault_name(cvq->ring.fault));
}

/* Note every completion of post(), in whatever order the device makes them. True if there was one.
 */
static bool
reap(struct vdt_device_cvq *cvq)
{
    struct vdt_used used;
    bool any = false;

    for (;;) {
        switch (vdt_device_ring_reap(&cvq->ring, &used)) {
        case VDT_REAP_EMPTY:
            return any;
        case VDT_REAP_BROKEN:
            vdt_device_cvq_break_by_ring(cvq);
            return any;
        case VDT_REAP_USED:
            break;
        }
        struct flight *flight = &cvq->flights[cvq->flight_of[used.id]];
        flight->used = true;
        flight->used_len = used.len;
        any = true;
    }
}

/*
 * The oldest command's answer, if it is there; its stretches are free from then on. Device-writable
 * bytes are loaded once, into @ret_result.
 */
static bool
pop(struct vdt_device_cvq *cvq, int64_t now, struct flight *ret_flight,
    struct vdt_command_result *ret_result)
{
    const struct flight *oldest = nth_flight(cvq, 0);
    uint32_t len = 0;
    uint8_t ack = VDT_ACK_ERR;

    if (cvq->count == 0 || !oldest->used)
        return false;
    if (oldest->used_len > 0)
        ack = __atomic_load_n(cvq->config.in + oldest->in_at, __ATOMIC_RELAXED);
    if (ack != VDT_ACK_OK)
        ack = VDT_ACK_ERR;
    else
        len = MIN(oldest->used_len - 1, oldest->reply_max);
    if (len > 0)
        memcpy(cvq->reply, cvq->config.in + oldest->in_at + 1, len);
    *ret_result = (struct vdt_command_result){
        .ack = ack,
        .reply = cvq->reply,
        .reply_len = len,
        .us = now - oldest->posted_at,
    };
    *ret_flight = *oldest;

    cvq->first = (cvq->first + 1) & cvq->mask;
    cvq->count--;
    vdt_stripe_free(&cvq->out, ret_flight->out_end, cvq->count == 0);
    vdt_stripe_free(&cvq->in, ret_flight->in_end, cvq->count == 0);
    return true;
}

/* @done may free the queue. */
static void
finish(struct vdt_device_cvq *cvq, const struct vdt_command_result *result, bool timeout)
{
    vdt_command_done done = cvq->done;
    g_autoptr(GError) error = NULL;

    if (!result)
        vdt_device_cvq_set_broken(cvq, timeout, &error);
    end_wait(cvq);
    done(cvq->done_ctx, result, error);
}

/* Called, woken or due: is the answer of post() there? */
static void
look(void *ctx)
{
    struct vdt_device_cvq *cvq = ctx;
    const int64_t now = g_get_monotonic_time();
    struct vdt_command_result result;
    struct flight flight;
    bool timeout = false;

    reap(cvq);
    while (pop(cvq, now, &flight, &result)) {
        if (!flight.forgotten) {
            finish(cvq, &result, false);
            return;
        }
    }
    if (!cvq->broken && now >= cvq->deadline) {
        timeout = true;
        vdt_device_cvq_miss_deadline(cvq, cvq->deadline_ms);
    }
    if (cvq->broken)
        finish(cvq, NULL, timeout);
    else
        g_source_set_ready_time(cvq->clock,
                                vdt_device_ring_calls_on(&cvq->ring) ? now : cvq->deadline);
}

bool
vdt_device_cvq_check_free(struct vdt_device_cvq *cvq, GError **error)
{
    if (cvq->broken)
        return vdt_device_cvq_set_broken(cvq, false, error);
    if (cvq->done) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_BUSY,
                    "the control queue of %s is waiting for an answer; it takes one command at a "
                    "time",
                    cvq->name);
        return false;
    }
    return true;
}

/* Would it fit into an empty queue? */
bool
vdt_device_cvq_fits(const struct vdt_device_cvq *cvq, const struct vdt_command *command,
                    uint32_t reply_max, GError **error)
{
    if (command->len <= cvq->config.out_size - VDT_CVQ_HEADER && reply_max < cvq->config.in_size &&
        reply_max <= VDT_COMMAND_REPLY_MAX)
        return true;
    g_autofree char *text = vdt_command_describe(command);
    g_set_error(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                "%s (%u bytes, %u of reply) does not fit the control buffers of %s", text,
                command->len, reply_max, cvq->name);
    return false;
}

bool
vdt_device_cvq_post(struct vdt_device_cvq *cvq, const struct vdt_command *command,
                    uint32_t reply_max, unsigned deadline_ms, GMainContext *context,
                    vdt_command_done done, void *ctx, GError **error)
{
    const int64_t now = g_get_monotonic_time();

    if (!vdt_device_cvq_check_free(cvq, error) ||
        !vdt_device_cvq_fits(cvq, command, reply_max, error))
        return false;
    /* Room is short only for as long as forgotten commands take it. */
    if (!place(cvq, command, reply_max, now)) {
        struct vdt_command_result result;
        struct flight flight;

        reap(cvq);
        while (pop(cvq, now, &flight, &result))
            ;
        if (cvq->broken)
            return vdt_device_cvq_set_broken(cvq, false, error);
        if (!place(cvq, command, reply_max, now)) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_BUSY,
                        "the control queue of %s is full of unanswered commands", cvq->name);
            return false;
        }
    }
    vdt_device_cvq_publish(cvq);
    cvq->done = done;
    cvq->done_ctx = ctx;
    cvq->deadline_ms = deadline_ms;
    cvq->deadline = now + 1000ll * deadline_ms;
    cvq->call = vdt_event_source_new(context, cvq->config.call_fd, look, cvq);
    cvq->clock = vdt_clock_source_new(context, look, cvq);
    g_source_set_ready_time(cvq->clock, vdt_device_ring_calls_on(&cvq->ring) ? now : cvq->deadline);
    return true;
}

void
vdt_device_cvq_forget(struct vdt_device_cvq *cvq)
{
    if (!cvq->done)
        return;
    end_wait(cvq);
    for (uint32_t i = 0; i < cvq->count; i++)
        nth_flight(cvq, i)->forgotten = true;
}

/* Until the device calls or @deadline (monotonic us) passes. */
void
vdt_device_cvq_wait(struct vdt_device_cvq *cvq, int64_t now, int64_t deadline)
{
    struct pollfd pfd = {.fd = cvq->config.call_fd, .events = POLLIN};
    /* Rounded up, or the last millisecond would be a spin. */
    int ms = (int) MIN((deadline - now + 999) / 1000, G_MAXINT);

    if (vdt_device_ring_calls_on(&cvq->ring))
        return;
    if (poll(&pfd, 1, ms) > 0)
        vdt_event_drain(cvq->config.call_fd);
}

/* Answers that nobody wants are waited for: a round begins with nothing in flight. */
bool
vdt_device_cvq_drain(struct vdt_device_cvq *cvq, unsigned deadline_ms, int64_t deadline,
                     GError **error)
{
    struct vdt_command_result result;
    struct flight flight;

    while (cvq->count > 0) {
        reap(cvq);
        int64_t now = g_get_monotonic_time();
        while (pop(cvq, now, &flight, &result))
            ;
        if (cvq->broken)
            return vdt_device_cvq_set_broken(cvq, false, error);
        if (cvq->count > 0 && now >= deadline) {
            vdt_device_cvq_miss_deadline(cvq, deadline_ms);
            return vdt_device_cvq_set_broken(cvq, true, error);
        }
        if (cvq->count > 0)
            vdt_device_cvq_wait(cvq, now, deadline);
    }
    return true;
}
