/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Guests and devices that break a ring: what the relay does about it, and what it leaves alone. */
#include <criterion/criterion.h>
#include <string.h>

#include "lib/leak.h"
#include "relay_box.h"
#include "virtio/packed_layout.h"
#include "virtio/split_layout.h"

VDT_SUITE(relay_broken);

#define NUM 16u

static const struct vdt_ring_format split = {.kind = VDT_RING_SPLIT, .num = NUM, .indirect = true};
static const struct vdt_ring_format packed = {
    .kind = VDT_RING_PACKED, .num = NUM, .indirect = true};

/* --- guests --- */

struct bad_address {
    const char *what;
    struct vdt_seg seg;
};

static const struct bad_address bad_addresses[] = {
    {"below guest memory", {.addr = BOX_GPA - 8, .len = 16}},
    {"past its end", {.addr = BOX_GPA + BOX_SIZE - 8, .len = 16}},
    {"one byte behind it", {.addr = BOX_GPA + BOX_SIZE, .len = 1}},
    {"in our own area", {.addr = BOX_IOVA, .len = 16}},
    {"around the end of all addresses", {.addr = UINT64_MAX - 7, .len = 16}},
    {"larger than memory", {.addr = BOX_GPA, .len = UINT32_MAX}},
};

/* Good, good, bad, good: the first two are forwarded, the rest is not touched. */
static void
check_bad_address(const struct vdt_ring_format *format, const struct vdt_seg *bad, bool indirect,
                  bool write, const char *what)
{
    struct vdt_seg seg = *bad;
    struct relay_box box;
    uint16_t ids[32], id;

    seg.flags = write ? VDT_SEG_WRITE : 0;
    relay_box_init(&box, *format);
    relay_box_post_one(&box, BOX_BUFFERS, 64, true);
    relay_box_post_one(&box, BOX_BUFFERS, 64, true);
    cr_assert(relay_box_post(&box, &seg, 1, indirect, &id));
    relay_box_post_one(&box, BOX_BUFFERS, 64, true);
    relay_box_publish(&box);
    cr_expect_not(vdt_relay_work(&box.relay));
    cr_expect_eq(box.relay.fault, VDT_FAULT_ADDRESS, "%s: %s", what,
                 vdt_ring_fault_name(box.relay.fault));
    cr_expect_not(box.relay.device_fault);
    cr_expect_eq(relay_box_events(box.attention), 1);
    cr_expect(relay_box_take(&box) && relay_box_take(&box) && !relay_box_take(&box), "%s", what);
    cr_expect_eq(vdt_inflight_list(&box.relay.inflight, ids), 2, "exact all the same");
    cr_expect_eq(box.relay.guest.pos.avail & 0x7fff, 2);
    cr_expect_not(vdt_relay_work(&box.relay), "out of service");
    relay_box_clear(&box);
}

Test(relay_broken, no_address_outside_guest_memory_reaches_the_device)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(bad_addresses); i++) {
        for (unsigned k = 0; k < 8; k++)
            check_bad_address(k & 1 ? &packed : &split, &bad_addresses[i].seg, k & 2, k & 4,
                              bad_addresses[i].what);
    }
    vdt_test_check_leaks();
}

Test(relay_broken, an_empty_segment_may_point_anywhere)
{
    for (unsigned k = 0; k < 4; k++) {
        const struct vdt_seg segs[] = {{.addr = 7, .len = 0},
                                       {.addr = BOX_GPA, .len = 8, .flags = VDT_SEG_WRITE}};
        struct relay_box box;
        uint16_t id;

        relay_box_init(&box, k & 1 ? packed : split);
        cr_assert(relay_box_post(&box, segs, 2, k & 2, &id));
        relay_box_publish(&box);
        vdt_relay_work(&box.relay);
        cr_expect_eq(box.relay.fault, 0);
        cr_expect(relay_box_take(&box));
        relay_box_clear(&box);
    }
}

