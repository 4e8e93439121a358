/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Demo: one course from an embedded device to another, and a verdict. The verb reads options and
 * prints.
 */
#pragma once

#include "tools/vdpa-tracker/course.h"

struct vdt_demo_options {
    struct vdt_course_options course; /* its devices are made up here */
    bool out_of_order;
    const char *source, *target; /* more options of the embedded devices, NULL */
};

/* @ret_report is filled whenever a verdict was reached; clear it in either case. False: no verdict,
 * something could not be done. */
bool vdt_demo_run(const struct vdt_demo_options *options, struct vdt_course_report *ret_report,
                  GError **error);
