/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <vdpa-tracker/error.h>

#include "lib/leak.h"
#include "nic.h"

VDT_SUITE(sim_ring);

static const uint8_t own[6] = {0x52, 0x54, 0x00, 0x73, 0x69, 0x6d};
static uint8_t frame[2048], got[70000];

#define OK(call) cr_assert(call)
#define NO(call) cr_assert_not(call)
#define DO(nic, op, ...) (nic).dev->ops->op((nic).dev, ##__VA_ARGS__, NULL)

static void
send_one(struct nic *nic, uint16_t port)
{
    struct vdt_used used;

    nic_frame(frame, 100, own, port);
    nic_send(nic, 0, frame, 100);
    cr_assert(nic_wait(nic, 1, NIC_TIMEOUT_MS, &used));
}

Test(sim_ring, features_are_taken_before_features_ok_only)
{
    struct nic nic;

    nic_open(&nic, "sim:", NIC_SPLIT);
    NO(DO(nic, set_features, nic.features));
    OK(DO(nic, set_status, 0));
    OK(DO(nic, set_features, nic.features));
    nic_close(&nic);
}

Test(sim_ring, feature_sets_that_cannot_be_are_refused)
{
    uint64_t must = VDT_BIT(VIRTIO_F_VERSION_1) | VDT_BIT(VIRTIO_F_ACCESS_PLATFORM);
    const struct {
        const char *name;
        uint64_t features;
    } rows[] = {
        {"not offered", must | VDT_BIT(VIRTIO_F_RING_RESET)},
        {"no VERSION_1", VDT_BIT(VIRTIO_F_ACCESS_PLATFORM)},
        {"no ACCESS_PLATFORM", VDT_BIT(VIRTIO_F_VERSION_1)},
        {"CTRL_RX without CTRL_VQ", must | VDT_BIT(VIRTIO_NET_F_CTRL_RX)},
        {"MQ without CTRL_VQ", must | VDT_BIT(VIRTIO_NET_F_MQ)},
        {"GUEST_TSO4 without GUEST_CSUM", must | VDT_BIT(VIRTIO_NET_F_GUEST_TSO4)},
        {"HOST_TSO4 without CSUM", must | VDT_BIT(VIRTIO_NET_F_HOST_TSO4)},
    };
    VDT_AUTO(device) dev = vdt_device_open("sim:pairs=2", NULL);

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        cr_assert_not(dev->ops->set_features(dev, rows[i].features, NULL), "%s", rows[i].name);
    cr_assert(dev->ops->set_features(dev, must, NULL));
}

Test(sim_ring, status_goes_forward_only)
{
    uint8_t status = 0xff;
    struct nic nic;

    nic_open(&nic, "sim:", NIC_SPLIT);
    NO(DO(nic, set_status, 3));
    NO(DO(nic, set_status, 11 | 16));
    OK(DO(nic, set_status, 0));
    OK(DO(nic, get_status, &status));
    cr_assert_eq(status, 0);
    NO(DO(nic, set_status, 15));
    NO(DO(nic, set_status, 4 | 3));
    OK(DO(nic, set_status, 3));
    OK(DO(nic, set_status, 11));
    OK(DO(nic, get_status, &status));
    cr_assert_eq(status, 3, "FEATURES_OK does not stay without features");
    nic_close(&nic);
}

Test(sim_ring, setup_comes_between_features_ok_and_driver_ok)
{
    struct vdt_ring_addr addr = {NIC_IOVA, NIC_IOVA + 4096, NIC_IOVA + 8192};
    struct vdt_ring_pos pos = {0, 0};
    struct nic nic;

    nic_open(&nic, "sim:", NIC_SPLIT);
    nic_start(&nic);
    NO(DO(nic, set_num, 0, 64));
    NO(DO(nic, set_base, 0, pos));
    NO(DO(nic, set_addr, 0, &addr));
    NO(DO(nic, get_base, 0, &pos));
    NO(DO(nic, set_group_asid, 1, 0));
    OK(DO(nic, set_status, 0));
    NO(DO(nic, set_num, 0, 64));
    NO(DO(nic, set_enable, 0, true));
    nic_drop_rings(&nic);
    nic_close(&nic);
}

Test(sim_ring, sizes_and_positions_are_checked)
{
    struct vdt_ring_addr odd = {NIC_IOVA + 8, NIC_IOVA + 4096, NIC_IOVA + 8192};
    struct nic nic;

    nic_open(&nic, "sim:", NIC_SPLIT);
    NO(DO(nic, set_num, 0, 0));
    NO(DO(nic, set_num, 0, 48));
    NO(DO(nic, set_num, 0, 512));
    NO(DO(nic, set_num, 3, 64));
    NO(DO(nic, set_enable, 0, true));
    NO(DO(nic, set_base, 0, ((struct vdt_ring_pos){0, 0})));
    OK(DO(nic, set_num, 0, 64));
    NO(DO(nic, set_addr, 0, &odd));
    OK(DO(nic, set_base, 0, ((struct vdt_ring_pos){0xfff0, 0})));
    nic_close(&nic);
}

