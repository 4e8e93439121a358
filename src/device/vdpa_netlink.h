/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Vdpa netlink: questions to the kernel's vdpa family, each bounded in time and size. None of them
 * needs a privilege; the family is there in the host's network namespace alone.
 *
 * Thread: any one at a time; blocks.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/auto.h"
#include "device/vdpa_message.h"

/* The way to the kernel, as a table, so that tests can answer with recorded bytes. send() and
 * receive() are those of a datagram socket: -1 with errno set. */
struct vdt_vdpa_link {
    bool (*open)(void *ctx, uint32_t *ret_port);
    ssize_t (*send)(void *ctx, const void *bytes, size_t len);
    ssize_t (*receive)(void *ctx, void *buf, size_t size);
    void (*close)(void *ctx);
    void *ctx;
};

struct vdt_vdpa_netlink;

/* @link NULL: the kernel; else borrowed. VDT_ERROR_UNSUPPORTED: not in this build, no family. */
struct vdt_vdpa_netlink *vdt_vdpa_netlink_new(const struct vdt_vdpa_link *link, GError **error);
void vdt_vdpa_netlink_free(struct vdt_vdpa_netlink *netlink); /* accepts NULL */
VDT_DEFINE_AUTO(vdpa_netlink, vdt_vdpa_netlink_free)

/* All management devices; all devices that one of them made. GArray of struct vdt_vdpa_entry. */
GArray *vdt_vdpa_netlink_managers(struct vdt_vdpa_netlink *netlink, GError **error);
GArray *vdt_vdpa_netlink_devices(struct vdt_vdpa_netlink *netlink, GError **error);

/* One device, and its config space and features. */
bool vdt_vdpa_netlink_device(struct vdt_vdpa_netlink *netlink, const char *name,
                             struct vdt_vdpa_entry *ret_entry, GError **error);
bool vdt_vdpa_netlink_config(struct vdt_vdpa_netlink *netlink, const char *name,
                             struct vdt_vdpa_entry *ret_entry, GError **error);
