/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a frontend may change while rings are frozen or run, and what has to follow from it. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/fd.h"
#include "lib/leak.h"
#include "lib/shadow_rig.h"
#include "virtio/features.h"

VDT_SUITE(shadow_change);

#define PACKED VDT_BIT(VIRTIO_F_RING_PACKED)
#define EVENT VDT_BIT(VIRTIO_RING_F_EVENT_IDX)

#define OK(call)                                                                                   \
    do {                                                                                           \
        g_autoptr(GError) error = NULL;                                                            \
        cr_assert(call, "%s", error ? error->message : "failed without a message");                \
    } while (0)

static void
begin(struct rig *rig, const char *spec, enum vdt_shadow_policy policy, uint64_t features)
{
    struct vdt_shadow_options options = rig_options(policy);

    rig_init(rig, spec, &options, features);
    rig_start(rig);
    rig_traffic(rig, 100);
}

static void
settle(struct rig *rig, const char *when)
{
    cr_expect(rig_settle(rig, 3000), "%s: sent %u, done %u, received %u (%s)", when, rig->next_send,
              rig->sent_done, rig->received, vdt_shadow_mode_reason(rig->shadow));
    cr_expect_eq(rig->duplicated + rig->corrupt + rig->broken, 0, "%s: %u doubled, %u corrupt",
                 when, rig->duplicated, rig->corrupt);
}

static void
end(struct rig *rig)
{
    rig_clear(rig);
    vdt_test_check_leaks();
}

Test(shadow_change, maps_that_a_reset_drops_are_made_again)
{
    uint32_t base[2];
    struct rig rig;

    begin(&rig, "reset-drops", VDT_SHADOW_ALWAYS, EVENT);
    settle(&rig, "first start");
    rig_stop(&rig, base);
    rig_set_rings(&rig, base);
    rig_traffic(&rig, 100);
    settle(&rig, "second start");
    end(&rig);
}

static void
run_loop(struct rig *rig, unsigned ms)
{
    int64_t end = g_get_monotonic_time() + (int64_t) ms * 1000;

    while (g_get_monotonic_time() < end) {
        while (g_main_context_iteration(rig->context, FALSE))
            ;
        g_usleep(1000);
    }
}

Test(shadow_change, rings_stopped_one_by_one_do_not_start_the_device_in_between)
{
    uint32_t base;
    struct rig rig;

    begin(&rig, "", VDT_SHADOW_ALWAYS, EVENT);
    settle(&rig, "before");
    unsigned restores = rig.restores;
    OK(vdt_shadow_get_base(rig.shadow, 0, &base, &error));
    run_loop(&rig, 15);
    cr_expect_eq(vdt_shadow_mode(rig.shadow), VDT_MODE_FROZEN, "for the next one");
    OK(vdt_shadow_get_base(rig.shadow, 1, &base, &error));
    run_loop(&rig, 150);
    cr_expect_eq(vdt_shadow_mode(rig.shadow), VDT_MODE_STOPPED);
    cr_expect_eq(rig.restores, restores, "%u starts", rig.restores - restores);
    end(&rig);
}

Test(shadow_change, the_other_rings_go_on_when_only_one_is_stopped)
{
    uint32_t base;
    struct rig rig;

    begin(&rig, "", VDT_SHADOW_ALWAYS, EVENT);
    settle(&rig, "before");
    OK(vdt_shadow_get_base(rig.shadow, 0, &base, &error));
    run_loop(&rig, 300);
    cr_expect_eq(vdt_shadow_mode(rig.shadow), VDT_MODE_SHADOW);
    rig_send(&rig, 10);
    for (unsigned i = 0; i < 300 && rig.sent_done < rig.next_send; i++) {
        rig_poll(&rig);
        g_usleep(1000);
    }
    cr_expect_eq(rig.sent_done, rig.next_send, "the transmit ring still works");
    end(&rig);
}

Test(shadow_change, a_device_that_looks_only_when_kicked_is_kicked_at_a_later_base)
{
    uint32_t base[2];
    struct rig rig;

    begin(&rig, "kick-only", VDT_SHADOW_ALWAYS, EVENT);
    settle(&rig, "first start");
    rig_stop(&rig, base);
    rig_set_rings(&rig, base);
    rig_traffic(&rig, 1);
    settle(&rig, "second start");
    end(&rig);
}

