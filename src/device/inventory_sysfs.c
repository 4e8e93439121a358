/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/virtio_ids.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "device/inventory_private.h"

#define NODE_PREFIX "vhost-vdpa-"
#define FIRST_PID_NAMESPACE "pid:[4026531836]" /* PROC_PID_INIT_INO, the same on every host */

char *
vdt_inventory_link(const char *path)
{
    g_autofree char *to = g_file_read_link(path, NULL);

    return to ? g_path_get_basename(to) : NULL;
}

static bool
is_plain(const char *name)
{
    return name[0] && name[0] != '.' && !strchr(name, '/');
}

char *
vdt_inventory_bus_driver(const struct vdt_inventory_roots *roots, const char *bus,
                         const char *device)
{
    if (!is_plain(bus) || !is_plain(device))
        return NULL;
    g_autofree char *path =
        g_build_filename(roots->sys, "bus", bus, "devices", device, "driver", NULL);
    return vdt_inventory_link(path);
}

/* The driver of the device whose folder is @path, and its name with its bus. A folder of sysfs that
 * is no device has neither. */
static char *
driver_in(const char *path, char **ret_name)
{
    g_autofree char *driver = g_build_filename(path, "driver", NULL);
    g_autofree char *subsystem = g_build_filename(path, "subsystem", NULL);
    g_autofree char *bus = vdt_inventory_link(subsystem);
    g_autofree char *base = g_path_get_basename(path);

    if (ret_name)
        *ret_name = bus ? g_strdup_printf("%s/%s", bus, base) : NULL;
    return vdt_inventory_link(driver);
}

/* The simulators make devices without a parent; their modules are there then. */
static char *
simulator(const struct vdt_inventory_roots *roots, uint32_t device_id)
{
    const char *name = device_id == VIRTIO_ID_NET     ? "net"
                       : device_id == VIRTIO_ID_BLOCK ? "blk"
                                                      : "";
    g_autofree char *module = g_strdup_printf("%s/module/vdpa_sim_%s", roots->sys, name);

    return g_file_test(module, G_FILE_TEST_IS_DIR) ? g_strdup_printf("vdpasim_%s", name) : NULL;
}

/* /sys/dev/char/M:N leads to .../PARENT/vdpa0/vhost-vdpa-0. The driver of vdpa0 is vhost_vdpa
 * itself.
 */
char *
vdt_inventory_name_of(const struct vdt_inventory_roots *roots, dev_t number, uint32_t device_id,
                      char **ret_driver)
{
    g_autofree char *link =
        g_strdup_printf("%s/dev/char/%u:%u", roots->sys, major(number), minor(number));
    g_autofree char *devices = g_build_filename(roots->sys, "devices", NULL);
    g_autofree char *top = realpath(devices, NULL);
    g_autofree char *node = realpath(link, NULL);

    *ret_driver = NULL;
    if (!node || !top)
        return NULL;
    g_autofree char *vdpa = g_path_get_dirname(node);
    g_autofree char *parent = g_path_get_dirname(vdpa);
    *ret_driver = g_str_equal(parent, top) ? simulator(roots, device_id) : driver_in(parent, NULL);
    return g_path_get_basename(vdpa);
}

/* --- one device --- */

static bool
read_number(const char *path, dev_t *ret_number)
{
    g_autofree char *text = NULL;
    unsigned major_number, minor_number;

    if (!g_file_get_contents(path, &text, NULL, NULL) ||
        sscanf(text, "%u:%u", &major_number, &minor_number) != 2)
        return false;
    *ret_number = makedev(major_number, minor_number);
    return true;
}

static char *
owner_text(const struct stat *st)
{
    struct passwd *user = getpwuid(st->st_uid);
    struct group *group = getgrgid(st->st_gid);
    g_autofree char *uid = g_strdup_printf("%u", st->st_uid);
    g_autofree char *gid = g_strdup_printf("%u", st->st_gid);

    return g_strdup_printf("%s:%s %04o", user ? user->pw_name : uid, group ? group->gr_name : gid,
                           st->st_mode & 07777u);
}

/* The node that sysfs names, if it is there and is that device. */
static void
look_at_node(const struct vdt_inventory_roots *roots, struct vdt_inventory *inventory,
             struct vdt_inventory_device *device, const char *folder)
{
    g_autofree char *base = g_path_get_basename(folder);
    g_autofree char *number = g_build_filename(folder, "dev", NULL);
    g_autofree char *node = g_build_filename(roots->dev, base, NULL);
    struct stat st;

    if (!read_number(number, &device->number)) {
        vdt_inventory_cannot(inventory, "%s: sysfs does not tell the number of its node", base);
        return;
    }
    if (stat(node, &st) < 0) {
        vdt_inventory_cannot(inventory, "%s: there is no %s: %s", device->name, node,
                             g_strerror(errno));
        return;
    }
    if (!S_ISCHR(st.st_mode) || st.st_rdev != device->number) {
        vdt_inventory_cannot(inventory, "%s: %s is not the node of that device", device->name,
                             node);
        return;
    }
    device->owner = owner_text(&st);
    device->may_open = faccessat(AT_FDCWD, node, R_OK | W_OK, AT_EACCESS) == 0;
    device->node = g_steal_pointer(&node);
}

