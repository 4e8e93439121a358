/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A guest's two rings through the shadow device onto sim:, whole life. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "base/fd.h"
#include "device/sim.h"
#include "lib/leak.h"
#include "lib/shadow_rig.h"
#include "virtio/net_ctrl.h"

VDT_SUITE(shadow);

#define PACKED VDT_BIT(VIRTIO_F_RING_PACKED)
#define EVENT VDT_BIT(VIRTIO_RING_F_EVENT_IDX)
#define ORDER VDT_BIT(VIRTIO_F_IN_ORDER)

struct way {
    char name[48]; /* by value: Criterion hands parameters to another process */
    char spec[64];
    enum vdt_shadow_policy policy;
    uint64_t features;
};

static struct way ways[] = {
    {"split", "", VDT_SHADOW_ALWAYS, 0},
    {"split with event index", "", VDT_SHADOW_ALWAYS, EVENT},
    {"split in order", "in-order", VDT_SHADOW_ALWAYS, ORDER},
    {"split, out of order, late", "ooo,latency=300", VDT_SHADOW_ALWAYS, EVENT},
    {"split, device without suspend", "no-suspend,no-base,latency=100", VDT_SHADOW_AUTO, EVENT},
    {"split, device that enables early", "no-enable-after-driver-ok", VDT_SHADOW_AUTO, EVENT},
    {"split passed through", "", VDT_SHADOW_AUTO, EVENT},
    {"packed", "", VDT_SHADOW_ALWAYS, PACKED},
    {"packed with event index", "", VDT_SHADOW_ALWAYS, PACKED | EVENT},
    {"packed in order", "in-order", VDT_SHADOW_ALWAYS, PACKED | ORDER},
    {"packed, out of order, late", "ooo,latency=300", VDT_SHADOW_ALWAYS, PACKED | EVENT},
    {"packed, device without suspend", "no-suspend,no-base,latency=100", VDT_SHADOW_AUTO,
     PACKED | EVENT},
    {"packed passed through", "in-order", VDT_SHADOW_AUTO, PACKED | EVENT | ORDER},
    {"translated", "iova=0x10000000-0x1fffffff", VDT_SHADOW_ALWAYS, EVENT},
};

ParameterizedTestParameters(shadow, frames_come_back_once)
{
    return cr_make_param_array(struct way, ways, sizeof(ways) / sizeof(ways[0]));
}

ParameterizedTest(struct way *way, shadow, frames_come_back_once)
{
    struct vdt_shadow_options options = rig_options(way->policy);
    struct rig rig;

    rig_init(&rig, way->spec, &options, way->features);
    rig_start(&rig);
    rig_traffic(&rig, 2000);
    cr_assert(rig_settle(&rig, 5000), "%s: sent %u, done %u, received %u (%s: %s)", way->spec,
              rig.next_send, rig.sent_done, rig.received,
              vdt_mode_name(vdt_shadow_mode(rig.shadow)), vdt_shadow_mode_reason(rig.shadow));
    cr_expect_eq(rig.duplicated + rig.corrupt + rig.broken, 0);
    rig_clear(&rig);
    vdt_test_check_leaks();
}

ParameterizedTestParameters(shadow, nothing_is_lost_over_freeze_and_thaw_under_traffic)
{
    return cr_make_param_array(struct way, ways, sizeof(ways) / sizeof(ways[0]));
}

