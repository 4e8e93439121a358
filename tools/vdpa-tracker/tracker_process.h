/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tracker process: this program once more, as `run`, in a process of its own that ends with us.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>

#include "base/auto.h"

struct vdt_tracker_process {
    char *name, *socket, *log; /* owned; @log: where its standard error goes */
    GPid pid;                  /* 0: not running */
};

/* In the runtime directory of the environment, under @name. @features_from: a baseline's file, or
 * NULL. */
struct vdt_tracker_process *vdt_tracker_process_start(const char *name, const char *device,
                                                      const char *shadow, const char *features_from,
                                                      GError **error);
/* SIGTERM, a bounded wait, SIGKILL. Accepts NULL. */
void vdt_tracker_process_free(struct vdt_tracker_process *process);
VDT_DEFINE_AUTO(tracker_process, vdt_tracker_process_free)

/* False with @error, and the last lines of its log, when it has ended by itself. */
bool vdt_tracker_process_alive(struct vdt_tracker_process *process, GError **error);

/* The last lines of its log; caller frees. */
char *vdt_tracker_process_log(const struct vdt_tracker_process *process);

/* What `status --json` prints. Caller frees. */
JsonNode *vdt_tracker_process_status(const struct vdt_tracker_process *process, GError **error);
