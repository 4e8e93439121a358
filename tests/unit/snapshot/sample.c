/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sample.h"

#include <string.h>

#include "virtio/features.h"

#define NET_FEATURES                                                                               \
    (VDT_BIT(VIRTIO_F_VERSION_1) | VDT_BIT(VIRTIO_NET_F_MAC) | VDT_BIT(VIRTIO_NET_F_STATUS) |      \
     VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_CTRL_RX) |                               \
     VDT_BIT(VIRTIO_NET_F_CTRL_VLAN) | VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |                       \
     VDT_BIT(VIRTIO_NET_F_MQ) | VDT_BIT(VIRTIO_NET_F_MTU))

static void
set_text(char **dst, const char *text)
{
    g_free(*dst);
    *dst = g_strdup(text);
}

/* struct virtio_net_config: MAC, link up, pairs, MTU 1500, 25 Gbit/s, full duplex, RSS limits. */
static void
set_config(struct vdt_snapshot *s, uint16_t pairs)
{
    const uint8_t config[24] = {
        0x52,
        0x54,
        0,
        0x12,
        0x34,
        0x56,
        1,
        0,
        (uint8_t) pairs,
        (uint8_t) (pairs >> 8),
        0xdc,
        5,
        0xa8,
        0x61,
        0,
        0,
        1,
        40,
        0x80,
        0,
        0xff,
        1,
        0,
        0,
    };

    memcpy(s->config, config, sizeof(config));
    s->config_len = sizeof(config);
}

static struct vdt_snapshot *
make_net(uint16_t pairs, uint64_t more_features)
{
    struct vdt_snapshot *s = vdt_snapshot_new();

    s->device_id = VIRTIO_ID_NET;
    set_text(&s->name, "web1-net0");
    set_text(&s->device, "vhost-vdpa:/dev/vhost-vdpa-0");
    set_text(&s->driver, "vdpa_sim");
    set_text(&s->uuid, "8f3c1f0e-7d8a-4f53-9c55-0f6a3d2b1c00");
    set_text(&s->tool_version, "0.1.0");
    s->created_us = 1700000000123456;
    s->guest_features = NET_FEATURES | more_features;
    s->offered_features = s->guest_features | VDT_BIT(VIRTIO_RING_F_EVENT_IDX) | VDT_BIT(30);
    s->negotiated_features = s->guest_features | VDT_BIT(VIRTIO_F_ACCESS_PLATFORM);
    s->device_features = s->negotiated_features | VDT_BIT(VIRTIO_F_IN_ORDER);
    s->protocol_features = 0x8a2b;
    s->packed = (s->guest_features & VDT_BIT(VIRTIO_F_RING_PACKED)) != 0;
    set_config(s, pairs);
    s->ring_count = 2u * pairs + 1;
    s->cvq_index = 2 * pairs;
    for (unsigned i = 0; i < s->ring_count; i++) {
        s->rings[i].num = (int) i == s->cvq_index ? 64 : 256;
        s->rings[i].started = s->rings[i].enabled = s->rings[i].exact = true;
        if (s->packed)
            s->rings[i].pos = (struct vdt_ring_pos){0x8000, 0x8000};
    }
    return s;
}

static void
add_request(struct vdt_snapshot_ring *ring, uint16_t id, uint16_t slots, uint32_t segs)
{
    ring->requests = g_renew(struct vdt_snapshot_request, ring->requests, ring->request_count + 1);
    ring->requests[ring->request_count++] = (struct vdt_snapshot_request){
        .id = id, .slots = slots, .segs = segs, .seg = segs ? ring->seg_count : 0};
}

static void
add_seg(struct vdt_snapshot_ring *ring, uint64_t addr, uint32_t len, uint16_t flags)
{
    ring->segs = g_renew(struct vdt_seg, ring->segs, ring->seg_count + 1);
    ring->segs[ring->seg_count++] = (struct vdt_seg){.addr = addr, .len = len, .flags = flags};
}