ParameterizedTest(struct way *way, shadow, nothing_is_lost_over_freeze_and_thaw_under_traffic)
{
    struct vdt_shadow_options options = rig_options(way->policy);
    g_autoptr(GError) error = NULL;
    struct rig rig;
    bool may_lose = strstr(way->spec, "no-suspend") != NULL;

    rig_init(&rig, way->spec, &options, way->features);
    rig_start(&rig);
    for (unsigned round = 0; round < 20; round++) {
        rig_traffic(&rig, 100);
        cr_assert(vdt_shadow_freeze(rig.shadow, &error), "%s", error ? error->message : "");
        cr_assert(vdt_shadow_thaw(rig.shadow, &error), "%s", error ? error->message : "");
    }
    bool settled = may_lose ? rig_drain(&rig, 5000) : rig_settle(&rig, 5000);
    cr_expect_eq(rig.sent_done, rig.next_send, "%s: %u of %u sent", way->name, rig.sent_done,
                 rig.next_send);
    cr_expect(settled || may_lose, "%s: received %u of %u", way->name, rig.received, rig.next_send);
    cr_expect_eq(rig.duplicated + rig.corrupt + rig.broken, 0, "%s: %u doubled, %u corrupt",
                 way->name, rig.duplicated, rig.corrupt);
    rig_clear(&rig);
    vdt_test_check_leaks();
}

ParameterizedTestParameters(shadow, rings_stop_and_start_at_their_base)
{
    return cr_make_param_array(struct way, ways, sizeof(ways) / sizeof(ways[0]));
}

ParameterizedTest(struct way *way, shadow, rings_stop_and_start_at_their_base)
{
    struct vdt_shadow_options options = rig_options(way->policy);
    struct rig rig;
    uint32_t base[2];

    rig_init(&rig, way->spec, &options, way->features);
    rig_start(&rig);
    for (unsigned round = 0; round < 5; round++) {
        rig_traffic(&rig, 200);
        rig_stop(&rig, base);
        rig_poll(&rig);
        rig_set_rings(&rig, base);
    }
    /* A device that is reset drops the frames that it had not delivered yet; what the guest made
     * available is all used. */
    rig_drain(&rig, 5000);
    cr_expect_eq(rig.sent_done, rig.next_send, "%s: %u of %u sent", way->name, rig.sent_done,
                 rig.next_send);
    cr_expect_eq(rig.duplicated + rig.corrupt + rig.broken, 0);
    rig_clear(&rig);
    vdt_test_check_leaks();
}

/* --- dirty log --- */

/* A page that the device or we wrote while the log was on is marked. What the guest itself writes
 * is not ours to mark, so the driver keeps its hands off between the two copies. */
static void
check_log(const char *spec, uint64_t features)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_ALWAYS);
    g_autofree uint8_t *before = g_malloc(RIG_SIZE);
    unsigned changed = 0, missed = 0;
    struct rig rig;

    rig_init(&rig, spec, &options, features);
    rig_start(&rig);
    rig_traffic(&rig, 200);
    rig_log_start(&rig);
    cr_assert_eq(vdt_shadow_mode(rig.shadow), VDT_MODE_SHADOW);
    rig_traffic(&rig, 100);
    cr_assert(rig_settle(&rig, 5000));

    memcpy(before, rig.mem, RIG_SIZE);
    memset(rig.log, 0, 4096);
    rig_send(&rig, 16);
    for (unsigned i = 0; i < RIG_SIZE / 4096; i++)
        memcpy(before + i * 4096, rig.mem + i * 4096, 4096); /* the driver's own writes */
    g_usleep(100000);
    for (unsigned i = 0; i < RIG_SIZE / 4096; i++) {
        if (memcmp(before + i * 4096, rig.mem + i * 4096, 4096) == 0)
            continue;
        changed++;
        missed += !rig_log_test(&rig, RIG_GPA + i * 4096u);
    }
    cr_expect_eq(missed, 0, "%s: %u of %u changed pages are not marked", spec, missed, changed);
    cr_expect_gt(changed, 0, "nothing was written: the test shows nothing");
    rig_clear(&rig);
}

Test(shadow, every_page_written_is_marked_split)
{
    check_log("latency=20000", EVENT);
}

Test(shadow, every_page_written_is_marked_packed)
{
    check_log("latency=20000", PACKED | EVENT);
}

