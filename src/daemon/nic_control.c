/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The control queue of one NIC. The shadow hands out the device's (restore) and the guest's
 * (cvq_start); between them stands the relay, which keeps the model. With each start the model goes
 * into the device, is read back, and only then a data ring runs.
 */
#include <errno.h>
#include <fcntl.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/log.h"
#include "daemon/nested_context.h"
#include "daemon/nic_private.h"
#include "migration/admit.h"
#include "virtio/net_ctrl.h"

bool
vdt_nic_control_init(struct vdt_nic *nic, GError **error)
{
    nic->cvq_context = g_main_context_new();
    nic->cvq_source = vdt_nested_context_source(nic->cvq_context);
    g_source_attach(nic->cvq_source, nic->context);
    return true;
}

static void
close_device_cvq(struct vdt_nic *nic)
{
    if (nic->relay)
        vdt_cvq_relay_set_device(nic->relay, NULL);
    g_clear_pointer(&nic->device_cvq, vdt_device_cvq_free);
}

static void
close_relay(struct vdt_nic *nic)
{
    g_clear_pointer(&nic->relay, vdt_cvq_relay_free);
    nic->cvq_call_fd = vdt_close(nic->cvq_call_fd);
}

void
vdt_nic_control_clear(struct vdt_nic *nic)
{
    close_relay(nic);
    close_device_cvq(nic);
    if (nic->cvq_source) {
        g_source_destroy(nic->cvq_source);
        g_clear_pointer(&nic->cvq_source, g_source_unref);
    }
    g_clear_pointer(&nic->cvq_context, g_main_context_unref);
    g_clear_pointer(&nic->cvq_broken, g_free);
    vdt_replay_report_clear(&nic->replayed);
    vdt_control_model_clear(&nic->model);
}

/* The pairs that the frontend has enabled, for one that never sends VQ_PAIRS_SET through us. */
static uint16_t
pairs_enabled(struct vdt_nic *nic)
{
    int cvq = vdt_shadow_guest_cvq_index(nic->shadow);
    uint32_t pairs = 1;

    for (uint32_t i = 0; i < vdt_shadow_ring_count(nic->shadow); i++) {
        struct vdt_shadow_ring_view view = {0};

        vdt_shadow_view_ring(nic->shadow, i, &view);
        g_free(view.requests);
        if ((int) i != cvq && view.configured && view.enabled)
            pairs = i / 2 + 1;
    }
    return (uint16_t) MIN(pairs, MAX(nic->model.limits.max_pairs, 1u));
}

/*
 * The frontend answers the guest's commands itself and does not pass them on: the device has to let
 * everything through that may be the guest's, the frontend filters.
 */
void
vdt_nic_drive_state(struct vdt_net_state *state, uint64_t negotiated, const uint8_t mac[6],
                    uint16_t pairs)
{
    if (negotiated & VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR)) {
        memcpy(state->mac, mac, sizeof(state->mac));
        state->set |= VDT_NET_MAC;
    }
    if (negotiated & VDT_BIT(VIRTIO_NET_F_CTRL_RX)) {
        state->rx[VIRTIO_NET_CTRL_RX_PROMISC] = true;
        state->set |= VDT_NET_PROMISC;
    }
    if (negotiated & VDT_BIT(VIRTIO_NET_F_MQ)) {
        state->queue_pairs = pairs;
        state->set |= VDT_NET_PAIRS;
    }
    /* Each of them, until somebody knows better; the device before this one may have had a filter.
     */
    state->set &= ~(uint32_t) VDT_NET_VLAN;
    memset(state->vlan, 0, sizeof(state->vlan));
    if (negotiated & VDT_BIT(VIRTIO_NET_F_CTRL_VLAN)) {
        memset(state->vlan, 0xff, sizeof(state->vlan));
        state->set |= VDT_NET_VLAN;
    }
}

/* A device that takes no PROMISC may still take ALLMULTI: better than nothing, and said so. */
bool
vdt_nic_drive_less(struct vdt_net_state *state)
{
    if (!(state->set & VDT_NET_PROMISC))
        return false;
    state->set &= ~(uint32_t) VDT_NET_PROMISC;
    state->rx[VIRTIO_NET_CTRL_RX_PROMISC] = false;
    state->set |= VDT_NET_ALLMULTI;
    state->rx[VIRTIO_NET_CTRL_RX_ALLMULTI] = true;
    return true;
}

