/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Demo: a whole live migration between two trackers, each a process with an embedded device of its
 * own, and the built-in guest in this one. The verb reads options and prints; here it happens.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>

#include "guest/script.h"

struct vdt_demo_options {
    unsigned pairs, vlans, memory_mib, rounds, commands;
    double duration; /* seconds that the guest runs on each side, at least */
    uint64_t seed;
    bool packed, out_of_order;
    const char *source, *target; /* more options of the embedded devices, NULL */
    const char *shadow;
    /* A line about what happens now; @done: this step will say no more. */
    void (*progress)(const char *line, bool done);
};

struct vdt_demo_report {
    uint64_t available, used, lost, duplicated;
    uint64_t pages_written, pages_missed, first_missed, pages_copied, pages_by_processor;
    uint64_t captured, replayed, refused, commands_before;
    uint64_t of_kind[VDT_SCRIPT_KINDS];
    uint64_t frames_sent, frames_received, frames_corrupt;
    uint64_t in_flight_rx, in_flight_tx, in_flight_control, rounds, memory_pages;
    int64_t downtime_us, replay_us;
    int64_t total_us; /* from logging on until the guest works at the destination */
    int64_t first_copy_us;
    uint64_t snapshot_bytes;
    bool state_equal;
    GPtrArray *reasons; /* owned strings: why the verdict is not ok; empty when it is */
};

/* @ret_report is filled whenever a verdict was reached; clear it in either case. False: no verdict,
 * something could not be done. */
bool vdt_demo_run(const struct vdt_demo_options *options, struct vdt_demo_report *ret_report,
                  GError **error);
void vdt_demo_report_clear(struct vdt_demo_report *report);
