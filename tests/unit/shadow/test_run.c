/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chains of one descriptor on their short way: where runs begin, end and hand over. What goes wrong
 * in them: test_relay_broken.c. */
#include "shadow/run.h"

#include <criterion/criterion.h>
#include <string.h>

#include "base/fd.h"
#include "lib/leak.h"
#include "relay_box.h"
#include "virtio/packed_layout.h"
#include "virtio/split_layout.h"

VDT_SUITE(run);

#define NUM 16u
#define LOW 0x100000u /* the box's memory; then a hole */
#define HIGH 0x40000000u
#define HIGH_SIZE 0x10000u
#define AWAY 0x5000000000u /* where the device has the upper half of it, when translated */

static const struct vdt_ring_format formats[] = {
    {.kind = VDT_RING_SPLIT, .num = NUM, .indirect = true},
    {.kind = VDT_RING_SPLIT, .num = NUM, .indirect = true, .in_order = true},
    {.kind = VDT_RING_PACKED, .num = NUM, .indirect = true},
    {.kind = VDT_RING_PACKED, .num = NUM, .indirect = true, .in_order = true},
    {.kind = VDT_RING_PACKED, .num = 7},
};

static void
begin(struct relay_box *box, const struct vdt_ring_format *format)
{
    VDT_AUTO_FD fd = vdt_memfd("high", HIGH_SIZE, NULL);
    struct vdt_region_spec spec = {
        .gpa = HIGH, .size = HIGH_SIZE, .frontend = 0x7e0000000000, .fd = fd};

    relay_box_init(box, *format);
    struct vdt_guest_map *map = vdt_guest_map_with(box->map, &spec, NULL);
    cr_assert_not_null(map);
    vdt_guest_map_unref(box->relay.map);
    box->relay.map = map;
}

static uint16_t
post(struct relay_box *box, uint64_t addr, uint32_t len, uint16_t flags)
{
    struct vdt_seg seg = {.addr = addr, .len = len, .flags = flags};
    uint16_t id;

    cr_assert(relay_box_post(box, &seg, 1, false, &id));
    return id;
}

struct place {
    uint64_t addr, device; /* as the device gets it with the table below; 0: refused */
    uint32_t len;
    bool plain; /* without a table it is right, as it is */
};

static const struct vdt_iova_stretch stretches[] = {
    {.from = LOW, .to = LOW, .len = BOX_SIZE},
    {.from = HIGH, .to = AWAY, .len = HIGH_SIZE / 2},
    {.from = HIGH + HIGH_SIZE / 2, .to = AWAY + 2 * HIGH_SIZE, .len = HIGH_SIZE / 2},
};

static const struct place places[] = {
    {LOW + 0x80000, LOW + 0x80000, 64, true},
    {HIGH, AWAY, HIGH_SIZE / 2, true},
    {HIGH + HIGH_SIZE - 1, AWAY + 2 * HIGH_SIZE + HIGH_SIZE / 2 - 1, 1, true},
    {LOW + BOX_SIZE - 8, LOW + BOX_SIZE - 8, 8, true},
    {7, 7, 0, true}, /* nothing of it is touched */
    {HIGH + HIGH_SIZE / 2 - 1, 0, 2, true},
    {LOW + BOX_SIZE - 8, 0, 9, false},
    {HIGH - 1, 0, 2, false},
    {LOW - 1, 0, 1, false},
    {HIGH + HIGH_SIZE, 0, 1, false},
    {UINT64_MAX, 0, 2, false},
    {LOW - 8, 0, UINT32_MAX, false},
};

