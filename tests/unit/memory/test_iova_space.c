/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <vdpa-tracker/error.h>

#include "memory/iova_space.h"

VDT_SUITE(iova_space);
VDT_SUITE(iova_table);

#define TOP UINT64_MAX

Test(iova_space, reserve_refuses_what_is_taken_or_outside)
{
    VDT_AUTO(iova_space) space = vdt_iova_space_new(0x1000, 0xffff);
    const struct {
        uint64_t start, len;
        bool ok;
    } rows[] = {
        {0x2000, 0x1000, true},  {0x2000, 0x1000, false},
        {0x2fff, 1, false},      {0x1fff, 2, false},
        {0x1000, 0x8000, false}, /* around it */
        {0x3000, 0x1000, true},  /* next to it */
        {0x1000, 0x1000, true},  {0x0fff, 1, false},
        {0x0fff, 2, false},      {0x10000, 1, false},
        {0xffff, 2, false},      {0xffff, 1, true},
        {0x8000, 0, false},      {0x8000, TOP, false}, /* wraps */
        {TOP, 1, false},         {TOP, 2, false},
        {0x4000, 0xbfff, true}, /* all that is left */
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;

        cr_expect_eq(vdt_iova_space_reserve(space, rows[i].start, rows[i].len, &error), rows[i].ok,
                     "row %u", i);
        cr_expect_eq(g_error_matches(error, VDT_ERROR, VDT_ERROR_INVALID), !rows[i].ok, "row %u",
                     i);
    }
}

Test(iova_space, whole_64_bit_range_has_a_last_byte)
{
    VDT_AUTO(iova_space) space = vdt_iova_space_new(0, TOP);
    uint64_t start = 1;

    cr_assert(vdt_iova_space_alloc(space, 0x1000, 0x1000, true, &start, NULL));
    cr_assert_eq(start, TOP - 0xfff);
    cr_assert(vdt_iova_space_overlaps(space, TOP, 1));
    cr_assert_not(vdt_iova_space_overlaps(space, TOP - 0x1000, 1));
    cr_assert(vdt_iova_space_alloc(space, 0x1000, 0x1000, false, &start, NULL));
    cr_assert_eq(start, 0);
    cr_assert_not(vdt_iova_space_alloc(space, TOP, 1, true, &start, NULL));
    cr_assert(vdt_iova_space_release(space, TOP - 0xfff, 0x1000));
    cr_assert(vdt_iova_space_release(space, 0, 0x1000));
    cr_assert(vdt_iova_space_alloc(space, TOP, 1, true, &start, NULL));
    cr_assert_eq(start, 1);
    cr_assert(vdt_iova_space_alloc(space, 1, 1, false, &start, NULL));
    cr_assert_eq(start, 0);
    cr_assert_not(vdt_iova_space_alloc(space, 1, 1, true, &start, NULL));
}

Test(iova_space, allocation_finds_the_first_hole_that_fits_from_either_end)
{
    VDT_AUTO(iova_space) space = vdt_iova_space_new(0x100, 0xfffff);
    uint64_t start;

    cr_assert(vdt_iova_space_reserve(space, 0x3000, 0x1000, NULL));
    cr_assert(vdt_iova_space_reserve(space, 0x9000, 0xf4000, NULL));
    const struct {
        uint64_t len, align;
        bool from_top;
        uint64_t start;
    } rows[] = {
        {0x1000, 0x1000, true, 0xff000}, {0x1000, 0x1000, false, 0x1000}, /* 0x100 rounded up */
        {0x5000, 0x1000, true, 0x4000}, /* the upper hole is too small now */
        {0x100, 1, false, 0x100},        {0x800, 0x800, true, 0xfe800},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        cr_assert(
            vdt_iova_space_alloc(space, rows[i].len, rows[i].align, rows[i].from_top, &start, NULL),
            "row %u", i);
        cr_assert_eq(start, rows[i].start, "row %u: 0x%lx", i, (unsigned long) start);
    }
}

