/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"
#include "lib/ring_box.h"

#include "virtio/guest_ring.h"

VDT_SUITE(guest_packed);

#define NUM 7u

struct rig {
    struct ring_box box;
    struct vdt_guest_ring ring;
    struct vdt_seg seg[3 * NUM];
    struct vdt_chain chain;
};

static void
rig_init(struct rig *rig, bool event_idx, uint16_t start)
{
    struct vdt_ring_format format = {VDT_RING_PACKED, NUM, .event_idx = event_idx};

    ring_box_init(&rig->box, format);
    /* What the lap before left: all used. */
    for (uint16_t i = 0, pos = start; i < NUM; i++, pos = vdt_packed_advance(pos, 1, NUM))
        ring_box_put_desc((uint8_t *) rig->box.mem.desc + 16 * (pos & 0x7fff), 0, 0, 0,
                          pos & 0x8000 ? 0 : 0x8080);
    vdt_guest_ring_init(&rig->ring, &format, &rig->box.mem, (struct vdt_ring_pos){start, start});
    rig->chain = (struct vdt_chain){.seg = rig->seg, .capacity = 3 * NUM};
}

static uint8_t *
slot(struct rig *rig, uint16_t pos)
{
    return (uint8_t *) rig->box.mem.desc + 16 * (pos & 0x7fff);
}

/* A chain of @n descriptors at @pos. */
static uint16_t
offer(struct rig *rig, uint16_t pos, uint16_t n, uint16_t id)
{
    for (uint16_t i = 0; i < n; i++, pos = vdt_packed_advance(pos, 1, NUM))
        ring_box_put_desc(slot(rig, pos), 0x1000, 10, id,
                          (uint16_t) ((pos & 0x8000 ? 0x80 : 0x8000) | VDT_SEG_WRITE |
                                      (i + 1 < n ? VDT_SEG_NEXT : 0)));
    return pos;
}

static enum vdt_take
take(struct rig *rig)
{
    return vdt_guest_ring_take(&rig->ring, NULL, &rig->chain);
}

static bool
shows_used(struct rig *rig, uint16_t pos)
{
    uint16_t flags = vdt_get16(slot(rig, pos) + 14);

    return (flags & 0x8080) == (pos & 0x8000 ? 0x8080 : 0);
}

Test(guest_packed, a_batch_shows_with_its_first_descriptor)
{
    static const uint16_t starts[] = {0x8000, 5, 0x8000 | 6, 0};

    for (size_t i = 0; i < G_N_ELEMENTS(starts); i++) {
        uint16_t start = starts[i], pos = start;
        struct rig rig;

        rig_init(&rig, false, start);
        pos = offer(&rig, pos, 2, 100);
        pos = offer(&rig, pos, 1, 101);
        pos = offer(&rig, pos, 3, 102);
        for (unsigned k = 0; k < 3; k++)
            cr_assert_eq(take(&rig), VDT_TAKE_CHAIN);
        cr_assert(rig.ring.in_flight == 6 && rig.ring.pos.avail == pos);
        /* Out of order: the last one first. */
        vdt_guest_ring_give(&rig.ring, 102, 3, 30);
        vdt_guest_ring_give(&rig.ring, 100, 2, 0);
        cr_assert(!shows_used(&rig, start), "shown before publish()");
        vdt_guest_ring_publish(&rig.ring);
        cr_assert(shows_used(&rig, start));
        cr_assert_eq(vdt_get16(slot(&rig, start) + 12), 102);
        cr_assert_eq(vdt_get32(slot(&rig, start) + 8), 30);
        cr_assert(vdt_get16(slot(&rig, start) + 14) & VDT_SEG_WRITE);
        pos = vdt_packed_advance(start, 3, NUM);
        cr_assert(shows_used(&rig, pos));
        cr_assert_eq(vdt_get16(slot(&rig, pos) + 12), 100);
        cr_assert(!(vdt_get16(slot(&rig, pos) + 14) & VDT_SEG_WRITE));
        cr_assert_eq(rig.ring.in_flight, 1);
        ring_box_clear(&rig.box);
    }
}

Test(guest_packed, untaken_chain_comes_again_also_over_the_end)
{
    for (uint16_t start = 0; start < 2 * NUM; start++) {
        for (uint16_t slots = 1; slots <= NUM; slots++) {
            uint16_t pos = (uint16_t) (start < NUM ? start : (start - NUM) | 0x8000);
            struct rig rig;

            rig_init(&rig, false, pos);
            offer(&rig, pos, slots, 9);
            cr_assert_eq(take(&rig), VDT_TAKE_CHAIN);
            vdt_guest_ring_untake(&rig.ring, &rig.chain);
            cr_assert_eq(rig.ring.pos.avail, pos);
            cr_assert_eq(rig.ring.in_flight, 0);
            cr_assert_eq(take(&rig), VDT_TAKE_CHAIN);
            cr_assert_eq(rig.chain.slots, slots);
            ring_box_clear(&rig.box);
        }
    }
}

