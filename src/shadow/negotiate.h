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

/* @mask: bits that policy allows at all. Fills @offered and the pairs from the device's config. */
bool vdt_negotiation_init(struct vdt_negotiation *n, struct vdt_device *dev, uint64_t mask,
                          GError **error);

/*
 * The frontend acked @acked. False with @error: bits that were not offered, no VERSION_1.
 * @drive_cvq: take CTRL_VQ (and MAC, RX commands, not VLAN) from the device also where the guest
 * did not.
 */
bool vdt_negotiation_ack(struct vdt_negotiation *n, const struct vdt_device_info *info,
                         uint64_t acked, bool drive_cvq, GError **error);

/* Another device takes the place of the first: what the guest was told stays, what is the device's
 * own (its pairs, its control queue's index) is found anew. False with @error, @n unchanged. */
bool vdt_negotiation_move(struct vdt_negotiation *n, struct vdt_device *dev, bool drive_cvq,
                          GError **error);
