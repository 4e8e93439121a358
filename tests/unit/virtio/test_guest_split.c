/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"
#include "lib/ring_box.h"

#include "virtio/guest_ring.h"

VDT_SUITE(guest_split);

#define NUM 8u

struct rig {
    struct ring_box box;
    struct vdt_guest_ring ring;
    struct vdt_seg seg[3 * NUM];
    struct vdt_chain chain;
};

static void
rig_init(struct rig *rig, struct vdt_ring_format format, uint16_t start)
{
    format.kind = VDT_RING_SPLIT;
    format.num = NUM;
    ring_box_init(&rig->box, format);
    vdt_guest_ring_init(&rig->ring, &format, &rig->box.mem, (struct vdt_ring_pos){start, start});
    rig->chain = (struct vdt_chain){.seg = rig->seg, .capacity = 3 * NUM};
    for (unsigned i = 0; i < NUM; i++)
        ring_box_put_desc((uint8_t *) rig->box.mem.desc + 16 * i, 0x1000 * i, 100 + i,
                          VDT_SEG_WRITE, 0);
}

static enum vdt_take
take(struct rig *rig)
{
    return vdt_guest_ring_take(&rig->ring, &rig->box.reader, &rig->chain);
}

/* Make @n chains available from @pos, take them and give them back staged. */
static void
pass(struct rig *rig, uint16_t pos, uint16_t n)
{
    for (uint16_t i = 0; i < n; i++) {
        ring_box_avail(&rig->box, (uint16_t) (pos + i), i);
        cr_assert_eq(take(rig), VDT_TAKE_CHAIN);
    }
    for (uint16_t i = 0; i < n; i++)
        vdt_guest_ring_give(&rig->ring, i, 1, 1000u + i);
}

static uint16_t
used_idx(struct rig *rig)
{
    return vdt_get16((uint8_t *) rig->box.mem.device + 2);
}

Test(guest_split, chain_is_copied_before_it_is_used)
{
    struct rig rig;

    rig_init(&rig, (struct vdt_ring_format){0}, 0);
    ring_box_avail(&rig.box, 0, 3);
    cr_assert_eq(take(&rig), VDT_TAKE_CHAIN);
    memset(rig.box.mem.desc, 0xff, 16 * NUM);
    cr_assert_eq(rig.chain.seg[0].addr, 0x3000);
    cr_assert_eq(rig.chain.seg[0].len, 103);
    cr_assert_eq(rig.chain.writable, 103);
    ring_box_clear(&rig.box);
}

Test(guest_split, a_kick_without_anything_is_nothing)
{
    struct rig rig;

    rig_init(&rig, (struct vdt_ring_format){0}, 7);
    vdt_put16((uint8_t *) rig.box.mem.driver + 2, 7);
    for (unsigned i = 0; i < 3; i++)
        cr_assert_eq(take(&rig), VDT_TAKE_EMPTY);
    vdt_guest_ring_publish(&rig.ring);
    cr_assert_eq(used_idx(&rig), 0, "nothing was given, nothing may be written");
    cr_assert(!vdt_guest_ring_needs_call(&rig.ring, 7));
    ring_box_clear(&rig.box);
}

Test(guest_split, used_entries_show_at_publish)
{
    struct rig rig;

    rig_init(&rig, (struct vdt_ring_format){0}, 65534);
    pass(&rig, 65534, 4);
    cr_assert_eq(used_idx(&rig), 0);
    vdt_guest_ring_publish(&rig.ring);
    cr_assert_eq(used_idx(&rig), 2);
    for (uint16_t i = 0; i < 4; i++) {
        const uint8_t *entry = (uint8_t *) rig.box.mem.device + 4 + 8 * ((65534 + i) % NUM);

        cr_assert_eq(vdt_get32(entry), i);
        cr_assert_eq(vdt_get32(entry + 4), 1000u + i);
    }
    ring_box_clear(&rig.box);
}

Test(guest_split, untaken_chain_comes_again)
{
    struct rig rig;

    rig_init(&rig, (struct vdt_ring_format){0}, 65535);
    vdt_put16((uint8_t *) rig.box.mem.driver + 2, 65535);
    ring_box_avail(&rig.box, 65535, 5);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(take(&rig), VDT_TAKE_CHAIN);
        cr_assert_eq(rig.chain.head, 5);
        vdt_guest_ring_untake(&rig.ring, &rig.chain);
        cr_assert_eq(rig.ring.in_flight, 0);
    }
    ring_box_clear(&rig.box);
}

