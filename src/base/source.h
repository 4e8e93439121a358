/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Event sources of a given main context. GLib's short forms (g_timeout_add, g_source_remove) know
 * the default context only. Thread: the one that runs @context.
 */
#pragma once

#include <glib-unix.h>
#include <glib.h>

/* @context NULL is the default one. @fn follows GUnixFDSourceFunc, GSourceFunc. */
guint vdt_watch_fd(GMainContext *context, int fd, GUnixFDSourceFunc fn, gpointer data);
guint vdt_watch_time(GMainContext *context, unsigned ms, GSourceFunc fn, gpointer data);

/* Take the source away, 0 is none; leaves 0 in @id. */
void vdt_unwatch(GMainContext *context, guint *id);
