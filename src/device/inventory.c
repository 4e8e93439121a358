/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/inventory.h"

#include <string.h>

#include "device/inventory_private.h"

const struct vdt_inventory_roots vdt_inventory_host = {"/sys", "/dev", "/proc", NULL};

static void
free_device(gpointer data)
{
    struct vdt_inventory_device *device = data;

    g_free(device->name);
    g_free(device->node);
    g_free(device->bound);
    g_free(device->parent);
    g_free(device->driver);
    g_free(device->manager);
    g_free(device->owner);
    g_free(device->program);
    g_free(device);
}

void
vdt_inventory_free(struct vdt_inventory *inventory)
{
    if (!inventory)
        return;
    g_ptr_array_unref(inventory->devices);
    g_ptr_array_unref(inventory->unread);
    g_clear_pointer(&inventory->managers, g_array_unref);
    g_free(inventory);
}

void
vdt_inventory_cannot(struct vdt_inventory *inventory, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_ptr_array_add(inventory->unread, g_strdup_vprintf(format, args));
    va_end(args);
}

struct vdt_inventory_device *
vdt_inventory_add(struct vdt_inventory *inventory, const char *name)
{
    struct vdt_inventory_device *device = g_new0(struct vdt_inventory_device, 1);

    device->name = g_strdup(name);
    g_ptr_array_add(inventory->devices, device);
    return device;
}

const char *
vdt_inventory_use_name(enum vdt_inventory_use use)
{
    static const char *const names[] = {
        [VDT_USE_FREE] = "free",     [VDT_USE_PROCESS] = "process", [VDT_USE_KERNEL] = "kernel",
        [VDT_USE_LIKELY] = "likely", [VDT_USE_UNKNOWN] = "unknown",
    };

    return names[use];
}

/* Of a device's management device. Without a bus it is the driver's own and bears its name. */
static char *
manager_driver(const struct vdt_inventory_roots *roots, const struct vdt_vdpa_entry *entry)
{
    if (!(entry->told & VDT_VDPA_MGMT))
        return NULL;
    if (entry->told & VDT_VDPA_BUS)
        return vdt_inventory_bus_driver(roots, entry->bus, entry->mgmt);
    return g_strdup(entry->mgmt);
}

char *
vdt_inventory_driver(const struct vdt_inventory_roots *roots, dev_t number, uint32_t device_id)
{
    g_autofree char *by_sysfs = NULL;
    g_autofree char *name = vdt_inventory_name_of(roots, number, device_id, &by_sysfs);
    VDT_AUTO(vdpa_netlink) netlink = name ? vdt_vdpa_netlink_new(roots->link, NULL) : NULL;
    struct vdt_vdpa_entry entry = {0};
    char *driver = netlink && vdt_vdpa_netlink_device(netlink, name, &entry, NULL)
                       ? manager_driver(roots, &entry)
                       : NULL;

    return driver ? driver : g_steal_pointer(&by_sysfs);
}

static struct vdt_inventory_device *
find(struct vdt_inventory *inventory, const char *name)
{
    for (guint i = 0; i < inventory->devices->len; i++) {
        struct vdt_inventory_device *device = inventory->devices->pdata[i];

        if (strcmp(device->name, name) == 0)
            return device;
    }
    return NULL;
}

/* The config's own fields on top of the device's. */
static void
merge(struct vdt_vdpa_entry *to, const struct vdt_vdpa_entry *config)
{
    memcpy(to->mac, config->mac, sizeof to->mac);
    to->link = config->link;
    to->pairs = config->pairs;
    to->mtu = config->mtu;
    to->negotiated = config->negotiated;
    to->features = config->features;
    to->told |= config->told & (VDT_VDPA_MAC | VDT_VDPA_LINK | VDT_VDPA_PAIRS | VDT_VDPA_MTU |
                                VDT_VDPA_NEGOTIATED | VDT_VDPA_FEATURES);
}

static void
take_told(const struct vdt_inventory_roots *roots, struct vdt_inventory *inventory,
          struct vdt_vdpa_netlink *netlink, const struct vdt_vdpa_entry *entry)
{
    struct vdt_inventory_device *device = find(inventory, entry->name);
    struct vdt_vdpa_entry config = {0};
    g_autoptr(GError) error = NULL;

    if (!device)
        device = vdt_inventory_add(inventory, entry->name);
    device->entry = *entry;
    if (entry->told & VDT_VDPA_MGMT)
        device->manager = entry->told & VDT_VDPA_BUS
                              ? g_strdup_printf("%s/%s", entry->bus, entry->mgmt)
                              : g_strdup(entry->mgmt);
    char *driver = manager_driver(roots, entry);
    if (driver) {
        g_free(device->driver);
        device->driver = driver;
    }
    if (vdt_vdpa_netlink_config(netlink, entry->name, &config, &error))
        merge(&device->entry, &config);
    else
        vdt_inventory_cannot(inventory, "%s", error->message);
}

static void
ask_kernel(const struct vdt_inventory_roots *roots, struct vdt_inventory *inventory)
{
    g_autoptr(GError) error = NULL;
    VDT_AUTO(vdpa_netlink) netlink = vdt_vdpa_netlink_new(roots->link, &error);
    g_autoptr(GArray) devices = NULL;

    if (!netlink) {
        vdt_inventory_cannot(inventory, "%s", error->message);
        return;
    }
    inventory->managers = vdt_vdpa_netlink_managers(netlink, &error);
    if (!inventory->managers)
        vdt_inventory_cannot(inventory, "%s", error->message);
    g_clear_error(&error);
    devices = vdt_vdpa_netlink_devices(netlink, &error);
    if (!devices)
        vdt_inventory_cannot(inventory, "%s", error->message);
    for (guint i = 0; devices && i < devices->len; i++) {
        const struct vdt_vdpa_entry *entry = &g_array_index(devices, struct vdt_vdpa_entry, i);

        if (entry->told & VDT_VDPA_NAME)
            take_told(roots, inventory, netlink, entry);
    }
}

/* Where nobody was seen with the node open, what the device says. */
static void
judge_use(struct vdt_inventory_device *device)
{
    if (device->use == VDT_USE_PROCESS)
        return;
    if (g_strcmp0(device->bound, "virtio_vdpa") == 0)
        device->use = VDT_USE_KERNEL;
    else if (device->use == VDT_USE_UNKNOWN && device->entry.told & VDT_VDPA_NEGOTIATED)
        device->use = VDT_USE_LIKELY;
}

static int
by_node(gconstpointer a, gconstpointer b)
{
    const struct vdt_inventory_device *x = *(struct vdt_inventory_device *const *) a;
    const struct vdt_inventory_device *y = *(struct vdt_inventory_device *const *) b;

    if (!x->node != !y->node)
        return x->node ? -1 : 1;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return strcmp(x->name, y->name);
}

struct vdt_inventory *
vdt_inventory_new(const struct vdt_inventory_roots *roots)
{
    struct vdt_inventory *inventory = g_new0(struct vdt_inventory, 1);

    inventory->devices = g_ptr_array_new_with_free_func(free_device);
    inventory->unread = g_ptr_array_new_with_free_func(g_free);
    vdt_inventory_scan(roots, inventory);
    ask_kernel(roots, inventory);
    vdt_inventory_find_users(roots, inventory);
    for (guint i = 0; i < inventory->devices->len; i++)
        judge_use(inventory->devices->pdata[i]);
    g_ptr_array_sort(inventory->devices, by_node);
    return inventory;
}