struct vdt_snapshot *
sample_split(void)
{
    struct vdt_snapshot *s = make_net(2, 0);

    /* Completed out of order: what is in flight is not the last three made available. */
    s->rings[0].pos = (struct vdt_ring_pos){.avail = 2, .used = 0xffff};
    add_request(&s->rings[0], 200, 1, 0);
    add_request(&s->rings[0], 7, 2, 0);
    add_request(&s->rings[0], 0, 1, 0);
    s->rings[1].pos = (struct vdt_ring_pos){.avail = 4711, .used = 4711};
    s->rings[2].pos = (struct vdt_ring_pos){.avail = 1, .used = 0};
    add_request(&s->rings[2], 255, 1, 0);
    s->rings[3].enabled = false;
    s->rings[4].pos = (struct vdt_ring_pos){.avail = 9, .used = 9};
    s->net.set = VDT_NET_MAC | VDT_NET_PROMISC | VDT_NET_PAIRS;
    memcpy(s->net.mac, "\x52\x54\x00\x12\x34\x99", 6);
    s->net.queue_pairs = 2;
    return s;
}

struct vdt_snapshot *
sample_packed(void)
{
    struct vdt_snapshot *s = make_net(1, VDT_BIT(VIRTIO_F_RING_PACKED));

    s->rings[0].num = 300; /* no power of two */
    s->rings[0].pos = (struct vdt_ring_pos){.avail = 2, .used = 0x8000 | 297};
    add_request(&s->rings[0], 0xbeef, 2, 2);
    add_seg(&s->rings[0], 0x100000000, 1526, VDT_SEG_WRITE | VDT_SEG_NEXT);
    add_seg(&s->rings[0], 0x7ff000, 4096, VDT_SEG_WRITE);
    add_request(&s->rings[0], 3, 3, 3);
    add_seg(&s->rings[0], 0x1000, 12, VDT_SEG_NEXT);
    add_seg(&s->rings[0], 0x2000, 0, VDT_SEG_NEXT);
    add_seg(&s->rings[0], 0x3000, 64, VDT_SEG_WRITE);
    s->rings[1].pos = (struct vdt_ring_pos){.avail = 0x8000 | 255, .used = 0x8000 | 254};
    add_request(&s->rings[1], 9, 1, 1);
    add_seg(&s->rings[1], 0xfee000, 60, 0);
    s->net.set = VDT_NET_MAC;
    memcpy(s->net.mac, "\x02\x00\x00\x00\x00\x01", 6);
    s->resubmitted_rx_window = true;
    return s;
}

static void
set_rss(struct vdt_net_rss *rss, unsigned queues)
{
    rss->hash_types = 0x3f;
    rss->table_len = 8;
    for (unsigned i = 0; i < rss->table_len; i++)
        rss->table[i] = (uint16_t) (i % queues);
    rss->unclassified = 1;
    rss->max_tx_vq = (uint16_t) queues;
    rss->key_len = 40;
    for (unsigned i = 0; i < rss->key_len; i++)
        rss->key[i] = (uint8_t) (0x6d + 7 * i);
}