Test(shadow, dirty_logging_ends_passthrough_and_its_end_brings_it_back)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_AUTO);
    g_autoptr(GError) error = NULL;
    struct rig rig;

    rig_init(&rig, "", &options, EVENT);
    rig_start(&rig);
    rig_traffic(&rig, 100);
    cr_expect_eq(vdt_shadow_mode(rig.shadow), VDT_MODE_PASSTHROUGH, "%s",
                 vdt_shadow_mode_reason(rig.shadow));
    rig_log_start(&rig);
    cr_expect_eq(vdt_shadow_mode(rig.shadow), VDT_MODE_SHADOW);
    rig_traffic(&rig, 300);
    cr_assert(vdt_shadow_set_features(rig.shadow, rig.features, false, &error), "%s",
              error ? error->message : "");
    cr_expect_eq(vdt_shadow_mode(rig.shadow), VDT_MODE_PASSTHROUGH, "%s",
                 vdt_shadow_mode_reason(rig.shadow));
    rig_traffic(&rig, 300);
    cr_expect(rig_settle(&rig, 5000), "sent %u, done %u, received %u", rig.next_send, rig.sent_done,
              rig.received);
    cr_expect_eq(rig.duplicated + rig.corrupt + rig.broken, 0);
    cr_expect_eq(rig.restores, 1, "switching in place needs no replay");
    rig_clear(&rig);
}

/* Each switch meets requests that the device has fetched. It must not complete them by the ids of
 * the ring that it worked on before: packed, each side has its own. */
static void
check_switches_in_flight(uint64_t features)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_AUTO);
    g_autoptr(GError) error = NULL;
    struct rig rig;

    rig_init(&rig, "in-order,latency=20000", &options, features | ORDER);
    rig_start(&rig);
    for (unsigned round = 0; round < 4; round++) {
        rig_traffic(&rig, 50 + round);
        cr_assert(rig_settle(&rig, 5000));
        cr_expect_eq(vdt_shadow_mode(rig.shadow), VDT_MODE_PASSTHROUGH, "%s",
                     vdt_shadow_mode_reason(rig.shadow));
        rig_send(&rig, 20);
        rig_log_start(&rig);
        cr_expect_eq(vdt_shadow_mode(rig.shadow), VDT_MODE_SHADOW);
        cr_expect(rig_settle(&rig, 5000), "to shadow: sent %u, done %u, received %u", rig.next_send,
                  rig.sent_done, rig.received);
        rig_traffic(&rig, RIG_NUM + 7); /* what the switch found is not in the ring any more */
        rig_send(&rig, 20);
        cr_assert(vdt_shadow_set_features(rig.shadow, rig.features, false, &error), "%s",
                  error ? error->message : "");
        cr_expect_eq(vdt_shadow_mode(rig.shadow), VDT_MODE_PASSTHROUGH, "%s",
                     vdt_shadow_mode_reason(rig.shadow));
        cr_expect(rig_settle(&rig, 5000), "to passthrough: sent %u, done %u, received %u",
                  rig.next_send, rig.sent_done, rig.received);
    }
    cr_expect_eq(rig.duplicated + rig.corrupt + rig.broken, 0);
    cr_expect_null(vdt_shadow_unmigratable(rig.shadow));
    cr_expect_eq(rig.restores, 1, "switching in place needs no replay");
    rig_clear(&rig);
}

Test(shadow, requests_in_flight_survive_switches_of_the_mode_split)
{
    check_switches_in_flight(EVENT);
}

Test(shadow, requests_in_flight_survive_switches_of_the_mode_packed)
{
    check_switches_in_flight(PACKED | EVENT);
}

Test(shadow, packed_rings_are_shadowed_without_in_order)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_AUTO);
    struct rig rig;

    rig_init(&rig, "", &options, PACKED);
    rig_start(&rig);
    cr_expect_eq(vdt_shadow_mode(rig.shadow), VDT_MODE_SHADOW);
    cr_expect(strstr(vdt_shadow_mode_reason(rig.shadow), "IN_ORDER"), "%s",
              vdt_shadow_mode_reason(rig.shadow));
    rig_clear(&rig);
}

