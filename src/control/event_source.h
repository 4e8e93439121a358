/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Event sources: an eventfd and a clock on a GMainContext. Both are returned with a reference and
 * attached; give them back with vdt_source_clear(), also from within their own callback.
 */
#pragma once

#include <glib.h>

typedef void (*vdt_source_run)(void *ctx);

/* Runs when @fd (borrowed, non-blocking) was signalled; what was pending is drained before. A peer
 * that hangs up is not listened to any more, so that it cannot keep the loop busy. */
GSource *vdt_event_source_new(GMainContext *context, int fd, vdt_source_run run, void *ctx);

/* Runs once after each g_source_set_ready_time(), at that time; asleep at first. */
GSource *vdt_clock_source_new(GMainContext *context, vdt_source_run run, void *ctx);

void vdt_source_clear(GSource **source);
