/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include <vdpa-tracker/error.h>

#include "snapshot/frame.h"
#include "virtio/features.h"

#define NAME_MAX_BYTES 255u
#define REASON_MAX_BYTES 1023u
#define CREATED_MAX_US 253402300799999999ll /* the end of the year 9999 */

/* vhost's own bits, no feature of a device. */
#define VHOST_BITS (VDT_BIT(VHOST_F_LOG_ALL_BIT) | VDT_BIT(VHOST_USER_F_PROTOCOL_FEATURES_BIT))
#define VHOST_F_LOG_ALL_BIT 26
#define VHOST_USER_F_PROTOCOL_FEATURES_BIT 30

static bool G_GNUC_PRINTF(2, 3) invalid(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *why = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "the snapshot is not valid: %s", why);
    return false;
}

/* Printable UTF-8: it goes to terminals and logs. */
static bool
check_text(const char *text, size_t max, const char *name, GError **error)
{
    size_t len = 0;

    if (!text)
        return true;
    while (text[len] >= 0x20 && text[len] < 0x7f)
        len++;
    if (text[len] == '\0' && len <= max)
        return true;
    len = strnlen(text, max + 1);
    if (len > max)
        return invalid(error, "%s is longer than %zu bytes", name, max);
    if (!g_utf8_validate(text, (gssize) len, NULL))
        return invalid(error, "%s is not UTF-8", name);
    for (const char *p = text; p < text + len; p = g_utf8_next_char(p)) {
        if (!g_unichar_isprint(g_utf8_get_char(p)))
            return invalid(error, "%s has an unprintable character at byte %zu", name,
                           (size_t) (p - text));
    }
    return true;
}

static bool
check_identity(const struct vdt_snapshot *s, GError **error)
{
    if (s->must_understand & ~VDT_SNAPSHOT_UNDERSTOOD)
        return invalid(error,
                       "it uses parts of the format that this program does not know "
                       "(must_understand 0x%" G_GINT64_MODIFIER "x)",
                       s->must_understand & ~VDT_SNAPSHOT_UNDERSTOOD);
    if (s->device_id != VIRTIO_ID_NET && s->device_id != VIRTIO_ID_BLOCK)
        return invalid(error, "device type %u (1 is network, 2 is block)", s->device_id);
    if (s->created_us < 0 || s->created_us > CREATED_MAX_US)
        return invalid(error, "a creation time of %" G_GINT64_FORMAT " us", s->created_us);
    if (s->unmigratable && !*s->unmigratable)
        return invalid(error, "it is marked unmigratable without a reason");
    return check_text(s->name, NAME_MAX_BYTES, "the tracker's name", error) &&
           check_text(s->device, NAME_MAX_BYTES, "the device's name", error) &&
           check_text(s->driver, NAME_MAX_BYTES, "the driver's name", error) &&
           check_text(s->uuid, NAME_MAX_BYTES, "the domain's UUID", error) &&
           check_text(s->tool_version, NAME_MAX_BYTES, "the tool version", error) &&
           check_text(s->unmigratable, REASON_MAX_BYTES, "the reason why it is unmigratable",
                      error);
}

/* A device that no driver has touched yet has features 0 and no ring started. */
static bool
check_features(const struct vdt_snapshot *s, GError **error)
{
    bool used = s->guest_features != 0;
    uint64_t unoffered = s->guest_features & ~s->offered_features & ~VHOST_BITS;

    for (unsigned i = 0; !used && i < s->ring_count; i++)
        used = s->rings[i].started;
    if (unoffered) {
        g_autofree char *names = vdt_features_to_string(s->device_id, unoffered);
        return invalid(error, "the guest has features that were not offered: %s", names);
    }
    if (used && !(s->guest_features & VDT_BIT(VIRTIO_F_VERSION_1)))
        return invalid(error, "the guest did not negotiate VERSION_1");
    if (s->negotiated_features && !(s->negotiated_features & VDT_BIT(VIRTIO_F_VERSION_1)))
        return invalid(error, "VERSION_1 was not negotiated with the device");
    if (s->guest_features &&
        s->packed != ((s->guest_features & VDT_BIT(VIRTIO_F_RING_PACKED)) != 0))
        return invalid(error, "its rings are %s, the guest negotiated the other kind",
                       s->packed ? "packed" : "split");
    return true;
}

