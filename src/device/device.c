/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/device.h"

#include <vdpa-tracker/error.h>

#include "device/sim.h"
#include "device/vhost_vdpa.h"

/* What the user may write before the colon. */
static const struct {
    const char *kind;
    struct vdt_device *(*open)(const char *spec, const char *arg, GError **error);
} kinds[] = {
    {"sim", vdt_sim_open},
    {"vhost-vdpa", vdt_vhost_vdpa_open},
};

struct vdt_device *
vdt_device_open(const char *spec, GError **error)
{
    const char *colon = strchr(spec, ':');
    size_t len = colon ? (size_t) (colon - spec) : strlen(spec);

    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (strlen(kinds[i].kind) != len || strncmp(kinds[i].kind, spec, len) != 0)
            continue;
        return kinds[i].open(spec, colon ? colon + 1 : "", error);
    }
    g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE,
                "cannot open device '%s': it begins with none of 'vhost-vdpa:' and 'sim:'%s", spec,
                g_str_has_prefix(spec, "/dev/vhost-vdpa-") ? "; vhost-vdpa: goes in front of a path"
                                                           : "");
    return NULL;
}

void
vdt_device_close(struct vdt_device *dev)
{
    if (!dev)
        return;
    if (dev->ops->set_status)
        dev->ops->set_status(dev, 0, NULL);
    dev->ops->close(dev);
}

bool
vdt_device_lacks(struct vdt_device *dev, const char *op, GError **error)
{
    g_set_error(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED, "device %s has no call '%s'",
                dev->info.name, op);
    return false;
}
