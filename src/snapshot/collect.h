/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Collect: a snapshot out of the shadow device and the control model, and back into them.
 *
 * Exact while the shadow is frozen or its rings are stopped; of running rings it is a moment's look
 * and the snapshot is marked live. Thread: control.
 */
#pragma once

#include "control/model.h"
#include "shadow/shadow.h"
#include "snapshot/snapshot.h"

/* What neither shadow nor model knows; all borrowed. */
struct vdt_snapshot_identity {
    const char *name;
    const char *uuid; /* may be NULL */
    uint64_t protocol_features;
    const uint8_t *config; /* as the guest sees it */
    uint32_t config_len;
    bool used_width;     /* --dirty-width used */
    bool drives_control; /* the VMM keeps the control queue to itself */
    const struct vdt_ring_pos
        *cvq_pos; /* where the control queue's relay stands, NULL if none runs */
};

/* Has the frontend started that ring, enabled or not? */
bool vdt_collect_ring_started(struct vdt_shadow *shadow, uint32_t ring);
/* Any ring? */
bool vdt_collect_started(struct vdt_shadow *shadow);
/* Any data ring that is started and enabled: a guest's driver works with the device. */
bool vdt_collect_traffic(struct vdt_shadow *shadow);

struct vdt_snapshot *vdt_snapshot_collect(struct vdt_shadow *shadow,
                                          const struct vdt_control_model *model,
                                          const struct vdt_snapshot_identity *identity);

/* Ring @ring of @from becomes that of @to; @from's is left empty. */
void vdt_snapshot_move_ring(struct vdt_snapshot *to, struct vdt_snapshot *from, uint32_t ring);

uint32_t vdt_snapshot_requests(const struct vdt_snapshot *snapshot); /* in flight, all rings */

/* Does a ring that starts at the frontend's @base start where @snapshot stopped it? */
bool vdt_snapshot_at_base(const struct vdt_snapshot *snapshot, uint32_t ring, uint32_t base);
/* Has the ring never moved? */
bool vdt_snapshot_ring_initial(const struct vdt_snapshot *snapshot, uint32_t ring);

/* The vhost number of ring @ring's position. */
uint32_t vdt_snapshot_base(const struct vdt_snapshot *snapshot, uint32_t ring);

/* False with @error (VDT_ERROR_REFUSED) where the frontend starts ring @ring at another place than
 * the one where a stopped @snapshot has it. */
bool vdt_snapshot_check_base(const struct vdt_snapshot *snapshot, uint32_t ring, uint32_t base,
                             GError **error);

/* Hand what is in flight in ring @ring over to a shadow that does not run. No-op for a live
 * snapshot and for a ring that did not run or whose list is not known. */
bool vdt_snapshot_apply_ring(const struct vdt_snapshot *snapshot, struct vdt_shadow *shadow,
                             uint32_t ring, GError **error);
