/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The device's address spaces, written to as messages (struct vhost_msg_v2). Our own list of what
 * is mapped stands beside the kernel's: its removals take whole whatever they touch, its refusals
 * are EFAULT for each and every reason, and after a reset that dropped the device's maps it still
 * keeps its own list.
 */
#include <errno.h>
#include <vdpa-tracker/error.h>

#include "base/wire.h"
#include "device/vhost_vdpa.h"

/* 0, or the errno. */
static int
tell(struct vdt_vhost *vhost, uint8_t type, uint32_t asid, uint64_t iova, uint64_t size, void *host,
     uint8_t access)
{
    struct vhost_msg_v2 msg = {
        .type = VHOST_IOTLB_MSG_V2,
        .asid = asid,
        .iotlb =
            {
                .iova = iova,
                .size = size,
                .uaddr = (uint64_t) (uintptr_t) host,
                .perm = access,
                .type = type,
            },
    };

    ssize_t n = vhost->sys->write(vhost->fd, &msg, sizeof msg);
    return n == (ssize_t) sizeof msg ? 0 : n < 0 ? errno : EIO;
}

static struct vdt_vhost_map *
map_at(const struct vdt_vhost *vhost, unsigned i)
{
    return &g_array_index(vhost->maps, struct vdt_vhost_map, i);
}

/* The first mapping that does not end before @iova of @asid. */
static unsigned
find(const struct vdt_vhost *vhost, uint32_t asid, uint64_t iova)
{
    unsigned low = 0, high = vhost->maps->len;

    while (low < high) {
        unsigned mid = (low + high) / 2;
        const struct vdt_vhost_map *map = map_at(vhost, mid);

        if (map->asid < asid || (map->asid == asid && map->iova + (map->size - 1) < iova))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* The kernel takes the ASID of a message for 0 where the feature was not taken. */
static bool
check_asid(struct vdt_vhost *vhost, uint32_t asid, GError **error)
{
    if (asid >= vhost->dev.info.asids)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_INVALID, "has %u address space%s; %u is none",
                              vhost->dev.info.asids, vhost->dev.info.asids == 1 ? "" : "s", asid);
    if (vhost->batch >= 0 && vhost->batch != asid)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_INVALID,
                              "is in a batch for address space %" G_GINT64_FORMAT ", not %u",
                              vhost->batch, asid);
    return true;
}

static bool
check_place(struct vdt_vhost *vhost, uint32_t asid, uint64_t iova, uint64_t size, const void *host,
            uint64_t *ret_end, GError **error)
{
    const struct vdt_device_info *info = &vhost->dev.info;
    uint64_t part = vhost->page - 1;

    /* IOVA and address have to share their place in the page; ours are whole pages. */
    if (size == 0 || ((iova | size | (uintptr_t) host) & part) ||
        !vdt_range_end(iova, size - 1, ret_end))
        return vdt_vhost_fail(vhost, error, VDT_ERROR_INVALID,
                              "cannot map 0x%" G_GINT64_MODIFIER "x bytes at 0x%" G_GINT64_MODIFIER
                              "x: not whole pages",
                              size, iova);
    if (iova < info->iova_first || *ret_end > info->iova_last)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_INVALID,
                              "cannot map 0x%" G_GINT64_MODIFIER "x-0x%" G_GINT64_MODIFIER
                              "x: its addresses go from 0x%" G_GINT64_MODIFIER
                              "x to 0x%" G_GINT64_MODIFIER "x",
                              iova, *ret_end, info->iova_first, info->iova_last);
    unsigned at = find(vhost, asid, iova);
    if (at < vhost->maps->len && map_at(vhost, at)->asid == asid &&
        map_at(vhost, at)->iova <= *ret_end)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_INVALID,
                              "cannot map 0x%" G_GINT64_MODIFIER "x-0x%" G_GINT64_MODIFIER
                              "x: overlaps the mapping at 0x%" G_GINT64_MODIFIER "x",
                              iova, *ret_end, map_at(vhost, at)->iova);
    return true;
}