/*
 * The guest that never set an address uses the one of its config space. The device that it is on
 * now may have been made with another, or have kept one of a guest before (vdpa_sim_net).
 */
void
vdt_nic_insist_on_mac(struct vdt_device *dev, uint64_t negotiated, const uint8_t mac[6],
                      struct vdt_net_state *state)
{
    uint8_t own[6];

    if (state->set & VDT_NET_MAC || !(negotiated & VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR)) ||
        !(negotiated & VDT_BIT(VIRTIO_NET_F_MAC)) ||
        !VDT_DEVICE_CALL(dev, get_config, NULL, 0, own, sizeof(own)))
        return;
    if (memcmp(mac, own, sizeof(own)) == 0)
        return;
    memcpy(state->mac, mac, sizeof(state->mac));
    state->set |= VDT_NET_MAC;
}

/* One attempt, of all that goes before the data rings; the report is that of this one. */
static bool
replay(struct vdt_nic *nic, uint64_t negotiated, GError **error)
{
    g_autofree struct vdt_net_state *state = g_memdup2(&nic->model.state, sizeof(nic->model.state));
    uint8_t mac[6];

    vdt_nic_config_mac(nic, mac);
    vdt_nic_insist_on_mac(vdt_shadow_device(nic->shadow), negotiated, mac, state);
    if (!vdt_shadow_device(nic->shadow)->ops->read_net_state)
        vdt_replay_insist(state, negotiated);
    vdt_replay_report_clear(&nic->replayed);
    nic->replayed = (struct vdt_replay_report){0};
    return vdt_replay_early(state, negotiated, nic->device_cvq, nic->deadline_ms, &nic->replayed,
                            error);
}

static bool
replay_driven(struct vdt_nic *nic, uint64_t negotiated, GError **error)
{
    g_autoptr(GError) first = NULL;
    uint8_t mac[6];

    vdt_nic_config_mac(nic, mac);
    vdt_nic_drive_state(&nic->model.state, negotiated, mac, pairs_enabled(nic));
    if (nic->filter)
        vdt_nic_filter_state(&nic->model.state, negotiated, nic->filter);
    if (replay(nic, negotiated, &first))
        return true;
    if (!g_error_matches(first, VDT_ERROR, VDT_ERROR_REFUSED) ||
        vdt_device_cvq_broken(nic->device_cvq) || !vdt_nic_drive_less(&nic->model.state)) {
        g_propagate_error(error, g_steal_pointer(&first));
        return false;
    }
    vdt_warning("%s: %s; trying all multicast instead of promiscuous", nic->name, first->message);
    return replay(nic, negotiated, error);
}

static bool
replay_early(struct vdt_nic *nic, GError **error)
{
    uint64_t negotiated = vdt_shadow_negotiation(nic->shadow)->device;

    return nic->driven ? replay_driven(nic, negotiated, error) : replay(nic, negotiated, error);
}

/* What a device can hold of the model now: the coalescing of a ring that does not run is refused
 * (virtio 1.3, 5.1.6.5.7.1); the ring gets it with the start that brings the ring back. */
static struct vdt_net_state *
state_of_running_rings(struct vdt_nic *nic)
{
    struct vdt_net_state *state = g_memdup2(&nic->model.state, sizeof(*state));

    for (uint32_t i = 0; state->set & VDT_NET_COAL_VQ && i < 2 * VDT_PAIRS_MAX; i++) {
        struct vdt_shadow_ring_view view = {0};

        if (state->vq_coal_set[0] >> i & 1)
            vdt_shadow_view_ring(nic->shadow, i, &view);
        if (!view.started || !view.enabled)
            state->vq_coal_set[0] &= ~(1ull << i);
        g_free(view.requests);
        if (state->vq_coal_set[0] == 0)
            state->set &= ~VDT_NET_COAL_VQ;
    }
    return state;
}

/* What the device takes only with its data rings enabled; then it holds all, and is read back. */
static bool
replay_late(struct vdt_nic *nic, GError **error)
{
    struct vdt_replay_report report = {0};
    g_autofree struct vdt_net_state *state = state_of_running_rings(nic);
    bool ok = vdt_replay_late(state, vdt_shadow_negotiation(nic->shadow)->device, nic->device_cvq,
                              nic->deadline_ms, &report, error);

    nic->replayed.commands += report.commands;
    nic->replayed.acked += report.acked;
    nic->replayed.us += report.us;
    vdt_replay_report_clear(&report);
    return ok && vdt_admit_read_back(vdt_shadow_device(nic->shadow), state, error);
}

