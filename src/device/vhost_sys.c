/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/vhost_sys.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fd.h"

/* Opening something else for writing, a FIFO say, may block or have effects. */
static int
open_node(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return -1;
    if (!S_ISCHR(st.st_mode)) {
        errno = ENOTTY;
        return -1;
    }
    return open(path, O_RDWR | O_CLOEXEC);
}

static int
call_ioctl(int fd, unsigned long request, void *arg)
{
    return ioctl(fd, request, arg);
}

/* The last part of what the link @path leads to. */
static char *
link_name(const char *path)
{
    g_autofree char *to = g_file_read_link(path, NULL);

    return to ? g_path_get_basename(to) : NULL;
}

/* The simulators make devices without a parent; their modules are there then. */
static char *
simulator(const char *sysfs, uint32_t device_id)
{
    const char *name = device_id == VIRTIO_ID_NET     ? "net"
                       : device_id == VIRTIO_ID_BLOCK ? "blk"
                                                      : "";
    g_autofree char *module = g_strdup_printf("%s/module/vdpa_sim_%s", sysfs, name);

    return g_file_test(module, G_FILE_TEST_IS_DIR) ? g_strdup_printf("vdpasim_%s", name) : NULL;
}

/*
 * /sys/dev/char/M:N leads to .../PARENT/vdpa0/vhost-vdpa-0. The driver of vdpa0 is vhost_vdpa
 * itself; who makes the device is PARENT's driver, or PARENT where that is a bare device without
 * one.
 */
char *
vdt_vhost_sysfs_driver(const char *sysfs, dev_t number, uint32_t device_id)
{
    g_autofree char *link =
        g_strdup_printf("%s/dev/char/%u:%u", sysfs, major(number), minor(number));
    g_autofree char *devices = g_build_filename(sysfs, "devices", NULL);
    g_autofree char *root = realpath(devices, NULL);
    g_autofree char *node = realpath(link, NULL);

    if (!node || !root)
        return NULL;
    g_autofree char *vdpa = g_path_get_dirname(node);
    g_autofree char *parent = g_path_get_dirname(vdpa);
    if (g_str_equal(parent, root))
        return simulator(sysfs, device_id);
    g_autofree char *driver = g_build_filename(parent, "driver", NULL);
    char *name = link_name(driver);

    return name ? name : g_path_get_basename(parent);
}

static char *
node_driver(const char *path, uint32_t device_id)
{
    struct stat st;

    return stat(path, &st) == 0 ? vdt_vhost_sysfs_driver("/sys", st.st_rdev, device_id) : NULL;
}

/* VmPin of this process is the very count that vhost compares with the limit. */
static bool
read_memlock(uint64_t *ret_pinned, uint64_t *ret_limit)
{
    g_autofree char *status = NULL;
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0 ||
        !g_file_get_contents("/proc/self/status", &status, NULL, NULL))
        return false;
    const char *line = strstr(status, "\nVmPin:");
    *ret_pinned = line ? 1024 * g_ascii_strtoull(line + strlen("\nVmPin:"), NULL, 10) : 0;
    *ret_limit = limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
    return line != NULL;
}

static bool
raise_memlock(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
        return false;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_MEMLOCK, &limit) == 0;
}

static const struct vdt_vhost_sys real = {
    .open = open_node,
    .close = close,
    .ioctl = call_ioctl,
    .write = write,
    .driver = node_driver,
    .memlock = read_memlock,
    .raise_memlock = raise_memlock,
};

const struct vdt_vhost_sys *vdt_vhost_sys = &real;
