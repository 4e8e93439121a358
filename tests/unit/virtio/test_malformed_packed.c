/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One row for each thing that a driver may or may not do to a packed ring of 5 entries. */
#include "lib/leak.h"
#include "lib/ring_box.h"

#include "virtio/guest_ring.h"

VDT_SUITE(malformed_packed);

#define NUM 5u
#define N VDT_SEG_NEXT
#define W VDT_SEG_WRITE
#define I VDT_SEG_INDIRECT
#define FLIP 0x8080u /* AVAIL and USED the other way than the position wants */
#define USED 0x8000u /* USED the other way: no longer available */
#define TABLE RING_BOX_TABLES

/* The descriptors from the start position on; AVAIL and USED are added as they ought to be. */
struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags, id;
};

struct row {
    const char *name;
    struct desc ring[NUM];
    struct desc table[NUM + 1];
    bool no_indirect, empty;
    enum vdt_ring_fault fault;
    uint32_t count, slots, readable, writable;
    uint16_t id;
};

static const struct row rows[] = {
    /* Must be refused. */
    {"second descriptor of another lap", {{0, 1, N, 0}, {0, 1, FLIP, 0}}, .fault = VDT_FAULT_FLAGS},
    {"second descriptor used already", {{0, 1, N, 0}, {0, 1, USED, 0}}, .fault = VDT_FAULT_FLAGS},
    {"last of five of another lap",
     {{0, 1, N, 0}, {0, 1, N, 0}, {0, 1, N, 0}, {0, 1, N, 0}, {0, 1, FLIP, 0}},
     .fault = VDT_FAULT_FLAGS},
    {"chain without an end",
     {{0, 1, N, 0}, {0, 1, N, 0}, {0, 1, N, 0}, {0, 1, N, 0}, {0, 1, N, 0}},
     .fault = VDT_FAULT_TOO_LONG},
    {"readable behind writable", {{0, 1, N | W, 0}, {0, 1, 0, 0}}, .fault = VDT_FAULT_ORDER},
    {"address wraps", {{UINT64_MAX - 1, 3, 0, 0}}, .fault = VDT_FAULT_ADDRESS},
    {"2^32 bytes", {{0, 0xffffffff, N, 0}, {0, 1, W, 0}}, .fault = VDT_FAULT_TOO_LONG},
    {"indirect not negotiated",
     {{TABLE, 16, I, 0}},
     .no_indirect = true,
     .fault = VDT_FAULT_INDIRECT},
    {"indirect with next", {{TABLE, 16, I | N, 0}, {0, 1, 0, 0}}, .fault = VDT_FAULT_INDIRECT},
    {"direct, then indirect: a list is of one type (2.8.5)",
     {{0, 1, N, 0}, {TABLE, 16, I, 0}},
     .fault = VDT_FAULT_INDIRECT},
    {"table without a byte", {{TABLE, 0, I, 0}}, .fault = VDT_FAULT_INDIRECT},
    {"table of 17 bytes", {{TABLE, 17, I, 0}}, .fault = VDT_FAULT_INDIRECT},
    {"table of more entries than the ring",
     {{TABLE, 16 * (NUM + 1), I, 0}},
     .fault = VDT_FAULT_INDIRECT},
    {"table that is not mapped", {{0x10, 16, I, 0}}, .fault = VDT_FAULT_INDIRECT},
    {"table whose address wraps", {{UINT64_MAX - 3, 16, I, 0}}, .fault = VDT_FAULT_ADDRESS},
    {"table: readable behind writable",
     {{TABLE, 32, I, 0}},
     {{0, 1, W, 0}, {0, 1, 0, 0}},
     .fault = VDT_FAULT_ORDER},
    {"table: address wraps",
     {{TABLE, 16, I, 0}},
     {{UINT64_MAX, 16, 0, 0}},
     .fault = VDT_FAULT_ADDRESS},

    /* Nothing there yet. */
    {"first descriptor of another lap", {{0, 1, FLIP, 0}}, .empty = true},
    {"first descriptor used", {{0, 1, USED, 0}}, .empty = true},

    /* Must be taken. */
    {"one readable", {{0x1000, 7, 0, 3}}, .count = 1, .slots = 1, .readable = 7, .id = 3},
    {"an id beyond the ring is the driver's affair",
     {{0, 7, W, 0xffff}},
     .count = 1,
     .slots = 1,
     .writable = 7,
     .id = 0xffff},
    {"the id stands in the last descriptor",
     {{0, 1, N, 7}, {0, 2, N | W, 8}, {0, 4, W, 9}},
     .count = 3,
     .slots = 3,
     .readable = 1,
     .writable = 6,
     .id = 9},
    {"the whole ring in one chain",
     {{0, 1, N, 0}, {0, 1, N, 0}, {0, 1, N, 0}, {0, 1, N, 0}, {0, 1, W, 2}},
     .count = 5,
     .slots = 5,
     .readable = 4,
     .writable = 1,
     .id = 2},
    {"empty descriptor at an impossible address",
     {{UINT64_MAX, 0, N, 0}, {0, 5, W, 1}},
     .count = 2,
     .slots = 2,
     .writable = 5,
     .id = 1},
    {"unknown flags", {{0, 1, 0x7f78, 1}}, .count = 1, .slots = 1, .readable = 1, .id = 1},
    {"indirect with WRITE",
     {{TABLE, 32, I | W, 4}},
     {{0, 3, 0, 5}, {0, 4, W, 6}},
     .count = 2,
     .slots = 1,
     .readable = 3,
     .writable = 4,
     .id = 4},
    {"table: all flags but WRITE are ignored (2.8.7)",
     {{TABLE, 32, I, 4}},
     {{0, 3, (uint16_t) ~W, 5}, {0, 4, 0xffff, 6}},
     .count = 2,
     .slots = 1,
     .readable = 3,
     .writable = 4,
     .id = 4},
    {"table as large as the ring",
     {{TABLE, 80, I, 4}},
     {{0, 1, 0, 0}, {0, 1, 0, 0}, {0, 1, 0, 0}, {0, 1, 0, 0}, {0, 1, 0, 0}},
     .count = 5,
     .slots = 1,
     .readable = 5,
     .id = 4},
};

