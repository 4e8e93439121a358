/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which frames come in, and on which pair (virtio 1.2, 5.1.6.5.1-3 and 5.1.6.5.5-7). */
#include "device/sim.h"

#include <string.h>

#define ETHERTYPE_VLAN 0x8100u

/* A mode is off until a driver says otherwise, but promiscuous mode is on. */
static bool
mode(const struct vdt_sim *sim, unsigned command)
{
    if (!(sim->net.set & (VDT_NET_PROMISC << command)))
        return command == VIRTIO_NET_CTRL_RX_PROMISC;
    return sim->net.rx[command];
}

static bool
in_table(const uint8_t (*table)[6], unsigned count, const uint8_t *mac)
{
    for (unsigned i = 0; i < count; i++) {
        if (memcmp(table[i], mac, 6) == 0)
            return true;
    }
    return false;
}

static bool
is_broadcast(const uint8_t *mac)
{
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    return memcmp(mac, broadcast, 6) == 0;
}

static bool
vlan_passes(const struct vdt_sim *sim, const uint8_t *data, uint32_t len)
{
    if (!(sim->features & VDT_BIT(VIRTIO_NET_F_CTRL_VLAN)) || len < 18 ||
        (data[12] << 8 | data[13]) != ETHERTYPE_VLAN)
        return true;
    return vdt_vlan_test(sim->net.vlan, (unsigned) (data[14] << 8 | data[15]) & 0xfff);
}

bool
vdt_sim_filter(const struct vdt_sim *sim, const struct vdt_sim_frame *frame)
{
    const struct vdt_net_state *net = &sim->net;
    const uint8_t *to = frame->data;

    if (mode(sim, VIRTIO_NET_CTRL_RX_PROMISC))
        return true;
    if (!vlan_passes(sim, to, frame->len))
        return false;
    if (is_broadcast(to))
        return !mode(sim, VIRTIO_NET_CTRL_RX_NOBCAST);
    if (to[0] & 1) {
        if (mode(sim, VIRTIO_NET_CTRL_RX_NOMULTI))
            return false;
        return mode(sim, VIRTIO_NET_CTRL_RX_ALLMULTI) || sim->multicast_overflow ||
               in_table(net->multicast, net->multicast_count, to);
    }
    if (mode(sim, VIRTIO_NET_CTRL_RX_NOUNI))
        return false;
    return mode(sim, VIRTIO_NET_CTRL_RX_ALLUNI) || sim->unicast_overflow ||
           memcmp(to, sim->config.mac, 6) == 0 || in_table(net->unicast, net->unicast_count, to);
}

void
vdt_sim_learn_flow(struct vdt_sim *sim, const struct vdt_sim_frame *frame)
{
    uint32_t hash = vdt_sim_flow_hash(frame->data, frame->len);

    sim->flows[hash % VDT_SIM_FLOWS] = (uint16_t) (frame->pair + 1);
}

/* Without RSS: back to the pair that last sent this flow. */
static uint16_t
automatic(const struct vdt_sim *sim, const struct vdt_sim_frame *frame)
{
    uint32_t hash = vdt_sim_flow_hash(frame->data, frame->len);
    uint16_t pair = sim->flows[hash % VDT_SIM_FLOWS];

    if (pair && pair <= sim->net.queue_pairs)
        return (uint16_t) (pair - 1);
    return (uint16_t) (hash % sim->net.queue_pairs);
}

uint16_t
vdt_sim_steer(struct vdt_sim *sim, const struct vdt_sim_frame *frame, uint32_t *ret_hash,
              uint16_t *ret_report)
{
    const struct vdt_net_state *net = &sim->net;
    const struct vdt_net_rss *rss = net->set & VDT_NET_RSS    ? &net->rss
                                    : net->set & VDT_NET_HASH ? &net->hash
                                                              : NULL;
    bool hashed;

    *ret_hash = 0;
    *ret_report = VIRTIO_NET_HASH_REPORT_NONE;
    hashed = rss && vdt_sim_rss_hash(rss, frame->data, frame->len, ret_hash, ret_report);
    if (!(net->set & VDT_NET_RSS))
        return automatic(sim, frame);
    return hashed ? net->rss.table[*ret_hash & (net->rss.table_len - 1u)] : net->rss.unclassified;
}
