/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Thaw: start the rings that are wanted now, in the mode that is wanted now.
 *
 * Resume: nothing changed since the freeze, SUSPEND is taken back.
 * Warm: same device, same rings, another mode: rings are re-addressed while suspended.
 * Cold: the device is brought up from reset in the kernel's order (linux/vhost.h), its control
 * state is restored, what was in flight is made available again, and only then do data rings run.
 */
#include "shadow/shadow_private.h"

#include <poll.h>
#include <string.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/wire.h"
#include "virtio/features.h"

#define STATUS_SETUP (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)

static bool
enable_rings(struct vdt_shadow *s, GError **error)
{
    for (uint32_t i = 0; i < s->ring_count; i++) {
        if (s->rings[i].active && !VDT_DEVICE_CALL(s->dev, set_enable, error, i, true))
            return false;
    }
    return true;
}

/* Each ring once, to either side, whatever it says about kicks and calls: one from before the
 * switch may be gone with whoever took it, and the event index of a ring that no device has looked
 * at yet means nothing. One too many is legal; one lost stops a transmit queue for good. */
static void
wake_all(struct vdt_shadow *s)
{
    for (uint32_t i = 0; i < s->ring_count; i++) {
        if (!s->rings[i].active)
            continue;
        vdt_event_signal(s->rings[i].direct ? s->rings[i].kick : s->rings[i].device_kick);
        vdt_event_signal(s->rings[i].call);
    }
}

/* Requests that an earlier device did not finish, in fetch order, before anything new. */
static void
resubmit(struct vdt_shadow *s)
{
    for (uint32_t i = 0; i < s->ring_count; i++) {
        struct vdt_shadow_ring *ring = &s->rings[i];

        if (!ring->active || ring->direct)
            continue;
        vdt_shadow_track_ring(s, i);
        for (unsigned r = 0; r < ring->held->len; r++) {
            const struct vdt_held_request *request =
                &g_array_index(ring->held, struct vdt_held_request, r);
            ring->relay.resubmit_table = request->table;
            if (!vdt_relay_resubmit(&ring->relay, request->id, request->slots, request->segs,
                                    request->seg_count))
                break;
        }
        vdt_shadow_tracked(s, i);
        if (ring->held->len > 0)
            vdt_relay_kick_device(&ring->relay);
        ring->in_step = ring->relay.device.pos.avail == ring->relay.guest.pos.avail;
    }
}

/* A frame of our own, on the still empty transmit ring 1; waited for, bounded. False: the device
 * still has it, its ring is not to be used. */
static bool
send_first_frame(struct vdt_shadow *s)
{
    struct vdt_shadow_ring *ring = &s->rings[1];
    uint32_t header = (s->negotiation.device & VDT_BIT(VIRTIO_NET_F_HASH_REPORT)) ? 20 : 12;
    struct vdt_seg seg = {.len = header + s->first_frame_len};
    struct vdt_chain chain = {
        .seg = &seg, .capacity = 1, .count = 1, .direct = 1, .slots = 1, .readable = seg.len};
    struct vdt_used used;

    if (!s->first_frame || !ring->active || ring->direct)
        return true;
    uint8_t *frame = vdt_arena_take(s->place->arena, VDT_ARENA_READ, seg.len, 64, &seg.addr);
    memset(frame, 0, header);
    memcpy(frame + header, s->first_frame, s->first_frame_len);
    vdt_device_ring_post(&ring->relay.device, &chain, 0, 0, 0);
    vdt_device_ring_publish(&ring->relay.device);
    vdt_event_signal(ring->device_kick);

    struct pollfd pollfd = {.fd = ring->device_call, .events = POLLIN};
    int64_t deadline = g_get_monotonic_time() + 100000;
    bool sent = false;
    while (!sent && g_get_monotonic_time() < deadline) {
        vdt_device_ring_calls_on(&ring->relay.device);
        sent = vdt_device_ring_reap(&ring->relay.device, &used) == VDT_REAP_USED;
        if (!sent && poll(&pollfd, 1, 10) > 0)
            vdt_event_drain(ring->device_call);
    }
    g_clear_pointer(&s->first_frame, g_free);
    return sent;
}

