/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Listener: the unix socket that the VMM connects to, or that it listens at. One client at a time:
 * while it is connected, others wait in the backlog, so that a VMM that reconnects never meets its
 * own old connection.
 *
 * Thread: control.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "base/auto.h"

struct vdt_listener;

/* @connected owns @fd. After it the listener is deaf until vdt_listener_next(). */
typedef void (*vdt_listener_connected)(void *ctx, int fd);

/* Listen at @path: a stale socket there (nobody answers) is replaced, a live one is an error.
 * Mode 0660. The path is removed again by free(). */
struct vdt_listener *vdt_listener_new(const char *path, GMainContext *context,
                                      vdt_listener_connected connected, void *ctx, GError **error);
/* @fd, owned: a listening or an already connected socket. */
struct vdt_listener *vdt_listener_from_fd(int fd, GMainContext *context,
                                          vdt_listener_connected connected, void *ctx,
                                          GError **error);
/* The other way round: somebody else listens at @path. Tried again and again, until it is there;
 * and when it has gone. */
struct vdt_listener *vdt_listener_dial(const char *path, GMainContext *context,
                                       vdt_listener_connected connected, void *ctx, GError **error);
void vdt_listener_free(struct vdt_listener *listener); /* accepts NULL */
VDT_DEFINE_AUTO(listener, vdt_listener_free)

/* The client is gone, take the next. False where there will be none (a connected fd was given). */
bool vdt_listener_next(struct vdt_listener *listener);
