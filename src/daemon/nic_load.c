/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What comes in: the state of another tracker, or a guest that brings none.
 *
 * A state is refused here or not at all. Whoever sends it, a VMM in the middle of a migration, can
 * still go back as long as LOAD is not answered; a device that refuses at the start refuses when
 * the source has stopped. So what a start would do is done once with nobody on the device:
 * features, each command, read back (migration/rehearse.h).
 */
#include <linux/vhost_types.h>
#include <string.h>

#include <vdpa-tracker/error.h>

#include "base/log.h"
#include "daemon/nic_private.h"
#include "migration/admit.h"
#include "migration/rehearse.h"
#include "virtio/features.h"

/* The frontend would find out only when it negotiates. */
static bool
inside_offer(const struct vdt_nic *nic, const struct vdt_snapshot *snapshot, GError **error)
{
    uint64_t transport = VDT_BIT(VHOST_F_LOG_ALL) | VDT_BIT(30);
    uint64_t guest = snapshot->guest_features & ~transport;
    uint64_t outside = nic->limited ? guest & ~nic->baseline.features : 0;
    uint64_t untold = guest & ~vdt_shadow_negotiation(nic->shadow)->offered;

    if (!outside && !untold)
        return true;
    g_autofree char *names =
        vdt_features_to_string(snapshot->device_id, outside ? outside : untold);
    g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED, "the guest uses what %s: %s",
                outside ? "the baseline of this tracker leaves out" : "this tracker does not offer",
                names);
    return false;
}

/* The control state as a start would send it, to a device with which @negotiated is agreed upon. */
static struct vdt_net_state *
net_at_start(struct vdt_nic *nic, const struct vdt_snapshot *snapshot, uint64_t negotiated)
{
    struct vdt_net_state *net = g_memdup2(&snapshot->net, sizeof(*net));
    uint8_t mac[6];

    vdt_nic_config_mac_with(nic, snapshot, mac);
    if (!(snapshot->guest_features & VDT_BIT(VIRTIO_NET_F_CTRL_VQ)))
        vdt_nic_drive_state(net, negotiated, mac, MAX(snapshot->net.queue_pairs, 1));
    vdt_nic_insist_on_mac(vdt_shadow_device(nic->shadow), negotiated, mac, net);
    return net;
}

/* @snapshot is of this NIC's own kind and admitted; nothing runs. */
static bool
rehearse(struct vdt_nic *nic, const struct vdt_snapshot *snapshot, GError **error)
{
    struct vdt_device *dev = vdt_shadow_device(nic->shadow);
    struct vdt_negotiation agreed = *vdt_shadow_negotiation(nic->shadow);
    struct vdt_replay_report report = {0};
    g_autoptr(GError) first = NULL;

    /* No guest has negotiated yet, or its control queue alone runs: there is no telling. */
    if (nic->device_id != VIRTIO_ID_NET || snapshot->guest_features == 0 ||
        vdt_shadow_mode(nic->shadow) != VDT_MODE_STOPPED)
        return true;
    if (!vdt_negotiation_ack(&agreed, &dev->info, snapshot->guest_features & agreed.offered,
                             VDT_DRIVE, error))
        return false;
    g_autofree struct vdt_net_state *net = net_at_start(nic, snapshot, agreed.device);
    bool ok = vdt_rehearse(dev, snapshot, net, nic->deadline_ms, &report, &first);
    /* As replay_driven() does. */
    if (!ok && g_error_matches(first, VDT_ERROR, VDT_ERROR_REFUSED) && agreed.guest_cvq < 0 &&
        vdt_nic_drive_less(net)) {
        g_clear_error(&first);
        vdt_replay_report_clear(&report);
        report = (struct vdt_replay_report){0};
        ok = vdt_rehearse(dev, snapshot, net, nic->deadline_ms, &report, &first);
    }
    nic->rehearsed_us = report.us;
    vdt_replay_report_clear(&report);
    if (ok)
        return true;
    g_propagate_prefixed_error(error, g_steal_pointer(&first),
                               "the state was tried on the device before its guest comes: ");
    return false;
}

