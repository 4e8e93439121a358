/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Receive filters of a guest whose control queue ends in the VMM. By itself the tracker lets
 * everything through (vdt_nic_drive_state()); who follows the VMM says what the guest wants, and
 * the device filters. Whenever that is not known or not taken, everything is let through again: a
 * frame too many is the guest's to drop (QEMU's own filters see none of a vhost-user NIC's), one
 * too few is nobody's to find.
 *
 * Commands of CTRL_RX and CTRL_MAC_ADDR are used. With CTRL_VLAN the device has to be told of all
 * 4096 at each start, which takes some 30 ms: only where the operator wants it, else all VLANs
 * pass. What CTRL_RX_EXTRA forbids always does.
 */
#include <string.h>

#include <vdpa-tracker/error.h>

#include "base/log.h"
#include "base/wire.h"
#include "daemon/nic_private.h"
#include "migration/admit.h"
#include "virtio/net_ctrl.h"

static void
set_mode(struct vdt_net_state *state, unsigned mode, bool on)
{
    state->rx[mode] = on;
    state->set |= VDT_NET_PROMISC << mode;
}

/* None at all are told by no command. */
static void
set_vlans(struct vdt_net_state *state, const uint8_t vlan[VDT_VLAN_BYTES])
{
    static const uint8_t none[VDT_VLAN_BYTES];

    memcpy(state->vlan, vlan, sizeof(state->vlan));
    state->set &= ~(uint32_t) VDT_NET_VLAN;
    if (memcmp(vlan, none, sizeof(none)) != 0)
        state->set |= VDT_NET_VLAN;
}

void
vdt_nic_filter_state(struct vdt_net_state *state, uint64_t negotiated,
                     const struct vdt_nic_filter *filter)
{
    bool promisc = filter->promisc, own = false;

    if (!(negotiated & VDT_BIT(VIRTIO_NET_F_CTRL_RX)))
        return;
    if (negotiated & VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR)) {
        memcpy(state->mac, filter->mac, sizeof(state->mac));
        state->set |= VDT_NET_MAC;
        own = true;
    }
    state->unicast_count = filter->unicast_count;
    state->multicast_count = filter->multicast_count;
    memcpy(state->unicast, filter->unicast, 6u * filter->unicast_count);
    memcpy(state->multicast, filter->multicast, 6u * filter->multicast_count);
    /* An address that the device cannot be given is one more in the table. */
    if (!own && state->unicast_count < VDT_MAC_TABLE_MAX)
        memcpy(state->unicast[state->unicast_count++], filter->mac, 6);
    else if (!own)
        promisc = true;
    state->set |= VDT_NET_MAC_TABLE;
    set_mode(state, VIRTIO_NET_CTRL_RX_PROMISC, promisc);
    set_mode(state, VIRTIO_NET_CTRL_RX_ALLMULTI, filter->allmulti);
    if (negotiated & VDT_BIT(VIRTIO_NET_F_CTRL_VLAN))
        set_vlans(state, filter->vlan);
}

/* Groups of @to that @from has not, or has otherwise. */
static uint32_t
changed(const struct vdt_net_state *from, const struct vdt_net_state *to)
{
    uint32_t groups = to->set & ~from->set & ~(uint32_t) VDT_NET_VLAN;

    for (unsigned i = 0; i < G_N_ELEMENTS(to->rx); i++) {
        if (to->rx[i] != from->rx[i])
            groups |= VDT_NET_PROMISC << i;
    }
    if (memcmp(to->mac, from->mac, sizeof(to->mac)) != 0)
        groups |= VDT_NET_MAC;
    if (to->unicast_count != from->unicast_count || to->multicast_count != from->multicast_count ||
        memcmp(to->unicast, from->unicast, 6u * to->unicast_count) != 0 ||
        memcmp(to->multicast, from->multicast, 6u * to->multicast_count) != 0)
        groups |= VDT_NET_MAC_TABLE;
    return groups & to->set;
}

/* Modes that let less through than before: they come last. */
static uint32_t
narrowing(const struct vdt_net_state *to, uint32_t groups)
{
    uint32_t off = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(to->rx); i++) {
        if (!to->rx[i])
            off |= VDT_NET_PROMISC << i;
    }
    return off & groups;
}

static bool
send_groups(struct vdt_nic *nic, const struct vdt_net_state *state, uint32_t groups,
            unsigned *ret_commands, GError **error)
{
    g_autofree struct vdt_net_state *part = g_memdup2(state, sizeof(*state));
    struct vdt_replay_report report = {0};

    part->set &= groups;
    bool ok = vdt_replay_early(part, vdt_shadow_negotiation(nic->shadow)->device, nic->device_cvq,
                               nic->deadline_ms, &report, error);
    *ret_commands += report.acked;
    vdt_replay_report_clear(&report);
    return ok;
}

