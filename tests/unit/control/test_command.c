/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "base/wire.h"
#include "control/command.h"
#include "virtio/net_ctrl.h"

VDT_SUITE(command);

#define F(name) VDT_BIT(VIRTIO_NET_F_##name)
#define ALL_FEATURES (~0ull)

static const struct vdt_control_limits limits = {
    .max_pairs = 4,
    .rss_table_max = 128,
    .rss_key_max = 40,
    .hash_types = 0x1ff,
};

/* A command by its bytes in hex, spaces ignored; "*N" repeats the byte before it N times in all. */
struct bytes {
    uint8_t data[VDT_COMMAND_MAX];
    uint32_t len;
};

static void
unhex(const char *hex, struct bytes *bytes)
{
    bytes->len = 0;
    for (const char *p = hex; *p;) {
        if (*p == ' ') {
            p++;
        } else if (*p == '*') {
            uint64_t n = g_ascii_strtoull(p + 1, (char **) &p, 10);
            uint8_t last = bytes->data[bytes->len - 1];
            while (n-- > 1)
                bytes->data[bytes->len++] = last;
        } else {
            bytes->data[bytes->len++] =
                (uint8_t) (g_ascii_xdigit_value(p[0]) << 4 | g_ascii_xdigit_value(p[1]));
            p += 2;
        }
    }
}

static struct vdt_command
command_of(uint8_t class, uint8_t command, const char *hex, struct bytes *bytes)
{
    unhex(hex, bytes);
    return (struct vdt_command){class, command, bytes->data, bytes->len};
}

struct row {
    const char *what;
    uint8_t class, command;
    const char *hex;
    uint64_t feature; /* that it needs */
};

static const struct row good[] = {
    {"promisc off", 0, 0, "00", F(CTRL_RX)},
    {"promisc on", 0, 0, "01", F(CTRL_RX)},
    {"allmulti", 0, 1, "01", F(CTRL_RX)},
    {"alluni", 0, 2, "01", F(CTRL_RX_EXTRA)},
    {"nomulti", 0, 3, "01", F(CTRL_RX_EXTRA)},
    {"nouni", 0, 4, "01", F(CTRL_RX_EXTRA)},
    {"nobcast", 0, 5, "01", F(CTRL_RX_EXTRA)},
    {"empty tables", 1, 0, "00000000 00000000", F(CTRL_RX)},
    {"one unicast", 1, 0, "01000000 525400000001 00000000", F(CTRL_RX)},
    {"two multicast", 1, 0, "00000000 02000000 01*6 03*6", F(CTRL_RX)},
    {"full tables", 1, 0, "00 02 00 00 02*3072 00 02 00 00 03*3072", F(CTRL_RX)},
    {"mac", 1, 1, "525400123456", F(CTRL_MAC_ADDR)},
    {"vlan add 0", 2, 0, "0000", F(CTRL_VLAN)},
    {"vlan add 4095", 2, 0, "ff0f", F(CTRL_VLAN)},
    {"vlan del absent", 2, 1, "0500", F(CTRL_VLAN)},
    {"announce ack", 3, 0, "", F(GUEST_ANNOUNCE)},
    {"one pair", 4, 0, "0100", F(MQ)},
    {"all pairs", 4, 0, "0400", F(MQ)},
    {"rss, one entry, no key", 4, 1, "00000000 0000 0000 0000 0100 00", F(RSS)},
    {"rss, four entries, full key", 4, 1, "ff010000 0300 0300 0000 0100 0200 0300 0400 28 aa*40",
     F(RSS)},
    {"rss, full table", 4, 1, "00000000 7f00 0000 00*256 0400 00", F(RSS)},
    {"hash, no key", 4, 2, "01000000 0000000000000000 00", F(HASH_REPORT)},
    {"hash, full key", 4, 2, "01000000 0000000000000000 28 aa*40", F(HASH_REPORT)},
    {"no offload", 5, 0, "0000000000000000", F(CTRL_GUEST_OFFLOADS)},
    {"tso4, tso6, csum", 5, 0, "8201000000000000", F(CTRL_GUEST_OFFLOADS)},
    {"uso4", 5, 0, "0000000000004000", F(CTRL_GUEST_OFFLOADS)},
    {"coalesce tx", 6, 0, "01000000 02000000", F(NOTF_COAL)},
    {"coalesce rx", 6, 1, "ffffffff ffffffff", F(NOTF_COAL)},
    {"coalesce ring 7", 6, 2, "0700 0000 01000000 02000000", F(VQ_NOTF_COAL)},
    {"coalesce ring, reserved ignored", 6, 2, "0000 ffff 01000000 02000000", F(VQ_NOTF_COAL)},
    {"coalescing of ring 7", 6, 3, "0700 0000", F(VQ_NOTF_COAL)},
    {"stats query", 8, 0, "", F(DEVICE_STATS)},
    {"stats of one ring", 8, 1, "00*16", F(DEVICE_STATS)},
    {"stats of three rings", 8, 1, "00*48", F(DEVICE_STATS)},
};

