/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shadow/stretch.h"

bool
vdt_stretch_find(struct vdt_stretch *ret, const struct vdt_guest_map *map,
                 const struct vdt_iova_table *table, uint64_t addr, uint32_t len)
{
    const struct vdt_span *memory = len ? vdt_guest_map_extent(map, addr, len) : NULL;
    const struct vdt_span *mapped = memory;

    *ret = (struct vdt_stretch){0};
    if (memory && table)
        mapped = vdt_iova_table_find(table, addr, len);
    if (!memory || !mapped)
        return false;

    uint64_t first = MAX(memory->first, mapped->first), last = MIN(memory->last, mapped->last);
    *ret = (struct vdt_stretch){first, MIN(last - first + 1, INT64_MAX), mapped->delta};
    return true;
}
