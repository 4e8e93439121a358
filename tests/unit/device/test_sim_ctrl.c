/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <poll.h>
#include <string.h>

#include "base/fd.h"
#include "base/wire.h"
#include "lib/leak.h"
#include "nic.h"

VDT_SUITE(sim_ctrl);

struct row {
    const char *name;
    uint8_t class, command;
    uint32_t len;
    const char *data;
    uint32_t group; /* what a good one sets */
};

#define RSS_FIXED                                                                                  \
    "\x3f\0\0\0"                                                                                   \
    "\1\0"                                                                                         \
    "\0\0"                                                                                         \
    "\0\0\1\0"                                                                                     \
    "\2\0"
#define KEY4                                                                                       \
    "\4"                                                                                           \
    "abcd"

static const struct row good[] = {
    {"promisc off", 0, 0, 1, "\0", VDT_NET_PROMISC},
    {"allmulti", 0, 1, 1, "\1", VDT_NET_ALLMULTI},
    {"alluni", 0, 2, 1, "\1", VDT_NET_ALLUNI},
    {"nomulti", 0, 3, 1, "\1", VDT_NET_NOMULTI},
    {"nouni", 0, 4, 1, "\1", VDT_NET_NOUNI},
    {"nobcast", 0, 5, 1, "\1", VDT_NET_NOBCAST},
    {"empty mac table", 1, 0, 8, "\0\0\0\0\0\0\0\0", VDT_NET_MAC_TABLE},
    {"mac table", 1, 0, 14, "\1\0\0\0\2\0\0\0\0\1\0\0\0\0", VDT_NET_MAC_TABLE},
    {"mac address", 1, 1, 6, "\2\1\2\3\4\5", VDT_NET_MAC},
    {"vlan add", 2, 0, 2, "\5\0", VDT_NET_VLAN},
    {"vlan del", 2, 1, 2, "\377\17", VDT_NET_VLAN},
    {"announce ack", 3, 0, 0, "", 0},
    {"pairs", 4, 0, 2, "\3\0", VDT_NET_PAIRS},
    {"rss", 4, 1, 19, RSS_FIXED KEY4, VDT_NET_RSS},
    {"hash", 4, 2, 17, "\3\0\0\0\0\0\0\0\0\0\0\0" KEY4, VDT_NET_HASH},
    {"offloads", 5, 0, 8, "\2\0\0\0\0\0\0\0", VDT_NET_OFFLOADS},
    {"coalesce tx", 6, 0, 8, "\1\0\0\0\2\0\0\0", VDT_NET_COAL_TX},
    {"coalesce rx", 6, 1, 8, "\3\0\0\0\4\0\0\0", VDT_NET_COAL_RX},
    {"coalesce ring", 6, 2, 12, "\2\0\0\0\5\0\0\0\6\0\0\0", VDT_NET_COAL_VQ},
};

