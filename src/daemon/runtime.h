/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runtime directory: where a tracker's files are, by its name. NAME.sock takes the VMM, NAME.ctl
 * the control interface; NAME.lock is held by the one tracker of that name; NAME.journal and
 * NAME.inflight are for the next one, if this one is killed.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* $VDPA_TRACKER_RUNTIME_DIR, else /run/vdpa-tracker. Borrowed. */
const char *vdt_runtime_dir(void);
/* Make it unless it is there. Mode 0711: a VMM of another user passes through to its own socket, and
 * each file in it says by its own mode whose it is. */
bool vdt_runtime_dir_make(GError **error);

/* Letters, digits, '-', '_', '.', not starting with '.' or '-', at most 64. VDT_ERROR_USAGE. */
bool vdt_runtime_name_valid(const char *name, GError **error);

char *vdt_runtime_path(const char *name,
                       const char *suffix); /* "DIR/NAME" "SUFFIX"; caller frees */
/* The only tracker of @name from now on, until unlock() or this process's end, however that comes.
 * -1 with VDT_ERROR_BUSY where there is one. */
int vdt_runtime_lock(const char *name, GError **error);
void vdt_runtime_unlock(const char *name, int lock); /* accepts -1 */

char *vdt_runtime_control_address(const char *name); /* D-Bus address; caller frees */
