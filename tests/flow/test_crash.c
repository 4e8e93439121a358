/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A tracker that ends without stopping anything, and the next one that finds the in-flight area: a
 * shadow device is dropped between two events, with what the device had left where it is.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/wire.h"
#include "lib/leak.h"
#include "lib/shadow_rig.h"
#include "shadow/shadow_private.h"
#include "virtio/features.h"
#include "virtio/net_ctrl.h"
#include "virtio/packed_layout.h"

VDT_SUITE(crash);

#define PACKED VDT_BIT(VIRTIO_F_RING_PACKED)
#define EVENT VDT_BIT(VIRTIO_RING_F_EVENT_IDX)
#define ORDER VDT_BIT(VIRTIO_F_IN_ORDER)

struct area {
    int fd;
    uint64_t size;
};

static void
check(bool ok, GError **error)
{
    cr_assert(ok, "%s", *error ? (*error)->message : "");
}

static void
give_area(struct rig *rig, const struct area *area)
{
    GError *error = NULL;

    check(vdt_shadow_set_inflight(rig->shadow, 2, RIG_NUM, dup(area->fd), area->size, 0, &error),
          &error);
}

/* Between two events of the data threads, nothing of the guest's or the area is touched any more:
 * a ring that counts as broken is left alone. */
static void
crash(struct rig *rig)
{
    struct vdt_shadow *s = rig->shadow;

    vdt_shadow_detach_all(s);
    for (unsigned i = 0; i < 2; i++)
        s->rings[i].relay.fault = VDT_FAULT_USED_ID;
    vdt_shadow_free(s);
    rig->broken = 0;
}

static void
begin_anew(struct rig *rig, const char *spec)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_AUTO);
    const struct vdt_shadow_events events = {0};
    GError *error = NULL;
    struct vdt_device *dev = vdt_device_open(spec, &error);

    check(dev != NULL, &error);
    options.context = rig->context;
    rig->shadow = vdt_shadow_new(dev, &options, &events, NULL, &error);
    check(rig->shadow != NULL, &error);
    check(vdt_shadow_set_features(rig->shadow, rig->features, false, &error), &error);
    check(vdt_shadow_set_memory(rig->shadow, rig->map, &error), &error);
}

/* What a VMM sends that knows nothing: the used index, or the beginning of a packed ring. */
static void
bases(struct rig *rig, uint32_t base[2])
{
    for (unsigned i = 0; i < 2; i++)
        base[i] = rig->features & PACKED ? 0 : vdt_load16((uint8_t *) rig->ring[i].mem.device + 2);
}

static uint64_t
ran_again(struct rig *rig, uint32_t ring)
{
    struct vdt_shadow_ring_view view;

    vdt_shadow_view_ring(rig->shadow, ring, &view);
    g_free(view.requests);
    return view.ran_again;
}

static void
start_with_area(struct rig *rig, struct area *area, const char *spec, uint64_t features)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_AUTO);
    GError *error = NULL;

    rig_init(rig, spec, &options, features);
    check(vdt_shadow_get_inflight(rig->shadow, 2, RIG_NUM, &area->fd, &area->size, &error), &error);
    give_area(rig, area);
    rig_start(rig);
    cr_expect_eq(vdt_shadow_mode(rig->shadow), VDT_MODE_SHADOW, "what is in flight is followed");
}

static void
finish(struct rig *rig, struct area *area)
{
    rig_traffic(rig, 300);
    rig_drain(rig, 5000);
    cr_expect_eq(rig->sent_done, rig->next_send, "%u of %u used", rig->sent_done, rig->next_send);
    cr_expect_eq(rig->corrupt + rig->broken, 0);
    for (unsigned i = 0; i < 2; i++) {
        struct vdt_shadow_ring_view view;
        vdt_shadow_view_ring(rig->shadow, i, &view);
        g_free(view.requests);
        cr_expect_null(view.broken, "%s", view.broken);
    }
    rig_clear(rig);
    vdt_close(area->fd);
    vdt_test_check_leaks();
}

struct way {
    char spec[48];
    uint64_t features;
};

