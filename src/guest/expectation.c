/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest/expectation.h"

#include <string.h>

#include "base/wire.h"

static void
expect_rss(struct vdt_net_state *state, const uint8_t *p)
{
    struct vdt_net_rss *rss = &state->rss;

    *rss = (struct vdt_net_rss){.hash_types = vdt_get32(p),
                                .table_len = (uint16_t) (vdt_get16(p + 4) + 1),
                                .unclassified = vdt_get16(p + 6)};
    p += 8;
    for (unsigned i = 0; i < rss->table_len; i++, p += 2)
        rss->table[i] = vdt_get16(p);
    rss->max_tx_vq = vdt_get16(p);
    rss->key_len = p[2];
    memcpy(rss->key, p + 3, rss->key_len);
    state->queue_pairs = rss->max_tx_vq;
    state->set = (state->set & ~(uint32_t) (VDT_NET_HASH | VDT_NET_PAIRS)) | VDT_NET_RSS;
}

static void
expect_hash(struct vdt_net_state *state, const uint8_t *p)
{
    state->hash = (struct vdt_net_rss){.hash_types = vdt_get32(p), .key_len = p[12]};
    memcpy(state->hash.key, p + 13, p[12]);
    /* The pairs that an RSS_CONFIG brought into use stay in use. */
    if (state->set & VDT_NET_RSS)
        state->set |= VDT_NET_PAIRS;
    state->set = (state->set & ~(uint32_t) VDT_NET_RSS) | VDT_NET_HASH;
}

static void
expect_table(struct vdt_net_state *state, const uint8_t *p)
{
    state->unicast_count = (uint16_t) vdt_get32(p);
    memcpy(state->unicast, p + 4, 6u * state->unicast_count);
    p += 4 + 6u * state->unicast_count;
    state->multicast_count = (uint16_t) vdt_get32(p);
    memcpy(state->multicast, p + 4, 6u * state->multicast_count);
    state->set |= VDT_NET_MAC_TABLE;
}

static struct vdt_net_coal
get_coal(const uint8_t *p)
{
    return (struct vdt_net_coal){.max_packets = vdt_get32(p), .max_usecs = vdt_get32(p + 4)};
}

/* For a whole direction: what single rings were told before is forgotten. */
static void
expect_coal(struct vdt_net_state *state, bool tx, const uint8_t *p)
{
    *(tx ? &state->coal_tx : &state->coal_rx) = get_coal(p);
    state->set |= tx ? VDT_NET_COAL_TX : VDT_NET_COAL_RX;
    for (unsigned ring = tx; ring < 64; ring += 2)
        state->vq_coal_set[0] &= ~(1ull << ring);
    if (!state->vq_coal_set[0])
        state->set &= ~(uint32_t) VDT_NET_COAL_VQ;
}

void
vdt_expectation_apply(struct vdt_net_state *state, const struct vdt_script_pending *p)
{
    const uint8_t *data = p->bytes + 2;
    unsigned command = p->bytes[1];

    switch (p->kind) {
    case VDT_SCRIPT_MAC:
        memcpy(state->mac, data, 6);
        state->set |= VDT_NET_MAC;
        break;
    case VDT_SCRIPT_RX:
    case VDT_SCRIPT_RX_EXTRA:
        state->rx[command] = data[0];
        state->set |= VDT_NET_PROMISC << command;
        break;
    case VDT_SCRIPT_TABLE:
        expect_table(state, data);
        break;
    case VDT_SCRIPT_VLAN:
        vdt_net_state_vlan(state, vdt_get16(data), command == VIRTIO_NET_CTRL_VLAN_ADD);
        break;
    case VDT_SCRIPT_PAIRS:
        state->queue_pairs = vdt_get16(data);
        state->set = (state->set & ~(uint32_t) (VDT_NET_RSS | VDT_NET_HASH)) | VDT_NET_PAIRS;
        break;
    case VDT_SCRIPT_RSS:
        expect_rss(state, data);
        break;
    case VDT_SCRIPT_HASH:
        expect_hash(state, data);
        break;
    case VDT_SCRIPT_OFFLOADS:
        state->guest_offloads = vdt_get64(data);
        state->set |= VDT_NET_OFFLOADS;
        break;
    case VDT_SCRIPT_COAL:
        expect_coal(state, command == VIRTIO_NET_CTRL_NOTF_COAL_TX_SET, data);
        break;
    case VDT_SCRIPT_COAL_RING:
        state->vq_coal[vdt_get16(data)] = get_coal(data + 4);
        state->vq_coal_set[0] |= 1ull << vdt_get16(data);
        state->set |= VDT_NET_COAL_VQ;
        break;
    case VDT_SCRIPT_COAL_READ:
    case VDT_SCRIPT_STATS:
    case VDT_SCRIPT_ANNOUNCE:
    case VDT_SCRIPT_KINDS:
        break;
    }
}
