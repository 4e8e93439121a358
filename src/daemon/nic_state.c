/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The state that outlives a stop. Three places hold it:
 *
 *   frozen    what get_base or a reset stopped; survives SET_STATUS 0 and RESET_DEVICE until the
 *             next SET_FEATURES, since VMMs ask for bases and state only after those
 *   previous  frozen of the run before: a start with the same features at the same place is the VMM
 *             going on (stop, cont), not the guest beginning anew
 *   loaded    came from another tracker or a file; comes before SET_FEATURES and survives it
 */
#include <linux/vhost_types.h>
#include <string.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/log.h"
#include "daemon/nic_private.h"
#include "virtio/features.h"

#define TRANSFER_MS 10000u

void
vdt_nic_state_clear(struct vdt_nic *nic)
{
    g_clear_pointer(&nic->frozen, vdt_snapshot_free);
    g_clear_pointer(&nic->previous, vdt_snapshot_free);
    g_clear_pointer(&nic->loaded, vdt_snapshot_free);
    g_clear_pointer(&nic->pipe, vdt_pipe_free);
}

struct vdt_snapshot *
vdt_nic_collect(struct vdt_nic *nic)
{
    uint8_t config[VDT_CONFIG_MAX];
    struct vdt_ring_pos pos;

    vdt_nic_config_read(nic, config);
    if (nic->relay)
        pos = vdt_cvq_relay_pos(nic->relay);
    const struct vdt_snapshot_identity identity = {
        .name = nic->name,
        .uuid = nic->uuid,
        .protocol_features = nic->protocol_features,
        .config = config,
        .config_len = nic->config_len,
        .used_width = nic->dirty_used_width,
        .drives_control = nic->driven && nic->negotiated,
        .cvq_pos = nic->relay ? &pos : NULL,
    };
    return vdt_snapshot_collect(nic->shadow, &nic->model, &identity);
}

/* @now becomes the frozen state; what older stops have frozen stays where @now has nothing. */
static void
freeze_merge(struct vdt_nic *nic, struct vdt_snapshot *now, const bool stopped[VDT_RINGS_MAX])
{
    for (uint32_t i = 0; i < now->ring_count; i++) {
        if (stopped[i]) {
            now->rings[i].started = true;
            nic->frozen_has[i] = true;
        } else if (nic->frozen && nic->frozen_has[i] && i < nic->frozen->ring_count) {
            vdt_snapshot_move_ring(now, nic->frozen, i);
        }
    }
    vdt_snapshot_free(nic->frozen);
    nic->frozen = now;
}

static void
enter_stopped(struct vdt_nic *nic)
{
    nic->stopped_us =
        g_get_real_time() - (g_get_monotonic_time() - vdt_shadow_frozen_at(nic->shadow));
    if (nic->phase == VDT_PHASE_RUNNING || nic->phase == VDT_PHASE_LOGGING)
        vdt_nic_enter(nic, VDT_PHASE_STOPPED);
    vdt_nic_journal_stopped(nic);
}

/* Of rings whose guest has not run here there is nothing to keep. */
static bool
never_ran(const struct vdt_nic *nic)
{
    return nic->awaiting ||
           (nic->loaded && !nic->adopted && vdt_shadow_mode(nic->shadow) == VDT_MODE_STOPPED);
}

void
vdt_nic_freeze_ring(struct vdt_nic *nic, uint32_t ring)
{
    bool stopped[VDT_RINGS_MAX] = {false};

    if (ring >= VDT_RINGS_MAX || never_ran(nic))
        return;
    stopped[ring] = true;
    if (!nic->frozen)
        memset(nic->frozen_has, 0, sizeof(nic->frozen_has));
    freeze_merge(nic, vdt_nic_collect(nic), stopped);
    if (!vdt_collect_started(nic->shadow)) {
        nic->frozen->live = false;
        enter_stopped(nic);
    }
}

void
vdt_nic_freeze_all(struct vdt_nic *nic)
{
    bool stopped[VDT_RINGS_MAX] = {false};
    g_autoptr(GError) error = NULL;

    if (!vdt_collect_started(nic->shadow) || never_ran(nic))
        return;
    if (!vdt_shadow_freeze(nic->shadow, &error)) {
        vdt_warning("%s: the state at this stop is lost: %s", nic->name, error->message);
        return;
    }
    for (uint32_t i = 0; i < vdt_shadow_ring_count(nic->shadow) && i < VDT_RINGS_MAX; i++)
        stopped[i] = vdt_collect_ring_started(nic->shadow, i);
    if (!nic->frozen)
        memset(nic->frozen_has, 0, sizeof(nic->frozen_has));
    freeze_merge(nic, vdt_nic_collect(nic), stopped);
    nic->frozen->live = false;
    enter_stopped(nic);
}