/* Behind a chain in either region, so that the run has a stretch already that is another. */
static void
check_place(const struct vdt_ring_format *format, const struct place *place, bool translated,
            unsigned before, uint16_t flags)
{
    struct vdt_iova_table *table = vdt_iova_table_new(stretches, G_N_ELEMENTS(stretches));
    bool good = translated ? place->device != 0 : place->plain;
    struct relay_box box;

    begin(&box, format);
    box.relay.table = translated ? table : NULL;
    for (unsigned i = 0; i < before; i++)
        post(&box, i % 2 ? HIGH : LOW, 16, flags);
    post(&box, place->addr, place->len, flags);
    relay_box_publish(&box);
    vdt_relay_work(&box.relay);
    cr_expect_eq(box.relay.fault, good ? VDT_FAULT_NONE : VDT_FAULT_ADDRESS, "%lx + %x: %s",
                 place->addr, place->len, vdt_ring_fault_name(box.relay.fault));
    for (unsigned i = 0; i < before; i++)
        cr_assert(relay_box_take(&box));
    cr_expect_eq(relay_box_take(&box), good);
    if (good) {
        cr_expect_eq(box.chain.seg[0].addr, translated ? place->device : place->addr);
        cr_expect_eq(box.chain.seg[0].len, place->len);
        cr_expect_eq(box.chain.seg[0].flags, flags);
    }
    relay_box_clear(&box);
    vdt_iova_table_free(table);
}

Test(run, every_address_is_looked_up_in_its_own_stretch)
{
    for (unsigned f = 0; f < G_N_ELEMENTS(formats); f++) {
        for (unsigned p = 0; p < G_N_ELEMENTS(places); p++) {
            for (unsigned k = 0; k < 12; k++)
                check_place(&formats[f], &places[p], k & 1, k >> 2, k & 2 ? VDT_SEG_WRITE : 0);
        }
    }
    vdt_test_check_leaks();
}

/* Memory goes away, or stands elsewhere for the device, between two batches. */
Test(run, a_stretch_is_forgotten_with_its_map_and_with_its_table)
{
    for (unsigned f = 0; f < G_N_ELEMENTS(formats); f++) {
        struct vdt_iova_table *table = vdt_iova_table_new(stretches, G_N_ELEMENTS(stretches));
        struct relay_box box;

        begin(&box, &formats[f]);
        for (unsigned round = 0; round < 3; round++) {
            post(&box, HIGH, 64, VDT_SEG_WRITE);
            relay_box_publish(&box);
            if (round == 1)
                box.relay.table = table;
            if (round == 2) {
                vdt_guest_map_unref(box.relay.map);
                box.relay.map = vdt_guest_map_ref(box.map);
            }
            vdt_relay_work(&box.relay);
            cr_expect_eq(box.relay.fault, round == 2 ? VDT_FAULT_ADDRESS : VDT_FAULT_NONE);
            cr_expect_eq(relay_box_take(&box), round < 2);
            if (round < 2)
                cr_expect_eq(box.chain.seg[0].addr, round == 0 ? HIGH : AWAY);
        }
        relay_box_clear(&box);
        vdt_iova_table_free(table);
    }
    vdt_test_check_leaks();
}

Test(run, a_stretch_holds_what_it_holds)
{
    const struct vdt_stretch none = {0}, low = {.first = 0, .size = 0x1000},
                             high = {.first = UINT64_MAX - 0xfff, .size = 0xfff};

    cr_expect_not(vdt_stretch_holds(&none, 0, 0));
    cr_expect(vdt_stretch_holds(&low, 0, 0x1000));
    cr_expect(vdt_stretch_holds(&low, 0xfff, 1));
    cr_expect_not(vdt_stretch_holds(&low, 0xfff, 2));
    cr_expect_not(vdt_stretch_holds(&low, 0x1000, 0));
    cr_expect_not(vdt_stretch_holds(&low, UINT64_MAX, 2), "around the end of all addresses");
    cr_expect(vdt_stretch_holds(&high, UINT64_MAX - 0xfff, 0xfff));
    cr_expect_not(vdt_stretch_holds(&high, UINT64_MAX - 0xfff, 0x1000));
    cr_expect_not(vdt_stretch_holds(&high, 0, 1));
    cr_expect_not(vdt_stretch_holds(&high, UINT64_MAX - 0x1000, 2));
}

