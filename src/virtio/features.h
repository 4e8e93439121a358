/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Feature bits: names, and groups of them that policy needs. Bits 0-63; vhost knows no others.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "virtio/net_ctrl.h"
#include "virtio/ring.h"

/* "CTRL_VQ", ...; NULL for a bit without a name. @device_id 1 = net, 2 = block. */
const char *vdt_feature_name(uint32_t device_id, unsigned bit);

/* "CSUM CTRL_VQ bit47", ascending. Caller frees. */
char *vdt_features_to_string(uint32_t device_id, uint64_t features);

/* One name as above or "bitN" -> bit number; -1 if unknown. */
int vdt_feature_from_name(uint32_t device_id, const char *name);

/* virtio-net: the bits that mean nothing without CTRL_VQ. */
uint64_t vdt_net_features_needing_ctrl_vq(void);

/* virtio-net: @features without those that mean nothing for want of others (virtio 1.2, 5.1.3.1). */
uint64_t vdt_net_features_sound(uint64_t features);

/* Ring format that @features imply for a ring of @num entries. */
struct vdt_ring_format vdt_features_ring_format(uint64_t features, uint16_t num);

/* The device's control queue by virtio 1.2, 5.1.2: 2 * pairs with MQ (or RSS) negotiated, else 2. */
uint32_t vdt_net_cvq_index(uint64_t features, uint32_t max_pairs);