static void
scan_device(const struct vdt_inventory_roots *roots, struct vdt_inventory *inventory,
            const char *name)
{
    g_autofree char *link = g_build_filename(roots->sys, "bus/vdpa/devices", name, NULL);
    g_autofree char *path = realpath(link, NULL);
    struct vdt_inventory_device *device;
    const char *entry;

    if (!path)
        return; /* it went away meanwhile */
    device = vdt_inventory_add(inventory, name);
    device->bound = driver_in(path, NULL);
    g_autofree char *parent = g_path_get_dirname(path);
    device->driver = driver_in(parent, &device->parent);
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    while (dir && (entry = g_dir_read_name(dir))) {
        if (!g_str_has_prefix(entry, NODE_PREFIX))
            continue;
        g_autofree char *folder = g_build_filename(path, entry, NULL);
        look_at_node(roots, inventory, device, folder);
        break;
    }
}

void
vdt_inventory_scan(const struct vdt_inventory_roots *roots, struct vdt_inventory *inventory)
{
    g_autofree char *path = g_build_filename(roots->sys, "bus/vdpa/devices", NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) dir = g_dir_open(path, 0, &error);
    const char *name;

    if (!dir) {
        if (g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            vdt_inventory_cannot(inventory,
                                 "there is no %s: the kernel's module vdpa is not loaded", path);
        else
            vdt_inventory_cannot(inventory, "%s", error->message);
        return;
    }
    while ((name = g_dir_read_name(dir)))
        scan_device(roots, inventory, name);
}

/* --- who has it open --- */

static struct vdt_inventory_device *
of_number(struct vdt_inventory *inventory, dev_t number)
{
    for (guint i = 0; i < inventory->devices->len; i++) {
        struct vdt_inventory_device *device = inventory->devices->pdata[i];

        if (device->number && device->number == number)
            return device;
    }
    return NULL;
}

static void
look_at_fd(const struct vdt_inventory_roots *roots, struct vdt_inventory *inventory,
           const char *pid, const char *path)
{
    g_autofree char *to = g_file_read_link(path, NULL);
    g_autofree char *base = to ? g_path_get_basename(to) : NULL;
    struct stat st;

    /* By name first: stat() of somebody's descriptor may be slow, on a network file system say. */
    if (!base || !g_str_has_prefix(base, NODE_PREFIX) || stat(path, &st) < 0 ||
        !S_ISCHR(st.st_mode))
        return;
    struct vdt_inventory_device *device = of_number(inventory, st.st_rdev);
    if (!device || device->use == VDT_USE_PROCESS)
        return;
    g_autofree char *comm = g_build_filename(roots->proc, pid, "comm", NULL);
    device->use = VDT_USE_PROCESS;
    device->pid = (pid_t) g_ascii_strtoll(pid, NULL, 10);
    if (!g_file_get_contents(comm, &device->program, NULL, NULL))
        return;
    g_strchomp(device->program);
    for (char *c = device->program; *c; c++)
        *c = g_ascii_isgraph(*c) ? *c : '?'; /* a process names itself as it likes */
}

/* False where another user's descriptors are not shown. */
static bool
look_at_process(const struct vdt_inventory_roots *roots, struct vdt_inventory *inventory,
                const char *pid)
{
    g_autofree char *path = g_build_filename(roots->proc, pid, "fd", NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GDir) dir = g_dir_open(path, 0, &error);
    const char *name;

    if (!dir)
        return !g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_ACCES);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *fd = g_build_filename(path, name, NULL);
        look_at_fd(roots, inventory, pid, fd);
    }
    return true;
}

static bool
in_first_pid_namespace(const struct vdt_inventory_roots *roots)
{
    g_autofree char *path = g_build_filename(roots->proc, "self/ns/pid", NULL);
    g_autofree char *namespace = g_file_read_link(path, NULL);

    return g_strcmp0(namespace, FIRST_PID_NAMESPACE) == 0;
}

void
vdt_inventory_find_users(const struct vdt_inventory_roots *roots, struct vdt_inventory *inventory)
{
    g_autoptr(GDir) dir = NULL;
    const char *pid;
    bool all;

    if (inventory->devices->len == 0)
        return;
    dir = g_dir_open(roots->proc, 0, NULL);
    all = dir && in_first_pid_namespace(roots);
    while (dir && (pid = g_dir_read_name(dir))) {
        if (g_ascii_isdigit(pid[0]) && !look_at_process(roots, inventory, pid))
            all = false;
    }
    if (all)
        return;
    for (guint i = 0; i < inventory->devices->len; i++) {
        struct vdt_inventory_device *device = inventory->devices->pdata[i];

        if (device->use == VDT_USE_FREE)
            device->use = VDT_USE_UNKNOWN;
    }
    vdt_inventory_cannot(inventory,
                         "who has a device open: only root, outside of containers, is shown all "
                         "processes");
}
