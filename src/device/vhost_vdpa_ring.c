/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rings, as VHOST_SET_VRING_* has them: size, position, addresses, eventfds, enabled or not. */
#include <vdpa-tracker/error.h>

#include "device/vhost_vdpa.h"
#include "virtio/features.h"

static bool
check_index(struct vdt_vhost *vhost, uint32_t ring, GError **error)
{
    if (ring >= vhost->dev.info.rings)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_INVALID, "has %u rings; %u is none",
                              vhost->dev.info.rings, ring);
    return true;
}

/* Setting one up while it runs is refused by the kernel only after it remembered the new value. */
static bool
check_setup(struct vdt_vhost *vhost, uint32_t ring, const char *what, GError **error)
{
    if (!check_index(vhost, ring, error))
        return false;
    if (vdt_vhost_running(vhost))
        return vdt_vhost_fail(vhost, error, VDT_ERROR_BUSY,
                              "is running; the %s of ring %u cannot change", what, ring);
    return true;
}

static struct vdt_ring_format
format_of(const struct vdt_vhost *vhost, uint32_t ring)
{
    return vdt_features_ring_format(vhost->features, vhost->num[ring]);
}

bool
vdt_vhost_set_num(struct vdt_device *dev, uint32_t ring, uint16_t num, GError **error)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);
    struct vhost_vring_state state = {.index = ring, .num = num};

    if (!check_setup(vhost, ring, "size", error))
        return false;
    /* The kernel's own rule, for packed rings, too, where virtio has none. */
    if (num == 0 || (num & (num - 1)) || num > dev->info.ring_max)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_INVALID,
                              "cannot have %u entries in ring %u: vhost takes powers of two up to "
                              "%u",
                              num, ring, dev->info.ring_max);
    if (!vdt_vhost_ioctl(vhost, error, VHOST_SET_VRING_NUM, &state, "have %u entries in ring %u",
                         num, ring))
        return false;
    vhost->num[ring] = num;
    return true;
}

bool
vdt_vhost_set_base(struct vdt_device *dev, uint32_t ring, struct vdt_ring_pos pos, GError **error)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);

    if (!check_setup(vhost, ring, "position", error))
        return false;
    /* The kernel reads the number by the features in force: split or packed. */
    if (!vhost->features_set || vhost->num[ring] == 0)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_BUSY,
                              "cannot take the position of ring %u before %s", ring,
                              vhost->features_set ? "its size" : "the features");
    struct vdt_ring_format format = format_of(vhost, ring);
    struct vdt_ring_pos first = vdt_ring_pos_initial(format.kind);
    if (!dev->info.set_base && (pos.avail != first.avail || pos.used != first.used))
        return vdt_vhost_fail(vhost, error, VDT_ERROR_UNSUPPORTED,
                              "starts rings at their initial position only; ring %u was to start "
                              "at 0x%04x",
                              ring, pos.avail);
    struct vhost_vring_state state = {.index = ring, .num = vdt_ring_pos_to_base(&format, pos)};
    return vdt_vhost_ioctl(vhost, error, VHOST_SET_VRING_BASE, &state,
                           "start ring %u at position 0x%x%s", ring, state.num,
                           format.kind == VDT_RING_PACKED
                               ? " (positions of packed rings need Linux 6.4 or newer)"
                               : "");
}

/* Before the kernel learnt packed positions it told 16 bits of them, or all zero: such a number
 * names no position and is refused. */
bool
vdt_vhost_get_base(struct vdt_device *dev, uint32_t ring, struct vdt_ring_pos *ret_pos,
                   GError **error)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);
    struct vhost_vring_state state = {.index = ring};

    if (!check_index(vhost, ring, error))
        return false;
    if (vdt_vhost_running(vhost))
        return vdt_vhost_fail(vhost, error, VDT_ERROR_BUSY,
                              "is running; where ring %u stands would be stale at once", ring);
    if (!vdt_vhost_ioctl(vhost, error, VHOST_GET_VRING_BASE, &state, "tell where ring %u stands",
                         ring))
        return false;
    struct vdt_ring_format format = format_of(vhost, ring);
    bool packed = format.kind == VDT_RING_PACKED;
    struct vdt_ring_pos pos = {
        .avail = (uint16_t) state.num,
        .used = (uint16_t) (packed ? state.num >> 16 : state.num),
    };
    if ((!packed && state.num > UINT16_MAX) || !vdt_ring_pos_valid(&format, pos))
        return vdt_vhost_fail(
            vhost, error, VDT_ERROR_INVALID,
            "says that ring %u of %u entries stands at 0x%x, which is no position", ring,
            vhost->num[ring], state.num);
    *ret_pos = pos;
    return true;
}

bool
vdt_vhost_set_addr(struct vdt_device *dev, uint32_t ring, const struct vdt_ring_addr *addr,
                   GError **error)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);
    struct vhost_vring_addr arg = {
        .index = ring,
        .desc_user_addr = addr->desc,
        .avail_user_addr = addr->driver,
        .used_user_addr = addr->device,
    };

    if (!check_setup(vhost, ring, "addresses", error))
        return false;
    if (vhost->suspended && !dev->info.readdress)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_UNSUPPORTED,
                              "cannot change the addresses of ring %u after DRIVER_OK", ring);
    return vdt_vhost_ioctl(vhost, error, VHOST_SET_VRING_ADDR, &arg,
                           "take the addresses of ring %u", ring);
}

static bool
set_file(struct vdt_device *dev, unsigned long request, uint32_t ring, int fd, const char *what,
         GError **error)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);
    struct vhost_vring_file file = {.index = ring, .fd = fd < 0 ? VHOST_FILE_UNBIND : fd};

    return check_index(vhost, ring, error) &&
           vdt_vhost_ioctl(vhost, error, request, &file, "take the %s eventfd of ring %u", what,
                           ring);
}

bool
vdt_vhost_set_kick(struct vdt_device *dev, uint32_t ring, int fd, GError **error)
{
    return set_file(dev, VHOST_SET_VRING_KICK, ring, fd, "kick", error);
}

bool
vdt_vhost_set_call(struct vdt_device *dev, uint32_t ring, int fd, GError **error)
{
    return set_file(dev, VHOST_SET_VRING_CALL, ring, fd, "call", error);
}

bool
vdt_vhost_set_enable(struct vdt_device *dev, uint32_t ring, bool enable, GError **error)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);
    struct vhost_vring_state state = {.index = ring, .num = enable};

    if (!check_index(vhost, ring, error))
        return false;
    /* virtio-pci knows no such thing (1.2, 4.1.4.3.2), and QEMU calls the device broken for it. */
    if (!enable && !dev->info.disable)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_UNSUPPORTED, "cannot disable ring %u", ring);
    if (enable && vdt_vhost_running(vhost) && !dev->info.enable_after_driver_ok)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_UNSUPPORTED,
                              "cannot enable ring %u after DRIVER_OK", ring);
    return vdt_vhost_ioctl(vhost, error, VHOST_VDPA_SET_VRING_ENABLE, &state, "%s ring %u",
                           enable ? "enable" : "disable", ring);
}