Test(shadow, a_full_receive_ring_tells_what_is_in_flight)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_AUTO);
    struct rig rig;

    rig_init(&rig, "hold=16", &options, EVENT);
    rig_start(&rig);
    /* More buffers than frames: after the first round no finished entry is left in the ring. */
    for (unsigned i = 0; i < 20; i++) {
        rig_send(&rig, 4);
        g_usleep(2000);
        rig_poll(&rig);
    }
    cr_assert_eq(vdt_shadow_mode(rig.shadow), VDT_MODE_PASSTHROUGH);
    cr_assert_eq((uint16_t) (rig.ring[0].pos.avail - rig.ring[0].pos.used), RIG_NUM);
    rig_log_start(&rig);
    cr_expect_eq(vdt_shadow_mode(rig.shadow), VDT_MODE_SHADOW);
    rig_clear(&rig);
}

Test(shadow, nothing_is_touched_or_marked_after_get_vring_base)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_ALWAYS);
    g_autofree uint8_t *before = g_malloc(RIG_SIZE);
    uint8_t log[4096];
    uint32_t base[2];
    struct rig rig;

    rig_init(&rig, "latency=2000", &options, EVENT);
    rig_start(&rig);
    rig_log_start(&rig);
    rig_traffic(&rig, 200);
    rig_stop(&rig, base);
    memcpy(before, rig.mem, RIG_SIZE);
    memcpy(log, rig.log, sizeof(log));
    for (unsigned i = 0; i < 20; i++) {
        vdt_event_signal(rig.kick[0]);
        vdt_event_signal(rig.kick[1]);
        g_main_context_iteration(rig.context, FALSE);
        g_usleep(1000);
    }
    cr_expect_eq(memcmp(before, rig.mem, RIG_SIZE), 0);
    cr_expect_eq(memcmp(log, rig.log, sizeof(log)), 0);
    rig_clear(&rig);
}

/* --- another device --- */

static void
check_exchange(const char *from, const char *to, uint64_t features, enum vdt_shadow_policy policy)
{
    struct vdt_shadow_options options = rig_options(policy);
    struct vdt_device *old = NULL;
    g_autoptr(GError) error = NULL;
    struct rig rig;

    rig_init(&rig, from, &options, features);
    rig_start(&rig);
    rig_traffic(&rig, 500);
    cr_assert(vdt_shadow_freeze(rig.shadow, &error), "%s", error ? error->message : "");
    struct vdt_device *fresh = vdt_device_open(to, &error);
    cr_assert(fresh, "%s", error ? error->message : "");
    cr_assert(vdt_shadow_exchange(rig.shadow, fresh, &old, &error), "%s",
              error ? error->message : "");
    cr_assert(vdt_shadow_thaw(rig.shadow, &error), "%s", error ? error->message : "");
    vdt_shadow_discard(rig.shadow, old);
    vdt_device_close(old);
    rig_traffic(&rig, 500);
    rig_drain(&rig, 5000);
    cr_expect_eq(rig.sent_done, rig.next_send, "%u of %u sent", rig.sent_done, rig.next_send);
    cr_expect_eq(rig.duplicated + rig.corrupt + rig.broken, 0, "%u doubled, %u corrupt",
                 rig.duplicated, rig.corrupt);
    cr_expect_eq(rig.restores, 2);
    rig_clear(&rig);
}

Test(shadow, another_device_goes_on_with_what_was_in_flight_split)
{
    check_exchange("ooo,latency=500", "sim:ooo", EVENT, VDT_SHADOW_ALWAYS);
}

Test(shadow, another_device_goes_on_with_what_was_in_flight_packed)
{
    check_exchange("ooo,latency=500", "sim:ooo", PACKED | EVENT, VDT_SHADOW_ALWAYS);
}

Test(shadow, another_device_goes_on_that_starts_at_position_zero_only)
{
    check_exchange("ooo,latency=500", "sim:no-base,no-suspend", EVENT, VDT_SHADOW_ALWAYS);
}

Test(shadow, a_passed_through_device_is_exchanged)
{
    check_exchange("", "sim:", EVENT, VDT_SHADOW_AUTO);
}

Test(shadow, a_passed_through_device_that_looks_only_when_kicked_goes_on)
{
    check_exchange("kick-only,latency=500", "sim:kick-only", EVENT, VDT_SHADOW_AUTO);
}

