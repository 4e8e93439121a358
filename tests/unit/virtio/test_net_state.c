/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <string.h>

#include <vdpa-tracker/error.h>

#include "virtio/net_state.h"

VDT_SUITE(net_state);

/* A state with something in every group but HASH, which excludes RSS. */
static struct vdt_net_state *
full_state(void)
{
    struct vdt_net_state *s = g_new(struct vdt_net_state, 1);

    vdt_net_state_init(s);
    s->set = (VDT_NET_COAL_VQ * 2u - 1u) & ~VDT_NET_HASH;
    memcpy(s->mac, "\x52\x54\x00\x12\x34\x56", 6);
    s->rx[0] = true;
    s->unicast_count = 2;
    memcpy(s->unicast[0], "\x02\x00\x00\x00\x00\x01", 6);
    memcpy(s->unicast[1], "\x02\x00\x00\x00\x00\x02", 6);
    s->multicast_count = 1;
    memcpy(s->multicast[0], "\x33\x33\x00\x00\x00\x01", 6);
    vdt_vlan_set(s->vlan, 5, true);
    s->queue_pairs = 4;
    s->rss = (struct vdt_net_rss){
        .hash_types = 0x3f, .table_len = 4, .table = {0, 1, 2, 3}, .max_tx_vq = 4, .key_len = 40};
    s->guest_offloads = 1ull << 7 | 1ull << 46;
    s->coal_tx = (struct vdt_net_coal){8, 16};
    s->coal_rx = (struct vdt_net_coal){4, 32};
    s->vq_coal_set[0] = 1u << 3;
    s->vq_coal[3] = (struct vdt_net_coal){1, 2};
    return s;
}

static char *
diff_text(const struct vdt_net_state *a, const struct vdt_net_state *b)
{
    g_autoptr(GPtrArray) lines = vdt_net_state_diff(a, b);
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < lines->len; i++)
        g_string_append_printf(text, "%s%s", i ? "\n" : "", (char *) lines->pdata[i]);
    cr_assert_eq(vdt_net_state_equal(a, b), lines->len == 0);
    return g_string_free(text, FALSE);
}

Test(net_state, fresh_state_is_valid_and_equal_to_itself)
{
    struct vdt_net_state s;
    g_autoptr(GError) error = NULL;

    vdt_net_state_init(&s);
    cr_assert(vdt_net_state_valid(&s, &error));
    cr_assert(vdt_net_state_equal(&s, &s));
    cr_assert_eq(s.queue_pairs, 1);
}

Test(net_state, full_state_is_valid_and_equal_to_its_copy)
{
    g_autofree struct vdt_net_state *a = full_state(), *b = full_state();
    g_autoptr(GError) error = NULL;

    cr_assert(vdt_net_state_valid(a, &error), "%s", error ? error->message : "");
    cr_assert(vdt_net_state_equal(a, b));
}

Test(net_state, what_is_not_set_does_not_count)
{
    g_autofree struct vdt_net_state *a = full_state(), *b = full_state();

    a->set = b->set = 0;
    memset(b->mac, 7, 6);
    b->unicast_count = 9;
    memset(b->vlan, 0xff, VDT_VLAN_BYTES);
    b->queue_pairs = 2;
    memset(&b->rss, 1, sizeof(b->rss));
    b->guest_offloads = 0;
    memset(b->vq_coal, 1, sizeof(b->vq_coal));
    cr_assert(vdt_net_state_equal(a, b));
}

Test(net_state, mac_tables_are_sets)
{
    g_autofree struct vdt_net_state *a = full_state(), *b = full_state();

    memcpy(b->unicast[0], a->unicast[1], 6);
    memcpy(b->unicast[1], a->unicast[0], 6);
    memcpy(b->unicast[2], a->unicast[0], 6);
    b->unicast_count = 3;
    cr_assert(vdt_net_state_equal(a, b));
}

enum {
    MAC_UNSET,
    MAC_OTHER,
    RX,
    UNICAST,
    TABLE_UNSET,
    VLAN,
    PAIRS,
    RSS_TABLE,
    RSS_LEN,
    KEY,
    HASH,
    OFFLOADS,
    COAL_TX,
    COAL_RX,
    COAL_VQ,
    ANNOUNCE
};

static void
change(struct vdt_net_state *b, int what)
{
    switch (what) {
    case MAC_UNSET:
        b->set &= ~VDT_NET_MAC;
        break;
    case MAC_OTHER:
        b->mac[5] = 0x57;
        break;
    case RX:
        b->rx[0] = false;
        break;
    case UNICAST:
        b->unicast[1][5] = 9;
        break;
    case TABLE_UNSET:
        b->set &= ~VDT_NET_MAC_TABLE;
        break;
    case VLAN:
        vdt_vlan_set(b->vlan, 5, false);
        vdt_vlan_set(b->vlan, 0, true);
        for (unsigned vid = 7; vid < 9; vid++)
            vdt_vlan_set(b->vlan, vid, true);
        vdt_vlan_set(b->vlan, 4095, true);
        break;
    case PAIRS:
        b->queue_pairs = 2;
        break;
    case RSS_TABLE:
        b->rss.table[1] = 3;
        b->rss.table[2] = 0;
        break;
    case RSS_LEN:
        b->rss.table_len = 2;
        break;
    case KEY:
        b->rss.key_len = 0;
        break;
    case HASH:
        b->set = (b->set & ~VDT_NET_RSS) | VDT_NET_HASH;
        break;
    case OFFLOADS:
        b->guest_offloads = 0;
        break;
    case COAL_TX:
        b->set &= ~VDT_NET_COAL_TX;
        break;
    case COAL_RX:
        b->coal_rx.max_usecs = 33;
        break;
    case COAL_VQ:
        b->vq_coal_set[0] = 1ull << 63;
        break;
    case ANNOUNCE:
        b->announce = true;
        break;
    }
}

