/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The data path, in the order of travel:
 *
 *   guest kick -> take (chain copied) -> admit (addresses checked against guest memory, kept,
 *   translated) -> post -> publish -> device kick
 *   device call -> reap -> dirty log from the kept chain -> give -> publish -> log the ring ->
 * guest call
 *
 * No allocation, lock, log or GLib call from here down.
 */
#include "shadow/relay.h"

#include <glib.h>

#include "base/fd.h"
#include "base/wire.h"
#include "shadow/run.h"
#include "virtio/chain_walk.h"

static bool
is_split(const struct vdt_relay *relay)
{
    return relay->guest.format.kind == VDT_RING_SPLIT;
}

static bool
read_guest(void *ctx, uint64_t addr, void *dst, uint32_t len)
{
    struct vdt_relay *relay = ctx;

    return vdt_guest_map_read(relay->map, addr, dst, len);
}

static void
mark(void *ctx, uint64_t gpa, uint64_t len)
{
    struct vdt_relay *relay = ctx;

    vdt_dirty_log_mark(relay->log, gpa, len);
}

static __attribute__((noinline, cold)) void
break_down(struct vdt_relay *relay, enum vdt_ring_fault fault, bool by_device)
{
    relay->device_fault = by_device;
    /* Whoever sees the fault sees whose it is. */
    __atomic_store_n(&relay->fault, fault, __ATOMIC_RELEASE);
    vdt_event_signal(relay->attention);
}

/* Before a batch: what is known of another map or table counts no more. */
static void
check_stretch(struct vdt_relay *relay)
{
    uint64_t generation = vdt_guest_map_generation(relay->map);

    if (relay->stretch_generation == generation && relay->stretch_table == relay->table)
        return;
    relay->stretch = (struct vdt_stretch){0};
    relay->stretch_generation = generation;
    relay->stretch_table = relay->table;
}

/* Every byte of the segment is guest memory; then its device address. Zero lengths touch nothing
 * and may carry any address. */
static inline bool
translate(struct vdt_relay *relay, struct vdt_seg *seg)
{
    struct vdt_stretch *last = &relay->stretch;

    if (G_UNLIKELY(!vdt_stretch_holds(last, seg->addr, seg->len))) {
        if (seg->len == 0)
            return true;
        if (!vdt_stretch_find(last, relay->map, relay->table, seg->addr, seg->len))
            return false;
    }
    seg->addr += last->delta;
    return true;
}

/* The table's copy for the device, in the layout and byte order of a split or packed table. */
static bool
fill_table(struct vdt_relay *relay, struct vdt_seg *table)
{
    struct vdt_chain *chain = &relay->chain;
    uint32_t count = chain->count - chain->direct;
    bool split = is_split(relay);

    for (uint32_t i = 0; i < count; i++) {
        struct vdt_seg seg = chain->seg[chain->direct + i];
        uint16_t write = seg.flags & VDT_SEG_WRITE;

        if (!translate(relay, &seg))
            return false;
        vdt_store64(&table[i].addr, seg.addr);
        vdt_store32(&table[i].len, seg.len);
        if (split) {
            bool last = i + 1 == count;
            vdt_store16(&table[i].flags, (uint16_t) (write | (last ? 0 : VDT_SEG_NEXT)));
            vdt_store16(&table[i].next, (uint16_t) (last ? 0 : i + 1));
        } else {
            /* Packed: le16 id, le16 flags, in this order, where split has flags and next. */
            vdt_store16((uint8_t *) &table[i] + 12, 0);
            vdt_store16((uint8_t *) &table[i] + 14, write);
        }
    }
    return true;
}

enum admit { ADMITTED, NO_ROOM, GUEST_BROKE };

/* Kept and translated: from a checked chain to one that can be posted. Nothing is kept on failure.
 */