static const struct row bad[] = {
    {"rx: no value", 0, 0, 0, ""},
    {"rx: two values", 0, 0, 2, "\0\0"},
    {"rx: value 2", 0, 1, 1, "\2"},
    {"rx: command 6", 0, 6, 1, "\1"},
    {"mac table: nothing", 1, 0, 0, ""},
    {"mac table: second count is missing", 1, 0, 4, "\0\0\0\0"},
    {"mac table: entries are missing", 1, 0, 8, "\1\0\0\0\0\0\0\0"},
    {"mac table: first count wraps", 1, 0, 8, "\377\377\377\377\0\0\0\0"},
    {"mac table: second count wraps", 1, 0, 8, "\0\0\0\0\377\377\377\377"},
    {"mac table: count * 6 wraps 32 bits", 1, 0, 8, "\253\252\252\52\0\0\0\0"},
    {"mac table: a byte too many", 1, 0, 9, "\0\0\0\0\0\0\0\0\0"},
    {"mac: five bytes", 1, 1, 5, "\2\1\2\3\4"},
    {"mac: seven bytes", 1, 1, 7, "\2\1\2\3\4\5\6"},
    {"mac: a group address", 1, 1, 6, "\1\1\2\3\4\5"},
    {"mac: command 2", 1, 2, 6, "\2\1\2\3\4\5"},
    {"vlan: one byte", 2, 0, 1, "\5"},
    {"vlan: three bytes", 2, 0, 3, "\5\0\0"},
    {"vlan: 4096", 2, 0, 2, "\0\20"},
    {"vlan: command 2", 2, 2, 2, "\5\0"},
    {"announce: with data", 3, 0, 1, "\0"},
    {"announce: command 1", 3, 1, 0, ""},
    {"pairs: none", 4, 0, 2, "\0\0"},
    {"pairs: too many", 4, 0, 2, "\5\0"},
    {"pairs: one byte", 4, 0, 1, "\1"},
    {"rss: a byte short", 4, 1, 18, RSS_FIXED KEY4},
    {"rss: a byte too many", 4, 1, 20, RSS_FIXED KEY4 "e"},
    {"rss: only the fixed part", 4, 1, 11, RSS_FIXED KEY4},
    {"rss: unknown hash type", 4, 1, 19, "\77\1\0\0\1\0\0\0\0\0\1\0\2\0" KEY4},
    {"rss: table of three", 4, 1, 21, "\77\0\0\0\2\0\0\0\0\0\1\0\0\0\2\0" KEY4},
    {"rss: mask 65535", 4, 1, 19, "\77\0\0\0\377\377\0\0\0\0\1\0\2\0" KEY4},
    {"rss: table names pair 4", 4, 1, 19, "\77\0\0\0\1\0\0\0\0\0\4\0\2\0" KEY4},
    {"rss: unclassified to pair 4", 4, 1, 19, "\77\0\0\0\1\0\4\0\0\0\1\0\2\0" KEY4},
    {"rss: no transmit queue", 4, 1, 19, "\77\0\0\0\1\0\0\0\0\0\1\0\0\0" KEY4},
    {"rss: five transmit queues", 4, 1, 19, "\77\0\0\0\1\0\0\0\0\0\1\0\5\0" KEY4},
    {"hash: reserved not zero", 4, 2, 17, "\3\0\0\0\0\0\0\0\0\0\0\1" KEY4},
    {"hash: key is short", 4, 2, 16, "\3\0\0\0\0\0\0\0\0\0\0\0" KEY4},
    {"hash: no key length", 4, 2, 12, "\3\0\0\0\0\0\0\0\0\0\0\0"},
    {"hash: unknown type", 4, 2, 17, "\0\0\0\1\0\0\0\0\0\0\0\0" KEY4},
    {"mq: command 3", 4, 3, 2, "\1\0"},
    {"offloads: four bytes", 5, 0, 4, "\2\0\0\0"},
    {"offloads: not negotiated", 5, 0, 8, "\0\4\0\0\0\0\0\0"},
    {"offloads: no offload", 5, 0, 8, "\0\0\2\0\0\0\0\0"},
    {"coalesce tx: seven bytes", 6, 0, 7, "\1\0\0\0\2\0\0"},
    {"coalesce rx: nine bytes", 6, 1, 9, "\1\0\0\0\2\0\0\0\0"},
    {"coalesce ring: control queue", 6, 2, 12, "\10\0\0\0\5\0\0\0\6\0\0\0"},
    {"coalesce ring: no such ring", 6, 2, 12, "\377\377\0\0\5\0\0\0\6\0\0\0"},
    {"coalesce ring: short", 6, 2, 11, "\2\0\0\0\5\0\0\0\6\0\0"},
    {"coalesce get: no room for the answer", 6, 3, 4, "\2\0\0\0"},
    {"coalesce: command 4", 6, 4, 4, "\2\0\0\0"},
    {"statistics: query without room", 8, 0, 0, ""},
    {"statistics: get of nothing", 8, 1, 0, ""},
    {"class 7", 7, 0, 4, "\0\0\0\0"},
    {"class 9", 9, 0, 0, ""},
    {"class 255", 255, 255, 0, ""},
};

static struct vdt_net_state before, after;

