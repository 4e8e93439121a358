/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One row for each thing that a driver may or may not do to a split ring of 4 entries. */
#include "lib/leak.h"
#include "lib/ring_box.h"

#include "virtio/guest_ring.h"

VDT_SUITE(malformed_split);

#define NUM 4u
#define N VDT_SEG_NEXT
#define W VDT_SEG_WRITE
#define I VDT_SEG_INDIRECT
#define TABLE RING_BOX_TABLES

struct row {
    const char *name;
    struct vdt_seg ring[NUM];
    struct vdt_seg table[NUM + 1];
    uint16_t head;
    uint16_t avail; /* avail.idx, 0 stands for 1 */
    bool no_indirect;
    uint16_t flags, used_event;
    enum vdt_ring_fault fault;
    uint32_t count, direct, slots, readable, writable; /* of a chain that is fine */
};

static const struct row rows[] = {
    /* Must be refused. */
    {"avail.idx jumps by more than the ring", .avail = NUM + 1, .fault = VDT_FAULT_AVAIL_INDEX},
    {"avail.idx goes backwards", .avail = 0xffff, .fault = VDT_FAULT_AVAIL_INDEX},
    {"head = ring size", .head = NUM, .fault = VDT_FAULT_HEAD},
    {"head 0xffff", .head = 0xffff, .fault = VDT_FAULT_HEAD},
    {"next = ring size", {{0, 1, N, NUM}}, .fault = VDT_FAULT_NEXT},
    {"next 0xffff", {{0, 1, N, 1}, {0, 1, N, 0xffff}}, .fault = VDT_FAULT_NEXT},
    {"loop on itself", {{0, 1, N, 0}}, .fault = VDT_FAULT_LOOP},
    {"loop over all",
     {{0, 1, N, 1}, {0, 1, N, 2}, {0, 1, N, 3}, {0, 1, N, 0}},
     .fault = VDT_FAULT_LOOP},
    {"loop of empty descriptors", {{0, 0, N, 1}, {0, 0, N, 0}}, .fault = VDT_FAULT_LOOP},
    {"readable behind writable", {{0, 1, N | W, 1}, {0, 1, 0, 0}}, .fault = VDT_FAULT_ORDER},
    {"empty readable behind empty writable", {{0, 0, N | W, 1}}, .fault = VDT_FAULT_ORDER},
    {"address wraps", {{UINT64_MAX - 1, 3, 0, 0}}, .fault = VDT_FAULT_ADDRESS},
    {"buffer ends at 2^64", {{UINT64_MAX, 1, 0, 0}}, .fault = VDT_FAULT_ADDRESS},
    {"2^32 bytes", {{0, 0xffffffff, N, 1}, {0, 1, 0, 0}}, .fault = VDT_FAULT_TOO_LONG},
    {"2^32 bytes over both directions",
     {{0, 0x80000000, N, 1}, {0, 0x80000000, W, 0}},
     .fault = VDT_FAULT_TOO_LONG},
    {"2^34 bytes",
     {{0, 0xffffffff, N, 1}, {0, 0xffffffff, N, 2}, {0, 0xffffffff, N, 3}, {0, 0xffffffff, 0, 0}},
     .fault = VDT_FAULT_TOO_LONG},
    {"indirect not negotiated",
     {{TABLE, 16, I, 0}},
     .no_indirect = true,
     .fault = VDT_FAULT_INDIRECT},
    {"indirect with next", {{TABLE, 16, I | N, 1}}, .fault = VDT_FAULT_INDIRECT},
    {"indirect with next behind a direct one",
     {{0, 1, N, 1}, {TABLE, 16, I | N, 2}},
     .fault = VDT_FAULT_INDIRECT},
    {"nested indirect", {{TABLE, 16, I, 0}}, {{TABLE, 16, I, 0}}, .fault = VDT_FAULT_INDIRECT},
    {"table without a byte", {{TABLE, 0, I, 0}}, .fault = VDT_FAULT_INDIRECT},
    {"table of 15 bytes", {{TABLE, 15, I, 0}}, .fault = VDT_FAULT_INDIRECT},
    {"table of 24 bytes", {{TABLE, 24, I, 0}}, .fault = VDT_FAULT_INDIRECT},
    {"table of more entries than the ring",
     {{TABLE, 16 * (NUM + 1), I, 0}},
     .fault = VDT_FAULT_INDIRECT},
    {"table of 4 GiB - 16", {{TABLE, 0xfffffff0, I, 0}}, .fault = VDT_FAULT_INDIRECT},
    {"table that is not mapped", {{0x10, 16, I, 0}}, .fault = VDT_FAULT_INDIRECT},
    {"table whose address wraps", {{UINT64_MAX - 3, 16, I, 0}}, .fault = VDT_FAULT_ADDRESS},
    {"table: next = its size",
     {{TABLE, 32, I, 0}},
     {{0, 1, N, 1}, {0, 1, N, 2}},
     .fault = VDT_FAULT_NEXT},
    {"table: loop", {{TABLE, 32, I, 0}}, {{0, 1, N, 1}, {0, 1, N, 0}}, .fault = VDT_FAULT_LOOP},
    {"table: loop on itself", {{TABLE, 16, I, 0}}, {{0, 1, N, 0}}, .fault = VDT_FAULT_LOOP},
    {"table: readable behind the ring's writable",
     {{0, 1, N | W, 1}, {TABLE, 16, I, 0}},
     {{0, 1, 0, 0}},
     .fault = VDT_FAULT_ORDER},
    {"table: address wraps",
     {{TABLE, 16, I, 0}},
     {{UINT64_MAX, 16, 0, 0}},
     .fault = VDT_FAULT_ADDRESS},
    {"table and ring: 2^32 bytes",
     {{0, 0xffffffff, N, 1}, {TABLE, 16, I, 0}},
     {{0, 1, 0, 0}},
     .fault = VDT_FAULT_TOO_LONG},

    /* Must be taken. */
    {"one readable", {{0x1000, 7, 0, 0}}, .count = 1, .direct = 1, .slots = 1, .readable = 7},
    {"the whole ring in one chain",
     {{0, 1, N, 3}, {0, 2, N | W, 2}, {0, 4, W, 0}, {0, 8, N, 1}},
     .count = 4,
     .direct = 4,
     .slots = 4,
     .readable = 9,
     .writable = 6},
    {"2^32 - 1 bytes",
     {{0, 0xfffffffe, N, 1}, {0, 1, W, 0}},
     .count = 2,
     .direct = 2,
     .slots = 2,
     .readable = 0xfffffffe,
     .writable = 1},
    {"nothing in it", {{0, 0, 0, 0}}, .count = 1, .direct = 1, .slots = 1},
    {"empty descriptor at an impossible address",
     {{UINT64_MAX, 0, N, 1}, {0x10, 5, W, 9}},
     .count = 2,
     .direct = 2,
     .slots = 2,
     .writable = 5},
    {"next without NEXT is no next",
     {{0, 1, 0, 0xffff}},
     .count = 1,
     .direct = 1,
     .slots = 1,
     .readable = 1},
    {"unknown flags", {{0, 1, 0xfff8, 0}}, .count = 1, .direct = 1, .slots = 1, .readable = 1},
    {"garbage in avail.flags and used_event",
     {{0, 1, 0, 0}},
     .flags = 0xffff,
     .used_event = 0xbeef,
     .count = 1,
     .direct = 1,
     .slots = 1,
     .readable = 1},
    {"indirect alone",
     {{TABLE, 32, I, 0}},
     {{0, 3, N, 1}, {0, 4, W, 0}},
     .count = 2,
     .direct = 0,
     .slots = 1,
     .readable = 3,
     .writable = 4},
    {"indirect with WRITE",
     {{TABLE, 32, I | W, 0}},
     {{0, 3, N, 1}, {0, 4, W, 0}},
     .count = 2,
     .direct = 0,
     .slots = 1,
     .readable = 3,
     .writable = 4},
    {"two direct ones, then indirect",
     {{0, 1, N, 2}, {TABLE, 16, I, 0}, {0, 2, N, 1}},
     {{0, 3, W, 0}},
     .count = 3,
     .direct = 2,
     .slots = 3,
     .readable = 3,
     .writable = 3},
    {"writable, then indirect with a writable",
     {{0, 1, N | W, 1}, {TABLE, 16, I, 0}},
     {{0, 3, W, 0}},
     .count = 2,
     .direct = 1,
     .slots = 2,
     .writable = 4},
    {"table linked backwards",
     {{TABLE, 64, I, 0}},
     {{0, 1, N, 3}, {0, 8, W, 0}, {0, 4, N, 1}, {0, 2, N, 2}},
     .count = 4,
     .direct = 0,
     .slots = 1,
     .readable = 7,
     .writable = 8},
    {"table with entries left over",
     {{TABLE, 64, I, 0}},
     {{0, 1, 0, 0}, {0, 9, I, 0}},
     .count = 1,
     .direct = 0,
     .slots = 1,
     .readable = 1},
    {"three direct ones and a full table",
     {{0, 1, N, 1}, {0, 1, N, 2}, {0, 1, N, 3}, {TABLE, 64, I, 0}},
     {{0, 1, N, 1}, {0, 1, N, 2}, {0, 1, N, 3}, {0, 1, W, 0}},
     .count = 7,
     .direct = 3,
     .slots = 4,
     .readable = 6,
     .writable = 1},
};

