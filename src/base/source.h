/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Event sources of a given main context: an eventfd and a clock. GLib's short forms (g_timeout_add,
 * g_source_remove) know the default context only.
 *
 * Both are returned with a reference and attached; give them back with vdt_source_clear(), also
 * from within their own callback. @context NULL is the default one. Thread: the one that runs
 * @context.
 */
#pragma once

#include <glib.h>

typedef void (*vdt_source_run)(void *ctx);

/* Runs when @fd (borrowed, non-blocking) was signalled; what was pending is drained before. A peer
 * that hangs up is not listened to any more, so that it cannot keep the loop busy. */
GSource *vdt_event_source_new(GMainContext *context, int fd, vdt_source_run run, void *ctx);

/* Runs once after each g_source_set_ready_time(), at that time; asleep at first. */
GSource *vdt_clock_source_new(GMainContext *context, vdt_source_run run, void *ctx);

/* Nothing runs any more; leaves NULL, which it accepts as well. */
void vdt_source_clear(GSource **source);
