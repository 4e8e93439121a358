/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virtio/features.h"

#include <string.h>

#define BITS 64u

/* Names without their VIRTIO_..._F_ prefix. Bits 24-41 belong to the transport and the rings, the
 * rest to the device type. */
static const char *const transport_names[BITS] = {
    [24] = "NOTIFY_ON_EMPTY",   [26] = "LOG_ALL", /* vhost's, never the guest's */
    [27] = "ANY_LAYOUT",        [28] = "INDIRECT_DESC",     [29] = "EVENT_IDX",
    [30] = "PROTOCOL_FEATURES", /* vhost-user's, never the guest's */
    [32] = "VERSION_1",         [33] = "ACCESS_PLATFORM",   [34] = "RING_PACKED",
    [35] = "IN_ORDER",          [36] = "ORDER_PLATFORM",    [37] = "SR_IOV",
    [38] = "NOTIFICATION_DATA", [39] = "NOTIF_CONFIG_DATA", [40] = "RING_RESET",
    [41] = "ADMIN_VQ",
};

static const char *const net_names[BITS] = {
    [0] = "CSUM",
    [1] = "GUEST_CSUM",
    [2] = "CTRL_GUEST_OFFLOADS",
    [3] = "MTU",
    [5] = "MAC",
    [6] = "GSO",
    [7] = "GUEST_TSO4",
    [8] = "GUEST_TSO6",
    [9] = "GUEST_ECN",
    [10] = "GUEST_UFO",
    [11] = "HOST_TSO4",
    [12] = "HOST_TSO6",
    [13] = "HOST_ECN",
    [14] = "HOST_UFO",
    [15] = "MRG_RXBUF",
    [16] = "STATUS",
    [17] = "CTRL_VQ",
    [18] = "CTRL_RX",
    [19] = "CTRL_VLAN",
    [20] = "CTRL_RX_EXTRA",
    [21] = "GUEST_ANNOUNCE",
    [22] = "MQ",
    [23] = "CTRL_MAC_ADDR",
    [50] = "DEVICE_STATS",
    [51] = "HASH_TUNNEL",
    [52] = "VQ_NOTF_COAL",
    [53] = "NOTF_COAL",
    [54] = "GUEST_USO4",
    [55] = "GUEST_USO6",
    [56] = "HOST_USO",
    [57] = "HASH_REPORT",
    [59] = "GUEST_HDRLEN",
    [60] = "RSS",
    [61] = "RSC_EXT",
    [62] = "STANDBY",
    [63] = "SPEED_DUPLEX",
};

static const char *const block_names[BITS] = {
    [0] = "BARRIER",       [1] = "SIZE_MAX",  [2] = "SEG_MAX",
    [4] = "GEOMETRY",      [5] = "RO",        [6] = "BLK_SIZE",
    [7] = "SCSI",          [9] = "FLUSH",     [10] = "TOPOLOGY",
    [11] = "CONFIG_WCE",   [12] = "MQ",       [13] = "DISCARD",
    [14] = "WRITE_ZEROES", [15] = "LIFETIME", [16] = "SECURE_ERASE",
    [17] = "ZONED",
};

const char *
vdt_feature_name(uint32_t device_id, unsigned bit)
{
    if (bit >= BITS)
        return NULL;
    if (transport_names[bit])
        return transport_names[bit];
    switch (device_id) {
    case VIRTIO_ID_NET:
        return net_names[bit];
    case VIRTIO_ID_BLOCK:
        return block_names[bit];
    default:
        return NULL;
    }
}

char *
vdt_features_to_string(uint32_t device_id, uint64_t features)
{
    GString *text = g_string_new(NULL);

    for (unsigned bit = 0; bit < BITS; bit++) {
        if (!(features >> bit & 1))
            continue;
        if (text->len > 0)
            g_string_append_c(text, ' ');
        const char *name = vdt_feature_name(device_id, bit);
        if (name)
            g_string_append(text, name);
        else
            g_string_append_printf(text, "bit%u", bit);
    }
    return g_string_free(text, FALSE);
}

int
vdt_feature_from_name(uint32_t device_id, const char *name)
{
    guint64 bit;

    for (unsigned i = 0; i < BITS; i++) {
        const char *known = vdt_feature_name(device_id, i);
        if (known && strcmp(known, name) == 0)
            return (int) i;
    }
    if (g_str_has_prefix(name, "bit") && g_ascii_isdigit(name[3]) &&
        g_ascii_string_to_unsigned(name + 3, 10, 0, BITS - 1, &bit, NULL))
        return (int) bit;
    return -1;
}

uint64_t
vdt_net_features_needing_ctrl_vq(void)
{
    return VDT_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | VDT_BIT(VIRTIO_NET_F_CTRL_RX) |
           VDT_BIT(VIRTIO_NET_F_CTRL_VLAN) | VDT_BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) |
           VDT_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) | VDT_BIT(VIRTIO_NET_F_MQ) |
           VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) | VDT_BIT(VIRTIO_NET_F_DEVICE_STATS) |
           VDT_BIT(VIRTIO_NET_F_HASH_TUNNEL) | VDT_BIT(VIRTIO_NET_F_VQ_NOTF_COAL) |
           VDT_BIT(VIRTIO_NET_F_NOTF_COAL) | VDT_BIT(VIRTIO_NET_F_HASH_REPORT) |
           VDT_BIT(VIRTIO_NET_F_RSS);
}

uint64_t
vdt_net_features_sound(uint64_t features)
{
#define BIT(feature) VDT_BIT(VIRTIO_NET_F_##feature)
    /* In this order one pass is enough: what others need comes first. */
    static const struct {
        uint64_t features, need; /* one of @need */
    } rules[] = {
        {BIT(GUEST_TSO4) | BIT(GUEST_TSO6) | BIT(GUEST_UFO), BIT(GUEST_CSUM)},
        {BIT(GUEST_USO4) | BIT(GUEST_USO6), BIT(GUEST_CSUM)},
        {BIT(GUEST_ECN), BIT(GUEST_TSO4) | BIT(GUEST_TSO6)},
        {BIT(HOST_TSO4) | BIT(HOST_TSO6) | BIT(HOST_UFO) | BIT(HOST_USO), BIT(CSUM)},
        {BIT(HOST_ECN) | BIT(RSC_EXT), BIT(HOST_TSO4) | BIT(HOST_TSO6)},
    };

    if (!(features & BIT(CTRL_VQ)))
        features &= ~vdt_net_features_needing_ctrl_vq();
    for (unsigned i = 0; i < G_N_ELEMENTS(rules); i++) {
        if (!(features & rules[i].need))
            features &= ~rules[i].features;
    }
    return features;
#undef BIT
}

struct vdt_ring_format
vdt_features_ring_format(uint64_t features, uint16_t num)
{
    return (struct vdt_ring_format){
        .kind = features & VDT_BIT(VIRTIO_F_RING_PACKED) ? VDT_RING_PACKED : VDT_RING_SPLIT,
        .num = num,
        .event_idx = (features & VDT_BIT(VIRTIO_RING_F_EVENT_IDX)) != 0,
        .indirect = (features & VDT_BIT(VIRTIO_RING_F_INDIRECT_DESC)) != 0,
        .in_order = (features & VDT_BIT(VIRTIO_F_IN_ORDER)) != 0,
    };
}

uint32_t
vdt_net_cvq_index(uint64_t features, uint32_t max_pairs)
{
    if (!(features & (VDT_BIT(VIRTIO_NET_F_MQ) | VDT_BIT(VIRTIO_NET_F_RSS))))
        return 2;
    return 2 * MAX(max_pairs, 1);
}
