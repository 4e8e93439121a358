/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include <vdpa-tracker/error.h>

#include "base/wire.h"
#include "snapshot/frame.h"
#include "snapshot/schema.h"

#define MUST_UNDERSTAND_KEY (1u << 3 | 1u) /* field 1, eight bytes */

static bool G_GNUC_PRINTF(2, 3) refuse(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *why = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "the snapshot is malformed: %s", why);
    return false;
}

static uint32_t
entry32(const struct vdt_wire_bytes *column, size_t i)
{
    return vdt_get32(column->at + 4 * i);
}

static uint64_t
entry64(const struct vdt_wire_bytes *column, size_t i)
{
    return vdt_get64(column->at + 8 * i);
}

static size_t
entries32(const struct vdt_wire_bytes *column)
{
    return column->len / 4;
}

/* Every entry of a 32-bit column fits into 16 bits. */
static bool
fits16(const struct vdt_wire_bytes *column)
{
    uint32_t all = 0;

    for (size_t i = 0; i < entries32(column); i++)
        all |= entry32(column, i);
    return all <= UINT16_MAX;
}

static bool
take_bytes(const struct vdt_wire_bytes *block, void *dst, size_t want, const char *name,
           GError **error)
{
    if (block->len != want)
        return refuse(error, "%s has %zu bytes instead of %zu", name, block->len, want);
    memcpy(dst, block->at, want);
    return true;
}

/* @len is what @block has, of entries of @size bytes, up to @max of them. */
static bool
take_up_to(const struct vdt_wire_bytes *block, void *dst, size_t size, size_t max, const char *name,
           GError **error)
{
    if (block->len > size * max || block->len % size != 0)
        return refuse(error, "%s has %zu bytes (entries of %zu, up to %zu)", name, block->len, size,
                      max);
    if (block->len > 0)
        memcpy(dst, block->at, block->len);
    return true;
}

static char *
take_text(const struct vdt_wire_bytes *text)
{
    char *copy = g_malloc(text->len + 1);

    if (text->len > 0)
        memcpy(copy, text->at, text->len);
    copy[text->len] = '\0';
    return copy;
}

static bool
take_identity(struct vdt_snapshot *s, const struct vdt_wire_snapshot *m, GError **error)
{
    s->name = take_text(&m->identity.name);
    s->device = take_text(&m->identity.device);
    s->driver = take_text(&m->identity.driver);
    s->uuid = take_text(&m->identity.uuid);
    s->tool_version = take_text(&m->identity.tool_version);
    if (!m->identity.present || !m->features.present || !m->rings.present || !m->control.present)
        return refuse(error, "it has no %s",
                      !m->identity.present   ? "identity"
                      : !m->features.present ? "features"
                      : !m->rings.present    ? "rings"
                                             : "control state");
    s->device_id = m->identity.device_id;
    s->created_us = (int64_t) m->identity.created_us;
    s->device_features = m->features.device;
    s->offered_features = m->features.offered;
    s->guest_features = m->features.guest;
    s->negotiated_features = m->features.negotiated;
    s->protocol_features = m->features.protocol;

    s->must_understand = m->must_understand;
    s->live = m->live;
    s->resubmitted_rx_window = m->resubmitted_rx_window;
    if (m->unmigratable.len > 0)
        s->unmigratable = take_text(&m->unmigratable);
    s->config_len = (uint32_t) m->config.len;
    return take_up_to(&m->config, s->config, 1, VDT_CONFIG_MAX, "config space", error);
}

static void
take_source(struct vdt_snapshot_source *source, const struct vdt_wire_source *m)
{
    *source = (struct vdt_snapshot_source){
        .known = m->present,
        .abilities = m->abilities,
        .rings = m->rings,
        .ring_max = m->ring_max,
        .used_width = m->used_width,
        .drives_control = m->drives_control,
        .commands = m->commands,
        .refused = m->refused,
        .ran_again = m->ran_again,
    };
}

/* Each column has an entry a ring. */
static bool
check_columns(const struct vdt_wire_rings *m, GError **error)
{
    size_t n = entries32(&m->num), len = 4 * n;

    if (n > VDT_RINGS_MAX)
        return refuse(error, "%zu rings (up to %u)", n, VDT_RINGS_MAX);
    if (m->flags.len != len || m->avail.len != len || m->used.len != len ||
        m->requests.len != len || m->segs.len != len)
        return refuse(error, "the columns of its rings differ in length");
    if (m->cvq > n)
        return refuse(error, "control queue %u of %zu rings", m->cvq - 1, n);
    return true;
}

/* The counts of all rings must add up to the length of the columns, so that a ring's share of them
 * is there before anything is allocated for it. */
