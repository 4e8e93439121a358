/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virtio/guest_packed.h"

#include "virtio/chain_walk.h"
#include "virtio/packed_layout.h"

/*
 * Copy the chain whose first descriptor, with @flags, was found available at pos.avail. Its other
 * descriptors were written before that one's flags (2.8.6), so plain loads do.
 */
static __attribute__((noinline)) enum vdt_ring_fault
copy_list(const struct vdt_guest_ring *ring, const struct vdt_reader *reader, uint16_t flags,
          struct vdt_chain *chain)
{
    uint32_t room = vdt_guest_packed_room(ring), slots = 0;
    uint16_t num = ring->format.num, pos = ring->pos.avail, id;
    struct vdt_chain_walk walk;
    struct vdt_seg desc;
    enum vdt_ring_fault fault;

    vdt_chain_walk_start(&walk, chain);
    for (;;) {
        uint8_t *p = vdt_packed_desc(ring->mem.desc, pos);
        uint64_t rest = vdt_load64(p + 8);

        /* The first one's flags are those that gated it: the driver may have changed its mind. */
        if (slots > 0)
            flags = (uint16_t) (rest >> 48);
        if (__builtin_expect(!vdt_packed_is_avail(flags, pos), 0))
            return VDT_FAULT_FLAGS;
        id = (uint16_t) (rest >> 32);
        desc = (struct vdt_seg){.addr = vdt_load64(p), .len = (uint32_t) rest, .flags = flags};
        slots++;
        if (__builtin_expect(flags & VDT_SEG_INDIRECT, 0))
            break;
        fault = vdt_chain_walk_add(&walk, chain, desc);
        if (__builtin_expect(fault != VDT_FAULT_NONE, 0))
            return fault;
        if (!(flags & VDT_SEG_NEXT))
            break;
        if (__builtin_expect(slots == room, 0))
            return VDT_FAULT_TOO_LONG;
        pos = vdt_packed_advance(pos, 1, num);
    }
    chain->id = id;
    chain->slots = (uint16_t) slots;
    chain->direct = chain->count;
    if (__builtin_expect(flags & VDT_SEG_INDIRECT, 0)) {
        /* Unlike in a split ring a list is either direct or one table (2.8.5, 2.8.19). */
        if (!ring->format.indirect || flags & VDT_SEG_NEXT || slots > 1)
            return VDT_FAULT_INDIRECT;
        fault = vdt_chain_walk_packed_table(&walk, chain, reader, desc.addr, desc.len, num);
        if (fault != VDT_FAULT_NONE)
            return fault;
        chain->indirect = true;
        chain->indirect_slot = chain->head;
        chain->table_addr = desc.addr;
        chain->table_len = desc.len;
    }
    return vdt_chain_walk_end(&walk, chain);
}

static inline enum vdt_ring_fault
copy_chain(const struct vdt_guest_ring *ring, const struct vdt_reader *reader, uint16_t flags,
           struct vdt_chain *chain)
{
    const uint8_t *p = vdt_packed_desc(ring->mem.desc, ring->pos.avail);
    uint64_t rest;

    if (__builtin_expect(vdt_guest_packed_room(ring) == 0, 0))
        return VDT_FAULT_AVAIL_INDEX;
    chain->head = ring->pos.avail & 0x7fff;
    if (__builtin_expect(flags & (VDT_SEG_NEXT | VDT_SEG_INDIRECT), 0))
        return copy_list(ring, reader, flags, chain);
    rest = vdt_load64(p + 8);
    chain->id = (uint16_t) (rest >> 32);
    return vdt_chain_walk_single(
        chain, (struct vdt_seg){.addr = vdt_load64(p), .len = (uint32_t) rest, .flags = flags});
}

enum vdt_take
vdt_guest_packed_take(struct vdt_guest_ring *ring, const struct vdt_reader *reader,
                      struct vdt_chain *chain)
{
    enum vdt_ring_fault fault;
    uint16_t flags;

