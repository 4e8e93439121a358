/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inventory: the vDPA devices of this host, as far as the kernel tells without opening one: its
 * vdpa netlink family, joined with sysfs, /dev and who has a node open. What could not be read is
 * said in words, and never fails the whole.
 *
 *   inventory.c        the join, and who drives a device
 *   inventory_sysfs.c  sysfs, /dev, /proc
 *   inventory_json.c   all of it as JSON
 *
 * Thread: any one; blocks, for seconds at most.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/auto.h"
#include "device/vdpa_netlink.h"

/* Where the kernel is met. Tests put a folder or recorded bytes there. */
struct vdt_inventory_roots {
    const char *sys, *dev, *proc;
    const struct vdt_vdpa_link *link; /* NULL: the kernel's netlink */
};
extern const struct vdt_inventory_roots vdt_inventory_host;

enum vdt_inventory_use {
    VDT_USE_FREE,    /* nobody has it open */
    VDT_USE_PROCESS, /* @pid has the node open */
    VDT_USE_KERNEL,  /* virtio_vdpa: a NIC or disk of this host */
    VDT_USE_LIKELY,  /* a driver has negotiated features; who, is not to be seen */
    VDT_USE_UNKNOWN, /* not all processes can be looked at */
};

struct vdt_inventory_device {
    char *name;    /* owned, of all these: "vdpa0" */
    char *node;    /* "/dev/vhost-vdpa-0"; NULL without */
    char *bound;   /* its driver on the vdpa bus: "vhost_vdpa", "virtio_vdpa"; NULL: none */
    char *parent;  /* "pci/0000:00:02.0"; NULL: none in sysfs */
    char *driver;  /* who makes it: "vp-vdpa", "vdpasim_net"; NULL: not known */
    char *manager; /* its management device: "pci/0000:00:02.0", "vdpasim_net"; NULL: not told */
    char *owner;   /* of the node: "root:kvm 0660"; NULL without */
    dev_t number;  /* of the node, 0 without */
    bool may_open; /* this process may open the node */
    enum vdt_inventory_use use;
    pid_t pid;
    char *program;               /* of @pid */
    struct vdt_vdpa_entry entry; /* what netlink told, config included */
};

struct vdt_inventory {
    GPtrArray *devices; /* of struct vdt_inventory_device, by node, then name */
    GArray *managers;   /* of struct vdt_vdpa_entry; NULL where they were not told */
    GPtrArray *unread;  /* of char *: what could not be read, and why */
};

struct vdt_inventory *vdt_inventory_new(const struct vdt_inventory_roots *roots);
void vdt_inventory_free(struct vdt_inventory *inventory); /* accepts NULL */
VDT_DEFINE_AUTO(inventory, vdt_inventory_free)

/* Who makes the device behind the character device @number, of virtio type @device_id: its
 * management device, else the driver of its parent in sysfs, else the simulator whose module is
 * there for one without a parent. NULL if none of them tells. Caller frees. */
char *vdt_inventory_driver(const struct vdt_inventory_roots *roots, dev_t number,
                           uint32_t device_id);

/* Keys: vdpa-tracker-list(1). Caller frees. */
JsonNode *vdt_inventory_to_json(const struct vdt_inventory *inventory);

const char *vdt_inventory_use_name(enum vdt_inventory_use use);
