/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A device ring and a guest ring over the same memory: what one posts the other takes, what that
 * gives back the first reaps, over random chains in random order.
 */
#include "lib/leak.h"
#include "lib/ring_box.h"

#include "virtio/device_ring.h"
#include "virtio/guest_ring.h"

VDT_SUITE(round_trip);

#define SEED 20241105u
#define NUM_MAX 64

struct sent {
    uint32_t count, readable, writable;
    uint64_t first_addr;
    uint32_t used_len;
    bool taken, used;
};

struct held {
    uint16_t id, slots;
};

struct trip {
    struct ring_box box;
    struct vdt_device_ring driver;
    struct vdt_guest_ring device;
    GRand *rand;
    struct sent sent[NUM_MAX];
    struct held held[NUM_MAX];
    unsigned held_count;
    uint64_t posted, reaped, calls, kicks;
    bool kick_pending, call_pending;
};

static struct vdt_chain
scratch(struct vdt_seg *seg, uint32_t capacity)
{
    return (struct vdt_chain){.seg = seg, .capacity = capacity};
}

static uint32_t
below(struct trip *t, uint32_t n)
{
    return (uint32_t) g_rand_int_range(t->rand, 0, (gint32) n);
}

/* The table of chain @id has a stretch of its own. */
static uint32_t
table_at(uint16_t id)
{
    return id * 8u * 16u;
}

static bool
post_one(struct trip *t)
{
    struct vdt_seg seg[8] = {0};
    struct vdt_chain chain = scratch(seg, 8);
    bool indirect = t->box.format.indirect && below(t, 3) == 0;
    uint32_t writable_from;
    uint32_t table_len = 0;
    uint16_t id;

    chain.count = 1 + below(t, 5);
    writable_from = below(t, chain.count + 1);
    chain.indirect = indirect;
    chain.direct = chain.count;
    if (indirect)
        chain.direct = t->box.format.kind == VDT_RING_SPLIT ? below(t, chain.count) : 0;
    chain.slots = (uint16_t) (chain.direct + indirect);
    for (uint32_t i = 0; i < chain.count; i++) {
        seg[i].addr = (uint64_t) g_rand_int(t->rand) << 12;
        seg[i].len = below(t, 4096);
        seg[i].flags = i >= writable_from ? VDT_SEG_WRITE : 0;
        *(i >= writable_from ? &chain.writable : &chain.readable) += seg[i].len;
    }
    if (!vdt_device_ring_lay(&t->driver, &chain, &id))
        return false;
    if (indirect)
        table_len = vdt_chain_write_table(&chain, t->box.format.kind, t->box.tables + table_at(id));
    cr_assert(!t->sent[id].taken && !vdt_device_ring_id_in_flight(&t->driver, id));
    t->sent[id] = (struct sent){.count = chain.count,
                                .readable = chain.readable,
                                .writable = chain.writable,
                                .first_addr = seg[0].addr};
    vdt_device_ring_post(&t->driver, &chain, id, RING_BOX_TABLES + table_at(id), table_len);
    t->posted++;
    return true;
}

static void
take_some(struct trip *t, uint32_t limit)
{
    struct vdt_seg seg[3 * NUM_MAX];
    struct vdt_chain chain = scratch(seg, 3 * NUM_MAX);

    while (limit-- > 0) {
        enum vdt_take take = vdt_guest_ring_take(&t->device, &t->box.reader, &chain);
        const struct sent *sent;

        cr_assert_neq(take, VDT_TAKE_BROKEN, "%s", vdt_ring_fault_name(t->device.fault));
        if (take == VDT_TAKE_EMPTY)
            return;
        if (below(t, 8) == 0) {
            vdt_guest_ring_untake(&t->device, &chain);
            continue;
        }
        sent = &t->sent[chain.id];
        cr_assert(!sent->taken && vdt_device_ring_id_in_flight(&t->driver, chain.id));
        cr_assert_eq(chain.count, sent->count);
        cr_assert_eq(chain.readable, sent->readable);
        cr_assert_eq(chain.writable, sent->writable);
        cr_assert_eq(chain.seg[0].addr, sent->first_addr);
        t->sent[chain.id].taken = true;
        t->held[t->held_count++] = (struct held){chain.id, chain.slots};
    }
}

static void
give_some(struct trip *t, uint32_t limit)
{
    uint16_t from = t->device.published;

    while (limit-- > 0 && t->held_count > 0) {
        unsigned pick = t->box.format.in_order ? 0 : below(t, t->held_count);
        struct held held = t->held[pick];
        struct sent *sent = &t->sent[held.id];

        memmove(&t->held[pick], &t->held[pick + 1], (--t->held_count - pick) * sizeof t->held[0]);
        sent->used_len = below(t, sent->writable + 1);
        sent->used = true;
        vdt_guest_ring_give(&t->device, held.id, held.slots, sent->used_len);
    }
    vdt_guest_ring_publish(&t->device);
    if (vdt_guest_ring_needs_call(&t->device, from)) {
        t->calls++;
        t->call_pending = true;
    }
}

static void
reap_some(struct trip *t)
{
    struct vdt_used used;
    enum vdt_reap reap;

    while ((reap = vdt_device_ring_reap(&t->driver, &used)) == VDT_REAP_USED) {
        struct sent *sent = &t->sent[used.id];

        cr_assert(sent->taken && sent->used && !used.whole);
        cr_assert_eq(used.len, sent->used_len);
        *sent = (struct sent){0};
        t->reaped++;
    }
    cr_assert_eq(reap, VDT_REAP_EMPTY, "%s", vdt_ring_fault_name(t->driver.fault));
}

