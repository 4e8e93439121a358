/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * IOVA space: which device addresses are taken, and the table that translates where guest memory
 * cannot be mapped at IOVA = GPA (device range too small or with holes).
 *
 * Thread: changed on the control thread; vdt_iova_table_* lookups on the data threads against an
 * immutable table.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/auto.h"
#include "memory/span_table.h"

struct vdt_iova_space;

/* [@first, @last] inclusive, as VHOST_VDPA_GET_IOVA_RANGE tells it. An inverted range has no room.
 */
struct vdt_iova_space *vdt_iova_space_new(uint64_t first, uint64_t last);
void vdt_iova_space_free(struct vdt_iova_space *space);
VDT_DEFINE_AUTO(iova_space, vdt_iova_space_free)

/* Take exactly [@start, @start + @len). False with @error when outside or taken. */
bool vdt_iova_space_reserve(struct vdt_iova_space *space, uint64_t start, uint64_t len,
                            GError **error);
/* Take @len bytes at a multiple of @align: from the top down or from the bottom up. */
bool vdt_iova_space_alloc(struct vdt_iova_space *space, uint64_t len, uint64_t align, bool from_top,
                          uint64_t *ret_start, GError **error);
/* Give back exactly what reserve() or alloc() took. False if that was never taken. */
bool vdt_iova_space_release(struct vdt_iova_space *space, uint64_t start, uint64_t len);
bool vdt_iova_space_overlaps(const struct vdt_iova_space *space, uint64_t start, uint64_t len);

/* A translation for a set of stretches, each contiguous on both sides. */
struct vdt_iova_stretch {
    uint64_t from, to, len;
};

/* Immutable. The spans' delta leads to the other side. */
struct vdt_iova_table {
    struct vdt_span_table spans;
};

/* Stretches need not be sorted; those of no length count for nothing. NULL when @from ranges
 * overlap or a range wraps. One look-up costs a few ns at any count (see memory/span_table.h). */
struct vdt_iova_table *vdt_iova_table_new(const struct vdt_iova_stretch *stretches, unsigned count);
void vdt_iova_table_free(struct vdt_iova_table *table);
VDT_DEFINE_AUTO(iova_table, vdt_iova_table_free)
/* The stretch that holds [@from, @from + @len), of those that continue each other on both sides and
 * count as one; NULL when none does. @len > 0. */
static inline const struct vdt_span *
vdt_iova_table_find(const struct vdt_iova_table *table, uint64_t from, uint64_t len)
{
    return vdt_span_table_find(&table->spans, from, len);
}

/* False when it is not contiguous on the other side. @len 0 is never found. */
static inline bool
vdt_iova_table_lookup(const struct vdt_iova_table *table, uint64_t from, uint64_t len,
                      uint64_t *ret_to)
{
    const struct vdt_span *span = len ? vdt_iova_table_find(table, from, len) : NULL;

    if (!span)
        return false;
    *ret_to = from + span->delta;
    return true;
}