static bool
restore(void *ctx, const struct vdt_cvq_port *port, GError **error)
{
    struct vdt_nic *nic = ctx;
    struct vdt_device *dev = vdt_shadow_device(nic->shadow);

    close_device_cvq(nic);
    vdt_nic_adopt(nic);
    vdt_nic_journal(nic);
    nic->driven = vdt_shadow_guest_cvq_index(nic->shadow) < 0;
    if (!port) {
        if (nic->driven || nic->model.state.set == 0)
            return true;
        g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                    "%s has no control queue and cannot take the guest's control state; it is not "
                    "started",
                    dev->info.name);
        return false;
    }

    const struct vdt_device_cvq_config config = {
        .format = port->format,
        .mem = port->mem,
        .out = port->out,
        .out_iova = port->out_iova,
        .out_size = port->out_size,
        .in = port->in,
        .in_iova = port->in_iova,
        .in_size = port->in_size,
        .kick_fd = port->kick_fd,
        .call_fd = port->call_fd,
        .device_name = dev->info.name,
    };
    nic->device_cvq = vdt_device_cvq_new(&config);
    if (replay_early(nic, error))
        return true;
    close_device_cvq(nic);
    return false;
}

static bool
late(void *ctx)
{
    struct vdt_nic *nic = ctx;

    uint32_t set = nic->model.state.set;

    /* What restore() is going to adopt counts as well. */
    if (nic->loaded)
        set |= nic->loaded->net.set;
    if (nic->previous)
        set |= nic->previous->net.set;
    if (nic->left && nic->same_life)
        set |= nic->left->snapshot->net.set;
    return set & VDT_NET_COAL_VQ;
}

static bool
enabled(void *ctx, GError **error)
{
    struct vdt_nic *nic = ctx;

    if (!nic->device_cvq || replay_late(nic, error))
        return true;
    close_device_cvq(nic);
    return false;
}

/* The guest's commands may go to the device (again). */
static void
let_through(struct vdt_nic *nic)
{
    nic->device_ready = nic->device_cvq != NULL;
    if (nic->relay && nic->device_cvq) {
        vdt_cvq_relay_set_device(nic->relay, nic->device_cvq);
        vdt_cvq_relay_release(nic->relay);
    }
}

/* The device's queue is kept: after a mere resume it goes on where it was, and restore() replaces
 * it where the device is brought up anew. */
static bool
quiesce(void *ctx, GError **error)
{
    struct vdt_nic *nic = ctx;

    if (nic->relay && !vdt_cvq_relay_drain(nic->relay, nic->deadline_ms, error)) {
        let_through(nic);
        return false;
    }
    nic->device_ready = false;
    if (nic->relay)
        vdt_cvq_relay_set_device(nic->relay, NULL);
    return true;
}

static void
running(void *ctx)
{
    struct vdt_nic *nic = ctx;

    g_clear_pointer(&nic->failure, g_free);
    let_through(nic);
    vdt_nic_state_running(nic);
    vdt_nic_recover_running(nic);
}

static void
command_done(void *ctx, const struct vdt_cvq_event *event)
{
    struct vdt_nic *nic = ctx;

    if (event->command.class == VIRTIO_NET_CTRL_ANNOUNCE && event->ack == VDT_ACK_OK)
        vdt_nic_announce_done(nic);
    nic->cvq_known = true;
    nic->cvq_before = event->pos;
    nic->cvq_after = event->next;
    vdt_nic_journal(nic);
    if (nic->watch.command)
        nic->watch.command(nic->watch.ctx, event);
}

static void
mark_dirty(void *ctx, uint64_t gpa, uint64_t len)
{
    struct vdt_nic *nic = ctx;

    vdt_shadow_mark_dirty(nic->shadow, gpa, len);
}

static void
cvq_broken(void *ctx, const char *reason)
{
    struct vdt_nic *nic = ctx;

    g_free(nic->cvq_broken);
    nic->cvq_broken = g_strdup(reason);
    vdt_control_model_set_unmigratable(&nic->model, reason);
    vdt_nic_journal(nic);
    vdt_warning("%s: the control queue is out of service: %s", nic->name, reason);
}

