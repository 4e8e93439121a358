/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The shadow device's life: made, updated, reset, disconnected, freed.
 */
#include "shadow/shadow_private.h"

#include <string.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/source.h"
#include "virtio/features.h"

/* Long enough for the rest of a frontend's burst, short against a switch-over. */
#define UPDATE_DELAY_US 2000
/* The system had no memory or no descriptor for us at that moment: a guest's NIC is worth a few
 * more tries. What the frontend or the device refuses is not asked again. */
#define RETRY_US 250000
#define RETRIES 4
/* A VMM that stops one ring nearly always stops them all, one message each: bringing the device up
 * again for the others in between would cost a reset a ring. */
#define STOP_DELAY_US 50000

const char *
vdt_mode_name(enum vdt_mode mode)
{
    static const char *const name[] = {
        [VDT_MODE_STOPPED] = "stopped",
        [VDT_MODE_PASSTHROUGH] = "passthrough",
        [VDT_MODE_SHADOW] = "shadow",
        [VDT_MODE_FROZEN] = "frozen",
    };
    return name[mode];
}

static void
on_update(void *ctx)
{
    struct vdt_shadow *s = ctx;
    g_autoptr(GError) error = NULL;

    if (vdt_shadow_update(s, &error)) {
        s->retries = 0;
        return;
    }
    vdt_warning("%s: nothing runs: %s", s->dev->info.name, error->message);
    if (s->events.failed)
        s->events.failed(s->ctx, error);
    if (g_error_matches(error, VDT_ERROR, VDT_ERROR_FAILED) && s->retries++ < RETRIES)
        g_source_set_ready_time(s->update_clock, g_get_monotonic_time() + RETRY_US);
}

static void
cancel_update(struct vdt_shadow *s)
{
    if (s->update_clock)
        g_source_set_ready_time(s->update_clock, -1);
}

void
vdt_shadow_schedule_update(struct vdt_shadow *s)
{
    g_source_set_ready_time(s->update_clock, g_get_monotonic_time() + UPDATE_DELAY_US);
}

void
vdt_shadow_schedule_update_after_stop(struct vdt_shadow *s)
{
    g_source_set_ready_time(s->update_clock, g_get_monotonic_time() + STOP_DELAY_US);
}

static void
on_config_call(void *ctx)
{
    struct vdt_shadow *s = ctx;

    if (s->events.config_changed)
        s->events.config_changed(s->ctx);
}

/* A relay broke its ring: tell the frontend and whoever listens, once for each ring. */
void
vdt_shadow_note_faults(struct vdt_shadow *s)
{
    for (uint32_t i = 0; i < s->ring_count; i++) {
        struct vdt_shadow_ring *ring = &s->rings[i];
        enum vdt_ring_fault fault = ring->relay_live
                                        ? __atomic_load_n(&ring->relay.fault, __ATOMIC_ACQUIRE)
                                        : VDT_FAULT_NONE;

        if (fault == VDT_FAULT_NONE || ring->broken)
            continue;
        ring->broken = vdt_ring_fault_name(fault);
        ring->fault = fault;
        vdt_warning("ring %u is out of service: %s broke it: %s", i,
                    ring->relay.device_fault ? "the device" : "the guest", ring->broken);
        vdt_event_signal(ring->err);
        if (ring->relay.device_fault)
            vdt_shadow_refuse_migration(s, "the device broke a ring: what it wrote is not known");
        if (s->events.ring_broken)
            s->events.ring_broken(s->ctx, i, ring->broken);
    }
}

static void
on_attention(void *ctx)
{
    vdt_shadow_note_faults(ctx);
}

static bool
open_events(struct vdt_shadow *s, GError **error)
{
    int *fds[] = {&s->cvq_kick, &s->cvq_call, &s->config_call, &s->attention};

    for (unsigned i = 0; i < G_N_ELEMENTS(fds); i++) {
        if ((*fds[i] = vdt_eventfd(error)) < 0)
            return false;
    }
    for (uint32_t i = 0; i < s->ring_count; i++) {
        if ((s->rings[i].device_kick = vdt_eventfd(error)) < 0 ||
            (s->rings[i].device_call = vdt_eventfd(error)) < 0)
            return false;
    }
    s->config_source = vdt_event_source_new(s->options.context, s->config_call, on_config_call, s);
    s->attention_source = vdt_event_source_new(s->options.context, s->attention, on_attention, s);
    s->update_clock = vdt_clock_source_new(s->options.context, on_update, s);
    return true;
}