static struct vdt_snapshot *
copy_of(const struct vdt_snapshot *snapshot, GError **error)
{
    g_autoptr(GBytes) bytes = vdt_snapshot_encode(snapshot, error);

    if (!bytes)
        return NULL;
    return vdt_snapshot_decode(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), error);
}

/* The frozen device begins anew: one that runs can only be told more. It has no command that takes
 * a filter's entry or a queue's setting back which the new state does not name. */
static bool
begin_with(struct vdt_nic *nic, const struct vdt_net_state *net, GError **error)
{
    nic->model.state = *net;
    vdt_shadow_renew(nic->shadow);
    return vdt_shadow_thaw(nic->shadow, error);
}

/* A running guest takes control state alone; the old one goes back if the device refuses. */
static bool
restore_now(struct vdt_nic *nic, const struct vdt_snapshot *snapshot, unsigned *ret_commands,
            GError **error)
{
    g_autoptr(GError) lost = NULL;

    if (snapshot->guest_features != nic->acked) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_REFUSED,
                            "the running guest has acknowledged other features than the one in the "
                            "snapshot; nothing was changed");
        return false;
    }
    if (!vdt_shadow_freeze(nic->shadow, error))
        return false;
    g_autofree struct vdt_net_state *before = g_memdup2(&nic->model.state, sizeof(*before));
    if (begin_with(nic, &snapshot->net, error)) {
        *ret_commands = nic->replayed.acked;
        vdt_nic_journal(nic);
        vdt_nic_announce_ask(nic);
        return true;
    }
    if (!begin_with(nic, before, &lost)) {
        vdt_control_model_set_unmigratable(&nic->model, "a restore failed halfway");
        g_prefix_error(error,
                       "the control state before could not be put back either (%s), the guest's "
                       "NIC stands still: ",
                       lost->message);
    }
    return false;
}

/* The guest whose rings wait for a state has said already what it is and where they stand. */
static bool
is_of_guest(struct vdt_nic *nic, const struct vdt_snapshot *snapshot, GError **error)
{
    bool ok = vdt_nic_state_features(snapshot, nic->acked, error);

    for (uint32_t i = 0; ok && i < VDT_RINGS_MAX; i++)
        ok = !nic->base_set[i] || vdt_nic_state_stands(snapshot, i, nic->base[i], error);
    return ok;
}

/* Its rings have waited long enough. What does not start waits on. */
static bool
start_awaited(struct vdt_nic *nic, GError **error)
{
    if (vdt_shadow_update(nic->shadow, error))
        return true;
    g_clear_pointer(&nic->loaded, vdt_snapshot_free);
    nic->arrival = VDT_ARRIVAL_NONE;
    nic->awaiting = true;
    nic->adopted = false;
    vdt_nic_enter(nic, VDT_PHASE_IDLE);
    return false;
}

bool
vdt_nic_restore(struct vdt_nic *nic, const struct vdt_snapshot *snapshot, unsigned *ret_commands,
                GError **error)
{
    *ret_commands = 0;
    if (!vdt_nic_carriable(snapshot, error) ||
        !vdt_admit(snapshot, vdt_shadow_device(nic->shadow), 0, error) ||
        !inside_offer(nic, snapshot, error))
        return false;
    if (vdt_collect_traffic(nic->shadow) && !nic->awaiting) {
        if (!snapshot->live) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_BUSY,
                        "%s runs a guest: the state of a stopped guest is only taken before a "
                        "start",
                        nic->name);
            return false;
        }
        return restore_now(nic, snapshot, ret_commands, error);
    }

    VDT_AUTO(snapshot) copy = copy_of(snapshot, error);
    bool awaited = nic->awaiting;
    if (!copy || (awaited && !is_of_guest(nic, copy, error)) ||
        (!awaited && !vdt_shadow_update(nic->shadow, error)) || !rehearse(nic, copy, error))
        return false;
    vdt_nic_recover_drop(nic, "another state was loaded");
    vdt_snapshot_free(nic->loaded);
    nic->loaded = g_steal_pointer(&copy);
    nic->loaded_ran = false;
    nic->loaded_for_vmm = nic->session != NULL;
    nic->adopted = false;
    nic->restores++;
    vdt_nic_enter(nic, VDT_PHASE_LOADED);
    if (nic->negotiated && !vdt_nic_state_apply(nic, error))
        return false;
    return !awaited || start_awaited(nic, error);
}

