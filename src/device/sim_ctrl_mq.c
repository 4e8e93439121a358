/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Control commands about queues: pairs, RSS, hash reports, coalescing. */
#include "device/sim.h"

#include <endian.h>
#include <string.h>

#include "base/wire.h"

#define RSS_FIXED 11u  /* all but the table and the key */
#define HASH_FIXED 13u /* all but the key */

static bool
pairs_in_range(const struct vdt_sim *sim, uint32_t pairs)
{
    return pairs >= 1 && pairs <= vdt_sim_pairs_negotiated(sim);
}

/* The last MQ command decides how frames are steered. */
static void
steer_by(struct vdt_sim *sim, uint32_t group)
{
    sim->net.set &= ~(uint32_t) (VDT_NET_RSS | VDT_NET_HASH);
    sim->net.set |= group;
}

bool
vdt_sim_ctrl_pairs(struct vdt_sim *sim, struct vdt_sim_command *command)
{
    uint16_t pairs;

    if (command->len != 2)
        return false;
    pairs = vdt_get16(command->data);
    if (!pairs_in_range(sim, pairs))
        return false;
    sim->net.queue_pairs = pairs;
    steer_by(sim, VDT_NET_PAIRS);
    return true;
}

static bool
read_key(const struct vdt_sim *sim, const uint8_t *at, uint32_t left, struct vdt_net_rss *rss)
{
    uint32_t len = at[0];

    if (len > sim->config.rss_max_key_size || left != 1 + len)
        return false;
    rss->key_len = (uint8_t) len;
    memcpy(rss->key, at + 1, len);
    return true;
}

static bool
types_known(const struct vdt_sim *sim, uint32_t types)
{
    return !(types & ~le32toh(sim->config.supported_hash_types));
}

bool
vdt_sim_ctrl_rss(struct vdt_sim *sim, struct vdt_sim_command *command)
{
    struct vdt_net_rss rss = {0};
    const uint8_t *data = command->data;
    uint32_t entries, tail;

    if (command->len < RSS_FIXED + 2)
        return false;
    rss.hash_types = vdt_get32(data);
    entries = vdt_get16(data + 4) + 1u;
    rss.unclassified = vdt_get16(data + 6);
    if (!types_known(sim, rss.hash_types) || (entries & (entries - 1)) ||
        entries > le16toh(sim->config.rss_max_indirection_table_length) ||
        entries > VDT_RSS_TABLE_MAX || command->len < RSS_FIXED + 2 * entries)
        return false;
    tail = 8 + 2 * entries;
    rss.table_len = (uint16_t) entries;
    rss.max_tx_vq = vdt_get16(data + tail);
    if (!pairs_in_range(sim, rss.max_tx_vq) || rss.unclassified >= vdt_sim_pairs_negotiated(sim) ||
        !read_key(sim, data + tail + 2, command->len - tail - 2, &rss))
        return false;
    for (uint32_t i = 0; i < entries; i++) {
        rss.table[i] = vdt_get16(data + 8 + 2 * i);
        if (rss.table[i] >= vdt_sim_pairs_negotiated(sim))
            return false;
    }
    sim->net.rss = rss;
    sim->net.queue_pairs = rss.max_tx_vq;
    sim->net.set &= ~(uint32_t) VDT_NET_PAIRS;
    steer_by(sim, VDT_NET_RSS);
    return true;
}

bool
vdt_sim_ctrl_hash(struct vdt_sim *sim, struct vdt_sim_command *command)
{
    static const uint8_t reserved[8];
    struct vdt_net_rss hash = {.table_len = 1, .max_tx_vq = 1};

    if (command->len < HASH_FIXED || memcmp(command->data + 4, reserved, sizeof reserved) != 0)
        return false;
    hash.hash_types = vdt_get32(command->data);
    if (!types_known(sim, hash.hash_types) ||
        !read_key(sim, command->data + 12, command->len - 12, &hash))
        return false;
    sim->net.hash = hash;
    /* The pairs that an RSS_CONFIG brought into use stay in use. */
    if (sim->net.set & VDT_NET_RSS)
        sim->net.set |= VDT_NET_PAIRS;
    steer_by(sim, VDT_NET_HASH);
    return true;
}

static struct vdt_net_coal
read_coal(const uint8_t *at)
{
    return (struct vdt_net_coal){vdt_get32(at), vdt_get32(at + 4)};
}

/* TX_SET and RX_SET: for all rings of a direction, overriding what single rings were told. */
bool
vdt_sim_ctrl_coal_all(struct vdt_sim *sim, struct vdt_sim_command *command)
{
    bool tx = command->command == VIRTIO_NET_CTRL_NOTF_COAL_TX_SET;
    uint64_t rings = tx ? 0xaaaaaaaaaaaaaaaaull : 0x5555555555555555ull;

    if (command->len != 8)
        return false;
    *(tx ? &sim->net.coal_tx : &sim->net.coal_rx) = read_coal(command->data);
    sim->net.set |= tx ? VDT_NET_COAL_TX : VDT_NET_COAL_RX;
    for (unsigned i = 0; i < G_N_ELEMENTS(sim->net.vq_coal_set); i++)
        sim->net.vq_coal_set[i] &= ~rings;
    if (!sim->net.vq_coal_set[0] && !sim->net.vq_coal_set[1])
        sim->net.set &= ~(uint32_t) VDT_NET_COAL_VQ;
    return true;
}

/* A data ring that is enabled, or it is an error (virtio 1.3, 5.1.6.5.9.2): a replay that comes
 * before the data rings are enabled is refused by such a device. */
static bool
read_ring(const struct vdt_sim *sim, const struct vdt_sim_command *command, uint16_t *ret_ring)
{
    uint16_t ring = vdt_get16(command->data);

    if (ring >= vdt_sim_cvq(sim) || (!sim->rings[ring].enabled && !sim->options.coal_any_ring))
        return false;
    *ret_ring = ring;
    return true;
}

bool
vdt_sim_ctrl_coal_set(struct vdt_sim *sim, struct vdt_sim_command *command)
{
    uint16_t ring;

    if (command->len != 12 || !read_ring(sim, command, &ring))
        return false;
    sim->net.vq_coal[ring] = read_coal(command->data + 4);
    sim->net.vq_coal_set[ring / 64] |= VDT_BIT(ring % 64);
    sim->net.set |= VDT_NET_COAL_VQ;
    return true;
}

bool
vdt_sim_ctrl_coal_get(struct vdt_sim *sim, struct vdt_sim_command *command)
{
    const struct vdt_net_state *net = &sim->net;
    struct vdt_net_coal coal;
    uint16_t ring;

    if (command->len != 4 || command->reply_room < 8 || !read_ring(sim, command, &ring))
        return false;
    if (net->vq_coal_set[ring / 64] & VDT_BIT(ring % 64))
        coal = net->vq_coal[ring];
    else
        coal = ring & 1 ? net->coal_tx : net->coal_rx;
    vdt_put32(command->reply, coal.max_packets);
    vdt_put32(command->reply + 4, coal.max_usecs);
    command->reply_len = 8;
    return true;
}
