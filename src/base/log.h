/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Logging: one wrapper over GLib's structured log. Control thread only; never on the data path.
 * Library code stays at debug; the daemon decides what a person reads.
 */
#pragma once

#include <glib.h>

enum vdt_log_level { VDT_LOG_ERROR, VDT_LOG_WARNING, VDT_LOG_INFO, VDT_LOG_DEBUG };

/* Show messages up to @level on stderr (journal fields where stderr is the journal). */
void vdt_log_init(enum vdt_log_level level);

void vdt_log(enum vdt_log_level level, const char *format, ...) G_GNUC_PRINTF(2, 3);

#define vdt_debug(...) vdt_log(VDT_LOG_DEBUG, __VA_ARGS__)
#define vdt_info(...) vdt_log(VDT_LOG_INFO, __VA_ARGS__)
#define vdt_warning(...) vdt_log(VDT_LOG_WARNING, __VA_ARGS__)
