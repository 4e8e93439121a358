/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The books of a queue: what a device does to a chain is told apart, on both kinds of rings. */
#include "lib/leak.h"

#include <criterion/parameterized.h>

#include "guest/queue.h"
#include "unit/guest/toy.h"
#include "virtio/features.h"
#include "virtio/net_ctrl.h"

VDT_SUITE(queue);

#define SIZE (8u << 20)
#define BUFFER 0x200000u

static const enum vdt_ring_kind kinds[] = {VDT_RING_SPLIT, VDT_RING_PACKED};

static struct vdt_ram ram;
static struct vdt_queue queue;
static struct toy toy;

static void
set_up(enum vdt_ring_kind kind)
{
    struct vdt_ring_format format = {.kind = kind, .num = 8, .event_idx = true, .indirect = true};

    cr_assert(vdt_ram_init(&ram, SIZE, NULL));
    cr_assert(vdt_queue_init(&queue, 0, &format, &ram, 0x100000, NULL));
    toy_attach(&toy, &queue, vdt_ring_pos_initial(kind));
}

static void
tear_down(void)
{
    vdt_queue_clear(&queue);
    vdt_ram_clear(&ram);
}

static bool
post(uint64_t cookie, unsigned count, uint64_t table)
{
    struct vdt_queue_part part[VDT_QUEUE_PARTS];

    for (unsigned i = 0; i < count; i++)
        part[i] = (struct vdt_queue_part){BUFFER + i * 256, 256, true};
    bool ok = vdt_queue_post(&queue, part, count, table, cookie);
    vdt_queue_kick(&queue);
    return ok;
}

ParameterizedTestParameters(queue, a_chain_comes_back_as_it_was_posted)
{
    return cr_make_param_array(const enum vdt_ring_kind, kinds, G_N_ELEMENTS(kinds));
}

ParameterizedTest(const enum vdt_ring_kind *kind, queue, a_chain_comes_back_as_it_was_posted)
{
    struct vdt_queue_chain chain;
    uint32_t len;

    set_up(*kind);
    for (unsigned i = 0; i < 100; i++) {
        cr_assert(post(i, 1 + i % 3, i % 2 ? BUFFER + 0x1000 : 0));
        cr_assert(toy_take(&toy));
        cr_expect_eq(toy.chain.count, 1 + i % 3);
        toy_give(&toy, i);
        cr_assert(vdt_queue_reap(&queue, &chain, &len));
        cr_expect_eq(chain.cookie, i);
        cr_expect_eq(chain.count, 1 + i % 3);
        cr_expect_eq(len, i);
    }
    cr_expect_eq(queue.available, 100);
    cr_expect_eq(queue.used, 100);
    cr_expect_eq(vdt_queue_in_flight(&queue), 0);
    tear_down();
}

ParameterizedTestParameters(queue, a_chain_that_a_device_drops_stays_on_record)
{
    return cr_make_param_array(const enum vdt_ring_kind, kinds, G_N_ELEMENTS(kinds));
}

ParameterizedTest(const enum vdt_ring_kind *kind, queue,
                  a_chain_that_a_device_drops_stays_on_record)
{
    struct vdt_queue_chain chain;
    uint32_t len;

    set_up(*kind);
    cr_assert(post(1, 1, 0) && post(2, 1, 0));
    cr_assert(toy_take(&toy)); /* and never given back */
    cr_assert(toy_take(&toy));
    toy_give(&toy, 0);
    cr_assert(vdt_queue_reap(&queue, &chain, &len));
    cr_expect_eq(chain.cookie, 2);
    cr_expect_not(vdt_queue_reap(&queue, &chain, &len));
    cr_expect_eq(vdt_queue_in_flight(&queue), 1);
    cr_expect_null(vdt_queue_broken(&queue));
    tear_down();
}

ParameterizedTestParameters(queue, a_chain_that_comes_back_twice_is_a_duplicate)
{
    return cr_make_param_array(const enum vdt_ring_kind, kinds, G_N_ELEMENTS(kinds));
}

ParameterizedTest(const enum vdt_ring_kind *kind, queue,
                  a_chain_that_comes_back_twice_is_a_duplicate)
{
    struct vdt_queue_chain chain;
    uint32_t len;

    set_up(*kind);
    cr_assert(post(1, 1, 0) && post(2, 1, 0));
    cr_assert(toy_take(&toy));
    toy_give(&toy, 0);
    toy_give_again(&toy);
    cr_expect(vdt_queue_reap(&queue, &chain, &len));
    cr_expect_not(vdt_queue_reap(&queue, &chain, &len));
    cr_expect_eq(queue.duplicated, 1);
    cr_expect_not_null(vdt_queue_broken(&queue));
    cr_expect_not(vdt_queue_reap(&queue, &chain, &len));
    cr_expect_eq(queue.duplicated, 1);
    tear_down();
}

ParameterizedTestParameters(queue, what_is_in_flight_comes_back_in_other_memory)
{
    return cr_make_param_array(const enum vdt_ring_kind, kinds, G_N_ELEMENTS(kinds));
}

ParameterizedTest(const enum vdt_ring_kind *kind, queue,
                  what_is_in_flight_comes_back_in_other_memory)
{
    struct vdt_ring_pos pos = vdt_ring_pos_initial(*kind);
    struct vdt_queue_chain chain;
    struct vdt_ram other;
    uint32_t len;

    set_up(*kind);
    cr_assert(vdt_ram_init(&other, SIZE, NULL));
    cr_assert(post(7, 2, 0));
    vdt_ram_copy(&other, &ram);
    cr_assert(vdt_queue_move(&queue, &other, NULL));
    toy_attach(&toy, &queue, pos);
    cr_assert(toy_take(&toy));
    toy_give(&toy, 9);
    cr_assert(vdt_queue_reap(&queue, &chain, &len));
    cr_expect_eq(chain.cookie, 7);
    cr_expect_eq(vdt_queue_in_flight(&queue), 0);
    tear_down();
    vdt_ram_clear(&other);
}

static uint64_t marked;

static void
note(void *ctx, uint64_t gpa)
{
    marked |= 1ull << (gpa - queue.addr.desc) / VDT_RAM_PAGE;
}

/* The page that only the device writes must not be the processor's, or a page that the tracker
 * forgets would be copied all the same. */
Test(queue, the_device_area_is_never_marked_as_written_by_the_processor)
{
    struct vdt_queue_chain chain;
    uint32_t len;

    set_up(VDT_RING_SPLIT);
    vdt_ram_take(&ram, ram.cpu, note, NULL);
    marked = 0;
    cr_assert(post(1, 1, 0));
    cr_assert(toy_take(&toy));
    toy_give(&toy, 1);
    cr_assert(vdt_queue_reap(&queue, &chain, &len));
    vdt_queue_sleep(&queue);
    vdt_ram_take(&ram, ram.cpu, note, NULL);
    cr_expect_eq(marked, 3, "descriptor table and avail ring: 0x%lx", marked);
    tear_down();
}