Test(sim_ring, a_packed_ring_can_have_any_size)
{
    struct nic nic;

    nic_open(&nic, "sim:", NIC_PACKED);
    OK(DO(nic, set_num, 0, 48));
    NO(DO(nic, set_base, 0, ((struct vdt_ring_pos){48, 48})));
    NO(DO(nic, set_base, 0, ((struct vdt_ring_pos){0x8003, 0x8001})));
    OK(DO(nic, set_base, 0, ((struct vdt_ring_pos){0x8003, 0x8003})));
    nic_close(&nic);
}

Test(sim_ring, a_ring_outside_the_mappings_does_not_start)
{
    struct vdt_ring_addr far = {0x40000000, 0x40010000, 0x40020000};
    struct nic nic;

    nic_open(&nic, "sim:", NIC_SPLIT);
    OK(DO(nic, set_num, 0, 64));
    OK(DO(nic, set_addr, 0, &far));
    OK(DO(nic, set_enable, 0, true));
    NO(DO(nic, set_status, 15));
    nic_close(&nic);
}

static void
suspend_and_resume(uint64_t mask, uint16_t expected)
{
    struct vdt_ring_pos pos;
    struct vdt_used used;
    struct nic nic;

    nic_run(&nic, "sim:", mask, 8);
    for (unsigned i = 0; i < 5; i++)
        send_one(&nic, (uint16_t) i);
    OK(DO(nic, suspend));
    OK(DO(nic, get_base, 1, &pos));
    cr_assert_eq(pos.avail, expected, "0x%x", pos.avail);
    cr_assert_eq(pos.used, expected);
    nic_frame(frame, 100, own, 9);
    nic_send(&nic, 0, frame, 100);
    cr_assert_not(nic_wait(&nic, 1, 50, &used), "nothing moves while suspended");
    OK(DO(nic, get_base, 1, &pos));
    cr_assert_eq(pos.avail, expected);
    OK(DO(nic, resume));
    cr_assert(nic_wait(&nic, 1, NIC_TIMEOUT_MS, &used));
    nic_close(&nic);
}

Test(sim_ring, a_suspended_split_ring_stands_where_it_says)
{
    suspend_and_resume(NIC_SPLIT, 5);
}

Test(sim_ring, a_suspended_packed_ring_stands_where_it_says)
{
    suspend_and_resume(NIC_PACKED, 0x8000 | 10);
}

Test(sim_ring, a_suspend_before_driver_ok_does_nothing)
{
    struct nic nic;

    nic_open(&nic, "sim:", NIC_SPLIT);
    OK(DO(nic, suspend));
    OK(DO(nic, set_status, 11));
    nic_start(&nic);
    nic_post_rx(&nic, 0, 4, 2048);
    send_one(&nic, 1);
    nic_close(&nic);
}

static void
move_ring(const char *spec, uint64_t mask)
{
    struct vdt_ring_pos pos;
    struct vdt_used used;
    struct nic_ring old;
    struct nic nic;

    nic_run(&nic, spec, mask, 8);
    for (unsigned i = 0; i < 5; i++)
        send_one(&nic, (uint16_t) i);
    OK(DO(nic, suspend));
    OK(DO(nic, get_base, 1, &pos));
    old = nic.rings[1];
    nic_make_ring(&nic, 1);
    vdt_device_ring_clear(&nic.rings[1].ring);
    vdt_device_ring_init(&nic.rings[1].ring, &old.format, &nic.rings[1].mem, pos);
    nic_tell_ring(&nic, 1, pos);
    OK(DO(nic, set_enable, 1, false));
    OK(DO(nic, set_enable, 1, true));
    OK(DO(nic, resume));
    nic_frame(frame, 100, own, 1);
    nic_send(&nic, 0, frame, 100);
    cr_assert(nic_wait(&nic, 1, NIC_TIMEOUT_MS, &used));
    nic.rings[2] = old; /* so that it is cleared */
    nic_close(&nic);
}

Test(sim_ring, a_ring_moves_while_suspended)
{
    struct nic nic;

    move_ring("sim:no-cvq", NIC_SPLIT);
    move_ring("sim:no-cvq", NIC_PACKED);
    nic_run(&nic, "sim:no-readdress", NIC_SPLIT, 0);
    OK(DO(nic, suspend));
    NO(DO(nic, set_addr, 0, &nic.rings[0].addr));
    nic_close(&nic);
}

