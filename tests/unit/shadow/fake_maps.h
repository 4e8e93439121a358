/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fake maps: a device that has an IOTLB and a config space, and fails when it is told to.
 */
#pragma once

#include <glib.h>
#include <string.h>

#include <vdpa-tracker/error.h>

#include "device/device.h"

#define FAKE_MAPS_MAX 16

struct fake_maps {
    struct vdt_device dev;
    struct {
        uint32_t asid;
        uint64_t iova, size;
        bool writable;
    } map[FAKE_MAPS_MAX];
    unsigned count, calls;
    unsigned fail_at; /* the map() call that fails, from 1 */
    uint8_t config[VDT_CONFIG_MAX];
    bool config_fails;
};

static inline bool
fake_map(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size, void *host,
         bool writable, GError **error)
{
    struct fake_maps *fake = (struct fake_maps *) dev;

    if (++fake->calls == fake->fail_at) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "no room in the IOTLB");
        return false;
    }
    g_assert(fake->count < FAKE_MAPS_MAX);
    fake->map[fake->count].asid = asid;
    fake->map[fake->count].iova = iova;
    fake->map[fake->count].size = size;
    fake->map[fake->count++].writable = writable;
    return true;
}

static inline bool
fake_unmap(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size, GError **error)
{
    struct fake_maps *fake = (struct fake_maps *) dev;

    for (unsigned i = 0; i < fake->count; i++) {
        if (fake->map[i].asid == asid && fake->map[i].iova == iova && fake->map[i].size == size) {
            fake->map[i] = fake->map[--fake->count];
            return true;
        }
    }
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "that was not mapped");
    return false;
}

static inline bool
fake_get_config(struct vdt_device *dev, uint32_t offset, void *buf, uint32_t len, GError **error)
{
    struct fake_maps *fake = (struct fake_maps *) dev;

    if (fake->config_fails) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "no config");
        return false;
    }
    memcpy(buf, fake->config + offset, len);
    return true;
}

static inline void
fake_maps_init(struct fake_maps *fake)
{
    static const struct vdt_device_ops ops = {
        .kind = "fake", .map = fake_map, .unmap = fake_unmap, .get_config = fake_get_config};

    memset(fake, 0, sizeof(*fake));
    fake->dev.ops = &ops;
    g_strlcpy(fake->dev.info.name, "fake", sizeof(fake->dev.info.name));
}
