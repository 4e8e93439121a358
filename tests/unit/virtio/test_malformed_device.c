/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One row for each thing that a device may do to a ring of 4 entries with two chains in flight. */
#include "lib/leak.h"
#include "lib/ring_box.h"

#include "virtio/device_ring.h"

VDT_SUITE(malformed_device);

#define NUM 4u

struct row {
    const char *name;
    uint16_t used;    /* split: used.idx; packed: 0 stands for nothing written */
    uint32_t id, len; /* of the first used entry */
    uint32_t id2;     /* of the second */
    uint16_t flags;   /* packed: WRITE or what else */
    enum vdt_ring_fault fault;
    unsigned good; /* chains reaped before that */
};

/* Ids 0 (100 writable bytes, two descriptors) and 2 (10 bytes, one) are in flight. */
static void
post_two(struct vdt_device_ring *ring, struct vdt_chain *chain)
{
    struct vdt_seg *seg = chain->seg;

    seg[0] = (struct vdt_seg){.addr = 0x1000, .len = 40, .flags = VDT_SEG_WRITE, .next = 1};
    seg[1] = (struct vdt_seg){.addr = 0x2000, .len = 60, .flags = VDT_SEG_WRITE};
    *chain = (struct vdt_chain){.seg = seg, .count = 2, .direct = 2, .slots = 2, .writable = 100};
    vdt_device_ring_post(ring, chain, 0, 0, 0);
    *chain = (struct vdt_chain){
        .seg = seg, .count = 1, .direct = 1, .slots = 1, .writable = 10, .head = 2, .id = 2};
    vdt_device_ring_post(ring, chain, 2, 0, 0);
    vdt_device_ring_publish(ring);
}

static void
check(struct vdt_device_ring *ring, const struct row *row)
{
    struct vdt_used used;

    for (unsigned i = 0; i < row->good; i++)
        cr_assert_eq(vdt_device_ring_reap(ring, &used), VDT_REAP_USED, "%s", row->name);
    for (unsigned i = 0; i < 3; i++) {
        struct vdt_ring_pos before = ring->pos;
        uint32_t in_flight = ring->in_flight;

        cr_expect_eq(vdt_device_ring_reap(ring, &used),
                     row->fault ? VDT_REAP_BROKEN : VDT_REAP_EMPTY, "%s", row->name);
        cr_expect(ring->pos.used == before.used && ring->in_flight == in_flight, "%s: consumed",
                  row->name);
    }
    cr_expect_eq(ring->fault, row->fault, "%s: %s", row->name, vdt_ring_fault_name(ring->fault));
    cr_expect(!vdt_device_ring_calls_on(ring), "%s: would be polled", row->name);
}

Test(malformed_device, split)
{
    static const struct row rows[] = {
        {"nothing used", 0},
        {"both used", 2, 2, 10, 0, .good = 2},
        {"no byte written", 1, 0, 0, .good = 1},
        {"every byte written", 1, 0, 100, .good = 1},
        {"used.idx beyond what is in flight", 3, .fault = VDT_FAULT_USED_INDEX},
        {"used.idx goes backwards", 0xffff, .fault = VDT_FAULT_USED_INDEX},
        {"id = ring size", 1, NUM, .fault = VDT_FAULT_USED_ID},
        {"id with bits above 16", 1, 0x10000, .fault = VDT_FAULT_USED_ID},
        {"id 2^32 - 1", 1, 0xffffffff, .fault = VDT_FAULT_USED_ID},
        {"id not in flight", 1, 3, .fault = VDT_FAULT_USED_ID},
        {"id of a descriptor within a chain", 1, 1, .fault = VDT_FAULT_USED_ID},
        {"id twice", 2, 0, 1, 0, .fault = VDT_FAULT_USED_ID, .good = 1},
        {"one byte too many", 1, 0, 101, .fault = VDT_FAULT_USED_LEN},
        {"another chain's length", 1, 2, 100, .fault = VDT_FAULT_USED_LEN},
        {"length 2^32 - 1", 1, 2, 0xffffffff, .fault = VDT_FAULT_USED_LEN},
    };
    static const uint16_t starts[] = {0, 65535};

    for (size_t i = 0; i < 2 * G_N_ELEMENTS(rows); i++) {
        const struct row *row = &rows[i / 2];
        uint16_t start = starts[i % 2];
        struct vdt_ring_format format = {VDT_RING_SPLIT, NUM};
        struct vdt_seg seg[2];
        struct vdt_chain chain = {.seg = seg};
        struct vdt_device_ring ring;
        struct ring_box box;

        ring_box_init(&box, format);
        vdt_device_ring_init(&ring, &format, &box.mem, (struct vdt_ring_pos){start, start});
        post_two(&ring, &chain);
        ring_box_used(&box, start, row->id, row->len);
        ring_box_used(&box, (uint16_t) (start + 1), row->id2, 0);
        vdt_put16((uint8_t *) box.mem.device + 2, (uint16_t) (start + row->used));
        check(&ring, row);
        vdt_device_ring_clear(&ring);
        ring_box_clear(&box);
    }
}

