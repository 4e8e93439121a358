/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/vdpa-tracker/table.h"
#include "tools/vdpa-tracker/tracker_list.h"
#include "tools/vdpa-tracker/verb.h"

#include "device/inventory.h"
#include "device/vhost_driver.h"
#include "virtio/features.h"

#define WAIT_MS 1000u
#define KIND "vhost-vdpa:"
#define MANY (VDT_BIT(VIRTIO_NET_F_MQ) | VDT_BIT(VIRTIO_NET_F_RSS))

enum column { NODE, NAME, DRIVER, MGMT, MAC, PAIRS, RINGS, FEATURES, OWNER, COLUMNS };

struct row {
    char *cell[COLUMNS]; /* owned; NULL is "-"; as vdt_table_add() has them */
};

/* Those that decide where a guest can go; the others come with every device, or cost speed only. */
static const struct {
    unsigned bit;
    const char *word;
} words[] = {
    {VIRTIO_NET_F_CTRL_VQ, "cvq"},
    {VIRTIO_NET_F_CTRL_RX, "rx"},
    {VIRTIO_NET_F_CTRL_MAC_ADDR, "mac"},
    {VIRTIO_NET_F_CTRL_VLAN, "vlan"},
    {VIRTIO_NET_F_MQ, "mq"},
    {VIRTIO_NET_F_RSS, "rss"},
    {VIRTIO_NET_F_NOTF_COAL, "coal"},
    {VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, "offloads"},
    {VIRTIO_NET_F_GUEST_ANNOUNCE, "ann"},
    {VIRTIO_NET_F_MRG_RXBUF, "mrg"},
    {VIRTIO_NET_F_HOST_TSO4, "tso"},
};

static char *
short_features(uint32_t type, uint64_t features)
{
    g_autoptr(GString) text = g_string_new(NULL);

    for (unsigned i = 0; type == VIRTIO_ID_NET && i < G_N_ELEMENTS(words); i++) {
        if (features >> words[i].bit & 1)
            g_string_append_printf(text, "%s%s", text->len ? "," : "", words[i].word);
    }
    if (features & VDT_BIT(VIRTIO_F_RING_PACKED))
        g_string_append_printf(text, "%spacked", text->len ? "," : "");
    if (features & VDT_BIT(VIRTIO_F_IN_ORDER))
        g_string_append_printf(text, "%sin-order", text->len ? "," : "");
    return text->len ? g_strdup(text->str) : NULL;
}

static void
free_row(gpointer data)
{
    struct row *row = data;

    for (unsigned i = 0; i < COLUMNS; i++)
        g_free(row->cell[i]);
    g_free(row);
}

/* --- trackers --- */

static JsonObject *
device_of(const struct vdt_listed_tracker *tracker)
{
    JsonObject *status = tracker->status ? json_node_get_object(tracker->status) : NULL;
    JsonNode *device = status ? json_object_get_member(status, "device") : NULL;

    return device && JSON_NODE_HOLDS_OBJECT(device) ? json_node_get_object(device) : NULL;
}

static const char *
text_of(JsonObject *object, const char *member)
{
    return object ? json_object_get_string_member_with_default(object, member, NULL) : NULL;
}

/* A node may have several names. */
static bool
holds(const struct vdt_listed_tracker *tracker, const struct vdt_inventory_device *device)
{
    const char *spec = text_of(device_of(tracker), "name");
    struct stat st;

    return spec && device->node && g_str_has_prefix(spec, KIND) &&
           stat(spec + strlen(KIND), &st) == 0 && S_ISCHR(st.st_mode) &&
           st.st_rdev == device->number;
}

static const struct vdt_listed_tracker *
holder_of(const GPtrArray *trackers, const struct vdt_inventory_device *device)
{
    for (guint i = 0; i < trackers->len; i++) {
        if (holds(trackers->pdata[i], device))
            return trackers->pdata[i];
    }
    return NULL;
}

static bool
is_listed(const struct vdt_inventory *inventory, const struct vdt_listed_tracker *tracker)
{
    for (guint i = 0; i < inventory->devices->len; i++) {
        if (holds(tracker, inventory->devices->pdata[i]))
            return true;
    }
    return false;
}

