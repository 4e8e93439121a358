/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include <vdpa-tracker/error.h>

#include "base/wire.h"
#include "proto/snapshot.pb-c.h"
#include "snapshot/arena.h"
#include "snapshot/frame.h"
#include "snapshot/wire_check.h"

/* For protobuf-c's tree, beside the input itself: fields that a newer writer added. */
#define ARENA_EXTRA (4u << 20)

#define MUST_UNDERSTAND_KEY (1u << 3 | PROTOBUF_C_WIRE_TYPE_64BIT)

static bool G_GNUC_PRINTF(2, 3) refuse(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *why = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "the snapshot is malformed: %s", why);
    return false;
}

/* Every entry of a 32-bit column fits into 16 bits. */
static bool
fits16(const uint32_t *column, size_t n)
{
    uint32_t all = 0;

    for (size_t i = 0; i < n; i++)
        all |= column[i];
    return all <= UINT16_MAX;
}

static bool
take_bytes(const ProtobufCBinaryData *block, void *dst, size_t want, const char *name,
           GError **error)
{
    if (block->len != want)
        return refuse(error, "%s has %zu bytes instead of %zu", name, block->len, want);
    memcpy(dst, block->data, want);
    return true;
}

/* @len is what @block has, of entries of @size bytes, up to @max of them. */
static bool
take_up_to(const ProtobufCBinaryData *block, void *dst, size_t size, size_t max, const char *name,
           GError **error)
{
    if (block->len > size * max || block->len % size != 0)
        return refuse(error, "%s has %zu bytes (entries of %zu, up to %zu)", name, block->len, size,
                      max);
    if (block->len > 0)
        memcpy(dst, block->data, block->len);
    return true;
}

static void
take_text(char **dst, const char *text)
{
    if (*text) {
        g_free(*dst);
        *dst = g_strdup(text);
    }
}

static bool
take_identity(struct vdt_snapshot *s, const Vdt__V1__Snapshot *m, GError **error)
{
    if (!m->identity || !m->features || !m->rings || !m->control)
        return refuse(error, "it has no %s",
                      !m->identity   ? "identity"
                      : !m->features ? "features"
                      : !m->rings    ? "rings"
                                     : "control state");
    s->device_id = m->identity->device_id;
    take_text(&s->name, m->identity->name);
    take_text(&s->device, m->identity->device);
    take_text(&s->driver, m->identity->driver);
    take_text(&s->uuid, m->identity->uuid);
    take_text(&s->tool_version, m->identity->tool_version);
    s->created_us = (int64_t) m->identity->created_us;
    s->device_features = m->features->device;
    s->offered_features = m->features->offered;
    s->guest_features = m->features->guest;
    s->negotiated_features = m->features->negotiated;
    s->protocol_features = m->features->protocol;

    s->must_understand = m->must_understand;
    s->live = m->live;
    s->resubmitted_rx_window = m->resubmitted_rx_window;
    if (*m->unmigratable)
        s->unmigratable = g_strdup(m->unmigratable);
    s->config_len = (uint32_t) m->config.len;
    return take_up_to(&m->config, s->config, 1, VDT_CONFIG_MAX, "config space", error);
}

/* The counts of all rings must add up to the length of the columns, so that a ring's share of them
 * is there before anything is allocated for it. */
