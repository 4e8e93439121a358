/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"
#include "lib/ring_box.h"

#include "virtio/device_ring.h"

VDT_SUITE(device_packed);

#define NUM 5u

struct rig {
    struct ring_box box;
    struct vdt_device_ring ring;
};

static void
rig_init(struct rig *rig, bool event_idx, uint16_t start)
{
    struct vdt_ring_format format = {VDT_RING_PACKED, NUM, .event_idx = event_idx};

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
post(struct rig *rig, uint16_t slots, uint16_t id)
{
    struct vdt_seg seg[NUM];
    struct vdt_chain chain = {.seg = seg, .count = slots, .direct = slots, .slots = slots};

    for (unsigned i = 0; i < slots; i++)
        seg[i] = (struct vdt_seg){.addr = 0x1000 + i, .len = 7, .flags = VDT_SEG_WRITE};
    chain.writable = 7u * slots;
    vdt_device_ring_post(&rig->ring, &chain, id, 0, 0);
}

static uint16_t
flags_at(struct rig *rig, uint16_t pos)
{
    return vdt_get16((uint8_t *) rig->box.mem.desc + 16 * (pos & 0x7fff) + 14);
}

static bool
shows_avail(struct rig *rig, uint16_t pos)
{
    return (flags_at(rig, pos) & 0x8080) == (pos & 0x8000 ? 0x80 : 0x8000);
}

Test(device_packed, a_batch_shows_with_its_first_descriptor)
{
    for (uint16_t i = 0; i < 2 * NUM; i++) {
        uint16_t start = (uint16_t) (i < NUM ? i : (i - NUM) | 0x8000), pos = start;
        struct rig rig;

        rig_init(&rig, false, start);
        post(&rig, 2, 4);
        post(&rig, 3, 1);
        cr_assert(!shows_avail(&rig, start), "shown before publish()");
        cr_assert(vdt_device_ring_publish(&rig.ring));
        for (unsigned k = 0; k < NUM; k++, pos = vdt_packed_advance(pos, 1, NUM)) {
            const uint8_t *p = (uint8_t *) rig.box.mem.desc + 16 * (pos & 0x7fff);
            bool next = k != 1 && k != 4;

            cr_assert(shows_avail(&rig, pos));
            cr_assert_eq(vdt_get16(p + 12), k < 2 ? 4 : 1);
            cr_assert_eq(flags_at(&rig, pos) & 7, VDT_SEG_WRITE | (next ? VDT_SEG_NEXT : 0));
            cr_assert_eq(vdt_get64(p), 0x1000 + (k < 2 ? k : k - 2));
        }
        cr_assert_eq(rig.ring.pos.avail, start ^ 0x8000);
        rig_clear(&rig);
    }
}

Test(device_packed, indirect_descriptor)
{
    struct vdt_seg seg[2] = {{.len = 1, .flags = VDT_SEG_NEXT}, {.len = 2, .flags = VDT_SEG_WRITE}};
    struct vdt_chain chain = {
        .seg = seg, .count = 2, .slots = 1, .indirect = true, .readable = 1, .writable = 2};
    uint8_t table[32];
    struct rig rig;

    rig_init(&rig, false, 0x8000);
    cr_assert_eq(vdt_chain_write_table(&chain, VDT_RING_PACKED, table), 32);
    cr_assert_eq(vdt_get16(table + 14), 0, "NEXT is reserved in a packed table");
    cr_assert_eq(vdt_get16(table + 30), VDT_SEG_WRITE);
    vdt_device_ring_post(&rig.ring, &chain, 3, 0xfeed0000, 32);
    vdt_device_ring_publish(&rig.ring);
    cr_assert_eq(vdt_get64(rig.box.mem.desc), 0xfeed0000);
    cr_assert_eq(vdt_get32((uint8_t *) rig.box.mem.desc + 8), 32);
    cr_assert_eq(flags_at(&rig, 0x8000), 0x80 | VDT_SEG_INDIRECT);
    rig_clear(&rig);
}

/* Zeroed memory looks used to a ring whose wrap counter is 0. */
Test(device_packed, fresh_ring_at_any_position_is_empty)
{
    for (uint16_t i = 0; i < 2 * NUM; i++) {
        struct vdt_used used;
        struct rig rig;

        rig_init(&rig, false, (uint16_t) (i < NUM ? i : (i - NUM) | 0x8000));
        for (unsigned lap = 0; lap < 3 * NUM; lap++) {
            uint16_t pos = rig.ring.pos.used;

            cr_assert_eq(vdt_device_ring_reap(&rig.ring, &used), VDT_REAP_EMPTY);
            cr_assert(!shows_avail(&rig, pos));
            post(&rig, 1, 0);
            cr_assert_eq(vdt_device_ring_reap(&rig.ring, &used), VDT_REAP_EMPTY);
            vdt_device_ring_publish(&rig.ring);
            cr_assert_eq(vdt_device_ring_reap(&rig.ring, &used), VDT_REAP_EMPTY);
            ring_box_put_desc((uint8_t *) rig.box.mem.desc + 16 * (pos & 0x7fff), 0, 7, 0,
                              (pos & 0x8000 ? 0x8080 : 0) | VDT_SEG_WRITE);
            cr_assert_eq(vdt_device_ring_reap(&rig.ring, &used), VDT_REAP_USED);
            cr_assert_eq(used.len, 7);
        }
        rig_clear(&rig);
    }
}

Test(device_packed, event_suppression_of_the_device_decides_exactly)
{
    static const struct {
        uint16_t off_wrap, flags;
        bool kick;
    } rows[] = {
        {0, 0, true}, {0, 1, false}, {0x8003, 2, false}, {0x8004, 2, true},
        {0, 2, true}, {1, 2, false}, {4, 2, false},      {0x8000, 2, false},
    };

    /* Slots 4 of the first lap and 0 of the second become available. */
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct rig rig;

        rig_init(&rig, true, 0x8004);
        vdt_put16(rig.box.mem.device, rows[i].off_wrap);
        vdt_put16((uint8_t *) rig.box.mem.device + 2, rows[i].flags);
        post(&rig, 1, 0);
        post(&rig, 1, 1);
        cr_expect_eq(vdt_device_ring_publish(&rig.ring), rows[i].kick, "row %zu", i);
        rig_clear(&rig);
    }
}