static bool
check_in_flight(const struct vdt_wire_rings *m, uint64_t requests, uint64_t segs, GError **error)
{
    uint64_t request_segs = 0;

    if (requests != entries32(&m->request) || segs != m->seg_addr.len / 8 ||
        segs != entries32(&m->seg_len) || segs != entries32(&m->seg_flags))
        return refuse(error,
                      "its rings claim %" G_GUINT64_FORMAT " requests with %" G_GUINT64_FORMAT
                      " segments, which are not there",
                      requests, segs);
    if (entries32(&m->request_segs) != (m->packed ? requests : 0))
        return refuse(error, "segments are counted for %zu of %" G_GUINT64_FORMAT " requests",
                      entries32(&m->request_segs), requests);
    for (size_t i = 0; i < entries32(&m->request_segs); i++)
        request_segs += entry32(&m->request_segs, i);
    if (m->request_segs.len > 0 && request_segs != segs)
        return refuse(error,
                      "its requests claim %" G_GUINT64_FORMAT " segments of %" G_GUINT64_FORMAT,
                      request_segs, segs);
    return true;
}

/* What format 2 added. A column is there only if it says something. */
static bool
check_more_columns(const struct vdt_wire_rings *m, GError **error)
{
    size_t tables = entries32(&m->table_len), faults = entries32(&m->fault);
    uint32_t any_table = 0, any_fault = 0;

    if (tables != m->table_addr.len / 8 || (tables > 0 && tables != entries32(&m->request_segs)))
        return refuse(error, "tables are given for %zu and %zu requests of %zu",
                      m->table_addr.len / 8, tables, entries32(&m->request));
    if (faults > 0 && faults != entries32(&m->num))
        return refuse(error, "faults are given for %zu rings of %zu", faults, entries32(&m->num));
    for (size_t i = 0; i < tables; i++)
        any_table |= entry32(&m->table_len, i);
    for (size_t i = 0; i < faults; i++)
        any_fault |= entry32(&m->fault, i);
    if ((tables > 0 && !any_table) || (faults > 0 && !any_fault))
        return refuse(error, "a column of its rings holds nothing and yet is written");
    if (any_fault > UINT16_MAX)
        return refuse(error, "a ring's fault of more than 16 bits");
    return true;
}

/* From request @r and segment @g of all rings on. */
static void
take_in_flight(struct vdt_snapshot_ring *ring, const struct vdt_wire_rings *m, size_t r, size_t g)
{
    uint32_t seg = 0;

    if (ring->request_count > 0)
        ring->requests = g_new0(struct vdt_snapshot_request, ring->request_count);
    if (ring->seg_count > 0)
        ring->segs = g_new0(struct vdt_seg, ring->seg_count);
    for (uint32_t j = 0; j < ring->request_count; j++, r++) {
        struct vdt_snapshot_request *request = &ring->requests[j];
        request->id = (uint16_t) entry32(&m->request, r);
        request->slots = (uint16_t) (entry32(&m->request, r) >> 16);
        if (!m->packed)
            continue;
        request->segs = entry32(&m->request_segs, r);
        request->seg = seg;
        seg += request->segs;
        if (m->table_len.len > 0) {
            request->table_addr = entry64(&m->table_addr, r);
            request->table_len = entry32(&m->table_len, r);
        }
    }
    for (uint32_t j = 0; j < ring->seg_count; j++, g++) {
        ring->segs[j].addr = entry64(&m->seg_addr, g);
        ring->segs[j].len = entry32(&m->seg_len, g);
        ring->segs[j].flags = (uint16_t) entry32(&m->seg_flags, g);
        ring->segs[j].next = (uint16_t) (entry32(&m->seg_flags, g) >> 16);
    }
}

static bool
take_rings(struct vdt_snapshot *s, const struct vdt_wire_rings *m, GError **error)
{
    uint32_t wide = 0, all_flags = 0;
    uint64_t requests = 0, segs = 0;
    size_t r = 0, g = 0;

    if (!check_columns(m, error) || !check_more_columns(m, error))
        return false;
    s->packed = m->packed;
    s->cvq_index = (int32_t) m->cvq - 1;
    s->ring_count = (uint32_t) entries32(&m->num);
    for (unsigned i = 0; i < s->ring_count; i++) {
        struct vdt_snapshot_ring *ring = &s->rings[i];
        uint32_t flags = entry32(&m->flags, i), num = entry32(&m->num, i);
        uint32_t avail = entry32(&m->avail, i), used = entry32(&m->used, i);

        wide |= num | avail | used;
        all_flags |= flags;
        ring->num = (uint16_t) num;
        ring->started = flags & VDT_RING_STARTED;
        ring->enabled = flags & VDT_RING_ENABLED;
        ring->exact = flags & VDT_RING_EXACT;
        ring->pos = (struct vdt_ring_pos){(uint16_t) avail, (uint16_t) used};
        ring->request_count = entry32(&m->requests, i);
        ring->seg_count = entry32(&m->segs, i);
        requests += ring->request_count;
        segs += ring->seg_count;
    }
    if (wide > UINT16_MAX)
        return refuse(error, "a ring size or position of more than 16 bits");
    if (all_flags & ~(uint32_t) VDT_RING_FLAGS)
        return refuse(error, "a ring has unknown flags 0x%x",
                      all_flags & ~(uint32_t) VDT_RING_FLAGS);
    if (!check_in_flight(m, requests, segs, error))
        return false;
    for (unsigned i = 0; m->fault.len > 0 && i < s->ring_count; i++)
        s->rings[i].fault = (uint16_t) entry32(&m->fault, i);
    for (unsigned i = 0; r < requests || g < segs; i++) {
        take_in_flight(&s->rings[i], m, r, g);
        r += s->rings[i].request_count;
        g += s->rings[i].seg_count;
    }
    return true;
}

