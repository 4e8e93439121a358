/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The relay between two ends that keep the rules. Those who break them: test_relay_broken.c. */
#include <criterion/criterion.h>
#include <string.h>

#include "lib/leak.h"
#include "relay_box.h"
#include "virtio/packed_layout.h"
#include "virtio/split_layout.h"

VDT_SUITE(relay);

#define NUM 64u

static const struct vdt_ring_format formats[] = {
    {.kind = VDT_RING_SPLIT, .num = NUM, .indirect = true},
    {.kind = VDT_RING_SPLIT, .num = NUM, .indirect = true, .event_idx = true},
    {.kind = VDT_RING_PACKED, .num = NUM, .indirect = true},
    {.kind = VDT_RING_PACKED, .num = NUM, .indirect = true, .event_idx = true},
    {.kind = VDT_RING_PACKED, .num = 7},
};

/* What the device has, as it saw it. */
struct taken {
    uint16_t id, slots;
    uint32_t writable;
};

/* What the driver asked, by its id. */
struct asked {
    struct vdt_seg segs[64];
    uint32_t count, writable, len;
    bool open;
};

static uint32_t
random_chain(GRand *rand, bool indirect, uint32_t limit, struct vdt_seg *segs)
{
    uint32_t count = (uint32_t) g_rand_int_range(rand, 1, (gint32) limit + 1);
    uint32_t readable = (uint32_t) g_rand_int_range(rand, 0, (gint32) count + 1);

    for (uint32_t i = 0; i < count; i++)
        segs[i] = (struct vdt_seg){.addr = BOX_GPA + BOX_BUFFERS +
                                           (uint64_t) g_rand_int_range(rand, 0, 0x7f000),
                                   .len = (uint32_t) g_rand_int_range(rand, 0, 4096),
                                   .flags = i < readable ? 0 : VDT_SEG_WRITE};
    return count;
}

static void
expect_same(const struct relay_box *box, const struct asked *asked)
{
    cr_assert_eq(box->chain.count, asked->count);
    cr_assert_eq(box->chain.writable, asked->writable);
    for (uint32_t i = 0; i < asked->count; i++) {
        cr_assert_eq(box->chain.seg[i].addr, asked->segs[i].addr);
        cr_assert_eq(box->chain.seg[i].len, asked->segs[i].len);
        cr_assert_eq(box->chain.seg[i].flags & VDT_SEG_WRITE, asked->segs[i].flags);
    }
}

static void
run_random(const struct vdt_ring_format *format, unsigned chains)
{
    g_autofree struct asked *asked = g_new0(struct asked, NUM);
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    struct taken taken[NUM];
    uint16_t order[NUM]; /* driver ids in the order made available and not yet at the device */
    unsigned made = 0, done = 0, waiting = 0, held = 0;
    struct relay_box box;

    relay_box_init(&box, *format);
    while (done < chains) {
        for (int n = g_rand_int_range(rand, 0, 8); n > 0 && made < chains; n--) {
            bool indirect = format->indirect && g_rand_boolean(rand);
            struct vdt_seg segs[64];
            uint16_t id;
            uint32_t count =
                random_chain(rand, indirect, indirect ? 48 : MIN(4u, format->num), segs);
            if (!relay_box_post(&box, segs, count, indirect, &id))
                break;
            cr_assert_not(asked[id].open);
            asked[id] = (struct asked){.count = count, .open = true};
            memcpy(asked[id].segs, segs, count * sizeof(segs[0]));
            for (uint32_t i = 0; i < count; i++)
                asked[id].writable += segs[i].flags ? segs[i].len : 0;
            order[waiting++] = id;
            made++;
        }
        relay_box_publish(&box);
        vdt_relay_work(&box.relay);
        cr_assert_eq(box.relay.fault, 0, "%s", vdt_ring_fault_name(box.relay.fault));
        while (relay_box_take(&box)) {
            expect_same(&box, &asked[order[0]]);
            if (format->kind == VDT_RING_SPLIT)
                cr_assert_eq(box.chain.head, order[0], "same index");
            memmove(order, order + 1, --waiting * sizeof(order[0]));
            taken[held++] = (struct taken){box.chain.id, box.chain.slots, box.chain.writable};
        }
        for (int n = g_rand_int_range(rand, 0, 8); n > 0 && held > 0; n--) {
            unsigned at = (unsigned) g_rand_int_range(rand, 0, (gint32) held);
            relay_box_use(&box, taken[at].id, taken[at].slots, taken[at].writable / 2);
            taken[at] = taken[--held];
        }
        vdt_relay_work(&box.relay);
        struct vdt_used used;
        while (vdt_device_ring_reap(&box.driver, &used) == VDT_REAP_USED) {
            cr_assert(asked[used.id].open, "used twice");
            cr_assert_eq(used.len, asked[used.id].writable / 2);
            asked[used.id].open = false;
            done++;
        }
        cr_assert_eq(box.driver.fault, 0);
    }
    cr_expect_eq(box.relay.inflight.count, 0);
    cr_expect_eq(box.relay.device.in_flight, 0);
    cr_expect_eq(box.relay.counters.chains, chains);
    cr_expect_eq(box.relay.counters.returned, chains);
    if (format->kind == VDT_RING_PACKED)
        cr_expect_eq(box.relay.inflight.free_count, format->num);
    if (format->indirect)
        cr_expect_eq(box.relay.inflight.long_free, (1u << VDT_TABLES_LONG) - 1);
    relay_box_clear(&box);
}

