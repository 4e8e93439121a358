/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Last call: a signal that asks the process to end is heeded within a bounded time, also while the
 * control thread waits for a device or a peer that does not answer. A thread of its own hears the
 * signal too; if last_call_free() has not come by then, it removes the sockets and ends the
 * process. The kernel resets the device when its descriptor closes.
 */
#pragma once

#include "base/auto.h"

struct vdt_last_call;

/* @paths: removed at such an end, NULL-terminated, copied. NULL where no thread can be had. */
struct vdt_last_call *vdt_last_call_new(unsigned patience_ms, const char *const *paths);
void vdt_last_call_free(struct vdt_last_call *call); /* accepts NULL */
VDT_DEFINE_AUTO(last_call, vdt_last_call_free)