struct vdt_shadow *
vdt_shadow_new(struct vdt_device *dev, const struct vdt_shadow_options *options,
               const struct vdt_shadow_events *events, void *ctx, GError **error)
{
    struct vdt_shadow *s = g_new0(struct vdt_shadow, 1);

    s->dev = dev;
    s->options = *options;
    s->options.workers = MAX(options->workers, 1);
    s->events = *events;
    s->ctx = ctx;
    s->cold = true;
    s->mode_reason = "no ring runs";
    s->map = vdt_guest_map_new();
    s->place = vdt_placement_new(dev);
    s->cvq_kick = s->cvq_call = s->config_call = s->attention = -1;
    s->ring_count = MIN(dev->info.rings, VDT_RINGS_MAX);
    for (unsigned i = 0; i < VDT_RINGS_MAX; i++) {
        struct vdt_shadow_ring *ring = &s->rings[i];
        ring->kick = ring->call = ring->err = ring->device_kick = ring->device_call = -1;
        ring->held = g_array_new(FALSE, FALSE, sizeof(struct vdt_held_request));
    }
    s->workers = g_new0(struct vdt_worker *, s->options.workers);

    bool ok = vdt_negotiation_init(&s->negotiation, dev, options->feature_mask, error) &&
              open_events(s, error);
    if (ok && options->pairs_max)
        s->negotiation.guest_max_pairs = MIN(s->negotiation.guest_max_pairs, options->pairs_max);
    for (unsigned i = 0; ok && i < s->options.workers; i++)
        ok = (s->workers[i] = vdt_worker_new(i, error)) != NULL;
    if (!ok) {
        vdt_shadow_free(s);
        return NULL;
    }
    return s;
}

static void
close_ring(struct vdt_shadow_ring *ring)
{
    ring->kick = vdt_close(ring->kick);
    ring->call = vdt_close(ring->call);
    ring->err = vdt_close(ring->err);
}

void
vdt_shadow_free(struct vdt_shadow *s)
{
    if (!s)
        return;
    vdt_shadow_disconnect(s);
    for (unsigned i = 0; i < s->options.workers; i++)
        vdt_worker_free(s->workers[i]);
    g_free(s->workers);
    vdt_source_clear(&s->config_source);
    vdt_source_clear(&s->attention_source);
    vdt_source_clear(&s->update_clock);
    for (unsigned i = 0; i < VDT_RINGS_MAX; i++) {
        vdt_shadow_ring_forget(&s->rings[i]);
        g_array_unref(s->rings[i].held);
        vdt_close(s->rings[i].device_kick);
        vdt_close(s->rings[i].device_call);
    }
    vdt_close(s->cvq_kick);
    vdt_close(s->cvq_call);
    vdt_close(s->config_call);
    vdt_close(s->attention);
    vdt_placement_free(s->spare);
    vdt_placement_free(s->place);
    vdt_guest_map_unref(s->map);
    vdt_device_close(s->dev);
    vdt_inflight_area_free(s->own_area);
    g_free(s->unmigratable);
    g_free(s->first_frame);
    g_free(s);
}

void
vdt_shadow_hurry(struct vdt_shadow *s, unsigned drain_ms)
{
    s->options.drain_ms = MIN(s->options.drain_ms, drain_ms);
}

struct vdt_worker *
vdt_shadow_worker(struct vdt_shadow *s, uint32_t ring)
{
    /* Both rings of a pair on one worker: a flow's requests and acknowledgements share its cache.
     */
    return s->workers[(ring / 2) % s->options.workers];
}

bool
vdt_shadow_ring_wanted(const struct vdt_shadow *s, uint32_t index)
{
    const struct vdt_shadow_ring *ring = &s->rings[index];

    /* The second: where the device has a control queue that the guest does not know of. */
    if ((int) index == s->negotiation.guest_cvq || (int) index == s->negotiation.device_cvq ||
        (s->use_status && !(s->status & VIRTIO_CONFIG_S_DRIVER_OK)))
        return false;
    return s->features_set && ring->started && ring->enabled && ring->addr_set;
}

bool
vdt_shadow_cvq_wanted(const struct vdt_shadow *s)
{
    if (s->negotiation.guest_cvq < 0 || (uint32_t) s->negotiation.guest_cvq >= s->ring_count ||
        (s->use_status && !(s->status & VIRTIO_CONFIG_S_DRIVER_OK)))
        return false;
    /* Some frontends never enable the control queue; an explicit ENABLE 0 counts. */
    const struct vdt_shadow_ring *ring = &s->rings[s->negotiation.guest_cvq];
    return s->features_set && ring->started && !ring->disabled && ring->addr_set;
}

