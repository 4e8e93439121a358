/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/device.h"
#include "virtio/features.h"

static void
add_text(JsonBuilder *builder, const char *name, const char *text)
{
    json_builder_set_member_name(builder, name);
    json_builder_add_string_value(builder, text);
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

/* As text: JSON's numbers do not hold 64 bits everywhere. */
static void
add_address(JsonBuilder *builder, const char *name, uint64_t address)
{
    g_autofree char *text = g_strdup_printf("0x%" G_GINT64_MODIFIER "x", address);

    add_text(builder, name, text);
}

void
vdt_describe_features(JsonBuilder *builder, const char *name, uint32_t device_id, uint64_t features)
{
    json_builder_set_member_name(builder, name);
    json_builder_begin_array(builder);
    for (unsigned bit = 0; bit < 64; bit++) {
        const char *known = vdt_feature_name(device_id, bit);
        g_autofree char *number = g_strdup_printf("bit%u", bit);

        if (features >> bit & 1)
            json_builder_add_string_value(builder, known ? known : number);
    }
    json_builder_end_array(builder);
}

JsonNode *
vdt_device_describe(struct vdt_device *dev)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    const struct vdt_device_info *info = &dev->info;

    json_builder_begin_object(builder);
    add_text(builder, "name", info->name);
    add_text(builder, "kind", dev->ops->kind);
    add_text(builder, "driver", info->driver);
    add_count(builder, "type", info->device_id);
    add_count(builder, "vendor", info->vendor_id);
    vdt_describe_features(builder, "features", info->device_id, info->features);
    add_count(builder, "rings", info->rings);
    add_count(builder, "ring_max", info->ring_max);
    add_address(builder, "iova_first", info->iova_first);
    add_address(builder, "iova_last", info->iova_last);
    add_count(builder, "groups", info->groups);
    add_count(builder, "asids", info->asids);
    add_bool(builder, "suspend", info->suspend);
    add_bool(builder, "resume", info->resume);
    add_bool(builder, "ring_state", info->ring_state);
    add_bool(builder, "set_base", info->set_base);
    add_bool(builder, "enable_after_driver_ok", info->enable_after_driver_ok);
    add_bool(builder, "readdress", info->readdress);
    add_bool(builder, "disable", info->disable);
    add_bool(builder, "maps_survive_reset", info->maps_survive_reset);
    add_bool(builder, "passthrough", info->passthrough);
    json_builder_set_member_name(builder, "internals");
    if (dev->ops->describe)
        json_builder_add_value(builder, dev->ops->describe(dev));
    else
        json_builder_add_null_value(builder);
    json_builder_end_object(builder);
    return json_builder_get_root(builder);
}
