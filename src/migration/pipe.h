/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pipe: an encoded state on its way through a descriptor that the frontend gave us
 * (SET_DEVICE_STATE_FD). A thread moves the bytes, since both ends answer to the same VMM thread:
 * it may only start to read or write after our reply. Every wait is bounded.
 *
 * Thread: calls on the control thread; the pipe's own thread touches only the descriptor and
 * buffer.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "base/auto.h"

struct vdt_pipe;

/* @fd is owned from now on, also on error. source: writes @bytes and closes. target: reads to the
 * end, up to @max bytes. */
struct vdt_pipe *vdt_pipe_source(int fd, GBytes *bytes, unsigned deadline_ms, GError **error);
struct vdt_pipe *vdt_pipe_target(int fd, size_t max, unsigned deadline_ms, GError **error);
void vdt_pipe_free(struct vdt_pipe *pipe); /* accepts NULL; ends an unfinished transfer */
VDT_DEFINE_AUTO(pipe, vdt_pipe_free)

bool vdt_pipe_is_source(const struct vdt_pipe *pipe);

/* Wait for the end, up to the deadline and at most two seconds. False with @error when the transfer was not whole. */
bool vdt_pipe_finish(struct vdt_pipe *pipe, GError **error);

/* What came in; NULL before a successful finish() and for a source. Borrowed. */
GBytes *vdt_pipe_bytes(const struct vdt_pipe *pipe);
