/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "base/fd.h"
#include "lib/leak.h"
#include "nic.h"

VDT_SUITE(sim_knobs);

#define DO(nic, op, ...) (nic).dev->ops->op((nic).dev, ##__VA_ARGS__, NULL)

static uint8_t frame[256], got[70000];

static void
send_frames(struct nic *nic, unsigned count)
{
    nic_frame(frame, 100, frame, 1);
    for (unsigned i = 0; i < count; i++)
        nic_send(nic, 0, frame, 100);
}

static unsigned
reap(struct nic *nic, uint32_t ring, uint16_t *ids, unsigned max, int timeout_ms)
{
    struct vdt_used used;
    unsigned count = 0;

    while (count < max && nic_wait(nic, ring, timeout_ms, &used))
        ids[count++] = used.id;
    return count;
}

static void
holds(uint64_t mask)
{
    struct vdt_ring_pos pos;
    uint16_t ids[32];
    struct nic nic;

    nic_run(&nic, "sim:null,hold=3", mask, 0);
    send_frames(&nic, 8);
    cr_assert_eq(reap(&nic, 1, ids, 8, 100), 5);
    cr_assert_eq(nic_counter(&nic, 1, "in_flight"), 3);
    cr_assert_eq(nic_counter(&nic, -1, "frames_sent"), 5, "what is in flight was not sent");
    cr_assert(DO(nic, suspend));
    cr_assert(DO(nic, get_base, 1, &pos));
    if (mask == NIC_SPLIT)
        cr_assert_eq(pos.avail, 8);
    else
        cr_assert(pos.avail == (0x8000 | 16) && pos.used == (0x8000 | 10));
    cr_assert(DO(nic, resume));
    send_frames(&nic, 2);
    cr_assert_eq(reap(&nic, 1, ids, 8, 100), 2);
    nic_close(&nic);
}

Test(sim_knobs, hold_keeps_requests_in_flight_on_split_rings)
{
    holds(NIC_SPLIT);
}

Test(sim_knobs, hold_keeps_requests_in_flight_on_packed_rings)
{
    holds(NIC_PACKED);
}

Test(sim_knobs, hold_fetches_receive_buffers_ahead)
{
    struct nic nic;

    nic_run(&nic, "sim:hold=4", NIC_SPLIT, 16);
    send_frames(&nic, 5);
    cr_assert_eq(nic_receive(&nic, 0, NIC_TIMEOUT_MS, got), 100);
    cr_assert(DO(nic, suspend));
    cr_assert_geq(nic_counter(&nic, 0, "in_flight"), 3);
    cr_assert_eq(nic_counter(&nic, 0, "avail") - nic_counter(&nic, 0, "used"),
                 nic_counter(&nic, 0, "in_flight"));
    nic_close(&nic);
}

Test(sim_knobs, requests_in_flight_survive_a_move_of_the_ring)
{
    struct vdt_ring_pos pos;
    uint16_t ids[8];
    struct nic nic;

    nic_run(&nic, "sim:null,hold=3", NIC_SPLIT, 0);
    send_frames(&nic, 3);
    for (unsigned ms = 0; ms < NIC_TIMEOUT_MS && nic_counter(&nic, 1, "in_flight") < 3; ms++)
        g_usleep(1000);
    cr_assert(DO(nic, suspend));
    cr_assert_eq(reap(&nic, 1, ids, 3, 0), 0);
    cr_assert(DO(nic, get_base, 1, &pos));
    nic_tell_ring(&nic, 1, pos);
    cr_assert(DO(nic, set_enable, 1, false));
    cr_assert(DO(nic, set_enable, 1, true));
    cr_assert_eq(nic_counter(&nic, 1, "in_flight"), 3);
    cr_assert(DO(nic, resume));
    send_frames(&nic, 3);
    cr_assert_eq(reap(&nic, 1, ids, 3, NIC_TIMEOUT_MS), 3);
    nic_close(&nic);
}

