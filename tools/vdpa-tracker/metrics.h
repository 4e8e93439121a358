/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Metrics: what trackers say of themselves, as OpenMetrics text. One table holds every family: its
 * name, type, unit, help, and where in a tracker's status its value is.
 */
#pragma once

#include <glib.h>

/* @trackers: of struct vdt_listed_tracker. Ends with "# EOF". Caller frees. */
char *vdt_metrics_text(const GPtrArray *trackers);

/* " and \ and line ends as a label's value has them, appended. */
void vdt_metrics_escape(GString *text, const char *value);