static enum admit
admit(struct vdt_relay *relay, uint16_t *ret_id, uint64_t *ret_table_iova)
{
    struct vdt_chain *chain = &relay->chain;
    struct vdt_seg *table = NULL;
    bool ok = true;

    if (G_UNLIKELY(relay->device.in_flight + chain->slots > relay->device.format.num))
        return NO_ROOM;
    switch (vdt_inflight_keep(&relay->inflight, chain, ret_id, &table, ret_table_iova)) {
    case VDT_KEEP_FULL:
        return NO_ROOM;
    case VDT_KEEP_OWNED:
        break_down(relay, VDT_FAULT_OWNED, false);
        return GUEST_BROKE;
    case VDT_KEEP_OK:
        break;
    }
    for (uint32_t i = 0; ok && i < chain->direct; i++)
        ok = translate(relay, &chain->seg[i]);
    if (G_UNLIKELY(chain->indirect))
        ok = ok && fill_table(relay, table);
    if (G_LIKELY(ok)) {
        /* Written down for whoever comes after us, before the device has it. */
        if (G_UNLIKELY(relay->area))
            vdt_area_ring_take(relay->area, *ret_id, chain->id, chain->slots, relay->inflight.kept,
                               *ret_id);
        return ADMITTED;
    }
    vdt_inflight_drop(&relay->inflight, *ret_id);
    break_down(relay, VDT_FAULT_ADDRESS, false);
    return GUEST_BROKE;
}

static uint32_t
table_size(const struct vdt_chain *chain)
{
    return (chain->count - chain->direct) * (uint32_t) sizeof(struct vdt_seg);
}

/* One chain of any kind. False: no more for now. */
static bool
forward_one(struct vdt_relay *relay)
{
    struct vdt_chain *chain = &relay->chain;
    uint64_t table_iova = 0;
    uint16_t id;

    switch (vdt_guest_ring_take(&relay->guest, &relay->reader, chain)) {
    case VDT_TAKE_EMPTY:
        return false;
    case VDT_TAKE_BROKEN:
        break_down(relay, relay->guest.fault, false);
        return false;
    case VDT_TAKE_CHAIN:
        break;
    }

    enum admit admitted = admit(relay, &id, &table_iova);
    if (admitted != ADMITTED) {
        vdt_guest_ring_untake(&relay->guest, chain);
        relay->stalled = admitted == NO_ROOM;
        return false;
    }
    vdt_device_ring_post(&relay->device, chain, id, table_iova, table_size(chain));
    VDT_COUNT(relay->counters.bytes_out, chain->readable);
    relay->single_out = chain->slots == 1 && !chain->indirect;
    return true;
}

unsigned
vdt_relay_forward(struct vdt_relay *relay)
{
    unsigned n = 0, num = relay->guest.format.num;

    relay->stalled = false;
    check_stretch(relay);
    while (n < num && !relay->fault) {
        unsigned run = relay->single_out ? vdt_run_forward(relay, num - n) : 0;

        if (run == 0 && !forward_one(relay))
            break;
        n += MAX(run, 1);
        if (run > 0 && vdt_guest_ring_seems_empty(&relay->guest))
            break;
    }
    if (n > 0) {
        VDT_COUNT(relay->counters.chains, n);
        vdt_relay_kick_device(relay);
    }
    return n;
}

/* Log what publish() wrote. Our own stores: the fence of needs_call() stands before the test of the
 * bits. */
static void
log_ring(struct vdt_relay *relay, uint16_t from)
{
    struct vdt_ring_span span[VDT_RING_SPANS_MAX];
    unsigned n = vdt_guest_ring_written(&relay->guest, from, span);

    for (unsigned i = 0; i < n; i++)
        vdt_dirty_log_mark(relay->log,
                           (span[i].in_desc ? relay->gpa.desc : relay->gpa.device) + span[i].offset,
                           span[i].len);
}

/* Log where we say whether we want kicks: that was written since the last batch, or it was not. */
static void
log_wishes(struct vdt_relay *relay)
{
    if (!relay->log)
        return;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    log_ring(relay, relay->guest.published);
}

/* The device may have written beyond used.len (virtio 1.2, 2.7.8.2: at least len bytes). */
static inline uint64_t
dirty_limit(const struct vdt_relay *relay, const struct vdt_used *used)
{
    return relay->dirty_used_width && !used->whole ? used->len : UINT64_MAX;
}

