/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The built-in guest's cases, of which a move's have a file of their own.
 */
#pragma once

#include "tools/vdpa-tracker/ci.h"
#include "tools/vdpa-tracker/course.h"

struct vdt_builtin {
    struct vdt_ci *ci;
    struct vdt_course_options options;
    struct vdt_course_report report;
    struct vdt_course course;
    unsigned legs;            /* that have begun */
    uint64_t received_before; /* when logging went on */
    uint64_t acked_before;    /* when the guest arrived */
    unsigned reasons_told;    /* of the report's */
};

struct vdt_builtin *vdt_builtin_of(void *ctx); /* of a case's context */

/* A step that could not be done: its reason. VDT_CASE_BROKEN. */
int vdt_builtin_broken(struct vdt_builtin *guest, GString *said, GError *error);

/* The report's new reasons, if there are any. */
bool vdt_builtin_blamed(struct vdt_builtin *guest, GString *said);

/* What tracker @name says of the control state, and what the guest has set: lines that differ go to
 * @said. The guest is paused. */
int vdt_builtin_compare(struct vdt_builtin *guest, const char *name, GString *said);

/* The cases of a move. */
void vdt_builtin_add_move(struct vdt_ci *ci, unsigned leg);
