/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"
#include "lib/ring_box.h"

#include "virtio/device_ring.h"

VDT_SUITE(device_split);

#define NUM 8u

struct rig {
    struct ring_box box;
    struct vdt_device_ring ring;
};

static void
rig_init(struct rig *rig, bool event_idx, uint16_t start)
{
    struct vdt_ring_format format = {VDT_RING_SPLIT, NUM, .event_idx = event_idx};

    ring_box_init(&rig->box, format);
    vdt_device_ring_init(&rig->ring, &format, &rig->box.mem, (struct vdt_ring_pos){start, start});
}

static void
rig_clear(struct rig *rig)
{
    vdt_device_ring_clear(&rig->ring);
    ring_box_clear(&rig->box);
}

static void
post_one(struct rig *rig, uint16_t head)
{
    struct vdt_seg seg[1] = {{.addr = 0x1000, .len = 4}};
    struct vdt_chain chain = {
        .seg = seg, .count = 1, .direct = 1, .slots = 1, .readable = 4, .head = head};

    vdt_device_ring_post(&rig->ring, &chain, head, 0, 0);
}

static void
expect_desc(struct rig *rig, unsigned index, uint64_t addr, uint32_t len, uint16_t flags,
            uint16_t next)
{
    const uint8_t *p = (uint8_t *) rig->box.mem.desc + 16 * index;

    cr_expect_eq(vdt_get64(p), addr);
    cr_expect_eq(vdt_get32(p + 8), len);
    cr_expect_eq(vdt_get16(p + 12), flags);
    cr_expect_eq(vdt_get16(p + 14), next);
}

Test(device_split, chain_is_posted_at_the_indices_it_names)
{
    struct vdt_seg seg[4] = {
        {.addr = 0xa000, .len = 1, .flags = VDT_SEG_NEXT, .next = 2},
        {.addr = 0xb000, .len = 2, .flags = VDT_SEG_NEXT, .next = 7},
        {.addr = 0xc000, .len = 3, .flags = VDT_SEG_NEXT, .next = 1},
        {.addr = 0xd000, .len = 4, .flags = VDT_SEG_WRITE, .next = 0x55},
    };
    struct vdt_chain chain = {.seg = seg,
                              .count = 4,
                              .direct = 2,
                              .slots = 3,
                              .head = 5,
                              .indirect = true,
                              .indirect_slot = 7,
                              .readable = 6,
                              .writable = 4};
    struct rig rig;

    rig_init(&rig, false, 0);
    vdt_device_ring_post(&rig.ring, &chain, 5, 0xfeed0000, 32);
    cr_assert_eq(vdt_get16((uint8_t *) rig.box.mem.driver + 2), 0, "shown before publish()");
    cr_assert(vdt_device_ring_publish(&rig.ring));
    cr_assert_eq(vdt_get16((uint8_t *) rig.box.mem.driver + 2), 1);
    cr_assert_eq(vdt_get16((uint8_t *) rig.box.mem.driver + 4), 5);
    expect_desc(&rig, 5, 0xa000, 1, VDT_SEG_NEXT, 2);
    expect_desc(&rig, 2, 0xb000, 2, VDT_SEG_NEXT, 7);
    expect_desc(&rig, 7, 0xfeed0000, 32, VDT_SEG_INDIRECT, 0);
    cr_assert_eq(rig.ring.in_flight, 3);
    cr_assert(vdt_device_ring_id_in_flight(&rig.ring, 5));
    cr_assert(!vdt_device_ring_id_in_flight(&rig.ring, 2));
    cr_assert(!vdt_device_ring_id_in_flight(&rig.ring, NUM));
    rig_clear(&rig);
}

Test(device_split, fresh_ring_at_any_position_is_empty)
{
    struct vdt_used used;
    struct rig rig;

    rig_init(&rig, false, 65530);
    cr_assert_eq(vdt_get16((uint8_t *) rig.box.mem.driver + 2), 65530);
    cr_assert_eq(vdt_device_ring_reap(&rig.ring, &used), VDT_REAP_EMPTY);
    cr_assert(!vdt_device_ring_publish(&rig.ring), "nothing was posted");
    rig_clear(&rig);
}

Test(device_split, device_is_kicked_unless_it_says_no_notify)
{
    struct rig rig;

    rig_init(&rig, false, 0);
    vdt_put16(rig.box.mem.device, 1);
    post_one(&rig, 0);
    cr_assert(!vdt_device_ring_publish(&rig.ring));
    vdt_put16(rig.box.mem.device, 0xfffe);
    post_one(&rig, 1);
    cr_assert(vdt_device_ring_publish(&rig.ring));
    rig_clear(&rig);
}

