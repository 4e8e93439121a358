/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest/ram.h"

#include <string.h>

#include "lib/leak.h"

VDT_SUITE(ram);

#define SIZE (8u << 20)
#define HIGH 0x100000000ull

static struct vdt_ram a, b;
static uint64_t pages[16];
static unsigned page_count;

static void
set_up(void)
{
    cr_assert(vdt_ram_init(&a, SIZE, NULL) && vdt_ram_init(&b, SIZE, NULL));
}

static void
tear_down(void)
{
    vdt_ram_clear(&a);
    vdt_ram_clear(&b);
}

static void
note(void *ctx, uint64_t gpa)
{
    pages[page_count++] = gpa;
}

Test(ram, the_two_regions_lie_apart_for_the_guest_and_for_the_vmm)
{
    struct vdt_region_spec specs[VDT_RAM_REGIONS];

    set_up();
    vdt_ram_specs(&a, specs);
    cr_expect_eq(specs[0].gpa, 0);
    cr_expect_eq(specs[1].gpa, HIGH);
    cr_expect_neq(specs[0].frontend, specs[0].gpa);
    cr_expect_eq(specs[1].offset, SIZE / 2);
    cr_expect_eq(vdt_ram_frontend(&a, HIGH + 5), specs[1].frontend + 5);
    tear_down();
}

Test(ram, a_write_marks_each_page_that_it_touches)
{
    set_up();
    vdt_ram_wrote(&a, 0x1fff, 2);
    vdt_ram_wrote(&a, HIGH, 1);
    vdt_ram_wrote(&a, 0x5000, 0);
    vdt_ram_take(&a, a.cpu, note, NULL);
    cr_assert_eq(page_count, 3);
    cr_expect_eq(pages[0], 0x1000);
    cr_expect_eq(pages[1], 0x2000);
    cr_expect_eq(pages[2], HIGH);
    tear_down();
}

/* The harvest goes by words and by blocks of them: none is forgotten at either end. */
Test(ram, every_page_of_a_log_is_taken_once_and_in_order)
{
    const uint64_t size = 40u << 20;
    struct vdt_ram ram;

    cr_assert(vdt_ram_init(&ram, size, NULL));
    for (unsigned region = 0; region < VDT_RAM_REGIONS; region++) {
        uint64_t first = region * HIGH;
        for (uint64_t page = 0; page < size / 2 / VDT_RAM_PAGE; page++) {
            uint64_t gpa = first + page * VDT_RAM_PAGE, other = first + page / 2 * VDT_RAM_PAGE;

            page_count = 0;
            vdt_ram_wrote(&ram, gpa, 1);
            vdt_ram_wrote(&ram, other, 1);
            vdt_ram_take(&ram, ram.cpu, note, NULL);
            cr_assert_eq(page_count, page ? 2 : 1);
            cr_assert_eq(pages[0], other);
            cr_assert_eq(pages[page_count - 1], gpa);
        }
    }
    page_count = 0;
    vdt_ram_take(&ram, ram.cpu, note, NULL);
    cr_expect_eq(page_count, 0);
    vdt_ram_clear(&ram);
}

Test(ram, what_was_taken_is_clear)
{
    set_up();
    vdt_ram_wrote(&a, 0, 1);
    vdt_ram_take(&a, a.cpu, note, NULL);
    vdt_ram_take(&a, a.cpu, note, NULL);
    cr_expect_eq(page_count, 1);
    tear_down();
}

Test(ram, a_page_that_was_not_copied_is_found)
{
    uint64_t first = 0;

    set_up();
    *(uint8_t *) vdt_ram_at(&a, HIGH + 0x3001, 1) = 1;
    *(uint8_t *) vdt_ram_at(&a, 0x7fff, 1) = 1;
    cr_expect_eq(vdt_ram_compare(&a, &b, &first), 2);
    cr_expect_eq(first, 0x7000);
    vdt_ram_copy_page(&b, &a, 0x7000);
    cr_expect_eq(vdt_ram_compare(&a, &b, &first), 1);
    cr_expect_eq(first, HIGH + 0x3000);
    vdt_ram_copy(&b, &a);
    cr_expect_eq(vdt_ram_compare(&a, &b, &first), 0);
    tear_down();
}
