/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <xxhash.h>

#include <vdpa-tracker/error.h>

#include "base/wire.h"
#include "proto/snapshot.pb-c.h"
#include "snapshot/frame.h"

/* The protobuf tree of one snapshot. Columns and small messages live here, not on the heap; what
 * is a pointer into the snapshot stays the snapshot's. */
struct tree {
    Vdt__V1__Snapshot snapshot;
    Vdt__V1__Identity identity;
    Vdt__V1__Features features;
    Vdt__V1__Rings rings;
    Vdt__V1__Control control;
    Vdt__V1__Switch rx[6];
    Vdt__V1__Mac mac;
    Vdt__V1__MacTable mac_table;
    Vdt__V1__Vlans vlans;
    Vdt__V1__Pairs pairs;
    Vdt__V1__Rss rss;
    Vdt__V1__Hash hash;
    Vdt__V1__Offloads offloads;
    Vdt__V1__Coalescing coal_tx, coal_rx;
    Vdt__V1__RingCoalescing coal_rings;

    uint32_t num[VDT_RINGS_MAX], flags[VDT_RINGS_MAX], avail[VDT_RINGS_MAX], used[VDT_RINGS_MAX];
    uint32_t requests[VDT_RINGS_MAX], segs[VDT_RINGS_MAX];
    uint32_t rss_table[VDT_RSS_TABLE_MAX];
    uint32_t vq_packets[VDT_RINGS_MAX], vq_usecs[VDT_RINGS_MAX];
    uint32_t *in_flight; /* owned: one block for all request and segment columns */
};

uint64_t
vdt_frame_checksum(const uint8_t *head, const uint8_t *payload, uint32_t len)
{
    return XXH3_64bits_withSeed(payload, len, vdt_get64(head + 4));
}

/* NULL stands for "". */
static char *
text(const char *s)
{
    return s ? (char *) s : (char *) protobuf_c_empty_string;
}

static ProtobufCBinaryData
block(const void *bytes, size_t len)
{
    return (ProtobufCBinaryData){len, (uint8_t *) bytes};
}

static void
fill_identity(struct tree *t, const struct vdt_snapshot *s)
{
    vdt__v1__identity__init(&t->identity);
    t->identity.device_id = s->device_id;
    t->identity.name = text(s->name);
    t->identity.device = text(s->device);
    t->identity.driver = text(s->driver);
    t->identity.uuid = text(s->uuid);
    t->identity.tool_version = text(s->tool_version);
    t->identity.created_us = (uint64_t) s->created_us;
    t->snapshot.identity = &t->identity;

    vdt__v1__features__init(&t->features);
    t->features.device = s->device_features;
    t->features.offered = s->offered_features;
    t->features.guest = s->guest_features;
    t->features.negotiated = s->negotiated_features;
    t->features.protocol = s->protocol_features;
    t->snapshot.features = &t->features;
}

/* Requests and segments of all rings into columns; validate() has summed them up to a bound. */
static void
fill_in_flight(struct tree *t, const struct vdt_snapshot *s, size_t requests, size_t segs)
{
    uint32_t *request, *request_segs, *seg_len, *seg_flags;
    uint64_t *seg_addr;
    size_t r = 0, g = 0;

    t->in_flight = g_new(uint32_t, 4 * segs + 2 * requests);
    seg_addr = (uint64_t *) t->in_flight;
    seg_len = t->in_flight + 2 * segs;
    seg_flags = seg_len + segs;
    request = seg_flags + segs;
    request_segs = request + requests;

    for (unsigned i = 0; i < s->ring_count; i++) {
        const struct vdt_snapshot_ring *ring = &s->rings[i];
        for (uint32_t j = 0; j < ring->request_count; j++, r++) {
            request[r] = ring->requests[j].id | (uint32_t) ring->requests[j].slots << 16;
            request_segs[r] = ring->requests[j].segs;
        }
        for (uint32_t j = 0; j < ring->seg_count; j++, g++) {
            seg_addr[g] = ring->segs[j].addr;
            seg_len[g] = ring->segs[j].len;
            seg_flags[g] = ring->segs[j].flags | (uint32_t) ring->segs[j].next << 16;
        }
    }
    t->rings.n_request = requests;
    t->rings.request = request;
    t->rings.n_request_segs = s->packed ? requests : 0;
    t->rings.request_segs = request_segs;
    t->rings.n_seg_addr = t->rings.n_seg_len = t->rings.n_seg_flags = segs;
    t->rings.seg_addr = seg_addr;
    t->rings.seg_len = seg_len;
    t->rings.seg_flags = seg_flags;
}

