/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "daemon/nic_private.h"
#include "virtio/features.h"

static void
add_text(JsonBuilder *builder, const char *name, const char *text)
{
    json_builder_set_member_name(builder, name);
    if (text)
        json_builder_add_string_value(builder, text);
    else
        json_builder_add_null_value(builder);
}

static void
add_count(JsonBuilder *builder, const char *name, uint64_t count)
{
    json_builder_set_member_name(builder, name);
    json_builder_add_int_value(builder, (gint64) count);
}

static void
add_bool(JsonBuilder *builder, const char *name, bool value)
{
    json_builder_set_member_name(builder, name);
    json_builder_add_boolean_value(builder, value);
}

static void
add_withheld(struct vdt_nic *nic, JsonBuilder *builder, uint64_t withheld)
{
    json_builder_set_member_name(builder, "withheld");
    json_builder_begin_object(builder);
    for (unsigned bit = 0; bit < 64; bit++) {
        const char *known = vdt_feature_name(nic->device_id, bit);
        const char *reason = vdt_feature_withheld(bit);
        bool outside = nic->limited && !(nic->baseline.features >> bit & 1);
        g_autofree char *number = g_strdup_printf("bit%u", bit);

        if (withheld >> bit & 1)
            add_text(builder, known ? known : number,
                     reason    ? reason
                     : outside ? "it is not in the baseline (--features-from)"
                               : "its commands or effects cannot be followed");
    }
    json_builder_end_object(builder);
}

static void
add_features(struct vdt_nic *nic, JsonBuilder *builder)
{
    const struct vdt_negotiation *negotiation = vdt_shadow_negotiation(nic->shadow);
    uint64_t device = vdt_nic_device_info(nic)->features;

    json_builder_set_member_name(builder, "features");
    json_builder_begin_object(builder);
    vdt_describe_features(builder, "device", nic->device_id, device);
    vdt_describe_features(builder, "offered", nic->device_id, negotiation->offered);
    vdt_describe_features(builder, "acked", nic->device_id, negotiation->acked);
    vdt_describe_features(builder, "negotiated", nic->device_id, negotiation->device);
    add_withheld(nic, builder, device & ~negotiation->offered);
    json_builder_end_object(builder);
}

static void
add_ring(struct vdt_nic *nic, JsonBuilder *builder, uint32_t ring)
{
    struct vdt_shadow_ring_view view = {0};

    vdt_shadow_view_ring(nic->shadow, ring, &view);
    g_free(view.requests);
    if (view.is_cvq && nic->relay)
        view.pos = vdt_cvq_relay_pos(nic->relay);
    if (view.is_cvq)
        view.chains = view.returned = nic->model.captured + nic->model.refused;

    json_builder_begin_object(builder);
    add_count(builder, "index", ring);
    add_text(builder, "kind",
             view.is_cvq                       ? "cvq"
             : nic->device_id != VIRTIO_ID_NET ? "req"
             : ring % 2                        ? "tx"
                                               : "rx");
    add_count(builder, "size", view.num);
    add_bool(builder, "configured", view.configured);
    add_bool(builder, "started", view.started);
    add_bool(builder, "enabled", view.enabled);
    add_bool(builder, "active", view.active);
    add_bool(builder, "exact", view.exact);
    add_text(builder, "broken", view.is_cvq && nic->cvq_broken ? nic->cvq_broken : view.broken);
    add_count(builder, "avail", view.pos.avail);
    add_count(builder, "used", view.pos.used);
    add_bool(builder, "counted", view.counted);
    add_count(builder, "in_flight", view.in_flight);
    add_count(builder, "chains", view.chains);
    add_count(builder, "returned", view.returned);
    add_count(builder, "bytes_in", view.bytes_in);
    add_count(builder, "bytes_out", view.bytes_out);
    add_count(builder, "kicks_taken", view.kicks_taken);
    add_count(builder, "kicks_sent", view.kicks_sent);
    add_count(builder, "calls_taken", view.calls_taken);
    add_count(builder, "calls_sent", view.calls_sent);
    add_count(builder, "ran_again", view.ran_again);
    json_builder_end_object(builder);
}

static void
add_device_state(struct vdt_nic *nic, JsonBuilder *builder)
{
    JsonNode *state = vdt_nic_device_state(nic, NULL);

    json_builder_set_member_name(builder, "device_state");
    if (state)
        json_builder_add_value(builder, state);
    else
        json_builder_add_null_value(builder);
}

static void
add_control(struct vdt_nic *nic, JsonBuilder *builder)
{
    uint8_t mac[6];

    vdt_nic_config_mac(nic, mac);
    g_autofree char *text = g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2],
                                            mac[3], mac[4], mac[5]);
    add_text(builder, "mac", nic->device_id == VIRTIO_ID_NET ? text : NULL);
    json_builder_set_member_name(builder, "control");
    json_builder_add_value(builder, vdt_net_state_to_json(&nic->model.state));
    json_builder_set_member_name(builder, "commands");
    json_builder_begin_object(builder);
    add_count(builder, "captured", nic->model.captured);
    add_count(builder, "refused", nic->model.refused);
    add_count(builder, "replayed", nic->replayed.acked);
    add_count(builder, "replay_us", (uint64_t) nic->replayed.us);
    json_builder_end_object(builder);
    add_bool(builder, "control_by_tracker", nic->driven && nic->negotiated);
    add_bool(builder, "filtered", nic->filter != NULL);
    add_bool(builder, "announce", nic->announce);
}

