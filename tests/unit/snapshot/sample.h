/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Samples: snapshots made by hand (the golden files') and by chance (properties).
 */
#pragma once

#include "snapshot/snapshot.h"

struct sample {
    const char *name; /* tests/golden/NAME.vdts and NAME.json */
    unsigned format;
    struct vdt_snapshot *(*make)(void);
};

/* Ends with a NULL name. */
extern const struct sample samples[];

struct vdt_snapshot *sample_split(void);  /* stopped, two pairs and a control queue, in flight */
struct vdt_snapshot *sample_packed(void); /* stopped, segments in flight, positions wrapped */

struct vdt_snapshot *sample_indirect(void); /* packed, a request by an indirect table in flight */

/* A valid one; the same @rand, the same snapshot. */
struct vdt_snapshot *sample_random(GRand *rand);

/* NULL when equal, else what differs. Caller frees. Every field but the format that it was read
 * from, also those of no meaning to vdt_snapshot_diff(). */
char *sample_difference(const struct vdt_snapshot *a, const struct vdt_snapshot *b);