    if (__builtin_expect(ring->fault != VDT_FAULT_NONE, 0))
        return VDT_TAKE_BROKEN;
    /* Pairs with the driver's barrier before its store of these flags. */
    flags = vdt_load16_acquire(vdt_packed_flags(ring->mem.desc, ring->pos.avail));
    if (!vdt_packed_is_avail(flags, ring->pos.avail))
        return VDT_TAKE_EMPTY;
    fault = copy_chain(ring, reader, flags, chain);
    if (__builtin_expect(fault != VDT_FAULT_NONE, 0)) {
        ring->fault = fault;
        return VDT_TAKE_BROKEN;
    }
    ring->pos.avail = vdt_packed_advance(ring->pos.avail, chain->slots, ring->format.num);
    ring->in_flight += chain->slots;
    return VDT_TAKE_CHAIN;
}

void
vdt_guest_packed_give(struct vdt_guest_ring *ring, uint16_t id, uint16_t slots, uint32_t len)
{
    uint8_t *p = vdt_packed_desc(ring->mem.desc, ring->pos.used);
    uint16_t flags = vdt_packed_used_bits(ring->pos.used) | (len > 0 ? VDT_SEG_WRITE : 0);

    if (ring->pos.used == ring->published) {
        /* The driver looks here next; what hides the whole batch is that this one is not used yet.
         */
        vdt_store32(p + 8, len);
        vdt_store16(p + 12, id);
        ring->first_flags = flags;
    } else {
        vdt_store64(p + 8, vdt_packed_rest(len, id, flags));
    }
    ring->pos.used = vdt_packed_advance(ring->pos.used, slots, ring->format.num);
    ring->in_flight -= slots;
}

void
vdt_guest_packed_publish(struct vdt_guest_ring *ring)
{
    if (ring->published == ring->pos.used)
        return;
    vdt_store16_release(vdt_packed_flags(ring->mem.desc, ring->published), ring->first_flags);
    ring->published = ring->pos.used;
}

bool
vdt_guest_packed_needs_call(struct vdt_guest_ring *ring, uint16_t from)
{
    uint32_t event;

    if (from == ring->published)
        return false;
    /* Our used flags before our load of the driver's wish, see 2.8.22. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    event = vdt_load32(ring->mem.driver);
    switch (VDT_PACKED_EVENT_FLAGS(event)) {
    case VRING_PACKED_EVENT_FLAG_ENABLE:
        return true;
    case VRING_PACKED_EVENT_FLAG_DISABLE:
        return false;
    case VRING_PACKED_EVENT_FLAG_DESC:
        if (!ring->format.event_idx)
            return true;
        if ((event & 0x7fff) < ring->format.num)
            return vdt_packed_passed(VDT_PACKED_EVENT_POS(event), ring->published, from,
                                     ring->format.num);
        break;
    default:
        break;
    }
    ring->fault = VDT_FAULT_EVENT;
    return true;
}

void
vdt_guest_packed_kicks_off(struct vdt_guest_ring *ring)
{
    vdt_store32(ring->mem.device, vdt_packed_event(0, VRING_PACKED_EVENT_FLAG_DISABLE));
}

bool
vdt_guest_packed_kicks_on(struct vdt_guest_ring *ring)
{
    uint16_t pos = ring->pos.avail;

    vdt_store32(ring->mem.device, ring->format.event_idx
                                      ? vdt_packed_event(pos, VRING_PACKED_EVENT_FLAG_DESC)
                                      : vdt_packed_event(0, VRING_PACKED_EVENT_FLAG_ENABLE));
    /* Our wish before our look, against the driver's flags before its look at our wish. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return vdt_packed_is_avail(vdt_load16(vdt_packed_flags(ring->mem.desc, pos)), pos);
}

/* Slots behind the first of each used buffer are not written; whole stretches are simpler to mark.
 */
unsigned
vdt_guest_packed_written(const struct vdt_guest_ring *ring, uint16_t from,
                         struct vdt_ring_span *spans)
{
    uint32_t num = ring->format.num, first = from & 0x7fff;
    uint32_t slots = vdt_packed_distance(from, ring->published, ring->format.num);
    uint32_t upper = slots <= num - first ? slots : num - first;
    unsigned n = 0;

    spans[n++] = (struct vdt_ring_span){.offset = 0, .len = 4};
    if (upper > 0)
        spans[n++] =
            (struct vdt_ring_span){.offset = 16u * first, .len = 16u * upper, .in_desc = true};
    if (slots > upper)
        spans[n++] =
            (struct vdt_ring_span){.offset = 0, .len = 16u * (slots - upper), .in_desc = true};
    return n;
}