static void
out_of_order(uint64_t mask)
{
    uint16_t posted[48], ids[48];
    bool shuffled = false;
    unsigned found = 0;
    struct nic nic;

    nic_run(&nic, "sim:null,ooo,hold=8", mask, 0);
    nic_frame(frame, 100, frame, 1);
    for (unsigned i = 0; i < 30; i++)
        posted[i] = nic_send(&nic, 0, frame, 100);
    cr_assert_eq(reap(&nic, 1, ids, 22, NIC_TIMEOUT_MS), 22);
    for (unsigned i = 0; i < 22; i++) {
        shuffled |= ids[i] != posted[i];
        for (unsigned k = 0; k < 30; k++)
            found += posted[k] == ids[i];
    }
    cr_assert(shuffled);
    cr_assert_eq(found, 22, "each id was posted, none came twice");
    nic_close(&nic);
}

Test(sim_knobs, ooo_completes_out_of_order_on_split_rings)
{
    out_of_order(NIC_SPLIT);
}

Test(sim_knobs, ooo_completes_out_of_order_on_packed_rings)
{
    out_of_order(NIC_PACKED);
}

Test(sim_knobs, latency_delays_a_completion)
{
    gint64 start = g_get_monotonic_time();
    struct vdt_used used;
    struct nic nic;

    nic_run(&nic, "sim:null,latency=30000", NIC_SPLIT, 0);
    send_frames(&nic, 1);
    cr_assert(nic_wait(&nic, 1, NIC_TIMEOUT_MS, &used));
    cr_assert_geq(g_get_monotonic_time() - start, 30000);
    nic_close(&nic);
}

Test(sim_knobs, kick_only_waits_for_the_kick)
{
    struct vdt_seg seg;
    struct vdt_used used;
    struct nic nic;
    int kick;

    nic_run(&nic, "sim:null,kick-only", NIC_SPLIT, 0);
    kick = nic.rings[1].kick;
    nic.rings[1].kick = nic.rings[0].kick; /* goes to another ring */
    seg = (struct vdt_seg){nic_iova(nic_alloc(&nic, 128)), 128, 0, 0};
    nic_post(&nic, 1, &seg, 1);
    cr_assert_not(nic_wait(&nic, 1, 50, &used));
    nic.rings[1].kick = kick;
    vdt_event_signal(kick);
    cr_assert(nic_wait(&nic, 1, NIC_TIMEOUT_MS, &used));
    nic_close(&nic);
}

Test(sim_knobs, nak_refuses_one_command)
{
    struct nic nic;

    nic_run(&nic, "sim:nak=2", NIC_SPLIT, 0);
    cr_assert_eq(nic_command(&nic, 0, 0, "\0", 1), VIRTIO_NET_OK);
    cr_assert_eq(nic_command(&nic, 0, 0, "\1", 1), VIRTIO_NET_ERR);
    cr_assert_eq(nic_command(&nic, 0, 0, "\1", 1), VIRTIO_NET_OK);
    nic_close(&nic);
}

Test(sim_knobs, nak_class_refuses_one_kind_of_command)
{
    struct nic nic;

    nic_run(&nic, "sim:nak-class=2.0", NIC_SPLIT, 0);
    cr_assert_eq(nic_command(&nic, 2, 0, "\1\0", 2), VIRTIO_NET_ERR);
    cr_assert_eq(nic_command(&nic, 2, 1, "\1\0", 2), VIRTIO_NET_OK);
    nic_close(&nic);
}

Test(sim_knobs, forget_class_answers_ok_and_does_nothing)
{
    g_autofree struct vdt_net_state *state = g_new0(struct vdt_net_state, 1);
    struct nic nic;

    nic_run(&nic, "sim:forget-class=2.0", NIC_SPLIT, 0);
    cr_assert_eq(nic_command(&nic, 2, 0, "\1\0", 2), VIRTIO_NET_OK);
    cr_assert_eq(nic_command(&nic, 0, 0, "\1", 1), VIRTIO_NET_OK);
    cr_assert(nic.dev->ops->read_net_state(nic.dev, state, NULL));
    cr_expect_not(state->set & VDT_NET_VLAN);
    cr_expect(state->rx[0]);
    nic_close(&nic);
}