static uint64_t
features_of(JsonObject *device)
{
    JsonNode *node = device ? json_object_get_member(device, "features") : NULL;
    JsonArray *names = node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
    uint64_t features = 0;

    for (guint i = 0; names && i < json_array_get_length(names); i++) {
        const char *name = json_node_get_string(json_array_get_element(names, i));
        int bit = name ? vdt_feature_from_name(VIRTIO_ID_NET, name) : -1;

        if (bit >= 0)
            features |= VDT_BIT(bit);
    }
    return features;
}

/* A tracker whose device is none of this host's list: the embedded one, as a rule. */
static struct row *
tracker_row(const struct vdt_listed_tracker *tracker)
{
    struct row *row = g_new0(struct row, 1);
    JsonObject *status = tracker->status ? json_node_get_object(tracker->status) : NULL;
    JsonObject *device = device_of(tracker);

    row->cell[OWNER] = g_strdup(tracker->name);
    if (!device)
        return row;
    row->cell[NODE] = g_strdup(text_of(device, "name"));
    row->cell[DRIVER] = g_strdup(text_of(device, "driver"));
    row->cell[MAC] = g_strdup(text_of(status, "mac"));
    gint64 rings = json_object_get_int_member_with_default(device, "rings", 0);
    row->cell[RINGS] =
        g_strdup_printf("%" G_GINT64_FORMAT "x%" G_GINT64_FORMAT, rings,
                        json_object_get_int_member_with_default(device, "ring_max", 0));
    gint64 type = json_object_get_int_member_with_default(device, "type", 0);
    uint64_t features = features_of(device);
    row->cell[FEATURES] = short_features((uint32_t) type, features);
    if (type == VIRTIO_ID_NET)
        row->cell[PAIRS] = g_strdup_printf("%" G_GINT64_FORMAT, features & MANY ? rings / 2 : 1);
    return row;
}

/* --- devices --- */

static char *
owner_of(const struct vdt_inventory_device *device, const struct vdt_listed_tracker *tracker)
{
    if (tracker)
        return g_strdup(tracker->name);
    switch (device->use) {
    case VDT_USE_PROCESS:
        return g_strdup_printf("%s(%d)", device->program ? device->program : "", device->pid);
    case VDT_USE_KERNEL:
        return g_strdup("virtio_vdpa");
    case VDT_USE_LIKELY:
        return g_strdup("busy");
    case VDT_USE_UNKNOWN:
        return g_strdup("?");
    case VDT_USE_FREE:
        break;
    }
    return NULL;
}

static struct row *
device_row(const struct vdt_inventory_device *device, const struct vdt_listed_tracker *tracker)
{
    struct row *row = g_new0(struct row, 1);
    const struct vdt_vdpa_entry *e = &device->entry;
    const struct vdt_vhost_driver *known = vdt_vhost_driver_find(device->driver);

    row->cell[NODE] = g_strdup(device->node);
    row->cell[NAME] = g_strdup(device->name);
    row->cell[DRIVER] = g_strdup(known->sysfs[0] ? known->name : device->driver);
    row->cell[MGMT] = g_strdup(device->manager);
    if (e->told & VDT_VDPA_MAC)
        row->cell[MAC] = g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", e->mac[0], e->mac[1],
                                         e->mac[2], e->mac[3], e->mac[4], e->mac[5]);
    if (e->told & VDT_VDPA_PAIRS)
        row->cell[PAIRS] = g_strdup_printf("%u", e->pairs);
    else if (e->told & VDT_VDPA_FEATURES && e->type == VIRTIO_ID_NET)
        row->cell[PAIRS] = g_strdup("1"); /* without MQ */
    if (e->told & VDT_VDPA_RINGS && e->told & VDT_VDPA_RING_MAX)
        row->cell[RINGS] = g_strdup_printf("%ux%u", e->rings, e->ring_max);
    if (e->told & VDT_VDPA_FEATURES)
        row->cell[FEATURES] = short_features(e->type, e->features);
    row->cell[OWNER] = owner_of(device, tracker);
    return row;
}

/* --- out --- */