/* A split driver by hand: descriptors and heads at will. */
static void
put_desc(struct relay_box *box, unsigned i, uint16_t flags, uint16_t next)
{
    vdt_put64(box->memory + 16u * i, BOX_GPA + BOX_BUFFERS);
    vdt_put32(box->memory + 16u * i + 8, 64);
    vdt_put16(box->memory + 16u * i + 12, flags);
    vdt_put16(box->memory + 16u * i + 14, next);
}

static void
put_heads(struct relay_box *box, const uint16_t *heads, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        vdt_put16((uint8_t *) box->guest_mem.driver + 4 + 2 * i, heads[i]);
    vdt_put16((uint8_t *) box->guest_mem.driver + 2, (uint16_t) n);
}

Test(relay_broken, a_descriptor_of_two_chains_at_once_is_refused)
{
    static const struct {
        const char *what;
        uint16_t heads[2];
    } rows[] = {
        {"the same head twice", {3, 3}},
        {"one tail for two heads", {0, 1}},
        {"a head within another chain", {0, 2}},
        {"a chain into another's head", {2, 0}},
        {"a table's descriptor as a head", {5, 4}},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct relay_box box;

        relay_box_init(&box, split);
        put_desc(&box, 0, VDT_SEG_NEXT, 2);
        put_desc(&box, 1, VDT_SEG_NEXT, 2);
        put_desc(&box, 2, 0, 0);
        put_desc(&box, 3, 0, 0);
        put_desc(&box, 5, VDT_SEG_NEXT, 4);
        put_desc(&box, 4, VDT_SEG_INDIRECT, 0);
        vdt_put64(box.memory + 16u * 4, BOX_GPA + BOX_TABLES);
        vdt_put32(box.memory + 16u * 4 + 8, 16);
        vdt_put64(box.memory + BOX_TABLES, BOX_GPA + BOX_BUFFERS);
        put_heads(&box, rows[i].heads, 2);
        vdt_relay_work(&box.relay);
        cr_expect_eq(box.relay.fault, VDT_FAULT_OWNED, "%s: %s", rows[i].what,
                     vdt_ring_fault_name(box.relay.fault));
        cr_expect(relay_box_take(&box) && !relay_box_take(&box), "%s", rows[i].what);
        cr_expect_eq(box.relay.guest.pos.avail, 1);
        cr_expect_eq(box.relay.inflight.count, 1);
        relay_box_clear(&box);
    }
    vdt_test_check_leaks();
}

Test(relay_broken, the_rules_of_rings_are_the_guest_rings_to_check)
{
    static const struct {
        enum vdt_ring_fault fault;
        uint16_t head, flags, next;
        uint16_t index;
    } rows[] = {
        {VDT_FAULT_HEAD, NUM, 0, 0, 1},
        {VDT_FAULT_NEXT, 0, VDT_SEG_NEXT, NUM, 1},
        {VDT_FAULT_LOOP, 0, VDT_SEG_NEXT, 0, 1},
        {VDT_FAULT_AVAIL_INDEX, 0, 0, 0, NUM + 1},
        {VDT_FAULT_INDIRECT, 0, VDT_SEG_INDIRECT | VDT_SEG_NEXT, 1, 1},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct relay_box box;

        relay_box_init(&box, split);
        put_desc(&box, 0, rows[i].flags, rows[i].next);
        put_heads(&box, &rows[i].head, 1);
        vdt_put16((uint8_t *) box.guest_mem.driver + 2, rows[i].index);
        vdt_relay_work(&box.relay);
        cr_expect_eq(box.relay.fault, rows[i].fault, "row %u: %s", i,
                     vdt_ring_fault_name(box.relay.fault));
        cr_expect_not(relay_box_take(&box));
        cr_expect_eq(relay_box_events(box.attention), 1);
        relay_box_clear(&box);
    }
}

/* --- devices --- */

struct bad_used {
    const char *what;
    enum vdt_ring_fault fault;
    uint32_t id, len;
    unsigned times; /* used entries of this kind */
    uint16_t jump;  /* added to used.idx */
};