static const struct row bad[] = {
    {"promisc without value", 0, 0, ""},
    {"promisc 2", 0, 0, "02"},
    {"promisc 0xff", 0, 0, "ff"},
    {"promisc, two bytes", 0, 0, "0100"},
    {"nobcast 2", 0, 5, "02"},
    {"rx command 6", 0, 6, "01"},
    {"table, empty", 1, 0, ""},
    {"table, half a count", 1, 0, "0000"},
    {"table, second count missing", 1, 0, "00000000"},
    {"table, second count missing behind an address", 1, 0, "01000000 02*6"},
    {"table, half a second count", 1, 0, "00000000 0000"},
    {"table, one address short", 1, 0, "02000000 02*6 00000000"},
    {"table, a byte short", 1, 0, "00000000 01000000 03*5"},
    {"table, a byte too long", 1, 0, "00000000 00000000 00"},
    {"table, 2^32-1 unicast", 1, 0, "ffffffff 00000000"},
    {"table, 2^32-1 multicast", 1, 0, "00000000 ffffffff"},
    {"table, a count whose bytes wrap 32 bits", 1, 0, "abaaaaaa 0000 00000000"},
    {"table, second count whose bytes wrap 32 bits", 1, 0, "00000000 abaaaaaa 0000"},
    {"table, 513 unicast", 1, 0, "01020000 02*3078 00000000"},
    {"table, 513 multicast", 1, 0, "00000000 01020000 03*3078"},
    {"mac, 5 bytes", 1, 1, "5254001234"},
    {"mac, 7 bytes", 1, 1, "52540012345600"},
    {"mac, group address", 1, 1, "010000000001"},
    {"mac command 2", 1, 2, "525400123456"},
    {"vlan 4096", 2, 0, "0010"},
    {"vlan 65535", 2, 0, "ffff"},
    {"vlan, one byte", 2, 0, "00"},
    {"vlan, three bytes", 2, 1, "000000"},
    {"vlan del 4096", 2, 1, "0010"},
    {"vlan command 2", 2, 2, "0000"},
    {"announce ack with data", 3, 0, "00"},
    {"announce command 1", 3, 1, ""},
    {"no pair", 4, 0, "0000"},
    {"a pair too many", 4, 0, "0500"},
    {"65535 pairs", 4, 0, "ffff"},
    {"pairs, one byte", 4, 0, "01"},
    {"pairs, three bytes", 4, 0, "010000"},
    {"rss, 10 bytes", 4, 1, "00*10"},
    {"rss, no table", 4, 1, "00000000 0000 0000 0100 00"},
    {"rss, table of three", 4, 1, "00000000 0200 0000 00*6 0100 00"},
    {"rss, table over the device's", 4, 1, "00000000 ff00 0000 00*512 0100 00"},
    {"rss, table of 65536", 4, 1, "00000000 ffff 0000 00*64 0100 00"},
    {"rss, table cut short", 4, 1, "00000000 7f00 0000 00*200"},
    {"rss, queue 4 of 4", 4, 1, "00000000 0000 0000 0400 0100 00"},
    {"rss, reserved bit", 4, 1, "00000000 0000 0000 0080 0100 00"},
    {"rss, unclassified 4 of 4", 4, 1, "00000000 0000 0400 0000 0100 00"},
    {"rss, no transmit queue", 4, 1, "00000000 0000 0000 0000 0000 00"},
    {"rss, five transmit queues", 4, 1, "00000000 0000 0000 0000 0500 00"},
    {"rss, hash type not supported", 4, 1, "00020000 0000 0000 0000 0100 00"},
    {"rss, key over the device's", 4, 1, "00000000 0000 0000 0000 0100 29 aa*41"},
    {"rss, key a byte short", 4, 1, "00000000 0000 0000 0000 0100 02 aa"},
    {"rss, a byte behind the key", 4, 1, "00000000 0000 0000 0000 0100 01 aaaa"},
    {"hash, 12 bytes", 4, 2, "00*12"},
    {"hash, reserved", 4, 2, "01000000 0000000100000000 00"},
    {"hash, type not supported", 4, 2, "00000080 0000000000000000 00"},
    {"hash, key over the device's", 4, 2, "01000000 0000000000000000 29 aa*41"},
    {"hash, key short", 4, 2, "01000000 0000000000000000 02 aa"},
    {"mq command 3", 4, 3, "0100"},
    {"offloads, 7 bytes", 5, 0, "00*7"},
    {"offloads, 9 bytes", 5, 0, "00*9"},
    {"offloads, host tso4", 5, 0, "0008000000000000"},
    {"offloads, bit 46 (feature 65)", 5, 0, "0000000000400000"},
    {"offloads, bit 47 (feature 66)", 5, 0, "0000000000800000"},
    {"coalesce tx, 4 bytes", 6, 0, "01000000"},
    {"coalesce rx, 9 bytes", 6, 1, "00*9"},
    {"coalesce ring 8 of 8", 6, 2, "0800 0000 01000000 02000000"},
    {"coalesce ring 65535", 6, 2, "ffff 0000 01000000 02000000"},
    {"coalesce ring, 8 bytes", 6, 2, "0000 0000 01000000"},
    {"coalescing of ring 8 of 8", 6, 3, "0800 0000"},
    {"coalescing of a ring, 12 bytes", 6, 3, "00*12"},
    {"coalescing command 4", 6, 4, "00*8"},
    {"hash tunnel", 7, 0, "00000000"},
    {"stats query with data", 8, 0, "00"},
    {"stats of no ring", 8, 1, ""},
    {"stats, 15 bytes", 8, 1, "00*15"},
    {"rss context", 9, 1, "00*8"},
    {"class 255", 255, 255, ""},
};

