/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "base/wire.h"

VDT_SUITE(wire);

Test(wire, shared_fields_are_little_endian)
{
    uint64_t aligned = 0;
    uint8_t *bytes = (uint8_t *) &aligned;

    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (uint8_t) (0x11 * (i + 1));
    cr_assert_eq(vdt_load16(bytes), 0x2211);
    cr_assert_eq(vdt_load16_acquire(bytes + 2), 0x4433);
    cr_assert_eq(vdt_load32(bytes), 0x44332211);
    cr_assert_eq(vdt_load64(bytes), 0x8877665544332211);
}

Test(wire, shared_stores_are_read_back_and_touch_nothing_else)
{
    uint8_t __attribute__((aligned(8))) bytes[16];

    memset(bytes, 0xee, sizeof(bytes));
    vdt_store16(bytes + 2, 0x0102);
    vdt_store16_release(bytes + 4, 0x0304);
    cr_assert_eq(memcmp(bytes, "\xee\xee\x02\x01\x04\x03\xee\xee", 8), 0);
    vdt_store32(bytes + 4, 0x01020304);
    cr_assert_eq(memcmp(bytes, "\xee\xee\x02\x01\x04\x03\x02\x01\xee", 9), 0);
    vdt_store64(bytes, 0x0102030405060708);
    cr_assert_eq(memcmp(bytes, "\x08\x07\x06\x05\x04\x03\x02\x01\xee", 9), 0);
}

Test(wire, private_fields_have_any_alignment)
{
    uint8_t bytes[16];

    for (unsigned at = 0; at < 8; at++) {
        memset(bytes, 0xee, sizeof(bytes));
        vdt_put64(bytes + at, 0xfedcba9876543210);
        cr_assert_eq(bytes[at], 0x10);
        cr_assert_eq(bytes[at + 7], 0xfe);
        cr_assert_eq(bytes[at + 8], 0xee);
        cr_assert_eq(vdt_get64(bytes + at), 0xfedcba9876543210);
        cr_assert_eq(vdt_get32(bytes + at), 0x76543210);
        cr_assert_eq(vdt_get16(bytes + at + 6), 0xfedc);
        vdt_put32(bytes + at, 0xffffffff);
        cr_assert_eq(vdt_get64(bytes + at), 0xfedcba98ffffffff);
        vdt_put16(bytes + at, 0);
        cr_assert_eq(vdt_get32(bytes + at), 0xffff0000);
    }
}

Test(wire, range_end_knows_the_edge_of_64_bits)
{
    const struct {
        uint64_t start, len;
        bool ok;
    } rows[] = {
        {0, 0, true},
        {0, UINT64_MAX, true},
        {1, UINT64_MAX, false},
        {UINT64_MAX, 0, true},
        {UINT64_MAX, 1, false},
        {UINT64_MAX - 4095, 4095, true},
        {UINT64_MAX - 4095, 4096, false}, /* an end of 2^64 cannot be stored */
    };

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t end;

        cr_expect_eq(vdt_range_end(rows[i].start, rows[i].len, &end), rows[i].ok, "row %u", i);
        if (rows[i].ok)
            cr_expect_eq(end, rows[i].start + rows[i].len, "row %u", i);
    }
}
