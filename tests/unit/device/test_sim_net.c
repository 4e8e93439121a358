/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "lib/leak.h"
#include "nic.h"

VDT_SUITE(sim_net);

static const uint8_t own[6] = {0x52, 0x54, 0x00, 0x73, 0x69, 0x6d};
static const uint8_t other[6] = {2, 0, 0, 0, 0, 9};
static const uint8_t multi[6] = {0x01, 0, 0x5e, 0, 0, 5};
static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static uint8_t frame[70000], got[70000];

/* Does a frame to @to come back? */
static bool
passes(struct nic *nic, const uint8_t *to)
{
    struct vdt_used used;
    gint64 filtered = nic_counter(nic, -1, "frames_filtered");

    nic_frame(frame, 100, to, 1000);
    nic_send(nic, 0, frame, 100);
    cr_assert(nic_wait(nic, 1, NIC_TIMEOUT_MS, &used));
    cr_assert_eq(used.len, 0);
    if (nic_counter(nic, -1, "frames_filtered") > filtered)
        return false;
    cr_assert_eq(nic_receive(nic, 0, NIC_TIMEOUT_MS, got), 100);
    cr_assert_eq(memcmp(frame, got, 100), 0);
    return true;
}

static void
loop_many(const char *spec, uint64_t mask, unsigned count)
{
    struct nic nic;

    nic_run(&nic, spec, mask, 8);
    for (unsigned i = 0; i < count; i++) {
        uint32_t len = 60 + i % 1000;
        struct vdt_used used;

        nic.next = NIC_MEMORY / 2; /* buffers of a finished round may be used again */
        nic_frame(frame, len, own, (uint16_t) i);
        nic_send(&nic, 0, frame, len);
        cr_assert(nic_wait(&nic, 1, NIC_TIMEOUT_MS, &used), "frame %u was not sent", i);
        cr_assert_eq(nic_receive(&nic, 0, NIC_TIMEOUT_MS, got), (int) len, "frame %u", i);
        cr_assert_eq(memcmp(frame, got, len), 0);
        nic.next += (i % 8) * 4096;
        nic_post_rx(&nic, 0, 1, 2048);
    }
    cr_assert_eq(nic_counter(&nic, -1, "frames_received"), count);
    cr_assert_eq(nic_counter(&nic, -1, "fault_count"), 0);
    nic_close(&nic);
}

Test(sim_net, frames_loop_back_on_split_rings)
{
    loop_many("sim:", NIC_SPLIT, 300);
}

Test(sim_net, frames_loop_back_on_packed_rings)
{
    loop_many("sim:", NIC_PACKED, 300);
}

Test(sim_net, frames_loop_back_without_event_idx)
{
    loop_many("sim:no-event-idx", NIC_SPLIT, 100);
    loop_many("sim:no-event-idx", NIC_PACKED, 100);
}

Test(sim_net, frames_loop_back_in_order)
{
    loop_many("sim:in-order", NIC_SPLIT, 100);
    loop_many("sim:in-order", NIC_PACKED, 100);
}

Test(sim_net, a_large_frame_is_merged_from_several_buffers)
{
    struct virtio_net_hdr_v1_hash hdr;
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 8);
    nic_frame(frame, 9000, own, 1);
    nic_send(&nic, 0, frame, 9000);
    cr_assert_eq(nic_receive_header(&nic, 0, NIC_TIMEOUT_MS, got, &hdr), 9000);
    cr_assert_eq(hdr.hdr.num_buffers, 5);
    cr_assert_eq(memcmp(frame, got, 9000), 0);
    nic_close(&nic);
}

Test(sim_net, without_merging_a_frame_that_does_not_fit_is_dropped)
{
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT & ~VDT_BIT(VIRTIO_NET_F_MRG_RXBUF), 8);
    nic_frame(frame, 9000, own, 1);
    nic_send(&nic, 0, frame, 9000);
    cr_assert(passes(&nic, own), "the buffer is still there for the next frame");
    cr_assert_eq(nic_counter(&nic, 0, "dropped"), 1);
    nic_close(&nic);
}

Test(sim_net, a_frame_waits_for_a_buffer)
{
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 0);
    nic_frame(frame, 100, own, 1);
    nic_send(&nic, 0, frame, 100);
    cr_assert_eq(nic_receive(&nic, 0, 20, got), -1);
    nic_post_rx(&nic, 0, 1, 2048);
    cr_assert_eq(nic_receive(&nic, 0, NIC_TIMEOUT_MS, got), 100);
    nic_close(&nic);
}

Test(sim_net, everything_passes_until_promiscuous_mode_is_off)
{
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 16);
    cr_assert(passes(&nic, other));
    cr_assert_eq(nic_command(&nic, 0, 0, "\0", 1), VIRTIO_NET_OK);
    cr_assert_not(passes(&nic, other));
    cr_assert_not(passes(&nic, multi));
    cr_assert(passes(&nic, own));
    cr_assert(passes(&nic, broadcast));
    nic_close(&nic);
}

