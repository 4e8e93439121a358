/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Commands back to back on the device's control queue: begin, put each, end. */
#include "control/device_cvq_private.h"

#include "base/wire.h"
#include "virtio/device_split.h"

/* Every answer that is there, in the order of posting. Behind a refusal nobody wants them. */
static void
hear_answers(struct vdt_device_cvq *cvq)
{
    struct batch *batch = &cvq->batch;
    const uint8_t *answers = cvq->answers, *in = cvq->config.in;
    const unsigned first = batch->heard, posted = batch->posted;
    unsigned n = first, good = 0;

    for (; n < posted && answers[n] != PENDING; n++) {
        /* The device's byte, loaded once. */
        bool ok = answers[n] == WRITTEN && __atomic_load_n(in + n, __ATOMIC_RELAXED) == VDT_ACK_OK;

        if (batch->refused)
            continue;
        batch->refused = !ok;
        good += ok;
        if (batch->each)
            batch->each(batch->ctx, batch->before + n, ok ? VDT_ACK_OK : VDT_ACK_ERR);
    }
    batch->heard = n;
    batch->tally->acked += good;
    batch->tally->refused = batch->refused;
}

/* Note every completion of the round. True if there was one. */
static bool
reap_round(struct vdt_device_cvq *cvq)
{
    const uint32_t *place_of = cvq->flight_of;
    struct vdt_used used[32];
    unsigned n, all = 0;

    while ((n = vdt_device_ring_reap_some(&cvq->ring, used, G_N_ELEMENTS(used))) > 0) {
        for (unsigned i = 0; i < n; i++)
            cvq->answers[place_of[used[i].id]] = used[i].len > 0 ? WRITTEN : UNWRITTEN;
        all += n;
    }
    cvq->batch.answered += all;
    if (cvq->ring.fault != VDT_FAULT_NONE)
        vdt_device_cvq_break_by_ring(cvq);
    return all > 0;
}

/* What is posted goes to the device, which answers all of it. False with @error when the queue is
 * broken. */
static bool
end_round(struct vdt_device_cvq *cvq, GError **error)
{
    struct batch *batch = &cvq->batch;

    vdt_device_cvq_publish(cvq);
    while (batch->answered < batch->posted) {
        bool progress = reap_round(cvq);
        int64_t now = g_get_monotonic_time();

        hear_answers(cvq);
        if (cvq->broken)
            return vdt_device_cvq_set_broken(cvq, false, error);
        if (progress) {
            batch->deadline = now + 1000ll * batch->deadline_ms;
        } else if (now >= batch->deadline) {
            vdt_device_cvq_miss_deadline(cvq, batch->deadline_ms);
            return vdt_device_cvq_set_broken(cvq, true, error);
        } else {
            vdt_device_cvq_wait(cvq, now, batch->deadline);
        }
    }
    batch->before += batch->posted;
    batch->posted = batch->answered = batch->heard = 0;
    batch->out_used = 0;
    return true;
}

/* Room for @len more bytes to read, and for one more to write. */
static inline bool
round_has_room(const struct vdt_device_cvq *cvq, uint32_t len)
{
    return cvq->batch.posted < cvq->capacity && len <= cvq->config.out_size - cvq->batch.out_used &&
           cvq->batch.posted < cvq->config.in_size;
}

bool
vdt_device_cvq_begin(struct vdt_device_cvq *cvq, unsigned deadline_ms,
                     struct vdt_command_tally *tally, vdt_command_each each, void *ctx,
                     GError **error)
{
    const int64_t deadline = g_get_monotonic_time() + 1000ll * deadline_ms;

    *tally = (struct vdt_command_tally){0};
    if (!vdt_device_cvq_check_free(cvq, error) ||
        !vdt_device_cvq_drain(cvq, deadline_ms, deadline, error))
        return false;
    cvq->batch = (struct batch){
        .deadline_ms = deadline_ms,
        .deadline = deadline,
        .each = each,
        .ctx = ctx,
        .tally = tally,
    };
    return true;
}

/* What is stored through bytes may be anything to the compiler: everything is loaded before. */
bool
vdt_device_cvq_put(struct vdt_device_cvq *cvq, const struct vdt_command *command, GError **error)
{
    const uint8_t *data = command->data;
    const uint32_t data_len = command->len, len = VDT_CVQ_HEADER + data_len;
    const uint16_t what = (uint16_t) (command->class | command->command << 8);
    struct batch *batch = &cvq->batch;
    uint16_t id;

    if (G_UNLIKELY(!round_has_room(cvq, len)) &&
        (!vdt_device_cvq_fits(cvq, command, 0, error) || !end_round(cvq, error)))
        return false;
    if (G_UNLIKELY(batch->refused))
        return false;

    const uint32_t n = batch->posted, at = batch->out_used;
    const uint64_t out = cvq->config.out_iova + at, in = cvq->config.in_iova + n;
    uint8_t *to = cvq->config.out + at, *ack = cvq->config.in + n, *answer = cvq->answers + n;
    uint8_t *sent = cvq->sent + 2 * n;
    uint32_t *place_of = cvq->flight_of;
    /* There is room: two descriptors for each of @capacity commands. */
    bool laid = cvq->pairs ? vdt_device_split_put_pair(&cvq->ring, out, len, in, 1, &id)
                           : vdt_device_ring_put_pair(&cvq->ring, out, len, in, 1, &id);
    g_assert(laid);
    batch->posted = n + 1;
    batch->out_used = at + len;
    place_of[id] = n;

    /* Nothing of it is the device's before vdt_device_cvq_publish(). */
    *ack = VDT_ACK_ERR;
    *answer = PENDING;
    vdt_put16(sent, what);
    vdt_put16(to, what);
    if (data_len == 2) /* most of them: VLANs */
        memcpy(to + VDT_CVQ_HEADER, data, 2);
    else if (data_len > 0)
        memcpy(to + VDT_CVQ_HEADER, data, data_len);
    return true;
}

bool
vdt_device_cvq_end(struct vdt_device_cvq *cvq, GError **error)
{
    return end_round(cvq, error);
}
