/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shadow/inflight_area.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/wire.h"
#include "memory/sigbus.h"
#include "virtio/packed_layout.h"

#define VERSION 1u

/* As vhost-user lays it out; fields by vdt_load and vdt_store. */
struct split_entry {
    uint8_t inflight, reserved[5];
    uint16_t next; /* the one given before it in its batch */
    uint64_t counter;
};

struct split_head {
    uint64_t features;
    uint16_t version, entries, last_given, used;
};

struct packed_entry {
    uint8_t inflight, reserved;
    uint16_t next; /* in its chain, else in the free list */
    uint16_t last, slots;
    uint64_t counter;
    uint16_t id, flags;
    uint32_t len;
    uint64_t addr;
};

struct packed_head {
    uint64_t features;
    uint16_t version, entries, free_head, old_free_head, used, old_used;
    uint8_t wrap, old_wrap, reserved[7];
};

G_STATIC_ASSERT(sizeof(struct split_entry) == 16 && sizeof(struct split_head) == 16);
G_STATIC_ASSERT(sizeof(struct packed_entry) == 32 && sizeof(struct packed_head) == 32);
G_STATIC_ASSERT(offsetof(struct packed_head, wrap) == 20);

struct vdt_inflight_area {
    uint8_t *map; /* owned */
    uint64_t size, stride;
    struct vdt_sigbus_guard *guard;
    uint16_t queues, entries;
};

static struct split_entry *
split_at(const uint8_t *region, uint32_t i)
{
    return (struct split_entry *) (region + sizeof(struct split_head)) + i;
}

static struct packed_entry *
packed_at(const uint8_t *region, uint32_t i)
{
    return (struct packed_entry *) (region + sizeof(struct packed_head)) + i;
}

static void
store8(uint8_t *p, uint8_t value)
{
    __atomic_store_n(p, value, __ATOMIC_RELAXED);
}

/* What went before is in memory when this process dies here: no more than the compiler's order. */
static void
keep_order(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static uint64_t
stride_of(uint16_t size)
{
    uint64_t page = (uint64_t) sysconf(_SC_PAGESIZE);
    uint64_t bytes = sizeof(struct packed_head) + (uint64_t) size * sizeof(struct packed_entry);

    return (bytes + page - 1) / page * page;
}

static bool
check_rings(uint16_t queues, uint16_t size, GError **error)
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
    if (!check_rings(queues, size, error))
        return -1;
    *ret_size = queues * stride_of(size);

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

    if (!check_rings(queues, queue_size, error))
        return NULL;
    uint64_t stride = stride_of(queue_size), need = queues * stride;
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

void
vdt_inflight_area_forget(struct vdt_inflight_area *area, uint32_t index)
{
    /* The version stands at the same place for either kind. */
    if (index < area->queues)
        vdt_store16(area->map + index * area->stride + offsetof(struct split_head, version), 0);
}

/* --- what is there --- */

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
    const struct split_head *head = (struct split_head *) region;
    uint16_t used = vdt_load16((uint8_t *) mem->device + 2);
    uint16_t avail = vdt_load16((uint8_t *) mem->driver + 2);
    uint16_t published = (uint16_t) (used - vdt_load16(&head->used));
    uint16_t at = vdt_load16(&head->last_given);

    if (published > format->num)
        return true; /* of another life of the ring */
    /* Published, but not cleared yet: the last batch. */
    for (uint16_t i = 0; i < published; i++) {
        if (at >= format->num)
            return false;
        split_at(region, at)->inflight = 0;
        at = vdt_load16(&split_at(region, at)->next);
    }
    for (uint32_t i = 0; i < vdt_load16(&head->entries); i++) {
        const struct split_entry *entry = split_at(region, i);
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
        const struct packed_entry *entry = packed_at(region, at);
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
    const struct packed_head *head = (struct packed_head *) region;
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
         at = vdt_load16(&packed_at(region, at)->next)) {
        seen[at] = true;
        packed_at(region, at)->inflight = 0;
    }

    ret->segs = g_new0(struct vdt_seg, entries);
    for (uint32_t i = 0; i < entries; i++) {
        const struct packed_entry *entry = packed_at(region, i);
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
    ret->pos.used = used;
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
    /* One look: the frontend may write into it at any time. */
    g_autofree uint8_t *region = g_memdup2(area->map + index * area->stride, area->stride);
    uint16_t version = vdt_load16(&((struct split_head *) region)->version);
    uint16_t entries = vdt_load16(&((struct split_head *) region)->entries);

    if (format->num > area->entries) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "ring %u of %u does not fit its in-flight area of %u; the ring does not start",
                    index, format->num, area->entries);
        return false;
    }
    if (version == 0)
        return true;
    ret->requests = g_array_new(FALSE, FALSE, sizeof(struct vdt_area_request));
    bool ok = version == VERSION && entries == area->entries &&
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

/* --- what we write --- */

