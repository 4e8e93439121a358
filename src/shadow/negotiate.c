/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shadow/negotiate.h"

#include <linux/virtio_blk.h>
#include <stddef.h>

#include <vdpa-tracker/error.h>

#include "base/wire.h"
#include "virtio/features.h"

#define BLK_F_ZONED 17 /* virtio 1.3; not in Debian 12's headers */

/* What a device may offer and a guest never sees, with the reason. */
static const struct {
    unsigned bit;
    const char *reason;
} withheld[] = {
    {VIRTIO_F_ACCESS_PLATFORM,
     "used towards the device only: over vhost-user it would turn ring addresses into IOVAs"},
    {VIRTIO_F_RING_RESET, "vhost has no way to reset one ring of a device"},
    {VIRTIO_F_NOTIFICATION_DATA, "an eventfd carries no notification data"},
    {VIRTIO_F_NOTIF_CONFIG_DATA, "an eventfd carries no notification data"},
    {VIRTIO_F_ADMIN_VQ, "an administration queue is not part of a NIC's state"},
    {VIRTIO_F_SR_IOV, "virtual functions cannot be carried to another device"},
    {VIRTIO_F_ORDER_PLATFORM, "the shadow rings are in ordinary memory"},
    {VIRTIO_F_NOTIFY_ON_EMPTY, "legacy; rings are virtio 1"},
    {VIRTIO_F_ANY_LAYOUT, "legacy; implied by virtio 1"},
    {26, "stands for dirty logging on vhost-user"},
    {30, "stands for protocol features on vhost-user"},
};

/* What no guest can do without, and what a device demands of us alone. */
static const uint64_t device_only = VDT_BIT(VIRTIO_F_ACCESS_PLATFORM);

const char *
vdt_feature_withheld(unsigned bit)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(withheld); i++) {
        if (withheld[i].bit == bit)
            return withheld[i].reason;
    }
    return NULL;
}

static bool
read_max_pairs(struct vdt_device *dev, uint32_t *ret_pairs, GError **error)
{
    uint8_t field[2];

    *ret_pairs = 1;
    if (dev->info.device_id != VIRTIO_ID_NET ||
        !(dev->info.features & (VDT_BIT(VIRTIO_NET_F_MQ) | VDT_BIT(VIRTIO_NET_F_RSS))))
        return true;
    if (!VDT_DEVICE_CALL(dev, get_config, error,
                         (uint32_t) offsetof(struct virtio_net_config, max_virtqueue_pairs), field,
                         (uint32_t) sizeof(field)))
        return false;

    *ret_pairs = vdt_get16(field);
    if (*ret_pairs < 1 || *ret_pairs > 0x8000) {
        g_set_error(
            error, VDT_ERROR, VDT_ERROR_INVALID,
            "%s: config space says %u queue pairs, 1 to 32768 are possible; the device is not used",
            dev->info.name, *ret_pairs);
        return false;
    }
    if (*ret_pairs > VDT_PAIRS_MAX)
        *ret_pairs = VDT_PAIRS_MAX;
    return true;
}

bool
vdt_negotiation_init(struct vdt_negotiation *n, struct vdt_device *dev, uint64_t mask,
                     GError **error)
{
    uint64_t offered = dev->info.features & mask;

    if (!(dev->info.features & VDT_BIT(VIRTIO_F_VERSION_1))) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                    "%s does not offer VERSION_1: legacy devices cannot be shadowed",
                    dev->info.name);
        return false;
    }
    offered |= VDT_BIT(VIRTIO_F_VERSION_1);
    for (unsigned i = 0; i < G_N_ELEMENTS(withheld); i++)
        offered &= ~VDT_BIT(withheld[i].bit);
    /* A ring that goes on after a switch starts where the guest's stands: only then is order kept.
     */
    if (!dev->info.set_base)
        offered &= ~VDT_BIT(VIRTIO_F_IN_ORDER);
    if (dev->info.device_id == VIRTIO_ID_NET && !(offered & VDT_BIT(VIRTIO_NET_F_CTRL_VQ)))
        offered &= ~vdt_net_features_needing_ctrl_vq();
    /* What a guest writes into config space, or leaves in the device, is not carried. */
    if (dev->info.device_id == VIRTIO_ID_BLOCK)
        offered &= ~(VDT_BIT(VIRTIO_BLK_F_CONFIG_WCE) | VDT_BIT(BLK_F_ZONED));

    *n = (struct vdt_negotiation){.offered = offered, .guest_cvq = -1, .device_cvq = -1};
    if (!read_max_pairs(dev, &n->device_max_pairs, error))
        return false;
    n->guest_max_pairs = n->device_max_pairs;
    return true;
}

bool
vdt_negotiation_ack(struct vdt_negotiation *n, const struct vdt_device_info *info, uint64_t acked,
                    uint64_t drive, GError **error)
{
    uint64_t stray = acked & ~n->offered;

    if (stray) {
        g_autofree char *names = vdt_features_to_string(info->device_id, stray);
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "the frontend acknowledged features that were not offered: %s", names);
        return false;
    }
    if (!(acked & VDT_BIT(VIRTIO_F_VERSION_1))) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                    "the guest did not accept VERSION_1: legacy drivers cannot be shadowed");
        return false;
    }

    uint64_t device = acked | (info->features & device_only);
    if (info->device_id == VIRTIO_ID_NET && (info->features & VDT_BIT(VIRTIO_NET_F_CTRL_VQ)) &&
        !(acked & VDT_BIT(VIRTIO_NET_F_CTRL_VQ)))
        device |= info->features & drive;

    n->acked = acked;
    n->device = device;
    n->guest_cvq = -1;
    n->device_cvq = -1;
    if (info->device_id == VIRTIO_ID_NET) {
        if (acked & VDT_BIT(VIRTIO_NET_F_CTRL_VQ))
            n->guest_cvq = (int) vdt_net_cvq_index(acked, n->guest_max_pairs);
        if (device & VDT_BIT(VIRTIO_NET_F_CTRL_VQ))
            n->device_cvq = (int) vdt_net_cvq_index(device, n->device_max_pairs);
    }
    return true;
}

bool
vdt_negotiation_move(struct vdt_negotiation *n, struct vdt_device *dev, uint64_t drive,
                     GError **error)
{
    struct vdt_negotiation moved = *n;
    uint64_t missing = moved.acked & ~dev->info.features;

    if (missing) {
        g_autofree char *names = vdt_features_to_string(dev->info.device_id, missing);
        g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                    "%s does not offer what the guest uses: %s; it does not take the place",
                    dev->info.name, names);
        return false;
    }
    if (!read_max_pairs(dev, &moved.device_max_pairs, error) ||
        (n->device != 0 && !vdt_negotiation_ack(&moved, &dev->info, moved.acked, drive, error)))
        return false;
    *n = moved;
    return true;
}