bool
vdt_nic_frozen_base(struct vdt_nic *nic, uint32_t ring, uint32_t *ret_base)
{
    if (!nic->frozen || ring >= nic->frozen->ring_count || !nic->frozen_has[ring])
        return false;
    *ret_base = vdt_snapshot_base(nic->frozen, ring);
    return true;
}

bool
vdt_nic_state_features(const struct vdt_snapshot *snapshot, uint64_t acked, GError **error)
{
    uint64_t features = snapshot->guest_features;

    if (snapshot->live || features == 0 || features == acked)
        return true;
    g_autofree char *had = vdt_features_to_string(1, features & ~acked);
    g_autofree char *has = vdt_features_to_string(1, acked & ~features);
    g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                "the state that was loaded is of a guest with other features (only there: %s; "
                "only here: %s); the device is not started",
                *had ? had : "none", *has ? has : "none");
    return false;
}

bool
vdt_nic_state_negotiated(struct vdt_nic *nic, uint64_t acked, GError **error)
{
    if (nic->loaded && nic->loaded_ran)
        g_clear_pointer(&nic->loaded, vdt_snapshot_free);
    if (nic->loaded && !vdt_nic_state_features(nic->loaded, acked, error))
        return false;
    if (nic->frozen) {
        g_clear_pointer(&nic->previous, vdt_snapshot_free);
        nic->previous = g_steal_pointer(&nic->frozen);
    }
    if (nic->previous && nic->previous->guest_features != acked)
        g_clear_pointer(&nic->previous, vdt_snapshot_free);
    nic->adopted = false;
    return true;
}

bool
vdt_nic_state_apply(struct vdt_nic *nic, GError **error)
{
    bool ok = true;

    for (uint32_t i = 0; ok && nic->loaded && i < nic->loaded->ring_count; i++)
        ok = vdt_snapshot_apply_ring(nic->loaded, nic->shadow, i, error);
    return ok;
}

/* A VMM whose connection broke was not told where a ring stopped. It takes the used index from
 * guest memory (QEMU does), and what lies between that and the position goes to the device again.
 */
static bool
at_used(const struct vdt_snapshot *previous, uint32_t ring, uint32_t base)
{
    return !previous->packed && base == previous->rings[ring].pos.used;
}

bool
vdt_nic_state_stands(const struct vdt_snapshot *snapshot, uint32_t ring, uint32_t base,
                     GError **error)
{
    return (ring < snapshot->ring_count && at_used(snapshot, ring, base)) ||
           vdt_snapshot_check_base(snapshot, ring, base, error);
}

/* What a stopped ring had in flight the shadow knows by itself, unless the VMM has reconnected. */
bool
vdt_nic_state_based(struct vdt_nic *nic, uint32_t ring, uint32_t base, GError **error)
{
    struct vdt_snapshot *previous = nic->previous;

    if (nic->loaded && !nic->loaded_ran)
        return vdt_nic_state_stands(nic->loaded, ring, base, error);
    if (!previous || ring >= previous->ring_count || !previous->rings[ring].started)
        return true;
    if (!vdt_snapshot_at_base(previous, ring, base)) {
        if (at_used(previous, ring, base))
            return true;
        g_clear_pointer(&nic->previous, vdt_snapshot_free);
        return true;
    }
    /* A base that does not tell all could be a new guest's, which has nothing in flight. */
    bool sure = !previous->packed || base == vdt_snapshot_base(previous, ring);
    if (sure && previous->rings[ring].request_count > 0 &&
        vdt_shadow_mode(nic->shadow) == VDT_MODE_STOPPED)
        return vdt_snapshot_apply_ring(previous, nic->shadow, ring, error);
    return true;
}

/* Every ring stands where the frozen one stood (a ring that does not has ended @previous), and not
 * all of them at their beginning. One alone may: a packed ring passes it every other round. */
static bool
goes_on(struct vdt_nic *nic)
{
    int cvq = vdt_shadow_guest_cvq_index(nic->shadow);

    if (!nic->previous || cvq < 0 || cvq >= (int) VDT_RINGS_MAX || !nic->base_set[cvq] ||
        nic->previous->cvq_index != cvq ||
        (!vdt_snapshot_at_base(nic->previous, (uint32_t) cvq, nic->base[cvq]) &&
         !at_used(nic->previous, (uint32_t) cvq, nic->base[cvq])))
        return false;
    for (uint32_t i = 0; i < nic->previous->ring_count; i++) {
        if (nic->base_set[i] && nic->previous->rings[i].started &&
            !vdt_snapshot_ring_initial(nic->previous, i))
            return true;
    }
    return false;
}

