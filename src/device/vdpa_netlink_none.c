/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* In place of vdpa_netlink.c in a build without libmnl. */
#include <vdpa-tracker/error.h>

#include "device/vdpa_netlink.h"

static bool
lacks(GError **error)
{
    g_set_error_literal(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                        "this build does not ask the kernel over netlink (it was made without "
                        "libmnl); what sysfs says is all");
    return false;
}

struct vdt_vdpa_netlink *
vdt_vdpa_netlink_new(const struct vdt_vdpa_link *link, GError **error)
{
    lacks(error);
    return NULL;
}

void
vdt_vdpa_netlink_free(struct vdt_vdpa_netlink *netlink)
{
}

GArray *
vdt_vdpa_netlink_managers(struct vdt_vdpa_netlink *netlink, GError **error)
{
    lacks(error);
    return NULL;
}

GArray *
vdt_vdpa_netlink_devices(struct vdt_vdpa_netlink *netlink, GError **error)
{
    lacks(error);
    return NULL;
}

bool
vdt_vdpa_netlink_device(struct vdt_vdpa_netlink *netlink, const char *name,
                        struct vdt_vdpa_entry *ret_entry, GError **error)
{
    return lacks(error);
}

bool
vdt_vdpa_netlink_config(struct vdt_vdpa_netlink *netlink, const char *name,
                        struct vdt_vdpa_entry *ret_entry, GError **error)
{
    return lacks(error);
}
