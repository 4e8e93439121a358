/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <xxhash.h>

#include <vdpa-tracker/error.h>

#include "base/wire.h"
#include "snapshot/frame.h"
#include "snapshot/schema.h"

#define COLUMN (4u * VDT_RINGS_MAX)

/* The message of one snapshot and its columns; what else it points to is the snapshot's. */
struct tree {
    struct vdt_wire_snapshot m;
    uint8_t num[COLUMN], flags[COLUMN], avail[COLUMN], used[COLUMN], requests[COLUMN], segs[COLUMN];
    uint8_t fault[COLUMN];
    uint8_t rss_table[4u * VDT_RSS_TABLE_MAX];
    uint8_t vq_packets[COLUMN], vq_usecs[COLUMN];
    uint8_t *in_flight; /* owned: one block for all request and segment columns */
    size_t room;        /* what its texts, byte strings and columns take */
};

uint64_t
vdt_frame_checksum(const uint8_t *head, const uint8_t *payload, uint32_t len)
{
    return XXH3_64bits_withSeed(payload, len, vdt_get64(head + 4));
}

static struct vdt_wire_bytes
block(struct tree *t, const void *bytes, size_t len)
{
    t->room += len;
    return (struct vdt_wire_bytes){bytes, len};
}

/* NULL stands for "". */
static struct vdt_wire_bytes
text(struct tree *t, const char *s)
{
    return block(t, s, s ? strlen(s) : 0);
}

static void
fill_identity(struct tree *t, const struct vdt_snapshot *s)
{
    struct vdt_wire_snapshot *m = &t->m;

    m->identity = (struct vdt_wire_identity){
        .present = true,
        .device_id = s->device_id,
        .name = text(t, s->name),
        .device = text(t, s->device),
        .driver = text(t, s->driver),
        .uuid = text(t, s->uuid),
        .tool_version = text(t, s->tool_version),
        .created_us = (uint64_t) s->created_us,
    };
    m->features = (struct vdt_wire_features){
        .present = true,
        .device = s->device_features,
        .offered = s->offered_features,
        .guest = s->guest_features,
        .negotiated = s->negotiated_features,
        .protocol = s->protocol_features,
    };
}

/* Where a part of the block of columns goes. */
static uint8_t *
part(struct tree *t, struct vdt_wire_bytes *column, size_t *used, size_t len)
{
    uint8_t *at = t->in_flight + *used;

    *column = block(t, at, len);
    *used += len;
    return at;
}

/* Requests and segments of all rings into columns; validate() has summed them up to a bound. */
static void
fill_in_flight(struct tree *t, const struct vdt_snapshot *s, size_t requests, size_t segs)
{
    struct vdt_wire_rings *m = &t->m.rings;
    size_t used = 0, r = 0, g = 0;
    bool any_table = false;

    t->in_flight = g_malloc(16 * segs + 20 * requests);
    uint8_t *request = part(t, &m->request, &used, 4 * requests);
    uint8_t *request_segs = part(t, &m->request_segs, &used, 4 * requests);
    uint8_t *seg_addr = part(t, &m->seg_addr, &used, 8 * segs);
    uint8_t *seg_len = part(t, &m->seg_len, &used, 4 * segs);
    uint8_t *seg_flags = part(t, &m->seg_flags, &used, 4 * segs);
    uint8_t *table_addr = part(t, &m->table_addr, &used, 8 * requests);
    uint8_t *table_len = part(t, &m->table_len, &used, 4 * requests);

    for (unsigned i = 0; i < s->ring_count; i++) {
        const struct vdt_snapshot_ring *ring = &s->rings[i];
        for (uint32_t j = 0; j < ring->request_count; j++, r++) {
            const struct vdt_snapshot_request *from = &ring->requests[j];
            vdt_put32(request + 4 * r, from->id | (uint32_t) from->slots << 16);
            vdt_put32(request_segs + 4 * r, from->segs);
            vdt_put64(table_addr + 8 * r, from->table_addr);
            vdt_put32(table_len + 4 * r, from->table_len);
            any_table |= from->table_len > 0;
        }
        for (uint32_t j = 0; j < ring->seg_count; j++, g++) {
            vdt_put64(seg_addr + 8 * g, ring->segs[j].addr);
            vdt_put32(seg_len + 4 * g, ring->segs[j].len);
            vdt_put32(seg_flags + 4 * g, ring->segs[j].flags | (uint32_t) ring->segs[j].next << 16);
        }
    }
    if (!s->packed)
        m->request_segs.len = 0;
    if (!any_table)
        m->table_addr.len = m->table_len.len = 0;
}