static bool
check_chain(const struct vdt_snapshot_ring *ring, const struct vdt_snapshot_request *request,
            unsigned index, uint32_t number, GError **error)
{
    uint64_t total = 0;
    bool writing = false;

    for (uint32_t i = 0; i < request->segs; i++) {
        const struct vdt_seg *seg = &ring->segs[request->seg + i];
        uint64_t end;
        if (seg->flags & ~(VDT_SEG_NEXT | VDT_SEG_WRITE))
            return invalid(error, "ring %u, request %u: a segment with the flags 0x%x", index,
                           number, seg->flags);
        if (__builtin_add_overflow(seg->addr, seg->len, &end))
            return invalid(error, "ring %u, request %u: a segment reaches past the last address",
                           index, number);
        if (writing && !(seg->flags & VDT_SEG_WRITE))
            return invalid(error, "ring %u, request %u: a readable segment behind a writable one",
                           index, number);
        writing = seg->flags & VDT_SEG_WRITE;
        total += seg->len;
    }
    if (total > UINT32_MAX)
        return invalid(error, "ring %u, request %u has %" G_GUINT64_FORMAT " bytes", index, number,
                       total);
    return true;
}

/* Of a packed ring; its descriptors are the request's, all of them. */
static bool
check_table(const struct vdt_snapshot_request *request, unsigned index, uint32_t number,
            GError **error)
{
    uint64_t end;

    if (request->slots != 1 || request->segs == 0 ||
        request->table_len != 16 * (uint64_t) request->segs)
        return invalid(error,
                       "ring %u, request %u: a table of %u bytes for %u segments in %u descriptors",
                       index, number, request->table_len, request->segs, request->slots);
    if (__builtin_add_overflow(request->table_addr, request->table_len, &end))
        return invalid(error, "ring %u, request %u: a table that reaches past the last address",
                       index, number);
    return true;
}

/* Segments of consecutive requests follow one another, so that there is one way to say it. */
static bool
check_requests(const struct vdt_snapshot *s, unsigned index, GError **error)
{
    const struct vdt_snapshot_ring *ring = &s->rings[index];
    uint64_t heads[VDT_RING_MAX / 64];
    uint32_t slots = 0, segs = 0;

    if (ring->request_count == 0 && ring->seg_count == 0)
        return true;
    if (!s->packed)
        memset(heads, 0, (ring->num + 63u) / 64 * 8);
    for (uint32_t i = 0; i < ring->request_count; i++) {
        const struct vdt_snapshot_request *request = &ring->requests[i];
        slots += request->slots; /* at most VDT_RING_MAX times 65535 */
        if (request->slots == 0)
            return invalid(error, "ring %u, request %u takes no descriptor", index, i);
        if (s->packed) {
            if (request->seg != segs || request->segs > ring->seg_count - segs)
                return invalid(error,
                               "ring %u, request %u: segments %u..%" G_GUINT64_FORMAT
                               " instead of %u.. of %u",
                               index, i, request->seg, (uint64_t) request->seg + request->segs,
                               segs, ring->seg_count);
            /* Direct descriptors and one indirect table, as takers of chains allow. */
            if (request->segs > 2u * ring->num)
                return invalid(error, "ring %u of %u, request %u: %u segments", index, ring->num, i,
                               request->segs);
            segs += request->segs;
            if (!check_chain(ring, request, index, i, error))
                return false;
            if ((request->table_addr || request->table_len) &&
                !check_table(request, index, i, error))
                return false;
            continue;
        }
        if (request->segs || request->seg || request->table_addr || request->table_len)
            return invalid(error, "ring %u, request %u: segments with a split ring", index, i);
        if (request->id >= ring->num)
            return invalid(error, "ring %u, request %u: head %u of a ring of %u", index, i,
                           request->id, ring->num);
        if (heads[request->id / 64] >> (request->id % 64) & 1)
            return invalid(error, "ring %u: head %u is in flight twice", index, request->id);
        heads[request->id / 64] |= 1ull << (request->id % 64);
    }
    if (segs != ring->seg_count)
        return invalid(error, "ring %u has %u segments, its requests have %u", index,
                       ring->seg_count, segs);
    if (slots > ring->num)
        return invalid(error, "ring %u: requests of %u descriptors are in flight in a ring of %u",
                       index, slots, ring->num);
    return true;
}

/* What the positions say to be in flight: split chains, packed slots. */
static uint32_t
distance(const struct vdt_snapshot_ring *ring, bool packed)
{
    uint32_t slots;

    if (!packed)
        return (uint16_t) (ring->pos.avail - ring->pos.used);
    slots = (ring->pos.avail & 0x7fffu) - (ring->pos.used & 0x7fffu);
    return (ring->pos.avail ^ ring->pos.used) & 0x8000 ? slots + ring->num : slots;
}

/* With an exact list of a stopped ring, positions and list say the same, in whatever order the
 * device completes. A live ring moved while it was looked at. */
static bool
check_in_flight(const struct vdt_snapshot *s, unsigned index, GError **error)
{
    const struct vdt_snapshot_ring *ring = &s->rings[index];
    uint32_t listed = 0, apart = distance(ring, s->packed);

    if (s->live || !ring->exact)
        return true;
    for (uint32_t i = 0; i < ring->request_count; i++)
        listed += s->packed ? ring->requests[i].slots : 1;
    if (listed != apart)
        return invalid(error, "ring %u lists %u %s in flight, its positions say %u", index, listed,
                       s->packed ? "descriptors" : "requests", apart);
    return true;
}