/* From @pos on, as many as the row has; an all-zero row entry ends it. */
static void
lay_out(struct ring_box *box, const struct row *row, uint16_t pos)
{
    for (unsigned i = 0; i < NUM; i++, pos = vdt_packed_advance(pos, 1, NUM)) {
        const struct desc *d = &row->ring[i];
        uint16_t bits = pos & 0x8000 ? 0x0080 : 0x8000;

        if (d->addr == 0 && d->len == 0)
            bits ^= USED;
        ring_box_put_desc((uint8_t *) box->mem.desc + 16 * (pos & 0x7fff), d->addr, d->len, d->id,
                          (uint16_t) (d->flags ^ bits));
    }
    for (unsigned i = 0; i <= NUM; i++)
        ring_box_put_desc(box->tables + 16 * i, row->table[i].addr, row->table[i].len,
                          row->table[i].id, row->table[i].flags);
}

static void
check_row(const struct row *row, uint16_t start)
{
    struct vdt_ring_format format = {VDT_RING_PACKED, NUM, .indirect = !row->no_indirect};
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
    cr_expect_leq(box.reads, 1, "%s", row->name);
    if (row->fault) {
        cr_expect_eq(take, VDT_TAKE_BROKEN, "%s", row->name);
        cr_expect(ring.pos.avail == start && ring.in_flight == 0, "%s: consumed", row->name);
        cr_expect_eq(vdt_guest_ring_take(&ring, &box.reader, &chain), VDT_TAKE_BROKEN);
        cr_expect(!vdt_guest_ring_kicks_on(&ring), "%s: would be polled", row->name);
    } else if (row->empty) {
        cr_expect_eq(take, VDT_TAKE_EMPTY, "%s", row->name);
        cr_expect(!vdt_guest_ring_kicks_on(&ring), "%s", row->name);
    } else {
        cr_expect_eq(take, VDT_TAKE_CHAIN, "%s", row->name);
        cr_expect(chain.count == row->count && chain.slots == row->slots &&
                      chain.readable == row->readable && chain.writable == row->writable,
                  "%s: count %u slots %u readable %u writable %u", row->name, chain.count,
                  chain.slots, chain.readable, chain.writable);
        cr_expect(chain.id == row->id && chain.head == (start & 0x7fff), "%s: id %u head %u",
                  row->name, chain.id, chain.head);
        cr_expect_eq(chain.direct, box.reads ? 0 : chain.count, "%s", row->name);
        cr_expect_eq(ring.pos.avail, vdt_packed_advance(start, (uint16_t) row->slots, NUM));
        cr_expect_eq(vdt_guest_ring_take(&ring, &box.reader, &chain), VDT_TAKE_EMPTY, "%s",
                     row->name);
    }
    ring_box_clear(&box);
}

