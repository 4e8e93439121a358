/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "scope.h"

#include <stdlib.h>

#define TOP UINT64_MAX
#define N_ELEMENTS(a) (sizeof(a) / sizeof((a)[0]))

/* clang-format off */
const struct scope scopes[] = {
    {"split ring of 1", VDT_RING_SPLIT, 1, false, {8, 24, 24}, {0, 0, 0}, {68, 196, 196}},
    {"split ring of 2", VDT_RING_SPLIT, 2, false, {8, 24, 24}, {0, 0, 0}, {2434, 19766, 19766}},
    {"split ring of 4", VDT_RING_SPLIT, 4, false, {4, 24, 40}, {0, 0, 0}, {189018, 268684714, 268684714}},
    {"split ring of 1 with tables", VDT_RING_SPLIT, 1, true, {8, 24, 24}, {8, 24, 24}, {212, 596, 596}},
    {"split ring of 2 with tables", VDT_RING_SPLIT, 2, true, {3, 12, 24}, {4, 12, 24}, {3604, 97720, 97720}},
    {"split ring of 4 with tables", VDT_RING_SPLIT, 4, true, {1, 2, 2}, {2, 8, 12}, {933246, 557664902, 557664902}},
    {"packed ring of 1", VDT_RING_PACKED, 1, false, {8, 24, 24}, {0, 0, 0}, {296, 680, 680}},
    {"packed ring of 2", VDT_RING_PACKED, 2, false, {8, 24, 24}, {0, 0, 0}, {4976, 29080, 29080}},
    {"packed ring of 3", VDT_RING_PACKED, 3, false, {4, 24, 24}, {0, 0, 0}, {12666, 1302000, 1302000}},
    {"packed ring of 4", VDT_RING_PACKED, 4, false, {3, 34, 40}, {0, 0, 0}, {25152, 188294832, 188294832}},
    {"packed ring of 1 with tables", VDT_RING_PACKED, 1, true, {4, 12, 24}, {4, 24, 24}, {324, 836, 836}},
    {"packed ring of 2 with tables", VDT_RING_PACKED, 2, true, {4, 12, 24}, {4, 24, 24}, {4188, 73580, 73580}},
    {"packed ring of 3 with tables", VDT_RING_PACKED, 3, true, {2, 4, 6}, {3, 16, 24}, {21408, 2816022, 2816022}},
    {"packed ring of 4 with tables", VDT_RING_PACKED, 4, true, {1, 1, 2}, {2, 16, 28}, {93784, 186861400, 186861400}},
};
/* clang-format on */
const unsigned scope_count = N_ELEMENTS(scopes);

struct pair {
    uint64_t addr;
    uint32_t len;
    uint16_t noise; /* bits of flags without a meaning */
};

/* The first ones are those that make the most difference, since small scopes end early. */
static const struct pair pairs[] = {
    {0x1000, 1, 0},
    {0x2000, UINT32_MAX, 0xfff8},
    {TOP, 1, 0}, /* ends at 2^64 */
    {TOP, 0, 0x8000},
    {0, 0, 0},
    {TOP - 1, 1, 8},
    {0x1000, 0x80000000, 0},
    {TOP - UINT32_MAX, UINT32_MAX, 0},
    {TOP - UINT32_MAX + 1, UINT32_MAX, 0},
    {0, UINT32_MAX, 0x7ff8},
    {REF_TABLE, 16, 0},
    {REF_HOLE, 64, 0x10},
    {0x1000, 0x7fffffff, 0},
    {0xffffffff, 1, 0},
    {0x7fffffffffffffff, 2, 0x20},
    {0x8000000000000000, 0x80000000, 0},
    {TOP, UINT32_MAX, 0x40},
    {TOP - 15, 15, 0},
    {TOP - 15, 16, 0x100},
    {1, 0xfffffffe, 0},
    {0x100000000, 0x10000, 0x200},
    {0xfff, 4097, 0},
    {0, 1, 0x400},
    {TOP - 1, 0, 0x800},
    {0x5000, 2, 0},
    {0x6000, 3, 0},
    {0x7000, 0x55555555, 0},
    {0x8000, 0x55555556, 0x1000},
    {0x9000, 0x40000000, 0},
    {0xa000, 0x3fffffff, 0},
    {0x4000000000000000, 0xfff0, 0},
    {0xc000000000000000, 0xfff1, 0x2000},
    {TOP - 0x7fffffff, 0x7fffffff, 0},
    {TOP - 0x7ffffffe, 0x7fffffff, 0},
    {REF_TABLE + 64, 16, 0x4000},
    {REF_TABLE - 1, 2, 0},
    {0xb000, 0xffff, 0},
    {0xc000, 0xfffffffd, 0x8008},
    {0xd000, 17, 0},
    {0xe000, 4, 0},
};
#define PAIRS ((unsigned) N_ELEMENTS(pairs))

static unsigned
add(struct ref_desc *shapes, unsigned count, struct ref_desc desc)
{
    if (count == SCOPE_SHAPES)
        abort();
    shapes[count] = desc;
    return count + 1;
}

