/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/nic.h"

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/log.h"
#include "daemon/nic_private.h"
#include "virtio/net_ctrl.h"

/* Bound of a wait for the device when the tracker ends. */
#define LAST_MS 200u

/* Phases follow what the frontend does; a jump that the table does not know is our own bug in
 * wiring, never the guest's to cause harm with: say so and go on. */
void
vdt_nic_enter(struct vdt_nic *nic, enum vdt_phase phase)
{
    g_autoptr(GError) error = NULL;

    if (!vdt_phase_move(&nic->phase, phase, &error)) {
        vdt_warning("%s: %s", nic->name, error->message);
        nic->phase = phase;
    }
    vdt_phase_clock_step(&nic->clock, phase, g_get_monotonic_time(), g_get_real_time());
}

static struct vdt_shadow_options
shadow_options(const struct vdt_nic_options *options, const struct vdt_device_info *info)
{
    uint64_t mask = options->feature_mask ? options->feature_mask : UINT64_MAX;

    if (!options->allow_untracked && info->device_id == VIRTIO_ID_NET)
        mask &= vdt_command_features_known(info->features);
    if (options->baseline)
        mask &= options->baseline->features;
    return (struct vdt_shadow_options){
        .policy = options->policy,
        .workers = MAX(options->workers, 1u),
        .dirty_used_width = options->dirty_used_width,
        .drain_ms = options->deadline_ms,
        .feature_mask = mask,
        .pairs_max = options->baseline ? options->baseline->pairs : 0,
        .drive = VDT_DRIVE | (options->follow_vlans ? VDT_BIT(VIRTIO_NET_F_CTRL_VLAN) : 0),
        .context = options->context,
    };
}

/* A guest may go wherever the baseline is offered, so this device has to offer all of it. */
static bool
take_baseline(struct vdt_nic *nic, struct vdt_device *dev, const struct vdt_baseline *baseline,
              GError **error)
{
    struct vdt_baseline offer;

    if (!baseline)
        return true;
    nic->limited = true;
    nic->baseline = *baseline;
    if (!vdt_baseline_of_device(&offer, dev, error))
        return false;
    g_autoptr(GPtrArray) reasons = vdt_baseline_reasons(baseline, &offer);
    if (reasons->len == 0)
        return true;
    g_ptr_array_add(reasons, NULL);
    g_autofree char *text = g_strjoinv("; ", (char **) reasons->pdata);
    g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED, "%s is less than the baseline: %s",
                dev->info.name, text);
    return false;
}

struct vdt_nic *
vdt_nic_new(struct vdt_device *dev, const struct vdt_nic_options *options, GError **error)
{
    struct vdt_shadow_options shadow = shadow_options(options, &dev->info);
    VDT_AUTO(nic) nic = g_new0(struct vdt_nic, 1);

    nic->name = g_strdup(options->name);
    nic->uuid = g_strdup(options->uuid);
    nic->context = options->context;
    nic->deadline_ms = options->deadline_ms;
    nic->allow_untracked = options->allow_untracked;
    nic->dirty_used_width = options->dirty_used_width;
    nic->await_state = options->await_state;
    nic->format = options->format ? options->format : VDT_SNAPSHOT_FORMAT;
    nic->mac_given = options->mac_given;
    memcpy(nic->mac, options->mac, sizeof(nic->mac));
    nic->cvq_call_fd = -1;
    vdt_phase_clock_start(&nic->clock, nic->phase, g_get_monotonic_time(), g_get_real_time());

    nic->device_id = dev->info.device_id;
    if (nic->device_id != VIRTIO_ID_NET && nic->device_id != VIRTIO_ID_BLOCK) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                    "%s is a virtio device of type %u; network (1) and block (2) devices are "
                    "tracked",
                    dev->info.name, dev->info.device_id);
        vdt_device_close(dev);
        return NULL;
    }
    if (!take_baseline(nic, dev, options->baseline, error)) {
        vdt_device_close(dev);
        return NULL;
    }
    nic->shadow = vdt_shadow_new(dev, &shadow, &vdt_nic_shadow_events, nic, error);
    if (!nic->shadow || !vdt_nic_config_init(nic, error) || !vdt_nic_control_init(nic, error))
        return NULL;
    vdt_nic_hold_init(nic, options);
    vdt_nic_recover_init(nic, options);
    return g_steal_pointer(&nic);
}

