/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Scratch: a directory of our own for the sockets and logs of trackers that we start.
 */
#pragma once

#include <glib.h>

/* Makes "PREFIX-XXXXXX" where temporary files go, and makes it the runtime directory. Caller frees
 * the path. */
char *vdt_scratch_make(const char *prefix, GError **error);
/* With all files in it, and in its folders. */
void vdt_scratch_remove(const char *path);