/* A migration that was given up leaves a state that no other guest could start with. */
void
vdt_nic_load_disconnected(struct vdt_nic *nic)
{
    if (!nic->loaded || !nic->loaded_for_vmm || nic->loaded_ran || nic->adopted)
        return;
    vdt_info("%s: the state that was brought is dropped: the VMM has gone, and its guest has not "
             "come",
             nic->name);
    g_clear_pointer(&nic->loaded, vdt_snapshot_free);
    vdt_nic_enter(nic, VDT_PHASE_IDLE);
}

bool
vdt_nic_load(struct vdt_nic *nic, const uint8_t *bytes, size_t len, GError **error)
{
    VDT_AUTO(snapshot) snapshot = vdt_snapshot_decode(bytes, len, error);
    unsigned commands;

    if (!snapshot)
        return false;
    if (snapshot->live) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_REFUSED,
                            "the state was taken of a running guest; a migration needs a stopped "
                            "one");
        return false;
    }
    return vdt_nic_restore(nic, snapshot, &commands, error);
}

static bool
refuse_stateless(struct vdt_nic *nic, GError **error)
{
    nic->awaiting = true;
    g_set_error(
        error, VDT_ERROR, VDT_ERROR_BUSY,
        "this guest ran elsewhere, and its state has not come here: its rings wait for it "
        "(\"vdpa-tracker restore %s FILE\" brings it), or for the guest to reset its device",
        nic->name);
    return false;
}

/*
 * Rings that a device has worked on, and nothing here knows of it: the guest ran elsewhere and came
 * without its state (a VMM without DEVICE_STATE, and nobody called restore). What is in flight is
 * guessed from used index and base; what the guest asked of its control queue is lost.
 */
bool
vdt_nic_arrive(struct vdt_nic *nic, GError **error)
{
    bool undecided = nic->left && !nic->same_life;
    enum vdt_arrival arrival;

    nic->awaiting = false;
    if (nic->arrival != VDT_ARRIVAL_NONE || undecided)
        return true;
    if (nic->loaded)
        arrival = VDT_ARRIVAL_LOADED;
    else if (nic->left)
        arrival = VDT_ARRIVAL_RECOVERED;
    else if (nic->previous)
        arrival = VDT_ARRIVAL_RESUMED;
    else
        arrival = vdt_shadow_used_before(nic->shadow) ? VDT_ARRIVAL_STATELESS : VDT_ARRIVAL_NEW;
    if (arrival == VDT_ARRIVAL_STATELESS && nic->await_state)
        return refuse_stateless(nic, error);
    nic->arrival = arrival;
    if (arrival != VDT_ARRIVAL_STATELESS)
        return true;
    vdt_warning("%s: this guest ran elsewhere before, and no state of it came here (neither with "
                "the VMM's stream nor by \"vdpa-tracker restore\"); requests between used index "
                "and base go to the device again%s",
                nic->name,
                vdt_shadow_guest_cvq_index(nic->shadow) >= 0
                    ? ", and the filters and settings that it asked for are not known"
                    : "");
    if (vdt_shadow_guest_cvq_index(nic->shadow) >= 0)
        vdt_control_model_set_unmigratable(&nic->model,
                                           "the guest came here without its control state");
    return true;
}

const char *
vdt_nic_arrival_name(const struct vdt_nic *nic)
{
    static const char *const names[] = {
        [VDT_ARRIVAL_NEW] = "new",
        [VDT_ARRIVAL_RESUMED] = "resumed",
        [VDT_ARRIVAL_RECOVERED] = "recovered",
        [VDT_ARRIVAL_LOADED] = "loaded",
        [VDT_ARRIVAL_STATELESS] = "stateless",
    };

    return names[nic->arrival];
}
