/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shadow/inflight.h"

#include <criterion/criterion.h>
#include <glib.h>
#include <string.h>

#include "lib/leak.h"

VDT_SUITE(inflight);

#define NUM 64u

struct store {
    struct vdt_inflight f;
    struct vdt_table_memory memory;
    struct vdt_seg segs[2 * NUM + VDT_TABLE_ENTRIES];
    struct vdt_chain chain;
};

static void
begin(struct store *s, enum vdt_ring_kind kind)
{
    struct vdt_ring_format format = {.kind = kind, .num = NUM, .indirect = true};

    memset(s, 0, sizeof(*s));
    s->memory = (struct vdt_table_memory){g_malloc0(vdt_inflight_table_size(NUM)), 0x4000};
    s->chain.seg = s->segs;
    vdt_inflight_init(&s->f, &format, &s->memory);
}

static void
end(struct store *s)
{
    vdt_inflight_clear(&s->f);
    g_free(s->memory.host);
    vdt_test_check_leaks();
}

/* @direct descriptors at @head, head + 1 ...; then a table of @table entries. */
static enum vdt_keep
keep(struct store *s, uint16_t head, uint32_t direct, uint32_t table, uint16_t *ret_id,
     uint64_t *ret_iova)
{
    struct vdt_seg *copy = NULL;
    uint64_t iova = 0;

    s->chain.head = s->chain.id = head;
    s->chain.direct = direct;
    s->chain.count = direct + table;
    s->chain.indirect = table > 0;
    s->chain.indirect_slot = head + direct;
    s->chain.slots = (uint16_t) (direct + (table > 0));
    for (uint32_t i = 0; i < direct + table; i++)
        s->segs[i] = (struct vdt_seg){.addr = 0x1000u * (head + 1u) + i,
                                      .len = 10,
                                      .flags = i % 2 ? VDT_SEG_WRITE : 0,
                                      .next = (uint16_t) (head + i + 1)};
    enum vdt_keep kept = vdt_inflight_keep(&s->f, &s->chain, ret_id, &copy, &iova);
    if (ret_iova)
        *ret_iova = iova;
    cr_expect_eq(copy != NULL, kept == VDT_KEEP_OK && table > 0);
    return kept;
}

static const enum vdt_ring_kind kinds[] = {VDT_RING_SPLIT, VDT_RING_PACKED};

Test(inflight, what_was_kept_comes_back_whole_and_in_fetch_order)
{
    static const uint16_t heads[] = {9, 0, 4, 12};

    for (unsigned k = 0; k < 2; k++) {
        struct vdt_seg segs[2 * NUM];
        uint16_t ids[4], list[NUM];
        struct store s;

        begin(&s, kinds[k]);
        for (unsigned i = 0; i < 4; i++)
            cr_assert_eq(keep(&s, heads[i], i + (i != 3), i == 3 ? 5 : 0, &ids[i], NULL),
                         VDT_KEEP_OK);
        cr_assert_eq(vdt_inflight_list(&s.f, list), 4);
        for (unsigned i = 0; i < 4; i++) {
            cr_expect_eq(list[i], ids[i]);
            cr_expect_eq(vdt_inflight_head(&s.f, ids[i]).guest_id, heads[i]);
            uint32_t n = vdt_inflight_segments(&s.f, ids[i], segs);
            cr_expect_eq(n, i == 3 ? 8 : i + 1);
            for (uint32_t j = 0; j < n; j++)
                cr_expect_eq(segs[j].addr, 0x1000u * (heads[i] + 1u) + j);
        }
        vdt_inflight_drop(&s.f, ids[1]);
        cr_assert_eq(vdt_inflight_list(&s.f, list), 3);
        cr_expect_eq(list[1], ids[2]);
        end(&s);
    }
}

Test(inflight, split_is_known_by_its_head)
{
    uint16_t id;
    struct store s;

    begin(&s, VDT_RING_SPLIT);
    keep(&s, 11, 1, 0, &id, NULL);
    cr_expect_eq(id, 11);
    end(&s);
}

Test(inflight, a_descriptor_in_flight_is_not_taken_again)
{
    static const struct {
        uint16_t head;
        uint32_t direct, table;
    } rows[] = {{4, 1, 0}, {5, 1, 0}, {3, 2, 0}, {2, 4, 0}, {6, 0, 2}, {3, 1, 2}, {5, 2, 0}};
    uint16_t id;
    struct store s;

    begin(&s, VDT_RING_SPLIT);
    /* 4, 5 and the table's 6 */
    cr_assert_eq(keep(&s, 4, 2, 3, &id, NULL), VDT_KEEP_OK);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        uint16_t other;
        cr_expect_eq(keep(&s, rows[i].head, rows[i].direct, rows[i].table, &other, NULL),
                     VDT_KEEP_OWNED, "row %u", i);
        cr_expect_eq(s.f.count, 1);
    }
    for (unsigned i = 0; i < NUM; i++)
        cr_expect_eq(s.f.kept[i].posted.mark != 0, i >= 4 && i <= 6, "refusing leaves %u alone", i);
    vdt_inflight_drop(&s.f, id);
    for (unsigned i = 0; i < NUM; i++)
        cr_expect_eq(s.f.kept[i].posted.mark, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        cr_expect_eq(keep(&s, rows[i].head, rows[i].direct, rows[i].table, &id, NULL), VDT_KEEP_OK);
        vdt_inflight_drop(&s.f, id);
    }
    end(&s);
}

