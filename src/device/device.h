/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Device: the one door to what does the DMA. A vhost-vdpa node, the embedded simulator and the
 * tests' mock all stand behind it. The calls follow the kernel's vhost-vdpa interface
 * (linux/vhost.h), in its order of bring-up:
 *
 *   open; info; set_features, set_status 1|2|8 (read back); group/ASID; map; ring num, base, addr,
 *   call, kick; config call; set_status |4; enable rings; ... suspend, get_base ...; reset; close
 *
 * Rules: addresses are IOVAs; a ring index is the device's own; every call is made on the control
 * thread and may block for as long as an ioctl does. A device is untrusted: what it answers is
 * checked by the caller. Names are the kernel's where it has one.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vdpa-tracker/device.h>

#include "base/auto.h"
#include "virtio/net_state.h"
#include "virtio/ring.h"

#define VDT_CONFIG_MAX 256u

/* What a device is, asked once after open. */
struct vdt_device_info {
    char name[64];           /* as the user wrote it: "vhost-vdpa:/dev/vhost-vdpa-0", "sim:..." */
    char driver[32];         /* row key of docs/devices.md: "vp_vdpa", "mlx5", "vdpa_sim", "sim" */
    uint32_t device_id;      /* VIRTIO_ID_NET ... */
    uint32_t vendor_id;
    uint64_t features;       /* offered */
    uint32_t rings;          /* virtqueues, control queue included */
    uint16_t ring_max;       /* largest ring size */
    uint32_t config_size;
    uint64_t iova_first, iova_last; /* inclusive */
    uint32_t groups, asids;
    bool suspend, resume;           /* VHOST_VDPA_SUSPEND, RESUME work */
    bool ring_state;                /* get_base tells the truth after suspend */
    bool set_base;                  /* set_base takes any position, not just the initial one */
    bool enable_after_driver_ok;    /* VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK */
    bool readdress;                 /* rings may be re-addressed while suspended */
    bool disable;                   /* set_enable(ring, false) is legal (vp_vdpa: an error) */
    bool maps_survive_reset;        /* IOTLB_PERSIST */
    bool passthrough;               /* its row lets --shadow auto pass the guest's rings through */
};

struct vdt_device;

struct vdt_device_ops {
    const char *kind; /* "sim", "vhost-vdpa", "mock" */
    void (*close)(struct vdt_device *dev);

    bool (*set_features)(struct vdt_device *dev, uint64_t features, GError **error);
    bool (*set_status)(struct vdt_device *dev, uint8_t status, GError **error); /* 0 resets */
    bool (*get_status)(struct vdt_device *dev, uint8_t *ret_status, GError **error);

    /* IOTLB: [@iova, @iova + @size) of address space @asid is @host (MAP_SHARED memory of this
     * process, page aligned). unmap names exactly what was mapped. */
    bool (*map)(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size, void *host,
                bool writable, GError **error);
    bool (*unmap)(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size, GError **error);
    /* Between begin and end, maps of one ASID are one update. Optional (NULL). */
    bool (*batch)(struct vdt_device *dev, uint32_t asid, bool begin, GError **error);

    bool (*get_group)(struct vdt_device *dev, uint32_t ring, uint32_t *ret_group, GError **error);
    bool (*set_group_asid)(struct vdt_device *dev, uint32_t group, uint32_t asid, GError **error);

    bool (*set_num)(struct vdt_device *dev, uint32_t ring, uint16_t num, GError **error);
    bool (*set_base)(struct vdt_device *dev, uint32_t ring, struct vdt_ring_pos pos, GError **error);
    bool (*get_base)(struct vdt_device *dev, uint32_t ring, struct vdt_ring_pos *ret_pos, GError **error);
    bool (*set_addr)(struct vdt_device *dev, uint32_t ring, const struct vdt_ring_addr *addr, GError **error);
    /* Eventfds, borrowed: the device duplicates them. -1 takes the old one away. */
    bool (*set_kick)(struct vdt_device *dev, uint32_t ring, int fd, GError **error);
    bool (*set_call)(struct vdt_device *dev, uint32_t ring, int fd, GError **error);
    bool (*set_enable)(struct vdt_device *dev, uint32_t ring, bool enable, GError **error);

    bool (*suspend)(struct vdt_device *dev, GError **error); /* no DMA after it returned true */
    bool (*resume)(struct vdt_device *dev, GError **error);

    bool (*get_config)(struct vdt_device *dev, uint32_t offset, void *buf, uint32_t len, GError **error);
    bool (*set_config)(struct vdt_device *dev, uint32_t offset, const void *buf, uint32_t len, GError **error);
    bool (*set_config_call)(struct vdt_device *dev, int fd, GError **error);

    /* Optional: guest memory that is mapped counts as locked memory of this process, which has
     * *ret_pinned bytes and may have *ret_limit. False: it does not, or there is no limit. */
    bool (*memory_limit)(struct vdt_device *dev, uint64_t *ret_pinned, uint64_t *ret_limit);

    /* Optional: the control state that the device itself holds (only the simulator and mocks can). */
    bool (*read_net_state)(struct vdt_device *dev, struct vdt_net_state *ret_state, GError **error);
    /* Optional: counters and internals as a JSON object, for status and tests. Caller frees. */
    JsonNode *(*describe)(struct vdt_device *dev);
};

/* First member of every kind's own struct. */
struct vdt_device {
    const struct vdt_device_ops *ops;
    struct vdt_device_info info;
};

/* vdt_device_open() and vdt_device_close(): the public header. */
VDT_DEFINE_AUTO(device, vdt_device_close)

/* Thin calls through the table, with one place for what is missing: a NULL op answers
 * VDT_ERROR_UNSUPPORTED with the device's name and the call's. */
#define VDT_DEVICE_CALL(dev, op, error, ...)                                                      \
    ((dev)->ops->op ? (dev)->ops->op((dev), ##__VA_ARGS__, (error))                               \
                    : vdt_device_lacks((dev), #op, (error)))

bool vdt_device_lacks(struct vdt_device *dev, const char *op, GError **error);

/* What is known about it, for people and scripts: a JSON object. Caller frees. */
JsonNode *vdt_device_describe(struct vdt_device *dev);
/* Member @name of the object in @builder: a list of names, "bitN" where there is none. */
void vdt_describe_features(JsonBuilder *builder, const char *name, uint32_t device_id,
                           uint64_t features);