static void
print_table(const GPtrArray *rows)
{
    static const char *const heads[COLUMNS] = {"NODE",  "NAME",  "DRIVER",   "MGMT", "MAC",
                                               "PAIRS", "RINGS", "FEATURES", "OWNER"};
    g_autoptr(GString) text = g_string_new(NULL);

    vdt_table_add(text, heads, COLUMNS, 0, rows);
    fputs(text->str, stdout);
}

static GPtrArray *
make_rows(const struct vdt_inventory *inventory, const GPtrArray *trackers)
{
    GPtrArray *rows = g_ptr_array_new_with_free_func(free_row);

    for (guint i = 0; i < inventory->devices->len; i++) {
        const struct vdt_inventory_device *device = inventory->devices->pdata[i];
        g_ptr_array_add(rows, device_row(device, holder_of(trackers, device)));
    }
    for (guint i = 0; i < trackers->len; i++) {
        if (!is_listed(inventory, trackers->pdata[i]))
            g_ptr_array_add(rows, tracker_row(trackers->pdata[i]));
    }
    return rows;
}

static JsonNode *
tracker_json(const struct vdt_inventory *inventory, const struct vdt_listed_tracker *tracker)
{
    JsonObject *object = json_object_new();
    JsonObject *status = tracker->status ? json_node_get_object(tracker->status) : NULL;
    const char *held = NULL;

    for (guint i = 0; i < inventory->devices->len; i++) {
        const struct vdt_inventory_device *device = inventory->devices->pdata[i];
        if (holds(tracker, device))
            held = device->name;
    }
    json_object_set_string_member(object, "name", tracker->name);
    json_object_set_string_member(object, "device", text_of(device_of(tracker), "name"));
    json_object_set_string_member(object, "vdpa", held);
    json_object_set_string_member(object, "driver", text_of(device_of(tracker), "driver"));
    json_object_set_string_member(object, "mode", text_of(status, "mode"));
    json_object_set_string_member(object, "phase", text_of(status, "phase"));
    json_object_set_string_member(object, "mac", text_of(status, "mac"));
    json_object_set_string_member(object, "failure", tracker->failure);
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(node, object);
    return node;
}

static JsonNode *
to_json(const struct vdt_inventory *inventory, const GPtrArray *trackers)
{
    JsonNode *node = vdt_inventory_to_json(inventory);
    JsonArray *array = json_array_new();

    for (guint i = 0; i < trackers->len; i++)
        json_array_add_element(array, tracker_json(inventory, trackers->pdata[i]));
    json_object_set_array_member(json_node_get_object(node), "trackers", array);
    return node;
}

int
vdt_verb_list(const struct vdt_verb *verb, int argc, char **argv)
{
    gboolean json = FALSE;
    const GOptionEntry entries[] = {
        {"json", 'j', 0, G_OPTION_ARG_NONE, &json, "As JSON", NULL},
        {NULL},
    };
    g_autoptr(GError) error = NULL;
    int exit_code;

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 0, 0, &exit_code))
        return exit_code;
    VDT_AUTO(inventory) inventory = vdt_inventory_new(&vdt_inventory_host);
    g_autoptr(GPtrArray) trackers = vdt_tracker_list(NULL, WAIT_MS, &error);
    if (!trackers) {
        trackers = g_ptr_array_new();
        g_ptr_array_add(inventory->unread, g_strdup_printf("trackers: %s", error->message));
    }
    if (json) {
        vdt_print_json(to_json(inventory, trackers));
        return VDT_EXIT_DONE;
    }
    g_autoptr(GPtrArray) rows = make_rows(inventory, trackers);
    print_table(rows);
    fflush(stdout);
    for (guint i = 0; i < inventory->unread->len; i++)
        fprintf(stderr, "not read: %s\n", (const char *) inventory->unread->pdata[i]);
    for (guint i = 0; i < trackers->len; i++) {
        const struct vdt_listed_tracker *tracker = trackers->pdata[i];
        if (tracker->failure)
            fprintf(stderr, "not read: tracker %s: %s\n", tracker->name, tracker->failure);
    }
    return VDT_EXIT_DONE;
}
