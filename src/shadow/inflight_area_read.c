/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <vdpa-tracker/error.h>

#include "shadow/inflight_area_private.h"
#include "virtio/packed_layout.h"

void
vdt_area_history_clear(struct vdt_area_history *history)
{
    g_clear_pointer(&history->requests, g_array_unref);
    g_clear_pointer(&history->segs, g_free);
}

static int
by_counter(const void *a, const void *b)
{
    const struct vdt_area_request *x = a, *y = b;

    return x->counter < y->counter ? -1 : x->counter > y->counter;
}

static bool
read_split(uint8_t *region, const struct vdt_ring_format *format, const struct vdt_ring_mem *mem,
           struct vdt_area_history *ret)
{
    const struct vdt_area_split_head *head = (struct vdt_area_split_head *) region;
    uint16_t used = vdt_load16((uint8_t *) mem->device + 2);
    uint16_t avail = vdt_load16((uint8_t *) mem->driver + 2);
    uint16_t published = (uint16_t) (used - vdt_load16(&head->used));
    uint16_t at = vdt_load16(&head->last_given);

    ret->noted = vdt_load16(&head->used);

    if (published > format->num)
        return true; /* of another life of the ring */
    /* Published, but not cleared yet: the last batch. */
    for (uint16_t i = 0; i < published; i++) {
        if (at >= format->num)
            return false;
        vdt_area_split_at(region, at)->inflight = 0;
        at = vdt_load16(&vdt_area_split_at(region, at)->next);
    }
    for (uint32_t i = 0; i < vdt_load16(&head->entries); i++) {
        const struct vdt_area_split_entry *entry = vdt_area_split_at(region, i);
        struct vdt_area_request request = {
            .counter = vdt_load64(&entry->counter), .id = (uint16_t) i, .slots = 1};
        if (!entry->inflight)
            continue;
        if (i >= format->num)
            return false;
        g_array_append_val(ret->requests, request);
    }
    ret->pos = (struct vdt_ring_pos){.avail = (uint16_t) (used + ret->requests->len), .used = used};
    ret->known =
        (uint16_t) (avail - used) <= format->num && (uint16_t) (avail - used) >= ret->requests->len;
    return true;
}

/* The chain of @slots entries from @at on, into ret->segs; false where an entry is of two. */
static bool
read_packed_chain(const uint8_t *region, uint32_t entries, uint32_t at, uint32_t slots, bool *seen,
                  struct vdt_seg *segs)
{
    for (uint32_t i = 0; i < slots; i++) {
        if (at >= entries || seen[at])
            return false;
        seen[at] = true;
        const struct vdt_area_packed_entry *entry = vdt_area_packed_at(region, at);
        segs[i] = (struct vdt_seg){.addr = vdt_load64(&entry->addr),
                                   .len = vdt_load32(&entry->len),
                                   .flags = vdt_load16(&entry->flags)};
        at = vdt_load16(&entry->next);
    }
    return true;
}

static bool
read_packed(uint8_t *region, const struct vdt_ring_format *format, const struct vdt_ring_mem *mem,
            struct vdt_area_history *ret)
{
    const struct vdt_area_packed_head *head = (struct vdt_area_packed_head *) region;
    uint32_t entries = vdt_load16(&head->entries), free_head, total = 0;
    uint16_t used, old_used;
    g_autofree bool *seen = g_new0(bool, entries);

    used = (uint16_t) ((vdt_load16(&head->used) & 0x7fff) | (head->wrap ? 0x8000 : 0));
    old_used = (uint16_t) ((vdt_load16(&head->old_used) & 0x7fff) | (head->old_wrap ? 0x8000 : 0));
    if ((used & 0x7fff) >= format->num || (old_used & 0x7fff) >= format->num)
        return false;
    /* A batch was noted: it counts if its first descriptor is not available any more. */
    free_head = vdt_load16(&head->free_head);
    if (used != old_used &&
        vdt_packed_is_avail(vdt_load16(vdt_packed_flags(mem->desc, old_used)), old_used)) {
        used = old_used;
        free_head = vdt_load16(&head->old_free_head);
    } else if (used == old_used) {
        free_head = vdt_load16(&head->old_free_head);
    }
    for (uint32_t at = free_head; at < entries && !seen[at];
         at = vdt_load16(&vdt_area_packed_at(region, at)->next)) {
        seen[at] = true;
        vdt_area_packed_at(region, at)->inflight = 0;
    }

    ret->segs = g_new0(struct vdt_seg, entries);
    for (uint32_t i = 0; i < entries; i++) {
        const struct vdt_area_packed_entry *entry = vdt_area_packed_at(region, i);
        struct vdt_area_request request = {.counter = vdt_load64(&entry->counter),
                                           .seg = total,
                                           .id = vdt_load16(&entry->id),
                                           .slots = vdt_load16(&entry->slots)};
        if (!entry->inflight)
            continue;
        if (request.slots == 0 || request.slots > format->num - total ||
            !read_packed_chain(region, entries, i, request.slots, seen, ret->segs + total))
            return false;
        total += request.slots;
        g_array_append_val(ret->requests, request);
    }
    ret->noted = ret->pos.used = used;
    ret->pos.avail = vdt_packed_advance(used, (uint16_t) total, format->num);
    ret->known = true;
    return true;
}

bool
vdt_inflight_area_read(const struct vdt_inflight_area *area, uint32_t index,
                       const struct vdt_ring_format *format, const struct vdt_ring_mem *mem,
                       struct vdt_area_history *ret, GError **error)
{
    *ret = (struct vdt_area_history){0};
    if (index >= area->queues)
        return true;
    bool saved =
        area->own && vdt_load16(vdt_area_version(vdt_area_region(area, area->queues + index)));
    /* One look: the frontend may write into it at any time. */
    g_autofree uint8_t *region =
        g_memdup2(vdt_area_region(area, saved ? area->queues + index : index), area->stride);
    uint16_t version = vdt_load16(vdt_area_version(region));
    uint16_t entries = vdt_load16(&((struct vdt_area_split_head *) region)->entries);

    if (format->num > area->entries) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "ring %u of %u does not fit its in-flight area of %u; the ring does not start",
                    index, format->num, area->entries);
        return false;
    }
    if (version == 0)
        return true;
    ret->requests = g_array_new(FALSE, FALSE, sizeof(struct vdt_area_request));
    ret->tag = area->own ? vdt_load64(&((struct vdt_area_split_head *) region)->features) : 0;
    if (area->own && version == VDT_AREA_DIRECT) {
        ret->known = ret->direct = true;
        ret->noted = vdt_load16(&((struct vdt_area_split_head *) region)->used);
        ret->pos.used = ret->pos.avail = ret->noted;
        return true;
    }
    bool ok = version == VDT_AREA_VERSION && entries == area->entries &&
              (format->kind == VDT_RING_SPLIT ? read_split(region, format, mem, ret)
                                              : read_packed(region, format, mem, ret));
    if (!ok) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "ring %u: its in-flight area (version %u, %u entries) holds what no backend "
                    "writes; the ring does not start",
                    index, version, entries);
        vdt_area_history_clear(ret);
        return false;
    }
    g_array_sort(ret->requests, by_counter);
    return true;
}
