/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The public face of a device. Opening and closing is src/device/device.c itself.
 */
#include <vdpa-tracker/device.h>

#include "device/device.h"
#include "library/json_text.h"
#include "shadow/negotiate.h"

const char *
vdt_device_get_name(const VdtDevice *device)
{
    return device->info.name;
}

const char *
vdt_device_get_driver(const VdtDevice *device)
{
    return device->info.driver;
}

uint32_t
vdt_device_get_type(const VdtDevice *device)
{
    return device->info.device_id;
}

uint64_t
vdt_device_get_features(const VdtDevice *device)
{
    return device->info.features;
}

unsigned
vdt_device_get_ring_count(const VdtDevice *device)
{
    return device->info.rings;
}

unsigned
vdt_device_get_ring_max(const VdtDevice *device)
{
    return device->info.ring_max;
}

unsigned
vdt_device_get_max_pairs(VdtDevice *device, GError **error)
{
    struct vdt_negotiation negotiation = {0};

    if (!vdt_negotiation_init(&negotiation, device, UINT64_MAX, error))
        return 0;
    return negotiation.device_max_pairs;
}

char *
vdt_device_json(VdtDevice *device)
{
    return vdt_json_text(vdt_device_describe(device));
}
