/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Case list: test cases that run one after the other, and a JUnit file of them that is true at any
 * moment: it is there before the first case begins, and written again after each, so that a test
 * which is cut off, by its time limit, by a signal or by SIGKILL, leaves what it knew.
 *
 * Thread: cases run on the caller's. A watcher ends the process when the time is over or a signal
 * comes; whatever a case waits for then.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "base/auto.h"

enum vdt_verdict {
    VDT_CASE_PLANNED,
    VDT_CASE_RUNNING,
    VDT_CASE_PASSED,
    VDT_CASE_FAILED,
    VDT_CASE_SKIPPED,
};

/* What a case returns: VDT_CASE_PASSED, _FAILED or _SKIPPED, and why in @said; of one that passed
 * @said is for the record. VDT_CASE_BROKEN: it failed, and what follows would make no sense. */
#define VDT_CASE_BROKEN 100

typedef int (*vdt_case_run)(void *ctx, unsigned arg, GString *said);

struct vdt_case {
    const char *group; /* static */
    char *name;        /* owned */
    vdt_case_run run;
    unsigned arg;
    bool always; /* also where an earlier one broke */
    enum vdt_verdict verdict;
    char *said; /* owned, NULL */
    int64_t us;
};

struct vdt_case_list {
    const char *title, *path; /* borrowed; @path: of the JUnit file */
    void *ctx;
    GPtrArray *cases;      /* owned, of struct vdt_case */
    GPtrArray *properties; /* owned, names and values in turns */
    int64_t created_us;    /* of the wall clock */
    int64_t began;
    /* A line about a case that has ended. */
    void (*told)(const struct vdt_case *one);
    /* Called by the watcher before it ends the process: end what would outlive it. */
    void (*cut_off)(void *ctx);
    GMutex lock;
};

struct vdt_case_list *vdt_case_list_new(const char *title, const char *path, void *ctx);
void vdt_case_list_free(struct vdt_case_list *list); /* accepts NULL */
VDT_DEFINE_AUTO(case_list, vdt_case_list_free)

/* @group: static. */
void G_GNUC_PRINTF(5, 6) vdt_case_list_add(struct vdt_case_list *list, const char *group,
                                           vdt_case_run run, unsigned arg, const char *name, ...);
/* What the file says of the whole. A name that is there gets the new value. */
void G_GNUC_PRINTF(3, 4)
    vdt_case_list_note(struct vdt_case_list *list, const char *name, const char *value, ...);

/* Signals that end a test are the watcher's: call before the process has other threads. */
void vdt_case_list_block_signals(void);

/* All of them, in @seconds at most. False with @error: the file cannot be written; where that is so
 * from the beginning, nothing has run. */
bool vdt_case_list_run(struct vdt_case_list *list, unsigned seconds, GError **error);

unsigned vdt_case_list_count(const struct vdt_case_list *list, enum vdt_verdict verdict);