Test(shadow_change, rings_that_moved_between_stop_and_start_are_followed)
{
    uint32_t base[2], zero[2] = {0, 0};
    struct rig rig;

    begin(&rig, "", VDT_SHADOW_ALWAYS, EVENT);
    rig_stop(&rig, base);
    rig_reboot(&rig, 0x40000);
    rig_set_rings(&rig, zero);
    rig_traffic(&rig, 100);
    settle(&rig, "after the move");
    end(&rig);
}

static const uint64_t more_gpa = 0x40000000;

static struct vdt_guest_map *
with_more(struct rig *rig, int fd)
{
    struct vdt_region_spec spec = {
        .gpa = more_gpa, .size = 1 << 20, .frontend = 0x7f5500000000, .fd = fd};
    g_autoptr(GError) error = NULL;
    struct vdt_guest_map *more = vdt_guest_map_with(rig->map, &spec, &error);

    cr_assert(more, "%s", error ? error->message : "");
    return more;
}

/* A transmit request whose buffer lies at @gpa; counted as one of the rig's frames. */
static void
send_from(struct rig *rig, uint64_t gpa)
{
    struct vdt_seg seg = {.len = 64};
    struct vdt_chain chain = {
        .seg = &seg, .capacity = 1, .count = 1, .direct = 1, .slots = 1, .readable = 64};
    uint16_t id;

    cr_assert(vdt_device_ring_lay(&rig->ring[1], &chain, &id));
    seg.addr = gpa;
    vdt_device_ring_post(&rig->ring[1], &chain, id, 0, 0);
    rig->next_send++;
    rig->received++;
    vdt_device_ring_publish(&rig->ring[1]);
    vdt_event_signal(rig->kick[1]);
}

Test(shadow_change, memory_that_came_while_frozen_is_there_after_thaw)
{
    VDT_AUTO_FD fd = vdt_memfd("more", 1 << 20, NULL);
    struct rig rig;

    begin(&rig, "null", VDT_SHADOW_ALWAYS, EVENT);
    rig.received = rig.next_send;
    VDT_AUTO(guest_map) more = with_more(&rig, fd);
    OK(vdt_shadow_freeze(rig.shadow, &error));
    OK(vdt_shadow_set_memory(rig.shadow, more, &error));
    OK(vdt_shadow_thaw(rig.shadow, &error));
    send_from(&rig, more_gpa);
    settle(&rig, "a buffer in new memory");
    end(&rig);
}

Test(shadow_change, our_own_area_makes_room_for_a_plugged_region)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_ALWAYS);
    VDT_AUTO_FD fd = vdt_memfd("more", 1 << 20, NULL);
    struct rig rig;

    /* The region takes the whole top of the device's range, where our area lies. */
    rig_init(&rig, "iova=0-0x400fffff", &options, EVENT);
    rig_start(&rig);
    rig_traffic(&rig, 100);
    settle(&rig, "with little memory");
    VDT_AUTO(guest_map) more = with_more(&rig, fd);
    OK(vdt_shadow_set_memory(rig.shadow, more, &error));
    rig_traffic(&rig, 100);
    settle(&rig, "with more memory");
    rig_clear(&rig);
    vdt_test_check_leaks();
}

Test(shadow_change, a_kick_that_the_worker_took_is_passed_on_to_a_device_that_takes_over)
{
    struct rig rig;

    begin(&rig, "kick-only", VDT_SHADOW_AUTO, EVENT);
    rig_log_start(&rig);
    settle(&rig, "in shadow");
    OK(vdt_shadow_freeze(rig.shadow, &error));
    rig_send(&rig, 4);
    vdt_event_drain(rig.kick[1]);
    OK(vdt_shadow_set_features(rig.shadow, rig.features, false, &error));
    cr_assert_eq(vdt_shadow_mode(rig.shadow), VDT_MODE_PASSTHROUGH);
    settle(&rig, "passed through");
    end(&rig);
}

Test(shadow_change, another_call_descriptor_does_not_restart_a_passed_through_device)
{
    struct rig rig;
    int call;

    begin(&rig, "", VDT_SHADOW_AUTO, 0);
    call = vdt_eventfd(NULL);
    OK(vdt_shadow_set_call(rig.shadow, 1, dup(call), &error));
    vdt_device_ring_calls_on(&rig.ring[1]);
    rig_traffic(&rig, 10);
    settle(&rig, "new call descriptor");
    cr_expect_eq(rig.restores, 1, "the device was started %u times", rig.restores);
    cr_expect(vdt_event_drain(call), "the new descriptor was never signalled");
    vdt_close(call);
    end(&rig);
}