static struct vdt_snapshot *
make_control(void)
{
    struct vdt_snapshot *s = make_net(
        2, VDT_BIT(VIRTIO_NET_F_RSS) | VDT_BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) |
               VDT_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | VDT_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) |
               VDT_BIT(VIRTIO_NET_F_NOTF_COAL) | VDT_BIT(VIRTIO_NET_F_VQ_NOTF_COAL));
    struct vdt_net_state *net = &s->net;

    net->set = 0xffff & ~(VDT_NET_HASH | VDT_NET_PAIRS);
    memcpy(net->mac, "\x52\x54\x00\xab\xcd\xef", 6);
    net->rx[0] = net->rx[1] = net->rx[5] = true;
    net->unicast_count = 2;
    memcpy(net->unicast, "\x52\x54\x00\x00\x00\x02\x52\x54\x00\x00\x00\x01", 12);
    net->multicast_count = 1;
    memcpy(net->multicast, "\x33\x33\x00\x00\x00\x01", 6);
    for (unsigned vid = 1; vid <= 100; vid++)
        vdt_vlan_set(net->vlan, vid, true);
    vdt_vlan_set(net->vlan, 200, true);
    vdt_vlan_set(net->vlan, 4094, true);
    net->queue_pairs = 2;
    set_rss(&net->rss, 2);
    net->guest_offloads = VDT_BIT(VIRTIO_NET_F_GUEST_CSUM) | VDT_BIT(VIRTIO_NET_F_GUEST_TSO4);
    net->coal_tx = (struct vdt_net_coal){64, 128};
    net->coal_rx = (struct vdt_net_coal){0, 50};
    net->vq_coal_set[0] = 0x9;
    net->vq_coal[0] = (struct vdt_net_coal){1, 2};
    net->vq_coal[3] = (struct vdt_net_coal){0, 0};
    net->announce = true;
    return s;
}

/* Set and empty, which is not the same as unset. */
static struct vdt_snapshot *
make_control_empty(void)
{
    struct vdt_snapshot *s =
        make_net(1, VDT_BIT(VIRTIO_NET_F_HASH_REPORT) | VDT_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) |
                        VDT_BIT(VIRTIO_NET_F_NOTF_COAL));

    s->net.set = VDT_NET_PROMISC | VDT_NET_MAC_TABLE | VDT_NET_VLAN | VDT_NET_PAIRS | VDT_NET_HASH |
                 VDT_NET_OFFLOADS | VDT_NET_COAL_TX;
    return s;
}

/* No driver has come yet. */
static struct vdt_snapshot *
make_empty(void)
{
    struct vdt_snapshot *s = vdt_snapshot_new();

    s->device_id = VIRTIO_ID_NET;
    return s;
}

static struct vdt_snapshot *
make_live(void)
{
    struct vdt_snapshot *s = sample_split();

    s->live = true;
    s->rings[1].pos.avail += 12;
    s->rings[0].exact = false;
    set_text(&s->name, "b\xc3\xbcro");
    s->unmigratable = g_strdup("the guest used command 9/1, which the tracker does not know");
    return s;
}

static struct vdt_snapshot *
make_block(void)
{
    struct vdt_snapshot *s = make_net(1, 0);

    s->device_id = VIRTIO_ID_BLOCK;
    s->guest_features = s->negotiated_features = s->offered_features = s->device_features =
        VDT_BIT(VIRTIO_F_VERSION_1) | VDT_BIT(9) | VDT_BIT(12);
    s->ring_count = 2;
    s->rings[2] = (struct vdt_snapshot_ring){0};
    s->cvq_index = -1;
    s->config_len = 8;
    return s;
}

/* What format 2 added, on top of what format 1 says. */
static struct vdt_snapshot *
with_source(struct vdt_snapshot *s)
{
    s->source = (struct vdt_snapshot_source){
        .known = true,
        .abilities = VDT_ABILITY_SUSPEND | VDT_ABILITY_RESUME | VDT_ABILITY_RING_STATE,
        .rings = 5,
        .ring_max = 1024,
        .commands = 300,
        .refused = 2,
    };
    return s;
}

#define WITH_SOURCE(name)                                                                          \
    static struct vdt_snapshot *name##_2(void)                                                     \
    {                                                                                              \
        return with_source(name());                                                                \
    }

WITH_SOURCE(sample_split)
WITH_SOURCE(sample_packed)
WITH_SOURCE(make_control)
WITH_SOURCE(make_control_empty)
WITH_SOURCE(make_live)
WITH_SOURCE(make_block)

