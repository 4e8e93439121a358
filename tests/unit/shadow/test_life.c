/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a ring tells about the life of its driver. */
#include <criterion/criterion.h>

#include "lib/leak.h"
#include "lib/ring_box.h"
#include "shadow/shadow.h"
#include "virtio/device_ring.h"
#include "virtio/guest_ring.h"

VDT_SUITE(life);

#define NUM 8u

struct stand {
    struct ring_box box;
    struct vdt_device_ring driver;
    struct vdt_guest_ring device;
};

static void
init(struct stand *stand, enum vdt_ring_kind kind)
{
    struct vdt_ring_format format = {.kind = kind, .num = NUM};
    struct vdt_ring_pos pos = vdt_ring_pos_initial(kind);

    ring_box_init(&stand->box, format);
    vdt_device_ring_init(&stand->driver, &format, &stand->box.mem, pos);
    vdt_guest_ring_init(&stand->device, &format, &stand->box.mem, pos);
}

static void
clear(struct stand *stand)
{
    vdt_device_ring_clear(&stand->driver);
    ring_box_clear(&stand->box);
}

static bool
unused(const struct stand *stand)
{
    return vdt_shadow_ring_unused(&stand->box.format, &stand->box.mem);
}

static void
post(struct stand *stand)
{
    struct vdt_seg seg = {.addr = 0x1000, .len = 64, .flags = VDT_SEG_WRITE};
    struct vdt_chain chain = {
        .seg = &seg, .capacity = 1, .count = 1, .direct = 1, .slots = 1, .writable = 64};
    uint16_t id;

    cr_assert(vdt_device_ring_lay(&stand->driver, &chain, &id));
    vdt_device_ring_post(&stand->driver, &chain, id, 0, 0);
    vdt_device_ring_publish(&stand->driver);
}

/* A device that gives back what it takes, at once. */
static void
serve(struct stand *stand)
{
    struct vdt_seg scratch[3 * NUM];
    struct vdt_chain chain = {.seg = scratch, .capacity = 3 * NUM};
    const struct vdt_reader reader = {0};
    struct vdt_used used;

    while (vdt_guest_ring_take(&stand->device, &reader, &chain) == VDT_TAKE_CHAIN) {
        vdt_guest_ring_give(&stand->device, chain.id, chain.slots, 7);
        vdt_guest_ring_publish(&stand->device);
    }
    while (vdt_device_ring_reap(&stand->driver, &used) == VDT_REAP_USED)
        ;
}

Test(life, ring_is_unused_until_a_device_gives_something_back)
{
    for (unsigned kind = 0; kind < 2; kind++) {
        struct stand stand;

        init(&stand, kind ? VDT_RING_PACKED : VDT_RING_SPLIT);
        cr_expect(unused(&stand), "empty");
        for (unsigned i = 0; i < NUM; i++) {
            post(&stand);
            cr_expect(unused(&stand), "%u made available", i + 1);
        }
        serve(&stand);
        cr_expect_not(unused(&stand));
        clear(&stand);
    }
}

/* At every position of several rounds, the wrap of the split index included. */
Test(life, used_ring_shows_it_wherever_it_stands)
{
    for (unsigned kind = 0; kind < 2; kind++) {
        struct stand stand;

        init(&stand, kind ? VDT_RING_PACKED : VDT_RING_SPLIT);
        for (unsigned i = 0; i < (kind ? 5 * NUM : 65536 + 2 * NUM); i++) {
            post(&stand);
            if (i > 0)
                cr_assert_not(unused(&stand), "after %u", i);
            serve(&stand);
            cr_assert_not(unused(&stand), "after %u", i + 1);
        }
        clear(&stand);
    }
}