Test(command, well_formed_rows_are_allowed)
{
    struct vdt_net_state state;
    struct bytes bytes;

    vdt_net_state_init(&state);
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        const struct row *row = &good[i];
        struct vdt_command command = command_of(row->class, row->command, row->hex, &bytes);

        cr_expect(vdt_command_allowed(&command, &state, &limits, ALL_FEATURES), "%s", row->what);
        cr_expect(2 + bytes.len <= vdt_command_cap(row->class), "%s fits the cap", row->what);
    }
}

Test(command, malformed_rows_are_refused)
{
    struct vdt_net_state state;
    struct bytes bytes;

    vdt_net_state_init(&state);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        const struct row *row = &bad[i];
        struct vdt_command command = command_of(row->class, row->command, row->hex, &bytes);

        /* An exact heap copy: a read past the end is a sanitizer's find. */
        g_autofree uint8_t *exact = g_memdup2(bytes.data, bytes.len);
        command.data = exact;
        cr_expect_not(vdt_command_allowed(&command, &state, &limits, ALL_FEATURES), "%s",
                      row->what);
    }
}

Test(command, needs_its_feature)
{
    struct vdt_net_state state;
    struct bytes bytes;

    vdt_net_state_init(&state);
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        const struct row *row = &good[i];
        struct vdt_command command = command_of(row->class, row->command, row->hex, &bytes);

        cr_expect_not(vdt_command_allowed(&command, &state, &limits, ~row->feature), "%s",
                      row->what);
    }
}

Test(command, ctrl_vq_itself_is_not_asked_for)
{
    const uint8_t on = 1;
    const struct vdt_command command = {0, 0, &on, 1};
    struct vdt_net_state state;

    vdt_net_state_init(&state);
    cr_assert(vdt_command_allowed(&command, &state, &limits, F(CTRL_RX)));
}

Test(command, every_byte_cut_off_is_refused)
{
    struct vdt_net_state state;
    struct bytes bytes;

    vdt_net_state_init(&state);
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        const struct row *row = &good[i];
        struct vdt_command command = command_of(row->class, row->command, row->hex, &bytes);

        if (row->class == VIRTIO_NET_CTRL_STATS)
            continue; /* any multiple of 16 is a command */
        for (uint32_t len = 0; len < bytes.len; len++) {
            g_autofree uint8_t *exact = g_memdup2(bytes.data, len);
            command.data = exact;
            command.len = len;
            cr_expect_not(vdt_command_allowed(&command, &state, &limits, ALL_FEATURES),
                          "%s cut to %u bytes", row->what, len);
        }
    }
}