static void
fill_rings(struct tree *t, const struct vdt_snapshot *s, unsigned format)
{
    struct vdt_wire_rings *m = &t->m.rings;
    const size_t len = 4u * s->ring_count;
    size_t requests = 0, segs = 0;
    bool any_fault = false;

    m->present = true;
    m->packed = s->packed;
    m->cvq = (uint32_t) (s->cvq_index + 1);
    for (unsigned i = 0; i < s->ring_count; i++) {
        const struct vdt_snapshot_ring *ring = &s->rings[i];
        vdt_put32(t->num + 4 * i, ring->num);
        vdt_put32(t->flags + 4 * i, (ring->started ? VDT_RING_STARTED : 0u) |
                                        (ring->enabled ? VDT_RING_ENABLED : 0u) |
                                        (ring->exact ? VDT_RING_EXACT : 0u));
        vdt_put32(t->avail + 4 * i, ring->pos.avail);
        vdt_put32(t->used + 4 * i, ring->pos.used);
        vdt_put32(t->requests + 4 * i, ring->request_count);
        vdt_put32(t->segs + 4 * i, ring->seg_count);
        requests += ring->request_count;
        segs += ring->seg_count;
        any_fault |= ring->fault != 0;
    }
    m->num = block(t, t->num, len);
    m->flags = block(t, t->flags, len);
    m->avail = block(t, t->avail, len);
    m->used = block(t, t->used, len);
    m->requests = block(t, t->requests, len);
    m->segs = block(t, t->segs, len);
    if (requests > 0)
        fill_in_flight(t, s, requests, segs);
    if (format < 2 || !any_fault)
        return;
    for (unsigned i = 0; i < s->ring_count; i++)
        vdt_put32(t->fault + 4 * i, s->rings[i].fault);
    m->fault = block(t, t->fault, len);
}

static void
fill_filters(struct tree *t, const struct vdt_net_state *net)
{
    struct vdt_wire_control *m = &t->m.control;
    struct vdt_wire_switch *rx[6] = {
        &m->promisc, &m->allmulti, &m->alluni, &m->nomulti, &m->nouni, &m->nobcast,
    };

    for (unsigned i = 0; i < 6; i++) {
        rx[i]->present = net->set & VDT_NET_PROMISC << i;
        rx[i]->on = net->rx[i];
    }
    m->mac.present = net->set & VDT_NET_MAC;
    m->mac.address = block(t, net->mac, sizeof(net->mac));
    m->mac_table.present = net->set & VDT_NET_MAC_TABLE;
    m->mac_table.unicast = block(t, net->unicast, 6u * net->unicast_count);
    m->mac_table.multicast = block(t, net->multicast, 6u * net->multicast_count);
    m->vlans.present = net->set & VDT_NET_VLAN;
    m->vlans.bitmap = block(t, net->vlan, sizeof(net->vlan));
}

static void
fill_steering(struct tree *t, const struct vdt_net_state *net)
{
    struct vdt_wire_control *m = &t->m.control;

    m->queue_pairs = net->queue_pairs;
    m->pairs.present = net->set & VDT_NET_PAIRS;
    if (net->set & VDT_NET_RSS) {
        for (unsigned i = 0; i < net->rss.table_len; i++)
            vdt_put32(t->rss_table + 4 * i, net->rss.table[i]);
        m->rss = (struct vdt_wire_rss){
            .present = true,
            .hash_types = net->rss.hash_types,
            .unclassified = net->rss.unclassified,
            .max_tx_vq = net->rss.max_tx_vq,
            .table = block(t, t->rss_table, 4u * net->rss.table_len),
            .key = block(t, net->rss.key, net->rss.key_len),
        };
    }
    if (net->set & VDT_NET_HASH)
        m->hash = (struct vdt_wire_hash){
            .present = true,
            .hash_types = net->hash.hash_types,
            .key = block(t, net->hash.key, net->hash.key_len),
        };
}

static struct vdt_wire_coalescing
coalescing(bool set, const struct vdt_net_coal *coal)
{
    return (struct vdt_wire_coalescing){set, coal->max_packets, coal->max_usecs};
}

static void
fill_offloads_and_coal(struct tree *t, const struct vdt_net_state *net)
{
    struct vdt_wire_control *m = &t->m.control;
    unsigned n = 0;

    m->guest_offloads =
        (struct vdt_wire_offloads){net->set & VDT_NET_OFFLOADS, net->guest_offloads};
    m->coalescing_tx = coalescing(net->set & VDT_NET_COAL_TX, &net->coal_tx);
    m->coalescing_rx = coalescing(net->set & VDT_NET_COAL_RX, &net->coal_rx);
    if (!(net->set & VDT_NET_COAL_VQ))
        return;
    for (unsigned i = 0; i < 64; i++) {
        if (!(net->vq_coal_set[0] >> i & 1))
            continue;
        vdt_put32(t->vq_packets + 4 * n, net->vq_coal[i].max_packets);
        vdt_put32(t->vq_usecs + 4 * n, net->vq_coal[i].max_usecs);
        n++;
    }
    m->coalescing_rings = (struct vdt_wire_ring_coalescing){
        .present = true,
        .rings = net->vq_coal_set[0],
        .max_packets = block(t, t->vq_packets, 4u * n),
        .max_usecs = block(t, t->vq_usecs, 4u * n),
    };
}

