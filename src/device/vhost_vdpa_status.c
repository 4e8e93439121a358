/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Features, status, suspend. SET_STATUS, SUSPEND and RESUME return success whatever the parent
 * driver made of them, so the status is read back each time.
 */
#include <vdpa-tracker/error.h>

#include "device/vhost_vdpa.h"
#include "virtio/features.h"

/* How long a reset may take to show in the status (virtio 1.2, 2.4.2). */
#define RESET_MS 1000u

bool
vdt_vhost_set_features(struct vdt_device *dev, uint64_t features, GError **error)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);

    if (vhost->status & VIRTIO_CONFIG_S_FEATURES_OK)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_BUSY,
                              "takes no features after FEATURES_OK; reset it first");
    if (features & ~dev->info.features) {
        g_autofree char *names =
            vdt_features_to_string(dev->info.device_id, features & ~dev->info.features);

        return vdt_vhost_fail(vhost, error, VDT_ERROR_INVALID, "does not offer %s", names);
    }
    if (vhost->sys->ioctl(vhost->fd, VHOST_SET_FEATURES, &features) < 0) {
        g_autofree char *names = vdt_features_to_string(dev->info.device_id, features);

        return vdt_vhost_fail(vhost, error, VDT_ERROR_REFUSED,
                              "does not take these features together: %s", names);
    }
    vhost->features = features;
    vhost->features_set = true;
    return true;
}

static bool
read_status(struct vdt_vhost *vhost, uint8_t *ret_status, GError **error)
{
    return vdt_vhost_ioctl(vhost, error, VHOST_VDPA_GET_STATUS, ret_status, "tell its status");
}

bool
vdt_vhost_get_status(struct vdt_device *dev, uint8_t *ret_status, GError **error)
{
    return read_status(vdt_vhost_of(dev), ret_status, error);
}

static bool
reset(struct vdt_vhost *vhost, GError **error)
{
    uint8_t status = 0;

    vhost->suspended = vhost->features_set = false;
    vhost->features = 0;
    if (!vdt_vhost_ioctl(vhost, error, VHOST_VDPA_SET_STATUS, &status, "be reset"))
        return false;
    for (unsigned ms = 0; ms < RESET_MS; ms++) {
        if (!read_status(vhost, &status, error))
            return false;
        vhost->status = status;
        if (status == 0)
            return true;
        g_usleep(1000);
    }
    return vdt_vhost_fail(vhost, error, VDT_ERROR_TIMEOUT,
                          "still has status 0x%02x %u ms after its reset; it is not used", status,
                          RESET_MS);
}

bool
vdt_vhost_set_status(struct vdt_device *dev, uint8_t status, GError **error)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);
    uint8_t now = 0, added;

    if (status == 0)
        return reset(vhost, error);
    if (!read_status(vhost, &now, error))
        return false;
    if (vhost->status & (uint8_t) ~now)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_FAILED,
                              "has status 0x%02x and had 0x%02x: somebody else reset it", now,
                              vhost->status);
    status |= now & VIRTIO_CONFIG_S_NEEDS_RESET; /* the device's own, whatever the driver writes */
    if (now & (uint8_t) ~status)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_INVALID,
                              "cannot drop status bits (0x%02x to 0x%02x); only a reset clears "
                              "them",
                              now, status);
    added = status & (uint8_t) ~now;
    if (!vdt_vhost_ioctl(vhost, error, VHOST_VDPA_SET_STATUS, &status, "take status 0x%02x",
                         status) ||
        !read_status(vhost, &now, error))
        return false;
    vhost->status = now;
    if (now & VIRTIO_CONFIG_S_FAILED)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_FAILED,
                              "does not start: its driver gave up at status 0x%02x (the kernel's "
                              "log may say why)",
                              status);
    if (added & (uint8_t) ~now & VIRTIO_CONFIG_S_DRIVER_OK)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_FAILED,
                              "does not start: status 0x%02x became 0x%02x", status, now);
    return true; /* FEATURES_OK that is missing is the caller's to see */
}

/* Without DRIVER_OK the kernel says yes to SUSPEND and RESUME and does nothing. */
static bool
still_runs(struct vdt_vhost *vhost, const char *what, GError **error)
{
    uint8_t now = 0;

    if (!read_status(vhost, &now, error))
        return false;
    vhost->status = now;
    return (now & VIRTIO_CONFIG_S_DRIVER_OK) ||
           vdt_vhost_fail(vhost, error, VDT_ERROR_FAILED,
                          "cannot be %s: its status is 0x%02x, without DRIVER_OK; where its rings "
                          "stand is not known",
                          what, now);
}

bool
vdt_vhost_suspend(struct vdt_device *dev, GError **error)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);

    if (!dev->info.suspend)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_UNSUPPORTED, "cannot be suspended");
    if (!vdt_vhost_ioctl(vhost, error, VHOST_VDPA_SUSPEND, NULL, "be suspended") ||
        !still_runs(vhost, "suspended", error))
        return false;
    vhost->suspended = true;
    return true;
}

bool
vdt_vhost_resume(struct vdt_device *dev, GError **error)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);

    if (!dev->info.resume)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_UNSUPPORTED, "cannot be resumed");
    if (!vdt_vhost_ioctl(vhost, error, VHOST_VDPA_RESUME, NULL, "be resumed") ||
        !still_runs(vhost, "resumed", error))
        return false;
    vhost->suspended = false;
    return true;
}
