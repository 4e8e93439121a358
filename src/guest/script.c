/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest/expectation.h"

#include <endian.h>
#include <string.h>

#include "base/wire.h"

#define TYPE_RX_BASIC 0u
#define TYPE_TX_BASIC 16u
#define DRAIN_US 5000

static const struct {
    const char *name;
    uint64_t features; /* all of them */
} kinds[VDT_SCRIPT_KINDS] = {
    [VDT_SCRIPT_MAC] = {"mac address", VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR)},
    [VDT_SCRIPT_RX] = {"rx mode", VDT_BIT(VIRTIO_NET_F_CTRL_RX)},
    [VDT_SCRIPT_TABLE] = {"mac table", VDT_BIT(VIRTIO_NET_F_CTRL_RX)},
    [VDT_SCRIPT_RX_EXTRA] = {"rx extra mode", VDT_BIT(VIRTIO_NET_F_CTRL_RX_EXTRA)},
    [VDT_SCRIPT_VLAN] = {"vlan", VDT_BIT(VIRTIO_NET_F_CTRL_VLAN)},
    [VDT_SCRIPT_PAIRS] = {"queue pairs", VDT_BIT(VIRTIO_NET_F_MQ)},
    [VDT_SCRIPT_RSS] = {"rss", VDT_BIT(VIRTIO_NET_F_RSS)},
    [VDT_SCRIPT_HASH] = {"hash report", VDT_BIT(VIRTIO_NET_F_HASH_REPORT)},
    [VDT_SCRIPT_OFFLOADS] = {"guest offloads", VDT_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)},
    [VDT_SCRIPT_COAL] = {"coalescing", VDT_BIT(VIRTIO_NET_F_NOTF_COAL)},
    [VDT_SCRIPT_COAL_RING] = {"ring coalescing", VDT_BIT(VIRTIO_NET_F_VQ_NOTF_COAL)},
    [VDT_SCRIPT_COAL_READ] = {"ring coalescing read", VDT_BIT(VIRTIO_NET_F_VQ_NOTF_COAL)},
    [VDT_SCRIPT_STATS] = {"statistics", VDT_BIT(VIRTIO_NET_F_DEVICE_STATS)},
    [VDT_SCRIPT_ANNOUNCE] = {"announce", VDT_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE)},
};

const char *
vdt_script_kind_name(enum vdt_script_kind kind)
{
    return kinds[kind].name;
}

bool
vdt_script_can(const struct vdt_script *script, enum vdt_script_kind kind)
{
    return (script->driver->config.features & kinds[kind].features) == kinds[kind].features;
}

/* The same, of its own accord. Devices answer differently where nobody has asked. */
static bool
unasked(const struct vdt_script *script, enum vdt_script_kind kind)
{
    return vdt_script_can(script, kind) && !(script->modest && kind == VDT_SCRIPT_ANNOUNCE);
}

static uint32_t
below(struct vdt_script *script, uint32_t end)
{
    return (uint32_t) g_rand_int_range(script->rand, 0, (gint32) end);
}

static uint64_t
offloads_mask(const struct vdt_script *script)
{
    return script->driver->config.features &
           (VDT_BIT(VIRTIO_NET_F_GUEST_CSUM) | VDT_BIT(VIRTIO_NET_F_GUEST_TSO4) |
            VDT_BIT(VIRTIO_NET_F_GUEST_TSO6));
}

/* ---- what is asked ---- */

static struct vdt_script_pending *
ask(struct vdt_script *script, enum vdt_script_kind kind, unsigned class, unsigned command)
{
    struct vdt_script_pending *p = g_new0(struct vdt_script_pending, 1);

    p->kind = kind;
    p->bytes[0] = (uint8_t) class;
    p->bytes[1] = (uint8_t) command;
    p->len = 2;
    g_queue_push_tail(&script->queue, p);
    return p;
}

static void
add8(struct vdt_script_pending *p, unsigned v)
{
    p->bytes[p->len++] = (uint8_t) v;
}

static void
add16(struct vdt_script_pending *p, unsigned v)
{
    vdt_put16(p->bytes + p->len, (uint16_t) v);
    p->len += 2;
}

static void
add32(struct vdt_script_pending *p, uint32_t v)
{
    vdt_put32(p->bytes + p->len, v);
    p->len += 4;
}

static void
add_random(struct vdt_script *script, struct vdt_script_pending *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        add8(p, below(script, 256));
}

static void
ask_rx(struct vdt_script *script, unsigned command, bool on)
{
    add8(
        ask(script, command < 2 ? VDT_SCRIPT_RX : VDT_SCRIPT_RX_EXTRA, VIRTIO_NET_CTRL_RX, command),
        on);
}

