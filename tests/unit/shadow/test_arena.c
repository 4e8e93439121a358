/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shadow/arena.h"

#include <criterion/criterion.h>

#include "fake_maps.h"
#include "lib/leak.h"

VDT_SUITE(arena);

static const uint64_t length[VDT_ARENA_PARTS] = {5000, 100, 9000};

Test(arena, parts_are_pages_of_their_own_at_the_top_of_the_range)
{
    VDT_AUTO(iova_space) space = vdt_iova_space_new(0, (1ull << 40) - 1);
    struct vdt_arena *arena = vdt_arena_new(length, space, NULL);

    cr_assert(arena);
    cr_expect_eq(arena->size, 8192 + 4096 + 12288);
    cr_expect_eq(arena->iova + arena->size, 1ull << 40);
    cr_expect_eq(arena->start[VDT_ARENA_WRITE], 8192);
    cr_expect_eq(arena->start[VDT_ARENA_CVQ], 12288);
    cr_expect(vdt_iova_space_overlaps(space, arena->iova, arena->size));
    vdt_arena_free(arena, space);
    cr_expect(vdt_iova_space_reserve(space, (1ull << 40) - 4096, 4096, NULL), "given back");
}

Test(arena, no_room_is_said_and_leaves_nothing)
{
    VDT_AUTO(iova_space) space = vdt_iova_space_new(0, 8191);
    g_autoptr(GError) error = NULL;

    cr_expect_null(vdt_arena_new(length, space, &error));
    cr_expect_not_null(error);
    cr_expect(vdt_iova_space_reserve(space, 0, 8192, NULL));
    g_clear_error(&error);
    vdt_test_check_leaks();
}

Test(arena, what_is_taken_is_aligned_apart_and_where_the_device_sees_it)
{
    VDT_AUTO(iova_space) space = vdt_iova_space_new(0, (1ull << 40) - 1);
    struct vdt_arena *arena = vdt_arena_new(length, space, NULL);
    uint64_t a, b;
    uint8_t *p = vdt_arena_take(arena, VDT_ARENA_CVQ, 10, 64, &a);
    uint8_t *q = vdt_arena_take(arena, VDT_ARENA_CVQ, 10, 64, &b);

    cr_expect_eq(a % 64 + b % 64, 0);
    cr_expect_eq(b - a, 64);
    cr_expect_eq(q - p, 64);
    cr_expect_eq((uint64_t) (p - arena->host), a - arena->iova);
    vdt_arena_rewind(arena, VDT_ARENA_CVQ);
    cr_expect_eq(vdt_arena_take(arena, VDT_ARENA_CVQ, 10, 64, &a), p);
    vdt_arena_free(arena, space);
}

Test(arena, the_device_reads_one_part_writes_two_and_the_control_queue_is_apart)
{
    VDT_AUTO(iova_space) space = vdt_iova_space_new(0, (1ull << 40) - 1);
    struct vdt_arena *arena = vdt_arena_new(length, space, NULL);
    struct fake_maps fake;

    fake_maps_init(&fake);
    cr_assert(vdt_arena_map(arena, &fake.dev, 1, NULL));
    cr_assert(vdt_arena_map(arena, &fake.dev, 1, NULL), "again is nothing");
    cr_assert_eq(fake.count, 3);
    for (unsigned i = 0; i < 3; i++) {
        cr_expect_eq(fake.map[i].asid, i == VDT_ARENA_CVQ);
        cr_expect_eq(fake.map[i].writable, i != VDT_ARENA_READ);
        cr_expect_eq(fake.map[i].iova, arena->iova + arena->start[i]);
    }
    vdt_arena_unmap(arena, &fake.dev);
    cr_expect_eq(fake.count, 0);
    vdt_arena_free(arena, space);
}

Test(arena, a_map_that_fails_undoes_the_others)
{
    for (unsigned k = 1; k <= 3; k++) {
        VDT_AUTO(iova_space) space = vdt_iova_space_new(0, (1ull << 40) - 1);
        struct vdt_arena *arena = vdt_arena_new(length, space, NULL);
        g_autoptr(GError) error = NULL;
        struct fake_maps fake;

        fake_maps_init(&fake);
        fake.fail_at = k;
        cr_expect_not(vdt_arena_map(arena, &fake.dev, 0, &error));
        cr_expect_not_null(error);
        cr_expect_eq(fake.count, 0);
        cr_expect(vdt_arena_map(arena, &fake.dev, 0, NULL), "and may be tried again");
        vdt_arena_unmap(arena, &fake.dev);
        vdt_arena_free(arena, space);
    }
}
