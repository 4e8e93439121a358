/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Vhost driver: what is known of the kernel drivers behind /dev/vhost-vdpa-N and cannot be asked
 * for. A row here is a row of docs/devices.md, and a test holds the two together.
 */
#pragma once

#include <stdbool.h>

/* What GET_VRING_BASE answers after SUSPEND. */
enum vdt_vhost_base {
    VDT_VHOST_BASE_NONE,  /* nothing, or not known */
    VDT_VHOST_BASE_AVAIL, /* where the device goes on fetching */
    VDT_VHOST_BASE_USED,  /* where it goes on giving back: what it has in flight is not told */
};

struct vdt_vhost_driver {
    const char *name;     /* of the row */
    const char *sysfs[3]; /* as the kernel calls it; a driver of an auxiliary bus up to its first dot */
    enum vdt_vhost_base base;
    bool set_base;    /* SET_VRING_BASE takes any position, not just the initial one */
    bool readdress;   /* SET_VRING_ADDR while suspended, taken over by ENABLE 0, 1 */
    bool disable;     /* ENABLE 0 is no error */
    bool passthrough; /* --shadow auto may let it work on the guest's own rings */
    bool user_va;   /* it may reach memory by user address: anything but shared files is skipped */
    bool keeps_mac; /* a MAC address that was set outlives close and reset */
};

/* The row for what the kernel said (may be NULL). Never NULL: the last row is for every other one. */
const struct vdt_vhost_driver *vdt_vhost_driver_find(const char *sysfs);

/* The rows, for the test that compares them with the documentation. NULL behind the last one. */
const struct vdt_vhost_driver *vdt_vhost_driver_at(unsigned i);
