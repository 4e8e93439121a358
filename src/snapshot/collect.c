/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snapshot/collect.h"

#include <string.h>

#include <vdpa-tracker/error.h>

#include "virtio/features.h"

bool
vdt_collect_ring_started(struct vdt_shadow *shadow, uint32_t ring)
{
    struct vdt_shadow_ring_view view = {0};

    if (ring >= vdt_shadow_ring_count(shadow))
        return false;
    vdt_shadow_view_ring(shadow, ring, &view);
    g_free(view.requests);
    return view.configured && view.started;
}

bool
vdt_collect_started(struct vdt_shadow *shadow)
{
    for (uint32_t i = 0; i < vdt_shadow_ring_count(shadow); i++) {
        if (vdt_collect_ring_started(shadow, i))
            return true;
    }
    return false;
}

bool
vdt_collect_traffic(struct vdt_shadow *shadow)
{
    for (uint32_t i = 0; i < vdt_shadow_ring_count(shadow); i++) {
        struct vdt_shadow_ring_view view = {0};

        vdt_shadow_view_ring(shadow, i, &view);
        g_free(view.requests);
        if (!view.is_cvq && view.configured && view.started && view.enabled)
            return true;
    }
    return false;
}

/* The descriptors are borrowed from the shadow until its next call: all are copied here. */
static void
collect_requests(struct vdt_snapshot_ring *ring, const struct vdt_shadow_ring_view *view)
{
    ring->request_count = view->request_count;
    ring->requests = g_new0(struct vdt_snapshot_request, view->request_count);
    for (uint32_t i = 0; i < view->request_count; i++)
        ring->seg_count += view->requests[i].seg_count;
    ring->segs = ring->seg_count ? g_new0(struct vdt_seg, ring->seg_count) : NULL;

    uint32_t seg = 0;
    for (uint32_t i = 0; i < view->request_count; i++) {
        const struct vdt_shadow_request *from = &view->requests[i];

        ring->requests[i] = (struct vdt_snapshot_request){
            .id = from->id,
            .slots = from->slots,
            .segs = from->seg_count,
            .seg = from->seg_count ? seg : 0,
            .table_addr = from->table_len ? from->table_addr : 0,
            .table_len = from->table_len,
        };
        if (from->seg_count)
            memcpy(&ring->segs[seg], from->segs, from->seg_count * sizeof(*from->segs));
        seg += from->seg_count;
    }
}

static void
collect_ring(struct vdt_shadow *shadow, uint32_t index, bool running,
             struct vdt_snapshot_ring *ring)
{
    struct vdt_shadow_ring_view view = {0};

    vdt_shadow_view_ring(shadow, index, &view);
    ring->num = view.num;
    ring->started = view.started;
    ring->enabled = view.enabled;
    ring->exact = view.exact;
    ring->fault = view.fault;
    ring->pos = view.pos;
    if (!running && view.request_count > 0)
        collect_requests(ring, &view);
    g_free(view.requests);
}

static uint64_t
abilities(const struct vdt_device_info *info)
{
    return (info->suspend ? VDT_ABILITY_SUSPEND : 0) | (info->resume ? VDT_ABILITY_RESUME : 0) |
           (info->ring_state ? VDT_ABILITY_RING_STATE : 0) |
           (info->set_base ? VDT_ABILITY_SET_BASE : 0) |
           (info->enable_after_driver_ok ? VDT_ABILITY_ENABLE_AFTER_DRIVER_OK : 0) |
           (info->readdress ? VDT_ABILITY_READDRESS : 0) |
           (info->disable ? VDT_ABILITY_DISABLE : 0) |
           (info->maps_survive_reset ? VDT_ABILITY_MAPS_SURVIVE_RESET : 0);
}