/* What a descriptor that refers to a table may look like. The first is the plain good one. */
static unsigned
add_tables(struct ref_desc *shapes, unsigned n, const struct scope *scope)
{
    const unsigned num = scope->num;
    const struct pair tables[] = {
        {REF_TABLE, 0, 0},
        {REF_TABLE, 1, 0},
        {REF_TABLE, 15, 0},
        {REF_TABLE, 17, 0},
        {REF_TABLE, 16 * num + 1, 0},
        {REF_TABLE, 16 * (num + 1), 0},
        {REF_TABLE, 0xfffffff0, 0},
        {REF_TABLE, UINT32_MAX, 0},
        {REF_TABLE, 0x100010, 0},
        {REF_HOLE, 16, 0},
        {TOP - 15, 16, 0},
        {TOP - 16, 16, 0},
        {TOP, 16 * num, 0},
        {0, 16, 0},
    };

    if (!scope->indirect) {
        n = add(shapes, n, (struct ref_desc){REF_TABLE, 16, REF_INDIRECT, 0});
        return add(shapes, n, (struct ref_desc){REF_TABLE, 16, REF_INDIRECT | REF_NEXT, 0});
    }
    for (unsigned k = 1; k <= num; k++)
        n = add(shapes, n, (struct ref_desc){REF_TABLE, 16 * k, REF_INDIRECT, 0xffff});
    /* WRITE means nothing here; one length will do, since what follows is the same. */
    n = add(shapes, n, (struct ref_desc){REF_TABLE, 16, REF_INDIRECT | REF_WRITE, 0});
    for (unsigned i = 0; i < N_ELEMENTS(tables); i++) {
        n = add(shapes, n,
                (struct ref_desc){tables[i].addr, tables[i].len, REF_INDIRECT, (uint16_t) i});
    }
    n = add(shapes, n, (struct ref_desc){REF_TABLE, 16, REF_INDIRECT | REF_NEXT, 0});
    return add(shapes, n,
               (struct ref_desc){REF_TABLE, 16, REF_INDIRECT | REF_NEXT | REF_WRITE, 0xffff});
}

/* Pairs with and without WRITE and, for NEXT, every place within @num and two beyond. */
static unsigned
add_split(struct ref_desc *shapes, unsigned n, unsigned count, unsigned num)
{
    for (unsigned i = 0; i < count && i < PAIRS; i++) {
        for (unsigned write = 0; write <= REF_WRITE; write += REF_WRITE) {
            struct ref_desc desc = {pairs[i].addr, pairs[i].len,
                                    (uint16_t) (write | (pairs[i].noise & 0xfff8)),
                                    (uint16_t) (i % 2 ? 0xffff : 0)};

            n = add(shapes, n, desc);
            desc.flags |= REF_NEXT;
            for (unsigned next = 0; next <= num + 1; next++) {
                desc.link = (uint16_t) (next <= num ? next : 0xffff);
                n = add(shapes, n, desc);
            }
        }
    }
    return n;
}

static unsigned
add_packed(struct ref_desc *shapes, unsigned n, unsigned count)
{
    for (unsigned i = 0; i < count && i < PAIRS; i++) {
        for (unsigned flags = 0; flags < REF_INDIRECT; flags++) {
            struct ref_desc desc = {pairs[i].addr, pairs[i].len,
                                    (uint16_t) (flags | (pairs[i].noise & 0x7f78)),
                                    (uint16_t) (i % 2 ? 0xffff : 0)};

            n = add(shapes, n, desc);
            /* The id counts where the chain ends. */
            desc.link = 0x8000;
            if (!(flags & REF_NEXT))
                n = add(shapes, n, desc);
        }
    }
    /* What is not available is not to be looked at further. */
    for (enum ref_bits bits = REF_USED_NOW; bits <= REF_INVERTED; bits++) {
        for (unsigned flags = 0; flags < 2 * REF_INDIRECT; flags++)
            n = add(shapes, n,
                    (struct ref_desc){pairs[0].addr, pairs[0].len, (uint16_t) flags, 1, bits});
    }
    return n;
}

/* In a packed ring's table WRITE alone has a meaning. */
static unsigned
add_packed_entries(struct ref_desc *shapes, unsigned n, unsigned count)
{
    for (unsigned i = 0; i < count && i < PAIRS; i++) {
        for (unsigned flags = 0; flags <= REF_WRITE; flags += REF_WRITE) {
            n = add(shapes, n, (struct ref_desc){pairs[i].addr, pairs[i].len, (uint16_t) flags, 0});
            n = add(shapes, n,
                    (struct ref_desc){pairs[i].addr, pairs[i].len, (uint16_t) (flags | 0xfffd),
                                      0xffff});
        }
    }
    return n;
}

void
scope_fill(const struct scope *scope, enum scope_size size, struct scope_shapes *shapes)
{
    const unsigned ring = scope->ring_pairs[size], entry = scope->entry_pairs[size];

    shapes->ring_count = add_tables(shapes->ring, 0, scope);
    shapes->entry_count = 0;
    if (scope->kind == VDT_RING_SPLIT) {
        const struct ref_desc nested = {REF_TABLE, 16, REF_INDIRECT, 0};

        shapes->ring_count = add_split(shapes->ring, shapes->ring_count, ring, scope->num);
        shapes->entry_count = add(shapes->entry, 0, nested);
        shapes->entry_count = add_split(shapes->entry, shapes->entry_count, entry, scope->num);
    } else {
        shapes->ring_count = add_packed(shapes->ring, shapes->ring_count, ring);
        shapes->entry_count = add_packed_entries(shapes->entry, 0, entry);
    }
}