static struct way ways[] = {
    {"latency=3000,ooo", 0},
    {"latency=3000,ooo", EVENT},
    {"latency=3000,in-order", ORDER},
    {"latency=3000,ooo,no-suspend,no-base", EVENT},
    {"latency=3000,ooo", PACKED},
    {"latency=3000,ooo", PACKED | EVENT},
    {"latency=3000,in-order", PACKED | ORDER},
    {"latency=3000,ooo,no-suspend,no-base", PACKED | EVENT},
};

ParameterizedTestParameters(crash, every_request_is_used_by_the_next_tracker)
{
    return cr_make_param_array(struct way, ways, sizeof(ways) / sizeof(ways[0]));
}

ParameterizedTest(struct way *way, crash, every_request_is_used_by_the_next_tracker)
{
    struct area area;
    struct rig rig;
    uint32_t base[2];
    uint64_t again[2] = {0};

    start_with_area(&rig, &area, way->spec, way->features);
    for (unsigned round = 0; round < 5; round++) {
        g_autofree char *next = g_strdup_printf("sim:%s", way->spec);
        rig_traffic(&rig, 150);
        rig_send(&rig, 20);
        g_usleep(1000);
        crash(&rig);
        bases(&rig, base);
        begin_anew(&rig, next);
        give_area(&rig, &area);
        rig_set_rings(&rig, base);
        again[0] += ran_again(&rig, 0);
        again[1] += ran_again(&rig, 1);
        rig_drain(&rig, 5000);
        cr_assert_eq(rig.sent_done, rig.next_send, "%s, round %u: %u of %u used", way->spec, round,
                     rig.sent_done, rig.next_send);
    }
    cr_expect(again[0] > 0 && again[1] > 0, "%s: something was in flight, in one round of five",
              way->spec);
    finish(&rig, &area);
}

/* The next one ends before it did anything: while it settles, or with all of it resubmitted. */
Test(crash, crash_after_a_crash_loses_nothing)
{
    for (unsigned i = 0; i < 2; i++) {
        struct area area;
        struct rig rig;
        uint32_t base[2];
        uint64_t again = 0;

        start_with_area(&rig, &area, "latency=20000,ooo", i ? PACKED : EVENT);
        rig_traffic(&rig, 60);
        rig_send(&rig, 20);
        g_usleep(2000);
        for (unsigned n = 0; n < 4; n++) {
            crash(&rig);
            bases(&rig, base);
            begin_anew(&rig, "sim:latency=20000");
            give_area(&rig, &area);
            rig_set_rings(&rig, base);
            again += ran_again(&rig, 1);
        }
        cr_expect_gt(again, 0);
        rig_drain(&rig, 5000);
        finish(&rig, &area);
    }
}

/* In a packed ring all of a batch but its first descriptor is written before it is published. */
Test(crash, batch_that_was_cut_short_is_not_seen_by_the_guest)
{
    struct area area;
    struct rig rig;
    uint32_t base[2];

    start_with_area(&rig, &area, "latency=200000,ooo", PACKED);
    rig_send(&rig, 20);
    g_usleep(2000);
    crash(&rig);
    uint16_t pos = rig.ring[1].pos.used;
    for (uint16_t i = 0; i < 8; i++) {
        uint8_t *desc = vdt_packed_desc(rig.ring[1].mem.desc, pos);
        if (i > 0) {
            cr_assert(vdt_packed_is_avail(vdt_get16(desc + 14), pos), "slot %u is in flight", i);
            vdt_put16(desc + 12, 0);
            vdt_put16(desc + 14, vdt_packed_used_bits(pos));
        }
        pos = vdt_packed_advance(pos, 1, RIG_NUM);
    }
    bases(&rig, base);
    begin_anew(&rig, "sim:latency=200000,ooo");
    give_area(&rig, &area);
    rig_set_rings(&rig, base);
    pos = rig.ring[1].pos.used;
    for (uint16_t i = 0; i < 8; i++) {
        uint16_t flags = vdt_get16(vdt_packed_flags(rig.ring[1].mem.desc, pos));
        cr_expect_not(vdt_packed_is_used(flags, pos), "slot %u", i);
        pos = vdt_packed_advance(pos, 1, RIG_NUM);
    }
    rig_settle(&rig, 1000);
    cr_expect_eq(rig.sent_done, rig.next_send);
    cr_expect_eq(rig.corrupt + rig.broken, 0);
    rig_clear(&rig);
    vdt_close(area.fd);
}

