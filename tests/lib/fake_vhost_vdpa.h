/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fake vhost vdpa: drivers/vhost/vdpa.c as far as user space can tell (Linux 6.12), over any device
 * of ours. It is as silent as the kernel: what the parent driver refuses in a call without a result
 * is counted and answered with success.
 *
 * A path is "sim:OPTIONS": a simulator of its own at each open; or what fake_vhost_put() put there:
 * one device, one owner at a time, reset and unmapped when it is closed.
 */
#pragma once

#include "device/device.h"
#include "device/vhost_sys.h"

/* The kernel, and what its parent driver is like. Set before a device is opened. */
struct fake_vhost_kernel {
    const char *driver;                         /* as sysfs has it; NULL: not told */
    const char *(*driver_of)(const char *path); /* instead, if not NULL */
    uint64_t lacks;         /* backend features that this kernel does not offer */
    uint64_t takes_not;     /* offered, and refused when they are asked for */
    uint64_t memlock;       /* soft RLIMIT_MEMLOCK, 0: unlimited */
    uint64_t memlock_hard;  /* what raise_memlock() raises it to; 0: nothing to gain */
    uint64_t iotlb_entries; /* pages of an address space, each a piece of its own; 0: unlimited */
    int open_errno;         /* every open fails so */
    bool strict;            /* what the parent refuses silently ends the program */
    bool user_va;           /* private memory is skipped, nothing is pinned */
    bool no_groups;         /* GET_VRING_GROUP is EOPNOTSUPP */
    bool one_space;     /* one group and one address space, the ASID feature offered all the same */
    bool base_is_used;  /* GET_VRING_BASE answers with the used index */
    bool old;           /* no GET_GROUP_NUM, GET_AS_NUM */
    bool torn_config;   /* every other read of config space differs */
    bool iotlb_refuses; /* the IOMMU refuses every mapping */
    bool loses_driver_ok; /* the parent drops DRIVER_OK by itself at SUSPEND */
    uint32_t base_answer; /* GET_VRING_BASE answers that, if not 0 */
    uint64_t iova_last;   /* end of the IOVA range, 0: as the device has it */
};
extern struct fake_vhost_kernel fake_vhost;

/* What was seen. */
struct fake_vhost_seen {
    char calls[4096]; /* names of the calls in their order, a run once: "OPEN SET_OWNER ..." */
    unsigned silent;  /* refused by the parent, answered with success */
    char silent_text[256];
    unsigned disables; /* ENABLE 0 */
    unsigned updates, invalidates, batches;
    unsigned stale; /* vhost remembered a value that it then refused */
};
extern struct fake_vhost_seen fake_vhost_seen;

/* From here on vhost-vdpa: devices are this kernel's. Forgets what was seen and set. */
void fake_vhost_install(void);
/* A device under a path of its own; the kernel owns it until remove(). */
void fake_vhost_put(const char *path, struct vdt_device *dev);
void fake_vhost_remove_all(void);
/* What is behind an open vhost-vdpa: device. */
struct vdt_device *fake_vhost_parent(struct vdt_device *dev);
uint64_t fake_vhost_pinned(void); /* by this process, all devices */