Test(relay, any_chain_arrives_as_it_was_and_comes_back_once)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++)
        run_random(&formats[i], 20000);
    vdt_test_check_leaks();
}

Test(relay, positions_run_over_the_end_of_their_numbers)
{
    struct vdt_ring_format format = {.kind = VDT_RING_SPLIT, .num = NUM};

    run_random(&format, 70000);
}

Test(relay, a_packed_guest_names_its_buffers_as_it_likes)
{
    struct vdt_ring_format format = {.kind = VDT_RING_PACKED, .num = 8};
    struct relay_box box;

    relay_box_init(&box, format);
    for (uint16_t slot = 0; slot < 3; slot++) {
        uint8_t *at = box.memory + 16u * slot;
        vdt_store64(at, BOX_GPA + BOX_BUFFERS);
        vdt_store64(at + 8, vdt_packed_rest(64, slot == 1 ? 0xffff : 0xbeef,
                                            VDT_SEG_WRITE | vdt_packed_avail_bits(0x8000)));
    }
    cr_expect_eq(vdt_relay_forward(&box.relay), 3);
    for (unsigned i = 0; i < 3; i++) {
        cr_assert(relay_box_take(&box));
        cr_expect_lt(box.chain.id, 8);
        relay_box_use(&box, box.chain.id, 1, 10 + i);
    }
    cr_expect_eq(vdt_relay_back(&box.relay), 3);
    for (unsigned i = 0; i < 3; i++) {
        cr_expect_eq(vdt_load16(box.memory + 16u * i + 12), i == 1 ? 0xffff : 0xbeef);
        cr_expect_eq(vdt_load32(box.memory + 16u * i + 8), 10 + i);
    }
    relay_box_clear(&box);
}

Test(relay, without_room_for_long_tables_it_waits_and_goes_on)
{
    for (unsigned f = 0; f < 4; f++) {
        struct vdt_seg segs[40];
        struct relay_box box;
        unsigned taken = 0;
        uint16_t id;

        relay_box_init(&box, formats[f]);
        for (unsigned i = 0; i < 40; i++)
            segs[i] =
                (struct vdt_seg){.addr = BOX_GPA + BOX_BUFFERS, .len = 16, .flags = VDT_SEG_WRITE};
        for (unsigned i = 0; i < VDT_TABLES_LONG + 3; i++)
            cr_assert(relay_box_post(&box, segs, 40, true, &id));
        relay_box_publish(&box);
        while (vdt_relay_work(&box.relay))
            ;
        cr_expect(box.relay.stalled);
        cr_expect_eq(box.relay.counters.chains, VDT_TABLES_LONG);
        while (relay_box_take(&box)) {
            taken++;
            relay_box_events(box.device_call);
            relay_box_use(&box, box.chain.id, box.chain.slots, 640);
            cr_expect_eq(relay_box_events(box.device_call), 1, "the device has to call");
            while (vdt_relay_work(&box.relay))
                ;
        }
        cr_expect_eq(taken, VDT_TABLES_LONG + 3);
        cr_expect_eq(box.relay.fault, 0);
        cr_expect_not(box.relay.stalled);
        relay_box_clear(&box);
    }
}

