/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The way of most chains, in the order of travel: guest's ring, stretch, kept, device's ring; and
 * back: device's ring, kept, dirty log, guest's ring. All that a run needs stands in locals, where
 * no store to a ring makes the compiler load it again; each way is compiled once with and once
 * without what is seldom there (@plain).
 */
#include "shadow/run.h"

#include "base/wire.h"
#include "shadow/inflight_area_private.h"
#include "virtio/device_posted.h"
#include "virtio/device_split.h"
#include "virtio/guest_packed.h"
#include "virtio/guest_split.h"
#include "virtio/packed_layout.h"

#define RUN static inline __attribute__((always_inline)) unsigned

static bool
is_split(const struct vdt_relay *relay)
{
    return relay->guest.format.kind == VDT_RING_SPLIT;
}

/* For a run that begins with this segment, which is judged when the run loads it. */
static inline struct vdt_stretch
stretch_of(struct vdt_relay *relay, uint64_t addr, uint32_t len)
{
    if (G_UNLIKELY(!vdt_stretch_holds(&relay->stretch, addr, len)))
        vdt_stretch_find(&relay->stretch, relay->map, relay->table, addr, len);
    return relay->stretch;
}

RUN
forward_split(struct vdt_relay *relay, unsigned limit, const bool plain)
{
    struct vdt_guest_ring *guest = &relay->guest;
    struct vdt_device_ring *device = &relay->device;
    const uint16_t num = guest->format.num;
    const uint8_t *entry = vdt_split_avail_entry(guest->mem.driver, num, guest->pos.avail);
    uint8_t *to_entry = vdt_split_avail_entry(device->mem.driver, num, device->pos.avail);
    const void *from = guest->mem.desc;
    uint32_t head = vdt_load16(entry), run = (uint16_t) (guest->avail_seen - guest->pos.avail);

    /* A look ahead at what the run would begin with; it judges what it loads itself. */
    if (head >= num)
        return 0;
    const struct vdt_seg ahead = vdt_split_load_desc(from, head);
    if (ahead.flags & (VDT_SEG_NEXT | VDT_SEG_INDIRECT))
        return 0;
    run = MIN(MIN(run, limit), num - device->in_flight);
    run = MIN(run, vdt_split_until_end(num, guest->pos.avail));
    run = MIN(run, vdt_split_until_end(num, device->pos.avail));

    void *to = device->mem.desc;
    struct vdt_kept *all = relay->inflight.kept;
    const struct vdt_stretch stretch = stretch_of(relay, ahead.addr, ahead.len);
    uint64_t fetched = relay->inflight.fetched, bytes = 0;
    const uint64_t begin = fetched, end = fetched + run;
    uint8_t *area = !plain && relay->area ? relay->area->at : NULL;
    const uint64_t since = area ? relay->area->counter - fetched : 0;

    for (; fetched != end; fetched++, entry += 2, to_entry += 2) {
        head = vdt_load16(entry);
        if (head >= num)
            break;

        const struct vdt_seg seg = vdt_split_load_desc(from, head);
        struct vdt_kept *kept = &all[head];

        if (seg.flags & (VDT_SEG_NEXT | VDT_SEG_INDIRECT) || kept->posted.mark != 0 ||
            !vdt_stretch_holds(&stretch, seg.addr, seg.len))
            break;
        if (seg.flags & VDT_SEG_WRITE) {
            vdt_kept_writable(kept, seg.addr, seg.len, fetched);
            vdt_split_store_desc(to, head, seg.addr + stretch.delta, seg.len, VDT_SEG_WRITE, 0);
        } else {
            vdt_kept_readable(kept, seg.addr, seg.len, fetched);
            vdt_split_store_desc(to, head, seg.addr + stretch.delta, seg.len, 0, 0);
            bytes += seg.len;
        }
        if (!plain && device->format.in_order)
            vdt_posted_order_add(device, (uint16_t) head);
        if (!plain && area)
            vdt_area_split_take(area, (uint16_t) head, since + fetched);
        vdt_store16(to_entry, (uint16_t) head);
    }

    const uint16_t n = (uint16_t) (fetched - begin);
    if (area) {
        relay->area->counter += n;
        vdt_area_keep_order(); /* before they are published */
    }
    guest->pos.avail += n;
    guest->in_flight += n;
    device->pos.avail += n;
    device->in_flight += n;
    relay->inflight.fetched = fetched;
    relay->inflight.count += n;
    VDT_COUNT(relay->counters.bytes_out, bytes);
    return n;
}

