/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rings, status, suspend and config space of a vhost-vdpa device: each place where the kernel says
 * yes and means nothing by it. */
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "device/vhost_vdpa.h"
#include "lib/fake_vhost_vdpa.h"
#include "lib/leak.h"
#include "nic.h"

VDT_SUITE(vhost_ring);

#define DO(dev, op, ...) VDT_DEVICE_CALL(dev, op, NULL, ##__VA_ARGS__)

static uint8_t frame[100], got[70000];

/* The call fails with @code and a message with @part in it. */
#define EXPECT_REFUSAL(expected, part, dev, op, ...)                                               \
    do {                                                                                           \
        g_autoptr(GError) refusal = NULL;                                                          \
        cr_assert_not(VDT_DEVICE_CALL(dev, op, &refusal, ##__VA_ARGS__), "%s", part);              \
        cr_expect_eq(refusal->code, (int) (expected), "%d: %s", refusal->code, refusal->message);  \
        cr_expect(strstr(refusal->message, part), "%s", refusal->message);                         \
    } while (0)

static void
exchange(struct nic *nic)
{
    struct vdt_used used;

    nic_frame(frame, sizeof frame, frame, 1);
    nic_send(nic, 0, frame, sizeof frame);
    cr_expect_eq(nic_receive(nic, 0, NIC_TIMEOUT_MS, got), (int) sizeof frame);
    cr_expect(nic_wait(nic, 1, NIC_TIMEOUT_MS, &used));
}

Test(vhost_ring, traffic_and_commands_go_through)
{
    static const uint64_t formats[] = {NIC_SPLIT, NIC_PACKED};

    for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++) {
        struct nic nic;

        fake_vhost_install();
        nic_run(&nic, "vhost-vdpa:sim:", formats[i], 8);
        for (unsigned n = 0; n < 8; n++)
            exchange(&nic);
        cr_expect_eq(nic_command(&nic, 0, 0, "\0", 1), VIRTIO_NET_OK);
        cr_expect_eq(fake_vhost_seen.silent, 0, "%s", fake_vhost_seen.silent_text);
        nic_close(&nic);
    }
}

Test(vhost_ring, what_runs_is_not_set_up)
{
    struct nic nic;
    struct vdt_ring_pos pos = {0};

    fake_vhost_install();
    nic_run(&nic, "vhost-vdpa:sim:", NIC_SPLIT, 0);
    EXPECT_REFUSAL(VDT_ERROR_BUSY, "is running", nic.dev, set_addr, 0, &nic.rings[0].addr);
    EXPECT_REFUSAL(VDT_ERROR_BUSY, "is running", nic.dev, set_base, 0, pos);
    EXPECT_REFUSAL(VDT_ERROR_BUSY, "is running", nic.dev, set_num, 0, 64);
    EXPECT_REFUSAL(VDT_ERROR_BUSY, "stale", nic.dev, get_base, 0, &pos);
    cr_expect_eq(fake_vhost_seen.stale, 0, "vhost would remember a value that it refuses");
    nic_close(&nic);
}

Test(vhost_ring, sizes_are_powers_of_two_for_packed_rings_too)
{
    struct nic nic;

    fake_vhost_install();
    nic_open(&nic, "vhost-vdpa:sim:num=256", NIC_PACKED);
    EXPECT_REFUSAL(VDT_ERROR_INVALID, "powers of two", nic.dev, set_num, 0, 100);
    EXPECT_REFUSAL(VDT_ERROR_INVALID, "powers of two", nic.dev, set_num, 0, 0);
    EXPECT_REFUSAL(VDT_ERROR_INVALID, "up to 256", nic.dev, set_num, 0, 512);
    EXPECT_REFUSAL(VDT_ERROR_INVALID, "3 is none", nic.dev, set_num, 3, 64);
    cr_expect(DO(nic.dev, set_num, 0, 64));
    nic_close(&nic);
}

Test(vhost_ring, positions_wait_for_the_features_that_they_are_read_by)
{
    struct vdt_ring_pos pos = {0x8001, 0x8001};
    struct nic nic;

    fake_vhost_install();
    VDT_AUTO(device) dev = vdt_device_open("vhost-vdpa:sim:", NULL);
    EXPECT_REFUSAL(VDT_ERROR_BUSY, "before the features", dev, set_base, 0, pos);
    vdt_device_close(g_steal_pointer(&dev));
    nic_open(&nic, "vhost-vdpa:sim:", NIC_PACKED);
    EXPECT_REFUSAL(VDT_ERROR_BUSY, "before its size", nic.dev, set_base, 0, pos);
    cr_expect(DO(nic.dev, set_num, 0, 64));
    cr_expect(DO(nic.dev, set_base, 0, pos));
    {
        VDT_SIM_LOCKED(fake_vhost_parent(nic.dev));
        cr_expect_eq(sim->rings[0].base.avail, 0x8001);
        cr_expect_eq(sim->rings[0].base.used, 0x8001);
    }
    nic_close(&nic);
}

Test(vhost_ring, a_driver_that_takes_the_initial_position_only_is_asked_for_no_other)
{
    struct vdt_ring_pos pos = {5, 5};
    struct nic nic;

    fake_vhost_install();
    fake_vhost.driver = "vp-vdpa";
    nic_open(&nic, "vhost-vdpa:sim:no-base", NIC_SPLIT);
    cr_expect(DO(nic.dev, set_num, 0, 64));
    fake_vhost_seen.calls[0] = 0;
    EXPECT_REFUSAL(VDT_ERROR_UNSUPPORTED, "initial position only", nic.dev, set_base, 0, pos);
    cr_expect_str_eq(fake_vhost_seen.calls, "");
    cr_expect(DO(nic.dev, set_base, 0, (struct vdt_ring_pos){0, 0}));
    nic_close(&nic);
}

Test(vhost_ring, enable_0_never_reaches_a_driver_that_takes_it_for_an_error)
{
    struct nic nic;

    fake_vhost_install();
    fake_vhost.driver = "vp-vdpa";
    nic_run(&nic, "vhost-vdpa:sim:", NIC_SPLIT, 0);
    EXPECT_REFUSAL(VDT_ERROR_UNSUPPORTED, "cannot disable", nic.dev, set_enable, 0, false);
    cr_expect_eq(fake_vhost_seen.disables, 0);
    nic_close(&nic);
    fake_vhost.driver = "vdpasim_net";
    nic_run(&nic, "vhost-vdpa:sim:", NIC_SPLIT, 0);
    cr_expect(DO(nic.dev, set_enable, 0, false));
    cr_expect_eq(fake_vhost_seen.disables, 1);
    nic_close(&nic);
}

Test(vhost_ring, a_ring_is_enabled_late_only_where_that_is_promised)
{
    struct nic nic;

    fake_vhost_install();
    fake_vhost.lacks = VDT_BIT(VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK);
    nic_run(&nic, "vhost-vdpa:sim:", NIC_SPLIT, 0);
    EXPECT_REFUSAL(VDT_ERROR_UNSUPPORTED, "after DRIVER_OK", nic.dev, set_enable, 1, true);
    nic_close(&nic);
}

Test(vhost_ring, eventfds_are_eventfds_and_go_away_again)
{
    struct nic nic;
    int pipe_ends[2];

    fake_vhost_install();
    nic_open(&nic, "vhost-vdpa:sim:", NIC_SPLIT);
    VDT_AUTO_FD event = vdt_eventfd(NULL);
    cr_assert_eq(pipe(pipe_ends), 0);
    EXPECT_REFUSAL(VDT_ERROR_INVALID, "kick eventfd of ring 0", nic.dev, set_kick, 0, pipe_ends[0]);
    EXPECT_REFUSAL(VDT_ERROR_INVALID, "call eventfd of ring 1", nic.dev, set_call, 1, pipe_ends[0]);
    EXPECT_REFUSAL(VDT_ERROR_INVALID, "config interrupt", nic.dev, set_config_call, pipe_ends[0]);
    cr_expect(DO(nic.dev, set_kick, 0, event));
    cr_expect(DO(nic.dev, set_kick, 0, -1));
    cr_expect(DO(nic.dev, set_call, 0, event));
    cr_expect(DO(nic.dev, set_call, 0, -1));
    EXPECT_REFUSAL(VDT_ERROR_INVALID, "3 is none", nic.dev, set_kick, 3, event);
    cr_expect_eq(fake_vhost_seen.silent, 0, "%s", fake_vhost_seen.silent_text);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    nic_close(&nic);
}

/* --- suspend, positions --- */

Test(vhost_ring, a_suspended_device_tells_where_it_stands_and_goes_on)
{
    struct vdt_ring_pos pos = {0};
    struct nic nic;

    fake_vhost_install();
    nic_run(&nic, "vhost-vdpa:sim:", NIC_SPLIT, 8);
    exchange(&nic);
    exchange(&nic);
    cr_assert(DO(nic.dev, suspend));
    cr_expect(DO(nic.dev, get_base, 1, &pos));
    cr_expect_eq(pos.avail, 2);
    cr_expect(DO(nic.dev, set_addr, 1, &nic.rings[1].addr), "allowed while suspended");
    cr_assert(DO(nic.dev, resume));
    exchange(&nic);
    cr_expect_eq(fake_vhost_seen.silent, 0, "%s", fake_vhost_seen.silent_text);
    nic_close(&nic);
}

Test(vhost_ring, suspend_and_resume_that_did_nothing_are_no_success)
{
    struct nic nic;

    fake_vhost_install();
    nic_open(&nic, "vhost-vdpa:sim:", NIC_SPLIT);
    EXPECT_REFUSAL(VDT_ERROR_FAILED, "without DRIVER_OK", nic.dev, suspend);
    EXPECT_REFUSAL(VDT_ERROR_FAILED, "without DRIVER_OK", nic.dev, resume);
    nic_start(&nic);
    fake_vhost.loses_driver_ok = true;
    EXPECT_REFUSAL(VDT_ERROR_FAILED, "not known", nic.dev, suspend);
    nic_close(&nic);
}

Test(vhost_ring, a_device_without_suspend_is_not_asked_to)
{
    struct nic nic;

    fake_vhost_install();
    nic_run(&nic, "vhost-vdpa:sim:no-suspend", NIC_SPLIT, 0);
    EXPECT_REFUSAL(VDT_ERROR_UNSUPPORTED, "cannot be suspended", nic.dev, suspend);
    EXPECT_REFUSAL(VDT_ERROR_UNSUPPORTED, "cannot be resumed", nic.dev, resume);
    cr_expect_null(strstr(fake_vhost_seen.calls, "SUSPEND"));
    nic_close(&nic);
}

Test(vhost_ring, addresses_stay_where_no_row_says_that_they_may_change)
{
    struct nic nic;

    fake_vhost_install();
    fake_vhost.driver = "mlx5_core";
    nic_run(&nic, "vhost-vdpa:sim:", NIC_SPLIT, 0);
    cr_assert(DO(nic.dev, suspend));
    EXPECT_REFUSAL(VDT_ERROR_UNSUPPORTED, "after DRIVER_OK", nic.dev, set_addr, 0,
                   &nic.rings[0].addr);
    nic_close(&nic);
}

Test(vhost_ring, a_position_that_is_none_is_refused)
{
    static const struct {
        uint64_t features;
        uint32_t answer;
    } rows[] = {
        {NIC_SPLIT, 0x10000},     {NIC_SPLIT, 0x80008000},  {NIC_PACKED, 0x00008000},
        {NIC_PACKED, 0x80007fff}, {NIC_PACKED, 0xffff8000}, {NIC_PACKED, 0x80000001},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct vdt_ring_pos pos = {77, 77};
        struct nic nic;

        fake_vhost_install();
        nic_run(&nic, "vhost-vdpa:sim:", rows[i].features, 0);
        cr_assert(DO(nic.dev, suspend));
        fake_vhost.base_answer = rows[i].answer;
        bool refused = !DO(nic.dev, get_base, 0, &pos);
        /* 0x00008000: a full ring ahead, num slots: a position like any other. */
        cr_expect_eq(refused, rows[i].answer != 0x8000, "0x%x", rows[i].answer);
        nic_close(&nic);
    }
}

/* --- status --- */

Test(vhost_ring, status_bits_are_dropped_by_a_reset_only)
{
    struct nic nic;

    fake_vhost_install();
    nic_open(&nic, "vhost-vdpa:sim:", NIC_SPLIT);
    EXPECT_REFUSAL(VDT_ERROR_INVALID, "only a reset", nic.dev, set_status, 3);
    EXPECT_REFUSAL(VDT_ERROR_BUSY, "after FEATURES_OK", nic.dev, set_features, nic.features);
    cr_expect(DO(nic.dev, set_status, 0));
    cr_expect(DO(nic.dev, set_status, 1));
    nic_close(&nic);
}

Test(vhost_ring, a_device_that_was_reset_behind_our_back_is_noticed)
{
    struct nic nic;

    fake_vhost_install();
    nic_open(&nic, "vhost-vdpa:sim:", NIC_SPLIT);
    struct vdt_device *parent = fake_vhost_parent(nic.dev);
    parent->ops->set_status(parent, 0, NULL);
    EXPECT_REFUSAL(VDT_ERROR_FAILED, "somebody else reset it", nic.dev, set_status, 15);
    cr_expect(DO(nic.dev, set_status, 0), "and may begin anew");
    nic_close(&nic);
}

Test(vhost_ring, a_parent_that_does_not_start_is_noticed)
{
    struct nic nic;

    fake_vhost_install();
    nic_open(&nic, "vhost-vdpa:sim:", NIC_SPLIT);
    nic_add_ring(&nic, 0);
    cr_assert(DO(nic.dev, set_enable, 0, true));
    cr_assert(DO(nic.dev, unmap, 0, NIC_IOVA, NIC_MEMORY));
    EXPECT_REFUSAL(VDT_ERROR_FAILED, "gave up", nic.dev, set_status, 15);
    nic_close(&nic);
}

Test(vhost_ring, features_are_named_when_they_are_refused)
{
    fake_vhost_install();
    VDT_AUTO(device) dev = vdt_device_open("vhost-vdpa:sim:", NULL);

    cr_assert(DO(dev, set_status, 1) && DO(dev, set_status, 3));
    EXPECT_REFUSAL(VDT_ERROR_INVALID, "does not offer", dev, set_features, VDT_BIT(62));
    EXPECT_REFUSAL(VDT_ERROR_REFUSED, "CTRL_RX", dev, set_features,
                   VDT_BIT(VIRTIO_F_VERSION_1) | VDT_BIT(VIRTIO_F_ACCESS_PLATFORM) |
                       VDT_BIT(VIRTIO_NET_F_CTRL_RX));
}

/* --- config space --- */

Test(vhost_ring, config_space_is_read_until_it_holds_still)
{
    uint8_t mac[6], beyond[32];
    struct nic nic;

    fake_vhost_install();
    nic_open(&nic, "vhost-vdpa:sim:mac=52:54:00:00:00:07", NIC_SPLIT);
    cr_expect(DO(nic.dev, get_config, 0, mac, 6));
    cr_expect_eq(mac[5], 7);
    EXPECT_REFUSAL(VDT_ERROR_INVALID, "lie outside", nic.dev, get_config, 0, beyond, 32);
    EXPECT_REFUSAL(VDT_ERROR_INVALID, "lie outside", nic.dev, get_config, 24, beyond, 1);
    EXPECT_REFUSAL(VDT_ERROR_INVALID, "lie outside", nic.dev, get_config, UINT32_MAX, beyond, 2);
    EXPECT_REFUSAL(VDT_ERROR_INVALID, "lie outside", nic.dev, get_config, 0, beyond, 0);
    EXPECT_REFUSAL(VDT_ERROR_INVALID, "lie outside", nic.dev, set_config, 23, beyond, 2);
    fake_vhost.torn_config = true;
    EXPECT_REFUSAL(VDT_ERROR_BUSY, "during each of 8 reads", nic.dev, get_config, 0, mac, 6);
    nic_close(&nic);
}

Test(vhost_ring, the_config_interrupt_arrives)
{
    struct nic nic;

    fake_vhost_install();
    nic_open(&nic, "vhost-vdpa:sim:", NIC_SPLIT);
    VDT_AUTO_FD event = vdt_eventfd(NULL);
    cr_assert(DO(nic.dev, set_config_call, event));
    nic_start(&nic);
    vdt_sim_set_link(fake_vhost_parent(nic.dev), false);
    cr_expect(vdt_event_drain(event));
    cr_assert(DO(nic.dev, set_config_call, -1));
    vdt_sim_set_link(fake_vhost_parent(nic.dev), true);
    cr_expect_not(vdt_event_drain(event));
    nic_close(&nic);
}