void
vdt_shadow_ring_forget(struct vdt_shadow_ring *ring)
{
    for (unsigned i = 0; i < ring->held->len; i++)
        g_free(g_array_index(ring->held, struct vdt_held_request, i).segs);
    g_array_set_size(ring->held, 0);
    ring->kept = ring->base_told = false;
}

void
vdt_shadow_ring_hold(struct vdt_shadow_ring *ring, uint16_t id, uint16_t slots,
                     const struct vdt_seg *segs, uint32_t seg_count)
{
    struct vdt_held_request request = {.id = id,
                                       .slots = slots,
                                       .seg_count = seg_count,
                                       .segs = g_memdup2(segs, seg_count * sizeof(*segs))};
    g_array_append_val(ring->held, request);
}

void
vdt_shadow_refuse_migration(struct vdt_shadow *s, const char *reason)
{
    if (!s->unmigratable)
        s->unmigratable = g_strdup(reason);
}

/* The set of rings that runs is not the wanted one, or not in the wanted mode. */
static bool
out_of_date(struct vdt_shadow *s)
{
    const char *reason;
    bool any = vdt_shadow_cvq_wanted(s);

    if (s->mode == VDT_MODE_FROZEN || s->cvq_running != vdt_shadow_cvq_wanted(s))
        return true;
    for (uint32_t i = 0; i < s->ring_count; i++) {
        bool wanted = vdt_shadow_ring_wanted(s, i);
        any |= wanted;
        if (wanted != s->rings[i].active)
            return true;
    }
    if (!any)
        return s->mode != VDT_MODE_STOPPED;
    if (s->mode == VDT_MODE_STOPPED)
        return true;
    /* Into shadow at once; back to passthrough when nothing forbids it, which the thaw may find. */
    bool shadow = vdt_shadow_choose_mode(s, false, &reason) == VDT_MODE_SHADOW;
    return shadow != (s->mode == VDT_MODE_SHADOW) &&
           (shadow || s->options.policy != VDT_SHADOW_ALWAYS);
}

bool
vdt_shadow_update(struct vdt_shadow *s, GError **error)
{
    cancel_update(s);
    if (!out_of_date(s))
        return true;
    return vdt_shadow_freeze(s, error) && vdt_shadow_thaw(s, error);
}

static void
stop_all(struct vdt_shadow *s)
{
    g_autoptr(GError) error = NULL;

    cancel_update(s);
    if (!vdt_shadow_freeze(s, &error))
        vdt_warning("%s: reset without a clean stop: %s", s->dev->info.name, error->message);
    if (s->cvq_running)
        vdt_shadow_stop_guest_cvq(s);
    s->status = 0;
    for (uint32_t i = 0; i < s->ring_count; i++) {
        struct vdt_shadow_ring *ring = &s->rings[i];
        ring->started = ring->enabled = ring->disabled = false;
        ring->broken = NULL;
        close_ring(ring);
    }
    vdt_shadow_rest(s);
}

void
vdt_shadow_reset(struct vdt_shadow *s)
{
    stop_all(s);
    /* The guest's rings begin anew. */
    for (uint32_t i = 0; s->area && i < s->ring_count; i++)
        vdt_inflight_area_forget(s->area, i);
    vdt_shadow_forget_inflight(s);
}

void
vdt_shadow_disconnect(struct vdt_shadow *s)
{
    stop_all(s);
    g_clear_pointer(&s->area, vdt_inflight_area_free);
    g_clear_pointer(&s->unmigratable, g_free);
    for (unsigned i = 0; i < VDT_RINGS_MAX; i++) {
        struct vdt_shadow_ring *ring = &s->rings[i];
        vdt_shadow_ring_forget(ring);
        ring->addr_set = false;
        ring->num = 0;
        ring->pos = (struct vdt_ring_pos){0};
    }
    struct vdt_guest_map *old = s->map;
    s->map = vdt_guest_map_new();
    vdt_shadow_spare_follows(s);
    vdt_guest_map_unref(old);
    vdt_dirty_log_clear(&s->log);
    s->log = (struct vdt_dirty_log){0};
    s->log_all = s->features_set = s->use_status = false;
}