static bool
bring_up(struct vdt_shadow *s, enum vdt_mode mode, GError **error)
{
    const struct vdt_device_info *info = &s->dev->info;
    bool has_cvq = s->negotiation.device_cvq >= 0;
    struct vdt_cvq_port port;

    if (has_cvq && (uint32_t) s->negotiation.device_cvq >= info->rings) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "%s: its control queue would be ring %d of %u; the device is not used",
                    info->name, s->negotiation.device_cvq, info->rings);
        return false;
    }
    if (!vdt_shadow_stage(s, s->place, &s->negotiation, error))
        return false;
    s->place->negotiated = false; /* from here on it has seen more than that */
    for (uint32_t i = 0; i < s->ring_count; i++) {
        if (!vdt_shadow_ring_wanted(s, i))
            continue;
        s->rings[i].active = true;
        s->rings[i].by_reset = false;
        if (!s->rings[i].broken)
            s->rings[i].fault = VDT_FAULT_NONE;
        bool ok = mode == VDT_MODE_PASSTHROUGH ? vdt_shadow_start_direct(s, i, false, error)
                                               : vdt_shadow_start_relay(s, i, false, error);
        if (!ok)
            return false;
    }
    if (has_cvq && !vdt_shadow_start_port(s, &port, error))
        return false;
    VDT_DEVICE_CALL(s->dev, set_config_call, NULL, s->config_call);

    /* Data rings run after the control state is back. A device that cannot enable them late gets
     * them enabled now, empty: nothing is forwarded before the replay is proven. A guest's own ring
     * cannot be held back like that, so such a device is never passed through. */
    bool late = info->enable_after_driver_ok;
    if (!late && !enable_rings(s, error))
        return false;
    if (!late && has_cvq &&
        !VDT_DEVICE_CALL(s->dev, set_enable, error, (uint32_t) s->negotiation.device_cvq, true))
        return false;
    if (!VDT_DEVICE_CALL(s->dev, set_status, error,
                         STATUS_SETUP | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK))
        return false;
    if (late && has_cvq &&
        !VDT_DEVICE_CALL(s->dev, set_enable, error, (uint32_t) s->negotiation.device_cvq, true))
        return false;
    if (s->events.restore && !s->events.restore(s->ctx, has_cvq ? &port : NULL, error))
        return false;
    if (late && !enable_rings(s, error))
        return false;
    if (s->events.enabled && !s->events.enabled(s->ctx, error))
        return false;
    if (!send_first_frame(s)) {
        vdt_warning("%s did not send our own first frame in time; it is brought up again, without",
                    s->dev->info.name);
        vdt_shadow_end_rings(s);
        return bring_up(s, mode, error);
    }
    resubmit(s);
    wake_all(s);
    return true;
}

/* Same device, suspended: the rings get other addresses, nothing else changes. The control queue's
 * part of the arena stays as it is. */
static bool
readdress(struct vdt_shadow *s, enum vdt_mode mode, GError **error)
{
    vdt_arena_rewind(s->place->arena, VDT_ARENA_READ);
    vdt_arena_rewind(s->place->arena, VDT_ARENA_WRITE);
    for (uint32_t i = 0; i < s->ring_count; i++) {
        struct vdt_shadow_ring *ring = &s->rings[i];
        if (!ring->active)
            continue;
        vdt_shadow_end_ring(s, ring);
        ring->active = true;
        bool ok = mode == VDT_MODE_PASSTHROUGH ? vdt_shadow_start_direct(s, i, true, error)
                                               : vdt_shadow_start_relay(s, i, true, error);
        if (!ok)
            return false;
        /* Drivers take new addresses over when a ring is enabled (docs/devices.md). */
        if (!VDT_DEVICE_CALL(s->dev, set_enable, error, i, false) ||
            !VDT_DEVICE_CALL(s->dev, set_enable, error, i, true))
            return false;
    }
    resubmit(s);
    return VDT_DEVICE_CALL(s->dev, resume, error);
}

static bool
same_rings(const struct vdt_shadow *s)
{
    for (uint32_t i = 0; i < s->ring_count; i++) {
        if (s->rings[i].active != vdt_shadow_ring_wanted(s, i))
            return false;
    }
    return true;
}

static bool
any_wanted(const struct vdt_shadow *s)
{
    bool any = vdt_shadow_cvq_wanted(s);

    for (uint32_t i = 0; i < s->ring_count; i++)
        any |= vdt_shadow_ring_wanted(s, i);
    return any;
}

static void
stop_guest_cvq(struct vdt_shadow *s)
{
    if (s->cvq_running)
        vdt_shadow_stop_guest_cvq(s);
}

/* Nothing is to run: the device goes back to reset. */
void
vdt_shadow_rest(struct vdt_shadow *s)
{
    stop_guest_cvq(s);
    vdt_shadow_detach_all(s);
    vdt_shadow_end_rings(s);
    vdt_placement_reset(s->place, NULL);
    vdt_placement_unmap(s->place);
    s->mode = VDT_MODE_STOPPED;
    s->mode_reason = "no ring runs";
    s->suspended = false;
    s->cold = true;
}

/* The guest's control queue as it stands. A command that was taken and not answered is taken again:
 * at least once. */
static bool
find_guest_cvq(struct vdt_shadow *s, struct vdt_guest_cvq *cvq, GError **error)
{
    uint32_t index = (uint32_t) s->negotiation.guest_cvq;
    struct vdt_shadow_ring *ring = &s->rings[index];
    struct vdt_ring_format format = vdt_features_ring_format(s->negotiation.acked, ring->num);

    if (!vdt_shadow_resolve_ring(s, index, error))
        return false;
    if (format.kind == VDT_RING_SPLIT)
        ring->pos.used = vdt_load16((uint8_t *) ring->guest_mem.device + 2);
    ring->pos.avail = ring->pos.used;
    *cvq = (struct vdt_guest_cvq){.format = format,
                                  .mem = ring->guest_mem,
                                  .gpa = ring->gpa,
                                  .pos = ring->pos,
                                  .map = s->map,
                                  .kick_fd = ring->kick,
                                  .call_fd = ring->call};
    return true;
}

