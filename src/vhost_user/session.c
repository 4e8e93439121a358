/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vhost_user/session_private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/log.h"

/* Other sources of the control thread get their turn after this many messages. */
#define MESSAGES_PER_TURN 64u

/* What goes back for a request. */
enum reply {
    REPLY_ACK,    /* u64, only where REPLY_ACK asks for it; an error without it ends the session */
    REPLY_RESULT, /* u64 always, 0 or an error */
    REPLY_LOG,    /* as RESULT with LOG_SHMFD, else as ACK */
    REPLY_VALUE,  /* the handler's; there is no form for an error, so one ends the session */
    REPLY_CONFIG, /* the handler's; an error is an empty payload */
    REPLY_INFLIGHT, /* the handler's; an error is an area of no size */
    REPLY_STATE,    /* u64, bit 8 (no descriptor), the low byte not 0 for an error */
};

struct rule {
    const char *name;
    uint32_t min, max; /* payload bytes */
    uint32_t fd_min, fd_max;
    uint64_t gate; /* protocol feature that must be negotiated, 0 for none */
    enum reply reply;
    vdt_message_handler *handle;
};

#define GATE(name) VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_##name)

#define ROW(name, min, max, fd_min, fd_max, gate, reply, handle)                                   \
    [VHOST_USER_##name] = {#name, min, max, fd_min, fd_max, gate, reply, handle}

/* One row a request. */
/* clang-format off */
static const struct rule rules[VHOST_USER_MAX + 1] = {
    ROW(GET_FEATURES,             0,   0, 0, 0, 0, REPLY_VALUE, vdt_msg_get_features),
    ROW(SET_FEATURES,             8,   8, 0, 0, 0, REPLY_ACK, vdt_msg_set_features),
    ROW(SET_OWNER,                0,   0, 0, 0, 0, REPLY_ACK, vdt_msg_accept),
    /* Deprecated; frontends that still send it mean different things by it. */
    ROW(RESET_OWNER,              0,   0, 0, 0, 0, REPLY_ACK, vdt_msg_accept),
    ROW(SET_MEM_TABLE,            8, 264, 0, 8, 0, REPLY_ACK, vdt_msg_set_mem_table),
    ROW(SET_LOG_BASE,             8,  16, 0, 1, 0, REPLY_LOG, vdt_msg_set_log_base),
    ROW(SET_LOG_FD,               0,   8, 0, 1, 0, REPLY_ACK, vdt_msg_set_log_fd),
    ROW(SET_VRING_NUM,            8,   8, 0, 0, 0, REPLY_ACK, vdt_msg_set_num),
    ROW(SET_VRING_ADDR,          40,  40, 0, 0, 0, REPLY_ACK, vdt_msg_set_addr),
    ROW(SET_VRING_BASE,           8,   8, 0, 0, 0, REPLY_ACK, vdt_msg_set_base),
    ROW(GET_VRING_BASE,           8,   8, 0, 0, 0, REPLY_VALUE, vdt_msg_get_base),
    ROW(SET_VRING_KICK,           8,   8, 0, 1, 0, REPLY_ACK, vdt_msg_set_kick),
    ROW(SET_VRING_CALL,           8,   8, 0, 1, 0, REPLY_ACK, vdt_msg_set_call),
    ROW(SET_VRING_ERR,            8,   8, 0, 1, 0, REPLY_ACK, vdt_msg_set_err),
    ROW(GET_PROTOCOL_FEATURES,    0,   0, 0, 0, 0, REPLY_VALUE, vdt_msg_get_protocol_features),
    ROW(SET_PROTOCOL_FEATURES,    8,   8, 0, 0, 0, REPLY_ACK, vdt_msg_set_protocol_features),
    /* Asked for when MQ was read, which may be before it is acknowledged: no gate. */
    ROW(GET_QUEUE_NUM,            0,   0, 0, 0, 0, REPLY_VALUE, vdt_msg_get_queue_num),
    ROW(SET_VRING_ENABLE,         8,   8, 0, 0, 0, REPLY_ACK, vdt_msg_set_enable),
    ROW(SEND_RARP,                8,   8, 0, 0, GATE(RARP), REPLY_ACK, vdt_msg_send_rarp),
    ROW(NET_SET_MTU,              8,   8, 0, 0, GATE(NET_MTU), REPLY_ACK, vdt_msg_set_mtu),
    ROW(SET_BACKEND_REQ_FD,       0,   8, 1, 1, GATE(BACKEND_REQ), REPLY_ACK, vdt_msg_set_backend_fd),
    ROW(GET_CONFIG,              12, 268, 0, 0, GATE(CONFIG), REPLY_CONFIG, vdt_msg_get_config),
    ROW(SET_CONFIG,              12, 268, 0, 0, GATE(CONFIG), REPLY_ACK, vdt_msg_set_config),
    ROW(GET_INFLIGHT_FD,         20,  24, 0, 0, GATE(INFLIGHT_SHMFD), REPLY_INFLIGHT, vdt_msg_get_inflight),
    ROW(SET_INFLIGHT_FD,         20,  24, 1, 1, GATE(INFLIGHT_SHMFD), REPLY_ACK, vdt_msg_set_inflight),
    ROW(RESET_DEVICE,             0,   0, 0, 0, GATE(RESET_DEVICE), REPLY_ACK, vdt_msg_reset_device),
    ROW(GET_MAX_MEM_SLOTS,        0,   0, 0, 0, GATE(CONFIGURE_MEM_SLOTS), REPLY_VALUE, vdt_msg_get_max_slots),
    ROW(ADD_MEM_REG,             40,  40, 1, 1, GATE(CONFIGURE_MEM_SLOTS), REPLY_ACK, vdt_msg_add_region),
    /* Some frontends send the region's descriptor along; it is closed unused. */
    ROW(REM_MEM_REG,             40,  40, 0, 1, GATE(CONFIGURE_MEM_SLOTS), REPLY_ACK, vdt_msg_remove_region),
    ROW(SET_STATUS,               8,   8, 0, 0, GATE(STATUS), REPLY_ACK, vdt_msg_set_status),
    ROW(GET_STATUS,               0,   0, 0, 0, GATE(STATUS), REPLY_VALUE, vdt_msg_get_status),
    ROW(SET_DEVICE_STATE_FD,      8,   8, 1, 1, GATE(DEVICE_STATE), REPLY_STATE, vdt_msg_set_state_fd),
    ROW(CHECK_DEVICE_STATE,       0,   0, 0, 0, GATE(DEVICE_STATE), REPLY_RESULT, vdt_msg_check_state),
};
/* clang-format on */
#undef ROW

bool
vdt_session_has(const struct vdt_session *session, enum vhost_user_protocol_feature bit)
{
    return session->protocol_features & VHOST_USER_BIT(bit);
}

bool
vdt_session_running(const struct vdt_session *session)
{
    for (uint32_t i = 0; i < session->ring_count; i++) {
        if (session->rings[i].started && session->rings[i].enabled)
            return true;
    }
    return false;
}

struct vdt_session_ring *
vdt_session_ring(struct vdt_session *session, uint32_t index, GError **error)
{
    if (index < session->ring_count)
        return &session->rings[index];
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "there is no ring %u, the device has %u",
                index, session->ring_count);
    return NULL;
}

