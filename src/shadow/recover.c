/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Recover: the requests in flight are written down in an area (inflight_area.h) that the frontend
 * keeps for us, or in one of our own. After a crash of this process the next one finds them there
 * and makes them available again. What a state carrier brought, or what this process itself
 * remembers, is exact and wins over the area, which only promises "at least once".
 */
#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/wire.h"
#include "shadow/shadow_private.h"
#include "virtio/chain_walk.h"
#include "virtio/features.h"
#include "virtio/packed_layout.h"

bool
vdt_shadow_get_inflight(struct vdt_shadow *s, uint16_t queues, uint16_t size, int *ret_fd,
                        uint64_t *ret_size, GError **error)
{
    if (queues > s->ring_count || size > s->dev->info.ring_max) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "an in-flight area for %u rings of %u is refused: %s has %u of up to %u",
                    queues, size, s->dev->info.name, s->ring_count, s->dev->info.ring_max);
        return false;
    }
    *ret_fd = vdt_inflight_area_make(queues, size, ret_size, error);
    return *ret_fd >= 0;
}

bool
vdt_shadow_set_inflight(struct vdt_shadow *s, uint16_t queues, uint16_t size, int fd,
                        uint64_t mmap_size, uint64_t mmap_offset, GError **error)
{
    VDT_AUTO_FD owned = fd;
    bool running = s->mode == VDT_MODE_SHADOW || s->mode == VDT_MODE_PASSTHROUGH;

    if (queues > s->ring_count || size > s->dev->info.ring_max) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "an in-flight area for %u rings of %u is refused: %s has %u of up to %u",
                    queues, size, s->dev->info.name, s->ring_count, s->dev->info.ring_max);
        return false;
    }
    VDT_AUTO(inflight_area)
    area = vdt_inflight_area_map(owned, mmap_offset, mmap_size, queues, size, error);
    if (!area || !vdt_shadow_freeze(s, error))
        return false;
    for (uint32_t i = 0; i < s->ring_count; i++) {
        s->rings[i].relay.area = NULL;
        vdt_area_ring_close(&s->rings[i].area);
    }
    vdt_inflight_area_free(s->area);
    vdt_shadow_forget_inflight(s);
    s->area = g_steal_pointer(&area);
    s->cold = true;
    if (running)
        vdt_shadow_schedule_update(s);
    return true;
}

static bool
read_map(void *ctx, uint64_t addr, void *dst, uint32_t len)
{
    struct vdt_shadow *s = ctx;

    return vdt_guest_map_read(s->map, addr, dst, len);
}

/* A packed request is kept with what its table says, as take() does. */
static bool
hold_packed(struct vdt_shadow *s, struct vdt_shadow_ring *ring,
            const struct vdt_ring_format *format, const struct vdt_area_request *request,
            struct vdt_seg *descs, struct vdt_chain *chain)
{
    struct vdt_reader reader = {.read = read_map, .ctx = s};
    struct vdt_chain_walk walk;

    if (request->slots > 1 || !(descs[0].flags & VDT_SEG_INDIRECT)) {
        vdt_shadow_ring_hold(ring, request->id, request->slots, descs, request->slots);
        return true;
    }
    vdt_chain_walk_start(&walk, chain);
    if (!format->indirect || vdt_chain_walk_packed_table(&walk, chain, &reader, descs[0].addr,
                                                         descs[0].len, format->num))
        return false;
    vdt_shadow_ring_hold(ring, request->id, 1, chain->seg, chain->count);
    g_array_index(ring->held, struct vdt_held_request, ring->held->len - 1).table = descs[0];
    return true;
}

static bool
hold_history(struct vdt_shadow *s, struct vdt_shadow_ring *ring,
             const struct vdt_ring_format *format, const struct vdt_area_history *history)
{
    g_autofree struct vdt_seg *scratch = g_new0(struct vdt_seg, 3u * ring->num);
    struct vdt_chain chain = {.seg = scratch, .capacity = 3u * ring->num};

    for (unsigned i = 0; i < history->requests->len; i++) {
        const struct vdt_area_request *request =
            &g_array_index(history->requests, struct vdt_area_request, i);
        if (format->kind == VDT_RING_SPLIT)
            vdt_shadow_ring_hold(ring, request->id, 1, NULL, 0);
        else if (!hold_packed(s, ring, format, request, history->segs + request->seg, &chain))
            return false;
    }
    return true;
}

