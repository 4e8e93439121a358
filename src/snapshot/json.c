/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snapshot/json.h"

#include "snapshot/net_config.h"
#include "snapshot/words.h"
#include "virtio/features.h"

void
vdt_json_add_text(JsonBuilder *b, const char *name, const char *text)
{
    json_builder_set_member_name(b, name);
    json_builder_add_string_value(b, text ? text : "");
}

void
vdt_json_add_int(JsonBuilder *b, const char *name, int64_t value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, value);
}

void
vdt_json_add_bool(JsonBuilder *b, const char *name, bool value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_boolean_value(b, value);
}

void
vdt_json_add_number(JsonBuilder *b, const char *name, uint64_t value)
{
    g_autofree char *text = vdt_words_number(value);

    vdt_json_add_text(b, name, text);
}

void
vdt_json_add_feature_set(JsonBuilder *b, uint32_t device_id, uint64_t features)
{
    g_autofree char *all = vdt_features_to_string(device_id, features);
    g_auto(GStrv) names = g_strsplit(all, " ", -1);

    json_builder_begin_object(b);
    vdt_json_add_number(b, "hex", features);
    json_builder_set_member_name(b, "names");
    json_builder_begin_array(b);
    for (char **name = names; *name; name++)
        json_builder_add_string_value(b, *name);
    json_builder_end_array(b);
    json_builder_end_object(b);
}

static void
add_features(JsonBuilder *b, const char *name, const struct vdt_snapshot *s, uint64_t features)
{
    json_builder_set_member_name(b, name);
    vdt_json_add_feature_set(b, s->device_id, features);
}

static void
add_identity(JsonBuilder *b, const struct vdt_snapshot *s)
{
    g_autofree char *created = vdt_words_time(s->created_us);

    json_builder_set_member_name(b, "identity");
    json_builder_begin_object(b);
    vdt_json_add_int(b, "device_id", s->device_id);
    vdt_json_add_text(b, "name", s->name);
    vdt_json_add_text(b, "device", s->device);
    vdt_json_add_text(b, "driver", s->driver);
    vdt_json_add_text(b, "uuid", s->uuid);
    vdt_json_add_text(b, "tool_version", s->tool_version);
    vdt_json_add_text(b, "created", created);
    vdt_json_add_int(b, "created_us", s->created_us);
    json_builder_end_object(b);
}

static void
add_net_config(JsonBuilder *b, const struct vdt_snapshot *s)
{
    struct vdt_net_config c;

    vdt_net_config_parse(&c, s->config, s->config_len);
    if (vdt_net_config_has(&c, VDT_CONFIG_MAC)) {
        g_autofree char *mac = vdt_words_mac(c.mac);
        vdt_json_add_text(b, "mac", mac);
    }
    if (vdt_net_config_has(&c, VDT_CONFIG_STATUS))
        vdt_json_add_int(b, "status", c.status);
    if (vdt_net_config_has(&c, VDT_CONFIG_PAIRS))
        vdt_json_add_int(b, "max_virtqueue_pairs", c.max_pairs);
    if (vdt_net_config_has(&c, VDT_CONFIG_MTU))
        vdt_json_add_int(b, "mtu", c.mtu);
    if (vdt_net_config_has(&c, VDT_CONFIG_SPEED))
        vdt_json_add_int(b, "speed", c.speed);
    if (vdt_net_config_has(&c, VDT_CONFIG_DUPLEX))
        vdt_json_add_int(b, "duplex", c.duplex);
    if (vdt_net_config_has(&c, VDT_CONFIG_RSS_KEY))
        vdt_json_add_int(b, "rss_max_key_size", c.rss_key_max);
    if (vdt_net_config_has(&c, VDT_CONFIG_RSS_TABLE))
        vdt_json_add_int(b, "rss_max_indirection_table_length", c.rss_table_max);
    if (vdt_net_config_has(&c, VDT_CONFIG_HASH_TYPES))
        vdt_json_add_number(b, "supported_hash_types", c.hash_types);
}

static void
add_config(JsonBuilder *b, const struct vdt_snapshot *s)
{
    g_autofree char *hex = vdt_words_hex(s->config, s->config_len);

    json_builder_set_member_name(b, "config");
    json_builder_begin_object(b);
    vdt_json_add_int(b, "length", s->config_len);
    vdt_json_add_text(b, "hex", hex);
    if (s->device_id == VIRTIO_ID_NET)
        add_net_config(b, s);
    json_builder_end_object(b);
}

static void
add_request(JsonBuilder *b, const struct vdt_snapshot *s, const struct vdt_snapshot_ring *ring,
            const struct vdt_snapshot_request *request)
{
    json_builder_begin_object(b);
    vdt_json_add_int(b, "id", request->id);
    vdt_json_add_int(b, "slots", request->slots);
    if (s->packed) {
        json_builder_set_member_name(b, "segs");
        json_builder_begin_array(b);
        for (uint32_t i = 0; i < request->segs; i++) {
            const struct vdt_seg *seg = &ring->segs[request->seg + i];
            json_builder_begin_object(b);
            vdt_json_add_number(b, "addr", seg->addr);
            vdt_json_add_int(b, "len", seg->len);
            vdt_json_add_bool(b, "writable", seg->flags & VDT_SEG_WRITE);
            json_builder_end_object(b);
        }
        json_builder_end_array(b);
    }
    if (s->packed && s->format >= 2) {
        json_builder_set_member_name(b, "table");
        if (request->table_len > 0) {
            json_builder_begin_object(b);
            vdt_json_add_number(b, "addr", request->table_addr);
            vdt_json_add_int(b, "len", request->table_len);
            json_builder_end_object(b);
        } else {
            json_builder_add_null_value(b);
        }
    }
    json_builder_end_object(b);
}