void
vdt_session_unhold_kick(struct vdt_session_ring *ring)
{
    ring->held_kick = vdt_close(ring->held_kick);
    ring->kick_held = false;
}

void
vdt_session_reset_rings(struct vdt_session *session)
{
    for (uint32_t i = 0; i < session->ring_count; i++) {
        vdt_session_unhold_kick(&session->rings[i]);
        memset(&session->rings[i], 0, sizeof(session->rings[i]));
        session->rings[i].held_kick = -1;
    }
}

bool
vdt_session_check_fd(struct vdt_session *session, int fd, unsigned use, const char *what,
                     GError **error)
{
    struct stat st, own;
    int flags = fcntl(fd, F_GETFL);
    const char *why = NULL;

    if (flags < 0 || fstat(fd, &st) < 0 || fstat(session->channel.fd, &own) < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "the descriptor sent as %s cannot be examined: %s", what, g_strerror(errno));
        return false;
    }
    mode_t type = st.st_mode & S_IFMT; /* 0: an anonymous inode, such as an eventfd */
    int access = flags & O_ACCMODE;
    bool fits = type == 0 || S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) ||
                ((use & VDT_FD_FILE) && S_ISREG(st.st_mode));

    if (!fits)
        why = "is of a kind that cannot serve";
    else if (st.st_dev == own.st_dev && st.st_ino == own.st_ino && S_ISSOCK(st.st_mode))
        why = "is this very connection";
    else if ((use & VDT_FD_READ) && access == O_WRONLY)
        why = "cannot be read from";
    else if ((use & VDT_FD_WRITE) && access == O_RDONLY)
        why = "cannot be written to";
    if (!why)
        return true;
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "the descriptor sent as %s %s", what, why);
    return false;
}

