/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shadow/inflight.h"

#include <glib.h>
#include <string.h>

uint64_t
vdt_inflight_table_size(uint16_t num)
{
    return ((uint64_t) num * VDT_TABLE_ENTRIES + (uint64_t) VDT_TABLES_LONG * num) *
           sizeof(struct vdt_seg);
}

void
vdt_inflight_init(struct vdt_inflight *f, const struct vdt_ring_format *format,
                  const struct vdt_table_memory *table)
{
    uint16_t num = format->num;

    *f = (struct vdt_inflight){.kind = format->kind, .num = num};
    f->heads = g_new0(struct vdt_inflight_head, num);
    f->segs = g_new0(struct vdt_seg, num);
    f->owned_seg = g_new0(bool, num);
    f->free_ids = g_new(uint16_t, num);
    f->free_segs = g_new(uint16_t, num);
    f->free_id_count = f->free_seg_count = num;
    for (uint16_t i = 0; i < num; i++)
        f->free_ids[i] = f->free_segs[i] = (uint16_t) (num - 1 - i);
    if (format->indirect) {
        f->table = *table;
        f->kept_tables = g_malloc0(vdt_inflight_table_size(num));
        f->table_descs = g_new0(struct vdt_seg, num);
        f->long_free = (1u << VDT_TABLES_LONG) - 1;
    }
}

void
vdt_inflight_clear(struct vdt_inflight *f)
{
    g_clear_pointer(&f->heads, g_free);
    g_clear_pointer(&f->segs, g_free);
    g_clear_pointer(&f->owned_seg, g_free);
    g_clear_pointer(&f->free_ids, g_free);
    g_clear_pointer(&f->free_segs, g_free);
    g_clear_pointer(&f->kept_tables, g_free);
    g_clear_pointer(&f->table_descs, g_free);
}

/* Where the table of @head starts, in segments, in both copies. */
static size_t
table_start(const struct vdt_inflight *f, uint16_t id, uint8_t long_table)
{
    if (long_table == 0)
        return (size_t) id * VDT_TABLE_ENTRIES;
    return (size_t) f->num * VDT_TABLE_ENTRIES + (size_t) (long_table - 1) * f->num;
}

static void
disown(struct vdt_inflight *f, uint16_t at, uint32_t count)
{
    while (count-- > 0) {
        f->owned_seg[at] = false;
        at = f->segs[at].next;
    }
}

/* Split: descriptor i stands at place i. False, and nothing kept, when one is taken already. */
static bool
keep_split(struct vdt_inflight *f, const struct vdt_chain *chain)
{
    uint16_t at = chain->head;
    uint32_t i;

    for (i = 0; i < chain->direct && !f->owned_seg[at]; i++) {
        f->owned_seg[at] = true;
        f->segs[at] = chain->seg[i];
        at = chain->seg[i].next;
    }
    if (i < chain->direct || (chain->indirect && f->owned_seg[chain->indirect_slot])) {
        disown(f, chain->head, i);
        return false;
    }
    if (chain->indirect)
        f->owned_seg[chain->indirect_slot] = true;
    return true;
}

static uint16_t
keep_packed(struct vdt_inflight *f, const struct vdt_chain *chain)
{
    uint16_t first = 0, before = 0;

    for (uint32_t i = 0; i < chain->direct; i++) {
        uint16_t at = f->free_segs[--f->free_seg_count];
        f->segs[at] = chain->seg[i];
        if (i == 0)
            first = at;
        else
            f->segs[before].next = at;
        before = at;
    }
    return first;
}

enum vdt_keep
vdt_inflight_keep(struct vdt_inflight *f, const struct vdt_chain *chain, uint16_t *ret_id,
                  struct vdt_seg **ret_table, uint64_t *ret_table_iova)
{
    uint32_t table = chain->count - chain->direct;
    uint8_t long_table = 0;
    uint16_t id;

    if (table > VDT_TABLE_ENTRIES) {
        if (!f->long_free)
            return VDT_KEEP_FULL;
        long_table = (uint8_t) (1 + __builtin_ctz(f->long_free));
    }
    if (f->kind == VDT_RING_SPLIT) {
        id = chain->head;
        if (f->heads[id].busy || !keep_split(f, chain))
            return VDT_KEEP_OWNED;
        f->heads[id].seg = id;
    } else {
        if (f->free_id_count == 0 || f->free_seg_count < chain->direct)
            return VDT_KEEP_FULL;
        id = f->free_ids[--f->free_id_count];
        f->heads[id].seg = keep_packed(f, chain);
    }

