/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Side: one end of a migration without a process or a socket: a NIC of the daemon over sim:, asked
 * what a vhost-user session would ask it, in the order of a VMM.
 *
 * Thread: the caller's is the control thread; device and data threads are the NIC's own.
 */
#pragma once

#include "daemon/nic.h"
#include "guest/driver.h"

/* Memory as a VMM tells it: a whole table, without or with a region that no ring uses, or that
 * region alone. A new table is mapped anew, so that the rings move. */
enum side_memory { SIDE_TABLE, SIDE_LONGER_TABLE, SIDE_ADD_REGION, SIDE_REMOVE_REGION };

struct side {
    GMainContext *context;  /* owned */
    struct vdt_device *dev; /* the NIC's; for a look at the simulator */
    struct vdt_nic *nic;    /* owned */
    struct vdt_ram *ram;    /* borrowed */
    uint64_t offered;
    struct virtio_net_config config;
    uint64_t *log;             /* owned mapping of ram->words, NULL before the first */
    struct vdt_guest_map *map; /* owned: what the side was told last */
    unsigned regions;          /* of memory, as the side was told last */
};

bool side_open(struct side *side, const char *spec, enum vdt_shadow_policy policy,
               struct vdt_ram *ram, GError **error);
void side_close(struct side *side); /* one that was never opened is fine */
void side_run(struct side *side);   /* what the control thread has to do */

/* @bases NULL: a fresh guest. */
bool side_start(struct side *side, struct vdt_driver *driver, const uint32_t *bases,
                GError **error);
bool side_log(struct side *side, struct vdt_driver *driver, GError **error);
bool side_log_off(struct side *side, struct vdt_driver *driver, GError **error);
bool side_memory(struct side *side, enum side_memory how, GError **error);
bool side_stop(struct side *side, struct vdt_driver *driver, uint32_t *ret_bases, GError **error);
bool side_reset(struct side *side, GError **error);

/* The device's own control state as text; g_free(). */
char *side_device_state(struct side *side, GError **error);
/* What the simulator found wrong with its driver, or NULL. g_free(). */
char *side_faults(struct side *side);
/* Bytes that the device has mapped, all spaces. */
uint64_t side_mapped(struct side *side);
/* Frames that the device has put on the wire since it was made. */
uint64_t side_frames_out(struct side *side);
