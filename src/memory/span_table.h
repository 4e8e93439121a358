/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Span table: look-up of disjoint address spans in a few ns, however many there are.
 *
 * What lies between the first span's begin and the last one's end is cut into equal granules; for
 * each one the table has the first span that ends in or behind it. A search is among the spans that
 * end in one granule: real layouts have one there at most. It steps without branches, which nothing
 * could predict where addresses are random. Immutable. Thread: look up from any.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vdt_span {
    uint64_t first, last; /* both inclusive, so that a span may end at 2^64 - 1 */
    uint64_t delta;       /* the same byte on the other side, minus @first; wraps */
};

struct vdt_span_table {
    struct vdt_span *spans; /* owned, @count, sorted */
    uint32_t *index;        /* owned, @granules + 1 entries into @spans */
    uint64_t base;     /* of the first span */
    uint64_t granules;
    unsigned count;
    unsigned shift;
};

/* Copies @spans. @join: neighbours with the same delta become one. False, and an empty @table, when
 * two overlap or one is inverted. */
bool vdt_span_table_init(struct vdt_span_table *table, const struct vdt_span *spans, unsigned count,
                         bool join);
void vdt_span_table_clear(struct vdt_span_table *table);

/* The span that holds [@addr, @addr + @len), NULL when none does. @len > 0. */
static inline const struct vdt_span *
vdt_span_table_find(const struct vdt_span_table *table, uint64_t addr, uint64_t len)
{
    uint64_t granule = (addr - table->base) >> table->shift; /* below it: beyond them all */

    if (granule >= table->granules)
        return NULL;

    uint32_t low = table->index[granule], n = table->index[granule + 1] - low;
    const struct vdt_span *span = &table->spans[low];

    for (; n > 1; n -= n / 2)
        span += (span[n / 2 - 1].last < addr) * (n / 2);
    span += n & (span->last < addr);
    /* Of an address in a hole both differences wrap, or the first one lies beyond the second. */
    if (addr - span->first > span->last - span->first || len - 1 > span->last - addr)
        return NULL;
    return span;
}
