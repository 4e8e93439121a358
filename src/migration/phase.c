/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "migration/phase.h"

#include <vdpa-tracker/error.h>

#define TO(phase) (1u << VDT_PHASE_##phase)

/* From every phase of rest a guest may start, stop or vanish; a swap goes through its steps. A
 * start is one into the log where the VMM still migrates: it goes on after a failure, or after
 * ours. */
static const struct {
    const char *name;
    unsigned next;
} phases[VDT_PHASE_COUNT] = {
    [VDT_PHASE_IDLE] = {"idle", TO(IDLE) | TO(LOADED) | TO(RUNNING) | TO(LOGGING) | TO(SAVED) |
                                    TO(OPENING)},
    [VDT_PHASE_LOADED] = {"loaded", TO(LOADED) | TO(IDLE) | TO(RUNNING) | TO(LOGGING)},
    [VDT_PHASE_RUNNING] = {"running",
                           TO(RUNNING) | TO(LOGGING) | TO(STOPPED) | TO(IDLE) | TO(OPENING)},
    [VDT_PHASE_LOGGING] = {"logging", TO(LOGGING) | TO(RUNNING) | TO(STOPPED) | TO(IDLE)},
    [VDT_PHASE_STOPPED] = {"stopped", TO(STOPPED) | TO(SAVED) | TO(RUNNING) | TO(LOGGING) |
                                          TO(IDLE) | TO(LOADED) | TO(OPENING)},
    [VDT_PHASE_SAVED] = {"saved", TO(SAVED) | TO(RUNNING) | TO(LOGGING) | TO(IDLE) | TO(LOADED) |
                                      TO(STOPPED)},
    [VDT_PHASE_OPENING] = {"opening", TO(CHECKING) | TO(IDLE) | TO(RUNNING) | TO(STOPPED)},
    [VDT_PHASE_CHECKING] = {"checking", TO(FREEZING) | TO(IDLE) | TO(RUNNING) | TO(STOPPED)},
    [VDT_PHASE_FREEZING] = {"freezing", TO(EXCHANGING) | TO(RETURNING)},
    [VDT_PHASE_EXCHANGING] = {"exchanging", TO(THAWING) | TO(RETURNING)},
    [VDT_PHASE_THAWING] = {"thawing", TO(RUNNING) | TO(STOPPED) | TO(IDLE) | TO(RETURNING)},
    [VDT_PHASE_RETURNING] = {"returning", TO(RUNNING) | TO(STOPPED) | TO(IDLE)},
};

const char *
vdt_phase_name(enum vdt_phase phase)
{
    return phase < VDT_PHASE_COUNT ? phases[phase].name : "unknown";
}

bool
vdt_phase_legal(enum vdt_phase from, enum vdt_phase to)
{
    return from < VDT_PHASE_COUNT && to < VDT_PHASE_COUNT && (phases[from].next >> to & 1);
}

bool
vdt_phase_move(enum vdt_phase *phase, enum vdt_phase to, GError **error)
{
    if (!vdt_phase_legal(*phase, to)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_BUSY,
                    "the NIC is %s and cannot go from there to %s; nothing was changed",
                    vdt_phase_name(*phase), vdt_phase_name(to));
        return false;
    }
    *phase = to;
    return true;
}

void
vdt_phase_clock_start(struct vdt_phase_clock *clock, enum vdt_phase phase, int64_t mono,
                      int64_t real)
{
    *clock = (struct vdt_phase_clock){.now = phase, .entered = mono};
    clock->of[phase] = (struct vdt_phase_time){.count = 1, .since_us = real};
}

void
vdt_phase_clock_step(struct vdt_phase_clock *clock, enum vdt_phase phase, int64_t mono,
                     int64_t real)
{
    if (phase == clock->now)
        return;
    struct vdt_phase_time *left = &clock->of[clock->now];
    left->last_us = mono - clock->entered;
    left->total_us += left->last_us;
    clock->now = phase;
    clock->entered = mono;
    clock->of[phase].count++;
    clock->of[phase].since_us = real;
}

struct vdt_phase_time
vdt_phase_clock_read(const struct vdt_phase_clock *clock, enum vdt_phase phase, int64_t mono)
{
    struct vdt_phase_time time = clock->of[phase];

    if (phase == clock->now) {
        time.last_us = mono - clock->entered;
        time.total_us += time.last_us;
    }
    return time;
}
