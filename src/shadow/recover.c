/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Recover: the frontend keeps an area for us in which the requests in flight are written down
 * (inflight_area.h). After a crash of this process the next one finds them there and makes them
 * available again. What a state carrier brought, or what this process itself remembers, is exact
 * and wins over the area, which only promises "at least once".
 */
#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/log.h"
#include "shadow/shadow_private.h"
#include "virtio/chain_walk.h"
#include "virtio/features.h"

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

bool
vdt_shadow_recover_ring(struct vdt_shadow *s, uint32_t index, bool *ret_recovered, GError **error)
{
    struct vdt_shadow_ring *ring = &s->rings[index];
    struct vdt_ring_format format = vdt_features_ring_format(s->negotiation.device, ring->num);
    struct vdt_area_history history;

    *ret_recovered = false;
    if (!s->area)
        return true;
    if (!vdt_inflight_area_read(s->area, index, &format, &ring->guest_mem, &history, error))
        return false;
    if (!history.known) {
        vdt_area_history_clear(&history);
        return true;
    }
    uint32_t n = history.requests->len;
    vdt_shadow_ring_forget(ring);
    bool ok = hold_history(s, ring, &format, &history);
    ring->pos = ring->kept_pos = history.pos;
    vdt_area_history_clear(&history);
    if (!ok) {
        vdt_shadow_ring_forget(ring);
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "ring %u: a request in its in-flight area names an indirect table that is not "
                    "there; the ring does not start",
                    index);
        return false;
    }
    ring->kept = ring->exact = *ret_recovered = true;
    ring->ran_again += n;
    if (n > 0)
        vdt_warning("ring %u: %u requests were in flight when the tracker before this one ended; "
                    "they go to the device again and may be done twice",
                    index, n);
    return true;
}

void
vdt_shadow_track_ring(struct vdt_shadow *s, uint32_t index)
{
    struct vdt_shadow_ring *ring = &s->rings[index];
    g_autofree uint16_t *heads = g_new(uint16_t, ring->held->len + 1);

    ring->relay.area = NULL;
    if (!s->area)
        return;
    for (unsigned i = 0; i < ring->held->len; i++)
        heads[i] = g_array_index(ring->held, struct vdt_held_request, i).id;
    /* Its size was checked when the ring's position was settled. */
    if (vdt_area_ring_open(&ring->area, s->area, index, &ring->relay.guest.format, ring->pos, heads,
                           ring->held->len))
        ring->relay.area = &ring->area;
}
