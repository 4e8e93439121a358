/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virtio/device_split.h"

/* A device that starts at pos looks from there to avail.idx, and we from there to used.idx. */
void
vdt_device_split_init(struct vdt_device_ring *ring)
{
    vdt_store16((uint8_t *) ring->mem.driver + VDT_SPLIT_IDX, ring->pos.avail);
    vdt_store16((uint8_t *) ring->mem.device + VDT_SPLIT_IDX, ring->pos.used);
    /* A device that looks only when it is kicked writes its wish after the first kick: that one is
     * not to be suppressed by a 0 nobody wrote. */
    if (ring->format.event_idx)
        vdt_store16(vdt_split_avail_event(ring->mem.device, ring->format.num), ring->pos.avail);
}

bool
vdt_device_split_publish(struct vdt_device_ring *ring)
{
    uint16_t old = ring->published, num = ring->format.num;

    if (old == ring->pos.avail)
        return false;
    vdt_store16_release((uint8_t *) ring->mem.driver + VDT_SPLIT_IDX, ring->pos.avail);
    ring->published = ring->pos.avail;
    /* Our avail.idx before our load of the device's wish (2.7.13.4). */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (ring->format.event_idx)
        return vdt_split_passed(vdt_load16(vdt_split_avail_event(ring->mem.device, num)),
                                ring->published, old);
    return !(vdt_load16((uint8_t *) ring->mem.device + VDT_SPLIT_FLAGS) & VRING_USED_F_NO_NOTIFY);
}

enum vdt_reap
vdt_device_split_look(struct vdt_device_ring *ring)
{
    /* Pairs with the device's store of used.idx: its entries are visible after this. */
    uint16_t idx = vdt_load16_acquire((uint8_t *) ring->mem.device + VDT_SPLIT_IDX);
    uint16_t more = (uint16_t) (idx - ring->pos.used);

    if (more == 0)
        return VDT_REAP_EMPTY;
    if (VDT_UNLIKELY(more > (uint16_t) (ring->published - ring->pos.used))) {
        ring->fault = VDT_FAULT_USED_INDEX;
        return VDT_REAP_BROKEN;
    }
    ring->used_seen = idx;
    return VDT_REAP_USED;
}

/*
 * In order (2.7.9) an entry stands for all chains from the oldest to its own; it lies where the
 * first of them would have been used, and used.idx counts them all.
 */
enum vdt_reap
vdt_device_split_reap_batch(struct vdt_device_ring *ring, uint16_t id, uint32_t len,
                            struct vdt_used *ret_used)
{
    if (VDT_UNLIKELY(vdt_posted_batch(ring, id) > (uint16_t) (ring->used_seen - ring->pos.used))) {
        ring->fault = VDT_FAULT_USED_INDEX;
        return VDT_REAP_BROKEN;
    }
    vdt_posted_batch_start(ring, id, len);
    vdt_posted_batch_next(ring, ret_used);
    ring->pos.used++;
    return VDT_REAP_USED;
}

/* vdt_device_split_reap() over and over, with what it goes by in locals. */
unsigned
vdt_device_split_reap_pairs(struct vdt_device_ring *ring, struct vdt_used *used, unsigned max)
{
    const uint32_t num = ring->format.num;
    uint16_t *free_next = ring->free_next;
    uint16_t free_head = ring->free_head, pos = ring->pos.used;
    unsigned n = 0;

    if (ring->fault != VDT_FAULT_NONE ||
        (ring->used_seen == pos && vdt_device_split_look(ring) != VDT_REAP_USED))
        return 0;
    for (; n < max && pos != ring->used_seen; n++, pos++) {
        const uint8_t *entry = vdt_split_used_entry(ring->mem.device, (uint16_t) num, pos);
        uint32_t id = vdt_load32(entry), len = vdt_load32(entry + 4);

        ring->fault = vdt_posted_check(ring, id, len);
        if (VDT_UNLIKELY(ring->fault != VDT_FAULT_NONE))
            break;
        vdt_posted_of(ring, (uint16_t) id)->slots = 0;
        free_next[free_next[id]] = free_head; /* the second stays linked to the first */
        free_head = (uint16_t) id;
        used[n] = (struct vdt_used){.id = (uint16_t) id, .len = len};
    }
    ring->free_head = free_head;
    ring->free_count += 2 * n;
    ring->in_flight -= 2 * n;
    ring->pos.used = pos;
    return n;
}

void
vdt_device_split_calls_off(struct vdt_device_ring *ring)
{
    /* With event indices flags stay 0 (2.7.7.1), and a used_event left behind is passed once. */
    if (!ring->format.event_idx)
        vdt_store16((uint8_t *) ring->mem.driver + VDT_SPLIT_FLAGS, VRING_AVAIL_F_NO_INTERRUPT);
}

bool
vdt_device_split_calls_on(struct vdt_device_ring *ring)
{
    if (ring->format.event_idx)
        vdt_store16(vdt_split_used_event(ring->mem.driver, ring->format.num), ring->pos.used);
    else
        vdt_store16((uint8_t *) ring->mem.driver + VDT_SPLIT_FLAGS, 0);
    /* Our wish before our look, against the device's used.idx before its look at our wish. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return vdt_load16((uint8_t *) ring->mem.device + VDT_SPLIT_IDX) != ring->pos.used;
}
