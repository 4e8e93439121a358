/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What session.c and the message handlers (msg_*.c) share. A handler gets a message whose size,
 * descriptor count and protocol feature were checked; it takes the descriptors it wants (the rest
 * is closed) and returns false with @error and nothing changed, or true, with its answer (if the
 * request has one) in message->payload, reply_size and reply_fd.
 */
#pragma once

#include "vhost_user/channel.h"
#include "vhost_user/session.h"

#define VDT_SESSION_RINGS_MAX 256u

#define VDT_F_LOG_ALL VHOST_USER_BIT(VHOST_USER_F_LOG_ALL)
#define VDT_F_PROTOCOL VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES)

/* A ring as the frontend set it up. It runs while it is started and enabled. */
struct vdt_session_ring {
    uint32_t num; /* 0: not told yet */
    struct vdt_vring_addr addr;
    bool addr_set;
    bool started; /* kick set, GET_VRING_BASE not asked since */
    bool enabled;
    bool kick_held; /* started as soon as the dirty log is there */
    int held_kick;  /* owned, may be -1 with @kick_held */
};

struct vdt_session {
    struct vdt_channel channel;
    const struct vdt_backend_ops *ops;
    void *ctx;
    GMainContext *context; /* owned reference */
    void (*ended_cb)(void *ctx, const GError *reason);
    GSource *source;
    void *source_tag;

    uint64_t protocol_features;
    uint64_t acked; /* SET_FEATURES, bit 30 included; 0 before */
    struct vdt_guest_map *map;
    GArray *regions; /* of struct region (msg_memory.c): what @map was made of */
    uint64_t log_size;
    bool log_set;   /* a log was given at some time */
    bool log_fresh; /* ... and belongs to the migration that runs or comes */

    struct vdt_session_ring *rings;
    uint32_t ring_count;

    int backend_fd; /* owned; the BACKEND_REQ channel, -1 for none */
    GSource *backend_source;

    bool waiting;  /* GET_VRING_BASE is unanswered: nothing behind it is read */
    bool deferred; /* the message in hand answers itself, by vdt_session_answer_base() */
    uint32_t waiting_ring;
    bool ending, finished;
    GError *reason;

    unsigned refusals; /* told to the log so far */
    uint64_t counts[VHOST_USER_MAX + 1]; /* [0]: requests we do not know */
};

bool vdt_session_has(const struct vdt_session *session, enum vhost_user_protocol_feature bit);
bool vdt_session_running(const struct vdt_session *session); /* any ring started and enabled */
struct vdt_session_ring *vdt_session_ring(struct vdt_session *session, uint32_t index,
                                          GError **error);
void vdt_session_reset_rings(struct vdt_session *session); /* as after connecting */
void vdt_session_unhold_kick(struct vdt_session_ring *ring);

/* LOG_ALL is acknowledged but the log is still to come (QEMU starts a device that way in the middle
 * of a migration): a ring that started now would dirty pages nobody hears of. */
bool vdt_session_lacks_log(const struct vdt_session *session);
/* Start the rings that waited for the log. */
bool vdt_session_start_held(struct vdt_session *session, GError **error);
/* The log's bits reach from address 0 to @end. */
bool vdt_session_log_covers(uint64_t log_size, uint64_t end);

/* Could ring @index, whose addresses are known, run now? Since they were checked its size, the
 * features, guest memory and the other rings may have changed. */
bool vdt_session_check_place(struct vdt_session *session, uint32_t index, GError **error);

enum vdt_fd_use { VDT_FD_READ = 1, VDT_FD_WRITE = 2, VDT_FD_FILE = 4 };
/* A pipe, socket or anonymous inode (or regular file, with VDT_FD_FILE) that allows @use, and not
 * our own connection. */
bool vdt_session_check_fd(struct vdt_session *session, int fd, unsigned use, const char *what,
                          GError **error);

void vdt_session_close_backend(struct vdt_session *session);

typedef bool vdt_message_handler(struct vdt_session *session, struct vdt_message *message,
                                 GError **error);

/* msg_features.c */
vdt_message_handler vdt_msg_get_features, vdt_msg_set_features, vdt_msg_get_protocol_features,
    vdt_msg_set_protocol_features, vdt_msg_accept, vdt_msg_get_queue_num, vdt_msg_get_status,
    vdt_msg_set_status, vdt_msg_reset_device;
/* msg_memory.c */
vdt_message_handler vdt_msg_set_mem_table, vdt_msg_add_region, vdt_msg_remove_region,
    vdt_msg_get_max_slots;
/* msg_log.c */
vdt_message_handler vdt_msg_set_log_base, vdt_msg_set_log_fd;
/* msg_ring.c */
vdt_message_handler vdt_msg_set_num, vdt_msg_set_addr, vdt_msg_set_base, vdt_msg_get_base,
    vdt_msg_set_enable;
/* msg_notify.c */
vdt_message_handler vdt_msg_set_kick, vdt_msg_set_call, vdt_msg_set_err;
/* msg_config.c */
vdt_message_handler vdt_msg_get_config, vdt_msg_set_config, vdt_msg_send_rarp, vdt_msg_set_mtu,
    vdt_msg_set_backend_fd;
/* msg_state.c */
vdt_message_handler vdt_msg_get_inflight, vdt_msg_set_inflight, vdt_msg_set_state_fd,
    vdt_msg_check_state;
