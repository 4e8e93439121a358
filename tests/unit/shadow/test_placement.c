/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shadow/placement.h"

#include <criterion/criterion.h>

#include "base/fd.h"
#include "fake_maps.h"
#include "lib/leak.h"

VDT_SUITE(placement);

#define REGION 0x10000ull
#define REGIONS FAKE_MAPS_MAX

static struct fake_maps fake;
static struct vdt_placement *place;
static int memfd = -1;

static void
set_up(uint64_t iova_first, uint64_t iova_last)
{
    fake_maps_init(&fake);
    fake.dev.info.iova_first = iova_first;
    fake.dev.info.iova_last = iova_last;
    place = vdt_placement_new(&fake.dev);
    memfd = vdt_memfd("placement", REGION, NULL);
}

static void
tear_down(void)
{
    vdt_placement_free(place);
    cr_expect_eq(fake.count, 0, "all is unmapped in the end");
    memfd = vdt_close(memfd);
}

/* The regions whose bits are set in @which, with a hole behind each. */
static struct vdt_guest_map *
make_map(unsigned which)
{
    struct vdt_region_spec specs[REGIONS];
    unsigned count = 0;

    for (unsigned i = 0; i < REGIONS; i++) {
        if (which & 1u << i)
            specs[count++] = (struct vdt_region_spec){.gpa = (1 + 2 * i) * REGION,
                                                      .size = REGION,
                                                      .frontend = (100 + 2 * i) * REGION,
                                                      .fd = memfd};
    }
    return count ? vdt_guest_map_from_table(specs, count, NULL) : vdt_guest_map_new();
}

static unsigned
mapped(void)
{
    unsigned which = 0;

    for (unsigned i = 0; i < fake.count; i++) {
        cr_assert_eq(fake.map[i].size, REGION);
        which |= 1u << (fake.map[i].iova / REGION - 1) / 2;
    }
    cr_assert_eq((unsigned) __builtin_popcount(which), fake.count, "one is mapped twice");
    return which;
}

Test(placement, whatever_the_table_was_before_the_device_sees_the_one_of_now)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    VDT_AUTO(guest_map) kept = NULL;

    set_up(0, (1ull << 40) - 1);
    for (unsigned round = 0, now = 0; round < 300; round++) {
        /* One region more or less as a rule, everything anew at times. */
        unsigned i = (unsigned) g_rand_int_range(rand, 0, REGIONS);
        VDT_AUTO(guest_map) map = NULL;
        unsigned calls = fake.calls;

        if (round % 16 == 0 || !kept) {
            now = g_rand_int(rand) & 0xffff;
            map = make_map(now);
        } else if (now & 1u << i) {
            map = vdt_guest_map_without(kept, (1 + 2 * i) * REGION, REGION, (100 + 2 * i) * REGION,
                                        NULL);
            now &= ~(1u << i);
        } else {
            struct vdt_region_spec spec = {.gpa = (1 + 2 * i) * REGION,
                                           .size = REGION,
                                           .frontend = (100 + 2 * i) * REGION,
                                           .fd = memfd};
            map = vdt_guest_map_with(kept, &spec, NULL);
            now |= 1u << i;
        }
        cr_assert_not_null(map);
        cr_assert(vdt_placement_sync(place, map, NULL));
        cr_assert_eq(mapped(), now);
        cr_assert_null(place->table, "IOVA = GPA");
        if (round % 16 != 0)
            cr_assert_leq(fake.calls - calls, 1, "what stays is left mapped");
        vdt_guest_map_unref(kept);
        kept = vdt_guest_map_ref(map);
    }
    tear_down();
}

Test(placement, a_map_that_fails_is_made_up_for_by_the_next_sync)
{
    VDT_AUTO(guest_map) map = NULL;
    g_autoptr(GError) error = NULL;

    set_up(0, (1ull << 40) - 1);
    map = make_map(0x5555);
    fake.fail_at = 3;
    cr_expect_not(vdt_placement_sync(place, map, &error));
    cr_expect_not_null(error);
    cr_expect_eq(fake.count, 2);
    cr_expect(vdt_placement_sync(place, map, NULL));
    cr_expect_eq(mapped(), 0x5555);
    tear_down();
}

Test(placement, memory_beyond_the_range_is_translated)
{
    VDT_AUTO(guest_map) map = NULL;

    set_up(1ull << 32, (1ull << 40) - 1);
    map = make_map(0x11);
    cr_expect_not(vdt_placement_fits_as_placed(place, map));
    cr_assert(vdt_placement_sync(place, map, NULL));
    cr_assert_not_null(place->table);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t to = 0;

        cr_expect(vdt_iova_table_lookup(place->table, (1 + 8 * i) * REGION, REGION, &to));
        cr_expect_geq(to, 1ull << 32);
        cr_expect_eq(to, fake.map[i].iova);
    }
    tear_down();
}