/* One, one, list, table, one: what runs keep and what the long way keeps is one list. */
static void
check_mixed(const struct vdt_ring_format *format, bool translated)
{
    struct vdt_iova_table *table = vdt_iova_table_new(stretches, G_N_ELEMENTS(stretches));
    const struct vdt_seg two[] = {{.addr = BOX_GPA + BOX_BUFFERS, .len = 8},
                                  {.addr = HIGH, .len = 100, .flags = VDT_SEG_WRITE}};
    uint16_t asked[5], kept[NUM], last[NUM];
    struct vdt_seg segs[2 * NUM];
    struct relay_box box;

    begin(&box, format);
    box.relay.table = translated ? table : NULL;
    /* Twice, so that the places of the second time are not those of an untouched ring. */
    for (unsigned round = 0; round < 2; round++) {
        asked[0] = post(&box, HIGH + 16, 200, VDT_SEG_WRITE);
        asked[1] = post(&box, HIGH + 32, 300, 0);
        cr_assert(relay_box_post(&box, two, 2, false, &asked[2]));
        cr_assert(relay_box_post(&box, two, 2, format->indirect, &asked[3]));
        asked[4] = post(&box, HIGH + 48, 400, VDT_SEG_WRITE);
        relay_box_publish(&box);
        cr_expect_eq(vdt_relay_forward(&box.relay), 5);
        cr_expect_eq(vdt_inflight_list(&box.relay.inflight, kept), 5);
        for (unsigned i = 0; i < 5; i++) {
            struct vdt_inflight_head head = vdt_inflight_head(&box.relay.inflight, kept[i]);
            bool chain = i == 2 || i == 3;
            cr_assert(relay_box_take(&box));
            last[i] = box.chain.id;
            cr_expect_eq(kept[i], last[i], "in fetch order");
            cr_expect_eq(head.guest_id, asked[i]);
            cr_expect_eq(head.slots, box.chain.slots);
            cr_expect_eq(vdt_inflight_segments(&box.relay.inflight, kept[i], segs), chain ? 2 : 1);
            const struct vdt_seg *seg = &segs[chain ? 1 : 0];
            cr_expect_eq(seg->addr, chain ? HIGH : i < 2 ? HIGH + 16 * (i + 1) : HIGH + 48);
            cr_expect_eq(box.chain.seg[chain ? 1 : 0].addr,
                         translated ? seg->addr - HIGH + AWAY : seg->addr);
            cr_expect_eq(seg->len, 100 * (i == 4 ? 4 : chain ? 1 : i + 2));
            cr_expect_eq(seg->flags & VDT_SEG_WRITE, i == 1 ? 0 : VDT_SEG_WRITE);
            vdt_guest_ring_give(&box.device, last[i], box.chain.slots, i == 1 ? 0 : 50);
        }
        vdt_guest_ring_publish(&box.device);
        cr_expect_eq(vdt_relay_back(&box.relay), 5);
        for (unsigned i = 0; i < 5; i++) {
            struct vdt_used used;
            cr_assert_eq(vdt_device_ring_reap(&box.driver, &used), VDT_REAP_USED);
            cr_expect_eq(used.id, asked[i]);
            cr_expect_eq(used.len, i == 1 ? 0 : 50);
        }
        cr_expect_eq(box.relay.inflight.count, 0);
        cr_expect_eq(box.relay.device.in_flight, 0);
        cr_expect_eq(box.relay.guest.in_flight, 0);
    }
    cr_expect_eq(box.relay.counters.bytes_in, 2 * 4 * 50);
    cr_expect_eq(box.relay.counters.bytes_out, 2 * (300 + 8 + 8));
    relay_box_clear(&box);
    vdt_iova_table_free(table);
}

Test(run, runs_and_single_steps_keep_one_list)
{
    for (unsigned f = 0; f < G_N_ELEMENTS(formats); f++) {
        check_mixed(&formats[f], false);
        check_mixed(&formats[f], true);
    }
    vdt_test_check_leaks();
}