/* A request by a table in flight, and one that is not: its buffers lie in the ring. */
struct vdt_snapshot *
sample_indirect(void)
{
    struct vdt_snapshot *s = with_source(
        make_net(1, VDT_BIT(VIRTIO_F_RING_PACKED) | VDT_BIT(VIRTIO_RING_F_INDIRECT_DESC)));
    struct vdt_snapshot_ring *tx = &s->rings[1];

    tx->pos = (struct vdt_ring_pos){.avail = 0x8000 | 3, .used = 0x8000};
    add_request(tx, 17, 1, 3);
    add_seg(tx, 0x100000, 12, VDT_SEG_NEXT);
    add_seg(tx, 0x100040, 14, VDT_SEG_NEXT);
    add_seg(tx, 0x200000, 1486, 0);
    tx->requests[0].table_addr = 0x123456780;
    tx->requests[0].table_len = 48;
    add_request(tx, 18, 2, 2);
    add_seg(tx, 0x101000, 12, VDT_SEG_NEXT);
    add_seg(tx, 0x201000, 1514, 0);
    s->source.abilities = VDT_ABILITY_SUSPEND | VDT_ABILITY_DISABLE | 1ull << 63;
    return s;
}

/* Rings out of service, one for a reason that only a newer version can name. */
static struct vdt_snapshot *
make_unmigratable(void)
{
    struct vdt_snapshot *s = with_source(sample_split());

    s->unmigratable = g_strdup("the device broke a ring: what it wrote is not known");
    s->rings[1].fault = VDT_FAULT_LOOP;
    s->rings[1].exact = false;
    s->rings[3].fault = 999;
    s->source.used_width = s->source.drives_control = true;
    s->source.ran_again = 7;
    return s;
}

const struct sample samples[] = {
    {"v1-split", 1, sample_split},
    {"v1-packed", 1, sample_packed},
    {"v1-control", 1, make_control},
    {"v1-control-empty", 1, make_control_empty},
    {"v1-empty", 1, make_empty},
    {"v1-live", 1, make_live},
    {"v1-block", 1, make_block},
    {"v2-split", 2, sample_split_2},
    {"v2-packed", 2, sample_packed_2},
    {"v2-control", 2, make_control_2},
    {"v2-control-empty", 2, make_control_empty_2},
    {"v2-empty", 2, make_empty},
    {"v2-live", 2, make_live_2},
    {"v2-block", 2, make_block_2},
    {"v2-indirect", 2, sample_indirect},
    {"v2-unmigratable", 2, make_unmigratable},
    {NULL, 0, NULL},
};

static bool
chance(GRand *rand, unsigned percent)
{
    return g_rand_int_range(rand, 0, 100) < (int) percent;
}

static uint16_t
below(GRand *rand, unsigned end)
{
    return (uint16_t) g_rand_int_range(rand, 0, (gint32) end);
}

static void
random_bytes(GRand *rand, void *dst, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *) dst)[i] = (uint8_t) g_rand_int(rand);
}

static void
random_ring(GRand *rand, struct vdt_snapshot_ring *ring, bool packed)
{
    unsigned free_slots, head = 0;

    ring->num = packed ? (uint16_t) (1 + below(rand, 200)) : (uint16_t) (1u << below(rand, 9));
    ring->started = chance(rand, 80);
    ring->enabled = chance(rand, 80);
    ring->exact = chance(rand, 80);
    ring->pos.used = packed ? (uint16_t) (below(rand, ring->num) | (chance(rand, 50) ? 0x8000 : 0))
                            : below(rand, 65536);
    ring->pos.avail = ring->pos.used;
    for (free_slots = ring->num; free_slots > 0 && chance(rand, 70);) {
        uint16_t slots = (uint16_t) (1 + below(rand, MIN(free_slots, 4)));
        unsigned segs = packed ? slots : 0;
        add_request(ring, packed ? below(rand, 65536) : (uint16_t) head++, slots, segs);
        struct vdt_snapshot_request *request = &ring->requests[ring->request_count - 1];
        if (!packed)
            request->seg = 0;
        if (packed && slots == 1 && chance(rand, 50)) {
            request->table_addr = (uint64_t) g_rand_int(rand) << below(rand, 30);
            request->table_len = 16;
        }
        for (unsigned i = 0; i < segs; i++)
            add_seg(ring, (uint64_t) g_rand_int(rand) << below(rand, 30), below(rand, 65536),
                    i + 1 == segs ? VDT_SEG_WRITE : VDT_SEG_NEXT);
        free_slots -= slots;
        ring->pos.avail = packed ? vdt_packed_advance(ring->pos.avail, slots, ring->num)
                                 : (uint16_t) (ring->pos.avail + 1);
    }
}

