/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Replay: bring a fresh device to a net state, command by command, every ack by name.
 *
 * Commands go in the canonical order of the table, as many in flight as the device's queue holds,
 * one for each value that is set (see vdt_command_emit() for what is not). Thread: control, blocks.
 */
#pragma once

#include "control/device_cvq.h"

struct vdt_replay_step {
    char *text; /* vdt_command_describe() */
    uint8_t ack;
    int64_t us; /* since the replay began */
};

struct vdt_replay_report {
    GPtrArray *steps; /* struct vdt_replay_step *, NULL unless asked for with @keep_steps */
    bool keep_steps;
    unsigned commands; /* answered */
    unsigned acked;    /* answered OK */
    int64_t us;        /* the whole of it */
};

void vdt_replay_report_clear(struct vdt_replay_report *report);

/* How many commands replay would send; for progress and admission. */
unsigned vdt_replay_count(const struct vdt_net_state *state, uint64_t features);

/*
 * Puts into @state what a device is told even if no guest has set it, since not every device comes
 * out of a reset as it should: how frames are steered. QEMU's virtio-net (7.2) keeps RSS on, mlx5's
 * driver once had all pairs in use. What goes out is the default (virtio 1.2, 5.1.6.5.5 and
 * 5.1.6.5.6): one pair, no RSS, no hash reports.
 */
void vdt_replay_insist(struct vdt_net_state *state, uint64_t features);

/*
 * @features: negotiated with the device. False with @error ("replaying command 17 of 120
 * (VLAN_ADD 100) onto sim:...: the device answered ERR"), VDT_ERROR_REFUSED for a NAK; then the
 * device must not be started. Commands in flight behind a refused one may have taken effect.
 * VDT_ERROR_REFUSED too, before anything is sent, for a group that no negotiated command covers;
 * VDT_ERROR_INVALID for a state that is not valid.
 */
bool vdt_replay(const struct vdt_net_state *state, uint64_t features, struct vdt_device_cvq *cvq,
                unsigned deadline_ms, struct vdt_replay_report *report, GError **error);

/*
 * The same in two parts, for a device whose data rings are enabled last: all that it takes before,
 * and what it takes only for enabled rings (coalescing of single rings). vdt_replay() is both at
 * once; a strict device refuses the second part of it while the rings are not enabled. A report
 * tells of one part.
 */
bool vdt_replay_early(const struct vdt_net_state *state, uint64_t features,
                      struct vdt_device_cvq *cvq, unsigned deadline_ms,
                      struct vdt_replay_report *report, GError **error);
bool vdt_replay_late(const struct vdt_net_state *state, uint64_t features,
                     struct vdt_device_cvq *cvq, unsigned deadline_ms,
                     struct vdt_replay_report *report, GError **error);