RUN
forward_packed(struct vdt_relay *relay, unsigned limit, const bool plain)
{
    struct vdt_guest_ring *guest = &relay->guest;
    struct vdt_device_ring *device = &relay->device;
    const uint16_t num = guest->format.num, pos = guest->pos.avail, to_pos = device->pos.avail;
    const uint8_t *desc = vdt_packed_desc(guest->mem.desc, pos);
    uint8_t *to = vdt_packed_desc(device->mem.desc, to_pos);
    uint32_t run = MIN(limit, num - device->in_flight);

    /* A look ahead at what the run would begin with; it judges what it loads itself. */
    const uint16_t ahead = vdt_load16_acquire(desc + 14);
    if (!vdt_packed_is_avail(ahead, pos) || ahead & (VDT_SEG_NEXT | VDT_SEG_INDIRECT))
        return 0;
    run = MIN(MIN(run, relay->inflight.free_count), vdt_guest_packed_room(guest));
    run = MIN(run, vdt_packed_until_end(num, pos));
    run = MIN(run, vdt_packed_until_end(num, to_pos));

    const uint16_t *free_id = relay->inflight.free + relay->inflight.free_count;
    struct vdt_kept *all = relay->inflight.kept;
    const struct vdt_stretch stretch = stretch_of(relay, vdt_load64(desc), vdt_load32(desc + 8));
    const uint16_t bits = vdt_packed_avail_bits(to_pos);
    uint64_t fetched = relay->inflight.fetched, bytes = 0;
    const uint64_t begin = fetched, end = fetched + run;
    bool hidden = to_pos == device->published;

    for (; fetched != end; fetched++, desc += 16, to += 16) {
        /* Pairs with the driver's barrier before its store of these flags. */
        uint16_t flags = vdt_load16_acquire(desc + 14);

        if (!vdt_packed_is_avail(flags, pos) || flags & (VDT_SEG_NEXT | VDT_SEG_INDIRECT))
            break;

        const uint64_t addr = vdt_load64(desc);
        const uint32_t len = vdt_load32(desc + 8);
        const uint16_t id = free_id[-1];
        struct vdt_kept *kept = &all[id];

        if (!vdt_stretch_holds(&stretch, addr, len))
            break;
        flags &= VDT_SEG_WRITE;
        kept->next = vdt_load16(desc + 12);
        if (flags) {
            vdt_kept_writable(kept, addr, len, fetched);
        } else {
            vdt_kept_readable(kept, addr, len, fetched);
            bytes += len;
        }
        free_id--;
        if (!plain && relay->area)
            vdt_area_ring_take(relay->area, id, kept->next, 1, all, id);
        if (!plain && device->format.in_order)
            vdt_posted_order_add(device, id);
        vdt_store64(to, addr + stretch.delta);
        vdt_store32(to + 8, len);
        if (hidden) {
            /* The device looks here next; all behind it stays hidden until publish(). */
            vdt_store16(to + 12, id);
            device->first_flags = flags | bits;
            hidden = false;
        } else {
            vdt_store32(to + 12, vdt_packed_tail(id, flags | bits));
        }
    }

    const uint16_t n = (uint16_t) (fetched - begin);
    guest->pos.avail = vdt_packed_advance(pos, n, num);
    guest->in_flight += n;
    device->pos.avail = vdt_packed_advance(to_pos, n, num);
    device->in_flight += n;
    relay->inflight.fetched = fetched;
    relay->inflight.count += n;
    relay->inflight.free_count -= n;
    VDT_COUNT(relay->counters.bytes_out, bytes);
    return n;
}

unsigned
vdt_run_forward(struct vdt_relay *relay, unsigned limit)
{
    struct vdt_guest_ring *guest = &relay->guest;
    const bool plain = !relay->device.format.in_order && !relay->area;

    if (guest->fault)
        return 0;
    if (!is_split(relay)) {
        return plain ? forward_packed(relay, limit, true) : forward_packed(relay, limit, false);
    }
    if (guest->avail_seen == guest->pos.avail && vdt_guest_split_look(guest) != VDT_TAKE_CHAIN)
        return 0;
    return plain ? forward_split(relay, limit, true) : forward_split(relay, limit, false);
}

/* A look ahead at what a run back would begin with; it judges what it loads itself. */
static inline bool
is_single(const struct vdt_relay *relay, uint32_t id)
{
    return id < relay->guest.format.num && relay->inflight.kept[id].posted.mark & VDT_KEPT_SINGLE;
}

/* The device wrote as much of @kept as it says, or as it may. */
static inline void
log_single(struct vdt_dirty_log *log, const struct vdt_kept *kept, bool used_width, uint32_t len)
{
    if (kept->posted.writable > 0)
        vdt_dirty_log_mark(log, kept->addr, used_width ? len : kept->posted.writable);
}