/* The first of two completions moves the event index that the second one is called by. */
Test(shadow, a_device_that_cannot_suspend_is_waited_for_no_longer_than_it_sends)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_AUTO);
    g_autoptr(GError) error = NULL;
    struct rig rig;

    options.drain_ms = 5000;
    rig_init(&rig, "no-suspend,no-base,latency=80000", &options, EVENT);
    rig_start(&rig);
    rig_send(&rig, 1);
    g_usleep(40000);
    rig_send(&rig, 1);
    g_usleep(5000);
    int64_t start = g_get_monotonic_time();
    cr_assert(vdt_shadow_freeze(rig.shadow, &error), "%s", error ? error->message : "");
    int64_t took = (g_get_monotonic_time() - start) / 1000;
    cr_expect_lt(took, 3000, "waited %d ms", (int) took);
    cr_assert(vdt_shadow_thaw(rig.shadow, &error), "%s", error ? error->message : "");
    rig_clear(&rig);
}

static uint64_t
device_area(struct rig *rig, unsigned ring)
{
    VDT_SIM_LOCKED(vdt_test_sim(vdt_shadow_device(rig->shadow)));

    return sim->rings[ring].addr.device;
}

Test(shadow, no_used_element_of_a_shadow_ring_lies_on_two_pages)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_ALWAYS);
    struct rig rig;

    rig_init(&rig, "", &options, EVENT);
    rig_start(&rig);
    for (unsigned i = 0; i < 2; i++)
        cr_expect_eq(device_area(&rig, i) % 4096, 0, "ring %u", i);
    rig_clear(&rig);
}

/* --- guest memory --- */

Test(shadow, a_region_comes_and_goes_under_traffic)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_ALWAYS);
    g_autoptr(GError) error = NULL;
    struct rig rig;
    int fd = vdt_memfd("more", 1 << 20, NULL);
    struct vdt_region_spec spec = {
        .gpa = 0x40000000, .size = 1 << 20, .frontend = 0x7f5500000000, .fd = fd};

    rig_init(&rig, "", &options, EVENT);
    rig_start(&rig);
    for (unsigned i = 0; i < 10; i++) {
        VDT_AUTO(guest_map) more = vdt_guest_map_with(rig.map, &spec, &error);
        cr_assert(more, "%s", error ? error->message : "");
        rig_traffic(&rig, 50);
        cr_assert(vdt_shadow_set_memory(rig.shadow, more, &error), "%s",
                  error ? error->message : "");
        rig_traffic(&rig, 50);
        cr_assert(vdt_shadow_set_memory(rig.shadow, rig.map, &error), "%s",
                  error ? error->message : "");
    }
    cr_expect(rig_settle(&rig, 5000));
    cr_expect_eq(rig.duplicated + rig.corrupt + rig.broken, 0);
    cr_expect_eq(rig.restores, 1, "memory that the rings do not lie in needs no restart");
    rig_clear(&rig);
    vdt_close(fd);
}

Test(shadow, a_whole_new_table_moves_the_rings_under_traffic)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_ALWAYS);
    g_autoptr(GError) error = NULL;
    struct rig rig;

    rig_init(&rig, "", &options, EVENT);
    rig_start(&rig);
    rig_traffic(&rig, 200);
    struct vdt_region_spec spec = {
        .gpa = RIG_GPA, .size = RIG_SIZE, .frontend = RIG_FRONTEND, .fd = rig.memfd};
    VDT_AUTO(guest_map) again = vdt_guest_map_from_table(&spec, 1, &error);
    cr_assert(vdt_shadow_set_memory(rig.shadow, again, &error), "%s", error ? error->message : "");
    rig_traffic(&rig, 200);
    rig_drain(&rig, 5000);
    cr_expect_eq(rig.sent_done, rig.next_send);
    cr_expect_eq(rig.duplicated + rig.corrupt + rig.broken, 0);
    rig_clear(&rig);
}

/* --- those who break rules --- */