static bool
filters_vlans(const struct vdt_nic *nic)
{
    return vdt_shadow_negotiation(nic->shadow)->device & VDT_BIT(VIRTIO_NET_F_CTRL_VLAN);
}

/* VLANs are told one by one, so only those that @from and @to differ in. */
static bool
send_vlans(struct vdt_nic *nic, const struct vdt_net_state *from, const struct vdt_net_state *to,
           bool on, unsigned *ret_commands, GError **error)
{
    struct vdt_command_tally tally;
    g_autoptr(GError) failed = NULL;
    bool ok = true;

    if (!filters_vlans(nic))
        return true;
    if (!vdt_device_cvq_begin(nic->device_cvq, nic->deadline_ms, &tally, NULL, NULL, error))
        return false;
    for (unsigned vid = 0; ok && vid < 8 * VDT_VLAN_BYTES; vid++) {
        uint8_t data[2];
        const struct vdt_command command = {
            .class = VIRTIO_NET_CTRL_VLAN,
            .command = on ? VIRTIO_NET_CTRL_VLAN_ADD : VIRTIO_NET_CTRL_VLAN_DEL,
            .data = data,
            .len = sizeof(data),
        };

        if (vdt_vlan_test(to->vlan, vid) != on || vdt_vlan_test(from->vlan, vid) == on)
            continue;
        vdt_put16(data, (uint16_t) vid);
        ok = vdt_device_cvq_put(nic->device_cvq, &command, &failed);
    }
    ok = vdt_device_cvq_end(nic->device_cvq, failed ? NULL : &failed) && ok;
    *ret_commands += tally.acked;
    if (ok && !tally.refused)
        return true;
    if (failed)
        g_propagate_error(error, g_steal_pointer(&failed));
    else
        g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED, "the device refuses a VLAN's %s",
                    on ? "ADD" : "DEL");
    return false;
}

static bool
send_changes(struct vdt_nic *nic, const struct vdt_net_state *to, unsigned *ret_commands,
             GError **error)
{
    const struct vdt_net_state *from = &nic->model.state;
    uint32_t groups = changed(from, to), last = narrowing(to, groups);

    return send_vlans(nic, from, to, true, ret_commands, error) &&
           send_groups(nic, to, groups & ~last, ret_commands, error) &&
           send_groups(nic, to, last, ret_commands, error) &&
           send_vlans(nic, from, to, false, ret_commands, error) &&
           vdt_admit_read_back(vdt_shadow_device(nic->shadow), to, error);
}

void
vdt_nic_filter_forget(struct vdt_nic *nic)
{
    g_clear_pointer(&nic->filter, g_free);
}

/* What went wrong halfway is not known: all that lets through is told anew. */
static void
let_all_through(struct vdt_nic *nic)
{
    g_autoptr(GError) error = NULL;
    unsigned commands = 0;

    vdt_nic_filter_forget(nic);
    nic->model.state.set &= ~(uint32_t) VDT_NET_MAC_TABLE;
    set_mode(&nic->model.state, VIRTIO_NET_CTRL_RX_PROMISC, true);
    if (filters_vlans(nic)) {
        memset(nic->model.state.vlan, 0xff, sizeof(nic->model.state.vlan));
        nic->model.state.set |= VDT_NET_VLAN;
    }
    if (!send_groups(nic, &nic->model.state, VDT_NET_PROMISC | VDT_NET_VLAN, &commands, &error))
        vdt_warning("%s: the device may drop frames that are the guest's: %s", nic->name,
                    error->message);
}

bool
vdt_nic_filter(struct vdt_nic *nic, const struct vdt_nic_filter *filter, unsigned *ret_commands,
               GError **error)
{
    *ret_commands = 0;
    if (nic->device_id != VIRTIO_ID_NET || (nic->negotiated && !nic->driven)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                    "%s: the guest's own commands reach the device; nothing was changed",
                    nic->name);
        return false;
    }
    if (!nic->negotiated || !nic->device_ready) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_BUSY,
                    "%s: no guest runs, or its device takes no commands; what comes lets "
                    "everything through until it is told again",
                    nic->name);
        return false;
    }
    uint64_t negotiated = vdt_shadow_negotiation(nic->shadow)->device;
    if (!(negotiated & VDT_BIT(VIRTIO_NET_F_CTRL_RX))) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                    "%s: the device has no receive filters; everything is let through", nic->name);
        return false;
    }
    g_autofree struct vdt_net_state *to = g_memdup2(&nic->model.state, sizeof(*to));
    vdt_nic_filter_state(to, negotiated, filter);
    if (!vdt_net_state_valid(to, error))
        return false;
    if (!send_changes(nic, to, ret_commands, error)) {
        let_all_through(nic);
        g_prefix_error(error, "everything is let through, since the filters were not taken: ");
        return false;
    }
    nic->model.state = *to;
    g_free(nic->filter);
    nic->filter = g_memdup2(filter, sizeof(*filter));
    vdt_nic_journal(nic);
    return true;
}
