/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Model: what the guest's device has been told, as followed on its control queue. Survives device
 * resets of ours (the state goes into the next device), not those of the guest.
 *
 * Thread: control.
 */
#pragma once

#include "control/command.h"

struct vdt_control_model {
    struct vdt_net_state state;
    uint64_t features;                /* acked by the guest */
    struct vdt_control_limits limits; /* as the guest sees them in its config space */
    char *unmigratable;               /* owned: why this state cannot be carried, NULL if it can */
    uint64_t captured;                /* commands applied */
    uint64_t refused;                 /* commands answered with ERR, by us or by the device */
};

void vdt_control_model_init(struct vdt_control_model *model);
void vdt_control_model_clear(struct vdt_control_model *model);
/* The guest reset its device or negotiates anew: forget everything but the limits. */
void vdt_control_model_reset(struct vdt_control_model *model, uint64_t features);
/* First reason wins. */
void vdt_control_model_set_unmigratable(struct vdt_control_model *model, const char *reason);
