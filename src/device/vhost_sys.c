/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/vhost_sys.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device/inventory.h"

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

static char *
node_driver(const char *path, uint32_t device_id)
{
    struct stat st;

    return stat(path, &st) == 0 ? vdt_inventory_driver(&vdt_inventory_host, st.st_rdev, device_id)
                                : NULL;
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

/* Linux 6.12.117 and what came after it; a kernel without the parameter has no such limit. */
static uint64_t
read_iotlb_entries(void)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents("/sys/module/vhost_vdpa/parameters/max_iotlb_entries", &text, NULL,
                             NULL))
        return 0;
    return g_ascii_strtoull(text, NULL, 10);
}

static const struct vdt_vhost_sys real = {
    .open = open_node,
    .close = close,
    .ioctl = call_ioctl,
    .write = write,
    .driver = node_driver,
    .memlock = read_memlock,
    .raise_memlock = raise_memlock,
    .iotlb_entries = read_iotlb_entries,
};

const struct vdt_vhost_sys *vdt_vhost_sys = &real;