static void
lay_out(struct ring_box *box, const struct row *row, uint16_t start)
{
    for (unsigned i = 0; i < NUM; i++)
        ring_box_put_desc((uint8_t *) box->mem.desc + 16 * i, row->ring[i].addr, row->ring[i].len,
                          row->ring[i].flags, row->ring[i].next);
    for (unsigned i = 0; i <= NUM; i++)
        ring_box_put_desc(box->tables + 16 * i, row->table[i].addr, row->table[i].len,
                          row->table[i].flags, row->table[i].next);
    ring_box_avail(box, start, row->head);
    if (row->avail)
        vdt_put16((uint8_t *) box->mem.driver + 2, (uint16_t) (start + row->avail));
    vdt_put16(box->mem.driver, row->flags);
    vdt_put16((uint8_t *) box->mem.driver + 4 + 2 * NUM, row->used_event);
}

static void
check_row(const struct row *row, uint16_t start)
{
    struct vdt_ring_format format = {VDT_RING_SPLIT, NUM, .indirect = !row->no_indirect};
    struct vdt_seg seg[3 * NUM];
    struct vdt_chain chain = {.seg = seg, .capacity = 3 * NUM};
    struct vdt_guest_ring ring;
    struct ring_box box;
    enum vdt_take take;

    ring_box_init(&box, format);
    lay_out(&box, row, start);
    vdt_guest_ring_init(&ring, &format, &box.mem, (struct vdt_ring_pos){start, start});
    take = vdt_guest_ring_take(&ring, &box.reader, &chain);
    cr_expect_eq(ring.fault, row->fault, "%s: %s", row->name, vdt_ring_fault_name(ring.fault));
    cr_expect_leq(box.reads, 1, "%s: table read %u times", row->name, box.reads);
    if (row->fault) {
        cr_expect_eq(take, VDT_TAKE_BROKEN, "%s", row->name);
        cr_expect(ring.pos.avail == start && ring.in_flight == 0, "%s: consumed", row->name);
        cr_expect_eq(vdt_guest_ring_take(&ring, &box.reader, &chain), VDT_TAKE_BROKEN, "%s",
                     row->name);
        cr_expect(!vdt_guest_ring_kicks_on(&ring), "%s: would be polled", row->name);
    } else {
        cr_expect_eq(take, VDT_TAKE_CHAIN, "%s", row->name);
        cr_expect(chain.count == row->count && chain.direct == row->direct &&
                      chain.slots == row->slots && chain.readable == row->readable &&
                      chain.writable == row->writable && chain.indirect == (box.reads == 1),
                  "%s: count %u direct %u slots %u readable %u writable %u", row->name, chain.count,
                  chain.direct, chain.slots, chain.readable, chain.writable);
        cr_expect(chain.head == row->head && chain.id == row->head, "%s: head", row->name);
        for (uint32_t i = 1; i < chain.count; i++)
            cr_expect(chain.seg[i - 1].flags & N, "%s: segment %u without NEXT", row->name, i - 1);
        cr_expect_eq(vdt_guest_ring_take(&ring, &box.reader, &chain), VDT_TAKE_EMPTY, "%s",
                     row->name);
    }
    ring_box_clear(&box);
}

