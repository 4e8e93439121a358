/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rehearse: replay a snapshot's control state into a device that serves no guest: bring-up with the
 * control queue and empty data rings, replay, read back. The device is reset afterwards.
 *
 * Thread: control, blocks.
 */
#pragma once

#include "control/replay.h"
#include "snapshot/snapshot.h"

/* @net is replayed: what a start would send, which may be more than the snapshot's own. @report is
 * filled also on failure, up to the command that failed. VDT_ERROR_REFUSED where the device cannot
 * take the state or answered a command with ERR. @dev has nothing of ours mapped, before and after.
 */
bool vdt_rehearse(struct vdt_device *dev, const struct vdt_snapshot *snapshot,
                  const struct vdt_net_state *net, unsigned deadline_ms,
                  struct vdt_replay_report *report, GError **error);
