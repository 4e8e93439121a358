/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tracker list: all trackers of the runtime directory and what each says of itself. They are asked
 * at once; one that does not answer in time costs the others nothing.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>

struct vdt_listed_tracker {
    char *name;       /* owned */
    JsonNode *status; /* owned; NULL where it does not answer */
    char *failure;    /* owned: why not; NULL where it answered */
    gint64 at_us;     /* when it answered, monotonic */
};

static inline void
vdt_listed_tracker_free(struct vdt_listed_tracker *tracker)
{
    g_free(tracker->name);
    g_free(tracker->failure);
    g_clear_pointer(&tracker->status, json_node_unref);
    g_free(tracker);
}

/* By name; GPtrArray of struct vdt_listed_tracker. A socket that nobody listens at is left out.
 * @only: that one tracker, NULL: all. NULL with @error where the runtime directory is there and
 * cannot be read, or there is no such tracker. */
GPtrArray *vdt_tracker_list(const char *only, unsigned wait_ms, GError **error);