/* And whether a stop by reset left a window in which received frames may be lost. */
static void
collect_source(struct vdt_snapshot *snapshot, struct vdt_shadow *shadow,
               const struct vdt_control_model *model, const struct vdt_snapshot_identity *identity)
{
    const struct vdt_device_info *info = &vdt_shadow_device(shadow)->info;

    snapshot->source = (struct vdt_snapshot_source){
        .known = true,
        .abilities = abilities(info),
        .rings = info->rings,
        .ring_max = info->ring_max,
        .used_width = identity->used_width,
        .drives_control = identity->drives_control,
        .commands = model->captured,
        .refused = model->refused,
    };
    for (uint32_t i = 0; i < snapshot->ring_count; i++) {
        struct vdt_shadow_ring_view view = {0};

        vdt_shadow_view_ring(shadow, i, &view);
        g_free(view.requests);
        snapshot->source.ran_again += view.ran_again;
        snapshot->resubmitted_rx_window |= view.by_reset;
    }
}

struct vdt_snapshot *
vdt_snapshot_collect(struct vdt_shadow *shadow, const struct vdt_control_model *model,
                     const struct vdt_snapshot_identity *identity)
{
    struct vdt_snapshot *snapshot = vdt_snapshot_new();
    const struct vdt_negotiation *negotiation = vdt_shadow_negotiation(shadow);
    const struct vdt_device_info *info = &vdt_shadow_device(shadow)->info;
    enum vdt_mode mode = vdt_shadow_mode(shadow);
    bool running = mode == VDT_MODE_PASSTHROUGH || mode == VDT_MODE_SHADOW;
    const char *broken = vdt_shadow_unmigratable(shadow);

    snapshot->live = running;
    snapshot->device_id = info->device_id;
    g_free(snapshot->name);
    snapshot->name = g_strdup(identity->name ? identity->name : "");
    g_free(snapshot->uuid);
    snapshot->uuid = g_strdup(identity->uuid ? identity->uuid : "");
    g_free(snapshot->device);
    snapshot->device = g_strdup(info->name);
    g_free(snapshot->driver);
    snapshot->driver = g_strdup(info->driver);
    g_free(snapshot->tool_version);
    snapshot->tool_version = g_strdup(VDT_VERSION);
    snapshot->created_us = g_get_real_time();

    snapshot->device_features = info->features;
    snapshot->offered_features = negotiation->offered;
    snapshot->guest_features = negotiation->acked;
    snapshot->negotiated_features = negotiation->device;
    snapshot->protocol_features = identity->protocol_features;

    snapshot->config_len = MIN(identity->config_len, VDT_CONFIG_MAX);
    if (snapshot->config_len > 0)
        memcpy(snapshot->config, identity->config, snapshot->config_len);

    snapshot->packed = negotiation->acked & VDT_BIT(VIRTIO_F_RING_PACKED);
    snapshot->cvq_index = vdt_shadow_guest_cvq_index(shadow);
    snapshot->ring_count = MIN(vdt_shadow_ring_count(shadow), VDT_RINGS_MAX);
    for (uint32_t i = 0; i < snapshot->ring_count; i++)
        collect_ring(shadow, i, running, &snapshot->rings[i]);
    /* The relay takes a command when it is answered: nothing is ever in flight there. */
    if (identity->cvq_pos && snapshot->cvq_index >= 0 &&
        (uint32_t) snapshot->cvq_index < snapshot->ring_count) {
        snapshot->rings[snapshot->cvq_index].pos = *identity->cvq_pos;
        snapshot->rings[snapshot->cvq_index].exact = true;
    }

    collect_source(snapshot, shadow, model, identity);
    snapshot->net = model->state;
    /* All VLANs, or what somebody follows at this host: the next device is told of its own accord.
     */
    if (identity->drives_control)
        snapshot->net.set &= ~(uint32_t) VDT_NET_VLAN;
    g_free(snapshot->unmigratable);
    snapshot->unmigratable = g_strdup(model->unmigratable ? model->unmigratable : broken);
    return snapshot;
}

static void
clear_ring(struct vdt_snapshot_ring *ring)
{
    g_free(ring->requests);
    g_free(ring->segs);
    memset(ring, 0, sizeof(*ring));
}

