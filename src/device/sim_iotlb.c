/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/sim.h"

#include <string.h>
#include <unistd.h>
#include <vdpa-tracker/error.h>

#include "base/wire.h"

static struct vdt_sim_map *
map_at(const GArray *space, unsigned i)
{
    return &g_array_index(space, struct vdt_sim_map, i);
}

/* First mapping that ends behind @iova; space->len when none does. */
static unsigned
find(const GArray *space, uint64_t iova)
{
    unsigned low = 0, high = space->len;

    while (low < high) {
        unsigned mid = (low + high) / 2;
        const struct vdt_sim_map *map = map_at(space, mid);

        if (map->iova + (map->size - 1) < iova)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static bool
check_asid(struct vdt_sim *sim, uint32_t asid, GError **error)
{
    if (asid >= sim->dev.info.asids)
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID, "has %u address spaces; %u is none",
                            sim->dev.info.asids, asid);
    if (sim->batch >= 0 && (uint32_t) sim->batch != asid)
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID,
                            "is in a batch for address space %d, not %u", sim->batch, asid);
    return true;
}

bool
vdt_sim_map(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size, void *host,
            bool writable, GError **error)
{
    uint64_t page = (uint64_t) sysconf(_SC_PAGESIZE) - 1, end;
    struct vdt_sim_map map = {iova, size, host, writable};
    VDT_SIM_LOCKED(dev);
    GArray *space;
    unsigned at;

    if (!check_asid(sim, asid, error))
        return false;
    if (!size || (iova & page) || (size & page) || ((uintptr_t) host & page) ||
        !vdt_range_end(iova, size - 1, &end))
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID,
                            "cannot map 0x%lx bytes at 0x%lx: not whole pages", (long) size,
                            (long) iova);
    if (iova < sim->options.iova_first || end > sim->options.iova_last)
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID,
                            "cannot map 0x%lx-0x%lx: outside its IOVA range", (long) iova,
                            (long) end);
    space = sim->space[asid];
    at = find(space, iova);
    if (at < space->len && map_at(space, at)->iova <= end)
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID,
                            "cannot map 0x%lx-0x%lx: overlaps the mapping at 0x%lx", (long) iova,
                            (long) end, (long) map_at(space, at)->iova);
    g_array_insert_val(space, at, map);
    sim->maps_generation++;
    return true;
}

bool
vdt_sim_unmap(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size, GError **error)
{
    VDT_SIM_LOCKED(dev);
    GArray *space;
    unsigned at;

    if (!check_asid(sim, asid, error))
        return false;
    space = sim->space[asid];
    at = find(space, iova);
    if (at == space->len || map_at(space, at)->iova != iova || map_at(space, at)->size != size)
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID,
                            "cannot unmap 0x%lx bytes at 0x%lx: that was not mapped so",
                            (long) size, (long) iova);
    g_array_remove_index(space, at);
    sim->maps_generation++;
    return true;
}

bool
vdt_sim_batch(struct vdt_device *dev, uint32_t asid, bool begin, GError **error)
{
    VDT_SIM_LOCKED(dev);

    if (asid >= sim->dev.info.asids)
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID, "has %u address spaces; %u is none",
                            sim->dev.info.asids, asid);
    if (begin ? sim->batch >= 0 : sim->batch != (int) asid)
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID, "is %s a batch of mappings",
                            begin ? "already in" : "not in such");
    sim->batch = begin ? (int) asid : -1;
    return true;
}

bool
vdt_sim_get_group(struct vdt_device *dev, uint32_t ring, uint32_t *ret_group, GError **error)
{
    VDT_SIM_LOCKED(dev);

    if (ring >= sim->dev.info.rings)
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID, "has %u rings; %u is none",
                            sim->dev.info.rings, ring);
    *ret_group = sim->dev.info.groups > 1 && ring == vdt_sim_cvq(sim);
    return true;
}

bool
vdt_sim_set_group_asid(struct vdt_device *dev, uint32_t group, uint32_t asid, GError **error)
{
    VDT_SIM_LOCKED(dev);

    if (sim->options.no_asid)
        return vdt_sim_fail(sim, error, VDT_ERROR_UNSUPPORTED,
                            "has one address space for all rings");
    if (group >= sim->dev.info.groups || asid >= sim->dev.info.asids)
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID,
                            "has %u groups and %u address spaces; group %u cannot go into %u",
                            sim->dev.info.groups, sim->dev.info.asids, group, asid);
    if (sim->status & VIRTIO_CONFIG_S_DRIVER_OK)
        return vdt_sim_fail(sim, error, VDT_ERROR_BUSY,
                            "is running; groups change their address space before DRIVER_OK only");
    sim->group_asid[group] = asid;
    sim->maps_generation++;
    return true;
}

uint32_t
vdt_sim_asid(const struct vdt_sim *sim, uint32_t ring)
{
    return sim->group_asid[sim->dev.info.groups > 1 && ring == vdt_sim_cvq(sim)];
}

void *
vdt_sim_dma_at(struct vdt_sim *sim, uint32_t asid, uint64_t iova, uint64_t len, bool write)
{
    const GArray *space = sim->space[asid];
    unsigned at = find(space, iova);
    uint8_t *host, *expected;
    uint64_t have;

    if (!len || at == space->len || map_at(space, at)->iova > iova)
        return NULL;
    host = map_at(space, at)->host + (iova - map_at(space, at)->iova);
    expected = map_at(space, at)->host;
    have = 0;
    for (; at < space->len; at++) {
        const struct vdt_sim_map *map = map_at(space, at);

        if ((have && map->iova != iova + have) || map->host != expected ||
            (write && !map->writable))
            return NULL;
        have += map->size - (have ? 0 : iova - map->iova);
        if (have >= len)
            return host;
        expected = map->host + map->size;
    }
    return NULL;
}

/* One piece of [@iova, @iova + @len): as much as one mapping holds. */
static uint8_t *
piece(struct vdt_sim *sim, uint32_t asid, uint64_t iova, uint32_t len, bool write,
      uint32_t *ret_len)
{
    const GArray *space = sim->space[asid];
    unsigned at = find(space, iova);
    const struct vdt_sim_map *map;

    if (at == space->len || map_at(space, at)->iova > iova)
        return NULL;
    map = map_at(space, at);
    if (write && !map->writable)
        return NULL;
    *ret_len = (uint32_t) MIN((uint64_t) len, map->size - (iova - map->iova));
    return map->host + (iova - map->iova);
}

bool
vdt_sim_dma_read(struct vdt_sim *sim, uint32_t asid, uint64_t iova, void *dst, uint32_t len)
{
    for (uint32_t done = 0, part = 0; done < len; done += part) {
        const uint8_t *host = piece(sim, asid, iova + done, len - done, false, &part);

        if (!host)
            return false;
        memcpy((uint8_t *) dst + done, host, part);
    }
    return true;
}

bool
vdt_sim_dma_write(struct vdt_sim *sim, uint32_t asid, uint64_t iova, const void *src, uint32_t len)
{
    for (uint32_t done = 0, part = 0; done < len; done += part) {
        uint8_t *host = piece(sim, asid, iova + done, len - done, true, &part);

        if (!host)
            return false;
        memcpy(host, (const uint8_t *) src + done, part);
    }
    return true;
}

void
vdt_sim_maps_clear(struct vdt_sim *sim)
{
    for (unsigned i = 0; i < VDT_SIM_ASIDS; i++)
        g_array_set_size(sim->space[i], 0);
    sim->maps_generation++;
}