static bool
check_columns(const Vdt__V1__Rings *m, GError **error)
{
    size_t n = m->n_num, requests = 0, segs = 0, request_segs = 0;

    if (n > VDT_RINGS_MAX)
        return refuse(error, "%zu rings (up to %u)", n, VDT_RINGS_MAX);
    if (m->n_flags != n || m->n_avail != n || m->n_used != n || m->n_requests != n ||
        m->n_segs != n)
        return refuse(error, "the columns of its rings differ in length");
    if (!fits16(m->num, n) || !fits16(m->avail, n) || !fits16(m->used, n))
        return refuse(error, "a ring size or position of more than 16 bits");
    for (size_t i = 0; i < n; i++) {
        if (m->flags[i] & ~(uint32_t) VDT_RING_FLAGS)
            return refuse(error, "ring %zu has unknown flags 0x%x", i, m->flags[i]);
        requests += m->requests[i];
        segs += m->segs[i];
    }
    if (requests != m->n_request || segs != m->n_seg_addr || segs != m->n_seg_len ||
        segs != m->n_seg_flags)
        return refuse(error, "its rings claim %zu requests with %zu segments, which are not there",
                      requests, segs);
    if (m->n_request_segs != (m->packed ? requests : 0))
        return refuse(error, "segments are counted for %zu of %zu requests", m->n_request_segs,
                      requests);
    for (size_t i = 0; i < m->n_request_segs; i++)
        request_segs += m->request_segs[i];
    if (m->n_request_segs > 0 && request_segs != segs)
        return refuse(error, "its requests claim %zu segments of %zu", request_segs, segs);
    return true;
}

static bool
take_rings(struct vdt_snapshot *s, const Vdt__V1__Rings *m, GError **error)
{
    size_t r = 0, g = 0;

    if (!check_columns(m, error))
        return false;
    if (m->cvq > m->n_num)
        return refuse(error, "control queue %u of %zu rings", m->cvq - 1, m->n_num);
    s->packed = m->packed;
    s->cvq_index = (int32_t) m->cvq - 1;
    s->ring_count = (uint32_t) m->n_num;
    for (unsigned i = 0; i < s->ring_count; i++) {
        struct vdt_snapshot_ring *ring = &s->rings[i];
        uint32_t seg = 0;
        ring->num = (uint16_t) m->num[i];
        ring->started = m->flags[i] & VDT_RING_STARTED;
        ring->enabled = m->flags[i] & VDT_RING_ENABLED;
        ring->exact = m->flags[i] & VDT_RING_EXACT;
        ring->pos.avail = (uint16_t) m->avail[i];
        ring->pos.used = (uint16_t) m->used[i];
        ring->request_count = m->requests[i];
        ring->seg_count = m->segs[i];
        if (ring->request_count > 0)
            ring->requests = g_new0(struct vdt_snapshot_request, ring->request_count);
        if (ring->seg_count > 0)
            ring->segs = g_new0(struct vdt_seg, ring->seg_count);
        for (uint32_t j = 0; j < ring->request_count; j++, r++) {
            ring->requests[j].id = (uint16_t) m->request[r];
            ring->requests[j].slots = (uint16_t) (m->request[r] >> 16);
            if (m->packed) {
                ring->requests[j].segs = m->request_segs[r];
                ring->requests[j].seg = seg;
                seg += m->request_segs[r];
            }
        }
        for (uint32_t j = 0; j < ring->seg_count; j++, g++) {
            ring->segs[j].addr = m->seg_addr[g];
            ring->segs[j].len = m->seg_len[g];
            ring->segs[j].flags = (uint16_t) m->seg_flags[g];
            ring->segs[j].next = (uint16_t) (m->seg_flags[g] >> 16);
        }
    }
    return true;
}

static bool
take_filters(struct vdt_net_state *net, const Vdt__V1__Control *m, GError **error)
{
    const Vdt__V1__Switch *rx[6] = {
        m->promisc, m->allmulti, m->alluni, m->nomulti, m->nouni, m->nobcast,
    };

    for (unsigned i = 0; i < 6; i++) {
        if (!rx[i])
            continue;
        net->set |= VDT_NET_PROMISC << i;
        net->rx[i] = rx[i]->on;
    }
    if (m->mac) {
        net->set |= VDT_NET_MAC;
        if (!take_bytes(&m->mac->address, net->mac, sizeof(net->mac), "the MAC address", error))
            return false;
    }
    if (m->mac_table) {
        net->set |= VDT_NET_MAC_TABLE;
        if (!take_up_to(&m->mac_table->unicast, net->unicast, 6, VDT_MAC_TABLE_MAX,
                        "the unicast table", error) ||
            !take_up_to(&m->mac_table->multicast, net->multicast, 6, VDT_MAC_TABLE_MAX,
                        "the multicast table", error))
            return false;
        net->unicast_count = (uint16_t) (m->mac_table->unicast.len / 6);
        net->multicast_count = (uint16_t) (m->mac_table->multicast.len / 6);
    }
    if (m->vlans) {
        net->set |= VDT_NET_VLAN;
        if (!take_bytes(&m->vlans->bitmap, net->vlan, sizeof(net->vlan), "the VLAN bitmap", error))
            return false;
    }
    return true;
}

