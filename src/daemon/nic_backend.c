/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the frontend asks, message by message. Most of it is the shadow's; kept here is what has to
 * do with the guest's state: when it begins anew, when it is frozen, when it goes on.
 */
#include <linux/vhost_types.h>
#include <string.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/wire.h"
#include "daemon/nic_private.h"
#include "virtio/net_ctrl.h"

#define LOG_ALL VDT_BIT(VHOST_F_LOG_ALL)
#define PROTOCOL_STATUS 16
#define RING_LEGACY_MTU_MIN 68u

static uint64_t
features(void *ctx)
{
    return vdt_nic_offered(ctx);
}

/*
 * A frontend that only turns the log on or off repeats the other bits while rings run. One that has
 * several queue pairs (QEMU) repeats everything once a pair. Anything else is a new beginning.
 */
static bool
same_guest(struct vdt_nic *nic, uint64_t acked)
{
    return nic->negotiated && acked == nic->acked && vdt_collect_traffic(nic->shadow);
}

static bool
set_features(void *ctx, uint64_t acked, GError **error)
{
    struct vdt_nic *nic = ctx;
    bool log = acked & LOG_ALL;
    uint64_t guest = acked & ~LOG_ALL;
    bool same = same_guest(nic, guest);

    if (!same && !vdt_nic_state_negotiated(nic, guest, error))
        return false;
    if (!vdt_shadow_set_features(nic->shadow, guest, log, error) ||
        (!same && !vdt_nic_state_apply(nic, error)))
        return false;
    nic->logging = log;
    if (same) {
        if (nic->phase == VDT_PHASE_RUNNING || nic->phase == VDT_PHASE_LOGGING)
            vdt_nic_enter(nic, log ? VDT_PHASE_LOGGING : VDT_PHASE_RUNNING);
        return true;
    }
    nic->negotiated = true;
    nic->acked = guest;
    nic->announce = false;
    nic->awaiting = false;
    nic->arrival = VDT_ARRIVAL_NONE;
    memset(nic->base_set, 0, sizeof(nic->base_set));
    vdt_control_model_reset(&nic->model, guest);
    vdt_nic_filter_forget(nic);
    vdt_nic_enter(nic, nic->loaded ? VDT_PHASE_LOADED : VDT_PHASE_IDLE);
    return true;
}

static void
set_protocol_features(void *ctx, uint64_t acked)
{
    struct vdt_nic *nic = ctx;

    nic->protocol_features = acked;
    vdt_shadow_use_status(nic->shadow, acked & VDT_BIT(PROTOCOL_STATUS));
}

static uint32_t
ring_count(void *ctx)
{
    struct vdt_nic *nic = ctx;
    uint32_t most = nic->limited ? 2u * nic->baseline.pairs + 1 : VDT_RINGS_MAX;

    return MIN(vdt_shadow_ring_count(nic->shadow), most);
}

static uint16_t
ring_max(void *ctx)
{
    struct vdt_nic *nic = ctx;
    uint16_t most = vdt_nic_device_info(nic)->ring_max;

    return nic->limited ? MIN(most, nic->baseline.ring_max) : most;
}

static bool
set_memory(void *ctx, struct vdt_guest_map *map, GError **error)
{
    struct vdt_nic *nic = ctx;

    return vdt_shadow_set_memory(nic->shadow, map, error);
}

static bool
set_log(void *ctx, int fd, uint64_t offset, uint64_t size, GError **error)
{
    struct vdt_nic *nic = ctx;

    return vdt_shadow_set_log(nic->shadow, fd, offset, size, error);
}

static bool
set_num(void *ctx, uint32_t ring, uint32_t num, GError **error)
{
    struct vdt_nic *nic = ctx;

    return vdt_shadow_set_num(nic->shadow, ring, num, error);
}

static bool
set_addr(void *ctx, const struct vdt_vring_addr *addr, GError **error)
{
    struct vdt_nic *nic = ctx;

    return vdt_shadow_set_addr(nic->shadow, addr->ring, addr->desc, addr->avail, addr->used, error);
}

static bool
set_base(void *ctx, uint32_t ring, uint32_t base, GError **error)
{
    struct vdt_nic *nic = ctx;

    if (!vdt_shadow_set_base(nic->shadow, ring, base, error) ||
        !vdt_nic_state_based(nic, ring, base, error))
        return false;
    if (ring < VDT_RINGS_MAX) {
        nic->base_set[ring] = true;
        nic->base[ring] = base;
    }
    return true;
}

/* A ring that a reset has stopped before the frontend asked for its base (QEMU 7.2 resets between
 * two pairs) answers from what was frozen then. */
static enum vdt_answer
get_base(void *ctx, uint32_t ring, uint32_t *ret_base, GError **error)
{
    struct vdt_nic *nic = ctx;

    bool started = vdt_collect_ring_started(nic->shadow, ring);
    if (started || !vdt_nic_frozen_base(nic, ring, ret_base)) {
        if (!vdt_shadow_get_base(nic->shadow, ring, ret_base, error))
            return VDT_ANSWER_ERROR;
        if (started)
            vdt_nic_freeze_ring(nic, ring);
    }
    return vdt_nic_hold(nic, ring, *ret_base) ? VDT_ANSWER_LATER : VDT_ANSWER_NOW;
}

static bool
set_kick(void *ctx, uint32_t ring, int fd, GError **error)
{
    struct vdt_nic *nic = ctx;

    return vdt_shadow_set_kick(nic->shadow, ring, fd, error);
}

static bool
set_call(void *ctx, uint32_t ring, int fd, GError **error)
{
    struct vdt_nic *nic = ctx;

    return vdt_shadow_set_call(nic->shadow, ring, fd, error);
}

