/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* VIRTIO_F_IN_ORDER: one used entry for a batch (virtio 1.2, 2.7.9 and 2.8.8). */
#include "lib/leak.h"
#include "lib/ring_box.h"

#include "virtio/device_ring.h"

VDT_SUITE(in_order);

#define NUM 8u

struct rig {
    struct ring_box box;
    struct vdt_device_ring ring;
    uint16_t ids[NUM];
};

/* Four chains of 1, 2, 3 and 1 descriptors with 10, 20, 30 and 40 writable bytes. */
static void
rig_init(struct rig *rig, enum vdt_ring_kind kind, uint16_t start)
{
    static const uint16_t slots[] = {1, 2, 3, 1};
    struct vdt_ring_format format = {kind, NUM, .in_order = true};
    struct vdt_seg seg[3];

    ring_box_init(&rig->box, format);
    vdt_device_ring_init(&rig->ring, &format, &rig->box.mem, (struct vdt_ring_pos){start, start});
    for (unsigned i = 0; i < 4; i++) {
        struct vdt_chain chain = {.seg = seg,
                                  .count = slots[i],
                                  .direct = slots[i],
                                  .slots = slots[i],
                                  .writable = 10 * (i + 1)};

        for (unsigned k = 0; k < slots[i]; k++)
            seg[k] = (struct vdt_seg){.addr = 0x1000, .len = 1, .flags = VDT_SEG_WRITE};
        cr_assert(vdt_device_ring_lay(&rig->ring, &chain, &rig->ids[i]));
        vdt_device_ring_post(&rig->ring, &chain, rig->ids[i], 0, 0);
    }
    vdt_device_ring_publish(&rig->ring);
}

static void
rig_clear(struct rig *rig)
{
    vdt_device_ring_clear(&rig->ring);
    ring_box_clear(&rig->box);
}

static void
use_packed(struct rig *rig, uint16_t pos, uint16_t id, uint32_t len)
{
    ring_box_put_desc((uint8_t *) rig->box.mem.desc + 16 * (pos & 0x7fff), 0, len, id,
                      (pos & 0x8000 ? 0x8080 : 0) | VDT_SEG_WRITE);
}

static void
expect_used(struct rig *rig, unsigned chain, uint32_t len, bool whole)
{
    struct vdt_used used;

    cr_assert_eq(vdt_device_ring_reap(&rig->ring, &used), VDT_REAP_USED);
    cr_assert_eq(used.id, rig->ids[chain]);
    cr_assert_eq(used.len, len);
    cr_assert_eq(used.whole, whole);
}

static void
expect_empty(struct rig *rig)
{
    struct vdt_used used;

    cr_assert_eq(vdt_device_ring_reap(&rig->ring, &used), VDT_REAP_EMPTY);
}

Test(in_order, split_batch_completes_all_before_its_last)
{
    struct rig rig;

    rig_init(&rig, VDT_RING_SPLIT, 65534);
    ring_box_used(&rig.box, 65534, rig.ids[2], 7);    /* stands at the batch's first place ... */
    vdt_put16((uint8_t *) rig.box.mem.device + 2, 1); /* ... and counts three */
    expect_used(&rig, 0, 10, true);
    cr_assert(vdt_device_ring_calls_on(&rig.ring), "the rest of a batch is there already");
    expect_used(&rig, 1, 20, true);
    expect_used(&rig, 2, 7, false);
    expect_empty(&rig);
    ring_box_used(&rig.box, 1, rig.ids[3], 40);
    expect_used(&rig, 3, 40, false);
    expect_empty(&rig);
    cr_assert_eq(rig.ring.in_flight, 0);
    cr_assert_eq(rig.ring.free_count, NUM);
    rig_clear(&rig);
}

Test(in_order, packed_batch_completes_all_before_its_last)
{
    static const uint16_t starts[] = {0x8000, 0, 0x8005, 4};

    for (size_t i = 0; i < G_N_ELEMENTS(starts); i++) {
        uint16_t start = starts[i];
        struct rig rig;

        rig_init(&rig, VDT_RING_PACKED, start);
        use_packed(&rig, start, rig.ids[2], 7);
        expect_used(&rig, 0, 10, true);
        expect_used(&rig, 1, 20, true);
        expect_used(&rig, 2, 7, false);
        expect_empty(&rig);
        use_packed(&rig, vdt_packed_advance(start, 6, NUM), rig.ids[3], 40);
        expect_used(&rig, 3, 40, false);
        cr_assert_eq(rig.ring.in_flight, 0);
        rig_clear(&rig);
    }
}