static void
fill_rings(struct tree *t, const struct vdt_snapshot *s)
{
    Vdt__V1__Rings *rings = &t->rings;
    size_t requests = 0, segs = 0;

    vdt__v1__rings__init(rings);
    rings->packed = s->packed;
    rings->cvq = (uint32_t) (s->cvq_index + 1);
    for (unsigned i = 0; i < s->ring_count; i++) {
        const struct vdt_snapshot_ring *ring = &s->rings[i];
        t->num[i] = ring->num;
        t->flags[i] = (ring->started ? VDT_RING_STARTED : 0u) |
                      (ring->enabled ? VDT_RING_ENABLED : 0u) | (ring->exact ? VDT_RING_EXACT : 0u);
        t->avail[i] = ring->pos.avail;
        t->used[i] = ring->pos.used;
        t->requests[i] = ring->request_count;
        t->segs[i] = ring->seg_count;
        requests += ring->request_count;
        segs += ring->seg_count;
    }
    rings->n_num = rings->n_flags = rings->n_avail = rings->n_used = s->ring_count;
    rings->n_requests = rings->n_segs = s->ring_count;
    rings->num = t->num;
    rings->flags = t->flags;
    rings->avail = t->avail;
    rings->used = t->used;
    rings->requests = t->requests;
    rings->segs = t->segs;
    if (requests > 0)
        fill_in_flight(t, s, requests, segs);
    t->snapshot.rings = rings;
}

static void
fill_rx(struct tree *t, const struct vdt_net_state *net)
{
    Vdt__V1__Switch **slot[6] = {
        &t->control.promisc, &t->control.allmulti, &t->control.alluni,
        &t->control.nomulti, &t->control.nouni,    &t->control.nobcast,
    };

    for (unsigned i = 0; i < 6; i++) {
        if (!(net->set & VDT_NET_PROMISC << i))
            continue;
        vdt__v1__switch__init(&t->rx[i]);
        t->rx[i].on = net->rx[i];
        *slot[i] = &t->rx[i];
    }
}

static void
fill_filters(struct tree *t, const struct vdt_net_state *net)
{
    if (net->set & VDT_NET_MAC) {
        vdt__v1__mac__init(&t->mac);
        t->mac.address = block(net->mac, sizeof(net->mac));
        t->control.mac = &t->mac;
    }
    if (net->set & VDT_NET_MAC_TABLE) {
        vdt__v1__mac_table__init(&t->mac_table);
        t->mac_table.unicast = block(net->unicast, 6u * net->unicast_count);
        t->mac_table.multicast = block(net->multicast, 6u * net->multicast_count);
        t->control.mac_table = &t->mac_table;
    }
    if (net->set & VDT_NET_VLAN) {
        vdt__v1__vlans__init(&t->vlans);
        t->vlans.bitmap = block(net->vlan, sizeof(net->vlan));
        t->control.vlans = &t->vlans;
    }
}

static void
fill_steering(struct tree *t, const struct vdt_net_state *net)
{
    t->control.queue_pairs = net->queue_pairs;
    if (net->set & VDT_NET_PAIRS) {
        vdt__v1__pairs__init(&t->pairs);
        t->control.pairs = &t->pairs;
    }
    if (net->set & VDT_NET_RSS) {
        vdt__v1__rss__init(&t->rss);
        t->rss.hash_types = net->rss.hash_types;
        t->rss.unclassified = net->rss.unclassified;
        t->rss.max_tx_vq = net->rss.max_tx_vq;
        for (unsigned i = 0; i < net->rss.table_len; i++)
            t->rss_table[i] = net->rss.table[i];
        t->rss.n_table = net->rss.table_len;
        t->rss.table = t->rss_table;
        t->rss.key = block(net->rss.key, net->rss.key_len);
        t->control.rss = &t->rss;
    }
    if (net->set & VDT_NET_HASH) {
        vdt__v1__hash__init(&t->hash);
        t->hash.hash_types = net->hash.hash_types;
        t->hash.key = block(net->hash.key, net->hash.key_len);
        t->control.hash = &t->hash;
    }
}

