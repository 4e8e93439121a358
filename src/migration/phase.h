/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Phase: where a NIC stands on its way from one device to another, and which steps are legal.
 *
 * One table says it all; whoever takes a step asks it first, so that a message at the wrong time is
 * an error and not a surprise. Thread: control.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

enum vdt_phase {
    VDT_PHASE_IDLE,       /* no ring runs and no state is held */
    VDT_PHASE_LOADED,     /* a state came in and waits for the guest */
    VDT_PHASE_RUNNING,    /* the guest's rings run */
    VDT_PHASE_LOGGING,    /* the same under LOG_ALL: a migration is on */
    VDT_PHASE_STOPPED,    /* the rings were stopped, their state is kept */
    VDT_PHASE_SAVED,      /* that state was handed over */
    VDT_PHASE_OPENING,    /* swap: the other device is opened */
    VDT_PHASE_CHECKING,   /* swap: can it take the state? */
    VDT_PHASE_FREEZING,   /* swap: the device comes to a stop */
    VDT_PHASE_EXCHANGING, /* swap: the other device takes its place */
    VDT_PHASE_THAWING,    /* swap: replay, read back, go on */
    VDT_PHASE_RETURNING,  /* swap failed: the first device goes on */
    VDT_PHASE_COUNT
};

const char *vdt_phase_name(enum vdt_phase phase);
bool vdt_phase_legal(enum vdt_phase from, enum vdt_phase to);

/* Take the step. False with @error (VDT_ERROR_BUSY) and @phase unchanged where it is not legal. */
bool vdt_phase_move(enum vdt_phase *phase, enum vdt_phase to, GError **error);

/* When a NIC was in which phase. */
struct vdt_phase_clock {
    enum vdt_phase now;
    int64_t entered; /* the present one, monotonic */
    struct vdt_phase_time {
        uint64_t count;   /* how often it was entered */
        int64_t since_us; /* the last time, realtime */
        int64_t last_us;  /* the length of the last stay that ended */
        int64_t total_us; /* of all that ended */
    } of[VDT_PHASE_COUNT];
};

void vdt_phase_clock_start(struct vdt_phase_clock *clock, enum vdt_phase phase, int64_t mono,
                           int64_t real);
/* @phase is the one from now on; no step where it was before. */
void vdt_phase_clock_step(struct vdt_phase_clock *clock, enum vdt_phase phase, int64_t mono,
                          int64_t real);
/* With the present stay as far as it goes: it is the last one. */
struct vdt_phase_time vdt_phase_clock_read(const struct vdt_phase_clock *clock,
                                           enum vdt_phase phase, int64_t mono);
