/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Vhost compat: linux/vhost.h with what headers older than Linux 6.7 (Debian 12 has 6.1) do not
 * name yet. Numbers are the kernel's interface and do not change; whether the running kernel knows
 * one is asked at run time.
 */
#pragma once

#include <linux/vhost.h>
#include <linux/vhost_types.h>

#ifndef VHOST_VDPA_RESUME
#define VHOST_VDPA_RESUME _IO(VHOST_VIRTIO, 0x7E)
#endif
#ifndef VHOST_BACKEND_F_RESUME
#define VHOST_BACKEND_F_RESUME 0x5
#endif
#ifndef VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK
#define VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK 0x6
#endif
#ifndef VHOST_BACKEND_F_DESC_ASID
#define VHOST_BACKEND_F_DESC_ASID 0x7
#endif
#ifndef VHOST_BACKEND_F_IOTLB_PERSIST
#define VHOST_BACKEND_F_IOTLB_PERSIST 0x8
#endif

/* The kernel's "not supported" that user space headers have no name for. */
#define VDT_ENOTSUPP 524