/* Where the frontend keeps an area, that one counts. */
static struct vdt_inflight_area *
current_area(const struct vdt_shadow *s)
{
    return s->area ? s->area : s->own_area;
}

/* What makes a ring the one that was written about: its format, size and place in guest memory. */
static uint64_t
tag_of(const struct vdt_shadow *s, const struct vdt_shadow_ring *ring)
{
    const uint64_t parts[] = {s->negotiation.acked, ring->num, ring->gpa.desc, ring->gpa.driver,
                              ring->gpa.device};
    uint64_t hash = 14695981039346656037u; /* FNV-1a over words */

    for (unsigned i = 0; i < G_N_ELEMENTS(parts); i++)
        hash = (hash ^ parts[i]) * 1099511628211u;
    return hash;
}

bool
vdt_shadow_read_history(struct vdt_shadow *s, uint32_t index, struct vdt_area_history *ret,
                        GError **error)
{
    struct vdt_shadow_ring *ring = &s->rings[index];
    struct vdt_ring_format format = vdt_features_ring_format(s->negotiation.device, ring->num);

    *ret = (struct vdt_area_history){0};
    if (!current_area(s))
        return true;
    if (!vdt_inflight_area_read(current_area(s), index, &format, &ring->guest_mem, ret, error))
        return false;
    ret->of_ring = ret->requests && (s->area || ret->tag == tag_of(s, ring));
    return true;
}

/* The device worked on the guest's own ring until the tracker was killed: all that is available and
 * not used goes to the next one, where that is all that was in flight. A packed ring does not say
 * where it stands. */
static bool
recover_direct(struct vdt_shadow *s, uint32_t index, uint16_t from, GError **error)
{
    struct vdt_shadow_ring *ring = &s->rings[index];
    bool packed = s->negotiation.device & VDT_BIT(VIRTIO_F_RING_PACKED);
    uint16_t used = packed ? 0 : vdt_load16((uint8_t *) ring->guest_mem.device + 2);
    uint16_t avail = packed ? 0 : vdt_load16((uint8_t *) ring->guest_mem.driver + 2);

    ring->direct_from = from;
    if (packed || !vdt_shadow_window_exact(s, ring, used)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                    "ring %u: the tracker before this one was killed while the device worked on "
                    "the guest's own ring, and %s: which requests are still open cannot be told, "
                    "and the ring does not start before the guest has reset its device (--shadow "
                    "always avoids that)",
                    index,
                    packed ? "a packed ring does not say where it stands"
                           : "requests had completed out of order");
        return false;
    }
    vdt_shadow_ring_forget(ring);
    ring->pos = ring->kept_pos = (struct vdt_ring_pos){.avail = used, .used = used};
    ring->kept = ring->exact = true;
    ring->ran_again += MIN((uint16_t) (avail - used), ring->num);
    return true;
}

/*
 * In a packed ring a batch hides behind its first descriptor, which is written last. Where that was
 * not, the others stand there as used, and would count with the next one that is given back: they
 * are what the driver had made of them. It does not look there before.
 */
static void
take_back_batch(struct vdt_shadow *s, struct vdt_shadow_ring *ring, uint32_t slots)
{
    uint16_t pos = ring->pos.used;

    for (uint32_t i = 0; i < slots; i++) {
        uint8_t *flags = vdt_packed_flags(ring->guest_mem.desc, pos);
        uint64_t at = (uint64_t) (flags - (uint8_t *) ring->guest_mem.desc);

        if (vdt_packed_is_used(vdt_load16(flags), pos)) {
            vdt_store16(flags, vdt_packed_avail_bits(pos));
            vdt_shadow_mark_dirty(s, ring->gpa.desc + at, 2);
        }
        pos = vdt_packed_advance(pos, 1, ring->num);
    }
}