Test(net_state, each_difference_is_told_in_words)
{
    const struct {
        int what;
        const char *text;
    } rows[] = {
        {MAC_UNSET, "mac: 52:54:00:12:34:56 in A, unset in B"},
        {MAC_OTHER, "mac: 52:54:00:12:34:56 in A, 52:54:00:12:34:57 in B"},
        {RX, "promiscuous: on in A, off in B"},
        {UNICAST, "unicast: 02:00:00:00:00:02 only in A\nunicast: 02:00:00:00:00:09 only in B"},
        {TABLE_UNSET, "mac table: set in A, unset in B"},
        {VLAN, "vlans: 5 only in A\nvlans: 0, 7-8, 4095 only in B"},
        {PAIRS, "queue pairs: 4 in A, 2 in B"},
        {RSS_TABLE, "rss table: 2 of 4 entries differ, first entry 1 (queue 1 in A, 3 in B)"},
        {RSS_LEN, "rss table entries: 4 in A, 2 in B"},
        {KEY, "rss key: 00000000000000000000000000000000000000000000000000000000000000000000000000"
              "000000 in A, empty in B"},
        {HASH, "rss: set in A, unset in B\nhash report: unset in A, set in B"},
        {OFFLOADS, "guest offloads: 0x400000000080 in A, 0x0 in B"},
        {COAL_TX, "transmit coalescing: 8 packets or 16 us in A, unset in B"},
        {COAL_RX, "receive coalescing: 4 packets or 32 us in A, 4 packets or 33 us in B"},
        {COAL_VQ, "coalescing of ring 3: 1 packets or 2 us in A, unset in B\n"
                  "coalescing of ring 63: unset in A, 0 packets or 0 us in B"},
        {ANNOUNCE, "announcement: not asked for in A, pending in B"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree struct vdt_net_state *a = full_state(), *b = full_state();

        change(b, rows[i].what);
        g_autofree char *text = diff_text(a, b);
        cr_expect_str_eq(text, rows[i].text);
    }
}

enum {
    GROUPS,
    MULTICAST_MAC,
    UNICAST_COUNT,
    MULTICAST_COUNT,
    NO_PAIRS,
    MANY_PAIRS,
    BOTH,
    LEN_0,
    LEN_3,
    LEN_MANY,
    ENTRY,
    UNCLASSIFIED,
    TX_0,
    TX_MANY,
    RING_64,
    COAL_FLAG,
    COAL_BITS,
    BAD_COUNT
};

static void
spoil(struct vdt_net_state *s, int how)
{
    switch (how) {
    case GROUPS:
        s->set |= 1u << 16;
        break;
    case MULTICAST_MAC:
        s->mac[0] |= 1;
        break;
    case UNICAST_COUNT:
        s->unicast_count = VDT_MAC_TABLE_MAX + 1;
        break;
    case MULTICAST_COUNT:
        s->multicast_count = UINT16_MAX;
        break;
    case NO_PAIRS:
        s->queue_pairs = 0;
        break;
    case MANY_PAIRS:
        s->queue_pairs = VDT_PAIRS_MAX + 1;
        break;
    case BOTH:
        s->set |= VDT_NET_HASH;
        break;
    case LEN_0:
        s->rss.table_len = 0;
        break;
    case LEN_3:
        s->rss.table_len = 3;
        break;
    case LEN_MANY:
        s->rss.table_len = 2 * VDT_RSS_TABLE_MAX;
        break;
    case ENTRY:
        s->rss.table[3] = VDT_PAIRS_MAX;
        break;
    case UNCLASSIFIED:
        s->rss.unclassified = UINT16_MAX;
        break;
    case TX_0:
        s->rss.max_tx_vq = 0;
        break;
    case TX_MANY:
        s->rss.max_tx_vq = VDT_PAIRS_MAX + 1;
        break;
    case RING_64:
        s->vq_coal_set[1] = 1;
        break;
    case COAL_FLAG:
        s->set &= ~VDT_NET_COAL_VQ;
        break;
    case COAL_BITS:
        s->vq_coal_set[0] = 0;
        break;
    }
}

Test(net_state, states_out_of_bounds_are_invalid_and_safe_to_compare)
{
    for (int i = 0; i < BAD_COUNT; i++) {
        g_autofree struct vdt_net_state *good = full_state(), *bad = full_state();
        g_autoptr(GError) error = NULL;

        spoil(bad, i);
        cr_expect_not(vdt_net_state_valid(bad, &error), "row %d", i);
        cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_INVALID), "row %d", i);
        vdt_net_state_equal(good, bad);
        vdt_net_state_equal(bad, bad);
    }
}

Test(net_state, what_the_spec_leaves_to_the_driver_is_valid)
{
    g_autofree struct vdt_net_state *s = full_state();

    memset(s->unicast[0], 0xff, 6);
    memset(s->multicast[0], 0, 6);
    memset(s->vlan, 0xff, VDT_VLAN_BYTES);
    s->guest_offloads = UINT64_MAX;
    s->rss.table_len = 1;
    cr_assert(vdt_net_state_valid(s, NULL));
}