Test(in_order, several_batches_by_one_index)
{
    struct rig rig;

    rig_init(&rig, VDT_RING_SPLIT, 0);
    ring_box_used(&rig.box, 0, rig.ids[1], 1);
    ring_box_used(&rig.box, 2, rig.ids[3], 2);
    vdt_put16((uint8_t *) rig.box.mem.device + 2, 4);
    expect_used(&rig, 0, 10, true);
    expect_used(&rig, 1, 1, false);
    expect_used(&rig, 2, 30, true);
    expect_used(&rig, 3, 2, false);
    expect_empty(&rig);
    rig_clear(&rig);
}

Test(in_order, a_device_that_uses_each_is_fine)
{
    struct rig rig;

    rig_init(&rig, VDT_RING_SPLIT, 0);
    for (uint16_t i = 0; i < 4; i++) {
        ring_box_used(&rig.box, i, rig.ids[i], i);
        expect_used(&rig, i, i, false);
    }
    rig_clear(&rig);
}

Test(in_order, a_batch_larger_than_used_idx_says_is_refused)
{
    struct vdt_used used;
    struct rig rig;

    rig_init(&rig, VDT_RING_SPLIT, 0);
    ring_box_used(&rig.box, 0, rig.ids[2], 7);
    vdt_put16((uint8_t *) rig.box.mem.device + 2, 2);
    cr_assert_eq(vdt_device_ring_reap(&rig.ring, &used), VDT_REAP_BROKEN);
    cr_assert_eq(rig.ring.fault, VDT_FAULT_USED_INDEX);
    cr_assert_eq(rig.ring.in_flight, 7);
    rig_clear(&rig);
}

Test(in_order, a_batch_may_not_end_in_what_was_used)
{
    struct vdt_used used;
    struct rig rig;

    rig_init(&rig, VDT_RING_PACKED, 0x8000);
    use_packed(&rig, 0x8000, rig.ids[1], 1);
    expect_used(&rig, 0, 10, true);
    expect_used(&rig, 1, 1, false);
    use_packed(&rig, 0x8003, rig.ids[0], 1);
    cr_assert_eq(vdt_device_ring_reap(&rig.ring, &used), VDT_REAP_BROKEN);
    cr_assert_eq(rig.ring.fault, VDT_FAULT_USED_ID);
    rig_clear(&rig);
}

/* 2.7.5: an in-order driver takes descriptors in ring order, and next is one further. */
Test(in_order, split_descriptors_are_laid_round_the_table)
{
    struct vdt_ring_format format = {VDT_RING_SPLIT, NUM, .in_order = true};
    struct vdt_device_ring ring;
    struct vdt_seg seg[3] = {0};
    struct ring_box box;
    uint16_t expected = 0;

    ring_box_init(&box, format);
    vdt_device_ring_init(&ring, &format, &box.mem, (struct vdt_ring_pos){0, 0});
    for (uint16_t i = 0; i < 100; i++) {
        struct vdt_chain chain = {.seg = seg, .count = 3, .direct = 3, .slots = 3};
        struct vdt_used used;
        uint16_t id;

        cr_assert(vdt_device_ring_lay(&ring, &chain, &id));
        cr_assert_eq(id, expected);
        cr_assert_eq(seg[0].next, (expected + 1) % NUM);
        cr_assert_eq(seg[1].next, (expected + 2) % NUM);
        vdt_device_ring_post(&ring, &chain, id, 0, 0);
        vdt_device_ring_publish(&ring);
        ring_box_used(&box, i, id, 0);
        cr_assert_eq(vdt_device_ring_reap(&ring, &used), VDT_REAP_USED);
        expected = (expected + 3) % NUM;
    }
    vdt_device_ring_clear(&ring);
    ring_box_clear(&box);
}