static void
every_good_command(uint64_t mask)
{
    uint32_t mq = VDT_NET_RSS | VDT_NET_HASH, expected = 0;
    struct nic nic;

    nic_run(&nic, "sim:pairs=4", mask, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        const struct row *row = &good[i];

        cr_assert_eq(nic_command(&nic, row->class, row->command, row->data, row->len),
                     VIRTIO_NET_OK, "%s", row->name);
        nic_state(&nic, &after);
        if (row->group & (mq | VDT_NET_PAIRS))
            expected = (expected & ~mq) | (expected & VDT_NET_RSS ? VDT_NET_PAIRS : 0u);
        if (row->group & VDT_NET_RSS)
            expected &= ~(uint32_t) VDT_NET_PAIRS;
        expected |= row->group;
        cr_assert_eq(after.set, expected, "%s: 0x%x is set, not 0x%x", row->name, after.set,
                     expected);
    }
    cr_assert_eq(after.queue_pairs, 2);
    cr_assert_eq(after.unicast_count, 1);
    cr_assert_eq(after.unicast[0][0], 2);
    cr_assert_eq(after.coal_tx.max_usecs, 2);
    cr_assert_eq(after.vq_coal[2].max_packets, 5);
    cr_assert(vdt_vlan_test(after.vlan, 5));
    cr_assert(vdt_net_state_valid(&after, NULL));
    nic_close(&nic);
}

Test(sim_ctrl, every_good_command_is_acked_and_kept_on_split_rings)
{
    every_good_command(NIC_SPLIT);
}

Test(sim_ctrl, every_good_command_is_acked_and_kept_on_packed_rings)
{
    every_good_command(NIC_PACKED);
}

Test(sim_ctrl, every_malformed_command_is_refused_and_changes_nothing)
{
    uint8_t mac[6], mac_after[6];
    struct nic nic;

    nic_run(&nic, "sim:pairs=4", NIC_SPLIT, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++)
        nic_command(&nic, good[i].class, good[i].command, good[i].data, good[i].len);
    nic_state(&nic, &before);
    nic.dev->ops->get_config(nic.dev, 0, mac, 6, NULL);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        cr_assert_eq(nic_command(&nic, bad[i].class, bad[i].command, bad[i].data, bad[i].len),
                     VIRTIO_NET_ERR, "%s", bad[i].name);
        nic_state(&nic, &after);
        cr_assert_eq(memcmp(&before, &after, sizeof before), 0, "%s", bad[i].name);
    }
    nic.dev->ops->get_config(nic.dev, 0, mac_after, 6, NULL);
    cr_assert_eq(memcmp(mac, mac_after, 6), 0);
    nic_close(&nic);
}

Test(sim_ctrl, a_command_whose_feature_was_not_negotiated_is_refused)
{
    struct nic nic;

    nic_run(&nic, "sim:pairs=4",
            VDT_BIT(VIRTIO_F_VERSION_1) | VDT_BIT(VIRTIO_F_ACCESS_PLATFORM) |
                VDT_BIT(VIRTIO_NET_F_CTRL_VQ),
            0);
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++)
        cr_assert_eq(nic_command(&nic, good[i].class, good[i].command, good[i].data, good[i].len),
                     VIRTIO_NET_ERR, "%s", good[i].name);
    nic_state(&nic, &after);
    cr_assert_eq(after.set, 0);
    nic_close(&nic);
}

/* As a device that never had one: what a snapshot replays into another one cannot tell them apart. */
Test(sim_ctrl, the_last_vlan_takes_the_filter_with_it)
{
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 0);
    cr_assert_eq(nic_command(&nic, 2, 0, "\5\0", 2), VIRTIO_NET_OK);
    nic_state(&nic, &after);
    cr_assert_eq(after.set, VDT_NET_VLAN);
    cr_assert_eq(nic_command(&nic, 2, 1, "\5\0", 2), VIRTIO_NET_OK);
    nic_state(&nic, &after);
    cr_assert_eq(after.set, 0);
    nic_close(&nic);
}

Test(sim_ctrl, a_mac_table_beyond_the_filter_is_kept_and_lets_all_pass)
{
    static uint8_t table[8 + 6 * 70];
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 0);
    table[0] = 70;
    for (unsigned i = 0; i < 70; i++)
        table[4 + 6 * i + 5] = (uint8_t) i;
    cr_assert_eq(nic_command(&nic, 1, 0, table, sizeof table), VIRTIO_NET_OK);
    nic_state(&nic, &after);
    cr_assert_eq(after.unicast_count, 70);
    cr_assert_eq(after.unicast[69][5], 69);
    nic_close(&nic);
}

Test(sim_ctrl, a_mac_table_beyond_what_can_be_kept_is_refused)
{
    static uint8_t table[8 + 6 * (VDT_MAC_TABLE_MAX + 1)];
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 0);
    vdt_put32(table, VDT_MAC_TABLE_MAX + 1);
    cr_assert_eq(nic_command(&nic, 1, 0, table, sizeof table), VIRTIO_NET_ERR);
    nic_close(&nic);
}