static void
update_events(struct vdt_session *session)
{
    GIOCondition wanted = 0; /* HUP and ERR are always reported */

    if (session->ending)
        g_source_set_ready_time(session->source, 0);
    else if (!session->waiting)
        wanted |= G_IO_IN;
    if (!session->ending && vdt_channel_pending(&session->channel))
        wanted |= G_IO_OUT;
    g_source_modify_unix_fd(session->source, session->source_tag, wanted);
}

/* The connection is over; the loop does the rest, so that nobody's stack loses its session. */
static void
end(struct vdt_session *session, GError *reason)
{
    if (session->ending) {
        g_clear_error(&reason);
        return;
    }
    session->ending = true;
    session->reason = reason;
    update_events(session);
}

static void
finish(struct vdt_session *session)
{
    if (session->finished)
        return;
    session->finished = true;
    session->ending = true;
    g_source_destroy(session->source);
    vdt_session_close_backend(session);
    vdt_session_reset_rings(session);
    vdt_channel_clear(&session->channel);
    session->ops->disconnected(session->ctx);
}

static void
send_reply(struct vdt_session *session, uint32_t request, const void *payload, uint32_t size,
           int fd)
{
    struct vhost_user_header header = {
        .request = request,
        .flags = VHOST_USER_VERSION | VHOST_USER_REPLY,
        .size = size,
    };
    GError *error = NULL;

    if (!vdt_channel_send(&session->channel, &header, payload, fd, &error))
        end(session, error);
}

static void
send_u64(struct vdt_session *session, uint32_t request, uint64_t value)
{
    send_reply(session, request, &value, sizeof(value), -1);
}

static bool
check_rule(struct vdt_session *session, const struct rule *rule, const struct vdt_message *message,
           GError **error)
{
    uint32_t request = message->header.request;

    if (!rule || !rule->handle) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                    "vhost-user request %u is not known here", request);
        return false;
    }
    if (rule->gate && !(session->protocol_features & rule->gate)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "%s came without the protocol feature it belongs to", rule->name);
        return false;
    }
    if (message->fd_count < rule->fd_min || message->fd_count > rule->fd_max) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "%s came with %u descriptors, not %u to %u", rule->name, message->fd_count,
                    rule->fd_min, rule->fd_max);
        return false;
    }
    return true;
}

#define REFUSALS_TOLD 20u /* of one session */