Test(sim_net, each_receive_mode_does_what_it_says)
{
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 32);
    nic_command(&nic, 0, 0, "\0", 1);
    nic_command(&nic, 0, 1, "\1", 1);
    cr_assert(passes(&nic, multi), "allmulti");
    nic_command(&nic, 0, 3, "\1", 1);
    cr_assert_not(passes(&nic, multi), "nomulti");
    nic_command(&nic, 0, 2, "\1", 1);
    cr_assert(passes(&nic, other), "alluni");
    nic_command(&nic, 0, 4, "\1", 1);
    cr_assert_not(passes(&nic, own), "nouni");
    nic_command(&nic, 0, 5, "\1", 1);
    cr_assert_not(passes(&nic, broadcast), "nobcast");
    nic_close(&nic);
}

Test(sim_net, the_mac_table_lets_its_addresses_pass)
{
    uint8_t table[4 + 6 + 4 + 6] = {1};
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 16);
    memcpy(table + 4, other, 6);
    table[10] = 1;
    memcpy(table + 14, multi, 6);
    nic_command(&nic, 0, 0, "\0", 1);
    cr_assert_eq(nic_command(&nic, 1, 0, table, sizeof table), VIRTIO_NET_OK);
    cr_assert(passes(&nic, other));
    cr_assert(passes(&nic, multi));
    nic_close(&nic);
}

Test(sim_net, a_new_mac_address_is_the_one_that_is_received)
{
    uint8_t mac[6];
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 16);
    nic_command(&nic, 0, 0, "\0", 1);
    cr_assert_eq(nic_command(&nic, 1, 1, other, 6), VIRTIO_NET_OK);
    cr_assert(passes(&nic, other));
    cr_assert_not(passes(&nic, own));
    cr_assert(nic.dev->ops->get_config(nic.dev, 0, mac, 6, NULL));
    cr_assert_eq(memcmp(mac, other, 6), 0);
    nic_close(&nic);
}

static bool
vlan_passes(struct nic *nic, uint16_t vid)
{
    gint64 filtered = nic_counter(nic, -1, "frames_filtered");
    struct vdt_used used;

    nic_frame(frame, 100, own, 1);
    memmove(frame + 16, frame + 12, 84);
    frame[12] = 0x81;
    frame[13] = 0x00;
    frame[14] = (uint8_t) (0x20 | vid >> 8);
    frame[15] = (uint8_t) vid;
    nic_send(nic, 0, frame, 100);
    cr_assert(nic_wait(nic, 1, NIC_TIMEOUT_MS, &used));
    if (nic_counter(nic, -1, "frames_filtered") > filtered)
        return false;
    return nic_receive(nic, 0, NIC_TIMEOUT_MS, got) == 100;
}

Test(sim_net, vlans_pass_from_add_to_del)
{
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 16);
    nic_command(&nic, 0, 0, "\0", 1);
    cr_assert_not(vlan_passes(&nic, 0x123));
    cr_assert_eq(nic_command(&nic, 2, 0, "\x23\x01", 2), VIRTIO_NET_OK);
    cr_assert(vlan_passes(&nic, 0x123));
    cr_assert_not(vlan_passes(&nic, 0x124));
    cr_assert_eq(nic_command(&nic, 2, 1, "\x23\x01", 2), VIRTIO_NET_OK);
    cr_assert_not(vlan_passes(&nic, 0x123));
    nic_close(&nic);
}

Test(sim_net, a_frame_comes_back_on_the_pair_that_sent_it)
{
    struct nic nic;

    nic_run(&nic, "sim:pairs=4", NIC_SPLIT & ~VDT_BIT(VIRTIO_NET_F_HASH_REPORT), 8);
    cr_assert_eq(nic_command(&nic, 4, 0, "\4\0", 2), VIRTIO_NET_OK);
    for (uint16_t pair = 0; pair < 4; pair++) {
        nic_frame(frame, 100, own, (uint16_t) (5000 + pair));
        nic_send(&nic, pair, frame, 100);
        cr_assert_eq(nic_receive(&nic, pair, NIC_TIMEOUT_MS, got), 100, "pair %u", pair);
    }
    nic_close(&nic);
}

Test(sim_net, pairs_beyond_the_ones_in_use_do_not_send)
{
    struct vdt_used used;
    struct nic nic;

    nic_run(&nic, "sim:pairs=2", NIC_SPLIT, 8);
    nic_frame(frame, 100, own, 1);
    nic_send(&nic, 1, frame, 100);
    cr_assert_not(nic_wait(&nic, 3, 50, &used));
    cr_assert_eq(nic_command(&nic, 4, 0, "\2\0", 2), VIRTIO_NET_OK);
    cr_assert(nic_wait(&nic, 3, NIC_TIMEOUT_MS, &used));
    nic_close(&nic);
}