Test(sim_ctrl, a_command_in_single_bytes_is_understood)
{
    static const uint8_t bytes[] = {2, 0, 7, 0};
    struct vdt_seg segs[6];
    struct vdt_used used;
    struct nic nic;
    size_t at;

    nic_run(&nic, "sim:", NIC_SPLIT, 0);
    for (unsigned i = 0; i < 4; i++) {
        at = nic_alloc(&nic, 1);
        nic.memory[at] = bytes[i];
        segs[i] = (struct vdt_seg){nic_iova(at), 1, 0, 0};
    }
    segs[4] = (struct vdt_seg){nic_iova(nic_alloc(&nic, 1)), 0, VDT_SEG_WRITE, 0};
    at = nic_alloc(&nic, 1);
    nic.memory[at] = NIC_SILENT;
    segs[5] = (struct vdt_seg){nic_iova(at), 1, VDT_SEG_WRITE, 0};
    nic_post(&nic, nic.cvq, segs, 6);
    cr_assert(nic_wait(&nic, nic.cvq, NIC_TIMEOUT_MS, &used));
    cr_assert_eq(used.len, 1);
    cr_assert_eq(nic.memory[at], VIRTIO_NET_OK);
    nic_close(&nic);
}

Test(sim_ctrl, a_command_without_class_and_command_is_refused)
{
    struct vdt_used used;
    struct nic nic;
    struct vdt_seg segs[2];
    size_t at;

    nic_run(&nic, "sim:", NIC_SPLIT, 0);
    at = nic_alloc(&nic, 64);
    segs[0] = (struct vdt_seg){nic_iova(at), 1, 0, 0};
    segs[1] = (struct vdt_seg){nic_iova(at + 32), 1, VDT_SEG_WRITE, 0};
    nic_post(&nic, nic.cvq, segs, 2);
    cr_assert(nic_wait(&nic, nic.cvq, NIC_TIMEOUT_MS, &used));
    cr_assert_eq(nic.memory[at + 32], VIRTIO_NET_ERR);
    nic_close(&nic);
}

Test(sim_ctrl, a_command_without_room_for_the_ack_stops_the_queue)
{
    struct vdt_used used;
    struct vdt_seg seg;
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 0);
    seg = (struct vdt_seg){nic_iova(nic_alloc(&nic, 64)), 3, 0, 0};
    nic_post(&nic, nic.cvq, &seg, 1);
    cr_assert_not(nic_wait(&nic, nic.cvq, 50, &used));
    cr_assert(nic_has_fault(&nic, "without room for its ack"));
    cr_assert(nic_counter(&nic, -1, "status") & VIRTIO_CONFIG_S_NEEDS_RESET);
    nic_close(&nic);
}

Test(sim_ctrl, coalescing_of_a_ring_is_answered_behind_the_ack)
{
    uint8_t reply[8];
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 0);
    nic_command(&nic, 6, 1, "\7\0\0\0\10\0\0\0", 8);
    cr_assert_eq(nic_command_reply(&nic, 6, 3, "\0\0\0\0", 4, reply, 8), VIRTIO_NET_OK);
    cr_assert_eq(vdt_get32(reply), 7);
    nic_command(&nic, 6, 2, "\0\0\0\0\11\0\0\0\12\0\0\0", 12);
    cr_assert_eq(nic_command_reply(&nic, 6, 3, "\0\0\0\0", 4, reply, 8), VIRTIO_NET_OK);
    cr_assert_eq(vdt_get32(reply), 9);
    cr_assert_eq(vdt_get32(reply + 4), 10);
    nic_close(&nic);
}

Test(sim_ctrl, coalescing_of_all_rings_overrides_that_of_one)
{
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 0);
    nic_command(&nic, 6, 2, "\0\0\0\0\11\0\0\0\12\0\0\0", 12);
    nic_command(&nic, 6, 0, "\1\0\0\0\1\0\0\0", 8);
    nic_state(&nic, &after);
    cr_assert(after.set & VDT_NET_COAL_VQ, "TX_SET is not about a receive ring");
    nic_command(&nic, 6, 1, "\1\0\0\0\1\0\0\0", 8);
    nic_state(&nic, &after);
    cr_assert_not(after.set & VDT_NET_COAL_VQ);
    nic_close(&nic);
}

