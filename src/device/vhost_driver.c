/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/vhost_driver.h"

#include <glib.h>
#include <string.h>

/* Read in the drivers' sources (Linux 6.12). What is not listed is the careful answer. */
static const struct vdt_vhost_driver rows[] = {
    {
        .name = "vdpa_sim_net",
        .sysfs = {"vdpasim_net"},
        .base = VDT_VHOST_BASE_AVAIL,
        .set_base = true,
        .readdress = true,
        .disable = true,
        .passthrough = true,
        .user_va = true,
        .keeps_mac = true,
    },
    {
        .name = "vdpa_sim_blk",
        .sysfs = {"vdpasim_blk"},
        .base = VDT_VHOST_BASE_AVAIL,
        .set_base = true,
        .readdress = true,
        .disable = true,
        .passthrough = true,
        .user_va = true,
    },
    {
        .name = "vp_vdpa",
        .sysfs = {"vp-vdpa", "vp_vdpa"},
    },
    {
        .name = "mlx5_core",
        .sysfs = {"mlx5_core", "mlx5_vdpa"},
        .base = VDT_VHOST_BASE_USED,
        .set_base = true,
        .disable = true,
    },
    {
        .name = "ifcvf",
        .sysfs = {"ifcvf"},
        .set_base = true,
        .disable = true,
    },
    {
        .name = "snet",
        .sysfs = {"snet-vdpa-driver"},
    },
    {
        .name = "pds_vdpa",
        .sysfs = {"pds_vdpa", "pds_core"},
    },
    {
        .name = "octep_vdpa",
        .sysfs = {"octep_vdpa"},
    },
    {
        .name = "vduse",
        .sysfs = {"vduse"},
        .user_va = true,
    },
    {
        .name = "any other",
        .user_va = true,
    },
};

/* "mlx5_vdpa.vnet" is mlx5_vdpa's driver for devices of the auxiliary bus. */
static bool
is_called(const struct vdt_vhost_driver *row, const char *sysfs)
{
    size_t len = strcspn(sysfs, ".");

    for (unsigned i = 0; i < G_N_ELEMENTS(row->sysfs) && row->sysfs[i]; i++) {
        if (strlen(row->sysfs[i]) == len && strncmp(row->sysfs[i], sysfs, len) == 0)
            return true;
    }
    return false;
}

const struct vdt_vhost_driver *
vdt_vhost_driver_find(const char *sysfs)
{
    unsigned last = G_N_ELEMENTS(rows) - 1;

    for (unsigned i = 0; sysfs && i < last; i++) {
        if (is_called(&rows[i], sysfs))
            return &rows[i];
    }
    return &rows[last];
}

const struct vdt_vhost_driver *
vdt_vhost_driver_at(unsigned i)
{
    return i < G_N_ELEMENTS(rows) ? &rows[i] : NULL;
}
