/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest split ring: what "virtio/guest_ring.h" promises, for VDT_RING_SPLIT. Go through that
 * header.
 */
#pragma once

#include "virtio/guest_ring.h"

enum vdt_take vdt_guest_split_take(struct vdt_guest_ring *ring, const struct vdt_reader *reader,
                                   struct vdt_chain *chain);
enum vdt_take vdt_guest_split_take_head(struct vdt_guest_ring *ring,
                                        const struct vdt_reader *reader, uint16_t head,
                                        struct vdt_chain *chain);
void vdt_guest_split_give(struct vdt_guest_ring *ring, uint16_t id, uint32_t len);
void vdt_guest_split_publish(struct vdt_guest_ring *ring);
bool vdt_guest_split_needs_call(struct vdt_guest_ring *ring, uint16_t from);
void vdt_guest_split_kicks_off(struct vdt_guest_ring *ring);
bool vdt_guest_split_kicks_on(struct vdt_guest_ring *ring);
unsigned vdt_guest_split_written(const struct vdt_guest_ring *ring, uint16_t from,
                                 struct vdt_ring_span *spans);
