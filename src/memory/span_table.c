/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "memory/span_table.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

/* Fine enough that real layouts have one span a granule: an index of 16 KiB where spans are few, of
 * about a granule a span where they are many, since a finer one would not stay in the cache. */
#define GRANULES_MIN 4096u
#define GRANULES_MAX 65536u

static int
compare_spans(const void *a, const void *b)
{
    uint64_t x = ((const struct vdt_span *) a)->first, y = ((const struct vdt_span *) b)->first;

    return x < y ? -1 : x > y;
}

/* Sorted in, disjoint out; false when they are not. */
static bool
check_and_join(struct vdt_span *spans, unsigned *count, bool join)
{
    unsigned n = 0;

    for (unsigned i = 0; i < *count; i++) {
        if (spans[i].last < spans[i].first)
            return false;
        if (n > 0 && spans[i].first <= spans[n - 1].last)
            return false;
        if (join && n > 0 && spans[n - 1].last + 1 == spans[i].first &&
            spans[n - 1].delta == spans[i].delta)
            spans[n - 1].last = spans[i].last;
        else
            spans[n++] = spans[i];
    }
    *count = n;
    return true;
}

static void
build_index(struct vdt_span_table *table)
{
    uint64_t base = table->spans[0].first, top = table->spans[table->count - 1].last - base;
    uint64_t wanted = CLAMP((uint64_t) table->count, GRANULES_MIN, GRANULES_MAX);
    unsigned span = 0;

    table->base = base;
    table->shift = 12;
    while ((top >> table->shift) >= wanted)
        table->shift++;
    table->granules = (top >> table->shift) + 1;
    table->index = g_new(uint32_t, table->granules + 1);
    for (uint64_t g = 0; g < table->granules; g++) {
        while (table->spans[span].last - base < g << table->shift)
            span++;
        table->index[g] = span;
    }
    /* The last span ends in the last granule, so a search there has to stop at it. */
    table->index[table->granules] = table->count - 1;
}

bool
vdt_span_table_init(struct vdt_span_table *table, const struct vdt_span *spans, unsigned count,
                    bool join)
{
    *table = (struct vdt_span_table){.count = count};
    table->spans = g_new(struct vdt_span, count);
    if (count > 0) {
        memcpy(table->spans, spans, count * sizeof(*spans));
        qsort(table->spans, count, sizeof(*spans), compare_spans);
    }
    if (!check_and_join(table->spans, &table->count, join)) {
        vdt_span_table_clear(table);
        return false;
    }
    if (table->count > 0)
        build_index(table);
    return true;
}

void
vdt_span_table_clear(struct vdt_span_table *table)
{
    g_free(table->spans);
    g_free(table->index);
    memset(table, 0, sizeof(*table));
}