Test(device_packed, calls)
{
    struct rig rig;

    rig_init(&rig, true, 0x8004);
    vdt_device_ring_calls_off(&rig.ring);
    cr_assert_eq(vdt_get32(rig.box.mem.driver), 1u << 16);
    cr_assert(!vdt_device_ring_calls_on(&rig.ring));
    cr_assert_eq(vdt_get32(rig.box.mem.driver), 2u << 16 | 0x8004);
    post(&rig, 1, 2);
    vdt_device_ring_publish(&rig.ring);
    cr_assert(!vdt_device_ring_calls_on(&rig.ring));
    ring_box_put_desc((uint8_t *) rig.box.mem.desc + 16 * 4, 0, 0, 2, 0x8080);
    cr_assert(vdt_device_ring_calls_on(&rig.ring));
    rig_clear(&rig);
}

Test(device_packed, ids_come_from_a_free_list)
{
    struct vdt_seg seg[2] = {{.len = 1}, {.len = 1}};
    struct vdt_chain chain = {.seg = seg, .count = 2, .direct = 2, .slots = 2};
    uint16_t ids[3];
    struct rig rig;

    rig_init(&rig, false, 0x8000);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert(vdt_device_ring_lay(&rig.ring, &chain, &ids[i]));
        vdt_device_ring_post(&rig.ring, &chain, ids[i], 0, 0);
    }
    cr_assert_neq(ids[0], ids[1]);
    cr_assert(!vdt_device_ring_lay(&rig.ring, &chain, &ids[2]), "ids are left, slots are not");
    cr_assert_eq(rig.ring.free_count, NUM - 2);
    rig_clear(&rig);
}
