/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What frontend.c (the exchange) and frontend_calls.c (one function a request) share. */
#pragma once

#include "vhost_user/channel.h"
#include "vhost_user/frontend.h"

struct vdt_frontend {
    struct vdt_channel channel; /* replies; requests are written directly */
    unsigned timeout_ms;
    uint64_t protocol_features;
    int backend_fd; /* owned; our end of the backend's channel */
};

struct vdt_request {
    enum vhost_user_request number;
    const void *payload;
    uint32_t size;
    const int *fds; /* borrowed */
    unsigned fd_count;
};

/* A request without an answer of its own: acknowledged, or just sent where nothing says how it
 * went. */
bool vdt_frontend_tell(struct vdt_frontend *frontend, const struct vdt_request *request,
                       GError **error);
bool vdt_frontend_tell_u64(struct vdt_frontend *frontend, enum vhost_user_request number,
                           uint64_t value, GError **error);
/* A request whose answer has @size bytes, in channel.message afterwards. */
bool vdt_frontend_ask(struct vdt_frontend *frontend, const struct vdt_request *request,
                      uint32_t size, GError **error);
bool vdt_frontend_ask_u64(struct vdt_frontend *frontend, enum vhost_user_request number,
                          uint64_t *ret, GError **error);
