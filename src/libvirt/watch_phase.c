/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libvirt/watch_phase.h"

#include <stddef.h>

#define IN(phase) (1u << VDT_WATCH_##phase)
#define OUTGOING (IN(PRECOPY) | IN(HANDOVER))
#define QUIET (IN(OFF) | IN(RUNNING) | IN(PAUSED))
#define ANY (QUIET | OUTGOING | IN(INCOMING))

#define UNSEEN_NOTE "how the migration ended was not seen"

/* The first row that fits counts. A guest that is paused migrates without ever standing in
 * HANDOVER, and a libvirt without migration events tells of no pass. */
static const struct edge {
    unsigned from;
    enum vdt_watch_event event;
    enum vdt_watch_phase to;
    enum vdt_watch_outcome outcome;
    const char *note;
} edges[] = {
    /* the source */
    {IN(RUNNING) | IN(PAUSED), VDT_WATCH_PASS, VDT_WATCH_PRECOPY, VDT_WATCH_BEGINS, NULL},
    {IN(RUNNING) | IN(PAUSED), VDT_WATCH_SUSPENDED_MIGRATED, VDT_WATCH_HANDOVER, VDT_WATCH_BEGINS,
     "no pass over memory was told"},
    {IN(PRECOPY), VDT_WATCH_SUSPENDED_MIGRATED, VDT_WATCH_HANDOVER, VDT_WATCH_NONE, NULL},
    {OUTGOING, VDT_WATCH_STOPPED_MIGRATED, VDT_WATCH_OFF, VDT_WATCH_LEFT,
     "the guest is at the destination"},
    {IN(RUNNING) | IN(PAUSED), VDT_WATCH_STOPPED_MIGRATED, VDT_WATCH_OFF, VDT_WATCH_LEFT,
     "the guest is at the destination; its migration was not seen"},
    {IN(HANDOVER), VDT_WATCH_RESUMED, VDT_WATCH_RUNNING, VDT_WATCH_STAYED,
     "the migration failed; the guest goes on here"},
    {IN(HANDOVER), VDT_WATCH_RESUMED_MIGRATED, VDT_WATCH_RUNNING, VDT_WATCH_STAYED,
     "the migration failed; the guest goes on here"},
    {IN(PRECOPY), VDT_WATCH_JOB_GONE, VDT_WATCH_RUNNING, VDT_WATCH_STAYED,
     "the migration was given up before the guest stood still"},
    {OUTGOING, VDT_WATCH_STOPPED, VDT_WATCH_OFF, VDT_WATCH_STAYED,
     "the guest ended during its migration"},
    {OUTGOING, VDT_WATCH_STOPPED_FAILED, VDT_WATCH_OFF, VDT_WATCH_STAYED,
     "the guest failed during its migration"},
    /* the destination */
    {QUIET, VDT_WATCH_STARTED_INCOMING, VDT_WATCH_INCOMING, VDT_WATCH_BEGINS, NULL},
    {IN(INCOMING), VDT_WATCH_RESUMED_MIGRATED, VDT_WATCH_RUNNING, VDT_WATCH_ARRIVED, NULL},
    {IN(INCOMING), VDT_WATCH_RESUMED, VDT_WATCH_RUNNING, VDT_WATCH_ARRIVED, NULL},
    {IN(INCOMING), VDT_WATCH_SUSPENDED, VDT_WATCH_PAUSED, VDT_WATCH_ARRIVED,
     "as at the source, the guest is paused"},
    {IN(INCOMING), VDT_WATCH_STOPPED, VDT_WATCH_OFF, VDT_WATCH_NOT_ARRIVED,
     "the guest did not come"},
    {IN(INCOMING), VDT_WATCH_STOPPED_FAILED, VDT_WATCH_OFF, VDT_WATCH_NOT_ARRIVED,
     "the guest did not come"},
    /* otherwise */
    {IN(OFF), VDT_WATCH_STARTED, VDT_WATCH_RUNNING, VDT_WATCH_NONE, NULL},
    {IN(RUNNING), VDT_WATCH_SUSPENDED, VDT_WATCH_PAUSED, VDT_WATCH_NONE, NULL},
    {IN(PAUSED), VDT_WATCH_RESUMED, VDT_WATCH_RUNNING, VDT_WATCH_NONE, NULL},
    {IN(RUNNING) | IN(PAUSED), VDT_WATCH_STOPPED, VDT_WATCH_OFF, VDT_WATCH_NONE, NULL},
    {IN(RUNNING) | IN(PAUSED), VDT_WATCH_STOPPED_FAILED, VDT_WATCH_OFF, VDT_WATCH_NONE,
     "the guest failed"},
    /* found so */
    {OUTGOING | IN(INCOMING), VDT_WATCH_FOUND_OFF, VDT_WATCH_OFF, VDT_WATCH_UNSEEN, UNSEEN_NOTE},
    {OUTGOING | IN(INCOMING), VDT_WATCH_FOUND_RUNNING, VDT_WATCH_RUNNING, VDT_WATCH_UNSEEN,
     UNSEEN_NOTE},
    {OUTGOING | IN(INCOMING), VDT_WATCH_FOUND_PAUSED, VDT_WATCH_PAUSED, VDT_WATCH_UNSEEN,
     UNSEEN_NOTE},
    {QUIET, VDT_WATCH_FOUND_OFF, VDT_WATCH_OFF, VDT_WATCH_NONE, NULL},
    {QUIET, VDT_WATCH_FOUND_RUNNING, VDT_WATCH_RUNNING, VDT_WATCH_NONE, NULL},
    {QUIET, VDT_WATCH_FOUND_PAUSED, VDT_WATCH_PAUSED, VDT_WATCH_NONE, NULL},
    {QUIET, VDT_WATCH_FOUND_PRECOPY, VDT_WATCH_PRECOPY, VDT_WATCH_BEGINS,
     "its beginning was not seen"},
    {QUIET, VDT_WATCH_FOUND_HANDOVER, VDT_WATCH_HANDOVER, VDT_WATCH_BEGINS,
     "its beginning was not seen"},
    {IN(PRECOPY), VDT_WATCH_FOUND_HANDOVER, VDT_WATCH_HANDOVER, VDT_WATCH_NONE, NULL},
    {QUIET, VDT_WATCH_FOUND_INCOMING, VDT_WATCH_INCOMING, VDT_WATCH_BEGINS,
     "its beginning was not seen"},
};