Test(sim_ctrl, hash_reports_after_rss_keep_the_pairs)
{
    struct nic nic;

    nic_run(&nic, "sim:pairs=4", NIC_SPLIT, 0);
    nic_command(&nic, 4, 1, RSS_FIXED KEY4, 19);
    nic_command(&nic, 4, 2, "\3\0\0\0\0\0\0\0\0\0\0\0" KEY4, 17);
    nic_state(&nic, &after);
    cr_assert_eq(after.set, VDT_NET_PAIRS | VDT_NET_HASH);
    cr_assert_eq(after.queue_pairs, 2);
    nic_close(&nic);
}

Test(sim_ctrl, coalescing_of_a_ring_that_is_not_enabled_is_refused)
{
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 0);
    cr_assert(nic.dev->ops->set_enable(nic.dev, 0, false, NULL));
    cr_assert_eq(nic_command(&nic, 6, 2, "\0\0\0\0\5\0\0\0\6\0\0\0", 12), VIRTIO_NET_ERR);
    nic_close(&nic);
    nic_run(&nic, "sim:coal-any-ring", NIC_SPLIT, 0);
    cr_assert(nic.dev->ops->set_enable(nic.dev, 0, false, NULL));
    cr_assert_eq(nic_command(&nic, 6, 2, "\0\0\0\0\5\0\0\0\6\0\0\0", 12), VIRTIO_NET_OK);
    nic_close(&nic);
}

Test(sim_ctrl, statistics_are_real)
{
    static uint8_t frame[100], reply[48];
    uint8_t query[8], get[16] = {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    struct vdt_used used;
    struct nic nic;

    nic_run(&nic, "sim:null", NIC_SPLIT, 0);
    nic_frame(frame, 100, frame, 1);
    for (unsigned i = 0; i < 3; i++) {
        nic_send(&nic, 0, frame, 100);
        cr_assert(nic_wait(&nic, 1, NIC_TIMEOUT_MS, &used));
    }
    cr_assert_eq(nic_command_reply(&nic, 8, 0, NULL, 0, query, 8), VIRTIO_NET_OK);
    cr_assert_eq(vdt_get64(query), 0x100010001ull);
    cr_assert_eq(nic_command_reply(&nic, 8, 1, get, 16, reply, 48), VIRTIO_NET_OK);
    cr_assert_eq(reply[0], 16);
    cr_assert_eq(vdt_get16(reply + 2), 1);
    cr_assert_eq(vdt_get16(reply + 6), 48);
    cr_assert_eq(vdt_get64(reply + 16), 3, "packets");
    cr_assert_eq(vdt_get64(reply + 24), 300, "bytes");
    cr_assert_eq(nic_command_reply(&nic, 8, 1, get, 16, reply, 47), VIRTIO_NET_ERR);
    nic_close(&nic);
}

Test(sim_ctrl, an_announcement_stays_until_it_is_acknowledged)
{
    struct pollfd wait = {.events = POLLIN};
    uint16_t status = 0;
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 0);
    wait.fd = vdt_eventfd(NULL);
    cr_assert(nic.dev->ops->set_config_call(nic.dev, wait.fd, NULL));
    vdt_sim_announce(nic.dev);
    cr_assert_eq(poll(&wait, 1, NIC_TIMEOUT_MS), 1);
    nic.dev->ops->get_config(nic.dev, 6, &status, 2, NULL);
    cr_assert_eq(le16toh(status), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
    cr_assert_eq(nic_command(&nic, 3, 0, NULL, 0), VIRTIO_NET_OK);
    nic.dev->ops->get_config(nic.dev, 6, &status, 2, NULL);
    cr_assert_eq(le16toh(status), VIRTIO_NET_S_LINK_UP);
    vdt_close(wait.fd);
    nic_close(&nic);
}

Test(sim_ctrl, seventy_thousand_commands_go_round_the_ring)
{
    size_t floor;
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 0);
    floor = nic.next;
    for (unsigned i = 0; i < 70000; i++) {
        uint8_t vid[2] = {(uint8_t) i, (uint8_t) (i >> 8 & 15)};

        nic.next = floor;
        cr_assert_eq(nic_command(&nic, 2, (uint8_t) (i >> 12 & 1), vid, 2), VIRTIO_NET_OK, "%u", i);
    }
    nic_close(&nic);
}
