/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Negotiation: the three feature sets, in one place: what we offer to the frontend, what it acked,
 * what is negotiated with the device; and the queue indices that follow from each.
 */
#pragma once

#include <glib.h>

#include "device/device.h"

struct vdt_negotiation {
    uint64_t offered;         /* to the frontend; transport bits of vhost-user not included */
    uint64_t acked;           /* by the frontend */
    uint64_t device;          /* with the device, 0 before set_features */
    uint32_t guest_max_pairs; /* as its config space says */
    uint32_t device_max_pairs;
    int guest_cvq;  /* ring index as the guest counts, -1 without CTRL_VQ */
    int device_cvq; /* ring index at the device, -1 without */
};

/* Reasons for bits that a device offers and we do not: a sentence for status. NULL: it is offered.
 */
const char *vdt_feature_withheld(unsigned bit);

/* By themselves these let everything through; a device with CTRL_VLAN has to be told of each VLAN.
 */
#define VDT_DRIVE                                                                                  \
    (VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_CTRL_RX) |                               \
     VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR))

/* @mask: bits that policy allows at all. Fills @offered and the pairs from the device's config. */
bool vdt_negotiation_init(struct vdt_negotiation *n, struct vdt_device *dev, uint64_t mask,
                          GError **error);

/*
 * The frontend acked @acked. False with @error: bits that were not offered, no VERSION_1.
 * @drive: control features that are taken from the device also where the guest did not, since the
 * tracker sends their commands itself: VDT_DRIVE, with CTRL_VLAN or without; 0: none.
 */
bool vdt_negotiation_ack(struct vdt_negotiation *n, const struct vdt_device_info *info,
                         uint64_t acked, uint64_t drive, GError **error);

/* Another device takes the place of the first: what the guest was told stays, what is the device's
 * own (its pairs, its control queue's index) is found anew. False with @error, @n unchanged. */
bool vdt_negotiation_move(struct vdt_negotiation *n, struct vdt_device *dev, uint64_t drive,
                          GError **error);
