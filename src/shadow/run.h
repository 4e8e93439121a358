/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Run: chains of one descriptor, as most are, moved straight from ring to ring.
 *
 * A run ends before the first chain that is anything else, breaks a rule or lies in another stretch
 * of memory, and at the end of either ring's memory: whoever gets 0 takes the next chain the long
 * way, which judges it.
 */
#pragma once

#include "shadow/relay.h"

/* How many went the way to the device or back; at most @limit. Neither publishes anything. */
unsigned vdt_run_forward(struct vdt_relay *relay, unsigned limit);
unsigned vdt_run_back(struct vdt_relay *relay, unsigned limit);