/* Frames' addresses tell whether each came where it belongs. */
static void
check_over_the_end(const struct vdt_ring_format *format, uint16_t at)
{
    struct vdt_ring_pos pos = {vdt_ring_pos_initial(format->kind).avail + at,
                               vdt_ring_pos_initial(format->kind).used + at};
    unsigned moved = 0;
    struct relay_box box;

    relay_box_init_at(&box, *format, pos);
    /* What lies behind a packed ring looks like more of it. */
    for (unsigned i = 0; i < 8 && format->kind == VDT_RING_PACKED; i++) {
        uint8_t *behind = box.memory + 16u * (format->num + i);
        vdt_store64(behind, BOX_GPA);
        vdt_store64(behind + 8, vdt_packed_rest(1, 0, vdt_packed_avail_bits(0x8000)));
    }
    for (unsigned round = 0; round < 20; round++) {
        struct vdt_used used;
        uint16_t ids[5];

        for (unsigned i = 0; i < 5; i++)
            ids[i] = relay_box_post_one(&box, BOX_BUFFERS + 5 * round + i, 1 + i, true);
        relay_box_publish(&box);
        cr_expect_leq(vdt_run_forward(&box.relay, 3), 3);
        moved += vdt_relay_forward(&box.relay);
        for (unsigned i = 0; i < 5; i++) {
            cr_assert(relay_box_take(&box));
            cr_expect_eq(box.chain.seg[0].addr, BOX_GPA + BOX_BUFFERS + 5 * round + i);
            vdt_guest_ring_give(&box.device, box.chain.id, 1, i);
        }
        cr_expect_not(relay_box_take(&box));
        vdt_guest_ring_publish(&box.device);
        cr_expect_leq(vdt_run_back(&box.relay, 3), 3);
        vdt_relay_back(&box.relay);
        for (unsigned i = 0; i < 5; i++) {
            cr_assert_eq(vdt_device_ring_reap(&box.driver, &used), VDT_REAP_USED);
            cr_expect_eq(used.id, ids[i]);
            cr_expect_eq(used.len, i);
        }
        cr_assert_eq(vdt_device_ring_reap(&box.driver, &used), VDT_REAP_EMPTY);
    }
    cr_expect_leq(moved, 100);
    cr_expect_eq(box.relay.fault, 0);
    relay_box_clear(&box);
}

Test(run, it_ends_at_the_limit_and_where_either_ring_begins_again)
{
    for (unsigned f = 0; f < G_N_ELEMENTS(formats); f++) {
        for (uint16_t at = 0; at < 7; at++)
            check_over_the_end(&formats[f], at);
    }
    vdt_test_check_leaks();
}

/* Behind good ones, where the loop is under way already; and as the first. */
Test(run, a_head_that_is_none_is_not_looked_up)
{
    for (unsigned before = 0; before < 3; before++) {
        uint8_t *avail;
        struct relay_box box;

        begin(&box, &formats[0]);
        for (unsigned i = 0; i < before; i++)
            post(&box, LOW, 64, 0);
        /* What lies behind the table looks like a descriptor. */
        vdt_split_store_desc(box.memory, NUM, LOW, 64, 0, 0);
        avail = box.guest_mem.driver;
        vdt_store16(avail + 4 + 2 * before, NUM);
        relay_box_publish(&box);
        vdt_store16(avail + 2, (uint16_t) (before + 1));
        vdt_relay_work(&box.relay);
        cr_expect_eq(box.relay.fault, VDT_FAULT_HEAD);
        cr_expect_eq(box.relay.counters.chains, before);
        for (unsigned i = 0; i < before; i++)
            cr_expect(relay_box_take(&box));
        cr_expect_not(relay_box_take(&box));
        relay_box_clear(&box);
    }
}

static void
check_lie(const struct vdt_ring_format *format, uint32_t id, uint32_t len,
          enum vdt_ring_fault fault)
{
    struct relay_box box;

