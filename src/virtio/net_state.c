/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virtio/net_state.h"

#include <inttypes.h>
#include <stdlib.h>

#include <vdpa-tracker/error.h>

#define GROUPS_ALL (VDT_NET_COAL_VQ * 2u - 1u)
#define DATA_RINGS_MAX (2u * VDT_PAIRS_MAX)
#define VLANS 4096u

static const char *const rx_names[6] = {
    "promiscuous", "all multicast", "all unicast", "no multicast", "no unicast", "no broadcast",
};

G_STATIC_ASSERT(VDT_RSS_KEY_MAX == UINT8_MAX); /* so that key_len needs no check */
G_STATIC_ASSERT(DATA_RINGS_MAX == 64);         /* so that data rings fill vq_coal_set[0], only it */

void
vdt_net_state_init(struct vdt_net_state *state)
{
    memset(state, 0, sizeof(*state));
    state->queue_pairs = 1;
}

/* One line unless both texts are the same; NULL is "unset". Takes both texts. */
static void
compare_texts(GPtrArray *lines, const char *what, char *a, char *b)
{
    if (g_strcmp0(a, b) != 0)
        g_ptr_array_add(
            lines, g_strdup_printf("%s: %s in A, %s in B", what, a ? a : "unset", b ? b : "unset"));
    g_free(a);
    g_free(b);
}

static char *
mac_text(const uint8_t mac[6])
{
    return g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                           mac[5]);
}

static char *
rx_text(const struct vdt_net_state *s, unsigned command)
{
    if (!(s->set & VDT_NET_PROMISC << command))
        return NULL;
    return g_strdup(s->rx[command] ? "on" : "off");
}

static char *
pairs_text(const struct vdt_net_state *s)
{
    return s->set & (VDT_NET_PAIRS | VDT_NET_RSS) ? g_strdup_printf("%u", s->queue_pairs) : NULL;
}

static char *
offloads_text(const struct vdt_net_state *s)
{
    return s->set & VDT_NET_OFFLOADS ? g_strdup_printf("0x%" PRIx64, s->guest_offloads) : NULL;
}

static char *
coal_text(bool set, const struct vdt_net_coal *coal)
{
    return set ? g_strdup_printf("%u packets or %u us", coal->max_packets, coal->max_usecs) : NULL;
}

static char *
key_text(const struct vdt_net_rss *rss)
{
    GString *text = g_string_new(rss->key_len ? NULL : "empty");

    for (unsigned i = 0; i < rss->key_len; i++)
        g_string_append_printf(text, "%02x", rss->key[i]);
    return g_string_free(text, FALSE);
}

static int
compare_macs(const void *a, const void *b)
{
    return memcmp(a, b, 6);
}

/* The addresses of @a that @b lacks, each once; both sorted. NULL when there are none. */
static char *
macs_only_in(const uint8_t (*a)[6], unsigned na, const uint8_t (*b)[6], unsigned nb)
{
    GString *text = NULL;

    for (unsigned i = 0; i < na; i++) {
        if (i > 0 && memcmp(a[i], a[i - 1], 6) == 0)
            continue;
        if (bsearch(a[i], b, nb, 6, compare_macs))
            continue;
        g_autofree char *mac = mac_text(a[i]);
        if (!text)
            text = g_string_new(mac);
        else
            g_string_append_printf(text, ", %s", mac);
    }
    return text ? g_string_free(text, FALSE) : NULL;
}

/* Takes both texts, either may be NULL. */
static void
add_only(GPtrArray *lines, const char *what, char *only_a, char *only_b)
{
    if (only_a)
        g_ptr_array_add(lines, g_strdup_printf("%s: %s only in A", what, only_a));
    if (only_b)
        g_ptr_array_add(lines, g_strdup_printf("%s: %s only in B", what, only_b));
    g_free(only_a);
    g_free(only_b);
}

static void
compare_tables(GPtrArray *lines, const char *what, const uint8_t (*a)[6], unsigned na,
               const uint8_t (*b)[6], unsigned nb)
{
    /* Not validated yet, perhaps. */
    na = MIN(na, VDT_MAC_TABLE_MAX);
    nb = MIN(nb, VDT_MAC_TABLE_MAX);
    g_autofree uint8_t(*sorted_a)[6] = g_memdup2(a, sizeof(*a) * VDT_MAC_TABLE_MAX);
    g_autofree uint8_t(*sorted_b)[6] = g_memdup2(b, sizeof(*b) * VDT_MAC_TABLE_MAX);

    qsort(sorted_a, na, 6, compare_macs);
    qsort(sorted_b, nb, 6, compare_macs);
    add_only(lines, what, macs_only_in(sorted_a, na, sorted_b, nb),
             macs_only_in(sorted_b, nb, sorted_a, na));
}