Test(shadow_change, a_broken_ring_works_again_after_the_guest_set_it_up_anew)
{
    uint32_t base[2], zero[2] = {0, 0};
    struct rig rig;

    begin(&rig, "", VDT_SHADOW_ALWAYS, 0);
    send_from(&rig, 0x10);
    for (unsigned i = 0; i < 500 && rig.broken == 0; i++) {
        g_main_context_iteration(rig.context, FALSE);
        g_usleep(1000);
    }
    cr_assert_eq(rig.broken, 1);
    rig_stop(&rig, base);
    rig.broken = 0;
    rig_reboot(&rig, 0x40000);
    rig_set_rings(&rig, zero);
    rig_traffic(&rig, 100);
    settle(&rig, "second life");
    end(&rig);
}

Test(shadow_change, a_device_that_lied_is_known_as_soon_as_it_is_frozen)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_ALWAYS);
    struct rig rig;

    rig_init(&rig, "used-id-lies", &options, 0);
    rig_start(&rig);
    rig_send(&rig, 4);
    g_usleep(100000); /* the data thread breaks the ring; the main loop does not run */
    OK(vdt_shadow_freeze(rig.shadow, &error));
    cr_expect_not_null(vdt_shadow_unmigratable(rig.shadow));
    rig_clear(&rig);
}

Test(shadow_change, a_list_that_does_not_go_with_its_position_is_refused)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_ALWAYS);
    struct vdt_shadow_request requests[] = {{.id = 1, .slots = 1}, {.id = 2, .slots = 1}};
    struct rig rig;

    rig_init(&rig, "", &options, 0);
    OK(vdt_shadow_set_features(rig.shadow, rig.features, false, &error));
    OK(vdt_shadow_set_memory(rig.shadow, rig.map, &error));
    OK(vdt_shadow_load_ring(rig.shadow, 1, (struct vdt_ring_pos){0, 0}, requests, 2, &error));
    OK(vdt_shadow_set_num(rig.shadow, 1, RIG_NUM, &error));
    OK(vdt_shadow_set_base(rig.shadow, 1, 0, &error));
    uint64_t at = RIG_FRONTEND + rig.rings_at;
    OK(vdt_shadow_set_addr(rig.shadow, 1, at, at + 0x4000, at + 0x8000, &error));
    OK(vdt_shadow_set_kick(rig.shadow, 1, dup(rig.kick[1]), &error));
    OK(vdt_shadow_set_enable(rig.shadow, 1, true, &error));
    g_autoptr(GError) error = NULL;
    cr_expect_not(vdt_shadow_update(rig.shadow, &error));
    cr_expect_not_null(error);
    rig_clear(&rig);
}

/* What the in-flight area needs, should this tracker crash: the ring holds only the table. */
Test(shadow_change, a_request_keeps_the_place_of_its_table_from_device_to_device)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_ALWAYS);
    const struct vdt_seg segs[] = {
        {.addr = RIG_GPA + 0x300000, .len = 12, .flags = VDT_SEG_NEXT},
        {.addr = RIG_GPA + 0x300100, .len = 60},
    };
    const struct vdt_shadow_request request = {.id = 5,
                                               .slots = 1,
                                               .seg_count = 2,
                                               .segs = segs,
                                               .table_addr = RIG_GPA + 0x200000,
                                               .table_len = 32};
    const struct vdt_ring_format format = {.kind = VDT_RING_PACKED, .num = RIG_NUM};
    struct vdt_ring_pos pos = {.avail = 0x8001, .used = 0x8000};
    struct vdt_shadow_ring_view view = {0};
    struct rig rig;

    rig_init(&rig, "latency=2000000", &options,
             VDT_BIT(VIRTIO_F_RING_PACKED) | VDT_BIT(VIRTIO_RING_F_INDIRECT_DESC));
    OK(vdt_shadow_set_features(rig.shadow, rig.features, false, &error));
    OK(vdt_shadow_set_memory(rig.shadow, rig.map, &error));
    OK(vdt_shadow_load_ring(rig.shadow, 1, pos, &request, 1, &error));
    OK(vdt_shadow_set_num(rig.shadow, 1, RIG_NUM, &error));
    OK(vdt_shadow_set_base(rig.shadow, 1, vdt_ring_pos_to_base(&format, pos), &error));
    uint64_t at = RIG_FRONTEND + rig.rings_at;
    OK(vdt_shadow_set_addr(rig.shadow, 1, at, at + 0x4000, at + 0x8000, &error));
    OK(vdt_shadow_set_kick(rig.shadow, 1, dup(rig.kick[1]), &error));
    OK(vdt_shadow_set_enable(rig.shadow, 1, true, &error));
    OK(vdt_shadow_update(rig.shadow, &error));
    OK(vdt_shadow_freeze(rig.shadow, &error));
    vdt_shadow_view_ring(rig.shadow, 1, &view);
    cr_expect_eq(view.request_count, 1);
    cr_expect_eq(view.requests[0].table_addr, request.table_addr);
    cr_expect_eq(view.requests[0].table_len, 32);
    g_free(view.requests);
    rig_clear(&rig);
}

