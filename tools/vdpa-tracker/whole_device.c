/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/whole_device.h"

#include "control/command.h"
#include "migration/admit.h"
#include "shadow/negotiate.h"
#include "virtio/features.h"

struct vdt_snapshot *
vdt_whole_device(struct vdt_device *dev, GError **error)
{
    VDT_AUTO(snapshot) snapshot = vdt_snapshot_new();
    struct vdt_negotiation n = {0};

    if (!vdt_negotiation_init(&n, dev, vdt_command_features_known(dev->info.features), error) ||
        !vdt_admit_read_config(dev, snapshot->config, &snapshot->config_len, error))
        return NULL;
    snapshot->device_id = dev->info.device_id;
    g_free(snapshot->device);
    snapshot->device = g_strdup(dev->info.name);
    g_free(snapshot->driver);
    snapshot->driver = g_strdup(dev->info.driver);
    snapshot->device_features = dev->info.features;
    snapshot->offered_features = n.offered;
    snapshot->guest_features = n.offered;
    snapshot->negotiated_features = n.offered;
    snapshot->packed = n.offered & VDT_BIT(VIRTIO_F_RING_PACKED);
    snapshot->ring_count = MIN(dev->info.rings, VDT_RINGS_MAX);
    snapshot->cvq_index = n.offered & VDT_BIT(VIRTIO_NET_F_CTRL_VQ)
                              ? (int32_t) vdt_net_cvq_index(n.offered, n.device_max_pairs)
                              : -1;
    for (uint32_t i = 0; i < snapshot->ring_count; i++)
        snapshot->rings[i].num = dev->info.ring_max;
    return g_steal_pointer(&snapshot);
}