static void
add_position(JsonBuilder *b, const struct vdt_snapshot *s, const char *name, uint16_t pos)
{
    if (!s->packed) {
        vdt_json_add_int(b, name, pos);
        return;
    }
    json_builder_set_member_name(b, name);
    json_builder_begin_object(b);
    vdt_json_add_int(b, "slot", pos & 0x7fff);
    vdt_json_add_int(b, "wrap", pos >> 15);
    json_builder_end_object(b);
}

static void
add_fault(JsonBuilder *b, unsigned fault)
{
    g_autofree char *text = vdt_words_fault(fault);

    json_builder_set_member_name(b, "fault");
    if (fault == 0) {
        json_builder_add_null_value(b);
        return;
    }
    json_builder_begin_object(b);
    vdt_json_add_int(b, "number", fault);
    vdt_json_add_text(b, "text", text);
    json_builder_end_object(b);
}

static void
add_source(JsonBuilder *b, const struct vdt_snapshot_source *source)
{
    json_builder_set_member_name(b, "source");
    if (!source->known) {
        json_builder_add_null_value(b);
        return;
    }
    g_autofree char *abilities = vdt_words_abilities(source->abilities);
    g_auto(GStrv) names = g_strsplit(abilities, " ", -1);
    json_builder_begin_object(b);
    json_builder_set_member_name(b, "abilities");
    json_builder_begin_array(b);
    for (char **name = names; *name; name++)
        json_builder_add_string_value(b, *name);
    json_builder_end_array(b);
    vdt_json_add_int(b, "rings", source->rings);
    vdt_json_add_int(b, "ring_max", source->ring_max);
    vdt_json_add_text(b, "dirty_width", source->used_width ? "used" : "chain");
    vdt_json_add_bool(b, "control_by_tracker", source->drives_control);
    vdt_json_add_int(b, "commands", (int64_t) source->commands);
    vdt_json_add_int(b, "refused", (int64_t) source->refused);
    vdt_json_add_int(b, "ran_again", (int64_t) source->ran_again);
    json_builder_end_object(b);
}

static void
add_rings(JsonBuilder *b, const struct vdt_snapshot *s)
{
    json_builder_set_member_name(b, "rings");
    json_builder_begin_array(b);
    for (unsigned i = 0; i < s->ring_count; i++) {
        const struct vdt_snapshot_ring *ring = &s->rings[i];
        g_autofree char *role = vdt_words_role(s, i);
        json_builder_begin_object(b);
        vdt_json_add_int(b, "index", i);
        vdt_json_add_text(b, "role", role);
        vdt_json_add_int(b, "num", ring->num);
        vdt_json_add_bool(b, "started", ring->started);
        vdt_json_add_bool(b, "enabled", ring->enabled);
        add_position(b, s, "avail", ring->pos.avail);
        add_position(b, s, "used", ring->pos.used);
        vdt_json_add_bool(b, "exact", ring->exact);
        if (s->format >= 2)
            add_fault(b, ring->fault);
        json_builder_set_member_name(b, "in_flight");
        json_builder_begin_array(b);
        for (uint32_t j = 0; j < ring->request_count; j++)
            add_request(b, s, ring, &ring->requests[j]);
        json_builder_end_array(b);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

JsonNode *
vdt_snapshot_to_json(const struct vdt_snapshot *s)
{
    g_autoptr(JsonBuilder) b = json_builder_new();

    json_builder_begin_object(b);
    vdt_json_add_int(b, "format", s->format);
    vdt_json_add_bool(b, "live", s->live);
    add_identity(b, s);
    if (s->format >= 2)
        add_source(b, &s->source);
    json_builder_set_member_name(b, "unmigratable");
    if (s->unmigratable)
        json_builder_add_string_value(b, s->unmigratable);
    else
        json_builder_add_null_value(b);
    vdt_json_add_bool(b, "resubmitted_rx_window", s->resubmitted_rx_window);

    json_builder_set_member_name(b, "features");
    json_builder_begin_object(b);
    add_features(b, "device", s, s->device_features);
    add_features(b, "offered", s, s->offered_features);
    add_features(b, "guest", s, s->guest_features);
    add_features(b, "negotiated", s, s->negotiated_features);
    vdt_json_add_number(b, "protocol", s->protocol_features);
    json_builder_end_object(b);

    add_config(b, s);
    vdt_json_add_text(b, "ring_format", s->packed ? "packed" : "split");
    vdt_json_add_int(b, "cvq_index", s->cvq_index);
    add_rings(b, s);
    json_builder_set_member_name(b, "control");
    if (s->device_id == VIRTIO_ID_NET)
        json_builder_add_value(b, vdt_net_state_to_json(&s->net));
    else
        json_builder_add_null_value(b);
    json_builder_end_object(b);
    return json_builder_get_root(b);
}
