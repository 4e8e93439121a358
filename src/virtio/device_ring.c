/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virtio/device_ring.h"

#include <glib.h>

#include "virtio/device_packed.h"
#include "virtio/device_posted.h"
#include "virtio/device_split.h"
#include "virtio/packed_layout.h"

static bool
is_split(const struct vdt_device_ring *ring)
{
    return ring->format.kind == VDT_RING_SPLIT;
}

void
vdt_device_ring_init(struct vdt_device_ring *ring, const struct vdt_ring_format *format,
                     const struct vdt_ring_mem *mem, struct vdt_ring_pos pos)
{
    uint16_t num = format->num;

    *ring = (struct vdt_device_ring){
        .format = *format,
        .mem = *mem,
        .pos = pos,
        .published = pos.avail,
        .used_seen = pos.used,
        .posted = g_new0(struct vdt_posted, num),
        .stride = sizeof(struct vdt_posted),
        .order = g_new0(uint16_t, num),
        .free_next = g_new0(uint16_t, num),
        .free_count = num,
    };
    g_assert(vdt_ring_num_valid(format->kind, num));
    g_assert(vdt_ring_pos_valid(format, pos) && pos.avail == pos.used);
    for (uint32_t i = 0; i < num; i++)
        ring->free_next[i] = (uint16_t) (i + 1u == num ? 0 : i + 1u);
    if (is_split(ring))
        vdt_device_split_init(ring);
    else
        vdt_device_packed_init(ring);
}

void
vdt_device_ring_clear(struct vdt_device_ring *ring)
{
    if (!ring->borrows)
        g_free(ring->posted);
    ring->posted = NULL;
    g_clear_pointer(&ring->order, g_free);
    g_clear_pointer(&ring->free_next, g_free);
}

void
vdt_device_ring_borrow(struct vdt_device_ring *ring, struct vdt_posted *first, size_t stride)
{
    if (!ring->borrows)
        g_free(ring->posted);
    ring->posted = first;
    ring->stride = (uint32_t) stride;
    ring->borrows = true;
}

/* One from the free list; there is one. */
static uint16_t
pop_free(struct vdt_device_ring *ring)
{
    uint16_t index = ring->free_head;

    ring->free_head = ring->free_next[index];
    ring->free_count--;
    return index;
}

/*
 * The descriptors that one chain gets stay linked by free_next while it is in flight, so that
 * vdt_posted_unlay() finds them without a look at the ring.
 */
bool
vdt_device_ring_lay(struct vdt_device_ring *ring, struct vdt_chain *chain, uint16_t *ret_id)
{
    if (ring->in_flight + chain->slots > ring->format.num || ring->free_count < chain->slots)
        return false;
    ring->lays = true;
    if (!is_split(ring)) {
        *ret_id = pop_free(ring);
        return true;
    }
    chain->head = ring->free_head;
    for (uint32_t i = 0; i < chain->slots; i++) {
        uint16_t index = pop_free(ring);

        if (i < chain->direct)
            chain->seg[i].next = ring->free_head;
        else
            chain->indirect_slot = index;
    }
    chain->id = chain->head;
    *ret_id = chain->head;
    return true;
}

void
vdt_posted_unlay(struct vdt_device_ring *ring, uint16_t id, uint16_t slots)
{
    uint16_t last = id;

    if (!is_split(ring)) {
        slots = 1;
    } else if (ring->format.in_order) {
        /* In order a driver goes round the table (2.7.5): the list is that circle, never relinked,
         * and what comes back stands at its end already. */
        ring->free_count += slots;
        return;
    }
    for (uint32_t i = 1; i < slots; i++)
        last = ring->free_next[last];
    ring->free_next[last] = ring->free_head;
    ring->free_head = id;
    ring->free_count += slots;
}

void
vdt_device_ring_post(struct vdt_device_ring *ring, const struct vdt_chain *chain, uint16_t id,
                     uint64_t table, uint32_t table_len)
{
    if (is_split(ring))
        vdt_device_split_post(ring, chain, id, table, table_len);
    else
        vdt_device_packed_post(ring, chain, id, table, table_len);
}

bool
vdt_device_ring_put_pair(struct vdt_device_ring *ring, uint64_t out, uint32_t out_len, uint64_t in,
                         uint32_t in_len, uint16_t *ret_id)
{
    struct vdt_seg segs[2] = {{.addr = out, .len = out_len, .flags = VDT_SEG_NEXT},
                              {.addr = in, .len = in_len, .flags = VDT_SEG_WRITE}};
    struct vdt_chain chain = {
        .seg = segs,
        .capacity = 2,
        .count = 2,
        .direct = 2,
        .slots = 2,
        .readable = out_len,
        .writable = in_len,
    };

    if (!vdt_device_ring_lay(ring, &chain, ret_id))
        return false;
    vdt_device_ring_post(ring, &chain, *ret_id, 0, 0);
    return true;
}

unsigned
vdt_device_ring_reap_some(struct vdt_device_ring *ring, struct vdt_used *used, unsigned max)
{
    unsigned n = 0;

    if (is_split(ring) && !ring->format.in_order)
        return vdt_device_split_reap_pairs(ring, used, max);
    while (n < max && vdt_device_ring_reap(ring, &used[n]) == VDT_REAP_USED)
        n++;
    return n;
}

bool
vdt_device_ring_publish(struct vdt_device_ring *ring)
{
    return is_split(ring) ? vdt_device_split_publish(ring) : vdt_device_packed_publish(ring);
}

enum vdt_reap
vdt_device_ring_reap(struct vdt_device_ring *ring, struct vdt_used *ret_used)
{
    return is_split(ring) ? vdt_device_split_reap(ring, ret_used)
                          : vdt_device_packed_reap(ring, ret_used);
}

bool
vdt_device_ring_seems_empty(const struct vdt_device_ring *ring)
{
    uint16_t pos = ring->pos.used;

    if (ring->in_batch)
        return false;
    if (is_split(ring))
        return ring->used_seen == pos;
    return !vdt_packed_is_used(vdt_load16(vdt_packed_flags(ring->mem.desc, pos)), pos);
}

void
vdt_device_ring_calls_off(struct vdt_device_ring *ring)
{
    if (is_split(ring))
        vdt_device_split_calls_off(ring);
    else
        vdt_device_packed_calls_off(ring);
}

bool
vdt_device_ring_calls_on(struct vdt_device_ring *ring)
{
    bool more = is_split(ring) ? vdt_device_split_calls_on(ring) : vdt_device_packed_calls_on(ring);

    /* Of a batch the device has used all; a ring out of service yields nothing. */
    return (more || ring->in_batch) && ring->fault == VDT_FAULT_NONE;
}

bool
vdt_device_ring_id_in_flight(const struct vdt_device_ring *ring, uint16_t id)
{
    return id < ring->format.num && vdt_posted_of(ring, id)->slots != 0;
}