Test(iova_space, alignment_that_does_not_fit_is_refused)
{
    VDT_AUTO(iova_space) space = vdt_iova_space_new(0x1001, 0x2fff);
    g_autoptr(GError) error = NULL;
    uint64_t start = 7;

    cr_assert_not(vdt_iova_space_alloc(space, 0x1000, 0x4000, true, &start, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_FAILED));
    cr_assert_not(vdt_iova_space_alloc(space, 0x1000, 0x4000, false, &start, NULL));
    cr_assert_not(vdt_iova_space_alloc(space, 1, 1ull << 63, false, &start, NULL));
    cr_assert_not(vdt_iova_space_alloc(space, 0, 1, false, &start, NULL));
    cr_assert_eq(start, 7);
    cr_assert(vdt_iova_space_alloc(space, 0x1000, 0x1000, false, &start, NULL));
    cr_assert_eq(start, 0x2000);
}

Test(iova_space, inverted_range_has_no_room)
{
    VDT_AUTO(iova_space) space = vdt_iova_space_new(0x2000, 0x1000);
    uint64_t start;

    cr_assert_not(vdt_iova_space_reserve(space, 0x1800, 1, NULL));
    cr_assert_not(vdt_iova_space_alloc(space, 1, 1, true, &start, NULL));
    cr_assert_not(vdt_iova_space_alloc(space, 1, 1, false, &start, NULL));
}

Test(iova_space, release_takes_back_only_what_was_taken_as_a_whole)
{
    VDT_AUTO(iova_space) space = vdt_iova_space_new(0, 0xffff);

    cr_assert(vdt_iova_space_reserve(space, 0x1000, 0x2000, NULL));
    cr_assert_not(vdt_iova_space_release(space, 0x1000, 0x1000));
    cr_assert_not(vdt_iova_space_release(space, 0x2000, 0x1000));
    cr_assert_not(vdt_iova_space_release(space, 0x1000, 0));
    cr_assert_not(vdt_iova_space_release(space, 0x8000, 0x1000));
    cr_assert(vdt_iova_space_release(space, 0x1000, 0x2000));
    cr_assert_not(vdt_iova_space_release(space, 0x1000, 0x2000));
    cr_assert_not(vdt_iova_space_overlaps(space, 0, TOP));
}

Test(iova_space, random_use_matches_a_byte_map)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(7);
    VDT_AUTO(iova_space) space = vdt_iova_space_new(16, 1023);
    bool used[1024] = {false};
    g_autoptr(GArray) live = g_array_new(FALSE, FALSE, 2 * sizeof(uint64_t));

    for (unsigned round = 0; round < 20000; round++) {
        uint64_t pair[2] = {0, (uint64_t) g_rand_int_range(random, 1, 64)};
        uint64_t align = 1ull << g_rand_int_range(random, 0, 6);
        bool from_top = g_rand_boolean(random);
        bool fits = false;

        if (live->len > 0 && g_rand_int_range(random, 0, 3) == 0) {
            guint i = (guint) g_rand_int_range(random, 0, (gint32) live->len);
            const uint64_t *old = &g_array_index(live, uint64_t, 2 * i);

            for (uint64_t at = old[0]; at < old[0] + old[1]; at++)
                used[at] = false;
            cr_assert(vdt_iova_space_release(space, old[0], old[1]));
            g_array_remove_index_fast(live, i);
            continue;
        }
        uint64_t expected = 0;
        for (uint64_t at = (16 + align - 1) / align * align; at + pair[1] <= 1024; at += align) {
            bool free_here = true;

            for (uint64_t b = at; b < at + pair[1] && free_here; b++)
                free_here = !used[b];
            if (free_here && (from_top || !fits))
                expected = at;
            fits = fits || free_here;
        }
        cr_assert_eq(vdt_iova_space_alloc(space, pair[1], align, from_top, &pair[0], NULL), fits);
        if (!fits)
            continue;
        cr_assert_eq(pair[0], expected, "round %u", round);
        for (uint64_t at = pair[0]; at < pair[0] + pair[1]; at++)
            used[at] = true;
        g_array_append_val(live, pair);
    }
}

