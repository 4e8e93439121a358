/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stretch: a piece of guest memory and what makes device addresses of its addresses.
 *
 * Loops over segments keep the one of the last segment in registers: the next segment mostly lies
 * in it as well and needs no look-up. Good for one batch only: maps and tables change between two.
 */
#pragma once

#include "memory/guest_map.h"
#include "memory/iova_space.h"

struct vdt_stretch {
    uint64_t first, size, delta; /* @size < 2^63 */
};

static inline bool
vdt_stretch_holds(const struct vdt_stretch *stretch, uint64_t addr, uint32_t len)
{
    uint64_t at = addr - stretch->first;

    return at < stretch->size && at + len <= stretch->size;
}

/* The one with all of [@addr, @addr + @len); none (of no size) where that is not guest memory, or
 * in pieces for the device. */
static inline struct vdt_stretch
vdt_stretch_find(const struct vdt_guest_map *map, const struct vdt_iova_table *table, uint64_t addr,
                 uint32_t len)
{
    const struct vdt_span *memory = len ? vdt_guest_map_extent(map, addr, len) : NULL;
    const struct vdt_span *mapped;

    if (!memory)
        return (struct vdt_stretch){0};
    if (!table)
        return (struct vdt_stretch){memory->first, MIN(memory->last - memory->first + 1, INT64_MAX),
                                    0};
    mapped = vdt_iova_table_find(table, addr, len);
    if (!mapped)
        return (struct vdt_stretch){0};
    uint64_t first = MAX(memory->first, mapped->first), last = MIN(memory->last, mapped->last);
    return (struct vdt_stretch){first, MIN(last - first + 1, INT64_MAX), mapped->delta};
}