Test(malformed_packed, each_row_is_refused_or_taken)
{
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        check_row(&rows[i], 0x8000);
}

Test(malformed_packed, also_from_every_place_in_either_lap)
{
    for (uint16_t slot = 0; slot < NUM; slot++) {
        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
            check_row(&rows[i], slot);
            check_row(&rows[i], slot | 0x8000);
        }
    }
}

Test(malformed_packed, more_slots_than_the_ring_has)
{
    struct vdt_ring_format format = {VDT_RING_PACKED, NUM};
    struct row full = {
        .ring = {{8, 1, 0, 0}, {8, 1, 0, 1}, {8, 1, 0, 2}, {8, 1, 0, 3}, {8, 1, 0, 4}}};
    struct vdt_seg seg[3 * NUM];
    struct vdt_chain chain = {.seg = seg, .capacity = 3 * NUM};
    struct vdt_guest_ring ring;
    struct ring_box box;

    ring_box_init(&box, format);
    lay_out(&box, &full, 0x8000);
    vdt_guest_ring_init(&ring, &format, &box.mem, (struct vdt_ring_pos){0x8000, 0x8000});
    for (unsigned i = 0; i < NUM; i++)
        cr_assert_eq(vdt_guest_ring_take(&ring, NULL, &chain), VDT_TAKE_CHAIN);
    cr_assert_eq(vdt_guest_ring_take(&ring, NULL, &chain), VDT_TAKE_EMPTY);
    ring_box_put_desc(box.mem.desc, 8, 1, 0, 0x8000); /* the next lap, and nothing was given back */
    cr_assert_eq(vdt_guest_ring_take(&ring, NULL, &chain), VDT_TAKE_BROKEN);
    cr_assert_eq(ring.fault, VDT_FAULT_AVAIL_INDEX);
    ring_box_clear(&box);
}

Test(malformed_packed, a_chain_may_not_reach_into_what_is_in_flight)
{
    struct vdt_ring_format format = {VDT_RING_PACKED, NUM};
    struct row three = {
        .ring = {{8, 1, 0, 0}, {8, 1, 0, 1}, {8, 1, 0, 2}, {8, 1, N, 3}, {8, 1, N, 4}}};
    struct vdt_seg seg[3 * NUM];
    struct vdt_chain chain = {.seg = seg, .capacity = 3 * NUM};
    struct vdt_guest_ring ring;
    struct ring_box box;

    ring_box_init(&box, format);
    lay_out(&box, &three, 0x8000);
    vdt_guest_ring_init(&ring, &format, &box.mem, (struct vdt_ring_pos){0x8000, 0x8000});
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(vdt_guest_ring_take(&ring, NULL, &chain), VDT_TAKE_CHAIN);
    ring_box_put_desc(box.mem.desc, 8, 1, 9, 0x8000);
    cr_assert_eq(vdt_guest_ring_take(&ring, NULL, &chain), VDT_TAKE_BROKEN);
    cr_assert_eq(ring.fault, VDT_FAULT_TOO_LONG);
    ring_box_clear(&box);
}

