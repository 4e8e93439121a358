/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <glib.h>
#include <string.h>

#include "control/stripe.h"

VDT_SUITE(stripe);

#define SIZE_MAX_TRIED 9u

struct stretch {
    uint32_t at, len, end;
};

/* Random takes and frees; each byte has one owner at most. */
Test(stripe, stretches_never_overlap)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);

    for (uint32_t size = 1; size <= SIZE_MAX_TRIED; size++) {
        struct vdt_stripe stripe = {.size = size};
        struct stretch taken[SIZE_MAX_TRIED + 1];
        unsigned count = 0;

        for (unsigned step = 0; step < 20000; step++) {
            if (count > 0 && g_rand_boolean(rand)) {
                vdt_stripe_free(&stripe, taken[0].end, count == 1);
                memmove(&taken[0], &taken[1], --count * sizeof(taken[0]));
                continue;
            }
            struct stretch new = {.len = 1 + (uint32_t) g_rand_int_range(rand, 0, (gint32) size)};
            if (!vdt_stripe_find(&stripe, new.len, &new.at))
                continue;
            new.end = vdt_stripe_take(&stripe, new.at, new.len);
            cr_assert_leq(new.at + new.len, size);
            for (unsigned i = 0; i < count; i++)
                cr_assert(taken[i].at + taken[i].len <= new.at || new.at + new.len <= taken[i].at,
                          "size %u step %u", size, step);
            taken[count++] = new;
        }
    }
}

Test(stripe, an_empty_one_takes_its_whole_size)
{
    struct vdt_stripe stripe = {.size = 100};
    uint32_t at;

    for (unsigned i = 0; i < 10; i++) {
        cr_assert(vdt_stripe_find(&stripe, 100, &at));
        uint32_t end = vdt_stripe_take(&stripe, at, 100);
        cr_assert_not(vdt_stripe_find(&stripe, 1, &at));
        vdt_stripe_free(&stripe, end, true);
    }
    cr_assert_not(vdt_stripe_find(&stripe, 101, &at));
}

Test(stripe, the_freed_front_is_used_again_while_the_back_is_taken)
{
    struct vdt_stripe stripe = {.size = 10};
    uint32_t at, first = vdt_stripe_take(&stripe, 0, 4);

    vdt_stripe_take(&stripe, 4, 6);
    cr_assert_not(vdt_stripe_find(&stripe, 1, &at));
    vdt_stripe_free(&stripe, first, false);
    cr_assert(vdt_stripe_find(&stripe, 3, &at));
    cr_assert_eq(at, 0);
    cr_assert_not(vdt_stripe_find(&stripe, 4, &at), "full would look like empty");
}