/* The device has ids 0 (64 writable bytes), 1 (read only) and 2 (64 writable bytes). */
static const struct bad_used bad_useds[] = {
    {"an id that is none", VDT_FAULT_USED_ID, NUM, 0, 1, 0},
    {"an id far beyond", VDT_FAULT_USED_ID, 0xfffffff0, 0, 1, 0},
    {"an id that is not in flight", VDT_FAULT_USED_ID, 9, 0, 1, 0},
    {"an id twice", VDT_FAULT_USED_ID, 0, 64, 2, 0},
    {"one byte too many", VDT_FAULT_USED_LEN, 0, 65, 1, 0},
    {"bytes in a chain that is read only", VDT_FAULT_USED_LEN, 1, 1, 1, 0},
    {"all the bytes there are", VDT_FAULT_USED_LEN, 2, UINT32_MAX, 1, 0},
    {"an index beyond what it has", VDT_FAULT_USED_INDEX, 0, 64, 1, 3},
    {"an index that goes back", VDT_FAULT_USED_INDEX, 0, 64, 1, (uint16_t) -2},
};

static void
use_split(struct relay_box *box, const struct bad_used *bad)
{
    uint8_t *used = box->shadow_mem.device;

    for (unsigned i = 0; i < bad->times; i++) {
        vdt_put32(used + 4 + 8 * i, bad->id);
        vdt_put32(used + 8 + 8 * i, bad->len);
    }
    vdt_put16(used + 2, (uint16_t) (bad->times + bad->jump));
}

static void
use_packed(struct relay_box *box, const struct bad_used *bad)
{
    for (unsigned i = 0; i < bad->times; i++)
        vdt_store64((uint8_t *) box->shadow_mem.desc + 16u * i + 8,
                    vdt_packed_rest(bad->len, (uint16_t) bad->id,
                                    vdt_packed_used_bits(0x8000) | VDT_SEG_WRITE));
}

static void
check_bad_used(const struct vdt_ring_format *format, const struct bad_used *bad)
{
    g_autofree uint8_t *before = g_malloc(BOX_SIZE);
    bool is_split = format->kind == VDT_RING_SPLIT;
    struct relay_box box;
    uint16_t ids[32];

    relay_box_init(&box, *format);
    relay_box_log_start(&box);
    relay_box_post_one(&box, BOX_BUFFERS, 64, true);
    relay_box_post_one(&box, BOX_BUFFERS, 64, false);
    relay_box_post_one(&box, BOX_BUFFERS, 64, true);
    relay_box_publish(&box);
    while (vdt_relay_work(&box.relay))
        ;
    (is_split ? use_split : use_packed)(&box, bad);
    vdt_relay_work(&box.relay);
    cr_expect_eq(box.relay.fault, bad->fault, "%s, %s: %s", is_split ? "split" : "packed",
                 bad->what, vdt_ring_fault_name(box.relay.fault));
    cr_expect(box.relay.device_fault);
    cr_expect_eq(relay_box_events(box.attention), 1);
    /* What it said rightly before is passed on, nothing else; then the guest's ring is left alone.
     */
    unsigned right = bad->times - 1;
    cr_expect_eq(box.relay.counters.returned, right);
    cr_expect_eq(vdt_inflight_list(&box.relay.inflight, ids), 3 - right);
    memcpy(before, box.memory, BOX_SIZE);
    for (unsigned i = 0; i < 3; i++)
        cr_expect_not(vdt_relay_work(&box.relay));
    vdt_relay_park(&box.relay);
    cr_expect_eq(vdt_relay_back(&box.relay), 0);
    cr_expect_eq(memcmp(before, box.memory, BOX_SIZE), 0, "%s: written afterwards", bad->what);
    relay_box_clear(&box);
}

Test(relay_broken, a_device_that_lies_ends_its_ring_and_nothing_reaches_the_guest)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(bad_useds); i++) {
        check_bad_used(&split, &bad_useds[i]);
        /* Packed rings have no index; their shadow ids of 16 bits are given out from 0. */
        if (bad_useds[i].fault != VDT_FAULT_USED_INDEX && bad_useds[i].id <= UINT16_MAX)
            check_bad_used(&packed, &bad_useds[i]);
    }
    vdt_test_check_leaks();
}