bool
vdt_nic_adopt(struct vdt_nic *nic)
{
    if (nic->adopted)
        return false;
    if (nic->loaded) {
        nic->model.state = nic->loaded->net;
        nic->moved = true;
        vdt_nic_config_follow(nic, nic->loaded);
        if (!vdt_nic_guest_announces(nic)) {
            uint8_t mac[6];

            vdt_nic_config_mac(nic, mac);
            vdt_nic_rarp(nic, mac);
        }
    } else if (goes_on(nic)) {
        nic->model.state = nic->previous->net;
        nic->model.unmigratable = g_steal_pointer(&nic->previous->unmigratable);
    } else if (nic->left && nic->same_life) {
        nic->model.state = nic->left->snapshot->net;
        vdt_control_model_set_unmigratable(&nic->model, nic->left->snapshot->unmigratable);
        nic->moved = nic->model.state.announce;
    } else {
        return false;
    }
    nic->adopted = true;
    return true;
}

/* Every ring that ran at the source runs here: nothing is left to be taken from @loaded. */
static bool
loaded_taken(struct vdt_nic *nic)
{
    for (uint32_t i = 0; !nic->loaded->live && i < nic->loaded->ring_count; i++) {
        if (nic->loaded->rings[i].started && !vdt_collect_ring_started(nic->shadow, i))
            return false;
    }
    return true;
}

void
vdt_nic_state_running(struct vdt_nic *nic)
{
    if (!vdt_collect_traffic(nic->shadow))
        return;
    vdt_nic_hold_running(nic);
    if (nic->phase != VDT_PHASE_RUNNING && nic->phase != VDT_PHASE_LOGGING)
        nic->started_us = g_get_real_time();
    if (nic->phase < VDT_PHASE_OPENING)
        vdt_nic_enter(nic, nic->logging ? VDT_PHASE_LOGGING : VDT_PHASE_RUNNING);
    if (nic->loaded && nic->adopted && loaded_taken(nic)) {
        nic->loaded_ran = true;
        g_clear_pointer(&nic->loaded, vdt_snapshot_free);
    }
    if (nic->adopted)
        g_clear_pointer(&nic->previous, vdt_snapshot_free);
    if (nic->moved && nic->relay) {
        nic->moved = false;
        vdt_nic_announce_ask(nic);
    }
}

bool
vdt_nic_carriable(const struct vdt_snapshot *snapshot, GError **error)
{
    if (!snapshot->unmigratable || !*snapshot->unmigratable)
        return true;
    g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED, "the state cannot be carried: %s",
                snapshot->unmigratable);
    return false;
}

unsigned
vdt_nic_format(const struct vdt_nic *nic)
{
    return nic->format;
}

struct vdt_snapshot *
vdt_nic_snapshot(struct vdt_nic *nic, GError **error)
{
    if (!nic->frozen || vdt_collect_traffic(nic->shadow))
        return vdt_nic_collect(nic);

    g_autoptr(GBytes) bytes = vdt_snapshot_encode(nic->frozen, error);
    if (!bytes)
        return NULL;
    return vdt_snapshot_decode(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), error);
}

static bool
begin_save(struct vdt_nic *nic, int fd, GError **error)
{
    VDT_AUTO_FD owned = fd;

    if (vdt_collect_traffic(nic->shadow)) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_BUSY,
                            "the device state can be saved once all rings are stopped, not before");
        return false;
    }
    VDT_AUTO(snapshot) snapshot = vdt_nic_snapshot(nic, error);
    if (!snapshot || !vdt_nic_carriable(snapshot, error))
        return false;
    g_autoptr(GBytes) bytes = vdt_snapshot_encode_as(snapshot, nic->format, error);
    if (!bytes)
        return false;
    nic->pipe = vdt_pipe_source(vdt_steal_fd(&owned), bytes, TRANSFER_MS, error);
    return nic->pipe != NULL;
}

bool
vdt_nic_state_begin(void *ctx, bool save, int fd, GError **error)
{
    struct vdt_nic *nic = ctx;

    g_clear_pointer(&nic->pipe, vdt_pipe_free);
    if (save)
        return begin_save(nic, fd, error);
    nic->pipe = vdt_pipe_target(fd, VDT_SNAPSHOT_BYTES_MAX, TRANSFER_MS, error);
    return nic->pipe != NULL;
}

bool
vdt_nic_state_check(void *ctx, GError **error)
{
    struct vdt_nic *nic = ctx;
    VDT_AUTO(pipe) pipe = g_steal_pointer(&nic->pipe);

    if (!pipe) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_BUSY,
                            "no transfer of the device state was begun");
        return false;
    }
    if (!vdt_pipe_finish(pipe, error))
        return false;
    if (vdt_pipe_is_source(pipe)) {
        nic->saves++;
        vdt_nic_enter(nic, VDT_PHASE_SAVED);
        return true;
    }
    GBytes *bytes = vdt_pipe_bytes(pipe);
    if (!vdt_nic_load(nic, g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), error))
        return false;
    nic->loads++;
    return true;
}