Test(device_split, avail_event_decides_exactly)
{
    static const struct {
        uint16_t from, count, event;
        bool kick;
    } rows[] = {
        {0, 1, 0, true},     {0, 1, 1, false},         {0, 1, 65535, false},
        {65534, 4, 1, true}, {65534, 4, 65533, false}, {65534, 4, 2, false},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct rig rig;

        rig_init(&rig, true, rows[i].from);
        vdt_put16((uint8_t *) rig.box.mem.device + 4 + 8 * NUM, rows[i].event);
        vdt_put16(rig.box.mem.device, 1); /* means nothing with event indices */
        for (uint16_t k = 0; k < rows[i].count; k++)
            post_one(&rig, k);
        cr_expect_eq(vdt_device_ring_publish(&rig.ring), rows[i].kick, "row %zu", i);
        rig_clear(&rig);
    }
}

Test(device_split, calls)
{
    struct vdt_used used;
    struct rig rig;

    rig_init(&rig, false, 0);
    vdt_device_ring_calls_off(&rig.ring);
    cr_assert_eq(vdt_get16(rig.box.mem.driver), 1);
    cr_assert(!vdt_device_ring_calls_on(&rig.ring));
    cr_assert_eq(vdt_get16(rig.box.mem.driver), 0);
    rig_clear(&rig);

    rig_init(&rig, true, 0);
    post_one(&rig, 3);
    vdt_device_ring_publish(&rig.ring);
    vdt_device_ring_calls_off(&rig.ring);
    cr_assert_eq(vdt_get16(rig.box.mem.driver), 0);
    ring_box_used(&rig.box, 0, 3, 0);
    cr_assert(vdt_device_ring_calls_on(&rig.ring), "it is used already, no call will come");
    cr_assert_eq(vdt_device_ring_reap(&rig.ring, &used), VDT_REAP_USED);
    cr_assert(!vdt_device_ring_calls_on(&rig.ring));
    cr_assert_eq(vdt_get16((uint8_t *) rig.box.mem.driver + 4 + 2 * NUM), 1);
    rig_clear(&rig);
}

Test(device_split, laid_descriptors_return_whatever_the_device_writes_over_the_ring)
{
    struct vdt_seg seg[3] = {{.len = 1}, {.len = 1}, {.len = 1}};
    struct rig rig;

    rig_init(&rig, false, 0);
    for (uint16_t i = 0; i < 1000; i++) {
        struct vdt_chain a = {.seg = seg, .count = 3, .direct = 3, .slots = 3}, b = a, c = a;
        struct vdt_used used;
        uint16_t id_a, id_b, id_c;

        cr_assert(vdt_device_ring_lay(&rig.ring, &a, &id_a));
        vdt_device_ring_post(&rig.ring, &a, id_a, 0, 0);
        cr_assert(vdt_device_ring_lay(&rig.ring, &b, &id_b));
        vdt_device_ring_post(&rig.ring, &b, id_b, 0, 0);
        cr_assert(!vdt_device_ring_lay(&rig.ring, &c, &id_c), "8 descriptors, 6 taken");
        vdt_device_ring_publish(&rig.ring);
        memset(rig.box.mem.desc, 0xff, 16 * NUM);
        ring_box_used(&rig.box, (uint16_t) (2 * i), id_b, 0);
        ring_box_used(&rig.box, (uint16_t) (2 * i + 1), id_a, 0);
        cr_assert_eq(vdt_device_ring_reap(&rig.ring, &used), VDT_REAP_USED);
        cr_assert_eq(used.id, id_b);
        cr_assert_eq(rig.ring.free_count + rig.ring.in_flight, NUM);
        cr_assert_eq(vdt_device_ring_reap(&rig.ring, &used), VDT_REAP_USED);
        cr_assert_eq(rig.ring.free_count, NUM);
    }
    rig_clear(&rig);
}

Test(device_split, first_kick_at_a_later_position_is_not_suppressed)
{
    struct vdt_ring_format format = {.num = 8, .event_idx = true};
    struct vdt_seg seg = {.addr = 0x1000, .len = 64};
    struct vdt_chain chain = {
        .seg = &seg, .capacity = 1, .count = 1, .direct = 1, .slots = 1, .readable = 64};
    struct vdt_device_ring ring;
    struct ring_box box;

    ring_box_init(&box, format);
    vdt_device_ring_init(&ring, &format, &box.mem, (struct vdt_ring_pos){1000, 1000});
    vdt_device_ring_post(&ring, &chain, 0, 0, 0);
    cr_expect(vdt_device_ring_publish(&ring));
    vdt_device_ring_clear(&ring);
    ring_box_clear(&box);
}