static void
random_net(GRand *rand, struct vdt_net_state *net, unsigned pairs)
{
    net->set = g_rand_int(rand) & 0xffff;
    if (net->set & VDT_NET_RSS)
        net->set &= ~(uint32_t) VDT_NET_HASH;
    net->announce = chance(rand, 30);
    net->queue_pairs = (uint16_t) (1 + below(rand, pairs));
    if (net->set & VDT_NET_MAC) {
        random_bytes(rand, net->mac, 6);
        net->mac[0] &= 0xfe;
    }
    for (unsigned i = 0; i < 6; i++)
        net->rx[i] = net->set & VDT_NET_PROMISC << i && chance(rand, 50);
    if (net->set & VDT_NET_MAC_TABLE) {
        net->unicast_count = below(rand, chance(rand, 5) ? VDT_MAC_TABLE_MAX + 1 : 5);
        net->multicast_count = below(rand, chance(rand, 5) ? VDT_MAC_TABLE_MAX + 1 : 5);
        random_bytes(rand, net->unicast, 6u * net->unicast_count);
        random_bytes(rand, net->multicast, 6u * net->multicast_count);
    }
    if (net->set & VDT_NET_VLAN && chance(rand, 80))
        random_bytes(rand, net->vlan, sizeof(net->vlan));
    if (net->set & VDT_NET_RSS) {
        net->rss.hash_types = g_rand_int(rand);
        net->rss.table_len = (uint16_t) (1u << below(rand, 10));
        for (unsigned i = 0; i < net->rss.table_len; i++)
            net->rss.table[i] = below(rand, pairs);
        net->rss.unclassified = below(rand, pairs);
        net->rss.max_tx_vq = (uint16_t) (1 + below(rand, pairs));
        net->rss.key_len = (uint8_t) below(rand, 256);
        random_bytes(rand, net->rss.key, net->rss.key_len);
    }
    if (net->set & VDT_NET_HASH) {
        net->hash.hash_types = g_rand_int(rand);
        net->hash.key_len = (uint8_t) below(rand, 256);
        random_bytes(rand, net->hash.key, net->hash.key_len);
    }
    if (net->set & VDT_NET_OFFLOADS)
        random_bytes(rand, &net->guest_offloads, 8);
    if (net->set & VDT_NET_COAL_TX)
        random_bytes(rand, &net->coal_tx, sizeof(net->coal_tx));
    if (net->set & VDT_NET_COAL_RX)
        random_bytes(rand, &net->coal_rx, sizeof(net->coal_rx));
    if (net->set & VDT_NET_COAL_VQ) {
        for (unsigned i = 0; i < 2 * pairs; i++) {
            if (i > 0 && chance(rand, 50))
                continue;
            net->vq_coal_set[0] |= 1ull << i;
            random_bytes(rand, &net->vq_coal[i], sizeof(net->vq_coal[i]));
        }
    }
}

