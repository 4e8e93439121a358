/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bench/null_device.h"

#include <string.h>

#include "virtio/features.h"

struct null_device {
    struct vdt_device device;
    uint8_t status;
    uint16_t held;
};

static void
null_close(struct vdt_device *dev)
{
    g_free(dev);
}

static bool
set_features(struct vdt_device *dev, uint64_t features, GError **error)
{
    return true;
}

static bool
set_status(struct vdt_device *dev, uint8_t status, GError **error)
{
    ((struct null_device *) dev)->status = status;
    return true;
}

static bool
get_status(struct vdt_device *dev, uint8_t *ret_status, GError **error)
{
    *ret_status = ((struct null_device *) dev)->status;
    return true;
}

static bool
map(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size, void *host, bool writable,
    GError **error)
{
    return true;
}

static bool
unmap(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size, GError **error)
{
    return true;
}

static bool
get_group(struct vdt_device *dev, uint32_t ring, uint32_t *ret_group, GError **error)
{
    *ret_group = 0;
    return true;
}

static bool
set_group_asid(struct vdt_device *dev, uint32_t group, uint32_t asid, GError **error)
{
    return true;
}

static bool
set_num(struct vdt_device *dev, uint32_t ring, uint16_t num, GError **error)
{
    return true;
}

static bool
set_base(struct vdt_device *dev, uint32_t ring, struct vdt_ring_pos pos, GError **error)
{
    return true;
}

static bool
get_base(struct vdt_device *dev, uint32_t ring, struct vdt_ring_pos *ret_pos, GError **error)
{
    *ret_pos = (struct vdt_ring_pos){.avail = ((struct null_device *) dev)->held};
    return true;
}

static bool
set_addr(struct vdt_device *dev, uint32_t ring, const struct vdt_ring_addr *addr, GError **error)
{
    return true;
}

static bool
set_event(struct vdt_device *dev, uint32_t ring, int fd, GError **error)
{
    return true;
}

static bool
set_enable(struct vdt_device *dev, uint32_t ring, bool enable, GError **error)
{
    return true;
}

static bool
stay(struct vdt_device *dev, GError **error)
{
    return true;
}

static bool
get_config(struct vdt_device *dev, uint32_t offset, void *buf, uint32_t len, GError **error)
{
    memset(buf, 0, len);
    return true;
}

static const struct vdt_device_ops ops = {.kind = "null",
                                          .close = null_close,
                                          .set_features = set_features,
                                          .set_status = set_status,
                                          .get_status = get_status,
                                          .map = map,
                                          .unmap = unmap,
                                          .get_group = get_group,
                                          .set_group_asid = set_group_asid,
                                          .set_num = set_num,
                                          .set_base = set_base,
                                          .get_base = get_base,
                                          .set_addr = set_addr,
                                          .set_kick = set_event,
                                          .set_call = set_event,
                                          .set_enable = set_enable,
                                          .suspend = stay,
                                          .resume = stay,
                                          .get_config = get_config};

struct vdt_device *
null_device_new(uint32_t rings, uint16_t held)
{
    struct null_device *null = g_new0(struct null_device, 1);

    null->held = held;
    null->device.ops = &ops;
    null->device.info = (struct vdt_device_info){
        .name = "null:",
        .driver = "null",
        .device_id = VIRTIO_ID_NET,
        .features = VDT_BIT(VIRTIO_F_VERSION_1) | VDT_BIT(VIRTIO_F_ACCESS_PLATFORM),
        .rings = rings,
        .ring_max = 256,
        .iova_last = (1ull << 47) - 1,
        .groups = 1,
        .asids = 1,
        .suspend = true,
        .resume = true,
        .ring_state = true,
        .set_base = true,
        .enable_after_driver_ok = true,
        .readdress = true,
        .passthrough = true,
        .disable = true,
        .maps_survive_reset = true,
    };
    return &null->device;
}