static void
open_split(struct vdt_area_ring *ring, struct vdt_ring_pos pos, const uint16_t *heads,
           uint32_t head_count)
{
    struct split_head *head = (struct split_head *) ring->at;
    g_autofree bool *stays = g_new0(bool, ring->entries);

    for (uint32_t i = 0; i < head_count; i++)
        stays[heads[i]] = true;
    for (uint32_t i = 0; i < ring->entries; i++) {
        if (!stays[i])
            store8(&split_at(ring->at, i)->inflight, 0);
    }
    vdt_store16(&head->used, pos.used);
}

static void
open_packed(struct vdt_area_ring *ring, struct vdt_ring_pos pos)
{
    struct packed_head *head = (struct packed_head *) ring->at;

    ring->next = g_new(uint16_t, ring->entries);
    ring->first = g_new0(uint16_t, ring->format.num);
    ring->last = g_new0(uint16_t, ring->format.num);
    vdt_store16(&head->version, 0);
    keep_order();
    for (uint32_t i = 0; i < ring->entries; i++) {
        ring->next[i] = (uint16_t) (i + 1);
        store8(&packed_at(ring->at, i)->inflight, 0);
        vdt_store16(&packed_at(ring->at, i)->next, ring->next[i]);
    }
    vdt_store16(&head->free_head, 0);
    vdt_store16(&head->old_free_head, 0);
    vdt_store16(&head->used, pos.used & 0x7fff);
    vdt_store16(&head->old_used, pos.used & 0x7fff);
    store8(&head->wrap, (pos.used & 0x8000) != 0);
    store8(&head->old_wrap, (pos.used & 0x8000) != 0);
    keep_order();
}

bool
vdt_area_ring_open(struct vdt_area_ring *ring, struct vdt_inflight_area *area, uint32_t index,
                   const struct vdt_ring_format *format, struct vdt_ring_pos pos,
                   const uint16_t *heads, uint32_t head_count)
{
    vdt_area_ring_close(ring);
    if (index >= area->queues || format->num > area->entries)
        return false;
    *ring = (struct vdt_area_ring){.at = area->map + index * area->stride,
                                   .format = *format,
                                   .entries = area->entries,
                                   .batch = g_new(uint16_t, format->num)};
    if (format->kind == VDT_RING_SPLIT)
        open_split(ring, pos, heads, head_count);
    else
        open_packed(ring, pos);
    vdt_store16(&((struct split_head *) ring->at)->entries, ring->entries);
    vdt_store16(&((struct split_head *) ring->at)->version, VERSION);
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
    struct packed_head *head = (struct packed_head *) ring->at;
    uint16_t first = ring->free_head, at = first, last = first;

    for (uint16_t i = 0; i < slots; i++) {
        struct packed_entry *entry = packed_at(ring->at, at);
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
    struct packed_entry *entry = packed_at(ring->at, first);
    vdt_store16(&entry->slots, slots);
    vdt_store16(&entry->last, last);
    vdt_store64(&entry->counter, ring->counter++);
    vdt_store16(&head->free_head, at);
    store8(&entry->inflight, 1);
    keep_order();
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
        vdt_store64(&split_at(ring->at, id)->counter, ring->counter++);
        keep_order();
        store8(&split_at(ring->at, id)->inflight, 1);
    }
    keep_order();
}

void
vdt_area_ring_give(struct vdt_area_ring *ring, uint16_t id)
{
    if (ring->format.kind == VDT_RING_SPLIT) {
        if (ring->staged > 0)
            vdt_store16(&split_at(ring->at, id)->next, ring->batch[ring->staged - 1]);
    } else {
        uint16_t last = ring->last[id];
        ring->next[last] = ring->free_head;
        vdt_store16(&packed_at(ring->at, last)->next, ring->free_head);
        ring->free_head = ring->first[id];
    }
    ring->batch[ring->staged++] = id;
}

void
vdt_area_ring_publishing(struct vdt_area_ring *ring, uint16_t used)
{
    if (ring->format.kind == VDT_RING_SPLIT) {
        struct split_head *head = (struct split_head *) ring->at;
        vdt_store16(&head->last_given, ring->batch[ring->staged - 1]);
    } else {
        struct packed_head *head = (struct packed_head *) ring->at;
        vdt_store16(&head->free_head, ring->free_head);
        vdt_store16(&head->used, used & 0x7fff);
        store8(&head->wrap, (used & 0x8000) != 0);
    }
    keep_order();
}

void
vdt_area_ring_published(struct vdt_area_ring *ring, uint16_t used)
{
    bool split = ring->format.kind == VDT_RING_SPLIT;

    keep_order();
    for (uint32_t i = 0; i < ring->staged; i++)
        store8(split ? &split_at(ring->at, ring->batch[i])->inflight
                     : &packed_at(ring->at, ring->first[ring->batch[i]])->inflight,
               0);
    keep_order();
    ring->staged = 0;
    if (split) {
        vdt_store16(&((struct split_head *) ring->at)->used, used);
        return;
    }
    struct packed_head *head = (struct packed_head *) ring->at;
    vdt_store16(&head->old_free_head, ring->free_head);
    vdt_store16(&head->old_used, used & 0x7fff);
    store8(&head->old_wrap, (used & 0x8000) != 0);
}
