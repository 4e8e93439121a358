/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest packed ring: what "virtio/guest_ring.h" promises, for VDT_RING_PACKED. Go through that
 * header.
 */
#pragma once

#include "virtio/guest_ring.h"

enum vdt_take vdt_guest_packed_take(struct vdt_guest_ring *ring, const struct vdt_reader *reader,
                                    struct vdt_chain *chain);
void vdt_guest_packed_give(struct vdt_guest_ring *ring, uint16_t id, uint16_t slots, uint32_t len);
void vdt_guest_packed_publish(struct vdt_guest_ring *ring);
bool vdt_guest_packed_needs_call(struct vdt_guest_ring *ring, uint16_t from);
void vdt_guest_packed_kicks_off(struct vdt_guest_ring *ring);
bool vdt_guest_packed_kicks_on(struct vdt_guest_ring *ring);
unsigned vdt_guest_packed_written(const struct vdt_guest_ring *ring, uint16_t from,
                                  struct vdt_ring_span *spans);

/* Slots that the driver may have made available: what is staged and not published it cannot know to
 * be its own again, so that counts as ours. */
static inline uint32_t
vdt_guest_packed_room(const struct vdt_guest_ring *ring)
{
    uint16_t num = ring->format.num;

    return num - vdt_packed_distance(ring->published, ring->pos.avail, num);
}
