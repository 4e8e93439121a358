/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Features, protocol features, status, reset: what the device as a whole is. */
#include "vhost_user/session_private.h"

#include <vdpa-tracker/error.h>

#define OFFERED_PROTOCOL                                                                           \
    (VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_MQ) | VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD) |  \
     VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_RARP) |                                                  \
     VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |                                             \
     VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_NET_MTU) |                                               \
     VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) |                                           \
     VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_CONFIG) |                                                \
     VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) |                                        \
     VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) |                                          \
     VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) |                                   \
     VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_STATUS) |                                                \
     VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_DEVICE_STATE))

static uint64_t
offered(struct vdt_session *session)
{
    return session->ops->features(session->ctx) | VDT_F_PROTOCOL | VDT_F_LOG_ALL;
}

static bool
answer_u64(struct vdt_message *message, uint64_t value)
{
    message->payload.u64 = value;
    message->reply_size = sizeof(value);
    return true;
}

bool
vdt_msg_accept(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    return true;
}

bool
vdt_msg_get_features(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    return answer_u64(message, offered(session));
}

/* While rings run only logging may be switched; a repetition (QEMU, once for each pair) is fine. */
static bool
check_features(struct vdt_session *session, uint64_t acked, bool running, GError **error)
{
    uint64_t extra = acked & ~offered(session);

    if (extra) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "the frontend took features 0x%" G_GINT64_MODIFIER "x that were not offered",
                    extra);
        return false;
    }
    if (!running)
        return true;
    if ((acked ^ session->acked) & ~VDT_F_LOG_ALL) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_BUSY,
                            "features cannot change while rings run");
        return false;
    }
    if ((acked & VDT_F_LOG_ALL) && !session->log_set) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_INVALID,
                            "logging was asked for without a log, dirty pages would be lost");
        return false;
    }
    return true;
}

/* Without PROTOCOL_FEATURES there is no SET_VRING_ENABLE: every ring is enabled at once. */
static bool
enable_all(struct vdt_session *session, GError **error)
{
    for (uint32_t i = 0; i < session->ring_count; i++) {
        struct vdt_session_ring *ring = &session->rings[i];

        if (ring->started && !ring->enabled &&
            (!vdt_session_check_place(session, i, error) ||
             !session->ops->set_enable(session->ctx, i, true, error)))
            return false;
        ring->enabled = true;
    }
    return true;
}

bool
vdt_msg_set_features(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    uint64_t acked = message->payload.u64;
    bool running = vdt_session_running(session);
    bool repeated = running && acked == session->acked;
    bool was_logging = session->acked & VDT_F_LOG_ALL;

    if (!check_features(session, acked, running, error))
        return false;
    if (!repeated && !session->ops->set_features(session->ctx, acked & ~VDT_F_PROTOCOL, error))
        return false;

    session->acked = acked;
    if (running && (acked & VDT_F_LOG_ALL))
        session->log_fresh = true;
    else if (was_logging && !(acked & VDT_F_LOG_ALL))
        session->log_fresh = false;
    if (!(acked & VDT_F_PROTOCOL) && !enable_all(session, error))
        return false;
    return vdt_session_start_held(session, error);
}

bool
vdt_msg_get_protocol_features(struct vdt_session *session, struct vdt_message *message,
                              GError **error)
{
    return answer_u64(message, OFFERED_PROTOCOL);
}

bool
vdt_msg_set_protocol_features(struct vdt_session *session, struct vdt_message *message,
                              GError **error)
{
    uint64_t acked = message->payload.u64;

    if (acked & ~OFFERED_PROTOCOL) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "the frontend took protocol features 0x%" G_GINT64_MODIFIER
                    "x that were not offered",
                    acked & ~OFFERED_PROTOCOL);
        return false;
    }
    if (acked != session->protocol_features && vdt_session_running(session)) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_BUSY,
                            "protocol features cannot change while rings run");
        return false;
    }
    session->protocol_features = acked;
    if (session->ops->set_protocol_features)
        session->ops->set_protocol_features(session->ctx, acked);
    return true;
}

bool
vdt_msg_get_queue_num(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    return answer_u64(message, session->ops->queue_num(session->ctx));
}

bool
vdt_msg_get_status(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    return answer_u64(message, session->ops->get_status(session->ctx));
}

/* Status 0 stops every ring. What a ring was set up with stays: QEMU 7.2 asks for the second pair's
 * positions after it. */
bool
vdt_msg_set_status(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    uint64_t status = message->payload.u64;

    if (status > UINT8_MAX) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "device status 0x%" G_GINT64_MODIFIER "x is more than a byte", status);
        return false;
    }
    if (!session->ops->set_status(session->ctx, (uint8_t) status, error))
        return false;
    for (uint32_t i = 0; status == 0 && i < session->ring_count; i++) {
        session->rings[i].started = false;
        vdt_session_unhold_kick(&session->rings[i]);
    }
    return true;
}

/* Memory and protocol features outlive a reset: QEMU sends only what changed of them afterwards. */
bool
vdt_msg_reset_device(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    if (!session->ops->reset_device(session->ctx, error))
        return false;
    vdt_session_reset_rings(session);
    session->acked = 0;
    session->log_fresh = false;
    return true;
}