RUN
back_split(struct vdt_relay *relay, unsigned limit, const bool plain)
{
    struct vdt_guest_ring *guest = &relay->guest;
    struct vdt_device_ring *device = &relay->device;
    const uint16_t num = guest->format.num;
    const uint8_t *entry = vdt_split_used_entry(device->mem.device, num, device->pos.used);
    uint8_t *to_entry = vdt_split_used_entry(guest->mem.device, num, guest->pos.used);
    struct vdt_kept *all = relay->inflight.kept;
    struct vdt_dirty_log *log = relay->log;
    const bool used_width = relay->dirty_used_width;
    uint16_t *batch = relay->area ? vdt_area_ring_batch(relay->area) : NULL;
    uint64_t bytes = 0;
    uint32_t n, run = MIN((uint16_t) (device->used_seen - device->pos.used), limit);

    run = MIN(run, vdt_split_until_end(num, guest->pos.used));
    run = MIN(run, vdt_split_until_end(num, device->pos.used));
    for (n = 0; n < run; n++, entry += 8, to_entry += 8) {
        const uint32_t id = vdt_load32(entry), len = vdt_load32(entry + 4);
        struct vdt_kept *kept = &all[id];

        if (id >= num || !(kept->posted.mark & VDT_KEPT_SINGLE) || len > kept->posted.writable)
            break;
        if (!plain && log)
            log_single(log, kept, used_width, len);
        if (!plain && batch)
            batch[n] = (uint16_t) id;
        vdt_kept_drop(kept);
        vdt_split_store_used(to_entry, id, len);
        bytes += len;
    }
    if (!plain && batch)
        relay->area->staged += n;
    device->pos.used += (uint16_t) n;
    device->in_flight -= n;
    guest->pos.used += (uint16_t) n;
    guest->in_flight -= n;
    relay->inflight.count -= n;
    VDT_COUNT(relay->counters.bytes_in, bytes);
    return n;
}

RUN
back_packed(struct vdt_relay *relay, unsigned limit, const bool plain)
{
    struct vdt_guest_ring *guest = &relay->guest;
    struct vdt_device_ring *device = &relay->device;
    const uint16_t num = guest->format.num, pos = device->pos.used, to_pos = guest->pos.used;
    const uint8_t *desc = vdt_packed_desc(device->mem.desc, pos);
    uint8_t *to = vdt_packed_desc(guest->mem.desc, to_pos);
    struct vdt_kept *all = relay->inflight.kept;
    uint16_t *free_id = relay->inflight.free + relay->inflight.free_count;
    struct vdt_dirty_log *log = relay->log;
    const bool used_width = relay->dirty_used_width;
    const uint16_t bits = vdt_packed_used_bits(to_pos);
    bool hidden = to_pos == guest->published;
    uint64_t bytes = 0;
    uint32_t n, run = MIN(limit, vdt_packed_until_end(num, pos));

    run = MIN(run, vdt_packed_until_end(num, to_pos));
    for (n = 0; n < run; n++, desc += 16, to += 16) {
        /* Pairs with the device's barrier before its store of these flags. */
        if (!vdt_packed_is_used(vdt_load16_acquire(desc + 14), pos))
            break;

        const uint32_t len = vdt_load32(desc + 8);
        const uint16_t id = vdt_load16(desc + 12);
        const uint16_t flags = bits | (len > 0 ? VDT_SEG_WRITE : 0);
        struct vdt_kept *kept = &all[id];

        if (id >= num || !(kept->posted.mark & VDT_KEPT_SINGLE) || len > kept->posted.writable)
            break;
        if (!plain && log)
            log_single(log, kept, used_width, len);
        if (!plain && relay->area)
            vdt_area_ring_give(relay->area, id);
        vdt_kept_drop(kept);
        *free_id++ = id;
        vdt_store32(to + 8, len);
        if (hidden) {
            vdt_store16(to + 12, kept->next);
            guest->first_flags = flags;
            hidden = false;
        } else {
            vdt_store32(to + 12, vdt_packed_tail(kept->next, flags));
        }
        bytes += len;
    }
    device->pos.used = vdt_packed_advance(pos, (uint16_t) n, num);
    device->in_flight -= n;
    guest->pos.used = vdt_packed_advance(to_pos, (uint16_t) n, num);
    guest->in_flight -= n;
    relay->inflight.count -= n;
    relay->inflight.free_count += n;
    VDT_COUNT(relay->counters.bytes_in, bytes);
    return n;
}

unsigned
vdt_run_back(struct vdt_relay *relay, unsigned limit)
{
    struct vdt_device_ring *device = &relay->device;
    const bool plain = !relay->log && !relay->area;

    /* In order a used descriptor may stand for many. */
    if (device->fault || device->format.in_order)
        return 0;
    if (!is_split(relay)) {
        if (!is_single(relay, vdt_load16(vdt_packed_desc(device->mem.desc, device->pos.used) + 12)))
            return 0;
        return plain ? back_packed(relay, limit, true) : back_packed(relay, limit, false);
    }
    if (device->used_seen == device->pos.used && vdt_device_split_look(device) != VDT_REAP_USED)
        return 0;
    if (!is_single(relay, vdt_load32(vdt_split_used_entry(device->mem.device, device->format.num,
                                                          device->pos.used))))
        return 0;
    return plain ? back_split(relay, limit, true) : back_split(relay, limit, false);
}