/* A request that failed: say so where the protocol has words for it, else end the session. */
static void
refuse(struct vdt_session *session, const struct rule *rule, struct vdt_message *message,
       bool ack_wanted, GError *failure)
{
    uint32_t request = message->header.request;
    enum reply reply = rule ? rule->reply : REPLY_ACK;

    /* The protocol has no room for a reason: the log is where an operator finds it. A flood of bad
     * requests does not become a flood of warnings. */
    vdt_log(session->refusals++ < REFUSALS_TOLD ? VDT_LOG_WARNING : VDT_LOG_DEBUG,
            "vhost-user: %s refused: %s", rule && rule->name ? rule->name : "unknown request",
            failure->message);
    if (reply == REPLY_LOG)
        reply =
            vdt_session_has(session, VHOST_USER_PROTOCOL_F_LOG_SHMFD) ? REPLY_RESULT : REPLY_ACK;
    if (rule && rule->gate && !(session->protocol_features & rule->gate))
        reply = REPLY_ACK; /* the peer does not speak this request's own form of answer */

    switch (reply) {
    case REPLY_ACK:
        if (!ack_wanted) {
            end(session, failure);
            return;
        }
        send_u64(session, request, 1);
        break;
    case REPLY_VALUE:
        end(session, failure);
        return;
    case REPLY_LOG:
    case REPLY_RESULT:
        send_u64(session, request, 1);
        break;
    case REPLY_CONFIG:
        send_reply(session, request, NULL, 0, -1);
        break;
    case REPLY_INFLIGHT:
        message->payload.inflight.mmap_size = 0;
        message->payload.inflight.mmap_offset = 0;
        send_reply(session, request, &message->payload, message->header.size, -1);
        break;
    case REPLY_STATE:
        send_u64(session, request, VHOST_USER_NO_FD | 1);
        break;
    }
    g_error_free(failure);
}

static void
confirm(struct vdt_session *session, const struct rule *rule, struct vdt_message *message,
        bool ack_wanted)
{
    uint32_t request = message->header.request;

    switch (rule->reply) {
    case REPLY_LOG:
        if (ack_wanted || vdt_session_has(session, VHOST_USER_PROTOCOL_F_LOG_SHMFD))
            send_u64(session, request, 0);
        break;
    case REPLY_ACK:
        if (ack_wanted)
            send_u64(session, request, 0);
        break;
    case REPLY_RESULT:
        send_u64(session, request, 0);
        break;
    case REPLY_STATE:
        send_u64(session, request, VHOST_USER_NO_FD);
        break;
    case REPLY_VALUE:
    case REPLY_CONFIG:
    case REPLY_INFLIGHT:
        send_reply(session, request, &message->payload, message->reply_size,
                   vdt_steal_fd(&message->reply_fd));
        break;
    }
}

static void
handle_message(struct vdt_session *session, struct vdt_message *message)
{
    uint32_t request = message->header.request;
    const struct rule *rule = request <= VHOST_USER_MAX ? &rules[request] : NULL;
    bool known = rule && rule->handle;
    GError *error = NULL;

    session->deferred = false;
    session->counts[known ? request : 0]++;
    if (message->header.flags & VHOST_USER_REPLY) {
        end(session,
            g_error_new(VDT_ERROR, VDT_ERROR_INVALID,
                        "the vhost-user peer sent a reply (to %u) where requests go", request));
        return;
    }
    if (known && (message->header.size < rule->min || message->header.size > rule->max)) {
        end(session, g_error_new(VDT_ERROR, VDT_ERROR_INVALID, "%s has %u bytes, not %u to %u",
                                 rule->name, message->header.size, rule->min, rule->max));
        return;
    }

    if (known)
        vdt_debug("vhost-user: %s 0x%" G_GINT64_MODIFIER "x", rule->name,
                  message->header.size >= 8 ? message->payload.u64 : 0);

    /* UML asks for an answer in the very request that negotiates answers. */
    bool acks =
        vdt_session_has(session, VHOST_USER_PROTOCOL_F_REPLY_ACK) ||
        (request == VHOST_USER_SET_PROTOCOL_FEATURES && (message->payload.u64 & GATE(REPLY_ACK)));
    bool ack_wanted = acks && (message->header.flags & VHOST_USER_NEED_REPLY);

    if (!check_rule(session, rule, message, &error) || !rule->handle(session, message, &error))
        refuse(session, rule, message, ack_wanted, error);
    else if (!session->deferred && !session->ending)
        confirm(session, rule, message, ack_wanted);
}