static bool
back_one(struct vdt_relay *relay)
{
    struct vdt_used used;

    switch (vdt_device_ring_reap(&relay->device, &used)) {
    case VDT_REAP_EMPTY:
        return false;
    case VDT_REAP_BROKEN:
        break_down(relay, relay->device.fault, true);
        return false;
    case VDT_REAP_USED:
        break;
    }

    const struct vdt_inflight_head head = vdt_inflight_head(&relay->inflight, used.id);
    if (relay->log)
        vdt_inflight_each_writable(&relay->inflight, used.id, dirty_limit(relay, &used), mark,
                                   relay);
    vdt_guest_ring_give(&relay->guest, head.guest_id, head.slots, used.len);
    vdt_inflight_drop(&relay->inflight, used.id);
    if (relay->area)
        vdt_area_ring_give(relay->area, used.id);
    VDT_COUNT(relay->counters.bytes_in, used.len);
    relay->single_in = head.slots == 1 && !head.indirect && !relay->device.format.in_order;
    return true;
}

unsigned
vdt_relay_back(struct vdt_relay *relay)
{
    unsigned n = 0, num = relay->guest.format.num;
    uint16_t from = relay->guest.pos.used;

    while (n < num && !relay->fault) {
        unsigned run = relay->single_in ? vdt_run_back(relay, num - n) : 0;

        if (run == 0 && !back_one(relay))
            break;
        n += MAX(run, 1);
        if (run > 0 && vdt_device_ring_seems_empty(&relay->device))
            break;
    }
    if (n > 0) {
        VDT_COUNT(relay->counters.returned, n);
        if (G_UNLIKELY(relay->area))
            vdt_area_ring_publishing(relay->area, relay->guest.pos.used);
        vdt_guest_ring_publish(&relay->guest);
        if (G_UNLIKELY(relay->area))
            vdt_area_ring_published(relay->area, relay->guest.pos.used);
        bool call = vdt_guest_ring_needs_call(&relay->guest, from);
        if (relay->log)
            log_ring(relay, from);
        if (call && relay->guest_call >= 0) {
            vdt_event_signal(relay->guest_call);
            VDT_COUNT(relay->counters.calls_sent, 1);
        }
    }
    return n;
}

bool
vdt_relay_work(struct vdt_relay *relay)
{
    vdt_guest_ring_kicks_off(&relay->guest);
    vdt_device_ring_calls_off(&relay->device);

    bool more = vdt_relay_back(relay) > 0;
    more |= vdt_relay_forward(relay) > 0;
    /* Nothing to do: ask to be woken, and look once more for what came in between. While stalled a
     * kick would not help; the next completion fetches. */
    if (!more && !relay->fault) {
        more = vdt_device_ring_calls_on(&relay->device);
        if (!relay->stalled)
            more |= vdt_guest_ring_kicks_on(&relay->guest);
    }
    log_wishes(relay);
    __atomic_store_n(&relay->counters.pos.avail, relay->guest.pos.avail, __ATOMIC_RELAXED);
    __atomic_store_n(&relay->counters.pos.used, relay->guest.pos.used, __ATOMIC_RELAXED);
    __atomic_store_n(&relay->counters.in_flight, relay->inflight.count, __ATOMIC_RELAXED);
    return more && !relay->fault;
}

void
vdt_relay_park(struct vdt_relay *relay)
{
    if (relay->fault)
        return;
    vdt_guest_ring_kicks_on(&relay->guest);
    log_wishes(relay);
}

void
vdt_relay_kick_device(struct vdt_relay *relay)
{
    if (vdt_device_ring_publish(&relay->device)) {
        vdt_event_signal(relay->device_kick);
        VDT_COUNT(relay->counters.kicks_sent, 1);
    }
}

/* A packed chain as somebody kept it, held to the rules that take() holds the guest's to: a state
 * carrier is trusted no more. It is all in the ring, or one indirect descriptor (2.8.8). */