Test(malformed_split, each_row_is_refused_or_taken)
{
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        check_row(&rows[i], 0);
}

Test(malformed_split, also_where_the_index_wraps)
{
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        check_row(&rows[i], 0xffff);
}

Test(malformed_split, chains_in_flight_count_against_the_ring)
{
    struct vdt_ring_format format = {VDT_RING_SPLIT, NUM};
    struct vdt_seg seg[3 * NUM];
    struct vdt_chain chain = {.seg = seg, .capacity = 3 * NUM};
    struct vdt_guest_ring ring;
    struct ring_box box;

    ring_box_init(&box, format);
    vdt_guest_ring_init(&ring, &format, &box.mem, (struct vdt_ring_pos){0, 0});
    for (uint16_t i = 0; i < NUM; i++) {
        ring_box_avail(&box, i, i);
        cr_assert_eq(vdt_guest_ring_take(&ring, NULL, &chain), VDT_TAKE_CHAIN);
    }
    vdt_guest_ring_give(&ring, 0, 1, 0);
    vdt_guest_ring_publish(&ring);
    ring_box_avail(&box, 4, 0);
    cr_assert_eq(vdt_guest_ring_take(&ring, NULL, &chain), VDT_TAKE_CHAIN);
    ring_box_avail(&box, 5, 1);
    cr_assert_eq(vdt_guest_ring_take(&ring, NULL, &chain), VDT_TAKE_BROKEN);
    cr_assert_eq(ring.fault, VDT_FAULT_AVAIL_INDEX);
    ring_box_clear(&box);
}

