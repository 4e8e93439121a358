/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The config space is frozen for a guest's life: a copy of the first device's. On top of it lie the
 * MAC address that the guest (or the user) chose, and the status field: link as the device has it
 * now, and our own wish for an announcement.
 */
#include <string.h>

#include "base/log.h"
#include "base/wire.h"
#include "daemon/nic_private.h"
#include "migration/admit.h"
#include "virtio/net_ctrl.h"

#define CONFIG_MAC offsetof(struct virtio_net_config, mac)
#define CONFIG_STATUS offsetof(struct virtio_net_config, status)
#define CONFIG_PAIRS offsetof(struct virtio_net_config, max_virtqueue_pairs)
#define CONFIG_RSS_KEY offsetof(struct virtio_net_config, rss_max_key_size)
#define CONFIG_RSS_TABLE offsetof(struct virtio_net_config, rss_max_indirection_table_length)
#define CONFIG_HASHES offsetof(struct virtio_net_config, supported_hash_types)

/* RARP request (RFC 903) of @mac for itself, to everybody: switches learn the port. */
#define RARP_LEN 60u
#define ETHERTYPE_RARP 0x8035u

static uint16_t
config16(const struct vdt_nic *nic, size_t offset)
{
    return offset + 2 <= nic->config_len ? vdt_get16(nic->config + offset) : 0;
}

/* What the guest reads is what its commands are checked against. */
static void
set_limits(struct vdt_nic *nic)
{
    uint64_t offered = vdt_nic_offered(nic);
    bool many = offered & (VDT_BIT(VIRTIO_NET_F_MQ) | VDT_BIT(VIRTIO_NET_F_RSS));
    bool hashes = offered & (VDT_BIT(VIRTIO_NET_F_RSS) | VDT_BIT(VIRTIO_NET_F_HASH_REPORT));
    struct vdt_control_limits *limits = &nic->model.limits;

    limits->max_pairs = many ? MIN(config16(nic, CONFIG_PAIRS), VDT_PAIRS_MAX) : 1;
    if (limits->max_pairs == 0)
        limits->max_pairs = 1;
    if (!hashes)
        return;
    if (CONFIG_RSS_KEY < nic->config_len)
        limits->rss_key_max = nic->config[CONFIG_RSS_KEY];
    limits->rss_table_max = MIN(config16(nic, CONFIG_RSS_TABLE), VDT_RSS_TABLE_MAX);
    if (CONFIG_HASHES + 4 <= nic->config_len)
        limits->hash_types = vdt_get32(nic->config + CONFIG_HASHES);
}

bool
vdt_nic_config_init(struct vdt_nic *nic, GError **error)
{
    struct vdt_device *dev = vdt_shadow_device(nic->shadow);

    if (!vdt_admit_read_config(dev, nic->config, &nic->config_len, error)) {
        g_prefix_error(error, "reading the config space of %s: ", dev->info.name);
        return false;
    }
    if (nic->limited)
        vdt_baseline_clamp(&nic->baseline, nic->config, nic->config_len);
    vdt_control_model_init(&nic->model);
    if (nic->device_id != VIRTIO_ID_NET)
        return true;
    nic->link_status = config16(nic, CONFIG_STATUS);
    set_limits(nic);
    return true;
}

/* The guest of @state uses the address that it read at its source. */
static bool
brings_mac(const struct vdt_nic *nic, const struct vdt_snapshot *state)
{
    return state && state->device_id == VIRTIO_ID_NET &&
           state->guest_features & VDT_BIT(VIRTIO_NET_F_MAC) &&
           state->config_len >= CONFIG_MAC + 6 && nic->config_len >= CONFIG_MAC + 6;
}

void
vdt_nic_config_take(struct vdt_nic *nic, const uint8_t config[VDT_CONFIG_MAX], uint32_t len)
{
    memcpy(nic->config, config, VDT_CONFIG_MAX);
    nic->config_len = len;
    if (nic->device_id == VIRTIO_ID_NET)
        set_limits(nic);
}