static bool
take_steering(struct vdt_net_state *net, const Vdt__V1__Control *m, GError **error)
{
    if (m->queue_pairs > UINT16_MAX)
        return refuse(error, "%u queue pairs", m->queue_pairs);
    net->queue_pairs = (uint16_t) m->queue_pairs;
    if (m->pairs)
        net->set |= VDT_NET_PAIRS;
    if (m->rss) {
        net->set |= VDT_NET_RSS;
        if (m->rss->n_table > VDT_RSS_TABLE_MAX || !fits16(m->rss->table, m->rss->n_table) ||
            !fits16(&m->rss->unclassified, 1) || !fits16(&m->rss->max_tx_vq, 1))
            return refuse(error, "an RSS table of %zu entries, or queues of more than 16 bits",
                          m->rss->n_table);
        net->rss.hash_types = m->rss->hash_types;
        net->rss.unclassified = (uint16_t) m->rss->unclassified;
        net->rss.max_tx_vq = (uint16_t) m->rss->max_tx_vq;
        net->rss.table_len = (uint16_t) m->rss->n_table;
        for (unsigned i = 0; i < net->rss.table_len; i++)
            net->rss.table[i] = (uint16_t) m->rss->table[i];
        if (!take_up_to(&m->rss->key, net->rss.key, 1, VDT_RSS_KEY_MAX, "the RSS key", error))
            return false;
        net->rss.key_len = (uint8_t) m->rss->key.len;
    }
    if (m->hash) {
        net->set |= VDT_NET_HASH;
        net->hash.hash_types = m->hash->hash_types;
        if (!take_up_to(&m->hash->key, net->hash.key, 1, VDT_RSS_KEY_MAX, "the hash key", error))
            return false;
        net->hash.key_len = (uint8_t) m->hash->key.len;
    }
    return true;
}

static void
take_coal(struct vdt_net_state *net, uint32_t group, struct vdt_net_coal *coal,
          const Vdt__V1__Coalescing *m)
{
    if (!m)
        return;
    net->set |= group;
    coal->max_packets = m->max_packets;
    coal->max_usecs = m->max_usecs;
}

static bool
take_ring_coal(struct vdt_net_state *net, const Vdt__V1__RingCoalescing *m, GError **error)
{
    size_t n = 0;

    if (!m)
        return true;
    if (m->n_max_packets != m->n_max_usecs ||
        m->n_max_packets != (size_t) __builtin_popcountll(m->rings))
        return refuse(error, "coalescing of single rings: %zu and %zu values for %d rings",
                      m->n_max_packets, m->n_max_usecs, __builtin_popcountll(m->rings));
    net->set |= VDT_NET_COAL_VQ;
    net->vq_coal_set[0] = m->rings;
    for (unsigned i = 0; i < 64; i++) {
        if (!(m->rings >> i & 1))
            continue;
        net->vq_coal[i].max_packets = m->max_packets[n];
        net->vq_coal[i].max_usecs = m->max_usecs[n];
        n++;
    }
    return true;
}

