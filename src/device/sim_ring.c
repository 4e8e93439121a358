/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ring setup, on the control thread: what the kernel's VHOST_SET_VRING_* do, and its refusals. */
#include "device/sim.h"

#include <errno.h>
#include <fcntl.h>
#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "virtio/features.h"

uint16_t
vdt_sim_pairs_negotiated(const struct vdt_sim *sim)
{
    uint64_t many = VDT_BIT(VIRTIO_NET_F_MQ) | VDT_BIT(VIRTIO_NET_F_RSS);

    return (uint16_t) ((sim->features & many) ? sim->options.pairs : 1);
}

uint32_t
vdt_sim_cvq(const struct vdt_sim *sim)
{
    return 2u * vdt_sim_pairs_negotiated(sim);
}

enum vdt_sim_role
vdt_sim_ring_role(const struct vdt_sim *sim, uint32_t ring)
{
    if (ring == vdt_sim_cvq(sim))
        return VDT_SIM_CTRL;
    return ring & 1 ? VDT_SIM_TX : VDT_SIM_RX;
}

static struct vdt_ring_format
format_of(const struct vdt_sim *sim, const struct vdt_sim_ring *ring)
{
    return vdt_features_ring_format(sim->features, ring->num);
}

static bool
check_index(struct vdt_sim *sim, uint32_t index, GError **error)
{
    if (index >= sim->dev.info.rings)
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID, "has %u rings; %u is none",
                            sim->dev.info.rings, index);
    return true;
}

/* Size, position and addresses: before the ring is enabled, or while the device is suspended. */
static bool
check_setup(struct vdt_sim *sim, uint32_t index, const char *what, GError **error)
{
    if (!check_index(sim, index, error))
        return false;
    if (!(sim->status & VIRTIO_CONFIG_S_FEATURES_OK))
        return vdt_sim_fail(sim, error, VDT_ERROR_BUSY,
                            "cannot take the %s of ring %u before FEATURES_OK", what, index);
    if (vdt_sim_running(sim))
        return vdt_sim_fail(sim, error, VDT_ERROR_BUSY,
                            "is running; the %s of ring %u cannot change", what, index);
    if (sim->suspended && sim->options.no_readdress)
        return vdt_sim_fail(sim, error, VDT_ERROR_UNSUPPORTED,
                            "cannot change the %s of ring %u after DRIVER_OK", what, index);
    if (!sim->suspended && sim->rings[index].enabled)
        return vdt_sim_fail(sim, error, VDT_ERROR_BUSY, "has ring %u enabled; its %s cannot change",
                            index, what);
    return true;
}

static void
drop_stock(struct vdt_sim_ring *ring)
{
    g_queue_clear_full(&ring->stock, g_free);
}

bool
vdt_sim_set_num(struct vdt_device *dev, uint32_t index, uint16_t num, GError **error)
{
    VDT_SIM_LOCKED(dev);
    struct vdt_ring_format format;

    if (!check_setup(sim, index, "size", error))
        return false;
    format = vdt_features_ring_format(sim->features, num);
    if (num > sim->options.num || !vdt_ring_num_valid(format.kind, num))
        return vdt_sim_fail(
            sim, error, VDT_ERROR_INVALID, "cannot have %u entries in ring %u (at most %u%s)", num,
            index, sim->options.num, format.kind == VDT_RING_SPLIT ? ", a power of two" : "");
    if (sim->rings[index].num != num)
        drop_stock(&sim->rings[index]);
    sim->rings[index].num = num;
    return true;
}