static bool
tell_start(struct vdt_shadow *s, GError **error)
{
    struct vdt_guest_cvq cvq;
    bool wanted = vdt_shadow_cvq_wanted(s);

    if (wanted && !s->cvq_running && !find_guest_cvq(s, &cvq, error))
        return false;
    return s->events.starting(s->ctx, wanted && !s->cvq_running ? &cvq : NULL, error);
}

static bool
start_cold(struct vdt_shadow *s, GError **error)
{
    const char *reason;

    vdt_shadow_end_rings(s);
    for (uint32_t i = 0; i < s->ring_count; i++) {
        if (vdt_shadow_ring_wanted(s, i) && !vdt_shadow_resolve_ring(s, i, error))
            return false;
    }
    if (s->events.starting && !tell_start(s, error))
        return false;
    for (uint32_t i = 0; i < s->ring_count; i++) {
        if (vdt_shadow_ring_wanted(s, i) && !vdt_shadow_settle_position(s, i, error))
            return false;
    }
    enum vdt_mode mode = vdt_shadow_choose_mode(s, true, &reason);
    if (bring_up(s, mode, error)) {
        s->mode = mode;
        s->mode_reason = reason;
        s->cold = false;
        return true;
    }
    vdt_shadow_end_rings(s);
    vdt_placement_reset(s->place, NULL);
    s->cold = true;
    s->suspended = false;
    return false;
}

/* From SUSPEND, without a reset. False without @error where that is not possible. */
static bool
start_warm(struct vdt_shadow *s)
{
    const struct vdt_device_info *info = &s->dev->info;
    g_autoptr(GError) error = NULL;
    const char *reason;

    if (s->mode != VDT_MODE_FROZEN || !s->suspended || s->cold || !info->resume || !same_rings(s))
        return false;
    enum vdt_mode mode = vdt_shadow_choose_mode(s, false, &reason);
    if (mode != s->thawed_mode && !info->readdress)
        return false;

    bool ok = mode == s->thawed_mode ? VDT_DEVICE_CALL(s->dev, resume, &error)
                                     : readdress(s, mode, &error);
    if (!ok) {
        vdt_warning("%s: cannot go on without a reset (%s); it is brought up anew", info->name,
                    error->message);
        return false;
    }
    wake_all(s);
    s->mode = mode;
    s->mode_reason = reason;
    return true;
}

bool
vdt_shadow_start_guest_cvq(struct vdt_shadow *s, GError **error)
{
    struct vdt_guest_cvq cvq;

    if (!find_guest_cvq(s, &cvq, error))
        return false;
    s->cvq_running = !s->events.cvq_start || s->events.cvq_start(s->ctx, &cvq, error);
    return s->cvq_running;
}

void
vdt_shadow_stop_guest_cvq(struct vdt_shadow *s)
{
    struct vdt_shadow_ring *ring = &s->rings[s->negotiation.guest_cvq];

    if (s->cvq_running && s->events.cvq_stop)
        ring->pos = s->events.cvq_stop(s->ctx);
    s->cvq_running = false;
    ring->kept_pos = ring->pos;
    ring->kept = ring->exact = true;
}

/* Some reasons for shadow are those of a start, and over when the device runs. Once only: where the
 * way to passthrough ends in another start there is none. */
static void
look_again(struct vdt_shadow *s, bool started)
{
    const struct vdt_device_info *info = &s->dev->info;
    bool looked = s->looking_again;
    const char *reason;

    s->looking_again = started && !looked && s->mode == VDT_MODE_SHADOW && info->resume &&
                       info->readdress &&
                       vdt_shadow_choose_mode(s, false, &reason) == VDT_MODE_PASSTHROUGH;
    if (s->looking_again)
        vdt_shadow_schedule_update(s);
}

bool
vdt_shadow_thaw(struct vdt_shadow *s, GError **error)
{
    if (s->mode != VDT_MODE_FROZEN && s->mode != VDT_MODE_STOPPED)
        return true;
    bool was_frozen = s->mode == VDT_MODE_FROZEN;
    if (!any_wanted(s)) {
        vdt_shadow_rest(s);
        return true;
    }
    bool warm = start_warm(s);
    if (!warm && !start_cold(s, error))
        return false;
    s->suspended = false;
    if (was_frozen) {
        s->thawed_from = s->frozen_at;
        s->frozen_us = g_get_monotonic_time() - s->frozen_at;
    }
    if (s->cvq_running && !vdt_shadow_cvq_wanted(s))
        stop_guest_cvq(s);
    if (!vdt_shadow_attach_all(s, error) ||
        (!s->cvq_running && vdt_shadow_cvq_wanted(s) && !vdt_shadow_start_guest_cvq(s, error))) {
        if (!vdt_shadow_freeze(s, NULL))
            vdt_shadow_rest(s);
        return false;
    }
    if (s->events.running)
        s->events.running(s->ctx);
    look_again(s, !warm);
    return true;
}