Test(malformed_split, a_scratch_too_small_is_no_overrun)
{
    struct vdt_ring_format format = {VDT_RING_SPLIT, NUM, .indirect = true};
    struct vdt_seg seg[3 * NUM];

    for (uint32_t capacity = 0; capacity < 11; capacity++) {
        struct vdt_chain chain = {.seg = seg + 3 * NUM - capacity, .capacity = capacity};
        struct vdt_guest_ring ring;
        struct ring_box box;

        ring_box_init(&box, format);
        lay_out(&box, &rows[G_N_ELEMENTS(rows) - 1], 0); /* needs 3 + 2 * 4 */
        vdt_guest_ring_init(&ring, &format, &box.mem, (struct vdt_ring_pos){0, 0});
        cr_assert_eq(vdt_guest_ring_take(&ring, &box.reader, &chain), VDT_TAKE_BROKEN);
        cr_assert_eq(ring.fault, VDT_FAULT_TOO_LONG);
        ring_box_clear(&box);
    }
}

Test(malformed_split, a_position_that_is_none_puts_the_ring_out_of_service)
{
    struct vdt_ring_format format = {VDT_RING_SPLIT, NUM};
    struct vdt_chain chain = {0};
    struct vdt_guest_ring ring;
    struct ring_box box;

    ring_box_init(&box, format);
    vdt_guest_ring_init(&ring, &format, &box.mem, (struct vdt_ring_pos){.avail = 9, .used = 4});
    cr_assert_eq(vdt_guest_ring_take(&ring, NULL, &chain), VDT_TAKE_BROKEN);
    ring_box_clear(&box);
}

/* It would have to know of a used entry that it cannot see yet. */
Test(malformed_split, a_driver_does_not_get_room_by_what_is_staged)
{
    struct vdt_ring_format format = {VDT_RING_SPLIT, 1};
    struct vdt_seg seg[3];
    struct vdt_chain chain = {.seg = seg, .capacity = 3};
    struct vdt_guest_ring ring;
    struct ring_box box;

    ring_box_init(&box, format);
    vdt_guest_ring_init(&ring, &format, &box.mem, vdt_ring_pos_initial(VDT_RING_SPLIT));
    ring_box_avail(&box, 0, 0);
    cr_assert_eq(vdt_guest_ring_take(&ring, &box.reader, &chain), VDT_TAKE_CHAIN);
    vdt_guest_ring_give(&ring, chain.id, chain.slots, 0);
    ring_box_avail(&box, 1, 0);
    cr_expect_eq(vdt_guest_ring_take(&ring, &box.reader, &chain), VDT_TAKE_BROKEN);
    cr_expect_eq(ring.fault, VDT_FAULT_AVAIL_INDEX);
    ring_box_clear(&box);
}