bool
vdt_vhost_map(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size, void *host,
              bool writable, GError **error)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);
    struct vdt_vhost_map map = {.asid = asid, .iova = iova, .size = size};
    uint8_t access = writable ? VHOST_ACCESS_RW : VHOST_ACCESS_RO;
    uint64_t end = 0, pinned, limit;

    if (!check_asid(vhost, asid, error) || !check_place(vhost, asid, iova, size, host, &end, error))
        return false;
    if (vhost->row->user_va && !vdt_vhost_memory_is_shared(host, size))
        return vdt_vhost_fail(vhost, error, VDT_ERROR_INVALID,
                              "cannot map 0x%" G_GINT64_MODIFIER "x-0x%" G_GINT64_MODIFIER
                              "x: it is not all shared memory of a file, and the driver %s would "
                              "leave the rest out without a word",
                              iova, end, dev->info.driver);
    int errnum = tell(vhost, VHOST_IOTLB_UPDATE, asid, iova, size, host, access);
    if (errnum && vdt_vhost_memory_beyond_limit(vhost, size, &pinned, &limit) &&
        vhost->sys->raise_memlock())
        errnum = tell(vhost, VHOST_IOTLB_UPDATE, asid, iova, size, host, access);
    if (errnum)
        return vdt_vhost_memory_refused(vhost, iova, size, host, errnum, error);
    g_array_insert_val(vhost->maps, find(vhost, asid, iova), map);
    return true;
}

bool
vdt_vhost_unmap(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size, GError **error)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);
    const struct vdt_vhost_map *map;

    if (!check_asid(vhost, asid, error))
        return false;
    unsigned at = find(vhost, asid, iova);
    map = at < vhost->maps->len ? map_at(vhost, at) : NULL;
    if (!map || map->asid != asid || map->iova != iova || map->size != size)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_INVALID,
                              "cannot unmap 0x%" G_GINT64_MODIFIER
                              "x bytes at 0x%" G_GINT64_MODIFIER "x: that was not mapped so",
                              size, iova);
    int errnum = tell(vhost, VHOST_IOTLB_INVALIDATE, asid, iova, size, NULL, 0);
    if (errnum)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_FAILED,
                              "cannot unmap 0x%" G_GINT64_MODIFIER
                              "x bytes at 0x%" G_GINT64_MODIFIER "x: %s; they stay pinned until it "
                              "is closed",
                              size, iova, g_strerror(errnum));
    g_array_remove_index(vhost->maps, at);
    return true;
}

/*
 * Drivers that rebuild their whole table at each change do it once, at the end. What that yields
 * the kernel does not pass on: a failure shows when the device is started. Without the feature each
 * message counts by itself.
 */
bool
vdt_vhost_batch(struct vdt_device *dev, uint32_t asid, bool begin, GError **error)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);

    if (asid >= dev->info.asids)
        return check_asid(vhost, asid, error);
    if (begin ? vhost->batch >= 0 : vhost->batch != asid)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_INVALID, "is %s a batch of mappings",
                              begin ? "already in" : "not in such");
    vhost->batch = begin ? (int64_t) asid : -1;
    if (!vdt_vhost_has(vhost, VHOST_BACKEND_F_IOTLB_BATCH))
        return true;
    int errnum =
        tell(vhost, begin ? VHOST_IOTLB_BATCH_BEGIN : VHOST_IOTLB_BATCH_END, asid, 0, 0, NULL, 0);
    if (errnum == 0)
        return true;
    vhost->batch = -1;
    return vdt_vhost_fail(vhost, error, VDT_ERROR_FAILED,
                          "cannot %s a batch of mappings of address space %u: %s",
                          begin ? "begin" : "end", asid, g_strerror(errnum));
}

bool
vdt_vhost_get_group(struct vdt_device *dev, uint32_t ring, uint32_t *ret_group, GError **error)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);
    struct vhost_vring_state state = {.index = ring};

    if (ring >= dev->info.rings)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_INVALID, "has %u rings; %u is none",
                              dev->info.rings, ring);
    if (!vdt_vhost_ioctl(vhost, error, VHOST_VDPA_GET_VRING_GROUP, &state,
                         "tell the group of ring %u", ring))
        return false;
    *ret_group = state.num;
    return true;
}

bool
vdt_vhost_set_group_asid(struct vdt_device *dev, uint32_t group, uint32_t asid, GError **error)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);
    struct vhost_vring_state state = {.index = group, .num = asid};

    if (group >= dev->info.groups || asid >= dev->info.asids)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_INVALID,
                              "has %u groups and %u address spaces; group %u cannot go into %u",
                              dev->info.groups, dev->info.asids, group, asid);
    /* Older kernels say yes to it and change the space under rings that run. */
    if (vhost->status & VIRTIO_CONFIG_S_DRIVER_OK)
        return vdt_vhost_fail(
            vhost, error, VDT_ERROR_BUSY,
            "is running; groups change their address space before DRIVER_OK only");
    return vdt_vhost_ioctl(vhost, error, VHOST_VDPA_SET_GROUP_ASID, &state,
                           "put group %u into address space %u", group, asid);
}
