/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is carried from one backend to the next: the in-flight area and the device state. */
#include "vhost_user/session_private.h"

#include <sys/stat.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/wire.h"

static bool
check_geometry(struct vdt_session *session, const struct vhost_user_inflight *inflight,
               GError **error)
{
    uint16_t ring_max = session->ops->ring_max(session->ctx);

    if (inflight->queues > 0 && inflight->queues <= session->ring_count &&
        inflight->queue_size > 0 && inflight->queue_size <= ring_max)
        return true;
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                "an in-flight area for %u rings of %u does not fit a device with %u rings of %u",
                inflight->queues, inflight->queue_size, session->ring_count, ring_max);
    return false;
}

bool
vdt_msg_get_inflight(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    struct vhost_user_inflight *inflight = &message->payload.inflight;

    if (!check_geometry(session, inflight, error) ||
        !session->ops->get_inflight(session->ctx, inflight->queues, inflight->queue_size,
                                    &message->reply_fd, &inflight->mmap_size,
                                    &inflight->mmap_offset, error))
        return false;
    message->reply_size = message->header.size;
    return true;
}

bool
vdt_msg_set_inflight(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    const struct vhost_user_inflight *inflight = &message->payload.inflight;
    struct stat st;
    uint64_t end;

    if (!check_geometry(session, inflight, error))
        return false;
    if (vdt_session_running(session)) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_BUSY,
                            "the in-flight area cannot change while rings run");
        return false;
    }
    if (inflight->mmap_size == 0 ||
        !vdt_range_end(inflight->mmap_offset, inflight->mmap_size, &end) ||
        fstat(message->fds[0], &st) < 0 || !S_ISREG(st.st_mode) || end > (uint64_t) st.st_size) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "an in-flight area of %" G_GUINT64_FORMAT " bytes at %" G_GUINT64_FORMAT
                    " does not lie in the file that came with it",
                    inflight->mmap_size, inflight->mmap_offset);
        return false;
    }
    return session->ops->set_inflight(session->ctx, inflight->queues, inflight->queue_size,
                                      vdt_message_take_fd(message), inflight->mmap_size,
                                      inflight->mmap_offset, error);
}

bool
vdt_msg_set_state_fd(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    struct vhost_user_transfer_params transfer = message->payload.transfer;
    bool save = transfer.direction == VHOST_USER_TRANSFER_SAVE;

    if (transfer.direction > VHOST_USER_TRANSFER_LOAD ||
        transfer.phase != VHOST_USER_PHASE_STOPPED) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                    "device state cannot go direction %u in phase %u", transfer.direction,
                    transfer.phase);
        return false;
    }
    if (vdt_session_running(session)) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_BUSY,
                            "device state moves only while every ring is stopped");
        return false;
    }
    if (!vdt_session_check_fd(session, message->fds[0],
                              VDT_FD_FILE | (save ? VDT_FD_WRITE : VDT_FD_READ), "state channel",
                              error))
        return false;
    return session->ops->state_begin(session->ctx, save, vdt_message_take_fd(message), error);
}

bool
vdt_msg_check_state(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    return session->ops->state_check(session->ctx, error);
}