static enum vdt_ring_fault
rebuild_packed(struct vdt_relay *relay, uint16_t id, uint16_t slots, const struct vdt_seg *segs,
               uint32_t seg_count)
{
    struct vdt_chain *chain = &relay->chain;
    struct vdt_chain_walk walk;
    enum vdt_ring_fault fault = VDT_FAULT_NONE;
    bool indirect = slots == 1 && seg_count > 1;

    if (seg_count == 0 || seg_count > relay->guest.format.num || (!indirect && slots != seg_count))
        return VDT_FAULT_TOO_LONG;
    if (indirect && !relay->guest.format.indirect)
        return VDT_FAULT_INDIRECT;
    vdt_chain_walk_start(&walk, chain);
    for (uint32_t i = 0; i < seg_count && fault == VDT_FAULT_NONE; i++)
        fault = vdt_chain_walk_add(&walk, chain, segs[i]);
    chain->id = id;
    chain->slots = slots;
    chain->indirect = indirect;
    chain->table_addr = relay->resubmit_table.addr;
    chain->table_len = relay->resubmit_table.len;
    chain->direct = indirect ? 0 : seg_count;
    return fault != VDT_FAULT_NONE ? fault : vdt_chain_walk_end(&walk, chain);
}

bool
vdt_relay_resubmit(struct vdt_relay *relay, uint16_t id, uint16_t slots, const struct vdt_seg *segs,
                   uint32_t seg_count)
{
    struct vdt_chain *chain = &relay->chain;
    uint64_t table_iova = 0;
    uint16_t shadow_id = 0;

    check_stretch(relay);
    if (is_split(relay)) {
        if (vdt_guest_ring_take_head(&relay->guest, &relay->reader, id, chain) != VDT_TAKE_CHAIN) {
            break_down(relay, relay->guest.fault ? relay->guest.fault : VDT_FAULT_HEAD, false);
            return false;
        }
    } else {
        enum vdt_ring_fault fault = rebuild_packed(relay, id, slots, segs, seg_count);
        if (fault != VDT_FAULT_NONE) {
            break_down(relay, fault, false);
            return false;
        }
    }
    if (admit(relay, &shadow_id, &table_iova) != ADMITTED) {
        if (!relay->fault)
            break_down(relay, VDT_FAULT_TOO_LONG, false);
        return false;
    }
    vdt_device_ring_post(&relay->device, chain, shadow_id, table_iova, table_size(chain));
    return true;
}

void
vdt_relay_log_in_flight(struct vdt_relay *relay)
{
    if (!relay->log)
        return;
    for (uint32_t id = 0; id < relay->inflight.num; id++) {
        if (vdt_inflight_has(&relay->inflight, (uint16_t) id))
            vdt_inflight_each_writable(&relay->inflight, (uint16_t) id, UINT64_MAX, mark, relay);
    }
}

void
vdt_relay_init(struct vdt_relay *relay, const struct vdt_relay_config *config)
{
    *relay = (struct vdt_relay){.single_out = true,
                                .single_in = true,
                                .gpa = config->gpa,
                                .map = vdt_guest_map_ref(config->map),
                                .guest_kick = -1,
                                .guest_call = -1,
                                .device_kick = -1,
                                .device_call = -1,
                                .attention = -1};
    relay->chain.capacity = 3u * config->format.num;
    relay->chain.seg = g_new0(struct vdt_seg, relay->chain.capacity);
    relay->reader = (struct vdt_reader){.read = read_guest, .ctx = relay};
    vdt_guest_ring_init(&relay->guest, &config->format, &config->guest_mem, config->guest_pos);
    vdt_device_ring_init(&relay->device, &config->format, &config->device_mem, config->device_pos);
    vdt_inflight_init(&relay->inflight, &config->format, &config->table_memory);
    vdt_device_ring_borrow(&relay->device, &relay->inflight.kept->posted, sizeof(struct vdt_kept));
    relay->counters.pos = config->guest_pos;
}

void
vdt_relay_clear(struct vdt_relay *relay)
{
    vdt_device_ring_clear(&relay->device);
    vdt_inflight_clear(&relay->inflight);
    g_clear_pointer(&relay->chain.seg, g_free);
    g_clear_pointer(&relay->map, vdt_guest_map_unref);
}
