/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Watch phase: where a domain stands in a migration, by what its libvirt tells of it. One table;
 * an event that tells nothing new, or comes late, changes nothing. No libvirt here: whoever hears
 * it says it in these words.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum vdt_watch_phase {
    VDT_WATCH_OFF,
    VDT_WATCH_RUNNING,
    VDT_WATCH_PAUSED,
    VDT_WATCH_PRECOPY,  /* source: memory is copied while the guest runs */
    VDT_WATCH_HANDOVER, /* source: the guest stands still */
    VDT_WATCH_INCOMING, /* destination: waits for the guest */
    VDT_WATCH_PHASES
};

enum vdt_watch_event {
    /* what the domain is found to be, after connecting */
    VDT_WATCH_FOUND_OFF,
    VDT_WATCH_FOUND_RUNNING,
    VDT_WATCH_FOUND_PAUSED,
    VDT_WATCH_FOUND_PRECOPY,
    VDT_WATCH_FOUND_HANDOVER,
    VDT_WATCH_FOUND_INCOMING,
    /* what happens to it */
    VDT_WATCH_STARTED,
    VDT_WATCH_STARTED_INCOMING,
    VDT_WATCH_SUSPENDED,
    VDT_WATCH_SUSPENDED_MIGRATED, /* of a source */
    VDT_WATCH_RESUMED,
    VDT_WATCH_RESUMED_MIGRATED,
    VDT_WATCH_STOPPED,
    VDT_WATCH_STOPPED_MIGRATED,
    VDT_WATCH_STOPPED_FAILED,
    VDT_WATCH_PASS,     /* a pass over memory begins */
    VDT_WATCH_JOB_GONE, /* asked: no migration is under way any more */
    VDT_WATCH_EVENTS
};

/* What a step says of a migration. */
enum vdt_watch_outcome {
    VDT_WATCH_NONE,
    VDT_WATCH_BEGINS, /* see the phase: out, or in */
    VDT_WATCH_LEFT,
    VDT_WATCH_STAYED, /* it failed: the guest goes on at the source, or has ended there */
    VDT_WATCH_ARRIVED,
    VDT_WATCH_NOT_ARRIVED,
    VDT_WATCH_UNSEEN, /* it ended while nobody listened */
    VDT_WATCH_OUTCOMES
};

struct vdt_watch_state {
    enum vdt_watch_phase phase;
    bool known;                        /* @phase was told, not assumed */
    bool migrates;                     /* since @began_us */
    int64_t since_us;                  /* of @phase, monotonic */
    int64_t began_us;                  /* the migration, or the last one, monotonic */
    unsigned passes;                   /* of it */
    int64_t last_us[VDT_WATCH_PHASES]; /* the last stay that ended */
    uint64_t count[VDT_WATCH_OUTCOMES];
};

struct vdt_watch_change {
    enum vdt_watch_phase from, to;
    bool first;      /* @from is not known */
    int64_t took_us; /* the stay in @from */
    int64_t into_us; /* since the migration began; -1: none under way */
    enum vdt_watch_outcome outcome;
    const char *note; /* NULL: the phase says it all */
};

enum vdt_watch_step { VDT_WATCH_NOTHING, VDT_WATCH_COUNTED, VDT_WATCH_CHANGED };

/* @pass: the number that came with VDT_WATCH_PASS. COUNTED: another pass, the phase is the same. */
enum vdt_watch_step vdt_watch_step(struct vdt_watch_state *state, enum vdt_watch_event event,
                                   unsigned pass, int64_t now_us, struct vdt_watch_change *ret);

const char *vdt_watch_phase_name(enum vdt_watch_phase phase);
const char *vdt_watch_outcome_name(enum vdt_watch_outcome outcome); /* NULL: of NONE */
