/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Kick, call, err. Setting the kick starts the ring. */
#include "vhost_user/session_private.h"

#include <vdpa-tracker/error.h>

#include "base/fd.h"

/* The ring of a kick/call/err message and its descriptor: -1 where bit 8 says that there is none.
 */
static struct vdt_session_ring *
parse(struct vdt_session *session, struct vdt_message *message, unsigned use, const char *what,
      uint32_t *ret_index, GError **error)
{
    uint64_t value = message->payload.u64;
    bool without = value & VHOST_USER_NO_FD;

    if (value & ~(uint64_t) (VHOST_USER_VRING_INDEX_MASK | VHOST_USER_NO_FD)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "the %s message has unknown bits in 0x%" G_GINT64_MODIFIER "x", what, value);
        return NULL;
    }
    *ret_index = (uint32_t) value & VHOST_USER_VRING_INDEX_MASK;
    struct vdt_session_ring *ring = vdt_session_ring(session, *ret_index, error);
    if (!ring)
        return NULL;
    if (without == (message->fd_count != 0)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    without ? "a %s for ring %u says it has no descriptor, and has one"
                            : "a %s for ring %u lacks its descriptor",
                    what, *ret_index);
        return NULL;
    }
    if (!without && (!vdt_session_check_fd(session, message->fds[0], use, what, error) ||
                     !vdt_set_nonblocking(message->fds[0], error)))
        return NULL;
    return ring;
}

/* @fd is taken, also on error. */
static bool
start(struct vdt_session *session, uint32_t index, int fd, GError **error)
{
    struct vdt_session_ring *ring = &session->rings[index];

    if (!(session->acked & VDT_F_PROTOCOL)) {
        if (!session->ops->set_enable(session->ctx, index, true, error)) {
            vdt_close(fd);
            return false;
        }
        ring->enabled = true;
    }
    if (!session->ops->set_kick(session->ctx, index, fd, error))
        return false;
    ring->started = true;
    return true;
}

bool
vdt_session_start_held(struct vdt_session *session, GError **error)
{
    if (vdt_session_lacks_log(session))
        return true;
    for (uint32_t i = 0; i < session->ring_count; i++) {
        struct vdt_session_ring *ring = &session->rings[i];

        if (!ring->kick_held)
            continue;
        ring->kick_held = false;
        if (!vdt_session_check_place(session, i, error)) {
            vdt_session_unhold_kick(ring);
            return false;
        }
        if (!start(session, i, vdt_steal_fd(&ring->held_kick), error))
            return false;
    }
    return true;
}

bool
vdt_msg_set_kick(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    uint32_t index;
    struct vdt_session_ring *ring = parse(session, message, VDT_FD_READ, "kick", &index, error);

    if (!ring)
        return false;
    if (!ring->addr_set || ring->num == 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "ring %u was kicked off before its size and addresses were known", index);
        return false;
    }
    if (!(ring->started && ring->enabled) && !vdt_session_check_place(session, index, error))
        return false;
    if (!ring->started && vdt_session_lacks_log(session)) {
        vdt_session_unhold_kick(ring);
        ring->kick_held = true;
        ring->held_kick = vdt_message_take_fd(message);
        return true;
    }
    return start(session, index, vdt_message_take_fd(message), error);
}

bool
vdt_msg_set_call(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    uint32_t index;

    return parse(session, message, VDT_FD_WRITE, "call", &index, error) &&
           session->ops->set_call(session->ctx, index, vdt_message_take_fd(message), error);
}

bool
vdt_msg_set_err(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    uint32_t index;

    return parse(session, message, VDT_FD_WRITE, "err", &index, error) &&
           session->ops->set_err(session->ctx, index, vdt_message_take_fd(message), error);
}
