/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/inventory.h"

#include "device/device.h"
#include "device/vhost_driver.h"
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
add_count(JsonBuilder *builder, const char *name, bool told, uint64_t count)
{
    json_builder_set_member_name(builder, name);
    if (told)
        json_builder_add_int_value(builder, (gint64) count);
    else
        json_builder_add_null_value(builder);
}

static void
add_names(JsonBuilder *builder, const char *name, bool told, uint32_t type, uint64_t features)
{
    if (told) {
        vdt_describe_features(builder, name, type, features);
        return;
    }
    json_builder_set_member_name(builder, name);
    json_builder_add_null_value(builder);
}

static void
add_config(JsonBuilder *builder, const struct vdt_vdpa_entry *e)
{
    g_autofree char *mac = g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", e->mac[0], e->mac[1],
                                           e->mac[2], e->mac[3], e->mac[4], e->mac[5]);

    add_text(builder, "mac", e->told & VDT_VDPA_MAC ? mac : NULL);
    json_builder_set_member_name(builder, "link");
    if (e->told & VDT_VDPA_LINK)
        json_builder_add_boolean_value(builder, e->link & VIRTIO_NET_S_LINK_UP);
    else
        json_builder_add_null_value(builder);
    add_count(builder, "mtu", e->told & VDT_VDPA_MTU, e->mtu);
    add_count(builder, "max_pairs", e->told & VDT_VDPA_PAIRS, e->pairs);
    add_names(builder, "features", e->told & VDT_VDPA_FEATURES, e->type, e->features);
    add_names(builder, "negotiated", e->told & VDT_VDPA_NEGOTIATED, e->type, e->negotiated);
}

static void
add_device(JsonBuilder *builder, const struct vdt_inventory_device *device)
{
    const struct vdt_vdpa_entry *e = &device->entry;

    json_builder_begin_object(builder);
    add_text(builder, "name", device->name);
    add_text(builder, "node", device->node);
    add_text(builder, "driver", device->driver);
    add_text(builder, "row", vdt_vhost_driver_find(device->driver)->name);
    add_text(builder, "manager", device->manager);
    add_text(builder, "parent", device->parent);
    add_text(builder, "bound", device->bound);
    add_text(builder, "node_owner", device->owner);
    json_builder_set_member_name(builder, "may_open");
    json_builder_add_boolean_value(builder, device->may_open);
    add_text(builder, "use", vdt_inventory_use_name(device->use));
    add_count(builder, "pid", device->use == VDT_USE_PROCESS, (uint64_t) device->pid);
    add_text(builder, "program", device->program);
    add_count(builder, "type", e->told & VDT_VDPA_TYPE, e->type);
    add_count(builder, "vendor", e->told & VDT_VDPA_VENDOR, e->vendor);
    add_count(builder, "rings", e->told & VDT_VDPA_RINGS, e->rings);
    add_count(builder, "ring_max", e->told & VDT_VDPA_RING_MAX, e->ring_max);
    add_count(builder, "ring_min", e->told & VDT_VDPA_RING_MIN, e->ring_min);
    add_config(builder, e);
    json_builder_end_object(builder);
}

static void
add_manager(JsonBuilder *builder, const struct vdt_vdpa_entry *e)
{
    g_autofree char *name =
        e->told & VDT_VDPA_BUS ? g_strdup_printf("%s/%s", e->bus, e->mgmt) : g_strdup(e->mgmt);

    json_builder_begin_object(builder);
    add_text(builder, "name", name);
    json_builder_set_member_name(builder, "types");
    json_builder_begin_array(builder);
    for (unsigned type = 0; type < 64; type++) {
        if (e->classes >> type & 1)
            json_builder_add_int_value(builder, type);
    }
    json_builder_end_array(builder);
    add_count(builder, "rings", e->told & VDT_VDPA_MGMT_RINGS, e->mgmt_rings);
    add_names(builder, "features", e->told & VDT_VDPA_MGMT_FEATURES,
              e->classes >> VIRTIO_ID_NET & 1 ? VIRTIO_ID_NET : 0, e->mgmt_features);
    json_builder_end_object(builder);
}

JsonNode *
vdt_inventory_to_json(const struct vdt_inventory *inventory)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "devices");
    json_builder_begin_array(builder);
    for (guint i = 0; i < inventory->devices->len; i++)
        add_device(builder, inventory->devices->pdata[i]);
    json_builder_end_array(builder);
    json_builder_set_member_name(builder, "managers");
    json_builder_begin_array(builder);
    for (guint i = 0; inventory->managers && i < inventory->managers->len; i++)
        add_manager(builder, &g_array_index(inventory->managers, struct vdt_vdpa_entry, i));
    json_builder_end_array(builder);
    json_builder_set_member_name(builder, "unread");
    json_builder_begin_array(builder);
    for (guint i = 0; i < inventory->unread->len; i++)
        json_builder_add_string_value(builder, inventory->unread->pdata[i]);
    json_builder_end_array(builder);
    json_builder_end_object(builder);
    return json_builder_get_root(builder);
}
