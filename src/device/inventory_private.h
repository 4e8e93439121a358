/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the inventory share. */
#pragma once

#include "device/inventory.h"

/* The last part of what the link @path leads to; NULL if there is none. Caller frees. */
char *vdt_inventory_link(const char *path);
/* Driver of a device of a bus ("pci", "0000:00:02.0"); NULL if not told. Caller frees. */
char *vdt_inventory_bus_driver(const struct vdt_inventory_roots *roots, const char *bus,
                               const char *device);
/* The device of the vdpa bus behind a node: "vdpa0"; who makes it, as sysfs has it. NULL if not
 * told.
 */
char *vdt_inventory_name_of(const struct vdt_inventory_roots *roots, dev_t number,
                            uint32_t device_id, char **ret_driver);

/* Every device of the vdpa bus, without what netlink says. */
void vdt_inventory_scan(const struct vdt_inventory_roots *roots, struct vdt_inventory *inventory);
/* Who has which node open. */
void vdt_inventory_find_users(const struct vdt_inventory_roots *roots,
                              struct vdt_inventory *inventory);

void vdt_inventory_cannot(struct vdt_inventory *inventory, const char *format, ...)
    G_GNUC_PRINTF(2, 3);
struct vdt_inventory_device *vdt_inventory_add(struct vdt_inventory *inventory, const char *name);