    begin(&box, format);
    for (unsigned i = 0; i < 3; i++)
        post(&box, LOW, 64, VDT_SEG_WRITE);
    relay_box_publish(&box);
    vdt_relay_forward(&box.relay);
    cr_assert(relay_box_take(&box));
    vdt_guest_ring_give(&box.device, box.chain.id, 1, 64);
    if (format->kind == VDT_RING_SPLIT) {
        vdt_split_store_used((uint8_t *) box.shadow_mem.device + 12, id, len);
        box.device.pos.used++;
    } else {
        vdt_store64(
            (uint8_t *) box.shadow_mem.desc + 24,
            vdt_packed_rest(len, (uint16_t) id, vdt_packed_used_bits(0x8000) | VDT_SEG_WRITE));
    }
    vdt_guest_ring_publish(&box.device);
    vdt_relay_back(&box.relay);
    cr_expect_eq(box.relay.fault, fault, "%s", vdt_ring_fault_name(box.relay.fault));
    cr_expect(box.relay.device_fault);
    cr_expect_eq(box.relay.counters.returned, 1, "what it said rightly before is passed on");
    cr_expect_eq(box.relay.inflight.count, 2);
    relay_box_clear(&box);
}

Test(run, a_lie_behind_a_truth_is_seen)
{
    for (unsigned f = 0; f < G_N_ELEMENTS(formats); f += 2) {
        check_lie(&formats[f], formats[f].num, 0, VDT_FAULT_USED_ID);
        check_lie(&formats[f], UINT16_MAX, 0, VDT_FAULT_USED_ID);
        check_lie(&formats[f], 0, 0, VDT_FAULT_USED_ID);
        check_lie(&formats[f], 5, 0, VDT_FAULT_USED_ID);
        check_lie(&formats[f], 1, 65, VDT_FAULT_USED_LEN);
    }
    check_lie(&formats[0], UINT32_MAX - 15, 0, VDT_FAULT_USED_ID);
}

/* The ring is full of what the device has: not one chain more goes there. */
Test(run, no_more_than_the_ring_holds)
{
    for (unsigned f = 0; f < G_N_ELEMENTS(formats); f++) {
        struct relay_box box;

        begin(&box, &formats[f]);
        for (unsigned i = 0; i < formats[f].num; i++)
            post(&box, HIGH, 64, VDT_SEG_WRITE);
        relay_box_publish(&box);
        cr_expect_eq(vdt_relay_forward(&box.relay), formats[f].num);
        cr_expect_eq(vdt_run_forward(&box.relay, 1), 0);
        cr_expect_eq(vdt_relay_forward(&box.relay), 0);
        cr_expect_eq(box.relay.fault, 0);
        relay_box_clear(&box);
    }
}

Test(run, a_written_buffer_is_dirty_before_it_is_given_back)
{
    for (unsigned f = 0; f < G_N_ELEMENTS(formats); f++) {
        for (unsigned width = 0; width < 2; width++) {
            struct relay_box box;

            relay_box_init(&box, formats[f]);
            relay_box_log_start(&box);
            box.relay.dirty_used_width = width;
            relay_box_post_one(&box, BOX_BUFFERS, 3 * 4096, true);
            relay_box_post_one(&box, BOX_BUFFERS + 0x8000, 4096, false);
            relay_box_publish(&box);
            vdt_relay_forward(&box.relay);
            for (unsigned i = 0; i < 2; i++) {
                cr_assert(relay_box_take(&box));
                vdt_guest_ring_give(&box.device, box.chain.id, 1, i == 0 ? 4097 : 0);
            }
            vdt_guest_ring_publish(&box.device);
            for (unsigned page = 0; page < 16; page++)
                cr_expect_not(relay_box_dirty(&box, BOX_BUFFERS + 4096 * page));
            cr_expect_eq(vdt_relay_back(&box.relay), 2);
            for (unsigned page = 0; page < 16; page++)
                cr_expect_eq(relay_box_dirty(&box, BOX_BUFFERS + 4096 * page),
                             page < (width ? 2 : 3), "format %u width %u page %u", f, width, page);
            relay_box_clear(&box);
        }
    }
}
