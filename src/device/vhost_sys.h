/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Vhost sys: what a vhost-vdpa device asks of the kernel, as a table, so that tests can put a
 * kernel of their own behind it. Each call is the system call of its name: -1 with errno set.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct vdt_vhost_sys {
    int (*open)(const char *path); /* read and write, close-on-exec; a character device only */
    int (*close)(int fd);
    int (*ioctl)(int fd, unsigned long request, void *arg);
    ssize_t (*write)(int fd, const void *buf, size_t len);
    /* Who makes @path's device, as the kernel tells it ("mlx5_core", "vp-vdpa", "vdpasim_net");
     * NULL if it does not. @device_id: its virtio type. Caller frees. */
    char *(*driver)(const char *path, uint32_t device_id);
    /* Bytes that this process has pinned, and may pin (RLIMIT_MEMLOCK). False: not known. */
    bool (*memlock)(uint64_t *ret_pinned, uint64_t *ret_limit);
    /* Raise the soft limit to the hard one. False if that is no gain. */
    bool (*raise_memlock)(void);
    /* Pieces of contiguous physical memory that an address space may hold; 0: no limit is known. */
    uint64_t (*iotlb_entries)(void);
};

/* The one in force; the real one unless a test has put its own there before a device is opened. */
extern const struct vdt_vhost_sys *vdt_vhost_sys;
