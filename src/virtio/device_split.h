/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Device split ring: what "virtio/device_ring.h" promises, for VDT_RING_SPLIT.
 *
 * Go through that header; only a loop over chains that knows the kind of its rings calls post and
 * reap here: they are inline, since a call costs as much as they do.
 */
#pragma once

#include "virtio/device_posted.h"
#include "virtio/device_ring.h"
#include "virtio/split_layout.h"

void vdt_device_split_init(struct vdt_device_ring *ring);
bool vdt_device_split_publish(struct vdt_device_ring *ring);
void vdt_device_split_calls_off(struct vdt_device_ring *ring);
bool vdt_device_split_calls_on(struct vdt_device_ring *ring);

/* The rare ways out of reap: a look at used.idx, and an entry that stands for an in-order batch. */
enum vdt_reap vdt_device_split_look(struct vdt_device_ring *ring);
enum vdt_reap vdt_device_split_reap_batch(struct vdt_device_ring *ring, uint16_t id, uint32_t len,
                                          struct vdt_used *ret_used);

static inline void
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

/* What lay() and post() come to for two descriptors; not for in-order rings. */
static inline bool
vdt_device_split_put_pair(struct vdt_device_ring *ring, uint64_t out, uint32_t out_len, uint64_t in,
                          uint32_t in_len, uint16_t *ret_id)
{
    const uint16_t *free_next = ring->free_next;
    const uint16_t head = ring->free_head, second = free_next[head], pos = ring->pos.avail;
    const struct vdt_ring_mem mem = ring->mem;

    if (VDT_UNLIKELY(ring->free_count < 2))
        return false;
    ring->lays = true;
    ring->free_head = free_next[second];
    ring->free_count -= 2;
    ring->in_flight += 2;
    ring->pos.avail = (uint16_t) (pos + 1);
    *vdt_posted_of(ring, head) = (struct vdt_posted){.writable = in_len, .slots = 2};
    vdt_split_store_desc(mem.desc, head, out, out_len, VDT_SEG_NEXT, second);
    vdt_split_store_desc(mem.desc, second, in, in_len, VDT_SEG_WRITE, 0);
    vdt_store16(vdt_split_avail_entry(mem.driver, ring->format.num, pos), head);
    *ret_id = head;
    return true;
}

/* Completions of chains that put_pair() posted, up to @max; in-order rings do not come here. */
unsigned vdt_device_split_reap_pairs(struct vdt_device_ring *ring, struct vdt_used *used,
                                     unsigned max);

static inline enum vdt_reap
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
        enum vdt_reap more = vdt_device_split_look(ring);

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
        return vdt_device_split_reap_batch(ring, (uint16_t) id, len, ret_used);
    vdt_posted_remove(ring, (uint16_t) id);
    ring->pos.used++;
    *ret_used = (struct vdt_used){.id = (uint16_t) id, .len = len};
    return VDT_REAP_USED;
}