Test(malformed_packed, event_suppression_of_the_driver)
{
    static const struct {
        const char *name;
        uint16_t off_wrap, flags;
        bool event_idx, call;
        enum vdt_ring_fault fault;
    } events[] = {
        {"enable", 0, 0, true, true, VDT_FAULT_NONE},
        {"enable, garbage offset", 0xffff, 0, true, true, VDT_FAULT_NONE},
        {"disable", 0, 1, true, false, VDT_FAULT_NONE},
        {"disable, reserved bits", 0xffff, 0xfffd, true, false, VDT_FAULT_NONE},
        {"reserved value", 0, 3, true, true, VDT_FAULT_EVENT},
        {"descriptor that was used", 0x8000, 2, true, true, VDT_FAULT_NONE},
        {"descriptor that comes next", 0x8001, 2, true, false, VDT_FAULT_NONE},
        {"descriptor of the lap before", 0, 2, true, false, VDT_FAULT_NONE},
        {"descriptor beyond the ring", 0x8000 | NUM, 2, true, true, VDT_FAULT_EVENT},
        {"descriptor without the feature", 0x8001, 2, false, true, VDT_FAULT_NONE},
    };
    struct row one = {.ring = {{8, 1, 0, 0}}};
    struct vdt_seg seg[3 * NUM];

    for (size_t i = 0; i < G_N_ELEMENTS(events); i++) {
        struct vdt_ring_format format = {VDT_RING_PACKED, NUM, .event_idx = events[i].event_idx};
        struct vdt_chain chain = {.seg = seg, .capacity = 3 * NUM};
        struct vdt_guest_ring ring;
        struct ring_box box;

        ring_box_init(&box, format);
        lay_out(&box, &one, 0x8000);
        vdt_put16(box.mem.driver, events[i].off_wrap);
        vdt_put16((uint8_t *) box.mem.driver + 2, events[i].flags);
        vdt_guest_ring_init(&ring, &format, &box.mem, (struct vdt_ring_pos){0x8000, 0x8000});
        cr_assert_eq(vdt_guest_ring_take(&ring, NULL, &chain), VDT_TAKE_CHAIN);
        vdt_guest_ring_give(&ring, 0, 1, 0);
        vdt_guest_ring_publish(&ring);
        cr_expect_eq(vdt_guest_ring_needs_call(&ring, 0x8000), events[i].call, "%s",
                     events[i].name);
        cr_expect_eq(ring.fault, events[i].fault, "%s", events[i].name);
        ring_box_clear(&box);
    }
}

/* It would have to know of a used descriptor that it cannot see yet. */
Test(malformed_packed, a_driver_does_not_get_room_by_what_is_staged)
{
    struct vdt_ring_format format = {VDT_RING_PACKED, 1};
    struct vdt_seg seg[3];
    struct vdt_chain chain = {.seg = seg, .capacity = 3};
    struct vdt_guest_ring ring;
    struct ring_box box;

    ring_box_init(&box, format);
    vdt_guest_ring_init(&ring, &format, &box.mem, vdt_ring_pos_initial(VDT_RING_PACKED));
    ring_box_put_desc(box.mem.desc, 0x1000, 1, 0, 0x80);
    cr_assert_eq(vdt_guest_ring_take(&ring, &box.reader, &chain), VDT_TAKE_CHAIN);
    vdt_guest_ring_give(&ring, chain.id, chain.slots, 0);
    ring_box_put_desc(box.mem.desc, 0x1000, 1, 0, 0x8000);
    cr_expect_eq(vdt_guest_ring_take(&ring, &box.reader, &chain), VDT_TAKE_BROKEN);
    cr_expect_eq(ring.fault, VDT_FAULT_AVAIL_INDEX);
    ring_box_clear(&box);
}