Test(relay_broken, a_device_that_scribbles_over_its_ring_changes_nothing_for_the_guest)
{
    for (unsigned k = 0; k < 2; k++) {
        struct relay_box box;
        struct vdt_used used;

        relay_box_init(&box, k ? packed : split);
        relay_box_log_start(&box);
        relay_box_post_one(&box, BOX_BUFFERS, 64, true);
        relay_box_publish(&box);
        vdt_relay_work(&box.relay);
        cr_assert(relay_box_take(&box));
        uint16_t id = box.chain.id;
        memset(box.shadow_mem.desc, 0xff, 8); /* the address */
        memset(box.tables, 0xff, vdt_inflight_table_size(NUM));
        relay_box_use(&box, id, 1, 64);
        vdt_relay_work(&box.relay);
        cr_expect_eq(box.relay.fault, 0);
        cr_expect_eq(vdt_device_ring_reap(&box.driver, &used), VDT_REAP_USED);
        cr_expect(relay_box_dirty(&box, BOX_BUFFERS));
        relay_box_clear(&box);
    }
}

/* --- state carriers --- */

static void
check_resubmit(uint16_t slots, uint32_t count, const struct vdt_seg *segs,
               enum vdt_ring_fault fault, const char *what)
{
    struct relay_box box;

    relay_box_init(&box, packed);
    bool ok = vdt_relay_resubmit(&box.relay, 0xbeef, slots, segs, count);
    vdt_relay_kick_device(&box.relay);
    cr_expect_eq(ok, fault == VDT_FAULT_NONE, "%s", what);
    cr_expect_eq(box.relay.fault, fault, "%s: %s", what, vdt_ring_fault_name(box.relay.fault));
    cr_expect_eq(relay_box_take(&box), ok, "%s", what);
    cr_expect_eq(box.chain.count, ok ? count : 0, "%s", what);
    relay_box_clear(&box);
}

Test(relay_broken, kept_packed_requests_are_held_to_the_rules)
{
    struct vdt_seg good[3 * NUM], late_read[2], outside = {.addr = 1, .len = 8}, huge[2];

    for (unsigned i = 0; i < 3 * NUM; i++)
        good[i] = (struct vdt_seg){
            .addr = BOX_GPA + BOX_BUFFERS, .len = 16, .flags = VDT_SEG_WRITE, .next = 0xffff};
    late_read[0] = late_read[1] = good[0];
    late_read[1].flags = 0;
    huge[0] = huge[1] = good[0];
    huge[0].len = huge[1].len = UINT32_MAX;

    check_resubmit(1, 1, good, VDT_FAULT_NONE, "one descriptor");
    check_resubmit(3, 3, good, VDT_FAULT_NONE, "a list");
    check_resubmit(1, 5, good, VDT_FAULT_NONE, "a table");
    check_resubmit(1, NUM, good, VDT_FAULT_NONE, "the longest table");
    check_resubmit(1, NUM + 1, good, VDT_FAULT_TOO_LONG, "a table longer than the ring");
    check_resubmit(1, 3 * NUM, good, VDT_FAULT_TOO_LONG, "as much as the scratch holds");
    check_resubmit(NUM + 1, NUM + 1, good, VDT_FAULT_TOO_LONG, "a list longer than the ring");
    check_resubmit(1, 0, good, VDT_FAULT_TOO_LONG, "nothing");
    check_resubmit(0, 1, good, VDT_FAULT_TOO_LONG, "no slot");
    check_resubmit(2, 1, good, VDT_FAULT_TOO_LONG, "more slots than segments");
    check_resubmit(2, 3, good, VDT_FAULT_TOO_LONG, "fewer slots than segments");
    check_resubmit(2, 2, late_read, VDT_FAULT_ORDER, "to be read behind to be written");
    check_resubmit(1, 1, &outside, VDT_FAULT_ADDRESS, "outside guest memory");
    check_resubmit(2, 2, huge, VDT_FAULT_TOO_LONG, "more bytes than 32 bits count");
    vdt_test_check_leaks();
}