Test(crash, what_this_process_remembers_wins_over_the_area)
{
    struct area area;
    struct rig rig;
    uint32_t base[2];

    start_with_area(&rig, &area, "latency=3000,ooo", EVENT);
    rig_traffic(&rig, 150);
    rig_stop(&rig, base);
    give_area(&rig, &area);
    rig_set_rings(&rig, base);
    cr_expect_eq(ran_again(&rig, 0) + ran_again(&rig, 1), 0, "nothing was done twice");
    rig_drain(&rig, 5000);
    finish(&rig, &area);
}

Test(crash, guest_that_resets_its_device_begins_with_an_empty_area)
{
    struct area area;
    struct rig rig;

    start_with_area(&rig, &area, "", EVENT);
    rig_traffic(&rig, 100);
    vdt_shadow_reset(rig.shadow);
    crash(&rig);
    /* The driver sets its rings up anew, in zeroed memory. */
    for (unsigned i = 0; i < 2; i++) {
        struct vdt_ring_format format = rig.ring[i].format;
        struct vdt_ring_mem mem = rig.ring[i].mem;
        memset(mem.desc, 0, vdt_ring_desc_size(&format));
        memset(mem.driver, 0, vdt_ring_driver_size(&format));
        memset(mem.device, 0, vdt_ring_device_size(&format));
        vdt_device_ring_clear(&rig.ring[i]);
        vdt_device_ring_init(&rig.ring[i], &format, &mem, vdt_ring_pos_initial(format.kind));
    }
    rig.sent_done = rig.next_send;
    begin_anew(&rig, "sim:");
    give_area(&rig, &area);
    rig_set_rings(&rig, (uint32_t[]){0, 0});
    cr_expect_eq(ran_again(&rig, 0) + ran_again(&rig, 1), 0);
    finish(&rig, &area);
}

/* The frontend has the file and may write anything, at any time: ours stays whole. */
Test(crash, area_full_of_rubbish_refuses_the_start_and_nothing_else)
{
    g_autofree uint8_t *rubbish = g_malloc(4 * 4096);
    unsigned refused = 0;

    for (unsigned n = 0; n < 40; n++) {
        struct area area;
        struct rig rig;
        uint32_t base[2];
        GRand *rand = g_rand_new_with_seed(n);
        GError *error = NULL;

        start_with_area(&rig, &area, "latency=1000", n % 2 ? PACKED : 0);
        rig_traffic(&rig, 50);
        for (unsigned i = 0; i < area.size; i++)
            rubbish[i] = (uint8_t) g_rand_int(rand);
        /* Half of them with a plausible beginning. */
        for (uint64_t at = 0; n % 4 < 2 && at < area.size; at += area.size / 2) {
            vdt_put16(rubbish + at + 8, 1);
            vdt_put16(rubbish + at + 10, RIG_NUM);
            for (unsigned i = 12; i < 20; i++)
                rubbish[at + i] &= i & 1 ? 0 : 63;
        }
        cr_assert_eq(pwrite(area.fd, rubbish, area.size, 0), (ssize_t) area.size);
        crash(&rig);
        bases(&rig, base);
        begin_anew(&rig, "sim:");
        give_area(&rig, &area);
        for (unsigned i = 0; i < 2; i++) {
            struct vdt_shadow *s = rig.shadow;
            check(vdt_shadow_set_num(s, i, RIG_NUM, &error), &error);
            check(vdt_shadow_set_base(s, i, base[i], &error), &error);
            uint64_t at = RIG_FRONTEND + 0x10000u + i * 0x10000u;
            check(vdt_shadow_set_addr(s, i, at, at + 0x4000, at + 0x8000, &error), &error);
            check(vdt_shadow_set_kick(s, i, dup(rig.kick[i]), &error), &error);
            check(vdt_shadow_set_enable(s, i, true, &error), &error);
        }
        if (!vdt_shadow_update(rig.shadow, &error)) {
            cr_expect(strstr(error->message, "in-flight"), "%s", error->message);
            refused++;
        }
        g_clear_error(&error);
        g_rand_free(rand);
        rig_clear(&rig);
        vdt_close(area.fd);
    }
    cr_expect_gt(refused, 10);
}