Test(guest_packed, slots_between_the_positions_are_in_flight_at_the_start)
{
    struct rig rig;

    rig_init(&rig, false, 0x8000);
    vdt_guest_ring_init(&rig.ring, &rig.box.format, &rig.box.mem,
                        (struct vdt_ring_pos){.avail = 2, .used = 0x8005});
    cr_assert_eq(rig.ring.in_flight, 4);
    ring_box_clear(&rig.box);
}

Test(guest_packed, kicks)
{
    struct rig rig;

    rig_init(&rig, false, 0x8000);
    vdt_guest_ring_kicks_off(&rig.ring);
    cr_assert_eq(vdt_get16((uint8_t *) rig.box.mem.device + 2), 1);
    cr_assert(!vdt_guest_ring_kicks_on(&rig.ring));
    cr_assert_eq(vdt_get16((uint8_t *) rig.box.mem.device + 2), 0);
    offer(&rig, 0x8000, 1, 0);
    cr_assert(vdt_guest_ring_kicks_on(&rig.ring));
    ring_box_clear(&rig.box);

    rig_init(&rig, true, 6);
    vdt_guest_ring_kicks_on(&rig.ring);
    cr_assert_eq(vdt_get16(rig.box.mem.device), 6);
    cr_assert_eq(vdt_get16((uint8_t *) rig.box.mem.device + 2), 2);
    ring_box_clear(&rig.box);
}

/* Event positions against a batch, by brute force over what "passed" means. */
Test(guest_packed, the_drivers_event_position_decides_exactly)
{
    for (uint16_t start = 0; start < 2 * NUM; start++) {
        for (uint16_t count = 1; count <= NUM; count++) {
            for (uint16_t e = 0; e < 2 * NUM; e++) {
                uint16_t from = (uint16_t) (start < NUM ? start | 0x8000 : start - NUM), pos = from;
                uint16_t event = (uint16_t) (e < NUM ? e | 0x8000 : e - NUM);
                bool passed = false;
                struct rig rig;

                rig_init(&rig, true, from);
                for (uint16_t i = 0; i < count; i++) {
                    passed |= pos == event;
                    offer(&rig, pos, 1, i);
                    cr_assert_eq(take(&rig), VDT_TAKE_CHAIN);
                    vdt_guest_ring_give(&rig.ring, i, 1, 1);
                    pos = vdt_packed_advance(pos, 1, NUM);
                }
                vdt_put16(rig.box.mem.driver, event);
                vdt_put16((uint8_t *) rig.box.mem.driver + 2, 2);
                vdt_guest_ring_publish(&rig.ring);
                cr_assert_eq(vdt_guest_ring_needs_call(&rig.ring, from), passed);
                ring_box_clear(&rig.box);
            }
        }
    }
}

Test(guest_packed, written_names_every_byte_that_changed)
{
    for (uint16_t start = 0; start < 2 * NUM; start++) {
        for (uint16_t count = 0; count <= NUM; count++) {
            uint16_t from = (uint16_t) (start < NUM ? start : (start - NUM) | 0x8000), pos = from;
            struct vdt_ring_span spans[VDT_RING_SPANS_MAX];
            uint8_t before[16 * NUM], covered[16 * NUM] = {0};
            bool event_named = false;
            struct rig rig;
            unsigned n;

            rig_init(&rig, true, from);
            for (uint16_t i = 0; i < count; i++) {
                pos = offer(&rig, pos, 1, i);
                cr_assert_eq(take(&rig), VDT_TAKE_CHAIN);
            }
            memcpy(before, rig.box.mem.desc, sizeof before);
            for (uint16_t i = 0; i < count; i++)
                vdt_guest_ring_give(&rig.ring, 0xfff0 | i, 1, 0x12345678);
            vdt_guest_ring_publish(&rig.ring);
            n = vdt_guest_ring_written(&rig.ring, from, spans);
            cr_assert_leq(n, VDT_RING_SPANS_MAX);
            for (unsigned i = 0; i < n; i++) {
                if (!spans[i].in_desc) {
                    event_named |= spans[i].offset == 0 && spans[i].len == 4;
                    continue;
                }
                cr_assert_leq(spans[i].offset + spans[i].len, sizeof covered);
                memset(covered + spans[i].offset, 1, spans[i].len);
            }
            cr_assert(event_named);
            for (size_t i = 0; i < sizeof before; i++)
                cr_assert(covered[i] || before[i] == ((uint8_t *) rig.box.mem.desc)[i]);
            ring_box_clear(&rig.box);
        }
    }
}