static void
ask_mac(struct vdt_script *script)
{
    struct vdt_script_pending *p =
        ask(script, VDT_SCRIPT_MAC, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET);

    add8(p, 0x52);
    add8(p, 0x54);
    add_random(script, p, 4);
}

static void
add_macs(struct vdt_script *script, struct vdt_script_pending *p, unsigned n, bool multicast)
{
    add32(p, n);
    for (unsigned i = 0; i < n; i++) {
        add8(p, multicast ? 0x33 : 0x52);
        /* The number keeps them apart, as a set has to be. */
        add16(p, i);
        add_random(script, p, 3);
    }
}

/* One table in five is longer than hardware filters are, one in fifteen as long as it may be. */
static void
ask_table(struct vdt_script *script)
{
    struct vdt_script_pending *p =
        ask(script, VDT_SCRIPT_TABLE, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET);
    unsigned shape = below(script, 15);
    unsigned most = shape == 0 ? VDT_MAC_TABLE_MAX : shape < 3 ? 200 : 20;

    add_macs(script, p, shape == 0 ? most : below(script, most), false);
    add_macs(script, p, below(script, most), true);
}

static void
ask_vlan(struct vdt_script *script, unsigned vid, bool add)
{
    add16(ask(script, VDT_SCRIPT_VLAN, VIRTIO_NET_CTRL_VLAN,
              add ? VIRTIO_NET_CTRL_VLAN_ADD : VIRTIO_NET_CTRL_VLAN_DEL),
          vid);
}

/* More of the wanted filters; when all are there, one goes and comes back, and a foreign one comes
 * and goes. */
static void
ask_vlans(struct vdt_script *script)
{
    for (unsigned i = 0; i < 32 && script->vlan_at < script->vlans; i++)
        ask_vlan(script, ++script->vlan_at, true);
    if (script->vlan_at < script->vlans)
        return;
    unsigned vid = script->vlans ? 1 + below(script, script->vlans) : 0;
    bool known = vid && below(script, 2);

    if (!known)
        vid = script->vlans + 1u;
    ask_vlan(script, vid, !known);
    ask_vlan(script, vid, known);
}

static void
ask_pairs(struct vdt_script *script, unsigned pairs)
{
    struct vdt_script_pending *p =
        ask(script, VDT_SCRIPT_PAIRS, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET);

    p->pairs = (uint16_t) pairs;
    add16(p, pairs);
}

static unsigned
key_len(const struct vdt_script *script)
{
    return script->driver->config.net.rss_max_key_size;
}

static uint32_t
random_types(struct vdt_script *script)
{
    uint32_t known = le32toh(script->driver->config.net.supported_hash_types);

    /* IPv4 and UDP over it stay, so that the guest's own frames are spread. */
    return known & (g_rand_int(script->rand) | VIRTIO_NET_RSS_HASH_TYPE_IPv4 |
                    VIRTIO_NET_RSS_HASH_TYPE_UDPv4);
}

static void
ask_rss(struct vdt_script *script)
{
    struct vdt_script_pending *p =
        ask(script, VDT_SCRIPT_RSS, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_RSS_CONFIG);
    unsigned most = le16toh(script->driver->config.net.rss_max_indirection_table_length);
    unsigned pairs = script->driver->config.pairs, entries = 1;

    while (entries * 2 <= most && below(script, 8))
        entries *= 2;
    add32(p, random_types(script));
    add16(p, entries - 1);
    add16(p, below(script, pairs));
    for (unsigned i = 0; i < entries; i++)
        add16(p, below(script, pairs));
    p->pairs = (uint16_t) (1 + below(script, pairs));
    add16(p, p->pairs);
    add8(p, key_len(script));
    add_random(script, p, key_len(script));
}

/* The number of pairs first: what it is after a hash report that follows RSS, texts differ on. */
static void
ask_hash(struct vdt_script *script)
{
    if (vdt_script_can(script, VDT_SCRIPT_PAIRS))
        ask_pairs(script, 1 + below(script, script->driver->config.pairs));

    struct vdt_script_pending *p =
        ask(script, VDT_SCRIPT_HASH, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_HASH_CONFIG);
    add32(p, random_types(script));
    for (unsigned i = 0; i < 4; i++)
        add16(p, 0);
    add8(p, key_len(script));
    add_random(script, p, key_len(script));
}

static void
ask_offloads(struct vdt_script *script)
{
    struct vdt_script_pending *p = ask(script, VDT_SCRIPT_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS,
                                       VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET);

    vdt_put64(p->bytes + 2, offloads_mask(script) & g_rand_int(script->rand));
    p->len += 8;
}

static void
add_coal(struct vdt_script *script, struct vdt_script_pending *p)
{
    add32(p, 1 + below(script, 256));
    add32(p, below(script, 200));
}