struct bad_guest {
    char name[48];
    struct vdt_seg seg;
    bool twice;
};

static struct bad_guest bad_guests[] = {
    {"address outside guest memory", {.addr = 0x10, .len = 64}, false},
    {"address in our own area", {.addr = 0xfffffffffff00000, .len = 64}, false},
    {"stretch past the end of memory", {.addr = RIG_GPA + RIG_SIZE - 8, .len = 64}, false},
    {"address that wraps", {.addr = UINT64_MAX - 8, .len = 64}, false},
    {"same head twice in flight", {.addr = RIG_GPA + 0x200000, .len = 64}, true},
};

ParameterizedTestParameters(shadow, a_guest_that_breaks_a_ring_loses_that_ring_only)
{
    return cr_make_param_array(struct bad_guest, bad_guests,
                               sizeof(bad_guests) / sizeof(bad_guests[0]));
}

ParameterizedTest(struct bad_guest *bad, shadow, a_guest_that_breaks_a_ring_loses_that_ring_only)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_ALWAYS);
    struct vdt_shadow_ring_view view;
    struct rig rig;

    rig_init(&rig, "latency=10000", &options, 0);
    rig_start(&rig);
    struct vdt_chain chain = {.head = 5,
                              .id = 5,
                              .seg = &bad->seg,
                              .capacity = 1,
                              .count = 1,
                              .direct = 1,
                              .slots = 1,
                              .readable = bad->seg.len};
    vdt_device_ring_post(&rig.ring[1], &chain, 5, 0, 0);
    if (bad->twice) {
        rig.ring[1].fault = 0;
        vdt_device_ring_post(&rig.ring[1], &chain, 5, 0, 0);
    }
    vdt_device_ring_publish(&rig.ring[1]);
    vdt_event_signal(rig.kick[1]);
    for (unsigned i = 0; i < 500 && rig.broken == 0; i++) {
        g_main_context_iteration(rig.context, FALSE);
        g_usleep(1000);
    }
    cr_expect_eq(rig.broken, 1, "%s went unnoticed", bad->name);
    vdt_shadow_view_ring(rig.shadow, 1, &view);
    cr_expect_not_null(view.broken);
    vdt_shadow_view_ring(rig.shadow, 0, &view);
    cr_expect_null(view.broken);
    cr_expect_null(vdt_shadow_unmigratable(rig.shadow),
                   "a bad guest does not forbid its migration");
    rig_clear(&rig);
    vdt_test_check_leaks();
}

static char bad_devices[][32] = {"used-len-lies", "used-id-lies", "used-twice"};

ParameterizedTestParameters(shadow, a_device_that_breaks_a_ring_is_not_migrated)
{
    return cr_make_param_array(char[32], bad_devices, sizeof(bad_devices) / sizeof(bad_devices[0]));
}

ParameterizedTest(char *spec, shadow, a_device_that_breaks_a_ring_is_not_migrated)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_ALWAYS);
    struct rig rig;

    rig_init(&rig, spec, &options, 0);
    rig_start(&rig);
    for (unsigned i = 0; i < 300 && rig.broken == 0; i++) {
        rig_poll(&rig);
        rig_send(&rig, 4);
        g_usleep(1000);
    }
    cr_expect_gt(rig.broken, 0, "%s went unnoticed", spec);
    cr_expect_not_null(vdt_shadow_unmigratable(rig.shadow));
    rig_clear(&rig);
    vdt_test_check_leaks();
}

Test(shadow, a_log_smaller_than_memory_is_refused_and_nothing_changes)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_ALWAYS);
    g_autoptr(GError) error = NULL;
    struct rig rig;
    int fd = vdt_memfd("log", 4096, NULL);

    rig_init(&rig, "", &options, 0);
    rig_start(&rig);
    cr_expect_not(vdt_shadow_set_log(rig.shadow, fd, 0, 8, &error));
    cr_expect_not_null(error);
    rig_traffic(&rig, 100);
    cr_expect(rig_settle(&rig, 5000));
    rig_clear(&rig);
}
