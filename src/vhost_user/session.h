/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Session: one vhost-user connection (vhost-user.rst), frontend door of the tracker.
 *
 * Messages are handled one at a time in the control thread's loop. Framing errors end the
 * connection; semantic errors are answered where REPLY_ACK was asked for, else end it. Nothing a
 * peer sends makes us abort or spin. Callbacks go to a struct vdt_backend_ops.
 */
#pragma once

#include "vhost_user/backend.h"

struct vdt_session;

/* @fd is a connected unix stream socket, owned from now on. @ended is called once from the loop
 * when the connection is over (after ops->disconnected), with the reason or NULL for an orderly
 * end; the session may be freed in it. */
struct vdt_session *vdt_session_new(int fd, const struct vdt_backend_ops *ops, void *ctx,
                                    GMainContext *context,
                                    void (*ended)(void *ctx, const GError *reason));
void vdt_session_free(struct vdt_session *session); /* accepts NULL */

/* The answer to a get_base() that said LATER. @error: the connection is dropped. */
void vdt_session_answer_base(struct vdt_session *session, uint32_t ring, uint32_t base,
                             const GError *error);

/* Tell the frontend that the config space changed (BACKEND_REQ, CONFIG_CHANGE_MSG); no-op without.
 */
void vdt_session_config_changed(struct vdt_session *session);

/* Negotiated bits, 0 before; the guest map in force (borrowed). For status. */
uint64_t vdt_session_protocol_features(const struct vdt_session *session);
struct vdt_guest_map *vdt_session_map(const struct vdt_session *session);
/* Messages handled, by request number (VHOST_USER_MAX + 1 entries, [0]: unknown
 * ones), for status and tests. */
const uint64_t *vdt_session_message_counts(const struct vdt_session *session, unsigned *ret_n);
