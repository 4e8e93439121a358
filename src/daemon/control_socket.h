/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Control socket: takes D-Bus clients in, peer to peer, mode 0600. The peer's credentials decide:
 * our own user or root. GDBusServer is not that: it knows no limit of clients or of their time, and
 * without a descriptor left for one it runs in circles.
 *
 * Thread: control; a client says who it is in a thread of its own.
 */
#pragma once

#include <gio/gio.h>
#include <stdbool.h>

#include "base/auto.h"

struct vdt_control_socket;

/* @connection (borrowed) handles no message before this returns. False: it is closed. */
typedef bool (*vdt_control_socket_client)(void *ctx, GDBusConnection *connection);

/* Who does not say who it is in @patience_ms is let go. A stale socket at @path is replaced, and
 * the path removed by free(), which may be called any time but from @client. */
struct vdt_control_socket *vdt_control_socket_new(const char *path, unsigned patience_ms,
                                                  vdt_control_socket_client client, void *ctx,
                                                  GError **error);
void vdt_control_socket_free(struct vdt_control_socket *socket); /* accepts NULL */
VDT_DEFINE_AUTO(control_socket, vdt_control_socket_free)
