/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Admit: may this device take that state, before it does; and did it, after the replay.
 *
 * Thread: control, blocks.
 */
#pragma once

#include "snapshot/snapshot.h"

/* The device's whole config space, up to VDT_CONFIG_MAX. */
bool vdt_admit_read_config(struct vdt_device *dev, uint8_t config[VDT_CONFIG_MAX],
                           uint32_t *ret_len, GError **error);

/* Every reason why @dev cannot take @snapshot; empty when it can. GPtrArray of char *. NULL with
 * @error where the device does not answer. */
GPtrArray *vdt_admit_reasons(const struct vdt_snapshot *snapshot, struct vdt_device *dev,
                             GError **error);

/* The same as an answer: VDT_ERROR_REFUSED with all the reasons. @memory: bytes of guest memory
 * that it is to map beside what this process has mapped already, 0 where that is not known. */
bool vdt_admit(const struct vdt_snapshot *snapshot, struct vdt_device *dev, uint64_t memory,
               GError **error);

/* Why @dev cannot have @memory bytes of guest memory in this process; NULL if it can. Caller frees.
 */
char *vdt_admit_memory(struct vdt_device *dev, uint64_t memory);

/* Compare what the device holds with @state, where it can tell: its own control state (simulator),
 * else nothing to say. False with @error (VDT_ERROR_FAILED) naming each difference. */
bool vdt_admit_read_back(struct vdt_device *dev, const struct vdt_net_state *state, GError **error);
