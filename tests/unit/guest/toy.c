/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit/guest/toy.h"

#include <criterion/criterion.h>
#include <string.h>

static bool
read_ram(void *ctx, uint64_t addr, void *dst, uint32_t len)
{
    memcpy(dst, vdt_ram_at(((struct toy *) ctx)->queue->ram, addr, len), len);
    return true;
}

void
toy_attach(struct toy *toy, struct vdt_queue *queue, struct vdt_ring_pos pos)
{
    *toy = (struct toy){.queue = queue, .reader = {read_ram, toy}};
    vdt_guest_ring_init(&toy->ring, &queue->ring.format, &queue->ring.mem, pos);
}

bool
toy_take(struct toy *toy)
{
    toy->chain = (struct vdt_chain){.seg = toy->seg, .capacity = TOY_SEGS};
    enum vdt_take take = vdt_guest_ring_take(&toy->ring, &toy->reader, &toy->chain);

    cr_assert_neq(take, VDT_TAKE_BROKEN, "%s", vdt_ring_fault_name(toy->ring.fault));
    return take == VDT_TAKE_CHAIN;
}

uint32_t
toy_read(const struct toy *toy, uint8_t *bytes, uint32_t room)
{
    uint32_t done = 0;

    for (uint32_t i = 0; i < toy->chain.count; i++) {
        const struct vdt_seg *seg = &toy->seg[i];

        if (seg->flags & VDT_SEG_WRITE)
            break;
        cr_assert_leq(done + seg->len, room);
        memcpy(bytes + done, vdt_ram_at(toy->queue->ram, seg->addr, seg->len), seg->len);
        done += seg->len;
    }
    return done;
}

void
toy_write(const struct toy *toy, const uint8_t *bytes, uint32_t len)
{
    for (uint32_t i = 0; i < toy->chain.count && len; i++) {
        const struct vdt_seg *seg = &toy->seg[i];
        uint32_t part = MIN(len, seg->len);

        if (!(seg->flags & VDT_SEG_WRITE))
            continue;
        memcpy(vdt_ram_at(toy->queue->ram, seg->addr, part), bytes, part);
        bytes += part;
        len -= part;
    }
}

void
toy_give(struct toy *toy, uint32_t len)
{
    vdt_guest_ring_give(&toy->ring, toy->chain.id, toy->chain.slots, len);
    vdt_guest_ring_publish(&toy->ring);
}

void
toy_give_again(struct toy *toy)
{
    /* The ring's own count knows better than to go below nothing. */
    toy->ring.in_flight += toy->ring.format.kind == VDT_RING_SPLIT ? 1u : toy->chain.slots;
    toy_give(toy, 0);
}
