/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virtio/guest_split.h"

#include "virtio/chain_walk.h"

enum vdt_ring_fault
vdt_guest_split_copy_list(const struct vdt_guest_ring *ring, const struct vdt_reader *reader,
                          uint32_t head, struct vdt_seg desc, struct vdt_chain *chain)
{
    uint32_t num = ring->format.num, index = head, slots = 1;
    const void *table = ring->mem.desc;
    struct vdt_chain_walk walk;
    enum vdt_ring_fault fault;

    vdt_chain_walk_start(&walk, chain);
    while (VDT_LIKELY(!(desc.flags & VDT_SEG_INDIRECT))) {
        fault = vdt_chain_walk_add(&walk, chain, desc);
        if (VDT_UNLIKELY(fault != VDT_FAULT_NONE))
            return fault;
        if (!(desc.flags & VDT_SEG_NEXT))
            break;
        index = desc.next;
        if (VDT_UNLIKELY(index >= num))
            return VDT_FAULT_NEXT;
        if (VDT_UNLIKELY(slots == num))
            return VDT_FAULT_LOOP;
        desc = vdt_split_load_desc(table, index);
        slots++;
    }
    chain->slots = (uint16_t) slots;
    chain->direct = chain->count;
    if (desc.flags & VDT_SEG_INDIRECT) {
        /* It ends the chain; its WRITE means nothing (2.7.5.3.2). */
        if (!ring->format.indirect || desc.flags & VDT_SEG_NEXT)
            return VDT_FAULT_INDIRECT;
        fault =
            vdt_chain_walk_split_table(&walk, chain, reader, desc.addr, desc.len, ring->format.num);
        if (fault != VDT_FAULT_NONE)
            return fault;
        chain->indirect = true;
        chain->indirect_slot = index;
    }
    return vdt_chain_walk_end(&walk, chain);
}

enum vdt_take
vdt_guest_split_look(struct vdt_guest_ring *ring)
{
    /* Pairs with the driver's barrier before its store of avail.idx: entries and descriptors up to
     * it are visible after this. */
    uint16_t idx = vdt_load16_acquire((uint8_t *) ring->mem.driver + VDT_SPLIT_IDX);
    uint16_t more = (uint16_t) (idx - ring->pos.avail);

    if (more == 0)
        return VDT_TAKE_EMPTY;
    /* Each chain holds a descriptor until its used entry is published: num at most, with those we
     * have, staged ones included. */
    if (VDT_UNLIKELY((uint16_t) (ring->pos.avail - ring->published) + more > ring->format.num)) {
        ring->fault = VDT_FAULT_AVAIL_INDEX;
        return VDT_TAKE_BROKEN;
    }
    ring->avail_seen = idx;
    return VDT_TAKE_CHAIN;
}

enum vdt_take
vdt_guest_split_take_head(struct vdt_guest_ring *ring, const struct vdt_reader *reader,
                          uint16_t head, struct vdt_chain *chain)
{
    enum vdt_ring_fault fault = ring->fault;

    if (fault == VDT_FAULT_NONE)
        fault = vdt_guest_split_copy(ring, reader, head, chain);
    ring->fault = fault;
    return fault == VDT_FAULT_NONE ? VDT_TAKE_CHAIN : VDT_TAKE_BROKEN;
}

void
vdt_guest_split_publish(struct vdt_guest_ring *ring)
{
    if (ring->published == ring->pos.used)
        return;
    vdt_store16_release((uint8_t *) ring->mem.device + VDT_SPLIT_IDX, ring->pos.used);
    ring->published = ring->pos.used;
}

bool
vdt_guest_split_needs_call(struct vdt_guest_ring *ring, uint16_t from)
{
    uint16_t num = ring->format.num;

    if (from == ring->published)
        return false;
    /* Our store of used.idx before our load of the driver's wish; the driver fences likewise
     * between its wish and its look at used.idx (2.7.7.2), so one of us sees the other. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (ring->format.event_idx)
        return vdt_split_passed(vdt_load16(vdt_split_used_event(ring->mem.driver, num)),
                                ring->published, from);
    return !(vdt_load16((uint8_t *) ring->mem.driver + VDT_SPLIT_FLAGS) &
             VRING_AVAIL_F_NO_INTERRUPT);
}

void
vdt_guest_split_kicks_off(struct vdt_guest_ring *ring)
{
    /* With event indices flags stay 0 (2.7.10.2), and an avail_event left behind is passed once. */
    if (!ring->format.event_idx)
        vdt_store16((uint8_t *) ring->mem.device + VDT_SPLIT_FLAGS, VRING_USED_F_NO_NOTIFY);
}

bool
vdt_guest_split_kicks_on(struct vdt_guest_ring *ring)
{
    if (ring->format.event_idx)
        vdt_store16(vdt_split_avail_event(ring->mem.device, ring->format.num), ring->pos.avail);
    else
        vdt_store16((uint8_t *) ring->mem.device + VDT_SPLIT_FLAGS, 0);
    /* Our wish before our look, against the driver's avail.idx before its look at our wish. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return vdt_load16((uint8_t *) ring->mem.driver + VDT_SPLIT_IDX) != ring->pos.avail;
}

unsigned
vdt_guest_split_written(const struct vdt_guest_ring *ring, uint16_t from,
                        struct vdt_ring_span *spans)
{
    uint32_t num = ring->format.num;
    uint32_t first = from & (num - 1), entries = (uint16_t) (ring->published - from);
    uint32_t upper = entries <= num - first ? entries : num - first;
    unsigned n = 0;

    spans[n++] = (struct vdt_ring_span){.offset = 0, .len = VDT_SPLIT_RING};
    if (upper > 0)
        spans[n++] =
            (struct vdt_ring_span){.offset = VDT_SPLIT_RING + 8u * first, .len = 8u * upper};
    if (entries > upper)
        spans[n++] =
            (struct vdt_ring_span){.offset = VDT_SPLIT_RING, .len = 8u * (entries - upper)};
    if (ring->format.event_idx)
        spans[n++] = (struct vdt_ring_span){.offset = VDT_SPLIT_RING + 8u * num, .len = 2};
    return n;
}
