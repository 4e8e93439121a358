/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "random/ledger.h"

#include <string.h>

#define NOBODY 0xff

static char *
check_ring(const struct vdt_queue *queue, const struct vdt_snapshot_ring *ring)
{
    const struct vdt_ring_format *format = &queue->ring.format;
    g_autofree bool *seen = g_new0(bool, format->num);
    uint64_t held = queue->ring.in_flight, listed = 0;

    for (uint32_t i = 0; i < ring->request_count; i++) {
        uint16_t id = ring->requests[i].id;

        if (id >= format->num || seen[id] || !queue->chains[id].posted)
            return g_strdup_printf(
                "ring %u: request %u of %u, id %u, %s", queue->index, i, ring->request_count, id,
                id < format->num && seen[id] ? "is listed twice" : "is not in flight");
        seen[id] = true;
        listed += ring->requests[i].slots;
    }
    if (format->kind == VDT_RING_PACKED) {
        listed += vdt_packed_distance(ring->pos.avail, queue->ring.pos.avail, format->num);
    } else {
        held = vdt_queue_in_flight(queue);
        listed = ring->request_count + (uint16_t) (queue->ring.pos.avail - ring->pos.avail);
    }
    if (held == listed)
        return NULL;
    return g_strdup_printf("ring %u: the guest waits for %" G_GUINT64_FORMAT
                           ", the state has %" G_GUINT64_FORMAT " (%u of them in flight)",
                           queue->index, held, listed, ring->request_count);
}

char *
ledger_check(struct vdt_driver *driver, const struct vdt_snapshot *snapshot)
{
    for (unsigned i = 0; i < vdt_driver_queue_count(driver); i++) {
        const struct vdt_queue *queue = vdt_driver_queue(driver, i);
        const struct vdt_snapshot_ring *ring = &snapshot->rings[queue->index];
        char *why = ring->started ? check_ring(queue, ring)
                                  : g_strdup_printf("ring %u is not in the state", queue->index);

        if (why)
            return why;
    }
    return NULL;
}

void
ledger_order_note(struct ledger_order *order, struct vdt_driver *driver)
{
    guint before;

    if (!order->pair)
        order->pair = g_byte_array_new();
    before = order->pair->len;
    if (driver->frames.sent > before) {
        g_byte_array_set_size(order->pair, (guint) driver->frames.sent);
        memset(order->pair->data + before, NOBODY, order->pair->len - before);
    }
    for (unsigned p = 0; p < driver->config.pairs; p++) {
        const struct vdt_queue *tx = &driver->pair[p].tx;

        for (unsigned id = 0; id < driver->config.num; id++) {
            if (tx->chains[id].posted && tx->chains[id].cookie < order->pair->len)
                order->pair->data[tx->chains[id].cookie] = (uint8_t) p;
        }
    }
}

bool
ledger_order_gap(const struct ledger_order *order, struct vdt_driver *driver)
{
    for (unsigned p = 0; order->pair && p < driver->config.pairs; p++) {
        const struct vdt_queue *tx = &driver->pair[p].tx;
        uint64_t first = UINT64_MAX, behind = 0, sent = 0;

        for (unsigned id = 0; id < driver->config.num; id++) {
            if (tx->chains[id].posted)
                first = MIN(first, tx->chains[id].cookie);
        }
        for (unsigned id = 0; id < driver->config.num; id++)
            behind += tx->chains[id].posted && tx->chains[id].cookie >= first;
        for (uint64_t n = first; n < order->pair->len; n++)
            sent += order->pair->data[n] == p;
        if (sent > behind)
            return true;
    }
    return false;
}
