/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shadow/inflight_area_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"

bool
vdt_area_check_rings(uint16_t queues, uint16_t size, GError **error)
{
    if (queues > 0 && size > 0 && size <= VDT_RING_MAX)
        return true;
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                "an in-flight area for %u rings of %u is refused", queues, size);
    return false;
}

int
vdt_inflight_area_make(uint16_t queues, uint16_t size, uint64_t *ret_size, GError **error)
{
    if (!vdt_area_check_rings(queues, size, error))
        return -1;
    *ret_size = queues * vdt_area_stride(size);

    int fd = vdt_memfd("vdpa-tracker-inflight", *ret_size, error);
    /* Its size is nobody's to change; where that cannot be had the guard does. */
    if (fd >= 0)
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    return fd;
}

struct vdt_inflight_area *
vdt_inflight_area_map(int fd, uint64_t offset, uint64_t size, uint16_t queues, uint16_t queue_size,
                      GError **error)
{
    struct stat st;
    uint64_t end;

    if (!vdt_area_check_rings(queues, queue_size, error))
        return NULL;
    uint64_t stride = vdt_area_stride(queue_size), need = queues * stride;
    size_t page = vdt_fd_page_size(fd);
    if (size < need || offset % page != 0 || !vdt_range_end(offset, size, &end) ||
        end > INT64_MAX || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
        end > (uint64_t) st.st_size) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "an in-flight area of %" G_GUINT64_FORMAT " bytes at %" G_GUINT64_FORMAT
                    " is refused: %u rings of %u take %" G_GUINT64_FORMAT
                    " bytes at a whole page, in a file that holds them",
                    size, offset, queues, queue_size, need);
        return NULL;
    }

    uint64_t len = (need + page - 1) / page * page;
    uint8_t *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t) offset);
    if (map == MAP_FAILED) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot map the in-flight area: %s",
                    g_strerror(errno));
        return NULL;
    }
    struct vdt_sigbus_guard *guard = vdt_sigbus_guard_add(map, len, page, error);
    if (!guard) {
        munmap(map, len);
        return NULL;
    }
    struct vdt_inflight_area *area = g_new0(struct vdt_inflight_area, 1);
    *area = (struct vdt_inflight_area){.map = map,
                                       .size = len,
                                       .stride = stride,
                                       .guard = guard,
                                       .queues = queues,
                                       .entries = queue_size};
    return area;
}

void
vdt_inflight_area_free(struct vdt_inflight_area *area)
{
    if (!area)
        return;
    vdt_sigbus_guard_remove(area->guard);
    munmap(area->map, area->size);
    g_free(area);
}

/* --- what we write --- */

static void
open_split(struct vdt_area_ring *ring, struct vdt_ring_pos pos, const uint16_t *heads,
           uint32_t head_count)
{
    struct vdt_area_split_head *head = (struct vdt_area_split_head *) ring->at;
    g_autofree bool *stays = g_new0(bool, ring->entries);

    for (uint32_t i = 0; i < head_count; i++)
        stays[heads[i]] = true;
    for (uint32_t i = 0; i < ring->entries; i++) {
        if (!stays[i])
            vdt_area_store8(&vdt_area_split_at(ring->at, i)->inflight, 0);
    }
    vdt_store16(&head->used, pos.used);
}

static void
open_packed(struct vdt_area_ring *ring, struct vdt_ring_pos pos)
{
    struct vdt_area_packed_head *head = (struct vdt_area_packed_head *) ring->at;

    ring->next = g_new(uint16_t, ring->entries);
    ring->first = g_new0(uint16_t, ring->format.num);
    ring->last = g_new0(uint16_t, ring->format.num);
    vdt_store16(&head->version, 0);
    vdt_area_keep_order();
    for (uint32_t i = 0; i < ring->entries; i++) {
        ring->next[i] = (uint16_t) (i + 1);
        vdt_area_store8(&vdt_area_packed_at(ring->at, i)->inflight, 0);
        vdt_store16(&vdt_area_packed_at(ring->at, i)->next, ring->next[i]);
    }
    vdt_store16(&head->free_head, 0);
    vdt_store16(&head->old_free_head, 0);
    vdt_store16(&head->used, pos.used & 0x7fff);
    vdt_store16(&head->old_used, pos.used & 0x7fff);
    vdt_area_store8(&head->wrap, (pos.used & 0x8000) != 0);
    vdt_area_store8(&head->old_wrap, (pos.used & 0x8000) != 0);
    vdt_area_keep_order();
}

bool
vdt_area_ring_open(struct vdt_area_ring *ring, struct vdt_inflight_area *area, uint32_t index,
                   const struct vdt_ring_format *format, uint64_t tag, struct vdt_ring_pos pos,
                   const uint16_t *heads, uint32_t head_count)
{
    vdt_area_ring_close(ring);
    if (index >= area->queues || format->num > area->entries)
        return false;
    *ring = (struct vdt_area_ring){.at = vdt_area_region(area, index),
                                   .format = *format,
                                   .entries = area->entries,
                                   .batch = g_new(uint16_t, format->num)};
    if (area->own) {
        vdt_store16(vdt_area_version(ring->at), 0);
        vdt_area_keep_order();
        vdt_store64(&((struct vdt_area_split_head *) ring->at)->features, tag);
    }
    if (format->kind == VDT_RING_SPLIT)
        open_split(ring, pos, heads, head_count);
    else
        open_packed(ring, pos);
    vdt_store16(&((struct vdt_area_split_head *) ring->at)->entries, ring->entries);
    vdt_area_keep_order();
    if (!area->own)
        vdt_store16(vdt_area_version(ring->at), VDT_AREA_VERSION);
    return true;
}