Test(command, a_device_without_mq_has_one_pair)
{
    struct vdt_net_state state;
    struct bytes bytes;
    struct vdt_command command = command_of(6, 2, "0100 0000 01000000 02000000", &bytes);

    vdt_net_state_init(&state);
    cr_expect(vdt_command_allowed(&command, &state, &limits, F(VQ_NOTF_COAL)));
    command = command_of(6, 2, "0200 0000 01000000 02000000", &bytes);
    cr_expect_not(vdt_command_allowed(&command, &state, &limits, F(VQ_NOTF_COAL)));
}

Test(command, limits_beyond_ours_do_not_widen_ours)
{
    const struct vdt_control_limits wide = {65535, 65535, 255, ~0u};
    struct vdt_net_state state;
    struct bytes bytes;
    struct vdt_command command = command_of(4, 0, "2000", &bytes);

    vdt_net_state_init(&state);
    cr_expect(vdt_command_allowed(&command, &state, &wide, ALL_FEATURES));
    command = command_of(4, 0, "2100", &bytes);
    cr_expect_not(vdt_command_allowed(&command, &state, &wide, ALL_FEATURES));
    command = command_of(4, 1, "00000000 ff03 0000 00*2048 0100 00", &bytes);
    cr_expect_not(vdt_command_allowed(&command, &state, &wide, ALL_FEATURES));
}

static void
apply(struct vdt_net_state *state, uint8_t class, uint8_t number, const char *hex)
{
    struct bytes bytes;
    struct vdt_command command = command_of(class, number, hex, &bytes);

    cr_assert(vdt_command_allowed(&command, state, &limits, ALL_FEATURES), "%s", hex);
    vdt_command_find(class, number)->apply(&command, state);
    cr_assert(vdt_net_state_valid(state, NULL));
}

Test(command, applied_rows_leave_a_valid_state)
{
    struct vdt_net_state state;

    vdt_net_state_init(&state);
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        if (vdt_command_find(good[i].class, good[i].command)->apply)
            apply(&state, good[i].class, good[i].command, good[i].hex);
    }
    cr_assert_eq(state.unicast_count, 512);
    cr_assert_eq(state.guest_offloads, VDT_BIT(54));
    cr_assert_eq(state.coal_rx.max_usecs, ~0u);
    cr_assert_eq(state.vq_coal[7].max_packets, 1);
    cr_assert_eq(state.vq_coal[7].max_usecs, 2);
}

Test(command, last_mq_command_wins)
{
    struct vdt_net_state state;

    vdt_net_state_init(&state);
    apply(&state, 4, 1, "01000000 0000 0000 0000 0300 00");
    cr_expect_eq(state.set, VDT_NET_RSS);
    cr_expect_eq(state.queue_pairs, 3);
    apply(&state, 4, 0, "0200");
    cr_expect_eq(state.set, VDT_NET_PAIRS);
    cr_expect_eq(state.queue_pairs, 2);
    apply(&state, 4, 2, "01000000 0000000000000000 00");
    cr_expect_eq(state.set, VDT_NET_PAIRS | VDT_NET_HASH, "the pairs stay");
    apply(&state, 4, 1, "01000000 0000 0000 0000 0400 00");
    cr_expect_eq(state.set, VDT_NET_RSS);
    apply(&state, 4, 2, "01000000 0000000000000000 00");
    cr_expect_eq(state.set, VDT_NET_PAIRS | VDT_NET_HASH, "the pairs of RSS stay");
    cr_expect_eq(state.queue_pairs, 4);
    apply(&state, 4, 0, "0100");
    cr_expect_eq(state.set, VDT_NET_PAIRS);
}

Test(command, whole_direction_coalescing_forgets_its_rings)
{
    struct vdt_net_state state;

    vdt_net_state_init(&state);
    apply(&state, 6, 2, "0200 0000 01000000 02000000");
    apply(&state, 6, 2, "0300 0000 03000000 04000000");
    apply(&state, 6, 1, "05000000 06000000");
    cr_expect_eq(state.vq_coal_set[0], 1u << 3, "only the transmit ring is left");
    apply(&state, 6, 0, "05000000 06000000");
    cr_expect_eq(state.vq_coal_set[0], 0);
    cr_expect_eq(state.set, VDT_NET_COAL_TX | VDT_NET_COAL_RX);
    apply(&state, 6, 2, "0200 0000 01000000 02000000");
    cr_expect_eq(state.set, VDT_NET_COAL_TX | VDT_NET_COAL_RX | VDT_NET_COAL_VQ);
}

