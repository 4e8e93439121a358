/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The dirty log: checked here against the memory it must cover, before logging starts. */
#include "vhost_user/session_private.h"

#include <sys/stat.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/wire.h"
#include "memory/dirty_log.h"

#define BYTES_PER_LOG_BYTE (8u * (uint64_t) VDT_LOG_PAGE)

bool
vdt_session_log_covers(uint64_t log_size, uint64_t end)
{
    return log_size >= end / BYTES_PER_LOG_BYTE + (end % BYTES_PER_LOG_BYTE ? 1 : 0);
}

bool
vdt_session_lacks_log(const struct vdt_session *session)
{
    return (session->acked & VDT_F_LOG_ALL) && !session->log_fresh;
}

static bool
check_log(struct vdt_session *session, const struct vhost_user_log *log, int fd, GError **error)
{
    uint64_t end, guest_end = vdt_guest_map_end(session->map);
    struct stat st;

    if (log->size == 0 || !vdt_range_end(log->offset, log->size, &end) || fstat(fd, &st) < 0 ||
        !S_ISREG(st.st_mode) || end > (uint64_t) st.st_size) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "a dirty log of %" G_GUINT64_FORMAT " bytes at offset %" G_GUINT64_FORMAT
                    " does not lie in the file that came with it",
                    log->size, log->offset);
        return false;
    }
    if (!vdt_session_log_covers(log->size, guest_end)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "a dirty log of %" G_GUINT64_FORMAT
                    " bytes does not reach the end of guest memory at 0x%" G_GINT64_MODIFIER "x",
                    log->size, guest_end);
        return false;
    }
    return true;
}

bool
vdt_msg_set_log_base(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    struct vhost_user_log log = message->payload.log;

    if (!vdt_session_has(session, VHOST_USER_PROTOCOL_F_LOG_SHMFD) || message->fd_count != 1 ||
        message->header.size != sizeof(log)) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                            "a dirty log is taken only as a shared file (LOG_SHMFD)");
        return false;
    }
    if (!check_log(session, &log, message->fds[0], error) ||
        !session->ops->set_log(session->ctx, vdt_message_take_fd(message), log.offset, log.size,
                               error))
        return false;
    session->log_size = log.size;
    session->log_set = true;
    session->log_fresh = true;
    return vdt_session_start_held(session, error);
}

/* A hint for frontends that wait for changes of the log; none of those we know does. */
bool
vdt_msg_set_log_fd(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    return message->fd_count == 0 ||
           vdt_session_check_fd(session, message->fds[0], VDT_FD_WRITE, "log event", error);
}