bool
vdt_sim_set_base(struct vdt_device *dev, uint32_t index, struct vdt_ring_pos pos, GError **error)
{
    VDT_SIM_LOCKED(dev);
    struct vdt_ring_format format;
    struct vdt_ring_pos first;
    struct vdt_sim_ring *ring;

    if (!check_setup(sim, index, "position", error))
        return false;
    ring = &sim->rings[index];
    format = format_of(sim, ring);
    first = vdt_ring_pos_initial(format.kind);
    if (sim->options.no_base && (pos.avail != first.avail || pos.used != first.used))
        return vdt_sim_fail(sim, error, VDT_ERROR_UNSUPPORTED,
                            "starts rings at their initial position only; ring %u was to start at "
                            "0x%04x",
                            index, pos.avail);
    /* vhost's number of a split ring holds the available index alone. */
    if (format.kind == VDT_RING_SPLIT)
        pos.used = pos.avail;
    if (!ring->num || !vdt_ring_pos_valid(&format, pos))
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID,
                            "has no position 0x%04x/0x%04x in ring %u of %u entries", pos.avail,
                            pos.used, index, ring->num);
    ring->base_changed = true;
    /* Put where it stopped, it still has what it had in flight; elsewhere it starts anew. */
    if (ring->stock.length && pos.avail == ring->base.avail &&
        (format.kind == VDT_RING_SPLIT || pos.used == ring->base.used))
        return true;
    if (pos.avail != pos.used)
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID,
                            "knows nothing of what is in flight between 0x%04x and 0x%04x of ring "
                            "%u",
                            pos.used, pos.avail, index);
    drop_stock(ring);
    ring->base = pos;
    return true;
}

bool
vdt_sim_get_base(struct vdt_device *dev, uint32_t index, struct vdt_ring_pos *ret_pos,
                 GError **error)
{
    VDT_SIM_LOCKED(dev);
    struct vdt_sim_ring *ring;

    if (!check_index(sim, index, error))
        return false;
    ring = &sim->rings[index];
    if (sim->options.no_suspend)
        return vdt_sim_fail(sim, error, VDT_ERROR_UNSUPPORTED, "cannot tell where ring %u stands",
                            index);
    if (vdt_sim_running(sim) && ring->enabled)
        return vdt_sim_fail(sim, error, VDT_ERROR_BUSY,
                            "is running; where ring %u stands would be stale at once", index);
    if (format_of(sim, ring).kind == VDT_RING_SPLIT)
        *ret_pos = (struct vdt_ring_pos){ring->base.avail, ring->base.avail};
    else
        *ret_pos = ring->base;
    return true;
}

bool
vdt_sim_set_addr(struct vdt_device *dev, uint32_t index, const struct vdt_ring_addr *addr,
                 GError **error)
{
    VDT_SIM_LOCKED(dev);
    struct vdt_ring_format format;

    if (!check_setup(sim, index, "addresses", error))
        return false;
    format = format_of(sim, &sim->rings[index]);
    if (!vdt_ring_addr_aligned(&format, addr))
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID,
                            "cannot use the addresses of ring %u: not aligned", index);
    sim->rings[index].addr = *addr;
    sim->rings[index].addr_set = true;
    return true;
}

static bool
take_fd(struct vdt_sim *sim, uint32_t index, int fd, int *ret_copy, GError **error)
{
    if (!check_index(sim, index, error))
        return false;
    *ret_copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (fd >= 0 && *ret_copy < 0)
        return vdt_sim_fail(sim, error, VDT_ERROR_FAILED, "cannot take an eventfd of ring %u: %s",
                            index, g_strerror(errno));
    return true;
}

bool
vdt_sim_set_kick(struct vdt_device *dev, uint32_t index, int fd, GError **error)
{
    VDT_SIM_LOCKED(dev);
    struct vdt_sim_ring *ring;
    int copy = -1;

    if (!take_fd(sim, index, fd, &copy, error))
        return false;
    if (copy >= 0 && !vdt_sim_worker_watch(sim, copy, index, error)) {
        vdt_close(copy);
        return false;
    }
    ring = &sim->rings[index];
    vdt_sim_worker_unwatch(sim, ring->kick);
    vdt_close(ring->kick);
    ring->kick = copy;
    return true;
}

bool
vdt_sim_set_call(struct vdt_device *dev, uint32_t index, int fd, GError **error)
{
    VDT_SIM_LOCKED(dev);
    int copy = -1;

    if (!take_fd(sim, index, fd, &copy, error))
        return false;
    vdt_close(sim->rings[index].call);
    sim->rings[index].call = copy;
    return true;
}