void
vdt_snapshot_move_ring(struct vdt_snapshot *to, struct vdt_snapshot *from, uint32_t ring)
{
    g_assert(ring < VDT_RINGS_MAX);
    clear_ring(&to->rings[ring]);
    to->rings[ring] = from->rings[ring];
    memset(&from->rings[ring], 0, sizeof(from->rings[ring]));
}

uint32_t
vdt_snapshot_requests(const struct vdt_snapshot *snapshot)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < snapshot->ring_count; i++)
        count += snapshot->rings[i].request_count;
    return count;
}

uint32_t
vdt_snapshot_base(const struct vdt_snapshot *snapshot, uint32_t ring)
{
    struct vdt_ring_format format =
        vdt_features_ring_format(snapshot->guest_features, snapshot->rings[ring].num);

    return vdt_ring_pos_to_base(&format, snapshot->rings[ring].pos);
}

/* Frontends differ in what they send for a packed ring: 16 bits say where avail stands alone. What
 * says more has to agree in all: else every new guest, whose rings begin at the beginning, would
 * take over from one whose avail half had just come round to it. */
bool
vdt_snapshot_at_base(const struct vdt_snapshot *snapshot, uint32_t ring, uint32_t base)
{
    struct vdt_ring_format format =
        vdt_features_ring_format(snapshot->guest_features, snapshot->rings[ring].num);
    struct vdt_ring_pos pos;

    /* A packed base of 0 is a position too, if that is where the ring stopped. */
    if (base == vdt_snapshot_base(snapshot, ring))
        return true;
    bool avail_alone = format.kind == VDT_RING_SPLIT || (base != 0 && base <= UINT16_MAX);
    return vdt_ring_pos_from_base(&format, base, &pos) &&
           pos.avail == snapshot->rings[ring].pos.avail &&
           (avail_alone || pos.used == snapshot->rings[ring].pos.used);
}

bool
vdt_snapshot_ring_initial(const struct vdt_snapshot *snapshot, uint32_t ring)
{
    struct vdt_ring_pos initial =
        vdt_ring_pos_initial(snapshot->packed ? VDT_RING_PACKED : VDT_RING_SPLIT);
    struct vdt_ring_pos pos = snapshot->rings[ring].pos;

    return pos.avail == initial.avail && pos.used == initial.used;
}

bool
vdt_snapshot_check_base(const struct vdt_snapshot *snapshot, uint32_t ring, uint32_t base,
                        GError **error)
{
    if (snapshot->live || ring >= snapshot->ring_count || !snapshot->rings[ring].started ||
        vdt_snapshot_at_base(snapshot, ring, base))
        return true;
    g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                "ring %u starts at %#x, but the state that was loaded stopped it at %#x: it is "
                "not the state of this guest, and the ring is not started",
                ring, base, vdt_snapshot_base(snapshot, ring));
    return false;
}

bool
vdt_snapshot_apply_ring(const struct vdt_snapshot *snapshot, struct vdt_shadow *shadow,
                        uint32_t ring, GError **error)
{
    const struct vdt_snapshot_ring *from = &snapshot->rings[ring];

    if (snapshot->live || ring >= snapshot->ring_count || !from->started || !from->exact)
        return true;
    g_autofree struct vdt_shadow_request *requests =
        g_new0(struct vdt_shadow_request, MAX(from->request_count, 1u));
    for (uint32_t i = 0; i < from->request_count; i++) {
        requests[i] = (struct vdt_shadow_request){
            .id = from->requests[i].id,
            .slots = from->requests[i].slots,
            .seg_count = from->requests[i].segs,
            .segs = from->requests[i].segs ? &from->segs[from->requests[i].seg] : NULL,
            .table_addr = from->requests[i].table_addr,
            .table_len = from->requests[i].table_len,
        };
    }
    return vdt_shadow_load_ring(shadow, ring, from->pos, requests, from->request_count, error);
}
