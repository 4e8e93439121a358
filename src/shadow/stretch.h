/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stretch: a piece of guest memory and what makes device addresses of its addresses.
 *
 * The data path keeps the one of the last segment: the next segment mostly lies in it as well and
 * needs no look-up. Nothing of it holds once the map or the table is another.
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

/* The one with all of [@addr, @addr + @len), @len > 0. False, and none (of no size), where that is
 * not guest memory, or in pieces for the device. */
bool vdt_stretch_find(struct vdt_stretch *ret, const struct vdt_guest_map *map,
                      const struct vdt_iova_table *table, uint64_t addr, uint32_t len);