Test(malformed_device, packed)
{
    static const struct row rows[] = {
        {"nothing used", 0},
        {"both used", 2, 0, 100, 2, VDT_SEG_WRITE, .good = 2},
        {"not in order", 2, 2, 10, 0, VDT_SEG_WRITE, .good = 2},
        {"length without WRITE that can be one", 1, 2, 10, 0, 0, .good = 1},
        {"length without WRITE that cannot is none", 1, 2, 11, 0, 0, .good = 1},
        {"NEXT and INDIRECT mean nothing here", 1, 0, 100, 0, 7, .good = 1},
        {"id = ring size", 1, NUM, .fault = VDT_FAULT_USED_ID},
        {"id 0xffff", 1, 0xffff, .fault = VDT_FAULT_USED_ID},
        {"id not in flight", 1, 1, .fault = VDT_FAULT_USED_ID},
        {"id twice", 2, 0, 0, 0, .fault = VDT_FAULT_USED_ID, .good = 1},
        {"one byte too many", 1, 0, 101, 0, VDT_SEG_WRITE, .fault = VDT_FAULT_USED_LEN},
        {"length 2^32 - 1", 1, 2, 0xffffffff, 0, VDT_SEG_WRITE, .fault = VDT_FAULT_USED_LEN},
    };

    for (size_t i = 0; i < 2 * NUM * G_N_ELEMENTS(rows); i++) {
        const struct row *row = &rows[i / (2 * NUM)];
        uint16_t start = (uint16_t) (i % NUM | (i / NUM % 2) << 15);
        struct vdt_ring_format format = {VDT_RING_PACKED, NUM};
        struct vdt_seg seg[2];
        struct vdt_chain chain = {.seg = seg};
        struct vdt_device_ring ring;
        struct ring_box box;
        uint16_t pos = start;

        ring_box_init(&box, format);
        vdt_device_ring_init(&ring, &format, &box.mem, (struct vdt_ring_pos){start, start});
        post_two(&ring, &chain);
        for (unsigned k = 0; k < row->used; k++) {
            uint16_t bits = pos & 0x8000 ? 0x8080 : 0;
            uint32_t id = k == 0 ? row->id : row->id2;

            ring_box_put_desc((uint8_t *) box.mem.desc + 16 * (pos & 0x7fff), 0,
                              k == 0 ? row->len : 0, (uint16_t) id, bits | row->flags);
            pos = vdt_packed_advance(pos, id == 0 ? 2 : 1, NUM);
        }
        check(&ring, row);
        vdt_device_ring_clear(&ring);
        ring_box_clear(&box);
    }
}

Test(malformed_device, a_device_that_uses_what_it_never_got)
{
    struct vdt_ring_format format = {VDT_RING_PACKED, NUM};
    struct vdt_device_ring ring;
    struct vdt_used used;
    struct ring_box box;

    ring_box_init(&box, format);
    vdt_device_ring_init(&ring, &format, &box.mem, vdt_ring_pos_initial(VDT_RING_PACKED));
    cr_assert_eq(vdt_device_ring_reap(&ring, &used), VDT_REAP_EMPTY);
    ring_box_put_desc(box.mem.desc, 0, 0, 0, 0x8080);
    cr_assert_eq(vdt_device_ring_reap(&ring, &used), VDT_REAP_BROKEN);
    vdt_device_ring_clear(&ring);
    ring_box_clear(&box);
}

Test(malformed_device, nonsense_in_its_event_suppression_asks_for_a_kick)
{
    static const uint32_t events[] = {3u << 16, 2u << 16 | NUM, 2u << 16 | 0xffff, 0xffffffff};

    for (size_t i = 0; i < G_N_ELEMENTS(events); i++) {
        struct vdt_ring_format format = {VDT_RING_PACKED, NUM, .event_idx = true};
        struct vdt_seg seg[1] = {{.len = 1}};
        struct vdt_chain chain = {.seg = seg, .count = 1, .direct = 1, .slots = 1, .readable = 1};
        struct vdt_device_ring ring;
        struct ring_box box;

        ring_box_init(&box, format);
        vdt_device_ring_init(&ring, &format, &box.mem, vdt_ring_pos_initial(VDT_RING_PACKED));
        vdt_put32(box.mem.device, events[i]);
        vdt_device_ring_post(&ring, &chain, 0, 0, 0);
        cr_assert(vdt_device_ring_publish(&ring));
        cr_assert_eq(ring.fault, VDT_FAULT_NONE);
        vdt_device_ring_clear(&ring);
        ring_box_clear(&box);
    }
}