void
vdt_area_ring_close(struct vdt_area_ring *ring)
{
    g_clear_pointer(&ring->batch, g_free);
    g_clear_pointer(&ring->next, g_free);
    g_clear_pointer(&ring->first, g_free);
    g_clear_pointer(&ring->last, g_free);
    ring->at = NULL;
}

/* As many entries as the ring has descriptors: there is always one free. */
static void
take_packed(struct vdt_area_ring *ring, uint16_t id, uint16_t guest_id, uint16_t slots,
            const struct vdt_kept *kept, uint16_t from)
{
    struct vdt_area_packed_head *head = (struct vdt_area_packed_head *) ring->at;
    uint16_t first = ring->free_head, at = first, last = first;

    for (uint16_t i = 0; i < slots; i++) {
        struct vdt_area_packed_entry *entry = vdt_area_packed_at(ring->at, at);
        const struct vdt_seg seg = vdt_kept_seg(&kept[from]);
        vdt_store64(&entry->addr, seg.addr);
        vdt_store32(&entry->len, seg.len);
        vdt_store16(&entry->flags, seg.flags);
        vdt_store16(&entry->id, guest_id);
        vdt_store16(&entry->next, ring->next[at]);
        from = seg.next;
        last = at;
        at = ring->next[at];
    }
    struct vdt_area_packed_entry *entry = vdt_area_packed_at(ring->at, first);
    vdt_store16(&entry->slots, slots);
    vdt_store16(&entry->last, last);
    vdt_store64(&entry->counter, ring->counter++);
    vdt_store16(&head->free_head, at);
    vdt_area_store8(&entry->inflight, 1);
    vdt_area_keep_order();
    vdt_store16(&head->old_free_head, at);
    ring->free_head = at;
    ring->first[id] = first;
    ring->last[id] = last;
}

void
vdt_area_ring_take(struct vdt_area_ring *ring, uint16_t id, uint16_t guest_id, uint16_t slots,
                   const struct vdt_kept *kept, uint16_t first)
{
    if (ring->format.kind == VDT_RING_PACKED) {
        take_packed(ring, id, guest_id, slots, kept, first);
    } else {
        vdt_area_split_take(ring->at, id, ring->counter++);
    }
    vdt_area_keep_order();
}

void
vdt_area_ring_give(struct vdt_area_ring *ring, uint16_t id)
{
    if (ring->format.kind == VDT_RING_PACKED) {
        uint16_t last = ring->last[id];
        ring->next[last] = ring->free_head;
        vdt_store16(&vdt_area_packed_at(ring->at, last)->next, ring->free_head);
        ring->free_head = ring->first[id];
    }
    ring->batch[ring->staged++] = id;
}

/* Each of the batch tells which was given before it. */
static void
link_batch(struct vdt_area_ring *ring)
{
    struct vdt_area_split_head *head = (struct vdt_area_split_head *) ring->at;

    for (uint32_t i = 1; i < ring->staged; i++)
        vdt_store16(&vdt_area_split_at(ring->at, ring->batch[i])->next, ring->batch[i - 1]);
    vdt_area_keep_order();
    vdt_store16(&head->last_given, ring->batch[ring->staged - 1]);
}

void
vdt_area_ring_publishing(struct vdt_area_ring *ring, uint16_t used)
{
    if (ring->format.kind == VDT_RING_SPLIT) {
        link_batch(ring);
    } else {
        struct vdt_area_packed_head *head = (struct vdt_area_packed_head *) ring->at;
        vdt_store16(&head->free_head, ring->free_head);
        vdt_store16(&head->used, used & 0x7fff);
        vdt_area_store8(&head->wrap, (used & 0x8000) != 0);
    }
    vdt_area_keep_order();
}

static void
clear_split(struct vdt_area_ring *ring)
{
    for (uint32_t i = 0; i < ring->staged; i++)
        vdt_area_store8(&vdt_area_split_at(ring->at, ring->batch[i])->inflight, 0);
}

static void
clear_packed(struct vdt_area_ring *ring)
{
    for (uint32_t i = 0; i < ring->staged; i++) {
        uint16_t first = ring->first[ring->batch[i]];
        vdt_area_store8(&vdt_area_packed_at(ring->at, first)->inflight, 0);
    }
}

void
vdt_area_ring_published(struct vdt_area_ring *ring, uint16_t used)
{
    bool split = ring->format.kind == VDT_RING_SPLIT;

    vdt_area_keep_order();
    if (split)
        clear_split(ring);
    else
        clear_packed(ring);
    vdt_area_keep_order();
    ring->staged = 0;
    if (split) {
        vdt_store16(&((struct vdt_area_split_head *) ring->at)->used, used);
        return;
    }
    struct vdt_area_packed_head *head = (struct vdt_area_packed_head *) ring->at;
    vdt_store16(&head->old_free_head, ring->free_head);
    vdt_store16(&head->old_used, used & 0x7fff);
    vdt_area_store8(&head->old_wrap, (used & 0x8000) != 0);
}