void
vdt_nic_config_mac_with(const struct vdt_nic *nic, const struct vdt_snapshot *state, uint8_t mac[6])
{
    if (state && state->net.set & VDT_NET_MAC)
        memcpy(mac, state->net.mac, 6);
    else if (nic->mac_given)
        memcpy(mac, nic->mac, 6);
    else if (brings_mac(nic, state))
        memcpy(mac, state->config + CONFIG_MAC, 6);
    else
        memcpy(mac, nic->config + CONFIG_MAC, 6);
}

void
vdt_nic_config_mac(struct vdt_nic *nic, uint8_t mac[6])
{
    if (nic->model.state.set & VDT_NET_MAC)
        memcpy(mac, nic->model.state.mac, 6);
    else
        vdt_nic_config_mac_with(nic, nic->loaded, mac);
}

void
vdt_nic_config_read(struct vdt_nic *nic, uint8_t config[VDT_CONFIG_MAX])
{
    memcpy(config, nic->config, VDT_CONFIG_MAX);
    if (nic->device_id != VIRTIO_ID_NET)
        return;
    if (nic->config_len >= CONFIG_MAC + 6)
        vdt_nic_config_mac(nic, config + CONFIG_MAC);
    if (nic->config_len >= CONFIG_STATUS + 2)
        vdt_put16(config + CONFIG_STATUS,
                  (uint16_t) (nic->link_status | (nic->announce ? VIRTIO_NET_S_ANNOUNCE : 0)));
}

void
vdt_nic_config_follow(struct vdt_nic *nic, const struct vdt_snapshot *state)
{
    if (brings_mac(nic, state))
        memcpy(nic->config + CONFIG_MAC, state->config + CONFIG_MAC, 6);
}

bool
vdt_nic_config_refresh(struct vdt_nic *nic)
{
    struct vdt_device *dev = vdt_shadow_device(nic->shadow);
    g_autoptr(GError) error = NULL;
    uint16_t before = nic->link_status;
    uint8_t status[2];

    if (nic->device_id != VIRTIO_ID_NET || !(dev->info.features & VDT_BIT(VIRTIO_NET_F_STATUS)))
        return false;
    if (!VDT_DEVICE_CALL(dev, get_config, &error, CONFIG_STATUS, status, sizeof(status))) {
        vdt_warning("%s: link status of %s: %s", nic->name, dev->info.name, error->message);
        return false;
    }
    nic->link_status = vdt_get16(status);
    return nic->link_status != before;
}

bool
vdt_nic_guest_announces(const struct vdt_nic *nic)
{
    uint64_t need = VDT_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) | VDT_BIT(VIRTIO_NET_F_CTRL_VQ) |
                    VDT_BIT(VIRTIO_NET_F_STATUS);

    return nic->device_id == VIRTIO_ID_NET && (nic->acked & need) == need;
}

void
vdt_nic_announce_ask(struct vdt_nic *nic)
{
    if (!vdt_nic_guest_announces(nic) || !nic->relay)
        return;
    nic->announce = true;
    nic->model.state.announce = true;
    vdt_cvq_relay_expect_announce(nic->relay, true);
    vdt_nic_journal(nic);
    if (nic->session)
        vdt_session_config_changed(nic->session);
}

void
vdt_nic_announce_done(struct vdt_nic *nic)
{
    nic->announce = false;
    nic->model.state.announce = false;
    if (nic->relay)
        vdt_cvq_relay_expect_announce(nic->relay, false);
}

void
vdt_nic_rarp(struct vdt_nic *nic, const uint8_t mac[6])
{
    uint8_t frame[RARP_LEN] = {0};
    uint8_t *arp = frame + 14;

    if (nic->device_id != VIRTIO_ID_NET)
        return;
    memset(frame, 0xff, 6);
    memcpy(frame + 6, mac, 6);
    frame[12] = ETHERTYPE_RARP >> 8;
    frame[13] = ETHERTYPE_RARP & 0xff;
    arp[1] = 1; /* Ethernet */
    arp[2] = 8; /* IPv4 */
    arp[4] = 6; /* address lengths */
    arp[5] = 4;
    arp[7] = 3; /* request reverse */
    memcpy(arp + 8, mac, 6);
    memcpy(arp + 18, mac, 6);
    vdt_shadow_send_first(nic->shadow, frame, sizeof(frame));
    nic->rarp_sent = true;
}
