/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Exchange: another device takes the place of the one that runs.
 *
 * What takes long, mapping (and so pinning) all of guest memory, is done before anything stops:
 * prepare() brings the new device to FEATURES_OK with everything mapped. exchange() then switches
 * placements; that of the device which left stays as it is, so that going back maps nothing either.
 */
#include "shadow/shadow_private.h"

#include <vdpa-tracker/error.h>

#include "virtio/features.h"

#define STATUS_SETUP (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)

/* The control queue's address space: its own where the device really has one. The feature bit alone
 * proves nothing; asking for the group does. */
static uint32_t
separate_cvq(struct vdt_device *dev, int device_cvq)
{
    uint32_t cvq = (uint32_t) device_cvq, group, other;

    if (device_cvq < 0 || dev->info.asids < 2 || dev->info.groups < 2)
        return 0;
    if (!VDT_DEVICE_CALL(dev, get_group, NULL, cvq, &group))
        return 0;
    for (uint32_t i = 0; i < cvq; i++) {
        if (!VDT_DEVICE_CALL(dev, get_group, NULL, i, &other) || other == group)
            return 0;
    }
    return VDT_DEVICE_CALL(dev, set_group_asid, NULL, group, 1) ? 1 : 0;
}

static bool
negotiate(struct vdt_placement *place, uint64_t features, GError **error)
{
    struct vdt_device *dev = place->dev;
    uint8_t status;

    if (!vdt_placement_reset(place, error) ||
        !VDT_DEVICE_CALL(dev, set_status, error, STATUS_SETUP) ||
        !VDT_DEVICE_CALL(dev, set_features, error, features) ||
        !VDT_DEVICE_CALL(dev, set_status, error, STATUS_SETUP | VIRTIO_CONFIG_S_FEATURES_OK) ||
        !VDT_DEVICE_CALL(dev, get_status, error, &status))
        return false;
    if (!(status & VIRTIO_CONFIG_S_FEATURES_OK)) {
        g_autofree char *names = vdt_features_to_string(dev->info.device_id, features);
        g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                    "%s does not take these features together: %s", dev->info.name, names);
        return false;
    }
    return true;
}

bool
vdt_shadow_stage(struct vdt_shadow *s, struct vdt_placement *place, const struct vdt_negotiation *n,
                 GError **error)
{
    uint64_t need[VDT_ARENA_PARTS];

    if (!place->negotiated || place->features != n->device) {
        if (!negotiate(place, n->device, error))
            return false;
        place->cvq_asid = separate_cvq(place->dev, n->device_cvq);
        place->features = n->device;
        place->negotiated = true;
    }
    vdt_shadow_measure(s, n, need);
    return vdt_placement_provide(place, s->map, need, place->cvq_asid, error);
}

static bool
takes_rings(const struct vdt_shadow *s, const struct vdt_device *dev, GError **error)
{
    for (uint32_t i = 0; i < s->ring_count; i++) {
        if (vdt_shadow_ring_wanted(s, i) &&
            (i >= dev->info.rings || s->rings[i].num > dev->info.ring_max)) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                        "%s has %u rings of up to %u, the guest uses ring %u of %u; it does not "
                        "take the place",
                        dev->info.name, dev->info.rings, dev->info.ring_max, i, s->rings[i].num);
            return false;
        }
    }
    return true;
}

bool
vdt_shadow_prepare(struct vdt_shadow *s, struct vdt_device *dev, GError **error)
{
    struct vdt_negotiation n = s->negotiation;

    g_clear_pointer(&s->spare, vdt_placement_free);
    if (!takes_rings(s, dev, error) || !vdt_negotiation_move(&n, dev, s->options.drive, error))
        return false;
    VDT_AUTO(placement) place = vdt_placement_new(dev);
    if (s->features_set && !vdt_shadow_stage(s, place, &n, error)) {
        g_prefix_error(error, "%s cannot be made ready beside %s: ", dev->info.name,
                       s->dev->info.name);
        return false;
    }
    s->spare = g_steal_pointer(&place);
    return true;
}

/* What cannot be mapped now is mapped, or refused, when the device takes its place. */
void
vdt_shadow_spare_follows(struct vdt_shadow *s)
{
    if (s->spare && !vdt_placement_sync(s->spare, s->map, NULL))
        vdt_placement_unmap(s->spare);
}

void
vdt_shadow_discard(struct vdt_shadow *s, struct vdt_device *dev)
{
    if (s->spare && s->spare->dev == dev)
        g_clear_pointer(&s->spare, vdt_placement_free);
}

bool
vdt_shadow_exchange(struct vdt_shadow *s, struct vdt_device *dev, struct vdt_device **ret_old,
                    GError **error)
{
    if (s->mode != VDT_MODE_FROZEN && s->mode != VDT_MODE_STOPPED) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_BUSY,
                    "%s still runs: it has to be frozen before it is exchanged", s->dev->info.name);
        return false;
    }
    if (!takes_rings(s, dev, error) ||
        !vdt_negotiation_move(&s->negotiation, dev, s->options.drive, error))
        return false;
    vdt_shadow_end_rings(s);
    /* A device that is suspended may still read its kicks: those are the other one's now. */
    for (uint32_t i = 0; i < s->dev->info.rings; i++) {
        VDT_DEVICE_CALL(s->dev, set_kick, NULL, i, -1);
        VDT_DEVICE_CALL(s->dev, set_call, NULL, i, -1);
    }
    VDT_DEVICE_CALL(s->dev, set_config_call, NULL, -1);

    struct vdt_placement *next = g_steal_pointer(&s->spare);
    if (next && next->dev != dev)
        g_clear_pointer(&next, vdt_placement_free);
    s->spare = s->place;
    s->place = next ? next : vdt_placement_new(dev);
    *ret_old = s->dev;
    s->dev = dev;
    s->cold = true;
    s->suspended = false;
    return true;
}

void
vdt_shadow_renew(struct vdt_shadow *s)
{
    s->cold = true;
}