Test(sim_net, rss_steers_by_the_hash_and_reports_it)
{
    uint8_t rss[8 + 2 * 2 + 3 + 40] = {VIRTIO_NET_RSS_HASH_TYPE_UDPv4, 0, 0, 0, 1};
    struct virtio_net_hdr_v1_hash hdr;
    unsigned seen[2] = {0};
    struct nic nic;

    nic_run(&nic, "sim:pairs=2", NIC_SPLIT, 32);
    rss[8] = 1; /* hash 0 -> pair 1, hash 1 -> pair 0 */
    rss[12] = 2;
    rss[14] = 40;
    for (unsigned i = 0; i < 40; i++)
        rss[15 + i] = (uint8_t) (i * 31 + 5);
    cr_assert_eq(nic_command(&nic, 4, 1, rss, sizeof rss), VIRTIO_NET_OK);
    for (uint16_t i = 0; i < 16; i++) {
        uint8_t input[12];
        uint32_t hash;
        unsigned pair;

        nic_frame(frame, 100, own, (uint16_t) (4000 + i));
        memcpy(input, frame + 26, 12);
        hash = vdt_sim_toeplitz(rss + 15, 40, input, 12);
        pair = hash & 1 ? 0 : 1;
        seen[pair]++;
        nic_send(&nic, 0, frame, 100);
        cr_assert_eq(nic_receive_header(&nic, pair, NIC_TIMEOUT_MS, got, &hdr), 100);
        cr_assert_eq(hdr.hash_value, hash);
        cr_assert_eq(hdr.hash_report, VIRTIO_NET_HASH_REPORT_UDPv4);
    }
    cr_assert(seen[0] && seen[1]);
    nic_close(&nic);
}

/* The verification suite that the makers of receive-side scaling publish. */
Test(sim_net, toeplitz_gives_the_published_hashes)
{
    static const uint8_t key[40] = {
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
        0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
        0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    };
    static const uint8_t input[12] = {66, 9, 149, 187, 161, 142, 100, 80, 0x0a, 0xea, 0x06, 0xe6};

    cr_assert_eq(vdt_sim_toeplitz(key, 40, input, 12), 0x51ccc178u);
    cr_assert_eq(vdt_sim_toeplitz(key, 40, input, 8), 0x323e8fc2u);
}

Test(sim_net, a_checksum_is_filled_in_for_a_guest_that_cannot_take_it)
{
    struct virtio_net_hdr_v1 hdr = {
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
        .csum_start = 34,
        .csum_offset = 6,
    };
    uint64_t sum = 0;
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 8);
    cr_assert_eq(nic_command(&nic, 5, 0, "\0\0\0\0\0\0\0\0", 8), VIRTIO_NET_OK);
    nic_frame(frame, 60, own, 1);
    nic_send_header(&nic, 0, &hdr, frame, 60);
    cr_assert_eq(nic_receive(&nic, 0, NIC_TIMEOUT_MS, got), 60);
    for (unsigned i = 34; i < 60; i += 2)
        sum += (uint64_t) (frame[i] << 8 | frame[i + 1]);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    cr_assert_eq(got[40] << 8 | got[41], (int) (~sum & 0xffff));
    nic_close(&nic);
}

Test(sim_net, a_frame_without_its_header_is_counted_as_malformed)
{
    struct vdt_used used;
    struct vdt_seg seg;
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 8);
    seg = (struct vdt_seg){nic_iova(nic_alloc(&nic, 64)), 20, 0, 0};
    nic_post(&nic, 1, &seg, 1);
    cr_assert(nic_wait(&nic, 1, NIC_TIMEOUT_MS, &used));
    cr_assert_eq(nic_counter(&nic, 1, "malformed"), 1);
    nic_close(&nic);
}

Test(sim_net, two_sims_are_joined_by_a_name)
{
    struct nic a, b;

    nic_run(&a, "sim:pair=wire", NIC_SPLIT, 8);
    nic_run(&b, "sim:pair=wire", NIC_PACKED, 8);
    nic_frame(frame, 200, own, 1);
    nic_send(&a, 0, frame, 200);
    cr_assert_eq(nic_receive(&b, 0, NIC_TIMEOUT_MS, got), 200);
    nic_frame(frame, 300, own, 1);
    nic_send(&b, 0, frame, 300);
    cr_assert_eq(nic_receive(&a, 0, NIC_TIMEOUT_MS, got), 300);
    nic_close(&a);
    nic_close(&b);
}

Test(sim_net, a_sim_that_does_not_run_hears_nothing)
{
    struct vdt_used used;
    struct nic a, b;

    nic_run(&a, "sim:pair=wire", NIC_SPLIT, 8);
    nic_open(&b, "sim:pair=wire", NIC_SPLIT);
    nic_frame(frame, 200, own, 1);
    nic_send(&a, 0, frame, 200);
    cr_assert(nic_wait(&a, 1, NIC_TIMEOUT_MS, &used));
    nic_start(&b);
    nic_post_rx(&b, 0, 8, 2048);
    cr_assert_eq(nic_receive(&b, 0, 50, got), -1);
    cr_assert(b.dev->ops->suspend(b.dev, NULL));
    nic_send(&a, 0, frame, 200);
    cr_assert(nic_wait(&a, 1, NIC_TIMEOUT_MS, &used));
    cr_assert(b.dev->ops->resume(b.dev, NULL));
    cr_assert_eq(nic_receive(&b, 0, 50, got), -1);
    nic_close(&a);
    nic_close(&b);
}