/* "5, 7-9": the bits of @a that @b lacks; NULL when there are none. */
static char *
vlans_only_in(const uint8_t *a, const uint8_t *b)
{
    GString *text = NULL;

    for (unsigned vid = 0; vid < VLANS; vid++) {
        unsigned end = vid;

        while (end < VLANS && vdt_vlan_test(a, end) && !vdt_vlan_test(b, end))
            end++;
        if (end == vid)
            continue;
        if (!text)
            text = g_string_new(NULL);
        else
            g_string_append(text, ", ");
        g_string_append_printf(text, end - vid > 1 ? "%u-%u" : "%u", vid, end - 1);
        vid = end;
    }
    return text ? g_string_free(text, FALSE) : NULL;
}

static void
compare_rss(GPtrArray *lines, const struct vdt_net_rss *a, const struct vdt_net_rss *b)
{
    unsigned len = MIN(a->table_len, VDT_RSS_TABLE_MAX), differ = 0, first = 0;

    compare_texts(lines, "rss hash types", g_strdup_printf("0x%x", a->hash_types),
                  g_strdup_printf("0x%x", b->hash_types));
    compare_texts(lines, "rss table entries", g_strdup_printf("%u", a->table_len),
                  g_strdup_printf("%u", b->table_len));
    for (unsigned i = len; a->table_len == b->table_len && i-- > 0;) {
        if (a->table[i] != b->table[i]) {
            differ++;
            first = i;
        }
    }
    if (differ > 0)
        g_ptr_array_add(lines,
                        g_strdup_printf("rss table: %u of %u entries differ, first entry %u "
                                        "(queue %u in A, %u in B)",
                                        differ, len, first, a->table[first], b->table[first]));
    compare_texts(lines, "rss unclassified queue", g_strdup_printf("%u", a->unclassified),
                  g_strdup_printf("%u", b->unclassified));
    compare_texts(lines, "rss transmit queues", g_strdup_printf("%u", a->max_tx_vq),
                  g_strdup_printf("%u", b->max_tx_vq));
    compare_texts(lines, "rss key", key_text(a), key_text(b));
}

/* True when both have @group; a line when one has it and the other not. */
static bool
both_have(GPtrArray *lines, const char *what, uint32_t group, const struct vdt_net_state *a,
          const struct vdt_net_state *b)
{
    bool in_a = a->set & group, in_b = b->set & group;

    if (in_a != in_b)
        compare_texts(lines, what, in_a ? g_strdup("set") : NULL, in_b ? g_strdup("set") : NULL);
    return in_a && in_b;
}

static bool
ring_has_coal(const struct vdt_net_state *s, unsigned ring)
{
    return s->set & VDT_NET_COAL_VQ && (s->vq_coal_set[0] >> ring & 1);
}

GPtrArray *
vdt_net_state_diff(const struct vdt_net_state *a, const struct vdt_net_state *b)
{
    GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);

    compare_texts(lines, "mac", a->set & VDT_NET_MAC ? mac_text(a->mac) : NULL,
                  b->set & VDT_NET_MAC ? mac_text(b->mac) : NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(rx_names); i++)
        compare_texts(lines, rx_names[i], rx_text(a, i), rx_text(b, i));
    if (both_have(lines, "mac table", VDT_NET_MAC_TABLE, a, b)) {
        compare_tables(lines, "unicast", a->unicast, a->unicast_count, b->unicast,
                       b->unicast_count);
        compare_tables(lines, "multicast", a->multicast, a->multicast_count, b->multicast,
                       b->multicast_count);
    }
    if (both_have(lines, "vlan filter", VDT_NET_VLAN, a, b))
        add_only(lines, "vlans", vlans_only_in(a->vlan, b->vlan), vlans_only_in(b->vlan, a->vlan));
    compare_texts(lines, "queue pairs", pairs_text(a), pairs_text(b));
    if (both_have(lines, "rss", VDT_NET_RSS, a, b))
        compare_rss(lines, &a->rss, &b->rss);
    if (both_have(lines, "hash report", VDT_NET_HASH, a, b)) {
        compare_texts(lines, "hash report types", g_strdup_printf("0x%x", a->hash.hash_types),
                      g_strdup_printf("0x%x", b->hash.hash_types));
        compare_texts(lines, "hash report key", key_text(&a->hash), key_text(&b->hash));
    }
    compare_texts(lines, "guest offloads", offloads_text(a), offloads_text(b));
    compare_texts(lines, "transmit coalescing", coal_text(a->set & VDT_NET_COAL_TX, &a->coal_tx),
                  coal_text(b->set & VDT_NET_COAL_TX, &b->coal_tx));
    compare_texts(lines, "receive coalescing", coal_text(a->set & VDT_NET_COAL_RX, &a->coal_rx),
                  coal_text(b->set & VDT_NET_COAL_RX, &b->coal_rx));
    for (unsigned ring = 0; ring < DATA_RINGS_MAX; ring++) {
        g_autofree char *what = g_strdup_printf("coalescing of ring %u", ring);
        compare_texts(lines, what, coal_text(ring_has_coal(a, ring), &a->vq_coal[ring]),
                      coal_text(ring_has_coal(b, ring), &b->vq_coal[ring]));
    }
    if (a->announce != b->announce)
        compare_texts(lines, "announcement", g_strdup(a->announce ? "pending" : "not asked for"),
                      g_strdup(b->announce ? "pending" : "not asked for"));
    return lines;
}

