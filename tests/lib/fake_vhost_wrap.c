/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Linked in with --wrap=vdt_device_open: whatever a program opens as "sim:..." becomes a
 * vhost-vdpa: device on the fake kernel with that simulator behind it. So a program that is written
 * for sim: runs through src/device/vhost_vdpa*.c as it is. What only a simulator can tell is asked
 * of the one behind.
 */
#include <string.h>

#include "device/sim.h"
#include "lib/fake_vhost_vdpa.h"
#include "lib/shadow_rig.h"

struct vdt_device *__real_vdt_device_open(const char *spec, GError **error);
struct vdt_device *__wrap_vdt_device_open(const char *spec, GError **error);

static struct vdt_device_ops seen_through;

struct vdt_device *
vdt_test_sim(struct vdt_device *dev)
{
    return strcmp(dev->ops->kind, "vhost-vdpa") == 0 ? fake_vhost_parent(dev) : dev;
}

static JsonNode *
describe(struct vdt_device *dev)
{
    return vdt_sim_describe(fake_vhost_parent(dev));
}

static bool
read_net_state(struct vdt_device *dev, struct vdt_net_state *ret_state, GError **error)
{
    struct vdt_device *sim = fake_vhost_parent(dev);

    return sim->ops->read_net_state(sim, ret_state, error);
}

/* The row that takes away what the simulator cannot. */
static const char *
driver_of(const char *path)
{
    return strstr(path, "no-base") || strstr(path, "no-disable") ? "vp-vdpa"
           : strstr(path, "no-readdress")                        ? "ifcvf"
                                                                 : "vdpasim_net";
}

struct vdt_device *
__wrap_vdt_device_open(const char *spec, GError **error)
{
    static gsize installed;

    if (strcmp(spec, "sim") != 0 && !g_str_has_prefix(spec, "sim:"))
        return __real_vdt_device_open(spec, error);
    if (g_once_init_enter(&installed)) {
        fake_vhost_install();
        fake_vhost.driver_of = driver_of;
        fake_vhost.strict = true;
        g_once_init_leave(&installed, 1);
    }
    /* Options that are wrong are the simulator's to name. */
    struct vdt_sim_options options = {0};
    const char *colon = strchr(spec, ':');
    bool ok = vdt_sim_options_parse(&options, colon ? colon + 1 : "", error);
    vdt_sim_options_clear(&options);
    if (!ok)
        return NULL;
    g_autofree char *name = g_strdup_printf("vhost-vdpa:%s", spec);
    struct vdt_device *dev = __real_vdt_device_open(name, error);
    if (!dev)
        return NULL;
    seen_through = *dev->ops;
    seen_through.describe = describe;
    seen_through.read_net_state = read_net_state;
    dev->ops = &seen_through;
    return dev;
}