/* From here on the device works with what was set; later set_addr() waits for the next latch. */
static bool
latch(struct vdt_sim *sim, uint32_t index, GError **error)
{
    struct vdt_sim_ring *ring = &sim->rings[index];
    struct vdt_ring_format format = format_of(sim, ring);
    struct vdt_ring_mem mem;

    if (!vdt_ring_num_valid(format.kind, ring->num) || !ring->addr_set)
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID, "cannot start ring %u: it has no %s",
                            index, ring->addr_set ? "size" : "addresses");
    if (!vdt_sim_ring_translate(sim, index, &format, &mem))
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID,
                            "cannot start ring %u: its areas are not mapped in address space %u",
                            index, vdt_sim_asid(sim, index));
    ring->scratch = g_renew(struct vdt_seg, ring->scratch, 3u * ring->num);
    vdt_guest_ring_init(&ring->ring, &format, &mem, ring->base);
    ring->maps_seen = sim->maps_generation;
    ring->live = true;
    ring->broken = ring->base_changed = false;
    return true;
}

bool
vdt_sim_rings_start(struct vdt_sim *sim, GError **error)
{
    for (unsigned i = 0; i < sim->dev.info.rings; i++) {
        if (sim->rings[i].enabled && !latch(sim, i, error))
            return false;
    }
    return true;
}

void
vdt_sim_rings_sync(struct vdt_sim *sim)
{
    for (unsigned i = 0; i < sim->dev.info.rings; i++) {
        struct vdt_sim_ring *ring = &sim->rings[i];
        struct vdt_guest_ring *guest = &ring->ring;

        if (!ring->live)
            continue;
        if (sim->options.refetch) {
            drop_stock(ring);
            guest->pos.avail = guest->pos.used;
            vdt_guest_ring_init(guest, &guest->format, &guest->mem, guest->pos);
        }
        ring->base = guest->pos;
    }
}

static bool
disable(struct vdt_sim *sim, uint32_t index, GError **error)
{
    struct vdt_sim_ring *ring = &sim->rings[index];

    if (sim->options.no_disable)
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID, "cannot disable ring %u", index);
    if (ring->live && !sim->suspended)
        ring->base = ring->ring.pos;
    ring->enabled = ring->live = ring->kicked = false;
    return true;
}

bool
vdt_sim_set_enable(struct vdt_device *dev, uint32_t index, bool enable, GError **error)
{
    VDT_SIM_LOCKED(dev);
    struct vdt_sim_ring *ring;

    if (!check_index(sim, index, error))
        return false;
    ring = &sim->rings[index];
    if (!enable)
        return disable(sim, index, error);
    if (!(sim->status & VIRTIO_CONFIG_S_FEATURES_OK))
        return vdt_sim_fail(sim, error, VDT_ERROR_BUSY, "cannot enable ring %u before FEATURES_OK",
                            index);
    if (ring->enabled)
        return true;
    if (index > vdt_sim_cvq(sim))
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID,
                            "has no ring %u without MQ; the control queue is ring %u", index,
                            vdt_sim_cvq(sim));
    if ((sim->status & VIRTIO_CONFIG_S_DRIVER_OK) && !sim->suspended &&
        sim->options.no_enable_after_driver_ok)
        return vdt_sim_fail(sim, error, VDT_ERROR_UNSUPPORTED,
                            "cannot enable ring %u after DRIVER_OK", index);
    if ((sim->status & VIRTIO_CONFIG_S_DRIVER_OK) && !latch(sim, index, error))
        return false;
    if (!ring->addr_set)
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID,
                            "cannot enable ring %u: it has no addresses", index);
    ring->enabled = true;
    vdt_sim_worker_wake(sim);
    return true;
}

void
vdt_sim_ring_reset(struct vdt_sim *sim, struct vdt_sim_ring *ring)
{
    vdt_sim_worker_unwatch(sim, ring->kick);
    vdt_close(ring->kick);
    vdt_close(ring->call);
    drop_stock(ring);
    sim->frames_dropped += ring->backlog.length;
    g_queue_clear_full(&ring->backlog, g_free);
    g_free(ring->scratch);
    *ring = (struct vdt_sim_ring){.kick = -1, .call = -1};
}