    struct vdt_inflight_head *head = &f->heads[id];
    head->order = f->order++;
    head->direct = (uint16_t) chain->direct;
    head->table = (uint16_t) table;
    head->indirect = chain->indirect;
    head->indirect_slot = (uint16_t) chain->indirect_slot;
    head->guest_id = chain->id;
    head->slots = chain->slots;
    head->long_table = long_table;
    head->busy = true;
    f->count++;

    if (chain->indirect) {
        f->table_descs[id] = (struct vdt_seg){
            .addr = chain->table_addr, .len = chain->table_len, .flags = VDT_SEG_INDIRECT};
        size_t start = table_start(f, id, long_table);
        if (long_table)
            f->long_free &= ~(1u << (long_table - 1));
        memcpy(f->kept_tables + start, chain->seg + chain->direct, table * sizeof(struct vdt_seg));
        *ret_table = f->table.host + start;
        *ret_table_iova = f->table.iova + start * sizeof(struct vdt_seg);
    }
    *ret_id = id;
    return VDT_KEEP_OK;
}

void
vdt_inflight_drop(struct vdt_inflight *f, uint16_t id)
{
    struct vdt_inflight_head *head = &f->heads[id];
    uint16_t at = head->seg;

    for (uint32_t i = 0; i < head->direct; i++) {
        if (f->kind == VDT_RING_SPLIT)
            f->owned_seg[at] = false;
        else
            f->free_segs[f->free_seg_count++] = at;
        at = f->segs[at].next;
    }
    if (head->indirect && f->kind == VDT_RING_SPLIT)
        f->owned_seg[head->indirect_slot] = false;
    if (head->long_table)
        f->long_free |= 1u << (head->long_table - 1);
    if (f->kind == VDT_RING_PACKED)
        f->free_ids[f->free_id_count++] = id;
    head->busy = false;
    f->count--;
}

static uint64_t
mark_one(const struct vdt_seg *seg, uint64_t left, vdt_mark mark, void *ctx)
{
    uint64_t len = seg->len < left ? seg->len : left;

    if (!(seg->flags & VDT_SEG_WRITE) || len == 0)
        return left;
    mark(ctx, seg->addr, len);
    return left - len;
}

void
vdt_inflight_each_writable(const struct vdt_inflight *f, uint16_t id, uint64_t limit, vdt_mark mark,
                           void *ctx)
{
    const struct vdt_inflight_head *head = &f->heads[id];
    uint16_t at = head->seg;

    for (uint32_t i = 0; i < head->direct; i++) {
        limit = mark_one(&f->segs[at], limit, mark, ctx);
        at = f->segs[at].next;
    }
    if (head->indirect) {
        const struct vdt_seg *table = f->kept_tables + table_start(f, id, head->long_table);
        for (uint32_t i = 0; i < head->table; i++)
            limit = mark_one(&table[i], limit, mark, ctx);
    }
}

static int
by_order(const void *a, const void *b, void *data)
{
    const struct vdt_inflight_head *heads = data;
    uint64_t x = heads[*(const uint16_t *) a].order, y = heads[*(const uint16_t *) b].order;

    return x < y ? -1 : x > y;
}

uint32_t
vdt_inflight_list(const struct vdt_inflight *f, uint16_t *ids)
{
    uint32_t n = 0;

    for (uint32_t id = 0; id < f->num; id++) {
        if (f->heads[id].busy)
            ids[n++] = (uint16_t) id;
    }
    g_qsort_with_data(ids, (int) n, sizeof(*ids), by_order, f->heads);
    return n;
}

uint32_t
vdt_inflight_segments(const struct vdt_inflight *f, uint16_t id, struct vdt_seg *segs)
{
    const struct vdt_inflight_head *head = &f->heads[id];
    uint16_t at = head->seg;

    for (uint32_t i = 0; i < head->direct; i++) {
        segs[i] = f->segs[at];
        at = f->segs[at].next;
    }
    if (head->indirect)
        memcpy(segs + head->direct, f->kept_tables + table_start(f, id, head->long_table),
               head->table * sizeof(struct vdt_seg));
    return (uint32_t) head->direct + head->table;
}