struct vdt_snapshot *
sample_random(GRand *rand)
{
    unsigned pairs = 1u + below(rand, chance(rand, 10) ? VDT_PAIRS_MAX : 4);
    bool packed = chance(rand, 50);
    struct vdt_snapshot *s = make_net((uint16_t) pairs, packed ? VDT_BIT(VIRTIO_F_RING_PACKED) : 0);

    for (unsigned i = 0; i < s->ring_count; i++) {
        if (chance(rand, 90))
            random_ring(rand, &s->rings[i], packed);
    }
    for (unsigned i = 0; i < s->ring_count; i++)
        s->rings[i].fault = chance(rand, 5) ? below(rand, 65536) : 0;
    s->source.known = chance(rand, 80);
    if (s->source.known) {
        random_bytes(rand, &s->source.abilities, 8);
        s->source.rings = g_rand_int(rand);
        s->source.ring_max = below(rand, 2);
        s->source.used_width = chance(rand, 50);
        s->source.drives_control = chance(rand, 50);
        random_bytes(rand, &s->source.commands, below(rand, 9));
        random_bytes(rand, &s->source.refused, below(rand, 9));
        random_bytes(rand, &s->source.ran_again, below(rand, 9));
    }
    s->live = chance(rand, 20);
    s->resubmitted_rx_window = chance(rand, 20);
    if (chance(rand, 20))
        s->unmigratable = g_strdup_printf("reason %u", g_rand_int(rand));
    s->created_us = chance(rand, 90) ? (int64_t) g_rand_int(rand) << 18 : 0;
    random_bytes(rand, &s->device_features, 8);
    random_bytes(rand, &s->protocol_features, 8);
    s->config_len = below(rand, VDT_CONFIG_MAX + 1);
    memset(s->config, 0, sizeof(s->config));
    random_bytes(rand, s->config, s->config_len);
    random_net(rand, &s->net, pairs);
    return s;
}

#define DIFFER(field)                                                                              \
    if (a->field != b->field)                                                                      \
    return g_strdup(#field)
#define DIFFER_TEXT(field)                                                                         \
    if (g_strcmp0(a->field, b->field) != 0)                                                        \
    return g_strdup(#field)
#define DIFFER_BYTES(field, len)                                                                   \
    if ((len) > 0 && memcmp(a->field, b->field, len) != 0)                                         \
    return g_strdup(#field)

static char *
ring_difference(const struct vdt_snapshot_ring *a, const struct vdt_snapshot_ring *b)
{
    DIFFER(num);
    DIFFER(started);
    DIFFER(enabled);
    DIFFER(exact);
    DIFFER(fault);
    DIFFER(pos.avail);
    DIFFER(pos.used);
    DIFFER(request_count);
    DIFFER(seg_count);
    DIFFER_BYTES(requests, a->request_count * sizeof(*a->requests));
    DIFFER_BYTES(segs, a->seg_count * sizeof(*a->segs));
    return NULL;
}

char *
sample_difference(const struct vdt_snapshot *a, const struct vdt_snapshot *b)
{
    DIFFER(live);
    DIFFER(must_understand);
    DIFFER(device_id);
    DIFFER_TEXT(name);
    DIFFER_TEXT(device);
    DIFFER_TEXT(driver);
    DIFFER_TEXT(uuid);
    DIFFER_TEXT(tool_version);
    DIFFER(created_us);
    DIFFER(device_features);
    DIFFER(offered_features);
    DIFFER(guest_features);
    DIFFER(negotiated_features);
    DIFFER(protocol_features);
    DIFFER(config_len);
    DIFFER_BYTES(config, a->config_len);
    DIFFER(packed);
    DIFFER(ring_count);
    DIFFER(cvq_index);
    DIFFER(source.known);
    DIFFER(source.abilities);
    DIFFER(source.rings);
    DIFFER(source.ring_max);
    DIFFER(source.used_width);
    DIFFER(source.drives_control);
    DIFFER(source.commands);
    DIFFER(source.refused);
    DIFFER(source.ran_again);
    DIFFER_TEXT(unmigratable);
    DIFFER(resubmitted_rx_window);
    for (unsigned i = 0; i < a->ring_count; i++) {
        char *which = ring_difference(&a->rings[i], &b->rings[i]);
        if (which)
            return which;
    }
    /* Made and decoded states are zero where they say nothing. */
    if (memcmp(&a->net, &b->net, sizeof(a->net)) != 0)
        return g_strdup("net");
    return NULL;
}