Test(iova_table, lookup_follows_stretches_and_joins_what_continues)
{
    const struct vdt_iova_stretch stretches[] = {
        {0x4000, 0x90000, 0x1000},
        {0x1000, 0x80000, 0x1000},
        {0x2000, 0x81000, 0x1000}, /* continues on both sides */
        {0x3000, 0x70000, 0x1000}, /* only on this side */
        {0x9000, 0, 0},
    };
    VDT_AUTO(iova_table) table = vdt_iova_table_new(stretches, G_N_ELEMENTS(stretches));
    const struct {
        uint64_t from, len, to;
    } rows[] = {
        {0x1000, 1, 0x80000}, {0x1000, 0x2000, 0x80000},
        {0x1fff, 2, 0x80fff}, {0x2fff, 1, 0x81fff},
        {0x2fff, 2, 0},       {0x3000, 0x1000, 0x70000},
        {0x3fff, 2, 0},       {0x4fff, 1, 0x90fff},
        {0x4fff, 2, 0},       {0xfff, 1, 0},
        {0xfff, 2, 0},        {0x5000, 1, 0},
        {0x9000, 1, 0},       {TOP, 1, 0},
        {TOP, 2, 0},          {0x1000, TOP, 0},
        {0x1000, 0, 0},
    };

    cr_assert(table);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        uint64_t to = 0;

        cr_expect_eq(vdt_iova_table_lookup(table, rows[i].from, rows[i].len, &to), rows[i].to != 0,
                     "row %u", i);
        cr_expect_eq(to, rows[i].to, "row %u", i);
    }
}

Test(iova_table, last_byte_of_the_address_space_can_be_translated)
{
    const struct vdt_iova_stretch stretch = {TOP - 0xfff, 0x1000, 0x1000};
    VDT_AUTO(iova_table) table = vdt_iova_table_new(&stretch, 1);
    uint64_t to = 0;

    cr_assert(vdt_iova_table_lookup(table, TOP, 1, &to));
    cr_assert_eq(to, 0x1fff);
    cr_assert_not(vdt_iova_table_lookup(table, TOP, 2, &to));
    cr_assert_not(vdt_iova_table_lookup(table, 0, 1, &to));
}

Test(iova_table, overlapping_or_wrapping_stretches_are_refused)
{
    const struct vdt_iova_stretch overlap[] = {{0, 0x9000, 0x1001}, {0x1000, 0x20000, 1}};
    const struct vdt_iova_stretch from_wraps = {TOP, 0, 2}, to_wraps = {0, TOP, 2};
    VDT_AUTO(iova_table) empty = vdt_iova_table_new(NULL, 0);
    uint64_t to;

    cr_assert_null(vdt_iova_table_new(overlap, 2));
    cr_assert_null(vdt_iova_table_new(&from_wraps, 1));
    cr_assert_null(vdt_iova_table_new(&to_wraps, 1));
    cr_assert(empty);
    cr_assert_not(vdt_iova_table_lookup(empty, 0, 1, &to));
}

/* Every look-up against a walk over the stretches, at sizes that make one granule hold many. */
Test(iova_table, random_tables_match_a_walk)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(99);
    const unsigned counts[] = {1, 2, 7, 100, 3000};

    for (unsigned n = 0; n < G_N_ELEMENTS(counts); n++) {
        g_autofree struct vdt_iova_stretch *s = g_new(struct vdt_iova_stretch, counts[n]);
        uint64_t from = 0;

        for (unsigned i = 0; i < counts[n]; i++) {
            if (i % 100 == 50)
                from += 1ull << g_rand_int_range(random, 20, 40);
            from += (uint64_t) g_rand_int_range(random, 0, 3);
            s[i].from = from;
            s[i].len = (uint64_t) g_rand_int_range(random, 1, 5000);
            s[i].to = (uint64_t) i << 32; /* nothing joins */
            from += s[i].len;
        }
        VDT_AUTO(iova_table) table = vdt_iova_table_new(s, counts[n]);
        for (unsigned i = 0; i < counts[n]; i++) {
            const uint64_t at[] = {s[i].from - 1, s[i].from, s[i].from + s[i].len / 2,
                                   s[i].from + s[i].len - 1, s[i].from + s[i].len};

            for (unsigned k = 0; k < G_N_ELEMENTS(at); k++) {
                uint64_t expected = UINT64_MAX, to = UINT64_MAX;

                for (unsigned j = i ? i - 1 : 0; j < counts[n] && j <= i + 1; j++) {
                    if (at[k] >= s[j].from && at[k] - s[j].from < s[j].len)
                        expected = s[j].to + (at[k] - s[j].from);
                }
                vdt_iova_table_lookup(table, at[k], 1, &to);
                cr_assert_eq(to, expected, "%u stretches, number %u, place %u", counts[n], i, k);
            }
        }
    }
}
