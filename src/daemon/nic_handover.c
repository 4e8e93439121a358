/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hold, for a VMM whose migration stream carries no device state: once the last ring stands
 * still and its position is asked for, the answer waits until a command has brought the state to
 * the destination. Nothing runs at the destination before this VMM goes on, and it does not go on
 * before it has the answer.
 *
 * The answer itself goes out in any case, since the protocol has none that a VMM would heed (QEMU
 * takes the position from guest memory and goes on). A destination that was told to wait for a
 * state does that.
 */
#include <linux/vhost_types.h>

#include <vdpa-tracker/error.h>

#include "base/log.h"
#include "daemon/nic_private.h"
#include "vhost_user/protocol.h"

void
vdt_nic_hold_init(struct vdt_nic *nic, const struct vdt_nic_options *options)
{
    nic->hold.command = g_strdup(options->handover);
    nic->hold.timeout_ms = options->handover_ms;
}

void
vdt_nic_hold_clear(struct vdt_nic *nic)
{
    g_clear_pointer(&nic->hold.running, vdt_handover_free);
    g_clear_pointer(&nic->hold.command, g_free);
    g_clear_pointer(&nic->hold.error, g_free);
}

/* It is over, with or without @error. */
static void
note(struct vdt_nic *nic, const GError *error)
{
    struct vdt_nic_hold *hold = &nic->hold;

    hold->us = g_get_monotonic_time() - hold->began;
    if (!error) {
        hold->given++;
        vdt_info("%s: the state has been handed over in %" G_GINT64_FORMAT " us", nic->name,
                 hold->us);
        vdt_nic_enter(nic, VDT_PHASE_SAVED);
        return;
    }
    hold->failed++;
    hold->error = g_strdup(error->message);
    vdt_warning("%s: the state was not handed over (%s); the VMM goes on all the same, and the "
                "guest comes to its destination without. To give it by hand: vdpa-tracker snapshot "
                "%s here, vdpa-tracker restore there",
                nic->name, error->message, nic->name);
}

static void
on_done(void *ctx, const GError *error)
{
    struct vdt_nic *nic = ctx;

    note(nic, error);
    g_clear_pointer(&nic->hold.running, vdt_handover_free);
    if (nic->session)
        vdt_session_answer_base(nic->session, nic->hold.ring, nic->hold.base, NULL);
}

/* Everything stands still in the middle of a migration whose stream will not bring the state. */
static bool
is_due(struct vdt_nic *nic)
{
    return nic->hold.command && nic->session && nic->logging && !nic->hold.tried && nic->frozen &&
           !nic->frozen->live && !vdt_collect_started(nic->shadow) &&
           !(nic->protocol_features & VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_DEVICE_STATE));
}

static bool
begin(struct vdt_nic *nic, GError **error)
{
    const struct vdt_handover_options options = {
        .command = nic->hold.command,
        .name = nic->name,
        .timeout_ms = nic->hold.timeout_ms,
        .context = nic->context,
        .done = on_done,
        .ctx = nic,
    };

    if (!vdt_nic_carriable(nic->frozen, error))
        return false;
    g_autoptr(GBytes) state = vdt_snapshot_encode_as(nic->frozen, nic->format, error);
    if (!state)
        return false;
    nic->hold.bytes = g_bytes_get_size(state);
    nic->hold.running = vdt_handover_new(&options, state, error);
    return nic->hold.running != NULL;
}

bool
vdt_nic_hold(struct vdt_nic *nic, uint32_t ring, uint32_t base)
{
    struct vdt_nic_hold *hold = &nic->hold;
    g_autoptr(GError) error = NULL;

    if (!is_due(nic))
        return false;
    hold->tried = true;
    hold->ring = ring;
    hold->base = base;
    hold->began = g_get_monotonic_time();
    hold->bytes = 0;
    g_clear_pointer(&hold->error, g_free);
    if (begin(nic, &error)) {
        vdt_info("%s: the VMM is held while the state (%" G_GUINT64_FORMAT
                 " bytes) is handed over, for %u ms at most",
                 nic->name, hold->bytes, hold->timeout_ms);
        return true;
    }
    note(nic, error);
    return false;
}

void
vdt_nic_hold_running(struct vdt_nic *nic)
{
    nic->hold.tried = false;
}

void
vdt_nic_hold_let_go(struct vdt_nic *nic, const char *why)
{
    g_autoptr(GError) error = g_error_new_literal(VDT_ERROR, VDT_ERROR_BUSY, why);

    if (nic->hold.running)
        on_done(nic, error);
}

const char *
vdt_nic_hold_state(const struct vdt_nic *nic)
{
    const struct vdt_nic_hold *hold = &nic->hold;

    return !hold->command                    ? "off"
           : hold->running                   ? "held"
           : hold->error                     ? "failed"
           : hold->given + hold->failed == 0 ? "none"
                                             : "given";
}
