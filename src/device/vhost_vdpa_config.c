/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Config space, and the interrupt that says it changed. */
#include <string.h>
#include <vdpa-tracker/error.h>

#include "device/vhost_vdpa.h"

/* Reads until two in a row agree. */
#define ATTEMPTS 8u

static bool
check_range(struct vdt_vhost *vhost, uint32_t offset, uint32_t len, GError **error)
{
    uint32_t size = vhost->dev.info.config_size;

    if (len == 0 || offset > size || len > size - offset)
        return vdt_vhost_fail(vhost, error, VDT_ERROR_INVALID,
                              "has %u bytes of config space; %u at %u lie outside", size, len,
                              offset);
    return true;
}

/*
 * The interface carries no generation count (virtio 1.2, 2.5.1), and not every parent driver minds
 * the device's when it copies several fields. Two equal copies in a row are a consistent one.
 */
bool
vdt_vhost_get_config(struct vdt_device *dev, uint32_t offset, void *buf, uint32_t len,
                     GError **error)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);
    size_t size = sizeof(struct vhost_vdpa_config) + len;

    if (!check_range(vhost, offset, len, error))
        return false;
    g_autofree struct vhost_vdpa_config *config = g_malloc0(size);
    g_autofree uint8_t *before = g_malloc(len);
    config->off = offset;
    config->len = len;
    for (unsigned i = 0; i < ATTEMPTS; i++) {
        if (!vdt_vhost_ioctl(vhost, error, VHOST_VDPA_GET_CONFIG, config,
                             "tell %u bytes of config space at %u", len, offset))
            return false;
        if (i > 0 && memcmp(before, config->buf, len) == 0) {
            memcpy(buf, before, len);
            return true;
        }
        memcpy(before, config->buf, len);
    }
    return vdt_vhost_fail(vhost, error, VDT_ERROR_BUSY,
                          "changed its config space during each of %u reads", ATTEMPTS);
}

bool
vdt_vhost_set_config(struct vdt_device *dev, uint32_t offset, const void *buf, uint32_t len,
                     GError **error)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);

    if (!check_range(vhost, offset, len, error))
        return false;
    g_autofree struct vhost_vdpa_config *config = g_malloc0(sizeof(struct vhost_vdpa_config) + len);
    config->off = offset;
    config->len = len;
    memcpy(config->buf, buf, len);
    return vdt_vhost_ioctl(vhost, error, VHOST_VDPA_SET_CONFIG, config,
                           "take %u bytes of config space at %u", len, offset);
}

bool
vdt_vhost_set_config_call(struct vdt_device *dev, int fd, GError **error)
{
    struct vdt_vhost *vhost = vdt_vhost_of(dev);
    int file = fd < 0 ? VHOST_FILE_UNBIND : fd;

    return vdt_vhost_ioctl(vhost, error, VHOST_VDPA_SET_CONFIG_CALL, &file,
                           "take the eventfd of its config interrupt");
}
