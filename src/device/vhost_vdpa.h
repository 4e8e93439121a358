/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Vhost vdpa: a device of the kernel, /dev/vhost-vdpa-N (linux/vhost.h).
 *
 * The kernel checks little and tells less: most of what a parent driver refuses reaches user space
 * as success or as EFAULT. So what can be known here is checked here, before the call, and what was
 * done is read back where it can be.
 *
 * This header is for the files vhost_vdpa*.c and for tests; everybody else goes through device.h.
 * Thread: control.
 */
#pragma once

#include <sys/types.h>

#include "device/device.h"
#include "device/vhost_compat.h"
#include "device/vhost_driver.h"
#include "device/vhost_sys.h"

#define VDT_VHOST_RINGS_MAX 65536u

/* What the kernel has mapped for us, as it was asked for: it removes by overlap, not by name. */
struct vdt_vhost_map {
    uint32_t asid;
    uint64_t iova, size;
};

struct vdt_vhost {
    struct vdt_device dev;
    const struct vdt_vhost_sys *sys;
    const struct vdt_vhost_driver *row;
    int fd;
    pid_t owner;      /* the process whose memory the kernel took with SET_OWNER */
    uint64_t backend; /* VHOST_BACKEND_F_ bits in force */
    uint64_t page;

    uint8_t status; /* as last read back */
    bool suspended;
    bool features_set;
    uint64_t features;
    uint16_t *num; /* owned, size of each ring */

    GArray *maps;  /* owned, of struct vdt_vhost_map, by ASID and IOVA */
    int64_t batch; /* ASID of the open batch, -1 */
};

static inline struct vdt_vhost *
vdt_vhost_of(struct vdt_device *dev)
{
    return (struct vdt_vhost *) dev;
}

static inline bool
vdt_vhost_has(const struct vdt_vhost *vhost, unsigned backend_bit)
{
    return vhost->backend >> backend_bit & 1;
}

static inline bool
vdt_vhost_running(const struct vdt_vhost *vhost)
{
    return (vhost->status & VIRTIO_CONFIG_S_DRIVER_OK) && !vhost->suspended;
}

/* vhost_vdpa.c */
struct vdt_device *vdt_vhost_vdpa_open(const char *spec, const char *path, GError **error);
/* Sets @error to "device NAME ..." and returns false. */
bool vdt_vhost_fail(struct vdt_vhost *vhost, GError **error, int code, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
/* One ioctl. Where it fails: "device NAME cannot WHAT: " and what the errno means for a device. */
bool vdt_vhost_ioctl(struct vdt_vhost *vhost, GError **error, unsigned long request, void *arg,
                     const char *what, ...) G_GNUC_PRINTF(5, 6);

/* vhost_vdpa_status.c */
bool vdt_vhost_set_features(struct vdt_device *dev, uint64_t features, GError **error);
bool vdt_vhost_set_status(struct vdt_device *dev, uint8_t status, GError **error);
bool vdt_vhost_get_status(struct vdt_device *dev, uint8_t *ret_status, GError **error);
bool vdt_vhost_suspend(struct vdt_device *dev, GError **error);
bool vdt_vhost_resume(struct vdt_device *dev, GError **error);

/* vhost_vdpa_iotlb.c */
bool vdt_vhost_map(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size, void *host,
                   bool writable, GError **error);
bool vdt_vhost_unmap(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size,
                     GError **error);
bool vdt_vhost_batch(struct vdt_device *dev, uint32_t asid, bool begin, GError **error);
bool vdt_vhost_get_group(struct vdt_device *dev, uint32_t ring, uint32_t *ret_group,
                         GError **error);
bool vdt_vhost_set_group_asid(struct vdt_device *dev, uint32_t group, uint32_t asid,
                              GError **error);

/* vhost_vdpa_memory.c: why memory could not be mapped, or cannot be. */
/* Memory that no parent driver skips: shared and with a file behind it, all of it. */
bool vdt_vhost_memory_is_shared(const void *host, uint64_t size);
/* Sets @error for an IOTLB update that the kernel refused with @errnum. Always false. */
bool vdt_vhost_memory_refused(struct vdt_vhost *vhost, uint64_t iova, uint64_t size, void *host,
                              int errnum, GError **error);
/* Would @size bytes more go beyond RLIMIT_MEMLOCK? @ret_need: what it would have to be. */
bool vdt_vhost_memory_limit(struct vdt_device *dev, uint64_t *ret_pinned, uint64_t *ret_limit);
bool vdt_vhost_memory_beyond_limit(struct vdt_vhost *vhost, uint64_t size, uint64_t *ret_pinned,
                                   uint64_t *ret_limit);

/* vhost_vdpa_ring.c */
bool vdt_vhost_set_num(struct vdt_device *dev, uint32_t ring, uint16_t num, GError **error);
bool vdt_vhost_set_base(struct vdt_device *dev, uint32_t ring, struct vdt_ring_pos pos,
                        GError **error);
bool vdt_vhost_get_base(struct vdt_device *dev, uint32_t ring, struct vdt_ring_pos *ret_pos,
                        GError **error);
bool vdt_vhost_set_addr(struct vdt_device *dev, uint32_t ring, const struct vdt_ring_addr *addr,
                        GError **error);
bool vdt_vhost_set_kick(struct vdt_device *dev, uint32_t ring, int fd, GError **error);
bool vdt_vhost_set_call(struct vdt_device *dev, uint32_t ring, int fd, GError **error);
bool vdt_vhost_set_enable(struct vdt_device *dev, uint32_t ring, bool enable, GError **error);

/* vhost_vdpa_config.c */
bool vdt_vhost_get_config(struct vdt_device *dev, uint32_t offset, void *buf, uint32_t len,
                          GError **error);
bool vdt_vhost_set_config(struct vdt_device *dev, uint32_t offset, const void *buf, uint32_t len,
                          GError **error);
bool vdt_vhost_set_config_call(struct vdt_device *dev, int fd, GError **error);