static void
add_phases(struct vdt_nic *nic, JsonBuilder *builder)
{
    int64_t now = g_get_monotonic_time();

    json_builder_set_member_name(builder, "phases");
    json_builder_begin_object(builder);
    for (unsigned i = 0; i < VDT_PHASE_COUNT; i++) {
        struct vdt_phase_time time = vdt_phase_clock_read(&nic->clock, (enum vdt_phase) i, now);

        if (time.count == 0)
            continue;
        json_builder_set_member_name(builder, vdt_phase_name((enum vdt_phase) i));
        json_builder_begin_object(builder);
        add_count(builder, "count", time.count);
        add_count(builder, "since_us", (uint64_t) time.since_us);
        add_count(builder, "last_us", (uint64_t) time.last_us);
        add_count(builder, "total_us", (uint64_t) time.total_us);
        json_builder_end_object(builder);
    }
    json_builder_end_object(builder);
}

static void
add_handover(struct vdt_nic *nic, JsonBuilder *builder)
{
    const struct vdt_nic_hold *hold = &nic->hold;
    int64_t us = hold->running ? g_get_monotonic_time() - hold->began : hold->us;

    json_builder_set_member_name(builder, "handover");
    json_builder_begin_object(builder);
    add_text(builder, "state", vdt_nic_hold_state(nic));
    add_text(builder, "error", hold->error);
    add_count(builder, "us", (uint64_t) us);
    add_count(builder, "bytes", hold->bytes);
    add_count(builder, "given", hold->given);
    add_count(builder, "failed", hold->failed);
    add_bool(builder, "awaits_state", nic->awaiting);
    json_builder_end_object(builder);
}

/* 0 stays 0: never. */
static uint64_t
real_time(int64_t monotonic)
{
    return monotonic ? (uint64_t) (g_get_real_time() - g_get_monotonic_time() + monotonic) : 0;
}

JsonNode *
vdt_nic_status(struct vdt_nic *nic)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    const char *broken = vdt_shadow_unmigratable(nic->shadow);

    json_builder_begin_object(builder);
    add_text(builder, "name", nic->name);
    add_text(builder, "uuid", nic->uuid);
    add_text(builder, "version", VDT_VERSION);
    add_count(builder, "pid", (uint64_t) getpid());
    add_bool(builder, "connected", nic->session != NULL);
    add_text(builder, "phase", vdt_phase_name(nic->phase));
    add_text(builder, "mode", vdt_mode_name(vdt_shadow_mode(nic->shadow)));
    add_text(builder, "reason", vdt_shadow_mode_reason(nic->shadow));
    add_count(builder, "cvq_asid", vdt_shadow_cvq_asid(nic->shadow));
    add_text(builder, "failure", nic->failure);
    add_text(builder, "unmigratable", nic->model.unmigratable ? nic->model.unmigratable : broken);
    add_bool(builder, "logging", vdt_shadow_logging(nic->shadow));
    add_count(builder, "dirty_pages", vdt_shadow_dirty_pages(nic->shadow));
    add_count(builder, "frozen_us", (uint64_t) vdt_shadow_frozen_us(nic->shadow));
    add_count(builder, "frozen_from_us", real_time(vdt_shadow_thawed_from(nic->shadow)));
    add_phases(nic, builder);
    add_count(builder, "virtio_status", vdt_shadow_status(nic->shadow));
    add_count(builder, "protocol_features", nic->protocol_features);
    json_builder_set_member_name(builder, "formats");
    json_builder_begin_object(builder);
    add_count(builder, "reads_from", VDT_SNAPSHOT_FORMAT - 1);
    add_count(builder, "reads_to", VDT_SNAPSHOT_FORMAT);
    add_count(builder, "writes", nic->format);
    json_builder_end_object(builder);
    add_features(nic, builder);
    json_builder_set_member_name(builder, "rings");
    json_builder_begin_array(builder);
    for (uint32_t i = 0; i < vdt_shadow_ring_count(nic->shadow); i++)
        add_ring(nic, builder, i);
    json_builder_end_array(builder);
    add_control(nic, builder);
    json_builder_set_member_name(builder, "device");
    json_builder_add_value(builder, vdt_device_describe(vdt_shadow_device(nic->shadow)));
    add_device_state(nic, builder);
    json_builder_set_member_name(builder, "recovery");
    vdt_nic_recover_status(nic, builder);
    add_text(builder, "arrival", vdt_nic_arrival_name(nic));
    add_handover(nic, builder);
    add_count(builder, "stopped_us", (uint64_t) nic->stopped_us);
    add_count(builder, "started_us", (uint64_t) nic->started_us);
    json_builder_set_member_name(builder, "carried");
    json_builder_begin_object(builder);
    add_count(builder, "saves", nic->saves);
    add_count(builder, "loads", nic->loads);
    add_count(builder, "restores", nic->restores);
    add_count(builder, "swaps", nic->swaps);
    add_count(builder, "rehearsed_us", (uint64_t) nic->rehearsed_us);
    add_count(builder, "swap_opened_us", (uint64_t) nic->swap_opened_us);
    add_count(builder, "swap_frozen_us", (uint64_t) nic->swap_frozen_us);
    json_builder_end_object(builder);
    json_builder_end_object(builder);
    return json_builder_get_root(builder);
}

JsonNode *
vdt_nic_device_state(struct vdt_nic *nic, GError **error)
{
    struct vdt_device *dev = vdt_shadow_device(nic->shadow);
    g_autofree struct vdt_net_state *state = g_new0(struct vdt_net_state, 1);

    if (!VDT_DEVICE_CALL(dev, read_net_state, error, state))
        return NULL;
    return vdt_net_state_to_json(state);
}
