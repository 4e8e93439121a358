/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virtio/guest_ring.h"

#include "base/wire.h"
#include "virtio/guest_packed.h"
#include "virtio/guest_split.h"
#include "virtio/packed_layout.h"
#include "virtio/split_layout.h"

static bool
is_split(const struct vdt_guest_ring *ring)
{
    return ring->format.kind == VDT_RING_SPLIT;
}

void
vdt_guest_ring_init(struct vdt_guest_ring *ring, const struct vdt_ring_format *format,
                    const struct vdt_ring_mem *mem, struct vdt_ring_pos pos)
{
    *ring = (struct vdt_guest_ring){
        .format = *format,
        .mem = *mem,
        .pos = pos,
        .avail_seen = pos.avail,
        .published = pos.used,
    };
    if (!vdt_ring_pos_valid(format, pos))
        ring->fault = VDT_FAULT_AVAIL_INDEX;
    else if (is_split(ring))
        ring->in_flight = (uint16_t) (pos.avail - pos.used);
    else
        ring->in_flight = vdt_packed_distance(pos.used, pos.avail, format->num);
}

enum vdt_take
vdt_guest_ring_take(struct vdt_guest_ring *ring, const struct vdt_reader *reader,
                    struct vdt_chain *chain)
{
    return is_split(ring) ? vdt_guest_split_take(ring, reader, chain)
                          : vdt_guest_packed_take(ring, reader, chain);
}

bool
vdt_guest_ring_seems_empty(const struct vdt_guest_ring *ring)
{
    uint16_t pos = ring->pos.avail;

    if (is_split(ring))
        return ring->avail_seen == pos;
    return !vdt_packed_is_avail(vdt_load16(vdt_packed_flags(ring->mem.desc, pos)), pos);
}

void
vdt_guest_ring_untake(struct vdt_guest_ring *ring, const struct vdt_chain *chain)
{
    if (is_split(ring)) {
        ring->pos.avail--;
        ring->in_flight--;
    } else {
        /* The first slot of the chain; it was in the lap before if the chain went over the end. */
        uint16_t wrap = ring->pos.avail & 0x8000;

        if ((ring->pos.avail & 0x7fff) <= chain->head)
            wrap ^= 0x8000;
        ring->pos.avail = chain->head | wrap;
        ring->in_flight -= chain->slots;
    }
}

void
vdt_guest_ring_give(struct vdt_guest_ring *ring, uint16_t id, uint16_t slots, uint32_t len)
{
    if (is_split(ring))
        vdt_guest_split_give(ring, id, len);
    else
        vdt_guest_packed_give(ring, id, slots, len);
}

void
vdt_guest_ring_publish(struct vdt_guest_ring *ring)
{
    if (is_split(ring))
        vdt_guest_split_publish(ring);
    else
        vdt_guest_packed_publish(ring);
}

bool
vdt_guest_ring_needs_call(struct vdt_guest_ring *ring, uint16_t published_from)
{
    return is_split(ring) ? vdt_guest_split_needs_call(ring, published_from)
                          : vdt_guest_packed_needs_call(ring, published_from);
}

void
vdt_guest_ring_kicks_off(struct vdt_guest_ring *ring)
{
    if (is_split(ring))
        vdt_guest_split_kicks_off(ring);
    else
        vdt_guest_packed_kicks_off(ring);
}

bool
vdt_guest_ring_kicks_on(struct vdt_guest_ring *ring)
{
    bool more = is_split(ring) ? vdt_guest_split_kicks_on(ring) : vdt_guest_packed_kicks_on(ring);

    /* A ring out of service has nothing to take, whatever its memory says. */
    return more && ring->fault == VDT_FAULT_NONE;
}

unsigned
vdt_guest_ring_written(const struct vdt_guest_ring *ring, uint16_t from,
                       struct vdt_ring_span spans[VDT_RING_SPANS_MAX])
{
    return is_split(ring) ? vdt_guest_split_written(ring, from, spans)
                          : vdt_guest_packed_written(ring, from, spans);
}

uint32_t
vdt_guest_ring_heads(const struct vdt_guest_ring *ring, uint16_t from, uint16_t to, uint16_t *heads,
                     bool *ret_ok)
{
    uint16_t num = ring->format.num;
    uint32_t count = (uint16_t) (to - from);

    *ret_ok = false;
    if (!is_split(ring) || count > num)
        return 0;
    for (uint32_t i = 0; i < count; i++) {
        heads[i] = vdt_load16(vdt_split_avail_entry(ring->mem.driver, num, (uint16_t) (from + i)));
        if (heads[i] >= num)
            return i;
    }
    *ret_ok = true;
    return count;
}

enum vdt_take
vdt_guest_ring_take_head(struct vdt_guest_ring *ring, const struct vdt_reader *reader,
                         uint16_t head, struct vdt_chain *chain)
{
    return vdt_guest_split_take_head(ring, reader, head, chain);
}