Test(command, vlan_filter_without_a_vlan_is_not_set)
{
    struct vdt_net_state state;

    vdt_net_state_init(&state);
    apply(&state, 2, 1, "0700");
    cr_expect_eq(state.set, 0);
    apply(&state, 2, 0, "0700");
    apply(&state, 2, 0, "0700");
    cr_expect_eq(state.set, VDT_NET_VLAN);
    cr_expect(vdt_vlan_test(state.vlan, 7));
    apply(&state, 2, 1, "0700");
    cr_expect_eq(state.set, 0);
}

Test(command, announce_ack_ends_the_announcement)
{
    struct vdt_net_state state;

    vdt_net_state_init(&state);
    state.announce = true;
    apply(&state, 3, 0, "");
    cr_assert_not(state.announce);
}

static bool
put_text(void *ctx, const struct vdt_command *command)
{
    GString *text = ctx;
    g_autofree char *line = vdt_command_describe(command);
    struct vdt_net_state state;

    vdt_net_state_init(&state);
    cr_expect(vdt_command_allowed(command, &state, &limits, ALL_FEATURES), "%s", line);
    g_string_append_printf(text, "%s\n", line);
    return true;
}

static char *
emitted(const struct vdt_net_state *state, uint64_t features)
{
    GString *text = g_string_new(NULL);
    const struct vdt_command_sink sink = {put_text, text};

    cr_assert(vdt_command_emit(state, features, &sink));
    return g_string_free(text, FALSE);
}

Test(command, replay_order_is_canonical)
{
    struct vdt_net_state state;

    vdt_net_state_init(&state);
    apply(&state, 6, 2, "0400 0000 07000000 08000000");
    apply(&state, 6, 0, "01000000 02000000");
    apply(&state, 6, 1, "03000000 04000000");
    apply(&state, 6, 2, "0500 0000 09000000 0a000000");
    apply(&state, 6, 2, "0000 0000 0b000000 0c000000");
    apply(&state, 2, 0, "ff0f");
    apply(&state, 2, 0, "0100");
    apply(&state, 0, 5, "01");
    apply(&state, 0, 0, "00");
    apply(&state, 5, 0, "8201000000000000");
    apply(&state, 4, 0, "0300");
    apply(&state, 4, 2, "01000000 0000000000000000 02 aabb");
    apply(&state, 1, 0, "01000000 525400000001 00000000");
    apply(&state, 1, 1, "525400123456");

    g_autofree char *text = emitted(&state, ALL_FEATURES);
    cr_assert_str_eq(text, "MAC_ADDR_SET 52:54:00:12:34:56\n"
                           "MAC_TABLE_SET 1 unicast, 0 multicast\n"
                           "MQ_VQ_PAIRS_SET 3\n"
                           "MQ_HASH_CONFIG hash types 0x1\n"
                           "GUEST_OFFLOADS_SET 0x182\n"
                           "RX_PROMISC 0\n"
                           "RX_NOBCAST 1\n"
                           "VLAN_ADD 1\n"
                           "VLAN_ADD 4095\n"
                           "NOTF_COAL_TX_SET 1 packets or 2 us\n"
                           "NOTF_COAL_RX_SET 3 packets or 4 us\n"
                           "NOTF_COAL_VQ_SET ring 0: 11 packets or 12 us\n"
                           "NOTF_COAL_VQ_SET ring 5: 9 packets or 10 us\n");
}

Test(command, fresh_state_emits_nothing)
{
    struct vdt_net_state state;

    vdt_net_state_init(&state);
    g_autofree char *text = emitted(&state, ALL_FEATURES);
    cr_assert_str_empty(text);
}

Test(command, rss_emits_itself_and_no_pairs)
{
    struct vdt_net_state state;

    vdt_net_state_init(&state);
    apply(&state, 4, 1, "ff010000 0300 0300 0000 0100 0200 0300 0400 28 aa*40");
    g_autofree char *text = emitted(&state, ALL_FEATURES);
    cr_assert_str_eq(text, "MQ_RSS_CONFIG 4 transmit queues, table of 4, hash types 0x1ff\n");
}

