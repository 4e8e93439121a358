/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rig: a driver with one pair and its script, each of its queues in the hands of a toy device. */
#pragma once

#include "guest/script.h"
#include "unit/guest/toy.h"

#define FEATURES                                                                                   \
    (VDT_BIT(VIRTIO_F_VERSION_1) | VDT_BIT(VIRTIO_NET_F_MRG_RXBUF) |                               \
     VDT_BIT(VIRTIO_RING_F_INDIRECT_DESC) | VDT_BIT(VIRTIO_NET_F_CTRL_VQ) |                        \
     VDT_BIT(VIRTIO_NET_F_CTRL_RX) | VDT_BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) |                         \
     VDT_BIT(VIRTIO_NET_F_CTRL_VLAN) | VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |                       \
     VDT_BIT(VIRTIO_NET_F_MQ) | VDT_BIT(VIRTIO_NET_F_RSS) | VDT_BIT(VIRTIO_NET_F_HASH_REPORT) |    \
     VDT_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | VDT_BIT(VIRTIO_NET_F_GUEST_CSUM) |                \
     VDT_BIT(VIRTIO_NET_F_NOTF_COAL) | VDT_BIT(VIRTIO_NET_F_VQ_NOTF_COAL) |                        \
     VDT_BIT(VIRTIO_NET_F_DEVICE_STATS) | VDT_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE))

struct rig {
    struct vdt_ram ram;
    struct vdt_driver driver;
    struct vdt_script script;
    struct toy rx, tx, control;
};

extern struct rig rig;

void rig_init(uint64_t features);
void rig_clear(void);
