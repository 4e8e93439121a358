/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "memory/iova_space.h"

#include <inttypes.h>

#include <vdpa-tracker/error.h>

/* Inclusive at both ends, so that 2^64 - 1 is an address like any other. */
struct range {
    uint64_t first, last;
};

struct vdt_iova_space {
    uint64_t first, last;
    GArray *taken; /* struct range, sorted, disjoint, all within [first, last] */
};

struct vdt_iova_space *
vdt_iova_space_new(uint64_t first, uint64_t last)
{
    struct vdt_iova_space *space = g_new(struct vdt_iova_space, 1);

    space->first = first;
    space->last = last;
    space->taken = g_array_new(FALSE, FALSE, sizeof(struct range));
    return space;
}

void
vdt_iova_space_free(struct vdt_iova_space *space)
{
    if (!space)
        return;
    g_array_unref(space->taken);
    g_free(space);
}

static struct range *
taken(const struct vdt_iova_space *space, unsigned i)
{
    return &g_array_index(space->taken, struct range, i);
}

/* The first taken range that ends at @address or above; taken->len when there is none. */
static unsigned
lower_bound(const struct vdt_iova_space *space, uint64_t address)
{
    unsigned low = 0, high = space->taken->len;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (taken(space, middle)->last < address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool
range_init(struct range *range, uint64_t start, uint64_t len)
{
    range->first = start;
    return len > 0 && !__builtin_add_overflow(start, len - 1, &range->last);
}

static bool
meets_taken(const struct vdt_iova_space *space, const struct range *range)
{
    unsigned i = lower_bound(space, range->first);

    return i < space->taken->len && taken(space, i)->first <= range->last;
}

bool
vdt_iova_space_overlaps(const struct vdt_iova_space *space, uint64_t start, uint64_t len)
{
    struct range range;

    if (len == 0)
        return false;
    if (!range_init(&range, start, len))
        range.last = UINT64_MAX;
    return meets_taken(space, &range);
}

bool
vdt_iova_space_reserve(struct vdt_iova_space *space, uint64_t start, uint64_t len, GError **error)
{
    const char *why = NULL;
    struct range range;

    if (!range_init(&range, start, len))
        why = len == 0 ? "no length" : "the end lies beyond 64 bits";
    else if (range.first < space->first || range.last > space->last)
        why = "the device cannot address all of it";
    else if (meets_taken(space, &range))
        why = "a part of it is in use";
    if (why) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "cannot take 0x%" PRIx64 " bytes at device address 0x%" PRIx64
                    " (the device has 0x%" PRIx64 " to 0x%" PRIx64 "): %s",
                    len, start, space->first, space->last, why);
        return false;
    }
    g_array_insert_val(space->taken, lower_bound(space, range.first), range);
    return true;
}

/* A multiple of @align in the hole [@first, @last] with room for @len > 0 bytes. */
static bool
fit(uint64_t first, uint64_t last, uint64_t len, uint64_t align, bool from_top, uint64_t *ret_start)
{
    uint64_t highest, start;

    if (last < first || last - first < len - 1)
        return false;
    highest = last - (len - 1);
    if (from_top) {
        start = highest - highest % align;
        if (start < first)
            return false;
    } else {
        uint64_t rest = first % align;

        if (__builtin_add_overflow(first, rest ? align - rest : 0, &start) || start > highest)
            return false;
    }
    *ret_start = start;
    return true;
}

/* Hole number @i lies below taken range number @i; false when it is empty. */
static bool
hole(const struct vdt_iova_space *space, unsigned i, struct range *ret)
{
    *ret = (struct range){space->first, space->last};
    if (i > 0) {
        if (taken(space, i - 1)->last == UINT64_MAX)
            return false;
        ret->first = taken(space, i - 1)->last + 1;
    }
    if (i < space->taken->len) {
        if (taken(space, i)->first == 0)
            return false;
        ret->last = taken(space, i)->first - 1;
    }
    return ret->first <= ret->last;
}

bool
vdt_iova_space_alloc(struct vdt_iova_space *space, uint64_t len, uint64_t align, bool from_top,
                     uint64_t *ret_start, GError **error)
{
    unsigned holes = space->taken->len + 1;

    align = MAX(align, 1);
    for (unsigned n = 0; n < holes && len > 0; n++) {
        unsigned i = from_top ? holes - 1 - n : n;
        struct range range;

        if (!hole(space, i, &range) ||
            !fit(range.first, range.last, len, align, from_top, &range.first))
            continue;
        range.last = range.first + (len - 1);
        g_array_insert_val(space->taken, i, range);
        *ret_start = range.first;
        return true;
    }
    g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED,
                "no 0x%" PRIx64 " free bytes at a multiple of 0x%" PRIx64
                " among the device's addresses 0x%" PRIx64 " to 0x%" PRIx64 " (%u ranges in use)",
                len, align, space->first, space->last, space->taken->len);
    return false;
}

bool
vdt_iova_space_release(struct vdt_iova_space *space, uint64_t start, uint64_t len)
{
    unsigned i = lower_bound(space, start);

    if (len == 0 || i == space->taken->len || taken(space, i)->first != start ||
        taken(space, i)->last - start != len - 1)
        return false;
    g_array_remove_index(space->taken, i);
    return true;
}

struct vdt_iova_table *
vdt_iova_table_new(const struct vdt_iova_stretch *stretches, unsigned count)
{
    g_autofree struct vdt_span *spans = g_new(struct vdt_span, count);
    struct vdt_iova_table *table;
    unsigned n = 0;

    for (unsigned i = 0; i < count; i++) {
        const struct vdt_iova_stretch *s = &stretches[i];
        struct range from, to;

        if (s->len == 0)
            continue;
        if (!range_init(&from, s->from, s->len) || !range_init(&to, s->to, s->len))
            return NULL;
        spans[n++] = (struct vdt_span){from.first, from.last, s->to - s->from};
    }
    table = g_new(struct vdt_iova_table, 1);
    if (!vdt_span_table_init(&table->spans, spans, n, true)) {
        g_free(table);
        return NULL;
    }
    return table;
}

void
vdt_iova_table_free(struct vdt_iova_table *table)
{
    if (!table)
        return;
    vdt_span_table_clear(&table->spans);
    g_free(table);
}
