/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "virtio/ring.h"

VDT_SUITE(ring);

static const struct vdt_ring_format split = {VDT_RING_SPLIT, 256};
static const struct vdt_ring_format packed = {VDT_RING_PACKED, 100};

Test(ring, areas_have_the_sizes_of_the_spec)
{
    cr_assert_eq(vdt_ring_desc_size(&split), 4096);
    cr_assert_eq(vdt_ring_driver_size(&split), 6 + 2 * 256);
    cr_assert_eq(vdt_ring_device_size(&split), 6 + 8 * 256);
    cr_assert_eq(vdt_ring_desc_size(&packed), 1600);
    cr_assert_eq(vdt_ring_driver_size(&packed), 4);
    cr_assert_eq(vdt_ring_device_size(&packed), 4);
}

Test(ring, alignment_differs_by_kind)
{
    struct vdt_ring_addr addr = {0x1000, 0x2002, 0x3004};

    cr_assert(vdt_ring_addr_aligned(&split, &addr));
    cr_assert(!vdt_ring_addr_aligned(&packed, &addr));
    addr.driver = 0x2004;
    cr_assert(vdt_ring_addr_aligned(&packed, &addr));
    addr.device = 0x3002;
    cr_assert(!vdt_ring_addr_aligned(&split, &addr));
    addr = (struct vdt_ring_addr){0x1008, 0x2000, 0x3000};
    cr_assert(!vdt_ring_addr_aligned(&split, &addr));
}

Test(ring, sizes)
{
    static const struct {
        uint32_t num;
        bool split, packed;
    } rows[] = {
        {0, false, false},     {1, true, true},
        {2, true, true},       {3, false, true},
        {256, true, true},     {32767, false, true},
        {32768, true, true},   {32769, false, false},
        {65536, false, false}, {0x80000000u, false, false},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cr_expect_eq(vdt_ring_num_valid(VDT_RING_SPLIT, rows[i].num), rows[i].split, "%u",
                     rows[i].num);
        cr_expect_eq(vdt_ring_num_valid(VDT_RING_PACKED, rows[i].num), rows[i].packed, "%u",
                     rows[i].num);
    }
}

Test(ring, positions)
{
    static const struct {
        const struct vdt_ring_format *format;
        struct vdt_ring_pos pos;
        bool valid;
    } rows[] = {
        {&split, {0, 0}, true},
        {&split, {65535, 65535}, true},
        {&split, {100, 65436}, true}, /* 200 in flight over the wrap */
        {&split, {256, 0}, true},
        {&split, {257, 0}, false},
        {&split, {0, 1}, false}, /* used before it was available */
        {&packed, {0x8000, 0x8000}, true},
        {&packed, {99, 99}, true},
        {&packed, {100, 99}, false},
        {&packed, {99, 0x8000 | 100}, false},
        {&packed, {0, 0x8000}, true},  /* full: avail is a lap ahead */
        {&packed, {1, 0x8000}, false}, /* more than full */
        {&packed, {0x8000, 0x8001}, false},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        cr_expect_eq(vdt_ring_pos_valid(rows[i].format, rows[i].pos), rows[i].valid, "row %zu", i);
}

Test(ring, vhost_numbers)
{
    static const struct {
        const struct vdt_ring_format *format;
        uint32_t base;
        bool ok;
        struct vdt_ring_pos pos;
    } rows[] = {
        {&split, 0, true, {0, 0}},
        {&split, 65535, true, {65535, 65535}},
        {&split, 65536, false, {0, 0}},
        {&packed, 0x80008000, true, {0x8000, 0x8000}},
        {&packed, 0x80058007, true, {0x8007, 0x8005}},
        {&packed, 0, true, {0x8000, 0x8000}},
        {&packed, 0x8003, true, {0x8003, 0x8003}},
        {&packed, 0x80008064, false, {0, 0}},
        {&packed, 0x80648000, false, {0, 0}},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct vdt_ring_pos pos = {0xdead, 0xdead};

        cr_expect_eq(vdt_ring_pos_from_base(rows[i].format, rows[i].base, &pos), rows[i].ok);
        if (!rows[i].ok)
            cr_expect_eq(pos.avail, 0xdead, "row %zu touched", i);
        else
            cr_expect(pos.avail == rows[i].pos.avail && pos.used == rows[i].pos.used, "row %zu", i);
    }
    cr_assert_eq(vdt_ring_pos_to_base(&split, (struct vdt_ring_pos){7, 3}), 7);
    cr_assert_eq(vdt_ring_pos_to_base(&packed, (struct vdt_ring_pos){7, 0x8003}), 0x80030007);
}

Test(ring, packed_positions_wrap_at_the_ring_size)
{
    cr_assert_eq(vdt_packed_advance(0x8000 | 99, 1, 100), 0);
    cr_assert_eq(vdt_packed_advance(99, 2, 100), 0x8001);
    cr_assert_eq(vdt_packed_advance(32767, 1, 32768), 0x8000);
    cr_assert_eq(vdt_packed_advance(0x8005, 100, 100), 5);
    for (uint16_t from = 0; from < 100; from++) {
        for (uint16_t slots = 0; slots <= 100; slots++) {
            uint16_t a = vdt_packed_advance(from, slots, 100);
            uint16_t b = vdt_packed_advance(from | 0x8000, slots, 100);

            cr_assert_eq(vdt_packed_distance(from, a, 100), slots);
            cr_assert_eq(vdt_packed_distance(from | 0x8000, b, 100), slots);
        }
    }
}

Test(ring, every_fault_has_a_name_of_its_own)
{
    for (int i = 0; i < VDT_FAULT_COUNT; i++) {
        cr_assert_str_neq(vdt_ring_fault_name((enum vdt_ring_fault) i), "unknown fault");
        for (int j = 0; j < i; j++)
            cr_assert_str_neq(vdt_ring_fault_name((enum vdt_ring_fault) i),
                              vdt_ring_fault_name((enum vdt_ring_fault) j));
    }
    cr_assert_str_eq(vdt_ring_fault_name((enum vdt_ring_fault) 99), "unknown fault");
}
