/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Worker: a data thread. An epoll over the guest kicks and device calls of the relays attached to
 * it, and a mailbox through which the control thread changes anything: call() runs a function on
 * the worker between two events and waits for it. Nothing else crosses.
 *
 * Thread: every call on the control thread, but for what call() runs.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "shadow/relay.h"

struct vdt_worker;

struct vdt_worker *vdt_worker_new(unsigned index, GError **error);
void vdt_worker_free(struct vdt_worker *worker); /* no relay may be attached; accepts NULL */

/* Run @fn(@arg) on the worker, return when it is done. */
void vdt_worker_call(struct vdt_worker *worker, void (*fn)(void *arg), void *arg);

/* From attach() until detach() returned the relay belongs to the worker. Attaching looks at the
 * ring once, so that no kick from before is lost. */
bool vdt_worker_attach(struct vdt_worker *worker, struct vdt_relay *relay, GError **error);
void vdt_worker_detach(struct vdt_worker *worker, struct vdt_relay *relay);
