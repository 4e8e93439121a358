/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Config space, the backend's own channel that announces its changes, MTU and RARP. */
#include "vhost_user/session_private.h"

#include <errno.h>
#include <glib-unix.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"

static bool
check_config(const struct vhost_user_config *config, GError **error)
{
    if (config->size > 0 && config->size <= VHOST_USER_CONFIG_MAX &&
        config->offset <= VHOST_USER_CONFIG_MAX - config->size)
        return true;
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "there is no config space of %u bytes at %u",
                config->size, config->offset);
    return false;
}

static bool
check_config_size(const struct vdt_message *message, bool with_data, GError **error)
{
    const struct vhost_user_config *config = &message->payload.config;

    if (message->header.size == VHOST_USER_CONFIG_HEADER + config->size ||
        (!with_data && message->header.size == VHOST_USER_CONFIG_HEADER))
        return true;
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                "a config message for %u bytes is %u bytes long", config->size,
                message->header.size);
    return false;
}

bool
vdt_msg_get_config(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    struct vhost_user_config *config = &message->payload.config;

    if (!check_config(config, error) || !check_config_size(message, false, error))
        return false;
    memset(config->data, 0, sizeof(config->data));
    if (!session->ops->get_config(session->ctx, config->offset, config->size, config->data, error))
        return false;
    message->reply_size = VHOST_USER_CONFIG_HEADER + config->size;
    return true;
}

bool
vdt_msg_set_config(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    const struct vhost_user_config *config = &message->payload.config;

    return check_config(config, error) && check_config_size(message, true, error) &&
           session->ops->set_config(session->ctx, config->offset, config->size, config->data,
                                    config->flags, error);
}

/* The address is in the first bytes of the u64 as they lie in memory. */
bool
vdt_msg_send_rarp(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    return session->ops->send_rarp(session->ctx, message->payload.bytes, error);
}

bool
vdt_msg_set_mtu(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    uint64_t mtu = message->payload.u64;

    if (mtu < 68 || mtu > UINT16_MAX) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "%" G_GUINT64_FORMAT " is no MTU", mtu);
        return false;
    }
    return session->ops->set_mtu(session->ctx, (uint16_t) mtu, error);
}

void
vdt_session_close_backend(struct vdt_session *session)
{
    if (session->backend_source) {
        g_source_destroy(session->backend_source);
        g_clear_pointer(&session->backend_source, g_source_unref);
    }
    session->backend_fd = vdt_close(session->backend_fd);
}

/* Nothing that comes here matters: we never ask for answers. A bounded piece is thrown away at a
 * time; descriptors in it are the kernel's to drop, since we give it no room for them. */
static gboolean
discard(int fd, GIOCondition condition, gpointer user_data)
{
    struct vdt_session *session = user_data;
    char bytes[4096];
    ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (n > 0 || (n < 0 && !(condition & (G_IO_HUP | G_IO_ERR))))
        return G_SOURCE_CONTINUE;
    vdt_session_close_backend(session);
    return G_SOURCE_REMOVE;
}

bool
vdt_msg_set_backend_fd(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    struct stat st;

    if (!vdt_session_check_fd(session, message->fds[0], VDT_FD_READ | VDT_FD_WRITE,
                              "backend channel", error))
        return false;
    if (fstat(message->fds[0], &st) < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "the backend channel: %s",
                    g_strerror(errno));
        return false;
    }
    if (!S_ISSOCK(st.st_mode)) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_INVALID,
                            "the backend channel is not a socket");
        return false;
    }
    vdt_session_close_backend(session);
    session->backend_fd = vdt_message_take_fd(message);
    session->backend_source =
        g_unix_fd_source_new(session->backend_fd, G_IO_IN | G_IO_HUP | G_IO_ERR);
    g_source_set_static_name(session->backend_source, "vhost-user backend channel");
    g_source_set_callback(session->backend_source, G_SOURCE_FUNC(discard), session, NULL);
    g_source_attach(session->backend_source, session->context);
    return true;
}

void
vdt_session_config_changed(struct vdt_session *session)
{
    struct vhost_user_header header = {
        .request = VHOST_USER_BACKEND_CONFIG_CHANGE_MSG,
        .flags = VHOST_USER_VERSION,
    };

    if (session->backend_fd < 0 || !vdt_session_has(session, VHOST_USER_PROTOCOL_F_CONFIG))
        return;
    /* A full socket means that the frontend has this very news still to read. */
    if (send(session->backend_fd, &header, sizeof(header), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return;
}