static const char *const phase_names[VDT_WATCH_PHASES] = {
    [VDT_WATCH_OFF] = "off",           [VDT_WATCH_RUNNING] = "running",
    [VDT_WATCH_PAUSED] = "paused",     [VDT_WATCH_PRECOPY] = "precopy",
    [VDT_WATCH_HANDOVER] = "handover", [VDT_WATCH_INCOMING] = "incoming",
};

static const char *const outcome_names[VDT_WATCH_OUTCOMES] = {
    [VDT_WATCH_BEGINS] = "begins",           [VDT_WATCH_LEFT] = "left",
    [VDT_WATCH_STAYED] = "stayed",           [VDT_WATCH_ARRIVED] = "arrived",
    [VDT_WATCH_NOT_ARRIVED] = "not-arrived", [VDT_WATCH_UNSEEN] = "unseen",
};

const char *
vdt_watch_phase_name(enum vdt_watch_phase phase)
{
    return phase < VDT_WATCH_PHASES ? phase_names[phase] : "unknown";
}

const char *
vdt_watch_outcome_name(enum vdt_watch_outcome outcome)
{
    return outcome < VDT_WATCH_OUTCOMES ? outcome_names[outcome] : NULL;
}

static const struct edge *
find_edge(enum vdt_watch_phase phase, enum vdt_watch_event event)
{
    for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
        if (edges[i].event == event && edges[i].from >> phase & 1)
            return &edges[i];
    }
    return NULL;
}

enum vdt_watch_step
vdt_watch_step(struct vdt_watch_state *state, enum vdt_watch_event event, unsigned pass,
               int64_t now_us, struct vdt_watch_change *ret)
{
    const struct edge *edge = find_edge(state->phase, event);
    bool outgoing = OUTGOING >> state->phase & 1;

    if (event == VDT_WATCH_PASS && outgoing) {
        state->passes = pass;
        return VDT_WATCH_COUNTED;
    }
    if (!edge || (edge->to == state->phase && state->known))
        return VDT_WATCH_NOTHING;
    if (edge->outcome == VDT_WATCH_BEGINS) {
        state->migrates = true;
        state->began_us = now_us;
        state->passes = event == VDT_WATCH_PASS ? pass : 0;
    }
    *ret = (struct vdt_watch_change){
        .from = state->phase,
        .to = edge->to,
        .first = !state->known,
        .took_us = state->known ? now_us - state->since_us : 0,
        .into_us = state->migrates ? now_us - state->began_us : -1,
        .outcome = edge->outcome,
        .note = edge->note,
    };
    if (state->known)
        state->last_us[state->phase] = ret->took_us;
    state->count[edge->outcome]++;
    state->migrates = (OUTGOING | IN(INCOMING)) >> edge->to & 1;
    state->phase = edge->to;
    state->known = true;
    state->since_us = now_us;
    return VDT_WATCH_CHANGED;
}
