/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "migration/swap.h"

#include <vdpa-tracker/error.h>

#include "migration/admit.h"
#include "snapshot/collect.h"

void
vdt_swap_report_clear(struct vdt_swap_report *report)
{
    g_clear_pointer(&report->from, g_free);
    g_clear_pointer(&report->to, g_free);
}

static void
add_int(JsonBuilder *builder, const char *name, int64_t value)
{
    json_builder_set_member_name(builder, name);
    json_builder_add_int_value(builder, value);
}

JsonNode *
vdt_swap_report_to_json(const struct vdt_swap_report *report)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "from");
    json_builder_add_string_value(builder, report->from);
    json_builder_set_member_name(builder, "to");
    json_builder_add_string_value(builder, report->to);
    add_int(builder, "opened_us", report->opened_us);
    add_int(builder, "window_start_us", report->window_start_us);
    add_int(builder, "window_end_us", report->window_end_us);
    add_int(builder, "frozen_us", report->frozen_us);
    add_int(builder, "commands", report->commands);
    add_int(builder, "resubmitted", report->resubmitted);
    json_builder_set_member_name(builder, "returned");
    json_builder_add_boolean_value(builder, report->returned);
    json_builder_end_object(builder);
    return json_builder_get_root(builder);
}

/* One swap under way. */
struct swap {
    struct vdt_shadow *shadow;
    enum vdt_phase *phase;
    enum vdt_phase rest; /* where it began */
    const struct vdt_swap_hooks *hooks;
    struct vdt_swap_report *report;
};

static void
step(struct swap *swap, enum vdt_phase to)
{
    bool legal = vdt_phase_move(swap->phase, to, NULL);

    g_assert(legal);
}

/* Nothing of the guest's stays mapped in a device that it does not use. */
static void
dismiss(struct swap *swap, struct vdt_device *dev)
{
    vdt_shadow_discard(swap->shadow, dev);
    vdt_device_close(dev);
}

/* It is mapped for both devices until the first one goes. */
static uint64_t
memory_of(const struct vdt_shadow *shadow)
{
    const struct vdt_guest_map *map = vdt_shadow_map(shadow);
    uint64_t bytes = 0;

    for (unsigned i = 0; i < vdt_guest_map_count(map); i++)
        bytes += vdt_guest_map_region(map, i)->size;
    return bytes;
}

/* Open, compare, negotiate and map; the guest runs meanwhile. */
static struct vdt_device *
open_target(struct swap *swap, const char *spec, GError **error)
{
    VDT_AUTO(device) target = vdt_device_open(spec, error);

    if (!target)
        return NULL;
    step(swap, VDT_PHASE_CHECKING);
    VDT_AUTO(snapshot) now = swap->hooks->collect(swap->hooks->ctx);
    if (!vdt_admit(now, target, memory_of(swap->shadow), error) ||
        !vdt_shadow_prepare(swap->shadow, target, error))
        return NULL;
    swap->report->to = g_strdup(target->info.name);
    return g_steal_pointer(&target);
}

/* The first device takes its place again. @old is NULL where it never left it. */
static void
go_back(struct swap *swap, struct vdt_device *old, GError **error)
{
    g_autoptr(GError) lost = NULL;
    struct vdt_device *failed = NULL;

    step(swap, VDT_PHASE_RETURNING);
    swap->report->returned = true;
    if (old && !vdt_shadow_exchange(swap->shadow, old, &failed, &lost)) {
        g_prefix_error(error,
                       "the first device could not be put back either (%s), the guest's NIC "
                       "stands still: ",
                       lost->message);
        dismiss(swap, old);
        return;
    }
    bool thawed = vdt_shadow_thaw(swap->shadow, &lost);
    if (failed)
        dismiss(swap, failed);
    if (!thawed) {
        g_prefix_error(error,
                       "the first device does not go on either (%s), the guest's NIC stands "
                       "still: ",
                       lost->message);
        return;
    }
    g_prefix_error(error, "the guest goes on with %s: ", swap->report->from);
}

/* From freeze to thaw: the time in which the guest's NIC stands still. @ret_left: the device to be
 * dismissed, NULL where that is done. */
static bool
switch_over(struct swap *swap, struct vdt_device *next, struct vdt_device **ret_left,
            GError **error)
{
    struct vdt_device *old = NULL;

    *ret_left = next;
    step(swap, VDT_PHASE_FREEZING);
    if (!vdt_shadow_freeze(swap->shadow, error)) {
        go_back(swap, NULL, error);
        return false;
    }
    VDT_AUTO(snapshot) frozen = swap->hooks->collect(swap->hooks->ctx);
    if (!vdt_admit(frozen, next, 0, error)) {
        go_back(swap, NULL, error);
        return false;
    }
    step(swap, VDT_PHASE_EXCHANGING);
    if (!vdt_shadow_exchange(swap->shadow, next, &old, error)) {
        go_back(swap, NULL, error);
        return false;
    }
    *ret_left = NULL;
    step(swap, VDT_PHASE_THAWING);
    if (!vdt_shadow_thaw(swap->shadow, error)) {
        go_back(swap, old, error);
        return false;
    }
    swap->report->resubmitted = vdt_snapshot_requests(frozen);
    *ret_left = old;
    return true;
}

bool
vdt_swap(struct vdt_shadow *shadow, const char *spec, enum vdt_phase *phase,
         const struct vdt_swap_hooks *hooks, struct vdt_swap_report *report, GError **error)
{
    struct swap swap = {shadow, phase, *phase, hooks, report};
    int64_t began = g_get_monotonic_time();

    if (!vdt_phase_move(phase, VDT_PHASE_OPENING, error)) {
        g_prefix_error(error, "swap refused: ");
        return false;
    }
    report->from = g_strdup(vdt_shadow_device(shadow)->info.name);
    struct vdt_device *target = open_target(&swap, spec, error);
    report->opened_us = g_get_monotonic_time() - began;
    if (!target) {
        step(&swap, swap.rest);
        return false;
    }

    int64_t froze = g_get_monotonic_time();
    report->window_start_us = g_get_real_time();
    bool ok = switch_over(&swap, target, &target, error);
    report->frozen_us = g_get_monotonic_time() - froze;
    report->window_end_us = g_get_real_time();
    if (target)
        dismiss(&swap, target);
    report->commands = hooks->replayed(hooks->ctx);
    step(&swap, swap.rest);
    return ok;
}
