/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest split ring: what "virtio/guest_ring.h" promises, for VDT_RING_SPLIT.
 *
 * Go through that header; only a loop over chains that knows the kind of its rings calls take and
 * give here: they are inline, since a call costs as much as they do.
 */
#pragma once

#include "virtio/chain_walk.h"
#include "virtio/guest_ring.h"
#include "virtio/split_layout.h"

enum vdt_take vdt_guest_split_take_head(struct vdt_guest_ring *ring,
                                        const struct vdt_reader *reader, uint16_t head,
                                        struct vdt_chain *chain);
void vdt_guest_split_publish(struct vdt_guest_ring *ring);
bool vdt_guest_split_needs_call(struct vdt_guest_ring *ring, uint16_t from);
void vdt_guest_split_kicks_off(struct vdt_guest_ring *ring);
bool vdt_guest_split_kicks_on(struct vdt_guest_ring *ring);
unsigned vdt_guest_split_written(const struct vdt_guest_ring *ring, uint16_t from,
                                 struct vdt_ring_span *spans);

/* The rare ways out of take: a list, followed from its first descriptor @desc at @head; and a look
 * at avail.idx when nothing is left of what was seen before. */
enum vdt_ring_fault vdt_guest_split_copy_list(const struct vdt_guest_ring *ring,
                                              const struct vdt_reader *reader, uint32_t head,
                                              struct vdt_seg desc, struct vdt_chain *chain);
enum vdt_take vdt_guest_split_look(struct vdt_guest_ring *ring);

static inline enum vdt_ring_fault
vdt_guest_split_copy(const struct vdt_guest_ring *ring, const struct vdt_reader *reader,
                     uint16_t head, struct vdt_chain *chain)
{
    struct vdt_seg desc;

    if (VDT_UNLIKELY(head >= ring->format.num))
        return VDT_FAULT_HEAD;
    chain->head = head;
    chain->id = head;
    desc = vdt_split_load_desc(ring->mem.desc, head);
    if (VDT_LIKELY(!(desc.flags & (VDT_SEG_NEXT | VDT_SEG_INDIRECT))))
        return vdt_chain_walk_single(chain, desc);
    return vdt_guest_split_copy_list(ring, reader, head, desc, chain);
}

static inline enum vdt_take
vdt_guest_split_take(struct vdt_guest_ring *ring, const struct vdt_reader *reader,
                     struct vdt_chain *chain)
{
    uint16_t head;
    enum vdt_ring_fault fault;

    if (VDT_UNLIKELY(ring->fault != VDT_FAULT_NONE))
        return VDT_TAKE_BROKEN;
    if (ring->avail_seen == ring->pos.avail) {
        enum vdt_take more = vdt_guest_split_look(ring);

        if (more != VDT_TAKE_CHAIN)
            return more;
    }
    head = vdt_load16(vdt_split_avail_entry(ring->mem.driver, ring->format.num, ring->pos.avail));
    fault = vdt_guest_split_copy(ring, reader, head, chain);
    if (VDT_UNLIKELY(fault != VDT_FAULT_NONE)) {
        ring->fault = fault;
        return VDT_TAKE_BROKEN;
    }
    ring->pos.avail++;
    ring->in_flight++;
    return VDT_TAKE_CHAIN;
}

static inline void
vdt_guest_split_give(struct vdt_guest_ring *ring, uint16_t id, uint32_t len)
{
    /* Nobody looks at this one before publish(). */
    vdt_split_store_used(vdt_split_used_entry(ring->mem.device, ring->format.num, ring->pos.used),
                         id, len);
    ring->pos.used++;
    ring->in_flight--;
}
