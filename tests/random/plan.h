/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Plan: what one seed draws. Everything that a seed decides is drawn here, in one order, so that a
 * seed that failed makes the same plan when it is run alone; threads are then still free to race.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "shadow/shadow.h"

enum plan_end {
    PLAN_MOVE,   /* the destination goes on */
    PLAN_REFUSE, /* the destination refuses command k; the source goes on */
    PLAN_AGAIN,  /* the same, and a second destination goes on */
    PLAN_CANCEL, /* the source stopped, and goes on */
};

/* A region of memory that comes and goes under traffic. */
enum plan_memory {
    PLAN_STAYS,
    PLAN_REGION, /* by itself: the device goes on */
    PLAN_TABLE,  /* with a whole new table: the device starts anew */
};

struct plan {
    uint64_t seed;
    GRand *rand; /* owned: for what is drawn on the way */
    bool packed, event_idx, indirect, in_order, ooo, no_suspend;
    unsigned pairs, num, hold, latency;
    uint64_t dropped; /* features that the guest does not take */
    unsigned steps_before, steps_logging, batch, command_every;
    unsigned vlans;
    enum vdt_shadow_policy policy;
    enum plan_end end;
    bool twice;  /* replay a second time */
    bool wavers; /* the log goes on, off and on again */
    enum plan_memory grows;
    unsigned nak;          /* the command of the guest that the source refuses; 0: none */
    char *source, *target; /* owned: specs of the devices */
};

void plan_draw(struct plan *plan, uint64_t seed);
void plan_clear(struct plan *plan);
unsigned plan_below(struct plan *plan, unsigned end);
char *plan_describe(const struct plan *plan); /* one line; g_free() */
