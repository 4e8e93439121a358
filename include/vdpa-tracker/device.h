/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Device: a vDPA device (linux/vhost.h, virtio 1.2 section 5.1), or the embedded one.
 *
 * A device is open exclusively and reset on open and on close. Until it is handed to a tracker it
 * serves no guest, and may be asked what it is and whether it can take a state.
 *
 * Thread: one at a time; each call may block for as long as the kernel's ioctl does. No pointer may
 * be NULL unless it says so; as everywhere in GLib, @error may be.
 */
#pragma once

#include <stdint.h>

#include <vdpa-tracker/error.h>

G_BEGIN_DECLS

typedef struct vdt_device VdtDevice;

/*
 * Open by what a user writes: "vhost-vdpa:/dev/vhost-vdpa-0" or "sim:opt,opt=value,...". NULL with
 * @error: unknown kind or option (VDT_ERROR_USAGE), held by somebody else (VDT_ERROR_BUSY), not in
 * this build (VDT_ERROR_UNSUPPORTED), ... The caller owns the device.
 */
VDT_PUBLIC VdtDevice *vdt_device_open(const char *spec, GError **error);
VDT_PUBLIC void vdt_device_close(VdtDevice *device); /* accepts NULL; resets first */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdtDevice, vdt_device_close)

/* As the user wrote it, and the row of docs/devices.md that it is ("vp_vdpa", "mlx5", "sim"). Both
 * belong to the device. */
VDT_PUBLIC const char *vdt_device_get_name(const VdtDevice *device);
VDT_PUBLIC const char *vdt_device_get_driver(const VdtDevice *device);

/* Device type and feature bits 0 to 63 that it offers (virtio 1.2, sections 5 and 2.2). */
VDT_PUBLIC uint32_t vdt_device_get_type(const VdtDevice *device);
VDT_PUBLIC uint64_t vdt_device_get_features(const VdtDevice *device);

/* Virtqueues, control queue included; and the largest of them, in descriptors. */
VDT_PUBLIC unsigned vdt_device_get_ring_count(const VdtDevice *device);
VDT_PUBLIC unsigned vdt_device_get_ring_max(const VdtDevice *device);

/* Pairs of receive and transmit queues (virtio 1.2, 5.1.4: max_virtqueue_pairs, 1 without MQ and
 * RSS). 0 with @error where the device does not answer. */
VDT_PUBLIC unsigned vdt_device_get_max_pairs(VdtDevice *device, GError **error);

/* All that is known about it, one JSON object (keys: docs/library.md). g_free(). */
VDT_PUBLIC char *vdt_device_json(VdtDevice *device);

G_END_DECLS