Test(command, pairs_of_rss_without_mq_come_back_by_rss)
{
    struct vdt_net_state state;

    vdt_net_state_init(&state);
    apply(&state, 4, 1, "ff010000 0000 0000 0000 0200 00");
    apply(&state, 4, 2, "01000000 0000000000000000 00");
    g_autofree char *text = emitted(&state, F(RSS) | F(HASH_REPORT));
    cr_assert_str_eq(text, "MQ_RSS_CONFIG 2 transmit queues, table of 1, hash types 0x0\n"
                           "MQ_HASH_CONFIG hash types 0x1\n");
    cr_assert_eq(vdt_command_groups_lacking(&state, F(RSS) | F(HASH_REPORT)), 0);
}

static bool
stop_at_third(void *ctx, const struct vdt_command *command)
{
    return ++*(unsigned *) ctx < 3;
}

Test(command, sink_can_stop_the_emission)
{
    struct vdt_net_state state;
    unsigned seen = 0;
    const struct vdt_command_sink sink = {stop_at_third, &seen};

    vdt_net_state_init(&state);
    state.set = VDT_NET_VLAN;
    memset(state.vlan, 0xff, sizeof(state.vlan));
    cr_assert_not(vdt_command_emit(&state, ALL_FEATURES, &sink));
    cr_assert_eq(seen, 3);
}

Test(command, groups_without_a_negotiated_command_are_named)
{
    struct vdt_net_state state;

    vdt_net_state_init(&state);
    state.set = VDT_NET_MAC | VDT_NET_VLAN | VDT_NET_PROMISC | VDT_NET_NOBCAST;
    cr_expect_eq(vdt_command_groups_lacking(&state, F(CTRL_RX)), VDT_NET_VLAN | VDT_NET_NOBCAST);
    cr_expect_eq(vdt_command_groups_lacking(&state, ALL_FEATURES), 0);
}

Test(command, what_we_cannot_follow_is_not_offered)
{
    uint64_t offered = F(HASH_TUNNEL) | F(CTRL_RX) | F(CSUM) | VDT_BIT(VIRTIO_F_VERSION_1);

    cr_assert_eq(vdt_command_features_known(offered), offered & ~F(HASH_TUNNEL));
}

Test(command, caps_hold_a_class_and_never_exceed_the_buffer)
{
    for (unsigned class = 0; class < 256; class ++) {
        cr_expect_geq(vdt_command_cap((uint8_t) class), 2);
        cr_expect_leq(vdt_command_cap((uint8_t) class), VDT_COMMAND_MAX);
    }
    cr_expect_eq(vdt_command_cap(VIRTIO_NET_CTRL_RX), 3);
}

Test(command, nothing_over_its_cap_is_allowed)
{
    static const uint8_t zeros[VDT_COMMAND_MAX];
    struct vdt_net_state state;
    struct vdt_command command = {8, 1, zeros, vdt_command_cap(8) - 2};

    /* Statistics are any number of requests of 16 bytes. */
    vdt_net_state_init(&state);
    command.len -= command.len % 16;
    cr_expect(vdt_command_allowed(&command, &state, &limits, ALL_FEATURES));
    command.len += 16;
    cr_expect_not(vdt_command_allowed(&command, &state, &limits, ALL_FEATURES));
}

Test(command, descriptions_bear_any_bytes)
{
    struct bytes bytes;
    const struct {
        uint8_t class, command;
        const char *hex, *text;
    } rows[] = {
        {2, 0, "6400", "VLAN_ADD 100"},
        {2, 0, "64", "VLAN_ADD (1 bytes)"},
        {1, 0, "ffffffff", "MAC_TABLE_SET (4 bytes)"},
        {3, 0, "", "ANNOUNCE_ACK"},
        {8, 1, "00*16", "STATS_GET (16 bytes)"},
        {9, 1, "00*12", "class 9 command 1 (12 bytes)"},
        {6, 3, "0300 0000", "NOTF_COAL_VQ_GET ring 3"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct vdt_command command =
            command_of(rows[i].class, rows[i].command, rows[i].hex, &bytes);
        g_autofree char *text = vdt_command_describe(&command);
        cr_expect_str_eq(text, rows[i].text);
    }
}