/* A guest that changes a descriptor between two reads can make a chain meet itself. */
Test(inflight, a_chain_that_holds_a_descriptor_twice_is_refused)
{
    struct vdt_seg *table;
    uint64_t iova;
    uint16_t id;
    struct store s;

    begin(&s, VDT_RING_SPLIT);
    keep(&s, 3, 2, 0, &id, NULL);
    vdt_inflight_drop(&s.f, id);
    s.segs[0].next = 3;
    cr_expect_eq(vdt_inflight_keep(&s.f, &s.chain, &id, &table, &iova), VDT_KEEP_OWNED);
    s.chain.direct = s.chain.count = 1;
    s.chain.indirect = true;
    s.chain.indirect_slot = 3;
    cr_expect_eq(vdt_inflight_keep(&s.f, &s.chain, &id, &table, &iova), VDT_KEEP_OWNED);
    for (unsigned i = 0; i < NUM; i++)
        cr_expect_eq(s.f.kept[i].posted.mark, 0);
    end(&s);
}

Test(inflight, long_tables_run_out_and_come_back)
{
    for (unsigned k = 0; k < 2; k++) {
        uint16_t ids[VDT_TABLES_LONG], id;
        uint64_t iova[VDT_TABLES_LONG], again;
        struct store s;

        begin(&s, kinds[k]);
        for (unsigned i = 0; i < VDT_TABLES_LONG; i++)
            cr_assert_eq(keep(&s, (uint16_t) i, 0, VDT_TABLE_ENTRIES + 1, &ids[i], &iova[i]),
                         VDT_KEEP_OK);
        cr_expect_eq(keep(&s, 9, 0, VDT_TABLE_ENTRIES + 1, &id, NULL), VDT_KEEP_FULL);
        cr_expect_eq(s.f.count, VDT_TABLES_LONG);
        cr_expect_eq(keep(&s, 10, 0, VDT_TABLE_ENTRIES, &id, NULL), VDT_KEEP_OK,
                     "short ones go on");
        vdt_inflight_drop(&s.f, ids[2]);
        cr_expect_eq(keep(&s, 9, 0, VDT_TABLE_ENTRIES + 1, &id, &again), VDT_KEEP_OK);
        cr_expect_eq(again, iova[2]);
        end(&s);
    }
}

Test(inflight, tables_of_different_ids_do_not_overlap_and_lie_within_the_memory)
{
    uint64_t iova[NUM];
    uint16_t id;
    struct store s;

    begin(&s, VDT_RING_SPLIT);
    for (uint16_t i = 0; i < NUM; i++) {
        uint32_t entries = i < VDT_TABLES_LONG ? NUM : VDT_TABLE_ENTRIES;
        cr_assert_eq(keep(&s, i, 0, entries, &id, &iova[i]), VDT_KEEP_OK);
        cr_expect_geq(iova[i], 0x4000);
        cr_expect_leq(iova[i] + 16 * entries, 0x4000 + vdt_inflight_table_size(NUM));
        for (uint16_t j = 0; j < i; j++)
            cr_expect(iova[i] >= iova[j] + 16 * VDT_TABLE_ENTRIES ||
                      iova[j] >= iova[i] + 16 * entries);
    }
    end(&s);
}

Test(inflight, packed_ids_and_places_add_up_and_run_out)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);
    uint16_t held[NUM], id;
    unsigned count = 0, full = 0;
    struct store s;

    begin(&s, VDT_RING_PACKED);
    for (unsigned step = 0; step < 5000; step++) {
        if (g_rand_boolean(rand)) {
            uint32_t direct = (uint32_t) g_rand_int_range(rand, 1, 16);
            if (keep(&s, (uint16_t) step, direct, 0, &id, NULL) == VDT_KEEP_OK)
                held[count++] = id;
            else
                full++;
        } else if (count > 0) {
            unsigned at = (unsigned) g_rand_int_range(rand, 0, (gint32) count);
            vdt_inflight_drop(&s.f, held[at]);
            held[at] = held[--count];
        }
        uint32_t segs = 0;
        for (unsigned i = 0; i < count; i++)
            segs += vdt_inflight_head(&s.f, held[i]).direct;
        cr_assert_eq(s.f.count, count);
        cr_assert_eq(s.f.free_count + segs, NUM);
    }
    cr_expect_gt(full, 0);
    end(&s);
}

struct marks {
    uint64_t bytes;
    unsigned calls;
};

static void
count_mark(void *ctx, uint64_t gpa, uint64_t len)
{
    struct marks *marks = ctx;

    marks->bytes += len;
    marks->calls++;
}

Test(inflight, the_limit_counts_writable_bytes_only)
{
    /* Ten bytes each, every second writable: 4 of 8 in two parts. */
    static const struct {
        uint64_t limit, bytes;
        unsigned calls;
    } rows[] = {{0, 0, 0}, {1, 1, 1}, {10, 10, 1}, {11, 11, 2}, {25, 25, 3}, {UINT64_MAX, 40, 4}};

    for (unsigned k = 0; k < 2; k++) {
        uint16_t id;
        struct store s;

        begin(&s, kinds[k]);
        cr_assert_eq(keep(&s, 2, 4, 4, &id, NULL), VDT_KEEP_OK);
        for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
            struct marks marks = {0};
            vdt_inflight_each_writable(&s.f, id, rows[i].limit, count_mark, &marks);
            cr_expect_eq(marks.bytes, rows[i].bytes);
            cr_expect_eq(marks.calls, rows[i].calls, "limit %lu: %u", (long) rows[i].limit,
                         marks.calls);
        }
        end(&s);
    }
}