static void
run(struct vdt_ring_format format, struct vdt_ring_pos pos, uint64_t chains)
{
    struct trip t = {.rand = g_rand_new_with_seed(SEED)};

    printf("# round trip: seed %u kind %d num %u event_idx %d in_order %d pos %#x\n", SEED,
           format.kind, format.num, format.event_idx, format.in_order, pos.avail);
    ring_box_init(&t.box, format);
    vdt_device_ring_init(&t.driver, &format, &t.box.mem, pos);
    vdt_guest_ring_init(&t.device, &format, &t.box.mem, pos);
    while (t.reaped < chains) {
        uint32_t burst = below(&t, 9);

        while (burst-- > 0 && post_one(&t)) {
        }
        t.kicks += vdt_device_ring_publish(&t.driver);
        take_some(&t, below(&t, 12));
        give_some(&t, below(&t, 12));
        reap_some(&t);
        cr_assert_eq(t.posted - t.reaped > 0, t.driver.in_flight > 0);
        cr_assert_leq(t.driver.in_flight, format.num);
        cr_assert_leq(t.device.in_flight, format.num);
    }
    vdt_device_ring_clear(&t.driver);
    ring_box_clear(&t.box);
    g_rand_free(t.rand);
}

static const uint64_t laps = 70000;

Test(round_trip, split_chains_come_back_once_in_any_order)
{
    struct vdt_ring_format format = {VDT_RING_SPLIT, 64, .indirect = true};

    run(format, (struct vdt_ring_pos){0, 0}, laps);
    format.event_idx = true;
    run(format, (struct vdt_ring_pos){65530, 65530}, laps);
}

Test(round_trip, split_in_order)
{
    struct vdt_ring_format format = {VDT_RING_SPLIT, 32, true, true, .in_order = true};

    run(format, (struct vdt_ring_pos){65530, 65530}, laps);
}

Test(round_trip, packed_chains_come_back_once_in_any_order)
{
    struct vdt_ring_format format = {VDT_RING_PACKED, 64, .indirect = true};

    run(format, (struct vdt_ring_pos){0x8000, 0x8000}, laps);
    format.event_idx = true;
    run(format, (struct vdt_ring_pos){5, 5}, laps);
}

Test(round_trip, packed_ring_size_need_not_be_a_power_of_two)
{
    struct vdt_ring_format format = {VDT_RING_PACKED, 53, true, true};

    run(format, (struct vdt_ring_pos){0x8000 | 52, 0x8000 | 52}, laps);
}

Test(round_trip, packed_in_order)
{
    struct vdt_ring_format format = {VDT_RING_PACKED, 37, true, true, .in_order = true};

    run(format, (struct vdt_ring_pos){0, 0}, laps);
}

/* No side polls: each works only when it was called, and nothing may be left lying. */
static void
run_by_events(struct vdt_ring_format format, struct vdt_ring_pos pos)
{
    struct trip t = {.rand = g_rand_new_with_seed(SEED + 1)};

    ring_box_init(&t.box, format);
    vdt_device_ring_init(&t.driver, &format, &t.box.mem, pos);
    vdt_guest_ring_init(&t.device, &format, &t.box.mem, pos);
    cr_assert(!vdt_guest_ring_kicks_on(&t.device));
    cr_assert(!vdt_device_ring_calls_on(&t.driver));
    while (t.reaped < 20000) {
        uint32_t burst = 1 + below(&t, 6);

        while (burst-- > 0 && post_one(&t)) {
        }
        t.kick_pending = vdt_device_ring_publish(&t.driver);
        cr_assert(t.kick_pending, "the device asked for a kick and got none");
        do {
            uint32_t held;

            vdt_guest_ring_kicks_off(&t.device);
            do {
                held = t.held_count;
                take_some(&t, 64);
            } while (t.held_count > held);
            /* While the device is awake it wants no kick. */
            if (below(&t, 2) == 0 && post_one(&t) && vdt_device_ring_publish(&t.driver))
                cr_assert(format.event_idx && format.kind == VDT_RING_SPLIT);
        } while (vdt_guest_ring_kicks_on(&t.device));
        t.call_pending = false;
        while (t.held_count > 0)
            give_some(&t, 1 + below(&t, 3));
        cr_assert(t.call_pending, "the driver asked for a call and got none");
        do {
            vdt_device_ring_calls_off(&t.driver);
            reap_some(&t);
        } while (vdt_device_ring_calls_on(&t.driver));
        cr_assert_eq(t.driver.in_flight, 0);
    }
    vdt_device_ring_clear(&t.driver);
    ring_box_clear(&t.box);
    g_rand_free(t.rand);
}

Test(round_trip, suppression_loses_no_wakeup_split)
{
    struct vdt_ring_format format = {VDT_RING_SPLIT, 16, .indirect = true};

    run_by_events(format, (struct vdt_ring_pos){0, 0});
    format.event_idx = true;
    run_by_events(format, (struct vdt_ring_pos){65530, 65530});
}

Test(round_trip, suppression_loses_no_wakeup_packed)
{
    struct vdt_ring_format format = {VDT_RING_PACKED, 17, .indirect = true};

    run_by_events(format, (struct vdt_ring_pos){0x8000, 0x8000});
    format.event_idx = true;
    run_by_events(format, (struct vdt_ring_pos){16, 16});
}
