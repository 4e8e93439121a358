/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Posted: what a device ring remembers of each id in flight, and the order of ids for in-order
 * batches. The device cannot reach any of it. Ring code only.
 */
#pragma once

#include "virtio/device_ring.h"

struct vdt_posted {
    uint32_t writable;
    uint16_t slots; /* ring descriptors; 0: not in flight */
    uint16_t order; /* in-order: where in @order the id stands */
};

/* Return what lay() took for @id. */
void vdt_posted_unlay(struct vdt_device_ring *ring, uint16_t id, uint16_t slots);

static inline void
vdt_posted_add(struct vdt_device_ring *ring, const struct vdt_chain *chain, uint16_t id)
{
    struct vdt_posted *posted = &ring->posted[id];

    posted->writable = chain->writable;
    posted->slots = chain->slots;
    ring->in_flight += chain->slots;
    if (ring->format.in_order) {
        posted->order = (uint16_t) ring->order_tail;
        ring->order[ring->order_tail] = id;
        ring->order_tail = ring->order_tail + 1u == ring->format.num ? 0 : ring->order_tail + 1u;
    }
}

/* What the device says it used, against what it has. */
static inline enum vdt_ring_fault
vdt_posted_check(const struct vdt_device_ring *ring, uint32_t id, uint32_t len)
{
    if (__builtin_expect(id >= ring->format.num || ring->posted[id].slots == 0, 0))
        return VDT_FAULT_USED_ID;
    if (__builtin_expect(len > ring->posted[id].writable, 0))
        return VDT_FAULT_USED_LEN;
    return VDT_FAULT_NONE;
}

/* Forget an id in flight; returns the slots it held. */
static inline uint16_t
vdt_posted_remove(struct vdt_device_ring *ring, uint16_t id)
{
    uint16_t slots = ring->posted[id].slots;

    ring->posted[id].slots = 0;
    ring->in_flight -= slots;
    if (ring->lays)
        vdt_posted_unlay(ring, id, slots);
    return slots;
}

/* In-order: chains from the oldest in flight to @id, which is in flight. */
static inline uint32_t
vdt_posted_batch(const struct vdt_device_ring *ring, uint16_t id)
{
    uint32_t at = ring->posted[id].order;

    return (at >= ring->order_head ? at : at + ring->format.num) - ring->order_head + 1u;
}

static inline void
vdt_posted_batch_start(struct vdt_device_ring *ring, uint16_t id, uint32_t len)
{
    ring->batch_id = id;
    ring->batch_len = len;
    ring->in_batch = true;
}

/* The oldest of the batch; all but its last were skipped by the device. Returns the slots it held.
 */
static inline uint16_t
vdt_posted_batch_next(struct vdt_device_ring *ring, struct vdt_used *ret_used)
{
    uint16_t id = ring->order[ring->order_head];
    bool last = id == ring->batch_id;

    ring->order_head = ring->order_head + 1u == ring->format.num ? 0 : ring->order_head + 1u;
    *ret_used = (struct vdt_used){
        .id = id,
        .len = last ? ring->batch_len : ring->posted[id].writable,
        .whole = !last,
    };
    ring->in_batch = !last;
    return vdt_posted_remove(ring, id);
}
