/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Freeze: bring the device to a stop and learn where each ring stands.
 *
 * With SUSPEND the answer is exact. Without it (vp_vdpa) there is only reset: nothing more is
 * forwarded, what is being transmitted is waited for (bounded), the device is reset, the used rings
 * are looked at once more, and the receive buffers that it still had count as written in full and
 * go to the next device again.
 */
#include "shadow/shadow_private.h"

#include <poll.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/log.h"
#include "virtio/features.h"

/* Rings whose requests are not to be done twice: a disk's are all. A receive buffer may be offered
 * again. */
static bool
is_transmit(const struct vdt_shadow *s, uint32_t ring)
{
    return s->dev->info.device_id != VIRTIO_ID_NET || ring % 2 == 1;
}

void
vdt_shadow_detach_all(struct vdt_shadow *s)
{
    for (uint32_t i = 0; i < s->ring_count; i++) {
        if (s->rings[i].attached) {
            vdt_worker_detach(vdt_shadow_worker(s, i), &s->rings[i].relay);
            s->rings[i].attached = false;
        }
    }
}

bool
vdt_shadow_attach_all(struct vdt_shadow *s, GError **error)
{
    for (uint32_t i = 0; i < s->ring_count; i++) {
        struct vdt_shadow_ring *ring = &s->rings[i];
        if (!ring->active || ring->direct || ring->attached || ring->broken)
            continue;
        if (!vdt_worker_attach(vdt_shadow_worker(s, i), &ring->relay, error))
            return false;
        ring->attached = true;
    }
    return true;
}

static void
reap_all(struct vdt_shadow *s)
{
    for (uint32_t i = 0; i < s->ring_count; i++) {
        struct vdt_shadow_ring *ring = &s->rings[i];
        if (ring->active && ring->relay_live && !ring->relay.fault) {
            while (vdt_relay_back(&ring->relay) > 0)
                ;
        }
    }
}

static uint32_t
transmits_in_flight(const struct vdt_shadow *s)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < s->ring_count; i++) {
        const struct vdt_shadow_ring *ring = &s->rings[i];
        if (ring->active && ring->relay_live && !ring->relay.fault && is_transmit(s, i))
            n += ring->relay.inflight.count;
    }
    return n;
}

/* Wait until the device has sent what it was given. */
static bool
drain_transmits(struct vdt_shadow *s, GError **error)
{
    int64_t deadline = g_get_monotonic_time() + (int64_t) s->options.drain_ms * 1000;

    for (;;) {
        struct pollfd fds[VDT_RINGS_MAX];
        nfds_t n = 0;
        bool more = false;

        reap_all(s);
        for (uint32_t i = 0; i < s->ring_count; i++) {
            struct vdt_shadow_ring *ring = &s->rings[i];
            if (!ring->active || !ring->relay_live || ring->relay.fault || !is_transmit(s, i))
                continue;
            /* After the reaping: the event index asks for the call of the next completion only. */
            more |= vdt_device_ring_calls_on(&ring->relay.device);
            fds[n++] = (struct pollfd){.fd = ring->device_call, .events = POLLIN};
        }
        uint32_t left = transmits_in_flight(s);
        int64_t now = g_get_monotonic_time();
        if (left == 0)
            return true;
        if (now >= deadline) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_TIMEOUT,
                        "%s did not finish %u %srequests within %u ms and cannot be suspended: it "
                        "goes on, nothing was switched",
                        s->dev->info.name, left,
                        s->dev->info.device_id == VIRTIO_ID_NET ? "transmit " : "",
                        s->options.drain_ms);
            return false;
        }
        if (!more && poll(fds, n, (int) ((deadline - now) / 1000) + 1) > 0) {
            for (nfds_t i = 0; i < n; i++)
                vdt_event_drain(fds[i].fd);
        }
    }
}

static bool
stop_device(struct vdt_shadow *s, GError **error)
{
    if (s->dev->info.suspend) {
        if (!VDT_DEVICE_CALL(s->dev, suspend, error))
            return false;
        s->suspended = true;
        reap_all(s);
        return true;
    }
    if (!drain_transmits(s, error) || !vdt_placement_reset(s->place, error))
        return false;
    s->suspended = false;
    s->cold = true;
    reap_all(s);
    return true;
}

/* What the relay had in flight, kept for whoever takes the ring next. */
static void
keep_state(struct vdt_shadow_ring *ring)
{
    struct vdt_relay *relay = &ring->relay;
    g_autofree uint16_t *ids = g_new(uint16_t, relay->inflight.num);
    g_autofree struct vdt_seg *segs = g_new(struct vdt_seg, 2u * relay->inflight.num);
    uint32_t n = vdt_inflight_list(&relay->inflight, ids);

    vdt_shadow_ring_forget(ring);
    for (uint32_t i = 0; i < n; i++) {
        const struct vdt_inflight_head head = vdt_inflight_head(&relay->inflight, ids[i]);
        bool packed = relay->inflight.kind == VDT_RING_PACKED;
        uint32_t count = packed ? vdt_inflight_segments(&relay->inflight, ids[i], segs) : 0;

        vdt_shadow_ring_hold(ring, head.guest_id, head.slots, segs, count);
        if (packed && head.indirect)
            g_array_index(ring->held, struct vdt_held_request, i).table =
                vdt_kept_seg(&relay->inflight.kept[ids[i]]);
    }
    ring->pos = ring->kept_pos = relay->guest.pos;
    ring->kept = true;
    ring->exact = !relay->fault;
}

bool
vdt_shadow_freeze(struct vdt_shadow *s, GError **error)
{
    if (s->mode == VDT_MODE_STOPPED || s->mode == VDT_MODE_FROZEN)
        return true;

    int64_t now = g_get_monotonic_time();
    if (s->events.quiesce && !s->events.quiesce(s->ctx, error))
        return false;
    vdt_shadow_detach_all(s);
    if (!stop_device(s, error)) {
        g_autoptr(GError) again = NULL;
        if (!vdt_shadow_attach_all(s, &again))
            vdt_warning("%s", again->message);
        if (s->events.running)
            s->events.running(s->ctx);
        return false;
    }

    for (uint32_t i = 0; i < s->ring_count; i++) {
        struct vdt_shadow_ring *ring = &s->rings[i];
        if (!ring->active)
            continue;
        if (ring->direct) {
            vdt_shadow_read_direct(s, i);
        } else {
            vdt_relay_log_in_flight(&ring->relay);
            vdt_relay_park(&ring->relay);
            keep_state(ring);
            ring->by_reset = !s->suspended && !is_transmit(s, i) && ring->held->len > 0;
        }
    }
    vdt_shadow_note_faults(s);
    s->thawed_mode = s->mode;
    s->mode = VDT_MODE_FROZEN;
    s->frozen_at = now;
    return true;
}