Test(sim_knobs, a_silent_control_queue_never_answers)
{
    struct vdt_seg segs[2];
    struct vdt_used used;
    struct nic nic;

    nic_run(&nic, "sim:cvq-silent", NIC_SPLIT, 0);
    segs[0] = (struct vdt_seg){NIC_IOVA, 3, 0, 0};
    segs[1] = (struct vdt_seg){NIC_IOVA + 64, 1, VDT_SEG_WRITE, 0};
    nic_post(&nic, nic.cvq, segs, 2);
    cr_assert_not(nic_wait(&nic, nic.cvq, 50, &used));
    nic_close(&nic);
}

Test(sim_knobs, a_stale_ack_is_what_was_there_before)
{
    struct nic nic;

    nic_run(&nic, "sim:cvq-stale-ack", NIC_SPLIT, 0);
    cr_assert_eq(nic_command(&nic, 0, 0, "\0", 1), NIC_SILENT);
    cr_assert_eq(nic_counter(&nic, -1, "commands"), 1);
    nic_close(&nic);
}

static void
breaks(const char *spec, uint64_t mask, unsigned sent)
{
    struct vdt_used used;
    struct nic nic;

    nic_run(&nic, spec, mask, 0);
    send_frames(&nic, sent);
    while (nic_wait(&nic, 1, 200, &used))
        ;
    cr_assert_neq(nic.rings[1].ring.fault, VDT_FAULT_NONE, "%s", spec);
    nic_close(&nic);
}

Test(sim_knobs, lies_in_used_entries_break_an_honest_driver)
{
    breaks("sim:null,used-len-lies", NIC_SPLIT, 1);
    breaks("sim:null,used-id-lies", NIC_SPLIT, 1);
    breaks("sim:null,used-twice", NIC_SPLIT, 1);
    breaks("sim:null,used-len-lies", NIC_PACKED, 1);
    breaks("sim:null,used-id-lies", NIC_PACKED, 1);
}

Test(sim_knobs, dma_goes_on_after_a_suspend)
{
    struct vdt_used used;
    struct nic nic;

    nic_run(&nic, "sim:null,dma-after-suspend", NIC_SPLIT, 0);
    cr_assert(DO(nic, suspend));
    send_frames(&nic, 1);
    cr_assert(nic_wait(&nic, 1, NIC_TIMEOUT_MS, &used));
    nic_close(&nic);
}

Test(sim_knobs, offered_features_change)
{
    VDT_AUTO(device) dev = vdt_device_open("sim:features-change", NULL);

    cr_assert_not(dev->ops->set_features(dev, dev->info.features, NULL));
}

Test(sim_knobs, the_config_space_is_garbage)
{
    VDT_AUTO(device) dev = vdt_device_open("sim:config-garbage", NULL);
    uint16_t pairs = 0;

    cr_assert(dev->ops->get_config(dev, 8, &pairs, 2, NULL));
    cr_assert_eq(pairs, 0xffff);
}

Test(sim_knobs, a_poor_parent_cannot_suspend)
{
    struct vdt_ring_pos pos;
    struct nic nic;

    nic_run(&nic, "sim:no-suspend", NIC_SPLIT, 0);
    cr_assert_not(nic.dev->info.suspend || nic.dev->info.resume || nic.dev->info.ring_state);
    cr_assert_not(DO(nic, suspend));
    cr_assert_not(DO(nic, resume));
    cr_assert_not(DO(nic, get_base, 0, &pos));
    nic_close(&nic);
}

Test(sim_knobs, what_suspends_may_not_resume)
{
    struct nic nic;

    nic_run(&nic, "sim:no-resume", NIC_SPLIT, 0);
    cr_assert(DO(nic, suspend));
    cr_assert_not(DO(nic, resume));
    nic_close(&nic);
}

