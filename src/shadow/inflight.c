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
    f->kept = g_new0(struct vdt_kept, num);
    f->heads = g_new0(struct vdt_inflight_head, num);
    f->free = g_new(uint16_t, num);
    f->free_count = num;
    for (uint16_t i = 0; i < num; i++)
        f->free[i] = (uint16_t) (num - 1 - i);
    if (format->indirect) {
        f->table = *table;
        f->kept_tables = g_malloc0(vdt_inflight_table_size(num));
        f->long_free = (1u << VDT_TABLES_LONG) - 1;
    }
}

void
vdt_inflight_clear(struct vdt_inflight *f)
{
    g_clear_pointer(&f->kept, g_free);
    g_clear_pointer(&f->heads, g_free);
    g_clear_pointer(&f->free, g_free);
    g_clear_pointer(&f->kept_tables, g_free);
}

/* Where the table of @head starts, in segments, in both copies. */
static size_t
table_start(const struct vdt_inflight *f, uint16_t id, uint8_t long_table)
{
    if (long_table == 0)
        return (size_t) id * VDT_TABLE_ENTRIES;
    return (size_t) f->num * VDT_TABLE_ENTRIES + (size_t) (long_table - 1) * f->num;
}

static uint16_t
next_of(const struct vdt_inflight *f, uint16_t place)
{
    return f->kept[place].next;
}

static void
put(struct vdt_inflight *f, uint16_t place, const struct vdt_seg *seg, uint16_t next)
{
    struct vdt_kept *kept = &f->kept[place];

    kept->addr = seg->addr;
    kept->len = seg->len;
    kept->next = next;
    kept->posted.mark = seg->flags | VDT_KEPT_PART;
}

static void
release(struct vdt_inflight *f, uint16_t place, uint32_t count)
{
    while (count-- > 0) {
        uint16_t next = next_of(f, place);

        f->kept[place].posted.mark = 0;
        if (f->kind == VDT_RING_PACKED)
            f->free[f->free_count++] = place;
        place = next;
    }
}

/* The guest's table as the descriptor that names it. */
static struct vdt_seg
table_seg(const struct vdt_chain *chain)
{
    return (struct vdt_seg){
        .addr = chain->table_addr, .len = chain->table_len, .flags = VDT_SEG_INDIRECT};
}

/* Split: descriptor i stands at place i. False, and nothing kept, when one is taken already. */
static bool
keep_split(struct vdt_inflight *f, const struct vdt_chain *chain)
{
    uint16_t at = chain->head, slot = (uint16_t) chain->indirect_slot;
    uint32_t i;

    for (i = 0; i < chain->direct && f->kept[at].posted.mark == 0; i++) {
        put(f, at, &chain->seg[i], chain->seg[i].next);
        at = chain->seg[i].next;
    }
    if (i < chain->direct || (chain->indirect && f->kept[slot].posted.mark != 0)) {
        release(f, chain->head, i);
        return false;
    }
    if (chain->indirect) {
        struct vdt_seg table = table_seg(chain);
        put(f, slot, &table, 0);
    }
    return true;
}

/* Packed: as many places as descriptors in the ring. */
static uint16_t
keep_packed(struct vdt_inflight *f, const struct vdt_chain *chain)
{
    uint16_t first = f->free[--f->free_count], at = first;
    struct vdt_seg table;

    if (chain->direct == 0) {
        table = table_seg(chain);
        put(f, first, &table, 0);
    }
    for (uint32_t i = 0; i < chain->direct; i++) {
        uint16_t next = i + 1 < chain->direct ? f->free[--f->free_count] : 0;

        put(f, at, &chain->seg[i], next);
        at = next;
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
        if (!keep_split(f, chain))
            return VDT_KEEP_OWNED;
    } else {
        if (f->free_count < MAX(chain->direct, 1))
            return VDT_KEEP_FULL;
        id = keep_packed(f, chain);
    }

    f->kept[id].posted.mark |= VDT_KEPT_HEAD;
    f->kept[id].order = f->fetched++;
    f->count++;
    f->heads[id] = (struct vdt_inflight_head){.direct = (uint16_t) chain->direct,
                                              .table = (uint16_t) table,
                                              .indirect_slot = (uint16_t) chain->indirect_slot,
                                              .guest_id = chain->id,
                                              .slots = chain->slots,
                                              .long_table = long_table,
                                              .indirect = chain->indirect};
    if (chain->indirect) {
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

bool
vdt_inflight_has(const struct vdt_inflight *f, uint16_t id)
{
    return f->kept[id].posted.mark & VDT_KEPT_HEAD;
}

void
vdt_inflight_drop(struct vdt_inflight *f, uint16_t id)
{
    struct vdt_inflight_head head = vdt_inflight_head(f, id);

    release(f, id, head.direct);
    if (head.indirect && (f->kind == VDT_RING_SPLIT || head.direct == 0))
        release(f, f->kind == VDT_RING_SPLIT ? head.indirect_slot : id, 1);
    if (head.long_table)
        f->long_free |= 1u << (head.long_table - 1);
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
    const struct vdt_inflight_head head = vdt_inflight_head(f, id);
    uint16_t at = id;

    for (uint32_t i = 0; i < head.direct; i++) {
        const struct vdt_seg seg = vdt_kept_seg(&f->kept[at]);
        limit = mark_one(&seg, limit, mark, ctx);
        at = seg.next;
    }
    if (head.indirect) {
        const struct vdt_seg *table = f->kept_tables + table_start(f, id, head.long_table);
        for (uint32_t i = 0; i < head.table; i++)
            limit = mark_one(&table[i], limit, mark, ctx);
    }
}

static int
by_order(const void *a, const void *b, void *data)
{
    const struct vdt_kept *kept = data;
    uint64_t x = kept[*(const uint16_t *) a].order, y = kept[*(const uint16_t *) b].order;

    return x < y ? -1 : x > y;
}

uint32_t
vdt_inflight_list(const struct vdt_inflight *f, uint16_t *ids)
{
    uint32_t n = 0;

    for (uint32_t id = 0; id < f->num; id++) {
        if (vdt_inflight_has(f, (uint16_t) id))
            ids[n++] = (uint16_t) id;
    }
    g_qsort_with_data(ids, (int) n, sizeof(*ids), by_order, f->kept);
    return n;
}

uint32_t
vdt_inflight_segments(const struct vdt_inflight *f, uint16_t id, struct vdt_seg *segs)
{
    const struct vdt_inflight_head head = vdt_inflight_head(f, id);
    uint16_t at = id;

    for (uint32_t i = 0; i < head.direct; i++) {
        segs[i] = vdt_kept_seg(&f->kept[at]);
        at = segs[i].next;
    }
    if (head.indirect)
        memcpy(segs + head.direct, f->kept_tables + table_start(f, id, head.long_table),
               head.table * sizeof(struct vdt_seg));
    return (uint32_t) head.direct + head.table;
}
