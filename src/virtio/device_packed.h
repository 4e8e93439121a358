/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Device packed ring: what "virtio/device_ring.h" promises, for VDT_RING_PACKED. Go through that
 * header.
 */
#pragma once

#include "virtio/device_ring.h"

void vdt_device_packed_init(struct vdt_device_ring *ring);
void vdt_device_packed_post(struct vdt_device_ring *ring, const struct vdt_chain *chain,
                            uint16_t id, uint64_t table, uint32_t table_len);
bool vdt_device_packed_publish(struct vdt_device_ring *ring);
enum vdt_reap vdt_device_packed_reap(struct vdt_device_ring *ring, struct vdt_used *ret_used);
void vdt_device_packed_calls_off(struct vdt_device_ring *ring);
bool vdt_device_packed_calls_on(struct vdt_device_ring *ring);
