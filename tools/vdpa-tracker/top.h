/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Top: trackers from one look to the next. A rate is what a counter gained between two looks at the
 * same process, over the time between its own two answers.
 */
#pragma once

#include <json-glib/json-glib.h>

struct vdt_top;

struct vdt_top *vdt_top_new(void);
void vdt_top_free(struct vdt_top *top); /* accepts NULL */

/* The next look. @trackers: of struct vdt_listed_tracker; nothing of it is kept. */
void vdt_top_take(struct vdt_top *top, const GPtrArray *trackers);

/* What the last look showed; the caller's. */
char *vdt_top_text(const struct vdt_top *top);
JsonNode *vdt_top_json(const struct vdt_top *top, gint64 now_us);
