/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VMM: the part of a virtual machine monitor that a migration needs, towards one tracker: it gives
 * the guest's memory and rings to the backend, switches the dirty log on, stops the device, and
 * carries the device state, message by message as QEMU 10 does.
 *
 * Thread: the VMM's (the caller's). The guest's processor runs elsewhere, and only while a driver
 * is started.
 */
#pragma once

#include "guest/driver.h"
#include "vhost_user/frontend.h"

struct vdt_vmm {
    struct vdt_frontend *frontend; /* owned */
    struct vdt_ram *ram;           /* borrowed */
    uint64_t offered;              /* virtio features of the backend */
    uint64_t transport;            /* vhost-user's own bits among them */
    uint64_t queue_num;
    struct virtio_net_config config;
    int log_fd;    /* owned */
    uint64_t *log; /* owned mapping of ram->words, NULL: not logging */
};

/* Waits up to @timeout_ms for the socket to appear. */
bool vdt_vmm_connect(struct vdt_vmm *vmm, const char *socket, struct vdt_ram *ram,
                     unsigned timeout_ms, GError **error);
void vdt_vmm_clear(struct vdt_vmm *vmm); /* a VMM that was never connected is fine */

/* Bring the device up for @driver; @bases: where each ring stands, NULL for a fresh guest. */
bool vdt_vmm_start(struct vdt_vmm *vmm, struct vdt_driver *driver, const uint32_t *bases,
                   GError **error);

/* Everything that the device writes from here on is in the log. */
bool vdt_vmm_log_start(struct vdt_vmm *vmm, struct vdt_driver *driver, GError **error);

/* A migration is given up: nothing is logged any more. */
bool vdt_vmm_log_stop(struct vdt_vmm *vmm, struct vdt_driver *driver, GError **error);

/* Stop every ring; where they stand goes to @ret_bases. Then reset the device. */
bool vdt_vmm_stop(struct vdt_vmm *vmm, struct vdt_driver *driver, uint32_t *ret_bases,
                  GError **error);

/* The config space as it is now. */
bool vdt_vmm_read_config(struct vdt_vmm *vmm, GError **error);
