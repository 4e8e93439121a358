/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virtio/device_split.h"

#include "virtio/device_posted.h"
#include "virtio/split_layout.h"

/* A device that starts at pos looks from there to avail.idx, and we from there to used.idx. */
void
vdt_device_split_init(struct vdt_device_ring *ring)
{
    vdt_store16((uint8_t *) ring->mem.driver + VDT_SPLIT_IDX, ring->pos.avail);
    vdt_store16((uint8_t *) ring->mem.device + VDT_SPLIT_IDX, ring->pos.used);
}

void
vdt_device_split_post(struct vdt_device_ring *ring, const struct vdt_chain *chain, uint16_t id,
                      uint64_t table, uint32_t table_len)
{
    const struct vdt_seg *seg = chain->seg;
    uint32_t direct = chain->direct, slot = chain->head;
    void *descs = ring->mem.desc;

    for (uint32_t i = 0; i < direct; i++, seg++) {
        bool more = i + 1 < direct || VDT_UNLIKELY(chain->indirect);
        uint16_t write = seg->flags & VDT_SEG_WRITE, next = seg->next;

        if (more)
            vdt_split_store_desc(descs, slot, seg->addr, seg->len, write | VDT_SEG_NEXT, next);
        else
            vdt_split_store_desc(descs, slot, seg->addr, seg->len, write, 0);
        slot = next;
    }
    if (VDT_UNLIKELY(chain->indirect))
        vdt_split_store_desc(descs, chain->indirect_slot, table, table_len, VDT_SEG_INDIRECT, 0);
    vdt_posted_add(ring, chain, id);
    vdt_store16(vdt_split_avail_entry(ring->mem.driver, ring->format.num, ring->pos.avail), id);
    ring->pos.avail++;
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

/* Nothing that was seen before is left: ask the device for more. */
static __attribute__((noinline)) enum vdt_reap
look_for_more(struct vdt_device_ring *ring)
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
static __attribute__((noinline)) enum vdt_reap
reap_batch(struct vdt_device_ring *ring, uint16_t id, uint32_t len, struct vdt_used *ret_used)
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

enum vdt_reap
vdt_device_split_reap(struct vdt_device_ring *ring, struct vdt_used *ret_used)
{
    const uint8_t *entry;
    uint32_t id, len;
    enum vdt_ring_fault fault;

    if (VDT_UNLIKELY(ring->fault != VDT_FAULT_NONE))
        return VDT_REAP_BROKEN;
    if (VDT_UNLIKELY(ring->in_batch)) {
        vdt_posted_batch_next(ring, ret_used);
        ring->pos.used++;
        return VDT_REAP_USED;
    }
    if (ring->used_seen == ring->pos.used) {
        enum vdt_reap more = look_for_more(ring);

        if (more != VDT_REAP_USED)
            return more;
    }
    entry = vdt_split_used_entry(ring->mem.device, ring->format.num, ring->pos.used);
    id = vdt_load32(entry);
    len = vdt_load32(entry + 4);
    fault = vdt_posted_check(ring, id, len);
    if (VDT_UNLIKELY(fault != VDT_FAULT_NONE)) {
        ring->fault = fault;
        return VDT_REAP_BROKEN;
    }
    if (ring->format.in_order)
        return reap_batch(ring, (uint16_t) id, len, ret_used);
    vdt_posted_remove(ring, (uint16_t) id);
    ring->pos.used++;
    *ret_used = (struct vdt_used){.id = (uint16_t) id, .len = len};
    return VDT_REAP_USED;
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
