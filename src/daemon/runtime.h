/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runtime directory: where a tracker's sockets are, by its name. NAME.sock takes the VMM, NAME.ctl
 * the control interface.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* $VDPA_TRACKER_RUNTIME_DIR, else /run/vdpa-tracker. Borrowed. */
const char *vdt_runtime_dir(void);
/* Make it (mode 0750) unless it is there. */
bool vdt_runtime_dir_make(GError **error);

/* Letters, digits, '-', '_', '.', not starting with '.' or '-', at most 64. VDT_ERROR_USAGE. */
bool vdt_runtime_name_valid(const char *name, GError **error);

char *vdt_runtime_path(const char *name,
                       const char *suffix);          /* "DIR/NAME" "SUFFIX"; caller frees */
char *vdt_runtime_control_address(const char *name); /* D-Bus address; caller frees */
