/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "shadow/inflight_area_private.h"

uint64_t
vdt_inflight_area_own_size(uint16_t queues, uint16_t size)
{
    return 2u * queues * vdt_area_stride(size);
}

struct vdt_inflight_area *
vdt_inflight_area_map_own(int fd, uint16_t queues, uint16_t size, GError **error)
{
    struct vdt_inflight_area *area = NULL;

    if (vdt_area_check_rings(queues, size, error) && queues <= UINT16_MAX / 2)
        area = vdt_inflight_area_map(fd, 0, vdt_inflight_area_own_size(queues, size),
                                     (uint16_t) (2 * queues), size, error);
    if (!area)
        return NULL;
    area->queues = queues;
    area->own = true;
    return area;
}

static uint16_t *
copy_version(const struct vdt_inflight_area *area, uint32_t index)
{
    return vdt_area_version(vdt_area_region(area, area->queues + index));
}

void
vdt_inflight_area_forget(struct vdt_inflight_area *area, uint32_t index)
{
    if (index >= area->queues)
        return;
    vdt_store16(vdt_area_version(vdt_area_region(area, index)), 0);
    if (area->own)
        vdt_store16(copy_version(area, index), 0);
}

void
vdt_inflight_area_set_direct(struct vdt_inflight_area *area, uint32_t index, uint64_t tag,
                             uint16_t used)
{
    if (!area->own || index >= area->queues) {
        vdt_inflight_area_forget(area, index);
        return;
    }
    struct vdt_area_split_head *head = (void *) vdt_area_region(area, index);
    vdt_inflight_area_save(area, index);
    vdt_store16(&head->version, 0);
    vdt_area_keep_order();
    vdt_store64(&head->features, tag);
    vdt_store16(&head->entries, area->entries);
    vdt_store16(&head->used, used);
    vdt_area_keep_order();
    vdt_store16(&head->version, VDT_AREA_DIRECT);
    vdt_area_keep_order();
    vdt_store16(copy_version(area, index), 0);
}

void
vdt_inflight_area_save(struct vdt_inflight_area *area, uint32_t index)
{
    if (!area->own || index >= area->queues)
        return;
    uint8_t *from = vdt_area_region(area, index), *to = vdt_area_region(area, area->queues + index);
    const size_t rest = offsetof(struct vdt_area_split_head, entries);

    /* The copy that an earlier crash left is what counts already. */
    if (vdt_load16(vdt_area_version(to)) != 0)
        return;
    memcpy(to, from, offsetof(struct vdt_area_split_head, version));
    memcpy(to + rest, from + rest, area->stride - rest);
    vdt_area_keep_order();
    vdt_store16(vdt_area_version(to), vdt_load16(vdt_area_version(from)));
    vdt_area_keep_order();
}

void
vdt_inflight_area_settled(struct vdt_inflight_area *area, uint32_t index)
{
    if (!area->own || index >= area->queues)
        return;
    vdt_area_keep_order();
    vdt_store16(vdt_area_version(vdt_area_region(area, index)), VDT_AREA_VERSION);
    vdt_area_keep_order();
    vdt_store16(copy_version(area, index), 0);
    vdt_area_keep_order();
}
