/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Expectation: what a device has to hold after a control command of the guest, as the specification
 * has it (virtio 1.2, 5.1.6.5; 1.3 for coalescing). Written from the text and for the guest's own
 * commands alone; it shares nothing with the tracker's rules nor with the simulator.
 */
#pragma once

#include "guest/script.h"

void vdt_expectation_apply(struct vdt_net_state *state, const struct vdt_script_pending *p);
