/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Device split ring: what "virtio/device_ring.h" promises, for VDT_RING_SPLIT. Go through that
 * header.
 */
#pragma once

#include "virtio/device_ring.h"

void vdt_device_split_init(struct vdt_device_ring *ring);
void vdt_device_split_post(struct vdt_device_ring *ring, const struct vdt_chain *chain, uint16_t id,
                           uint64_t table, uint32_t table_len);
bool vdt_device_split_publish(struct vdt_device_ring *ring);
enum vdt_reap vdt_device_split_reap(struct vdt_device_ring *ring, struct vdt_used *ret_used);
void vdt_device_split_calls_off(struct vdt_device_ring *ring);
bool vdt_device_split_calls_on(struct vdt_device_ring *ring);