static void
ask_coal(struct vdt_script *script)
{
    add_coal(script, ask(script, VDT_SCRIPT_COAL, VIRTIO_NET_CTRL_NOTF_COAL, below(script, 2)));
}

static void
ask_coal_ring(struct vdt_script *script, bool read)
{
    struct vdt_script_pending *p =
        ask(script, read ? VDT_SCRIPT_COAL_READ : VDT_SCRIPT_COAL_RING, VIRTIO_NET_CTRL_NOTF_COAL,
            read ? VIRTIO_NET_CTRL_NOTF_COAL_VQ_GET : VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET);

    add16(p, below(script, 2u * script->driver->config.pairs));
    add16(p, 0);
    if (read)
        p->reply_room = 8;
    else
        add_coal(script, p);
}

static void
ask_stats(struct vdt_script *script)
{
    if (below(script, 2)) {
        ask(script, VDT_SCRIPT_STATS, VIRTIO_NET_CTRL_STATS, VIRTIO_NET_CTRL_STATS_QUERY)
            ->reply_room = 8;
        return;
    }
    struct vdt_script_pending *p =
        ask(script, VDT_SCRIPT_STATS, VIRTIO_NET_CTRL_STATS, VIRTIO_NET_CTRL_STATS_GET);

    for (unsigned i = 0; i < 2; i++) {
        add16(p, 2 * below(script, script->driver->config.pairs) + i);
        add_random(script, p, 0);
        add16(p, 0);
        add32(p, 0);
        vdt_put64(p->bytes + p->len, 1ull << (i ? TYPE_TX_BASIC : TYPE_RX_BASIC));
        p->len += 8;
    }
    p->reply_room = 512;
}

static void
make_up(struct vdt_script *script, enum vdt_script_kind kind)
{
    switch (kind) {
    case VDT_SCRIPT_MAC:
        ask_mac(script);
        break;
    case VDT_SCRIPT_RX:
        ask_rx(script, below(script, 2), below(script, 2));
        break;
    case VDT_SCRIPT_TABLE:
        ask_table(script);
        break;
    case VDT_SCRIPT_RX_EXTRA:
        ask_rx(script, 2 + below(script, 4), below(script, 2));
        break;
    case VDT_SCRIPT_VLAN:
        ask_vlans(script);
        break;
    case VDT_SCRIPT_PAIRS:
        ask_pairs(script, 1 + below(script, script->driver->config.pairs));
        break;
    case VDT_SCRIPT_RSS:
        ask_rss(script);
        break;
    case VDT_SCRIPT_HASH:
        ask_hash(script);
        break;
    case VDT_SCRIPT_OFFLOADS:
        ask_offloads(script);
        break;
    case VDT_SCRIPT_COAL:
        ask_coal(script);
        break;
    case VDT_SCRIPT_COAL_RING:
        ask_coal_ring(script, false);
        break;
    case VDT_SCRIPT_COAL_READ:
        ask_coal_ring(script, true);
        break;
    case VDT_SCRIPT_STATS:
        ask_stats(script);
        break;
    case VDT_SCRIPT_ANNOUNCE:
        vdt_script_announce(script);
        break;
    case VDT_SCRIPT_KINDS:
        break;
    }
}

void
vdt_script_announce(struct vdt_script *script)
{
    ask(script, VDT_SCRIPT_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK);
}

void
vdt_script_settle(struct vdt_script *script)
{
    script->idle = true;
    if (vdt_script_can(script, VDT_SCRIPT_RX))
        ask_rx(script, VIRTIO_NET_CTRL_RX_PROMISC, false);
    if (vdt_script_can(script, VDT_SCRIPT_RX_EXTRA))
        ask_rx(script, VIRTIO_NET_CTRL_RX_NOUNI, false);
    if (vdt_script_can(script, VDT_SCRIPT_RSS))
        ask_rss(script);
}

void
vdt_script_spread(struct vdt_script *script)
{
    script->idle = true;
    if (vdt_script_can(script, VDT_SCRIPT_PAIRS))
        ask_pairs(script, script->driver->config.pairs);
}

bool
vdt_script_quiet(const struct vdt_script *script)
{
    return script->idle && script->queue.length == 0 && script->in_flight.length == 0;
}

bool
vdt_script_complete(const struct vdt_script *script)
{
    for (unsigned i = 0; i < VDT_SCRIPT_KINDS; i++) {
        if (unasked(script, i) && script->of_kind[i] + script->refused_of[i] == 0)
            return false;
    }
    return script->vlan_at == script->vlans || !vdt_script_can(script, VDT_SCRIPT_VLAN);
}

/* ---- what is answered ---- */

