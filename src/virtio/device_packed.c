/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virtio/device_packed.h"

#include "virtio/device_posted.h"
#include "virtio/packed_layout.h"

/*
 * Every slot as a lap before pos left it, used: zeroed memory says so only for the very first lap,
 * and at a start with wrap counter 0 the device would be seen to have used what it never got.
 */
void
vdt_device_packed_init(struct vdt_device_ring *ring)
{
    uint16_t num = ring->format.num, pos = ring->pos.avail;

    for (uint32_t i = 0; i < num; i++) {
        vdt_store16(vdt_packed_flags(ring->mem.desc, pos), vdt_packed_used_bits(pos ^ 0x8000));
        pos = vdt_packed_advance(pos, 1, num);
    }
}

void
vdt_device_packed_post(struct vdt_device_ring *ring, const struct vdt_chain *chain, uint16_t id,
                       uint64_t table, uint32_t table_len)
{
    uint16_t pos = ring->pos.avail;

    for (uint32_t i = 0; i < chain->slots; i++) {
        struct vdt_seg seg =
            i < chain->direct
                ? chain->seg[i]
                : (struct vdt_seg){.addr = table, .len = table_len, .flags = VDT_SEG_INDIRECT};
        uint16_t flags =
            (uint16_t) ((seg.flags & (VDT_SEG_WRITE | VDT_SEG_INDIRECT)) |
                        (i + 1 < chain->slots ? VDT_SEG_NEXT : 0) | vdt_packed_avail_bits(pos));
        uint8_t *p = vdt_packed_desc(ring->mem.desc, pos);

        vdt_store64(p, seg.addr);
        if (pos == ring->published) {
            /* The device looks here next; all behind it stays hidden until these flags. */
            vdt_store32(p + 8, seg.len);
            vdt_store16(p + 12, id);
            ring->first_flags = flags;
        } else {
            vdt_store64(p + 8, vdt_packed_rest(seg.len, id, flags));
        }
        pos = vdt_packed_advance(pos, 1, ring->format.num);
    }
    ring->pos.avail = pos;
    vdt_posted_add(ring, chain, id);
}

bool
vdt_device_packed_publish(struct vdt_device_ring *ring)
{
    uint16_t old = ring->published, num = ring->format.num;
    uint32_t event;

    if (old == ring->pos.avail)
        return false;
    vdt_store16_release(vdt_packed_flags(ring->mem.desc, old), ring->first_flags);
    ring->published = ring->pos.avail;
    /* Our flags before our load of the device's wish (2.8.21.2). */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    event = vdt_load32(ring->mem.device);
    switch (VDT_PACKED_EVENT_FLAGS(event)) {
    case VRING_PACKED_EVENT_FLAG_DISABLE:
        return false;
    case VRING_PACKED_EVENT_FLAG_DESC:
        if (!ring->format.event_idx || (event & 0x7fff) >= num)
            return true;
        return vdt_packed_passed(VDT_PACKED_EVENT_POS(event), ring->published, old, num);
    default:
        /* A kick too many is no harm, so nonsense from the device is none either. */
        return true;
    }
}

/* One used descriptor, or several of a batch handed out one by one: pos moves by each one's slots.
 */
static enum vdt_reap
hand_out(struct vdt_device_ring *ring, uint16_t slots)
{
    ring->pos.used = vdt_packed_advance(ring->pos.used, slots, ring->format.num);
    return VDT_REAP_USED;
}

enum vdt_reap
vdt_device_packed_reap(struct vdt_device_ring *ring, struct vdt_used *ret_used)
{
    uint8_t *p = vdt_packed_desc(ring->mem.desc, ring->pos.used);
    enum vdt_ring_fault fault;
    uint16_t flags, id;
    uint32_t len;

    if (__builtin_expect(ring->fault != VDT_FAULT_NONE, 0))
        return VDT_REAP_BROKEN;
    if (__builtin_expect(ring->in_batch, 0))
        return hand_out(ring, vdt_posted_batch_next(ring, ret_used));
    /* Pairs with the device's barrier before its store of these flags. */
    flags = vdt_load16_acquire(p + 14);
    if (!vdt_packed_is_used(flags, ring->pos.used))
        return VDT_REAP_EMPTY;
    len = vdt_load32(p + 8);
    id = vdt_load16(p + 12);
    /* Without WRITE the length is reserved (2.8.4); but devices exist that write data and do not
     * set it, so the length is dropped only where it cannot be one. */
    if (!(flags & VDT_SEG_WRITE) && id < ring->format.num &&
        len > vdt_posted_of(ring, id)->writable)
        len = 0;
    fault = vdt_posted_check(ring, id, len);
    if (__builtin_expect(fault != VDT_FAULT_NONE, 0)) {
        ring->fault = fault;
        return VDT_REAP_BROKEN;
    }
    if (ring->format.in_order) {
        /* The descriptor names the last of its batch and lies in the first slot of it (2.8.8). */
        vdt_posted_batch_start(ring, id, len);
        return hand_out(ring, vdt_posted_batch_next(ring, ret_used));
    }
    *ret_used = (struct vdt_used){.id = id, .len = len};
    return hand_out(ring, vdt_posted_remove(ring, id));
}

void
vdt_device_packed_calls_off(struct vdt_device_ring *ring)
{
    vdt_store32(ring->mem.driver, vdt_packed_event(0, VRING_PACKED_EVENT_FLAG_DISABLE));
}

bool
vdt_device_packed_calls_on(struct vdt_device_ring *ring)
{
    uint16_t pos = ring->pos.used;

    vdt_store32(ring->mem.driver, ring->format.event_idx
                                      ? vdt_packed_event(pos, VRING_PACKED_EVENT_FLAG_DESC)
                                      : vdt_packed_event(0, VRING_PACKED_EVENT_FLAG_ENABLE));
    /* Our wish before our look, against the device's flags before its look at our wish. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return vdt_packed_is_used(vdt_load16(vdt_packed_flags(ring->mem.desc, pos)), pos);
}
