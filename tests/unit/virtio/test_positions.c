/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two rings that start at different places, and chains relayed from one to the other: driver ->
 * guest ring (ours) -> device ring (ours) -> device, and back, far over each wrap.
 */
#include "lib/leak.h"
#include "lib/ring_box.h"

#include "virtio/device_ring.h"
#include "virtio/guest_ring.h"

VDT_SUITE(positions);

#define CHAINS 70100u

struct relay {
    struct ring_box guest_box, shadow_box;
    struct vdt_device_ring driver; /* the guest's driver, over guest_box */
    struct vdt_guest_ring guest;
    struct vdt_device_ring shadow;
    struct vdt_guest_ring device;           /* the device, over shadow_box */
    uint16_t guest_id[64], guest_slots[64]; /* packed: of each shadow id */
    uint16_t shadow_free[64];
    unsigned shadow_free_count;
    uint64_t done;
};

static void
relay_init(struct relay *r, struct vdt_ring_format format, uint16_t guest_pos, uint16_t shadow_pos)
{
    struct vdt_ring_pos g = {guest_pos, guest_pos}, s = {shadow_pos, shadow_pos};

    *r = (struct relay){0};
    ring_box_init(&r->guest_box, format);
    ring_box_init(&r->shadow_box, format);
    vdt_device_ring_init(&r->driver, &format, &r->guest_box.mem, g);
    vdt_guest_ring_init(&r->guest, &format, &r->guest_box.mem, g);
    vdt_device_ring_init(&r->shadow, &format, &r->shadow_box.mem, s);
    vdt_guest_ring_init(&r->device, &format, &r->shadow_box.mem, s);
    for (uint16_t i = 0; i < format.num; i++)
        r->shadow_free[r->shadow_free_count++] = i;
}

static void
relay_clear(struct relay *r)
{
    vdt_device_ring_clear(&r->driver);
    vdt_device_ring_clear(&r->shadow);
    ring_box_clear(&r->guest_box);
    ring_box_clear(&r->shadow_box);
}

static void
post_from_driver(struct relay *r, uint32_t n)
{
    struct vdt_seg seg[2] = {{.addr = 0x1000, .len = 12}, {.addr = 0x2000, .flags = VDT_SEG_WRITE}};

    for (uint32_t i = 0; i < n; i++) {
        struct vdt_chain chain = {.seg = seg, .count = 1 + i % 2, .slots = (uint16_t) (1 + i % 2)};
        uint16_t id;

        chain.direct = chain.count;
        seg[1].len = chain.writable = i % 2 ? 1500 + i : 0;
        if (!vdt_device_ring_lay(&r->driver, &chain, &id))
            break;
        vdt_device_ring_post(&r->driver, &chain, id, 0, 0);
    }
    vdt_device_ring_publish(&r->driver);
}

static void
forward(struct relay *r, bool split)
{
    struct vdt_seg seg[192];
    struct vdt_chain chain = {.seg = seg, .capacity = 192};
    enum vdt_take take;

    while ((take = vdt_guest_ring_take(&r->guest, NULL, &chain)) == VDT_TAKE_CHAIN) {
        uint16_t id = chain.id;

        if (!split) {
            id = r->shadow_free[--r->shadow_free_count];
            r->guest_id[id] = chain.id;
            r->guest_slots[id] = chain.slots;
        }
        cr_assert_leq(r->shadow.in_flight + chain.slots, r->shadow.format.num);
        vdt_device_ring_post(&r->shadow, &chain, id, 0, 0);
    }
    cr_assert_eq(take, VDT_TAKE_EMPTY, "%s", vdt_ring_fault_name(r->guest.fault));
    vdt_device_ring_publish(&r->shadow);
}

/* The device works on what it has from the newest to the oldest. */
static void
serve(struct relay *r)
{
    struct vdt_seg seg[192];
    struct vdt_chain chain = {.seg = seg, .capacity = 192};
    struct {
        uint16_t id, slots;
        uint32_t len;
    } held[64];
    unsigned n = 0;

    while (vdt_guest_ring_take(&r->device, NULL, &chain) == VDT_TAKE_CHAIN) {
        held[n].id = chain.id;
        held[n].slots = chain.slots;
        held[n++].len = chain.writable;
    }
    cr_assert_eq(r->device.fault, VDT_FAULT_NONE);
    while (n-- > 0)
        vdt_guest_ring_give(&r->device, held[n].id, held[n].slots, held[n].len);
    vdt_guest_ring_publish(&r->device);
}

static void
give_back(struct relay *r, bool split)
{
    struct vdt_used used;
    enum vdt_reap reap;

    while ((reap = vdt_device_ring_reap(&r->shadow, &used)) == VDT_REAP_USED) {
        if (split) {
            vdt_guest_ring_give(&r->guest, used.id, 0, used.len);
        } else {
            vdt_guest_ring_give(&r->guest, r->guest_id[used.id], r->guest_slots[used.id], used.len);
            r->shadow_free[r->shadow_free_count++] = used.id;
        }
    }
    cr_assert_eq(reap, VDT_REAP_EMPTY, "%s", vdt_ring_fault_name(r->shadow.fault));
    vdt_guest_ring_publish(&r->guest);
    while ((reap = vdt_device_ring_reap(&r->driver, &used)) == VDT_REAP_USED)
        r->done++;
    cr_assert_eq(reap, VDT_REAP_EMPTY, "%s", vdt_ring_fault_name(r->driver.fault));
}

static void
run(struct vdt_ring_format format, uint16_t guest_pos, uint16_t shadow_pos)
{
    bool split = format.kind == VDT_RING_SPLIT;
    struct relay r;

    relay_init(&r, format, guest_pos, shadow_pos);
    for (uint32_t round = 0; r.done < CHAINS; round++) {
        post_from_driver(&r, 1 + round % 17);
        forward(&r, split);
        serve(&r);
        give_back(&r, split);
        cr_assert_eq(r.driver.in_flight, 0);
        cr_assert(r.shadow.in_flight == 0 && r.guest.in_flight == 0 && r.device.in_flight == 0);
    }
    if (split) {
        uint16_t delta = (uint16_t) (shadow_pos - guest_pos);

        cr_assert_eq(r.shadow.pos.avail, (uint16_t) (r.guest.pos.avail + delta));
        cr_assert_eq(r.shadow.pos.used, (uint16_t) (r.guest.pos.used + delta));
    }
    relay_clear(&r);
}

Test(positions, split_rings_at_65530_and_0)
{
    run((struct vdt_ring_format){VDT_RING_SPLIT, 64}, 65530, 0);
    run((struct vdt_ring_format){VDT_RING_SPLIT, 64, .event_idx = true}, 0, 65530);
}

Test(positions, packed_rings_in_different_laps)
{
    run((struct vdt_ring_format){VDT_RING_PACKED, 64}, 0x803a, 0);
    run((struct vdt_ring_format){VDT_RING_PACKED, 51, .event_idx = true}, 50, 0x8000);
}