static bool
set_err(void *ctx, uint32_t ring, int fd, GError **error)
{
    struct vdt_nic *nic = ctx;

    return vdt_shadow_set_err(nic->shadow, ring, fd, error);
}

static bool
set_enable(void *ctx, uint32_t ring, bool enable, GError **error)
{
    struct vdt_nic *nic = ctx;

    return vdt_shadow_set_enable(nic->shadow, ring, enable, error);
}

static bool
get_config(void *ctx, uint32_t offset, uint32_t len, uint8_t *buf, GError **error)
{
    struct vdt_nic *nic = ctx;
    uint8_t config[VDT_CONFIG_MAX];

    if (offset > VDT_CONFIG_MAX || len > VDT_CONFIG_MAX - offset) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "config space: %u bytes at %u lie outside of it", len, offset);
        return false;
    }
    vdt_nic_config_read(nic, config);
    memcpy(buf, config + offset, len);
    return true;
}

static bool
set_config(void *ctx, uint32_t offset, uint32_t len, const uint8_t *buf, uint32_t flags,
           GError **error)
{
    g_set_error(
        error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
        "the config space is read-only (%u bytes at %u); a network device's MAC address goes "
        "over the control queue",
        len, offset);
    return false;
}

static uint8_t
get_status(void *ctx)
{
    struct vdt_nic *nic = ctx;

    return vdt_shadow_status(nic->shadow);
}

static bool
set_status(void *ctx, uint8_t status, GError **error)
{
    struct vdt_nic *nic = ctx;

    if (status == 0)
        vdt_nic_freeze_all(nic);
    return vdt_shadow_set_status(nic->shadow, status, error);
}

static bool
reset_device(void *ctx, GError **error)
{
    struct vdt_nic *nic = ctx;

    vdt_nic_freeze_all(nic);
    vdt_shadow_reset(nic->shadow);
    return true;
}

static bool
send_rarp(void *ctx, const uint8_t mac[6], GError **error)
{
    struct vdt_nic *nic = ctx;

    /* VMMs repeat it; one frame a start is enough, the first of this run is already on its way. */
    if (nic->rarp_sent)
        return true;
    bool live = vdt_collect_traffic(nic->shadow);
    if (live && !vdt_shadow_freeze(nic->shadow, error))
        return false;
    vdt_nic_rarp(nic, mac);
    return !live || vdt_shadow_thaw(nic->shadow, error);
}

static bool
set_mtu(void *ctx, uint16_t mtu, GError **error)
{
    struct vdt_nic *nic = ctx;
    size_t at = offsetof(struct virtio_net_config, mtu);
    uint16_t most = nic->config_len >= at + 2 ? vdt_get16(nic->config + at) : 0;

    if (mtu < RING_LEGACY_MTU_MIN || (most != 0 && mtu > most)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "MTU %u: the device takes %u to %u", mtu,
                    RING_LEGACY_MTU_MIN, most ? most : UINT16_MAX);
        return false;
    }
    return true;
}

/* The in-flight list of a migration travels in the state, exact; the shared area is for a tracker
 * that crashes and keeps nothing else. */
static bool
get_inflight(void *ctx, uint16_t queues, uint16_t size, int *ret_fd, uint64_t *ret_size,
             uint64_t *ret_offset, GError **error)
{
    struct vdt_nic *nic = ctx;

    *ret_offset = 0;
    return vdt_shadow_get_inflight(nic->shadow, queues, size, ret_fd, ret_size, error);
}

static bool
set_inflight(void *ctx, uint16_t queues, uint16_t size, int fd, uint64_t mmap_size,
             uint64_t mmap_offset, GError **error)
{
    struct vdt_nic *nic = ctx;

    return vdt_shadow_set_inflight(nic->shadow, queues, size, fd, mmap_size, mmap_offset, error);
}

void
vdt_nic_disconnected(void *ctx)
{
    struct vdt_nic *nic = ctx;

    vdt_nic_freeze_all(nic);
    vdt_shadow_disconnect(nic->shadow);
    vdt_nic_recover_disconnected(nic);
    vdt_nic_load_disconnected(nic);
    g_clear_pointer(&nic->pipe, vdt_pipe_free);
    vdt_nic_hold_let_go(nic, "the VMM has gone");
    nic->hold.tried = false;
    nic->negotiated = false;
    nic->announce = false;
    nic->logging = false;
    nic->awaiting = false;
    nic->arrival = VDT_ARRIVAL_NONE;
    nic->rarp_sent = false;
    nic->protocol_features = 0;
    if (nic->phase != VDT_PHASE_STOPPED && nic->phase != VDT_PHASE_SAVED &&
        nic->phase != VDT_PHASE_LOADED)
        vdt_nic_enter(nic, VDT_PHASE_IDLE);
}

const struct vdt_backend_ops *
vdt_nic_backend(void)
{
    static const struct vdt_backend_ops ops = {
        .features = features,
        .set_features = set_features,
        .set_protocol_features = set_protocol_features,
        .queue_num = ring_count,
        .ring_count = ring_count,
        .ring_max = ring_max,
        .set_memory = set_memory,
        .set_log = set_log,
        .set_num = set_num,
        .set_addr = set_addr,
        .set_base = set_base,
        .get_base = get_base,
        .set_kick = set_kick,
        .set_call = set_call,
        .set_err = set_err,
        .set_enable = set_enable,
        .get_config = get_config,
        .set_config = set_config,
        .get_status = get_status,
        .set_status = set_status,
        .reset_device = reset_device,
        .send_rarp = send_rarp,
        .set_mtu = set_mtu,
        .get_inflight = get_inflight,
        .set_inflight = set_inflight,
        .state_begin = vdt_nic_state_begin,
        .state_check = vdt_nic_state_check,
        .disconnected = vdt_nic_disconnected,
    };
    return &ops;
}