Test(guest_split, driver_is_called_unless_it_says_no_interrupt)
{
    struct rig rig;

    rig_init(&rig, (struct vdt_ring_format){0}, 0);
    pass(&rig, 0, 1);
    vdt_guest_ring_publish(&rig.ring);
    cr_assert(vdt_guest_ring_needs_call(&rig.ring, 0));
    vdt_put16(rig.box.mem.driver, 1);
    cr_assert(!vdt_guest_ring_needs_call(&rig.ring, 0));
    ring_box_clear(&rig.box);
}

Test(guest_split, used_event_decides_exactly)
{
    static const struct {
        uint16_t from, count, event;
        bool call;
    } rows[] = {
        {0, 1, 0, true},      {0, 1, 1, false},         {0, 1, 65535, false},
        {5, 4, 4, false},     {5, 4, 5, true},          {5, 4, 8, true},
        {5, 4, 9, false},     {65534, 4, 65533, false}, {65534, 4, 65534, true},
        {65534, 4, 0, true},  {65534, 4, 1, true},      {65534, 4, 2, false},
        {65535, 1, 0, false}, {65535, 1, 65535, true},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct rig rig;

        rig_init(&rig, (struct vdt_ring_format){.event_idx = true}, rows[i].from);
        vdt_put16((uint8_t *) rig.box.mem.driver + 2, rows[i].from);
        vdt_put16(rig.box.mem.driver, 1); /* means nothing with event indices */
        vdt_put16((uint8_t *) rig.box.mem.driver + 4 + 2 * NUM, rows[i].event);
        pass(&rig, rows[i].from, rows[i].count);
        vdt_guest_ring_publish(&rig.ring);
        cr_expect_eq(vdt_guest_ring_needs_call(&rig.ring, rows[i].from), rows[i].call, "row %zu",
                     i);
        ring_box_clear(&rig.box);
    }
}

Test(guest_split, kicks_by_flag)
{
    struct rig rig;

    rig_init(&rig, (struct vdt_ring_format){0}, 0);
    vdt_guest_ring_kicks_off(&rig.ring);
    cr_assert_eq(vdt_get16(rig.box.mem.device), 1);
    cr_assert(!vdt_guest_ring_kicks_on(&rig.ring));
    cr_assert_eq(vdt_get16(rig.box.mem.device), 0);
    ring_box_avail(&rig.box, 0, 0);
    cr_assert(vdt_guest_ring_kicks_on(&rig.ring), "what came meanwhile has no kick");
    ring_box_clear(&rig.box);
}

Test(guest_split, kicks_by_event_index_leave_the_flags_alone)
{
    struct rig rig;

    rig_init(&rig, (struct vdt_ring_format){.event_idx = true}, 0);
    pass(&rig, 0, 3);
    vdt_guest_ring_kicks_off(&rig.ring);
    cr_assert(!vdt_guest_ring_kicks_on(&rig.ring));
    cr_assert_eq(vdt_get16(rig.box.mem.device), 0);
    cr_assert_eq(vdt_get16((uint8_t *) rig.box.mem.device + 4 + 8 * NUM), 3);
    ring_box_clear(&rig.box);
}

/* Every byte of the device area that differs lies in a span that written() names. */
static void
expect_spans_cover(struct rig *rig, const uint8_t *before, uint16_t from)
{
    struct vdt_ring_span spans[VDT_RING_SPANS_MAX];
    unsigned n = vdt_guest_ring_written(&rig->ring, from, spans);
    size_t size = vdt_ring_device_size(&rig->ring.format);
    uint8_t covered[6 + 8 * NUM] = {0};

    cr_assert_leq(n, VDT_RING_SPANS_MAX);
    for (unsigned i = 0; i < n; i++) {
        cr_assert(!spans[i].in_desc && spans[i].len > 0);
        cr_assert_leq(spans[i].offset + spans[i].len, size);
        memset(covered + spans[i].offset, 1, spans[i].len);
    }
    for (size_t i = 0; i < size; i++)
        if (before[i] != ((uint8_t *) rig->box.mem.device)[i])
            cr_assert(covered[i], "byte %zu was written and not named", i);
}