Test(shadow_change, a_device_that_lacks_what_the_guest_uses_does_not_take_the_place)
{
    static const char *const lesser[] = {"sim:no-event-idx", "sim:num=32",
                                         "sim:pairs=1,-INDIRECT_DESC"};
    struct rig rig;

    begin(&rig, "", VDT_SHADOW_ALWAYS, EVENT | VDT_BIT(VIRTIO_RING_F_INDIRECT_DESC));
    OK(vdt_shadow_freeze(rig.shadow, &error));
    for (unsigned i = 0; i < G_N_ELEMENTS(lesser); i++) {
        g_autoptr(GError) error = NULL;
        struct vdt_device *old = NULL, *dev = vdt_device_open(lesser[i], &error);
        cr_assert(dev, "%s", error ? error->message : "");
        cr_expect_not(vdt_shadow_exchange(rig.shadow, dev, &old, &error), "%s was taken",
                      lesser[i]);
        cr_expect_not_null(error);
        cr_expect_null(old);
        if (!old)
            vdt_device_close(dev);
    }
    OK(vdt_shadow_thaw(rig.shadow, &error));
    rig_traffic(&rig, 100);
    settle(&rig, "with the first device");
    cr_expect_eq(rig.restores, 1, "nothing had changed");
    end(&rig);
}

Test(shadow_change, a_first_frame_that_is_not_sent_in_time_is_left_out)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_ALWAYS);
    uint8_t frame[60] = {0};
    struct rig rig;

    rig_init(&rig, "latency=150000", &options, EVENT);
    vdt_shadow_send_first(rig.shadow, frame, sizeof(frame));
    rig_start(&rig);
    rig_poll(&rig);
    rig_send(&rig, 8);
    settle(&rig, "without it");
    cr_expect_null(vdt_shadow_unmigratable(rig.shadow));
    end(&rig);
}

Test(shadow_change, logging_that_is_refused_is_not_on)
{
    VDT_AUTO_FD fd = vdt_memfd("log", 4096, NULL);
    struct rig rig;

    begin(&rig, "ooo,hold=8", VDT_SHADOW_AUTO, EVENT);
    cr_assert_eq(vdt_shadow_mode(rig.shadow), VDT_MODE_PASSTHROUGH);
    OK(vdt_shadow_set_log(rig.shadow, dup(fd), 0, 4096, &error));
    g_autoptr(GError) error = NULL;
    cr_assert_not(vdt_shadow_set_features(rig.shadow, rig.features, true, &error));
    cr_expect_not(vdt_shadow_logging(rig.shadow));
    end(&rig);
}

Test(shadow_change, a_guest_that_runs_ahead_does_not_hide_that_completions_came_in_order)
{
    VDT_AUTO_FD fd = vdt_memfd("log", 4096, NULL);
    struct rig rig;
    int kick;

    begin(&rig, "kick-only,latency=50000,null", VDT_SHADOW_AUTO, 0);
    rig.received = rig.next_send;
    while (rig.sent_done < rig.next_send) {
        rig_poll(&rig);
        rig.received = rig.next_send;
        g_usleep(1000);
    }
    cr_assert_eq(vdt_shadow_mode(rig.shadow), VDT_MODE_PASSTHROUGH);
    rig_send(&rig, 20);
    g_usleep(10000);
    kick = rig.kick[1];
    rig.kick[1] = -1; /* these the device does not see */
    rig_send(&rig, 30);
    rig.kick[1] = kick;
    OK(vdt_shadow_set_log(rig.shadow, dup(fd), 0, 4096, &error));
    OK(vdt_shadow_set_features(rig.shadow, rig.features, true, &error));
    rig.received = rig.next_send;
    settle(&rig, "in shadow");
    rig_clear(&rig);
}