static bool
check_ring(const struct vdt_snapshot *s, unsigned index, GError **error)
{
    const struct vdt_snapshot_ring *ring = &s->rings[index];
    enum vdt_ring_kind kind = s->packed ? VDT_RING_PACKED : VDT_RING_SPLIT;
    struct vdt_ring_format format = {.kind = kind, .num = ring->num};

    if (ring->num == 0) {
        if (ring->started || ring->request_count || ring->seg_count)
            return invalid(error, "ring %u has no size and yet is in use", index);
        return true;
    }
    if (!vdt_ring_num_valid(kind, ring->num))
        return invalid(error, "ring %u has the size %u", index, ring->num);
    if (!vdt_ring_pos_valid(&format, ring->pos))
        return invalid(error, "ring %u of %u stands at the impossible position 0x%x, 0x%x", index,
                       ring->num, ring->pos.avail, ring->pos.used);
    if (ring->request_count > ring->num)
        return invalid(error, "ring %u of %u has %u requests in flight", index, ring->num,
                       ring->request_count);
    return check_requests(s, index, error) && check_in_flight(s, index, error);
}

/* Nothing in flight and nothing wrong, as with most rings of most states. */
static bool
all_at_rest(const struct vdt_snapshot *s)
{
    bool packed = s->packed;
    uint32_t strange = 0;

    for (unsigned i = 0; i < s->ring_count; i++) {
        const struct vdt_snapshot_ring *ring = &s->rings[i];
        uint32_t num = ring->num, slot = ring->pos.avail & 0x7fffu;

        strange |= ring->request_count | ring->seg_count | (ring->pos.avail ^ ring->pos.used);
        strange |= num - 1 >= VDT_RING_MAX;
        strange |= packed ? slot >= num : num & (num - 1);
    }
    return strange == 0;
}

static bool
check_rings(const struct vdt_snapshot *s, GError **error)
{
    if (s->ring_count > VDT_RINGS_MAX)
        return invalid(error, "%u rings (up to %u)", s->ring_count, VDT_RINGS_MAX);
    if (s->cvq_index < -1 || s->cvq_index >= (int32_t) s->ring_count)
        return invalid(error, "control queue %d of %u rings", s->cvq_index, s->ring_count);
    if (s->cvq_index >= 0 && s->device_id != VIRTIO_ID_NET)
        return invalid(error, "a control queue, which only network devices have");
    if (s->cvq_index >= 0 && (s->cvq_index < 2 || s->cvq_index % 2 != 0))
        return invalid(error, "ring %d as control queue (it follows the queue pairs)",
                       s->cvq_index);
    if (all_at_rest(s))
        return true;
    for (unsigned i = 0; i < s->ring_count; i++) {
        if (!check_ring(s, i, error))
            return false;
    }
    return true;
}

/* Receive queues that control state names exist. Before a driver came there are no rings. */
static bool
check_net(const struct vdt_snapshot *s, GError **error)
{
    const struct vdt_net_state *net = &s->net;
    unsigned data = s->cvq_index >= 0 ? (unsigned) s->cvq_index : s->ring_count;
    unsigned top = net->vq_coal_set[0] ? 64u - __builtin_clzll(net->vq_coal_set[0]) : 0;

    if (!vdt_net_state_valid(net, error)) {
        g_prefix_error(error, "the snapshot is not valid: ");
        return false;
    }
    if (s->device_id != VIRTIO_ID_NET && (net->set || net->announce))
        return invalid(error, "network control state of a device that is none");
    if (s->ring_count == 0)
        return true;
    if (net->set & (VDT_NET_PAIRS | VDT_NET_RSS) && 2u * net->queue_pairs > data)
        return invalid(error, "%u queue pairs with %u data rings", net->queue_pairs, data);
    if (top > data)
        return invalid(error, "coalescing of ring %u with %u data rings", top - 1, data);
    if (!(net->set & VDT_NET_RSS))
        return true;
    for (unsigned i = 0; i < net->rss.table_len; i++) {
        if (2u * net->rss.table[i] >= data)
            return invalid(error, "RSS table entry %u names receive queue %u with %u data rings", i,
                           net->rss.table[i], data);
    }
    if (2u * net->rss.unclassified >= data)
        return invalid(error, "RSS sends the rest to receive queue %u with %u data rings",
                       net->rss.unclassified, data);
    return true;
}

bool
vdt_snapshot_validate(const struct vdt_snapshot *s, GError **error)
{
    if (s->config_len > VDT_CONFIG_MAX)
        return invalid(error, "%u bytes of config space (up to %u)", s->config_len, VDT_CONFIG_MAX);
    return check_identity(s, error) && check_rings(s, error) && check_features(s, error) &&
           check_net(s, error);
}
