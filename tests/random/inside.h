/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside: what has to hold in a tracker's own books at any moment, whatever guest and device do.
 *
 * Thread: the side's control thread; a ring that runs is looked at on its data thread, between two
 * events.
 */
#pragma once

#include "random/side.h"

/* Each ring that is shadowed: what is free and what is in flight make up the ring, and all who
 * count the same count the same. NULL, or which ring does not; g_free(). */
char *inside_rings(struct side *side);

/* The device has mapped the guest's memory as it is now, our own stretch, and nothing else. NULL,
 * or what is wrong; g_free(). */
char *inside_maps(struct side *side);

bool inside_passed_through(struct side *side);
/* Frames of the tracker's own that this start put on the wire at most. */
unsigned inside_own_frames(struct side *side);