static bool
take_control(struct vdt_net_state *net, const Vdt__V1__Control *m, GError **error)
{
    if (!take_filters(net, m, error) || !take_steering(net, m, error))
        return false;
    if (m->guest_offloads) {
        net->set |= VDT_NET_OFFLOADS;
        net->guest_offloads = m->guest_offloads->bits;
    }
    take_coal(net, VDT_NET_COAL_TX, &net->coal_tx, m->coalescing_tx);
    take_coal(net, VDT_NET_COAL_RX, &net->coal_rx, m->coalescing_rx);
    net->announce = m->announce;
    return take_ring_coal(net, m->coalescing_rings, error);
}

static bool
check_frame(const uint8_t *bytes, size_t len, GError **error)
{
    uint32_t payload;

    if (len > VDT_SNAPSHOT_BYTES_MAX)
        return refuse(error, "%zu bytes are more than a snapshot can have (%u)", len,
                      VDT_SNAPSHOT_BYTES_MAX);
    if (len < VDT_FRAME_SIZE)
        return refuse(error, "%zu bytes are too few for its header of %u", len, VDT_FRAME_SIZE);
    if (memcmp(bytes, VDT_FRAME_MAGIC, 4) != 0)
        return refuse(error,
                      "it does not begin with \"" VDT_FRAME_MAGIC "\", so this is no snapshot");
    if (vdt_get16(bytes + 4) != VDT_SNAPSHOT_FORMAT) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "the snapshot has format %u, this program reads format %u",
                    vdt_get16(bytes + 4), VDT_SNAPSHOT_FORMAT);
        return false;
    }
    if (vdt_get16(bytes + 6) != 0)
        return refuse(error, "its header has the unknown flags 0x%x", vdt_get16(bytes + 6));
    payload = vdt_get32(bytes + 8);
    if (payload != len - VDT_FRAME_SIZE)
        return refuse(error,
                      "its header announces %u bytes, %zu follow (it is cut off, or has a tail)",
                      payload, len - VDT_FRAME_SIZE);
    if (vdt_get64(bytes + 12) != vdt_frame_checksum(bytes, bytes + VDT_FRAME_SIZE, payload))
        return refuse(error, "its checksum is wrong, so it was damaged on its way");
    return true;
}

static bool
take_payload(struct vdt_snapshot *s, const uint8_t *payload, size_t len, GError **error)
{
    struct vdt_arena arena;
    Vdt__V1__Snapshot *m;
    bool ok;

    /* Field 1, so it stands first: what follows may be of a form that we do not know. */
    if (len >= 9 && payload[0] == MUST_UNDERSTAND_KEY &&
        vdt_get64(payload + 1) & ~VDT_SNAPSHOT_UNDERSTOOD)
        return refuse(error,
                      "it uses parts of the format that this program does not know "
                      "(must_understand 0x%" G_GINT64_MODIFIER "x)",
                      vdt_get64(payload + 1) & ~VDT_SNAPSHOT_UNDERSTOOD);
    if (!vdt_wire_check(&vdt__v1__snapshot__descriptor, payload, len, VDT_FRAME_SIZE, error))
        return false;
    vdt_arena_init(&arena, len + ARENA_EXTRA);
    m = vdt__v1__snapshot__unpack(&arena.allocator, len, payload);
    if (!m)
        ok = refuse(error, "its %zu bytes would take too much memory to read", len);
    else
        ok = take_identity(s, m, error) && take_rings(s, m->rings, error) &&
             take_control(&s->net, m->control, error);
    vdt_arena_clear(&arena);
    return ok;
}

struct vdt_snapshot *
vdt_snapshot_decode(const uint8_t *bytes, size_t len, GError **error)
{
    if (!check_frame(bytes, len, error))
        return NULL;

    VDT_AUTO(snapshot) snapshot = vdt_snapshot_new();
    if (!take_payload(snapshot, bytes + VDT_FRAME_SIZE, len - VDT_FRAME_SIZE, error) ||
        !vdt_snapshot_validate(snapshot, error))
        return NULL;
    return g_steal_pointer(&snapshot);
}