Test(guest_split, written_names_every_byte_that_changed)
{
    for (uint16_t count = 0; count <= NUM; count++) {
        for (uint16_t start = 65530; start != 6; start++) {
            struct rig rig;
            uint8_t before[6 + 8 * NUM];

            rig_init(&rig, (struct vdt_ring_format){.event_idx = start & 1}, start);
            vdt_put16((uint8_t *) rig.box.mem.driver + 2, start);
            memset(rig.box.mem.device, 0xee, sizeof before);
            memcpy(before, rig.box.mem.device, sizeof before);
            pass(&rig, start, count);
            vdt_guest_ring_publish(&rig.ring);
            vdt_guest_ring_kicks_on(&rig.ring);
            expect_spans_cover(&rig, before, start);
            ring_box_clear(&rig.box);
        }
    }
}

Test(guest_split, spans_are_exact)
{
    struct vdt_ring_span s[VDT_RING_SPANS_MAX];
    struct rig rig;

    rig_init(&rig, (struct vdt_ring_format){.event_idx = true}, 6);
    vdt_put16((uint8_t *) rig.box.mem.driver + 2, 6);
    pass(&rig, 6, 5);
    vdt_guest_ring_publish(&rig.ring);
    cr_assert_eq(vdt_guest_ring_written(&rig.ring, 6, s), 4);
    cr_assert(s[0].offset == 0 && s[0].len == 4);
    cr_assert(s[1].offset == 4 + 8 * 6 && s[1].len == 16);
    cr_assert(s[2].offset == 4 && s[2].len == 24);
    cr_assert(s[3].offset == 4 + 8 * NUM && s[3].len == 2);
    pass(&rig, 11, 3);
    vdt_guest_ring_publish(&rig.ring);
    cr_assert_eq(vdt_guest_ring_written(&rig.ring, 11, s), 3);
    cr_assert(s[1].offset == 4 + 8 * 3 && s[1].len == 24);
    ring_box_clear(&rig.box);
}

Test(guest_split, heads_of_a_stopped_ring)
{
    uint16_t heads[NUM];
    struct rig rig;
    bool ok = false;

    rig_init(&rig, (struct vdt_ring_format){0}, 0);
    for (uint16_t i = 0; i < 3; i++)
        ring_box_avail(&rig.box, (uint16_t) (65534 + i), 7 - i);
    cr_assert_eq(vdt_guest_ring_heads(&rig.ring, 65534, 1, heads, &ok), 3);
    cr_assert(ok && heads[0] == 7 && heads[1] == 6 && heads[2] == 5);
    ring_box_avail(&rig.box, 65535, NUM);
    vdt_guest_ring_heads(&rig.ring, 65534, 1, heads, &ok);
    cr_assert(!ok, "an entry that is no head");
    cr_assert_eq(vdt_guest_ring_heads(&rig.ring, 0, NUM + 1, heads, &ok), 0);
    cr_assert(!ok, "more than the ring holds");
    ring_box_clear(&rig.box);
}

Test(guest_split, resubmission_takes_by_head)
{
    struct rig rig;

    rig_init(&rig, (struct vdt_ring_format){0}, 0);
    vdt_guest_ring_init(&rig.ring, &rig.box.format, &rig.box.mem,
                        (struct vdt_ring_pos){.avail = 12, .used = 10});
    vdt_put16((uint8_t *) rig.box.mem.driver + 2, 12);
    cr_assert_eq(rig.ring.in_flight, 2);
    cr_assert_eq(vdt_guest_ring_take_head(&rig.ring, NULL, 6, &rig.chain), VDT_TAKE_CHAIN);
    cr_assert_eq(rig.chain.seg[0].addr, 0x6000);
    cr_assert_eq(vdt_guest_ring_take_head(&rig.ring, NULL, 2, &rig.chain), VDT_TAKE_CHAIN);
    cr_assert_eq(take(&rig), VDT_TAKE_EMPTY);
    vdt_guest_ring_give(&rig.ring, 2, 1, 0);
    vdt_guest_ring_give(&rig.ring, 6, 1, 0);
    cr_assert(rig.ring.in_flight == 0 && rig.ring.pos.used == 12);
    cr_assert_eq(vdt_guest_ring_take_head(&rig.ring, NULL, NUM, &rig.chain), VDT_TAKE_BROKEN);
    cr_assert_eq(rig.ring.fault, VDT_FAULT_HEAD);
    ring_box_clear(&rig.box);
}
