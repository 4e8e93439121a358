/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Net state: what a virtio-net device was told over its control queue, as plain data.
 *
 * The tracker's model, the embedded device, snapshots and read-back all speak this struct. It holds
 * effective state, not history: @set says which groups a driver has configured; what is not set is
 * at the device's default. Plain data, therefore untrusted until vdt_net_state_valid().
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define VDT_PAIRS_MAX 32u
#define VDT_RINGS_MAX (2u * VDT_PAIRS_MAX + 1u)
#define VDT_MAC_TABLE_MAX 512u /* addresses of each kind; a longer TABLE_SET gets VIRTIO_NET_ERR */
#define VDT_RSS_TABLE_MAX 512u
#define VDT_RSS_KEY_MAX 255u
#define VDT_VLAN_BYTES 512u /* 4096 bits */

enum vdt_net_group {
    VDT_NET_MAC = 1u << 0,
    VDT_NET_PROMISC = 1u << 1, /* RX commands 0..5 in order */
    VDT_NET_ALLMULTI = 1u << 2,
    VDT_NET_ALLUNI = 1u << 3,
    VDT_NET_NOMULTI = 1u << 4,
    VDT_NET_NOUNI = 1u << 5,
    VDT_NET_NOBCAST = 1u << 6,
    VDT_NET_MAC_TABLE = 1u << 7,
    VDT_NET_VLAN = 1u << 8,
    VDT_NET_PAIRS = 1u << 9,
    VDT_NET_RSS = 1u << 10,  /* last MQ command was RSS_CONFIG; excludes HASH */
    VDT_NET_HASH = 1u << 11, /* last MQ command was HASH_CONFIG; excludes RSS */
    VDT_NET_OFFLOADS = 1u << 12,
    VDT_NET_COAL_TX = 1u << 13,
    VDT_NET_COAL_RX = 1u << 14,
    VDT_NET_COAL_VQ = 1u << 15, /* some entry of @vq_coal is set */
};

struct vdt_net_rss {
    uint32_t hash_types;
    uint16_t table_len; /* entries, a power of two, 1 for "mask 0" */
    uint16_t unclassified;
    uint16_t table[VDT_RSS_TABLE_MAX];
    uint16_t max_tx_vq; /* RSS: number of transmit queues; sets the queue pairs too */
    uint8_t key_len;
    uint8_t key[VDT_RSS_KEY_MAX];
};

struct vdt_net_coal {
    uint32_t max_packets;
    uint32_t max_usecs;
};

struct vdt_net_state {
    uint32_t set; /* enum vdt_net_group */
    uint8_t mac[6];
    bool rx[6]; /* by RX command number: promisc allmulti alluni nomulti nouni nobcast */
    uint16_t unicast_count, multicast_count;
    uint8_t unicast[VDT_MAC_TABLE_MAX][6];
    uint8_t multicast[VDT_MAC_TABLE_MAX][6];
    uint8_t vlan[VDT_VLAN_BYTES];
    uint16_t queue_pairs; /* effective, by VQ_PAIRS_SET or RSS_CONFIG */
    struct vdt_net_rss rss;  /* when RSS is set */
    struct vdt_net_rss hash; /* when HASH is set: hash_types, key */
    uint64_t guest_offloads;
    struct vdt_net_coal coal_tx, coal_rx;
    uint64_t vq_coal_set[2];                   /* bit per data ring: has an override */
    struct vdt_net_coal vq_coal[VDT_RINGS_MAX]; /* effective override of that ring */
    bool announce; /* an ANNOUNCE was asked of the guest and not acknowledged yet */
};

void vdt_net_state_init(struct vdt_net_state *state); /* nothing set, 1 pair */

/* Field by field, only what is set (@announce always). MAC tables are compared as sets. */
bool vdt_net_state_equal(const struct vdt_net_state *a, const struct vdt_net_state *b);

/* One line for each difference ("vlans: 5 only in A"), empty when equal. Caller frees (GPtrArray of
 * char *, with its own free function). */
GPtrArray *vdt_net_state_diff(const struct vdt_net_state *a, const struct vdt_net_state *b);

/* A VLAN filter comes or goes. A driver that has taken all of them away is at the default again:
 * no command would bring a fresh device to anything else. */
void vdt_net_state_vlan(struct vdt_net_state *state, unsigned vid, bool on);

/* Every count, range and relation in bounds; says which is not. */
bool vdt_net_state_valid(const struct vdt_net_state *state, GError **error);

static inline bool
vdt_vlan_test(const uint8_t *vlan, unsigned vid)
{
    return (vlan[vid >> 3] >> (vid & 7)) & 1;
}

static inline void
vdt_vlan_set(uint8_t *vlan, unsigned vid, bool on)
{
    uint8_t bit = (uint8_t) (1u << (vid & 7));

    vlan[vid >> 3] = (uint8_t) (on ? vlan[vid >> 3] | bit : vlan[vid >> 3] & ~bit);
}