Test(relay, one_kick_and_one_call_for_a_batch)
{
    for (unsigned f = 0; f < 4; f++) {
        struct relay_box box;

        relay_box_init(&box, formats[f]);
        for (unsigned i = 0; i < 16; i++)
            relay_box_post_one(&box, BOX_BUFFERS, 64, true);
        relay_box_publish(&box);
        vdt_relay_work(&box.relay);
        cr_expect_eq(relay_box_events(box.device_kick), 1);
        for (unsigned i = 0; i < 16; i++) {
            cr_assert(relay_box_take(&box));
            vdt_guest_ring_give(&box.device, box.chain.id, 1, 64);
        }
        vdt_guest_ring_publish(&box.device);
        vdt_device_ring_calls_on(&box.driver);
        vdt_relay_work(&box.relay);
        cr_expect_eq(relay_box_events(box.call), 1);
        cr_expect_eq(box.relay.counters.kicks_sent, 1);
        cr_expect_eq(box.relay.counters.calls_sent, 1);
        relay_box_clear(&box);
    }
}

Test(relay, neither_side_is_woken_against_its_will)
{
    for (unsigned f = 0; f < 4; f++) {
        struct vdt_used used;
        struct relay_box box;

        relay_box_init(&box, formats[f]);
        /* One round so that event indices lie behind, then both ask for silence. */
        for (unsigned round = 0; round < 2; round++) {
            if (round == 1) {
                vdt_guest_ring_kicks_off(&box.device);
                vdt_device_ring_calls_off(&box.driver);
            }
            relay_box_events(box.device_kick);
            relay_box_events(box.call);
            relay_box_post_one(&box, BOX_BUFFERS, 64, true);
            relay_box_publish(&box);
            vdt_relay_work(&box.relay);
            cr_assert(relay_box_take(&box));
            relay_box_use(&box, box.chain.id, 1, 64);
            vdt_relay_work(&box.relay);
            cr_assert_eq(vdt_device_ring_reap(&box.driver, &used), VDT_REAP_USED);
        }
        cr_expect_eq(relay_box_events(box.device_kick), 0);
        cr_expect_eq(relay_box_events(box.call), 0);
        relay_box_clear(&box);
    }
}

Test(relay, a_kick_asked_for_again_is_not_lost)
{
    for (unsigned f = 0; f < 4; f++) {
        struct relay_box box;

        relay_box_init(&box, formats[f]);
        while (vdt_relay_work(&box.relay))
            ;
        relay_box_post_one(&box, BOX_BUFFERS, 64, true);
        relay_box_publish(&box);
        cr_expect_eq(relay_box_events(box.kick), 1, "at rest it wants kicks");
        relay_box_clear(&box);
    }
}

Test(relay, parked_it_asks_for_kicks_and_has_logged_that)
{
    for (unsigned f = 0; f < 4; f++) {
        struct relay_box box;

        relay_box_init(&box, formats[f]);
        relay_box_log_start(&box);
        relay_box_post_one(&box, BOX_BUFFERS, 64, true);
        relay_box_publish(&box);
        cr_assert(vdt_relay_work(&box.relay), "there may be more: kicks are off");
        cr_expect(relay_box_dirty(&box, 0x10000), "their flags are written");
        memset(box.log.words, 0, 64);
        vdt_relay_park(&box.relay);
        cr_expect(relay_box_dirty(&box, 0x10000));
        relay_box_events(box.kick);
        relay_box_post_one(&box, BOX_BUFFERS, 64, true);
        relay_box_publish(&box);
        cr_expect_eq(relay_box_events(box.kick), 1);
        relay_box_clear(&box);
    }
}

