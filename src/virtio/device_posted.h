/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Posted: what a device ring remembers of each id in flight, and the order of ids for in-order
 * batches. The device cannot reach any of it. Ring code only.
 */
#pragma once

#include "virtio/device_ring.h"

static inline struct vdt_posted *
vdt_posted_of(const struct vdt_device_ring *ring, uint16_t id)
{
    return (struct vdt_posted *) ((uint8_t *) ring->posted + (size_t) id * ring->stride);
}

/* Return what lay() took for @id. */
void vdt_posted_unlay(struct vdt_device_ring *ring, uint16_t id, uint16_t slots);

static inline uint32_t
vdt_posted_order_next(const struct vdt_device_ring *ring, uint32_t at)
{
    return at + 1u == ring->format.num ? 0 : at + 1u;
}

static inline void
vdt_posted_order_add(struct vdt_device_ring *ring, uint16_t id)
{
    ring->order[ring->order_tail] = id;
    ring->order_tail = vdt_posted_order_next(ring, ring->order_tail);
}

static inline void
vdt_posted_add(struct vdt_device_ring *ring, const struct vdt_chain *chain, uint16_t id)
{
    struct vdt_posted *posted = vdt_posted_of(ring, id);

    posted->writable = chain->writable;
    posted->slots = chain->slots;
    ring->in_flight += chain->slots;
    if (ring->format.in_order)
        vdt_posted_order_add(ring, id);
}

/* What the device says it used, against what it has. */
static inline enum vdt_ring_fault
vdt_posted_check(const struct vdt_device_ring *ring, uint32_t id, uint32_t len)
{
    const struct vdt_posted *posted;

    if (__builtin_expect(id >= ring->format.num, 0))
        return VDT_FAULT_USED_ID;
    posted = vdt_posted_of(ring, (uint16_t) id);
    if (__builtin_expect(posted->slots == 0, 0))
        return VDT_FAULT_USED_ID;
    if (__builtin_expect(len > posted->writable, 0))
        return VDT_FAULT_USED_LEN;
    return VDT_FAULT_NONE;
}

/* Forget an id in flight; returns the slots it held. */
static inline uint16_t
vdt_posted_remove(struct vdt_device_ring *ring, uint16_t id)
{
    struct vdt_posted *posted = vdt_posted_of(ring, id);
    uint16_t slots = posted->slots;

    posted->slots = 0;
    ring->in_flight -= slots;
    if (ring->lays)
        vdt_posted_unlay(ring, id, slots);
    return slots;
}

/* In-order: chains from the oldest in flight to @id, which is in flight. */
static inline uint32_t
vdt_posted_batch(const struct vdt_device_ring *ring, uint16_t id)
{
    uint32_t n = 1;

    for (uint32_t at = ring->order_head; ring->order[at] != id; n++)
        at = vdt_posted_order_next(ring, at);
    return n;
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

    ring->order_head = vdt_posted_order_next(ring, ring->order_head);
    *ret_used = (struct vdt_used){
        .id = id,
        .len = last ? ring->batch_len : vdt_posted_of(ring, id)->writable,
        .whole = !last,
    };
    ring->in_batch = !last;
    return vdt_posted_remove(ring, id);
}
