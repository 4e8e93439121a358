/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Migrate: a live migration as a VMM drives it, from one tracker to another: log on, memory copied
 * in rounds while the guest works, stop, state across, go on.
 *
 * Pages are copied for two reasons that are counted apart: the processor wrote them, or the
 * tracker's log names them. Once all is copied the memories have to be equal, byte for byte; a page
 * that differs was written by the device and not logged, or logged too early.
 *
 * Thread: the VMM's.
 */
#pragma once

#include "guest/traffic.h"
#include "guest/vmm.h"

#define VDT_MIGRATE_STATE_MAX (16u << 20)

struct vdt_migrate {
    struct vdt_vmm *source;      /* borrowed */
    struct vdt_vmm *target;      /* borrowed */
    struct vdt_traffic *traffic; /* borrowed */
    uint64_t *written;           /* owned: pages that the log named at least once */
    uint64_t rounds, copied, by_processor, by_log;
    uint64_t distinct; /* bits in @written */
    uint64_t missed, first_missed;
    uint64_t in_flight[3]; /* at the switch: receive, transmit, control */
    GByteArray *state;     /* owned */
    uint32_t bases[VDT_RINGS_MAX];
    int64_t began_at, first_copy_us; /* logging on; all memory across */
    int64_t stopped_at, resumed_at, verified_us;
};

void vdt_migrate_init(struct vdt_migrate *migrate, struct vdt_vmm *source, struct vdt_vmm *target,
                      struct vdt_traffic *traffic);
void vdt_migrate_clear(struct vdt_migrate *migrate);

/* Logging on, then all memory across. */
bool vdt_migrate_begin(struct vdt_migrate *migrate, GError **error);

/* What was dirtied since the last round; returns the number of pages. */
uint64_t vdt_migrate_round(struct vdt_migrate *migrate);

/* Stop the guest and its device, fetch the state and the last pages, and compare the memories. The
 * guest stays paused. */
bool vdt_migrate_stop(struct vdt_migrate *migrate, GError **error);

/* The state into the target, the driver onto the target's memory, and on. */
bool vdt_migrate_land(struct vdt_migrate *migrate, GError **error);

/* From the first GET_VRING_BASE to the first chain that came back at the target, the comparison of
 * the memories taken out; -1: none came back yet. */
int64_t vdt_migrate_downtime_us(struct vdt_migrate *migrate);