static bool
take_filters(struct vdt_net_state *net, const struct vdt_wire_control *m, GError **error)
{
    const struct vdt_wire_switch *rx[6] = {
        &m->promisc, &m->allmulti, &m->alluni, &m->nomulti, &m->nouni, &m->nobcast,
    };

    for (unsigned i = 0; i < 6; i++) {
        if (!rx[i]->present)
            continue;
        net->set |= VDT_NET_PROMISC << i;
        net->rx[i] = rx[i]->on;
    }
    if (m->mac.present) {
        net->set |= VDT_NET_MAC;
        if (!take_bytes(&m->mac.address, net->mac, sizeof(net->mac), "the MAC address", error))
            return false;
    }
    if (m->mac_table.present) {
        net->set |= VDT_NET_MAC_TABLE;
        if (!take_up_to(&m->mac_table.unicast, net->unicast, 6, VDT_MAC_TABLE_MAX,
                        "the unicast table", error) ||
            !take_up_to(&m->mac_table.multicast, net->multicast, 6, VDT_MAC_TABLE_MAX,
                        "the multicast table", error))
            return false;
        net->unicast_count = (uint16_t) (m->mac_table.unicast.len / 6);
        net->multicast_count = (uint16_t) (m->mac_table.multicast.len / 6);
    }
    if (m->vlans.present) {
        net->set |= VDT_NET_VLAN;
        if (!take_bytes(&m->vlans.bitmap, net->vlan, sizeof(net->vlan), "the VLAN bitmap", error))
            return false;
    }
    return true;
}

static bool
take_rss(struct vdt_net_rss *rss, const struct vdt_wire_rss *m, GError **error)
{
    if (entries32(&m->table) > VDT_RSS_TABLE_MAX || !fits16(&m->table) ||
        m->unclassified > UINT16_MAX || m->max_tx_vq > UINT16_MAX)
        return refuse(error, "an RSS table of %zu entries, or queues of more than 16 bits",
                      entries32(&m->table));
    rss->hash_types = m->hash_types;
    rss->unclassified = (uint16_t) m->unclassified;
    rss->max_tx_vq = (uint16_t) m->max_tx_vq;
    rss->table_len = (uint16_t) entries32(&m->table);
    for (unsigned i = 0; i < rss->table_len; i++)
        rss->table[i] = (uint16_t) entry32(&m->table, i);
    rss->key_len = (uint8_t) m->key.len;
    return take_up_to(&m->key, rss->key, 1, VDT_RSS_KEY_MAX, "the RSS key", error);
}

static bool
take_steering(struct vdt_net_state *net, const struct vdt_wire_control *m, GError **error)
{
    if (m->queue_pairs > UINT16_MAX)
        return refuse(error, "%u queue pairs", m->queue_pairs);
    net->queue_pairs = (uint16_t) m->queue_pairs;
    if (m->pairs.present)
        net->set |= VDT_NET_PAIRS;
    if (m->rss.present) {
        net->set |= VDT_NET_RSS;
        if (!take_rss(&net->rss, &m->rss, error))
            return false;
    }
    if (m->hash.present) {
        net->set |= VDT_NET_HASH;
        net->hash.hash_types = m->hash.hash_types;
        net->hash.key_len = (uint8_t) m->hash.key.len;
        return take_up_to(&m->hash.key, net->hash.key, 1, VDT_RSS_KEY_MAX, "the hash key", error);
    }
    return true;
}

static void
take_coal(struct vdt_net_state *net, uint32_t group, struct vdt_net_coal *coal,
          const struct vdt_wire_coalescing *m)
{
    if (!m->present)
        return;
    net->set |= group;
    coal->max_packets = m->max_packets;
    coal->max_usecs = m->max_usecs;
}