/* Does what the device tells agree with what it was told? */
static bool
reply_right(const struct vdt_script *script, const struct vdt_script_pending *p,
            const uint8_t *reply, uint32_t len)
{
    const struct vdt_net_state *state = &script->expected;

    if (p->kind == VDT_SCRIPT_STATS)
        return len >= 8;
    if (p->kind != VDT_SCRIPT_COAL_READ)
        return true;
    unsigned ring = vdt_get16(p->bytes + 2);
    struct vdt_net_coal expected = state->vq_coal_set[0] >> ring & 1 ? state->vq_coal[ring]
                                   : ring & 1                        ? state->coal_tx
                                                                     : state->coal_rx;
    return len == 8 && vdt_get32(reply) == expected.max_packets &&
           vdt_get32(reply + 4) == expected.max_usecs;
}

static void
note_trouble(struct vdt_script *script, const struct vdt_script_pending *p, const char *what)
{
    if (!script->trouble)
        script->trouble = g_strdup_printf("%s (class %u command %u): %s", kinds[p->kind].name,
                                          p->bytes[0], p->bytes[1], what);
}

/* No more than what is in force, and than any command on its way leaves. */
static void
limit_pairs(struct vdt_script *script)
{
    script->pairs = script->expected.queue_pairs;
    for (const GList *l = script->in_flight.head; l; l = l->next) {
        const struct vdt_script_pending *p = l->data;

        if (p->pairs)
            script->pairs = MIN(script->pairs, p->pairs);
    }
}

static void
answered(void *ctx, uint64_t cookie, const uint8_t *reply, uint32_t len)
{
    struct vdt_script *script = ctx;
    g_autofree struct vdt_script_pending *p = g_queue_pop_head(&script->in_flight);

    if (len < 1 || reply[0] != VIRTIO_NET_OK) {
        script->refused++;
        script->refused_of[p->kind]++;
        note_trouble(script, p, len < 1 ? "came back without an answer" : "was refused");
        limit_pairs(script);
        return;
    }
    script->acked++;
    script->of_kind[p->kind]++;
    vdt_expectation_apply(&script->expected, p);
    limit_pairs(script);
    if (!reply_right(script, p, reply + 1, len - 1)) {
        script->wrong++;
        note_trouble(script, p, "was answered with something else than what was set");
    }
}

/* ---- life ---- */

void
vdt_script_init(struct vdt_script *script, struct vdt_driver *driver, uint16_t vlans, uint64_t seed)
{
    *script = (struct vdt_script){
        .driver = driver,
        .rand = g_rand_new_with_seed((guint32) (seed * 2654435761u + 1)),
        .vlans = vlans,
        .pairs = 1,
    };
    vdt_net_state_init(&script->expected);
    g_queue_init(&script->queue);
    g_queue_init(&script->in_flight);
    driver->answered = answered;
    driver->answered_ctx = script;
    script->idle = !driver->has_control;
}

void
vdt_script_clear(struct vdt_script *script)
{
    g_queue_clear_full(&script->queue, g_free);
    g_queue_clear_full(&script->in_flight, g_free);
    g_clear_pointer(&script->rand, g_rand_free);
    g_clear_pointer(&script->trouble, g_free);
}

/* A driver sends nothing more on a ring that goes out of use (virtio 1.2, 5.1.6.5.5), and what it
 * has sent there should be out first. Not every device lets it out, so not for ever. */
static bool
rings_idle(struct vdt_script *script, const struct vdt_script_pending *p)
{
    int64_t now = g_get_monotonic_time();
    bool idle = true;

    if (!p->pairs || p->pairs >= script->driver->config.pairs)
        return true;
    script->pairs = MIN(script->pairs, p->pairs);
    for (unsigned i = p->pairs; i < script->driver->config.pairs; i++)
        idle &= vdt_queue_in_flight(&script->driver->pair[i].tx) == 0;
    if (!script->give_up)
        script->give_up = now + DRAIN_US;
    if (!idle && (script->patient || now < script->give_up))
        return false;
    script->give_up = 0;
    return true;
}

bool
vdt_script_step(struct vdt_script *script)
{
    struct vdt_script_pending *p;

    for (unsigned i = 0; !script->idle && script->queue.length == 0 && i < VDT_SCRIPT_KINDS; i++) {
        enum vdt_script_kind kind = script->next++ % VDT_SCRIPT_KINDS;

        if (unasked(script, kind))
            make_up(script, kind);
    }
    p = g_queue_peek_head(&script->queue);
    if (!p || !rings_idle(script, p) ||
        !vdt_driver_command(script->driver, p->bytes, p->len, p->reply_room, script->sent))
        return false;
    g_queue_push_tail(&script->in_flight, g_queue_pop_head(&script->queue));
    script->sent++;
    return true;
}