static gboolean
dispatch(GSource *source, GSourceFunc callback, gpointer user_data)
{
    struct vdt_session *session = user_data;
    GIOCondition got = g_source_query_unix_fd(source, session->source_tag);
    GError *error = NULL;

    if (!session->ending && vdt_channel_pending(&session->channel) &&
        !vdt_channel_flush(&session->channel, &error))
        end(session, g_steal_pointer(&error));
    if (!session->ending && session->waiting && (got & (G_IO_HUP | G_IO_ERR)))
        end(session, g_error_new(VDT_ERROR, VDT_ERROR_FAILED,
                                 "the frontend left before ring %u's position was known",
                                 session->waiting_ring));

    for (unsigned i = 0; i < MESSAGES_PER_TURN && !session->ending && !session->waiting; i++) {
        enum vdt_receive result = vdt_channel_receive(&session->channel, &error);

        if (result == VDT_RECEIVE_AGAIN)
            break;
        if (result == VDT_RECEIVE_MESSAGE)
            handle_message(session, &session->channel.message);
        else
            end(session, g_steal_pointer(&error));
    }

    if (!session->ending) {
        update_events(session);
        return G_SOURCE_CONTINUE;
    }
    finish(session);
    if (session->ended_cb)
        session->ended_cb(session->ctx, session->reason); /* may free the session */
    return G_SOURCE_REMOVE;
}

static GSourceFuncs source_funcs = {.dispatch = dispatch};

static gboolean
never_called(gpointer user_data)
{
    return G_SOURCE_CONTINUE;
}

struct vdt_session *
vdt_session_new(int fd, const struct vdt_backend_ops *ops, void *ctx, GMainContext *context,
                void (*ended)(void *ctx, const GError *reason))
{
    struct vdt_session *session = g_new0(struct vdt_session, 1);

    vdt_channel_init(&session->channel, fd);
    session->ops = ops;
    session->ctx = ctx;
    session->ended_cb = ended;
    session->context = context ? g_main_context_ref(context) : g_main_context_ref_thread_default();
    session->map = vdt_guest_map_new();
    session->backend_fd = -1;
    session->ring_count = MIN(ops->ring_count(ctx), VDT_SESSION_RINGS_MAX);
    session->rings = g_new0(struct vdt_session_ring, session->ring_count);
    for (uint32_t i = 0; i < session->ring_count; i++)
        session->rings[i].held_kick = -1;

    session->source = g_source_new(&source_funcs, sizeof(GSource));
    g_source_set_static_name(session->source, "vhost-user session");
    g_source_set_callback(session->source, never_called, session, NULL);
    session->source_tag = g_source_add_unix_fd(session->source, fd, G_IO_IN);
    g_source_attach(session->source, session->context);
    return session;
}

void
vdt_session_free(struct vdt_session *session)
{
    if (!session)
        return;
    finish(session);
    g_source_unref(session->source);
    g_main_context_unref(session->context);
    vdt_guest_map_unref(session->map);
    if (session->regions)
        g_array_unref(session->regions);
    g_free(session->rings);
    g_clear_error(&session->reason);
    g_free(session);
}

void
vdt_session_answer_base(struct vdt_session *session, uint32_t ring, uint32_t base,
                        const GError *error)
{
    if (session->ending || !session->waiting || session->waiting_ring != ring) {
        vdt_debug("vhost-user: nobody waits for the position of ring %u", ring);
        return;
    }
    session->waiting = false;
    if (error) {
        end(session, g_error_copy(error));
        return;
    }
    struct vhost_user_vring_state state = {.index = ring, .num = base};
    send_reply(session, VHOST_USER_GET_VRING_BASE, &state, sizeof(state), -1);
    update_events(session);
}

uint64_t
vdt_session_protocol_features(const struct vdt_session *session)
{
    return session->protocol_features;
}

struct vdt_guest_map *
vdt_session_map(const struct vdt_session *session)
{
    return session->map;
}

const uint64_t *
vdt_session_message_counts(const struct vdt_session *session, unsigned *ret_n)
{
    *ret_n = G_N_ELEMENTS(session->counts);
    return session->counts;
}