static void
refetches(uint64_t mask)
{
    struct vdt_ring_pos pos;
    uint16_t ids[16];
    struct nic nic;

    nic_run(&nic, "sim:null,hold=3,refetch", mask, 0);
    send_frames(&nic, 8);
    cr_assert_eq(reap(&nic, 1, ids, 8, 100), 5);
    cr_assert(DO(nic, suspend));
    cr_assert(DO(nic, get_base, 1, &pos));
    cr_assert_eq(pos.avail, mask == NIC_SPLIT ? 5 : (0x8000 | 10));
    cr_assert_eq(pos.used, pos.avail);
    cr_assert_eq(nic_counter(&nic, 1, "in_flight"), 0);
    cr_assert(DO(nic, resume));
    send_frames(&nic, 3);
    cr_assert_eq(reap(&nic, 1, ids, 8, 100), 3);
    cr_assert_eq(nic_counter(&nic, -1, "frames_sent"), 8);
    nic_close(&nic);
}

Test(sim_knobs, refetch_gives_up_what_is_in_flight)
{
    refetches(NIC_SPLIT);
    refetches(NIC_PACKED);
}

Test(sim_knobs, announce_asks_at_each_start)
{
    uint16_t status = 0;
    struct nic nic;

    nic_run(&nic, "sim:announce", NIC_SPLIT, 0);
    cr_assert(DO(nic, get_config, 6, &status, 2));
    cr_assert(status & VIRTIO_NET_S_ANNOUNCE);
    nic_close(&nic);
}

Test(sim_knobs, no_base_starts_at_the_beginning_only)
{
    struct nic nic;

    nic_open(&nic, "sim:no-base", NIC_SPLIT);
    cr_assert(DO(nic, set_num, 0, 64));
    cr_assert_not(DO(nic, set_base, 0, ((struct vdt_ring_pos){5, 5})));
    cr_assert(DO(nic, set_base, 0, ((struct vdt_ring_pos){0, 0})));
    nic_close(&nic);
}

Test(sim_knobs, rings_cannot_be_enabled_or_disabled_late)
{
    struct nic nic;

    nic_open(&nic, "sim:no-enable-after-driver-ok,no-disable", NIC_SPLIT);
    nic_add_ring(&nic, 0);
    cr_assert(DO(nic, set_status, 15));
    cr_assert_not(DO(nic, set_enable, 0, true));
    cr_assert_not(DO(nic, set_enable, 0, false));
    nic_close(&nic);
}

Test(sim_knobs, one_address_space_for_all)
{
    uint32_t group = 9;
    struct nic nic;

    nic_open(&nic, "sim:no-asid", NIC_SPLIT);
    cr_assert_eq(nic.dev->info.asids, 1);
    cr_assert(DO(nic, get_group, 2, &group));
    cr_assert_eq(group, 0);
    cr_assert_not(DO(nic, set_group_asid, 0, 0));
    nic_start(&nic);
    cr_assert_eq(nic_command(&nic, 0, 0, "\0", 1), VIRTIO_NET_OK);
    nic_close(&nic);
}

Test(sim_knobs, a_reset_may_drop_the_mappings)
{
    struct nic nic;

    nic_open(&nic, "sim:reset-drops", NIC_SPLIT);
    cr_assert_not(nic.dev->info.maps_survive_reset);
    cr_assert(DO(nic, set_status, 0));
    cr_assert(DO(nic, map, 0, NIC_IOVA, NIC_MEMORY, nic.memory, true));
    nic_close(&nic);
}

Test(sim_knobs, a_sticky_mac_address_survives_a_reset)
{
    uint8_t mac[6];
    struct nic nic;

    nic_run(&nic, "sim:mac-sticky", NIC_SPLIT, 0);
    nic_command(&nic, 1, 1, "\2\3\4\5\6\7", 6);
    cr_assert(DO(nic, set_status, 0));
    cr_assert(DO(nic, get_config, 0, mac, 6));
    cr_assert_eq(memcmp(mac, "\2\3\4\5\6\7", 6), 0);
    nic_close(&nic);
}