Test(sim_ring, a_fresh_device_goes_on_where_another_one_stopped)
{
    struct vdt_used used;
    struct nic nic;

    nic_open(&nic, "sim:no-cvq", NIC_SPLIT);
    nic_make_ring(&nic, 1);
    vdt_device_ring_clear(&nic.rings[1].ring);
    vdt_device_ring_init(&nic.rings[1].ring, &nic.rings[1].format, &nic.rings[1].mem,
                         (struct vdt_ring_pos){0xfffe, 0xfffe});
    nic_tell_ring(&nic, 1, (struct vdt_ring_pos){0xfffe, 0xfffe});
    OK(DO(nic, set_enable, 1, true));
    OK(DO(nic, set_status, 15));
    for (unsigned i = 0; i < 5; i++) {
        nic_frame(frame, 100, own, 1);
        nic_send(&nic, 0, frame, 100);
        cr_assert(nic_wait(&nic, 1, NIC_TIMEOUT_MS, &used));
    }
    nic_close(&nic);
}

Test(sim_ring, a_reset_forgets_everything_but_the_mappings)
{
    static struct vdt_net_state state, fresh;
    uint8_t mac[6];
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 4);
    nic_command(&nic, 1, 1, "\2\3\4\5\6\7", 6);
    nic_command(&nic, 2, 0, "\1\0", 2);
    OK(DO(nic, set_status, 0));
    nic_state(&nic, &state);
    vdt_net_state_init(&fresh);
    cr_assert_eq(memcmp(&state, &fresh, sizeof state), 0);
    OK(DO(nic, get_config, 0, mac, 6));
    cr_assert_eq(memcmp(mac, own, 6), 0);
    cr_assert_eq(nic_counter(&nic, 0, "num"), 0);
    NO(DO(nic, map, 0, NIC_IOVA, NIC_MEMORY, nic.memory, true));
    nic_drop_rings(&nic);
    nic_negotiate(&nic, NIC_SPLIT);
    nic_start(&nic);
    nic_post_rx(&nic, 0, 4, 2048);
    send_one(&nic, 1);
    cr_assert_eq(nic_receive(&nic, 0, NIC_TIMEOUT_MS, got), 100);
    nic_close(&nic);
}

Test(sim_ring, the_control_queue_stands_behind_the_pairs_that_were_negotiated)
{
    uint32_t group = 9;
    struct nic nic;

    nic_open(&nic, "sim:pairs=4", NIC_SPLIT);
    cr_assert_eq(nic.cvq, 8);
    OK(DO(nic, get_group, 8, &group));
    cr_assert_eq(group, 1);
    OK(DO(nic, get_group, 2, &group));
    cr_assert_eq(group, 0);
    NO(DO(nic, get_group, 9, &group));
    nic_close(&nic);
    nic_open(&nic, "sim:pairs=4",
             NIC_SPLIT & ~(VDT_BIT(VIRTIO_NET_F_MQ) | VDT_BIT(VIRTIO_NET_F_RSS)));
    OK(DO(nic, get_group, 2, &group));
    cr_assert_eq(group, 1);
    nic_add_ring(&nic, 4);
    NO(DO(nic, set_enable, 4, true)); /* no such ring without MQ */
    nic_close(&nic);
}

Test(sim_ring, a_broken_driver_ring_stops_that_ring_only)
{
    struct vdt_used used;
    struct vdt_seg segs[2];
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 4);
    segs[0] = (struct vdt_seg){NIC_IOVA, 64, VDT_SEG_WRITE, 0};
    segs[1] = (struct vdt_seg){NIC_IOVA, 64, 0, 0};
    nic_post(&nic, 1, segs, 2);
    cr_assert_not(nic_wait(&nic, 1, 50, &used));
    cr_assert(nic_has_fault(&nic, "ring 1: "));
    cr_assert_eq(nic_command(&nic, 0, 0, "\0", 1), VIRTIO_NET_OK);
    nic_close(&nic);
}

Test(sim_ring, a_driver_need_not_write_back_what_the_device_set)
{
    struct vdt_seg seg = {0x70000000, 100, 0, 0};
    uint8_t status = 0;
    struct vdt_used used;
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 4);
    nic_post(&nic, 1, &seg, 1);
    cr_assert_not(nic_wait(&nic, 1, 50, &used));
    OK(DO(nic, set_status, 15 | VIRTIO_CONFIG_S_FAILED));
    OK(DO(nic, get_status, &status));
    cr_assert_eq(status, 15 | VIRTIO_CONFIG_S_FAILED | VIRTIO_CONFIG_S_NEEDS_RESET);
    nic_close(&nic);
}

Test(sim_ring, the_config_space_ends_where_it_ends)
{
    uint8_t byte;
    struct nic nic;

    nic_open(&nic, "sim:mtu=9000", NIC_SPLIT);
    NO(DO(nic, get_config, 24, &byte, 1));
    NO(DO(nic, get_config, 0xffffffff, &byte, 2));
    OK(DO(nic, get_config, 10, &byte, 1));
    cr_assert_eq(byte, 9000 & 0xff);
    NO(DO(nic, set_config, 0, &byte, 1));
    nic_close(&nic);
}