/* @history is taken over; the ring is forgotten on failure. */
static bool
recover_requests(struct vdt_shadow *s, uint32_t index, const struct vdt_area_history *history,
                 GError **error)
{
    struct vdt_shadow_ring *ring = &s->rings[index];
    struct vdt_ring_format format = vdt_features_ring_format(s->negotiation.device, ring->num);

    vdt_shadow_ring_forget(ring);
    if (!hold_history(s, ring, &format, history)) {
        vdt_shadow_ring_forget(ring);
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "ring %u: a request in its in-flight area names an indirect table that is not "
                    "there; the ring does not start",
                    index);
        return false;
    }
    ring->pos = ring->kept_pos = history->pos;
    ring->kept = ring->exact = true;
    ring->ran_again += history->requests->len;
    if (format.kind == VDT_RING_PACKED)
        take_back_batch(s, ring, vdt_packed_distance(ring->pos.used, ring->pos.avail, ring->num));
    return true;
}

bool
vdt_shadow_recover_ring(struct vdt_shadow *s, uint32_t index, bool *ret_recovered, GError **error)
{
    struct vdt_shadow_ring *ring = &s->rings[index];
    g_autoptr(GError) unusable = NULL;
    struct vdt_area_history history;
    bool ok = true;

    *ret_recovered = false;
    if (!vdt_shadow_read_history(s, index, &history, &unusable)) {
        if (s->area) {
            g_propagate_error(error, g_steal_pointer(&unusable));
            return false;
        }
        /* Our own file, damaged: as if there were none. */
        vdt_warning("%s: what was in flight is not known", unusable->message);
        vdt_inflight_area_forget(s->own_area, index);
        return true;
    }
    /* Of another life, or no more than the ring's own beginning. */
    const char *why;
    if (!s->area && vdt_shadow_ring_life(s, index, &history, &why) != VDT_LIFE_SAME) {
        if (why)
            vdt_warning("ring %u is not the one that the tracker before this one served: %s", index,
                        why);
        if (s->own_area)
            vdt_inflight_area_forget(s->own_area, index);
    } else if (history.known) {
        uint64_t before = ring->ran_again;
        ok = history.direct ? recover_direct(s, index, history.pos.used, error)
                            : recover_requests(s, index, &history, error);
        *ret_recovered = ok;
        if (ring->ran_again > before)
            vdt_warning("ring %u: %s%u requests were in flight when the tracker before this one "
                        "ended; they go to the device again and may be done twice",
                        index, history.direct ? "up to " : "",
                        (unsigned) (ring->ran_again - before));
    }
    vdt_area_history_clear(&history);
    return ok;
}

void
vdt_shadow_track_ring(struct vdt_shadow *s, uint32_t index)
{
    struct vdt_shadow_ring *ring = &s->rings[index];
    struct vdt_inflight_area *area = current_area(s);
    g_autofree uint16_t *heads = g_new(uint16_t, ring->held->len + 1);

    ring->relay.area = NULL;
    if (!area)
        return;
    for (unsigned i = 0; i < ring->held->len; i++)
        heads[i] = g_array_index(ring->held, struct vdt_held_request, i).id;
    vdt_inflight_area_save(area, index);
    /* Its size was checked when the ring's position was settled. */
    if (vdt_area_ring_open(&ring->area, area, index, &ring->relay.guest.format, tag_of(s, ring),
                           ring->pos, heads, ring->held->len))
        ring->relay.area = &ring->area;
}

void
vdt_shadow_tracked(struct vdt_shadow *s, uint32_t index)
{
    if (s->rings[index].relay.area)
        vdt_inflight_area_settled(current_area(s), index);
}

void
vdt_shadow_untrack_ring(struct vdt_shadow *s, uint32_t index)
{
    struct vdt_shadow_ring *ring = &s->rings[index];

    if (current_area(s))
        vdt_inflight_area_set_direct(current_area(s), index, tag_of(s, ring), ring->pos.used);
}

void
vdt_shadow_keep_inflight(struct vdt_shadow *s, struct vdt_inflight_area *area)
{
    vdt_inflight_area_free(s->own_area);
    s->own_area = area;
}

void
vdt_shadow_forget_inflight(struct vdt_shadow *s)
{
    for (uint32_t i = 0; s->own_area && i < s->ring_count; i++)
        vdt_inflight_area_forget(s->own_area, i);
}