static bool
take_ring_coal(struct vdt_net_state *net, const struct vdt_wire_ring_coalescing *m, GError **error)
{
    size_t n = 0;

    if (!m->present)
        return true;
    if (m->max_packets.len != m->max_usecs.len ||
        entries32(&m->max_packets) != (size_t) __builtin_popcountll(m->rings))
        return refuse(error, "coalescing of single rings: %zu and %zu values for %d rings",
                      entries32(&m->max_packets), entries32(&m->max_usecs),
                      __builtin_popcountll(m->rings));
    net->set |= VDT_NET_COAL_VQ;
    net->vq_coal_set[0] = m->rings;
    for (unsigned i = 0; i < 64; i++) {
        if (!(m->rings >> i & 1))
            continue;
        net->vq_coal[i].max_packets = entry32(&m->max_packets, n);
        net->vq_coal[i].max_usecs = entry32(&m->max_usecs, n);
        n++;
    }
    return true;
}

static bool
take_control(struct vdt_net_state *net, const struct vdt_wire_control *m, GError **error)
{
    if (!take_filters(net, m, error) || !take_steering(net, m, error))
        return false;
    if (m->guest_offloads.present) {
        net->set |= VDT_NET_OFFLOADS;
        net->guest_offloads = m->guest_offloads.bits;
    }
    take_coal(net, VDT_NET_COAL_TX, &net->coal_tx, &m->coalescing_tx);
    take_coal(net, VDT_NET_COAL_RX, &net->coal_rx, &m->coalescing_rx);
    net->announce = m->announce;
    return take_ring_coal(net, &m->coalescing_rings, error);
}

/* "1 and 2", for the newest that is read and the one before it. */
static unsigned
oldest_read(unsigned newest)
{
    return MAX(newest, VDT_SNAPSHOT_FORMAT_OLDEST + 1u) - 1u;
}

static bool
check_format(unsigned format, unsigned newest, GError **error)
{
    unsigned oldest = oldest_read(newest);
    g_autofree char *reads = NULL;

    if (format >= oldest && format <= newest)
        return true;
    reads = oldest < newest ? g_strdup_printf("%u and %u", oldest, newest)
                            : g_strdup_printf("format %u", newest);
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                "the snapshot was written by %s version: format %u, this one reads %s%s",
                format > newest ? "a newer" : "no released", format, reads,
                format > newest ? "; --format of the writing one may help" : "");
    return false;
}

static bool
check_frame(const uint8_t *bytes, size_t len, unsigned newest, GError **error)
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
    if (!check_format(vdt_get16(bytes + 4), newest, error))
        return false;
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

/* Format 1 has no such fields: a reader passes over them as over any other that it does not know.
 */
static void
pass_over_newer(struct vdt_wire_snapshot *m)
{
    m->source = (struct vdt_wire_source){0};
    m->rings.table_addr = m->rings.table_len = m->rings.fault = (struct vdt_wire_bytes){0};
}

static bool
take_payload(struct vdt_snapshot *s, const uint8_t *payload, size_t len, GError **error)
{
    struct vdt_wire_snapshot m = {0};

    /* Field 1, so it stands first: what follows may be of a form that we do not know. */
    if (len >= 9 && payload[0] == MUST_UNDERSTAND_KEY &&
        vdt_get64(payload + 1) & ~VDT_SNAPSHOT_UNDERSTOOD)
        return refuse(error,
                      "it uses parts of the format that this program does not know "
                      "(must_understand 0x%" G_GINT64_MODIFIER "x)",
                      vdt_get64(payload + 1) & ~VDT_SNAPSHOT_UNDERSTOOD);
    if (!vdt_wire_read(&vdt_wire_snapshot_schema, payload, len, VDT_FRAME_SIZE, &m, error))
        return false;
    if (s->format < 2)
        pass_over_newer(&m);
    take_source(&s->source, &m.source);
    return take_identity(s, &m, error) && take_rings(s, &m.rings, error) &&
           take_control(&s->net, &m.control, error);
}

struct vdt_snapshot *
vdt_snapshot_decode_up_to(const uint8_t *bytes, size_t len, unsigned newest, GError **error)
{
    if (!check_frame(bytes, len, newest, error))
        return NULL;

    VDT_AUTO(snapshot) snapshot = g_new0(struct vdt_snapshot, 1);
    snapshot->format = vdt_get16(bytes + 4);
    if (!take_payload(snapshot, bytes + VDT_FRAME_SIZE, len - VDT_FRAME_SIZE, error) ||
        !vdt_snapshot_validate(snapshot, error))
        return NULL;
    return g_steal_pointer(&snapshot);
}

struct vdt_snapshot *
vdt_snapshot_decode(const uint8_t *bytes, size_t len, GError **error)
{
    return vdt_snapshot_decode_up_to(bytes, len, VDT_SNAPSHOT_FORMAT, error);
}