static void
fill_coal(Vdt__V1__Coalescing *message, Vdt__V1__Coalescing **slot, const struct vdt_net_coal *coal)
{
    vdt__v1__coalescing__init(message);
    message->max_packets = coal->max_packets;
    message->max_usecs = coal->max_usecs;
    *slot = message;
}

static void
fill_offloads_and_coal(struct tree *t, const struct vdt_net_state *net)
{
    if (net->set & VDT_NET_OFFLOADS) {
        vdt__v1__offloads__init(&t->offloads);
        t->offloads.bits = net->guest_offloads;
        t->control.guest_offloads = &t->offloads;
    }
    if (net->set & VDT_NET_COAL_TX)
        fill_coal(&t->coal_tx, &t->control.coalescing_tx, &net->coal_tx);
    if (net->set & VDT_NET_COAL_RX)
        fill_coal(&t->coal_rx, &t->control.coalescing_rx, &net->coal_rx);
    if (net->set & VDT_NET_COAL_VQ) {
        Vdt__V1__RingCoalescing *rings = &t->coal_rings;
        vdt__v1__ring_coalescing__init(rings);
        rings->rings = net->vq_coal_set[0];
        for (unsigned i = 0; i < 64; i++) {
            if (!(net->vq_coal_set[0] >> i & 1))
                continue;
            t->vq_packets[rings->n_max_packets++] = net->vq_coal[i].max_packets;
            t->vq_usecs[rings->n_max_usecs++] = net->vq_coal[i].max_usecs;
        }
        rings->max_packets = t->vq_packets;
        rings->max_usecs = t->vq_usecs;
        t->control.coalescing_rings = rings;
    }
}

static void
fill(struct tree *t, const struct vdt_snapshot *s)
{
    vdt__v1__snapshot__init(&t->snapshot);
    t->snapshot.must_understand = s->must_understand;
    t->snapshot.live = s->live;
    t->snapshot.unmigratable = text(s->unmigratable);
    t->snapshot.resubmitted_rx_window = s->resubmitted_rx_window;
    t->snapshot.config = block(s->config, s->config_len);
    t->in_flight = NULL;
    fill_identity(t, s);
    fill_rings(t, s);

    vdt__v1__control__init(&t->control);
    fill_rx(t, &s->net);
    fill_filters(t, &s->net);
    fill_steering(t, &s->net);
    fill_offloads_and_coal(t, &s->net);
    t->control.announce = s->net.announce;
    t->snapshot.control = &t->control;
}

GBytes *
vdt_snapshot_encode(const struct vdt_snapshot *snapshot, GError **error)
{
    struct tree t;
    size_t len;

    /* Also the bound of every loop and array below. */
    if (!vdt_snapshot_validate(snapshot, error)) {
        g_prefix_error(error, "nothing was encoded: ");
        return NULL;
    }
    fill(&t, snapshot);
    len = vdt__v1__snapshot__get_packed_size(&t.snapshot);
    if (len > VDT_SNAPSHOT_BYTES_MAX - VDT_FRAME_SIZE) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                    "the snapshot would take %zu bytes, more than the %u that any reader accepts: "
                    "too many requests are in flight",
                    len + VDT_FRAME_SIZE, VDT_SNAPSHOT_BYTES_MAX);
        g_free(t.in_flight);
        return NULL;
    }

    uint8_t *bytes = g_malloc(VDT_FRAME_SIZE + len);
    memcpy(bytes, VDT_FRAME_MAGIC, 4);
    vdt_put16(bytes + 4, VDT_SNAPSHOT_FORMAT);
    vdt_put16(bytes + 6, 0);
    vdt_put32(bytes + 8, (uint32_t) len);
    vdt__v1__snapshot__pack(&t.snapshot, bytes + VDT_FRAME_SIZE);
    vdt_put64(bytes + 12, vdt_frame_checksum(bytes, bytes + VDT_FRAME_SIZE, (uint32_t) len));
    g_free(t.in_flight);
    return g_bytes_new_take(bytes, VDT_FRAME_SIZE + len);
}
