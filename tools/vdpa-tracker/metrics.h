/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Metrics: what trackers say of themselves, as text for a collector. One table holds every family:
 * its name, type, unit, help, and where in a tracker's status its value is.
 */
#pragma once

#include <glib.h>

#define VDT_METRICS_PREFIX "vdpa_tracker"

enum vdt_metrics_format {
    VDT_METRICS_OPEN,       /* OpenMetrics 1.0 */
    VDT_METRICS_PROMETHEUS, /* text 0.0.4, which node_exporter's textfile collector reads */
};

/* @trackers: of struct vdt_listed_tracker. Caller frees. */
char *vdt_metrics_text(const GPtrArray *trackers, enum vdt_metrics_format format);

/* What stands before a family's samples. @name without the prefix, and as OpenMetrics has it,
 * @type likewise; @unit may be NULL. */
void vdt_metrics_head(GString *text, enum vdt_metrics_format format, const char *name,
                      const char *type, const char *unit, const char *help);

/* " and \ and line ends as a label's value has them, appended. */
void vdt_metrics_escape(GString *text, const char *value);