static bool
starting(void *ctx, const struct vdt_guest_cvq *cvq, GError **error)
{
    vdt_nic_recover_judge(ctx, cvq);
    return vdt_nic_arrive(ctx, error);
}

static bool
cvq_start(void *ctx, const struct vdt_guest_cvq *found, GError **error)
{
    struct vdt_nic *nic = ctx;
    const struct vdt_cvq_relay_hooks hooks = {command_done, mark_dirty, cvq_broken, nic};
    struct vdt_guest_cvq copy = *found, *cvq = &copy;

    vdt_nic_recover_cvq(nic, cvq);
    close_relay(nic);
    g_clear_pointer(&nic->cvq_broken, g_free);
    if (cvq->call_fd >= 0) {
        nic->cvq_call_fd = fcntl(cvq->call_fd, F_DUPFD_CLOEXEC, 3);
        if (nic->cvq_call_fd < 0) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED,
                        "control queue: its call descriptor cannot be kept: %s", g_strerror(errno));
            return false;
        }
    }
    const struct vdt_cvq_relay_config config = {
        .format = cvq->format,
        .mem = cvq->mem,
        .gpa = cvq->gpa,
        .pos = cvq->pos,
        .map = cvq->map,
        .kick_fd = cvq->kick_fd,
        .call_fd = nic->cvq_call_fd,
        .deadline_ms = nic->deadline_ms,
        .allow_untracked = nic->allow_untracked,
        .context = nic->cvq_context,
    };
    nic->relay = vdt_cvq_relay_new(&config, &hooks, &nic->model);
    vdt_cvq_relay_hold(nic->relay);
    if (nic->announce)
        vdt_cvq_relay_expect_announce(nic->relay, true);
    /* The queue came late: what was stopped with it could not be told before. */
    if (nic->device_cvq && vdt_nic_adopt(nic) &&
        !(replay_early(nic, error) && replay_late(nic, error))) {
        close_relay(nic);
        return false;
    }
    vdt_nic_journal(nic);
    return true;
}

static struct vdt_ring_pos
cvq_stop(void *ctx)
{
    struct vdt_nic *nic = ctx;
    struct vdt_ring_pos pos = {0};

    if (!nic->relay)
        return pos;
    /* The guest's ring goes, the device may still work on its last command. */
    g_autoptr(GError) error = NULL;
    if (nic->device_ready && !vdt_cvq_relay_drain(nic->relay, nic->deadline_ms, &error))
        vdt_warning("%s: %s", nic->name, error->message);
    pos = vdt_cvq_relay_pos(nic->relay);
    close_relay(nic);
    return pos;
}

/* The shadow closes its own descriptor when a new one comes; the relay works on a copy. */
static void
cvq_call_changed(void *ctx, int fd)
{
    struct vdt_nic *nic = ctx;
    int copy = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;

    if (nic->relay)
        vdt_cvq_relay_set_call(nic->relay, copy);
    vdt_close(nic->cvq_call_fd);
    nic->cvq_call_fd = copy;
}

static void
ring_broken(void *ctx, uint32_t ring, const char *reason)
{
    struct vdt_nic *nic = ctx;

    vdt_warning("%s: ring %u is out of service: %s", nic->name, ring, reason);
}

static void
failed(void *ctx, const GError *reason)
{
    struct vdt_nic *nic = ctx;

    g_free(nic->failure);
    nic->failure = g_strdup(reason->message);
    vdt_warning("%s: the device was not started: %s", nic->name, reason->message);
}

static void
config_changed(void *ctx)
{
    struct vdt_nic *nic = ctx;

    vdt_nic_config_refresh(nic);
    if (nic->session)
        vdt_session_config_changed(nic->session);
}

const struct vdt_shadow_events vdt_nic_shadow_events = {
    .starting = starting,
    .restore = restore,
    .enabled = enabled,
    .late = late,
    .quiesce = quiesce,
    .running = running,
    .cvq_start = cvq_start,
    .cvq_stop = cvq_stop,
    .cvq_call_changed = cvq_call_changed,
    .ring_broken = ring_broken,
    .failed = failed,
    .config_changed = config_changed,
};