static void
fill_source(struct vdt_wire_source *m, const struct vdt_snapshot_source *source)
{
    *m = (struct vdt_wire_source){
        .present = source->known,
        .abilities = source->abilities,
        .rings = source->rings,
        .ring_max = source->ring_max,
        .used_width = source->used_width,
        .drives_control = source->drives_control,
        .commands = source->commands,
        .refused = source->refused,
        .ran_again = source->ran_again,
    };
}

static void
fill(struct tree *t, const struct vdt_snapshot *s, unsigned format)
{
    memset(&t->m, 0, sizeof(t->m));
    t->in_flight = NULL;
    t->room = 0;
    t->m.must_understand = s->must_understand;
    t->m.live = s->live;
    t->m.unmigratable = text(t, s->unmigratable);
    t->m.resubmitted_rx_window = s->resubmitted_rx_window;
    t->m.config = block(t, s->config, s->config_len);
    fill_identity(t, s);
    fill_rings(t, s, format);
    t->m.control.present = true;
    t->m.control.announce = s->net.announce;
    fill_filters(t, &s->net);
    fill_steering(t, &s->net);
    fill_offloads_and_coal(t, &s->net);
    if (format >= 2)
        fill_source(&t->m.source, &s->source);
}

/* What only informs may be left out of an older format; what a reader acts on may not. */
static bool
can_be_said(const struct vdt_snapshot *s, unsigned format, GError **error)
{
    if (format < VDT_SNAPSHOT_FORMAT_OLDEST || format > VDT_SNAPSHOT_FORMAT) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE,
                    "format %u: this program writes the formats %u to %u", format,
                    VDT_SNAPSHOT_FORMAT_OLDEST, VDT_SNAPSHOT_FORMAT);
        return false;
    }
    for (unsigned i = 0; format < 2 && s->packed && i < s->ring_count; i++) {
        for (uint32_t j = 0; j < s->rings[i].request_count; j++) {
            if (s->rings[i].requests[j].table_len == 0)
                continue;
            g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                        "the state cannot be written as format %u, which has no place for "
                        "rings[%u].in_flight[%u].table: a tracker that reads it could not make "
                        "that request available again after a crash; once the request is done "
                        "it can be written",
                        format, i, j);
            return false;
        }
    }
    return true;
}

/* The validation is also the bound of every loop and array here. */
bool
vdt_snapshot_fits_format(const struct vdt_snapshot *snapshot, unsigned format, GError **error)
{
    if (!vdt_snapshot_validate(snapshot, error)) {
        g_prefix_error(error, "nothing was encoded: ");
        return false;
    }
    return can_be_said(snapshot, format, error);
}

GBytes *
vdt_snapshot_encode_as(const struct vdt_snapshot *snapshot, unsigned format, GError **error)
{
    struct tree t;

    if (format == 0)
        format = VDT_SNAPSHOT_FORMAT;
    if (!vdt_snapshot_fits_format(snapshot, format, error))
        return NULL;
    fill(&t, snapshot, format);

    size_t room = VDT_FRAME_SIZE + VDT_WIRE_SNAPSHOT_FIELDS * VDT_WIRE_FIELD_ROOM + t.room;
    uint8_t *block = g_malloc(room);
    uint8_t *payload = vdt_wire_write(&vdt_wire_snapshot_schema, &t.m, block + room);
    uint8_t *bytes = payload - VDT_FRAME_SIZE;
    size_t len = (size_t) (block + room - payload);
    g_free(t.in_flight);
    if (len > VDT_SNAPSHOT_BYTES_MAX - VDT_FRAME_SIZE) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                    "the snapshot would take %zu bytes, more than the %u that any reader accepts: "
                    "too many requests are in flight",
                    len + VDT_FRAME_SIZE, VDT_SNAPSHOT_BYTES_MAX);
        g_free(block);
        return NULL;
    }
    memcpy(bytes, VDT_FRAME_MAGIC, 4);
    vdt_put16(bytes + 4, (uint16_t) format);
    vdt_put16(bytes + 6, 0);
    vdt_put32(bytes + 8, (uint32_t) len);
    vdt_put64(bytes + 12, vdt_frame_checksum(bytes, payload, (uint32_t) len));
    return g_bytes_new_with_free_func(bytes, VDT_FRAME_SIZE + len, g_free, block);
}

GBytes *
vdt_snapshot_encode(const struct vdt_snapshot *snapshot, GError **error)
{
    return vdt_snapshot_encode_as(snapshot, VDT_SNAPSHOT_FORMAT, error);
}