/* --- dirty log --- */

static unsigned
dirty_pages_of(const struct relay_box *box, uint64_t offset, unsigned pages)
{
    unsigned n = 0;

    for (unsigned i = 0; i < pages; i++)
        n += relay_box_dirty(box, offset + i * 4096u);
    return n;
}

static void
check_width(const struct vdt_ring_format *format, bool used_width, bool indirect, unsigned expected)
{
    const struct vdt_seg segs[] = {
        {.addr = BOX_GPA + BOX_BUFFERS + 0x10000, .len = 4096},
        {.addr = BOX_GPA + BOX_BUFFERS, .len = 2 * 4096, .flags = VDT_SEG_WRITE},
        {.addr = BOX_GPA + BOX_BUFFERS + 0x4000, .len = 2 * 4096, .flags = VDT_SEG_WRITE},
    };
    struct relay_box box;
    uint16_t id;

    relay_box_init(&box, *format);
    relay_box_log_start(&box);
    box.relay.dirty_used_width = used_width;
    cr_assert(relay_box_post(&box, segs, 3, indirect, &id));
    relay_box_publish(&box);
    vdt_relay_work(&box.relay);
    cr_assert(relay_box_take(&box));
    cr_expect_eq(dirty_pages_of(&box, BOX_BUFFERS, 64), 0, "nothing is written yet");
    relay_box_use(&box, box.chain.id, box.chain.slots, 2 * 4096 + 1);
    vdt_relay_work(&box.relay);
    cr_expect_eq(dirty_pages_of(&box, BOX_BUFFERS, 16), expected);
    cr_expect_eq(dirty_pages_of(&box, BOX_BUFFERS + 0x10000, 16), 0, "the device only reads there");
    cr_expect(relay_box_dirty(&box, format->kind == VDT_RING_SPLIT ? 0x10000 : 0),
              "the used entry");
    relay_box_clear(&box);
}

Test(relay, a_used_chain_is_dirty_as_far_as_the_device_may_have_written)
{
    for (unsigned f = 0; f < 4; f++) {
        for (unsigned indirect = 0; indirect < 2; indirect++) {
            check_width(&formats[f], false, indirect, 4);
            check_width(&formats[f], true, indirect, 3);
        }
    }
}

Test(relay, what_is_in_flight_is_logged_whole_on_demand)
{
    for (unsigned f = 0; f < 4; f++) {
        struct relay_box box;

        relay_box_init(&box, formats[f]);
        relay_box_log_start(&box);
        box.relay.dirty_used_width = true;
        relay_box_post_one(&box, BOX_BUFFERS, 3 * 4096, true);
        relay_box_post_one(&box, BOX_BUFFERS + 0x10000, 4096, false);
        relay_box_publish(&box);
        vdt_relay_work(&box.relay);
        vdt_relay_log_in_flight(&box.relay);
        cr_expect_eq(dirty_pages_of(&box, BOX_BUFFERS, 32), 3);
        relay_box_clear(&box);
    }
}

/* The guest changes its descriptor while the device has it: what was forwarded is what counts. */
Test(relay, what_is_logged_does_not_come_from_guest_memory)
{
    struct relay_box box;

    relay_box_init(&box, formats[0]);
    relay_box_log_start(&box);
    uint16_t id = relay_box_post_one(&box, BOX_BUFFERS, 4096, true);
    relay_box_publish(&box);
    vdt_relay_work(&box.relay);
    vdt_store64(box.memory + 16u * id, BOX_GPA + BOX_BUFFERS + 0x8000);
    cr_assert(relay_box_take(&box));
    relay_box_use(&box, box.chain.id, 1, 4096);
    vdt_relay_work(&box.relay);
    cr_expect(relay_box_dirty(&box, BOX_BUFFERS));
    cr_expect_not(relay_box_dirty(&box, BOX_BUFFERS + 0x8000));
    relay_box_clear(&box);
}
