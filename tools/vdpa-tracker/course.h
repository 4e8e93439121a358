/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Course: the steps of live migrations between two trackers, each a process of its own, with the
 * built-in guest and VMM in this one. Who takes them decides in which order, and what to make of
 * the report: the demo goes once, a test for others there and back.
 *
 * A step that returns false could not be done, @error says why. What was done and went wrong is a
 * reason in the report.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>

#include "guest/migrate.h"
#include "guest/script.h"
#include "tools/vdpa-tracker/tracker_process.h"

struct vdt_course_options {
    const char *device[2];              /* where the guest starts, and where it goes first */
    const char *shadow, *features_from; /* as for run; NULL */
    unsigned pairs;                     /* that the guest uses, at most */
    uint16_t num;                       /* size of a ring */
    unsigned vlans, memory_mib, rounds, commands;
    double duration; /* seconds that rounds are made, at least */
    uint64_t seed;
    uint32_t run; /* of its frames, see guest/frames.h */
    bool packed;
    bool modest; /* the guest, see guest/script.h */
    /* A line about what happens now; @done: this step will say no more. */
    void (*progress)(const char *line, bool done);
};

struct vdt_course_report {
    struct vdt_driver_sums sums;
    uint64_t lost; /* chains that should have come back */
    uint64_t pages_written, pages_missed, first_missed, pages_copied, pages_by_processor;
    uint64_t captured, replayed, refused, commands_before;
    uint64_t of_kind[VDT_SCRIPT_KINDS];
    uint64_t frames_sent, frames_received, frames_corrupt, frames_foreign;
    uint64_t in_flight_rx, in_flight_tx, in_flight_control, rounds, memory_pages;
    int64_t downtime_us, replay_us;
    int64_t total_us; /* from logging on until the guest works at the destination */
    int64_t first_copy_us;
    uint64_t snapshot_bytes;
    bool state_read;    /* the destination's device could be asked what it holds ... */
    bool state_equal;   /* ... and that is what it should */
    GPtrArray *reasons; /* owned strings: what went wrong; empty when nothing did */
};

struct vdt_course_side {
    struct vdt_tracker_process *process; /* owned */
    struct vdt_ram ram;
    struct vdt_vmm vmm;
};

struct vdt_course {
    const struct vdt_course_options *options; /* borrowed */
    struct vdt_course_report *report;         /* borrowed */
    struct vdt_course_side side[2];
    unsigned from; /* the side that the guest is to leave */
    bool loops;    /* the guest's frames come back to it, as far as is known */
    struct vdt_driver driver;
    struct vdt_script script;
    struct vdt_traffic traffic;
    struct vdt_migrate migrate;
    /* What the source's device held at the stop (NULL where it can not be asked), and what the
     * guest thinks it did. */
    JsonNode *source_state, *expected_state;
};

/* What the guest has seen so far. */
struct vdt_course_look {
    struct vdt_driver_sums sums;
    uint64_t acked, sent, received;
    bool quiet, complete; /* of the script */
};

/* @report cleared by its owner, after the course. */
void vdt_course_init(struct vdt_course *course, const struct vdt_course_options *options,
                     struct vdt_course_report *report);
/* Ends guest and trackers, wherever the course stands. */
void vdt_course_clear(struct vdt_course *course);
void vdt_course_report_clear(struct vdt_course_report *report);

struct vdt_course_look vdt_course_look(struct vdt_course *course);
/* False with @error: a tracker has ended by itself. */
bool vdt_course_both_alive(struct vdt_course *course, GError **error);

/* ---- steps, in their order ---- */

bool vdt_course_start_trackers(struct vdt_course *course, GError **error);
bool vdt_course_start_guest(struct vdt_course *course, GError **error);
/* Watch the guest for @seconds. */
bool vdt_course_run_for(struct vdt_course *course, double seconds, const char *where,
                        GError **error);
/* Until no command is left and none in flight: @what for the reason if that lasts too long. */
bool vdt_course_wait_for_script(struct vdt_course *course, const char *what, GError **error);

/* Logging on, and rounds of copying. */
bool vdt_course_precopy(struct vdt_course *course, GError **error);
/* The source device's own state, and what the guest thinks it is. */
bool vdt_course_note_state(struct vdt_course *course, GError **error);
bool vdt_course_stop(struct vdt_course *course, GError **error);
/* After vdt_migrate_land(): until the first chain comes back, or the destination says that none
 * will. */
bool vdt_course_arrive(struct vdt_course *course, GError **error);
/* The source's state as it stopped, and the destination's as it started. */
bool vdt_course_judge_switch(struct vdt_course *course, GError **error);
/* At the destination the guest sees that it should announce itself, and does; its script goes on.
 */
bool vdt_course_answer_announce(struct vdt_course *course, GError **error);
/* Let everything that is in flight come back: transmit and control first, then each receive buffer
 * by a short frame of its own. */
bool vdt_course_drain(struct vdt_course *course, GError **error);

/* The guest paused: what it has seen goes into the report, and what is wrong with that. */
void vdt_course_sum(struct vdt_course *course);
void vdt_course_judge_requests(struct vdt_course *course);
void vdt_course_judge_pages(struct vdt_course *course);
void vdt_course_judge_frames(struct vdt_course *course);
void vdt_course_judge_commands(struct vdt_course *course);

/* The guest works on, and may leave for where it came from, with a VMM that has just started there.
 * The report begins anew but for its reasons. */
bool vdt_course_turn(struct vdt_course *course, GError **error);