void
vdt_nic_free(struct vdt_nic *nic)
{
    if (!nic)
        return;
    /* Whoever had use for the state at this stop goes with us. */
    nic->deadline_ms = MIN(nic->deadline_ms, LAST_MS);
    nic->ending = true;
    if (nic->shadow)
        vdt_shadow_hurry(nic->shadow, LAST_MS);
    vdt_nic_hold_let_go(nic, "this tracker was told to end");
    g_clear_pointer(&nic->session, vdt_session_free);
    /* The shadow's end may still raise events: the control path outlives it. */
    vdt_shadow_free(nic->shadow);
    vdt_nic_control_clear(nic);
    vdt_nic_recover_clear(nic);
    vdt_nic_state_clear(nic);
    vdt_nic_hold_clear(nic);
    vdt_nic_filter_forget(nic);
    g_free(nic->failure);
    g_free(nic->name);
    g_free(nic->uuid);
    g_free(nic);
}

void
vdt_nic_set_watch(struct vdt_nic *nic, const struct vdt_nic_watch *watch)
{
    nic->watch = *watch;
}

static void
session_ended(void *ctx, const GError *reason)
{
    struct vdt_nic *nic = ctx;
    /* The session's, which goes first: whoever hears of its end may connect the next. */
    g_autoptr(GError) kept = reason ? g_error_copy(reason) : NULL;

    g_clear_pointer(&nic->session, vdt_session_free);
    if (nic->ended)
        nic->ended(nic->ended_ctx, kept);
}

void
vdt_nic_connect(struct vdt_nic *nic, int fd, void (*ended)(void *ctx, const GError *reason),
                void *ctx)
{
    g_assert(!nic->session);
    nic->ended = ended;
    nic->ended_ctx = ctx;
    nic->session = vdt_session_new(fd, vdt_nic_backend(), nic, nic->context, session_ended);
}

const struct vdt_device_info *
vdt_nic_device_info(struct vdt_nic *nic)
{
    return &vdt_shadow_device(nic->shadow)->info;
}

uint64_t
vdt_nic_offered(struct vdt_nic *nic)
{
    return vdt_shadow_negotiation(nic->shadow)->offered;
}

static struct vdt_snapshot *
collect_for_swap(void *ctx)
{
    struct vdt_nic *nic = ctx;
    struct vdt_snapshot *snapshot = vdt_nic_collect(nic);

    /* A guest that has not negotiated yet may have been told all that we offer. */
    if (!nic->negotiated)
        snapshot->guest_features = snapshot->offered_features;
    return snapshot;
}

static unsigned
replayed_for_swap(void *ctx)
{
    struct vdt_nic *nic = ctx;

    return nic->replayed.acked;
}

bool
vdt_nic_swap(struct vdt_nic *nic, const char *spec, struct vdt_swap_report *report, GError **error)
{
    const struct vdt_swap_hooks hooks = {collect_for_swap, replayed_for_swap, nic};

    if (nic->model.unmigratable) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED, "the state cannot be carried: %s",
                    nic->model.unmigratable);
        return false;
    }
    if (nic->phase == VDT_PHASE_LOGGING) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_BUSY,
                    "%s: the VMM is migrating this guest (its dirty log is on); swap once that is "
                    "over. Nothing was changed",
                    nic->name);
        return false;
    }
    memset(&nic->replayed, 0, sizeof(nic->replayed));
    bool runs = nic->phase == VDT_PHASE_RUNNING || nic->phase == VDT_PHASE_LOGGING;
    if (!vdt_nic_guest_announces(nic) && runs) {
        uint8_t mac[6];

        vdt_nic_config_mac(nic, mac);
        vdt_nic_rarp(nic, mac);
    }
    if (!vdt_swap(nic->shadow, spec, &nic->phase, &hooks, report, error)) {
        vdt_warning("%s: swap to %s: %s", nic->name, spec,
                    error && *error ? (*error)->message : "");
        return false;
    }
    nic->swaps++;
    nic->swap_opened_us = report->opened_us;
    nic->swap_frozen_us = report->frozen_us;
    /* It may be the first device that this guest runs on. */
    vdt_nic_state_running(nic);
    vdt_info("%s: swapped from %s to %s in %" G_GINT64_FORMAT " us", nic->name, report->from,
             report->to, report->frozen_us);
    vdt_nic_config_refresh(nic);
    if (runs)
        vdt_nic_announce_ask(nic);
    return true;
}