bool
vdt_net_state_equal(const struct vdt_net_state *a, const struct vdt_net_state *b)
{
    g_autoptr(GPtrArray) lines = vdt_net_state_diff(a, b);

    return lines->len == 0;
}

void
vdt_net_state_vlan(struct vdt_net_state *state, unsigned vid, bool on)
{
    static const uint8_t none[VDT_VLAN_BYTES];

    vdt_vlan_set(state->vlan, vid, on);
    if (memcmp(state->vlan, none, sizeof(none)) != 0)
        state->set |= VDT_NET_VLAN;
    else
        state->set &= ~(uint32_t) VDT_NET_VLAN;
}

static bool G_GNUC_PRINTF(2, 3) invalid(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *why = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "the network state is not valid: %s", why);
    return false;
}

static bool
rss_valid(const struct vdt_net_rss *rss, GError **error)
{
    if (rss->table_len == 0 || rss->table_len > VDT_RSS_TABLE_MAX ||
        (rss->table_len & (rss->table_len - 1)) != 0)
        return invalid(error, "an RSS table of %u entries (a power of two up to %u)",
                       rss->table_len, VDT_RSS_TABLE_MAX);
    for (unsigned i = 0; i < rss->table_len; i++) {
        if (rss->table[i] >= VDT_PAIRS_MAX)
            return invalid(error, "RSS table entry %u names receive queue %u (0 to %u)", i,
                           rss->table[i], VDT_PAIRS_MAX - 1);
    }
    if (rss->unclassified >= VDT_PAIRS_MAX)
        return invalid(error, "RSS sends the rest to receive queue %u (0 to %u)", rss->unclassified,
                       VDT_PAIRS_MAX - 1);
    if (rss->max_tx_vq == 0 || rss->max_tx_vq > VDT_PAIRS_MAX)
        return invalid(error, "RSS with %u transmit queues (1 to %u)", rss->max_tx_vq,
                       VDT_PAIRS_MAX);
    return true;
}

/* What the spec leaves to the driver (kinds of addresses in the tables, VLAN ids, offload bits)
 * passes: guest commands go through here too. */
bool
vdt_net_state_valid(const struct vdt_net_state *state, GError **error)
{
    if (state->set & ~GROUPS_ALL)
        return invalid(error, "unknown groups 0x%x are set", state->set & ~GROUPS_ALL);
    if (state->set & VDT_NET_MAC && state->mac[0] & 1)
        return invalid(error, "the station address is a multicast address");
    if (state->unicast_count > VDT_MAC_TABLE_MAX || state->multicast_count > VDT_MAC_TABLE_MAX)
        return invalid(error, "MAC tables of %u unicast and %u multicast addresses (up to %u each)",
                       state->unicast_count, state->multicast_count, VDT_MAC_TABLE_MAX);
    if (state->queue_pairs == 0 || state->queue_pairs > VDT_PAIRS_MAX)
        return invalid(error, "%u queue pairs (1 to %u)", state->queue_pairs, VDT_PAIRS_MAX);
    if (state->set & VDT_NET_RSS && state->set & VDT_NET_HASH)
        return invalid(error, "RSS and hash reports are both in force");
    if (state->set & VDT_NET_RSS && !rss_valid(&state->rss, error))
        return false;
    if (state->vq_coal_set[1] != 0)
        return invalid(error, "coalescing of a ring beyond the last data ring %u",
                       DATA_RINGS_MAX - 1);
    if (!(state->set & VDT_NET_COAL_VQ) != (state->vq_coal_set[0] == 0))
        return invalid(error, "coalescing of single rings is %s",
                       state->vq_coal_set[0] ? "given but not marked as set"
                                             : "marked as set but given for none");
    return true;
}
