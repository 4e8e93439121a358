/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Channel: vhost-user messages over one unix stream socket, without ever blocking.
 *
 * A message arrives in any number of pieces; its descriptors are collected on the way and belong
 * to the message. What a message cannot use is closed before anything else is looked at. Replies
 * that the peer does not take at once wait in a bounded queue. Control thread.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "vhost_user/protocol.h"

#define VDT_MESSAGE_FDS 8u
#define VDT_CHANNEL_QUEUE_MAX (64u * 1024)

struct vdt_message {
    struct vhost_user_header header;
    union vhost_user_payload payload;
    int fds[VDT_MESSAGE_FDS]; /* owned; -1 where taken */
    unsigned fd_count;        /* as sent, surplus included; may exceed VDT_MESSAGE_FDS */
    unsigned fd_taken;
    uint32_t reply_size; /* a handler's answer in @payload */
    int reply_fd;        /* owned, -1 for none */
};

/* The next descriptor of @message, now the caller's; -1 when there is none. */
int vdt_message_take_fd(struct vdt_message *message);
/* Close what nobody took and start over. */
void vdt_message_clear(struct vdt_message *message);

enum vdt_receive {
    VDT_RECEIVE_MESSAGE, /* channel->message is whole; valid until the next receive() */
    VDT_RECEIVE_AGAIN,   /* nothing (more) to read now */
    VDT_RECEIVE_END,     /* the peer closed between two messages */
    VDT_RECEIVE_ERROR,   /* framing is lost; @error says why */
};

struct vdt_channel {
    int fd; /* owned */
    struct vdt_message message;
    uint32_t got; /* bytes of header and payload that are in */
    GQueue out;   /* of struct outgoing */
    size_t queued;
};

void vdt_channel_init(struct vdt_channel *channel, int fd);
void vdt_channel_clear(struct vdt_channel *channel);

enum vdt_receive vdt_channel_receive(struct vdt_channel *channel, GError **error);

/* Queue @header with @payload of header.size bytes, and send what the socket takes. @pass_fd is the
 * channel's from now on, -1 for none. False: the socket broke or the queue's bound is reached. */
bool vdt_channel_send(struct vdt_channel *channel, const struct vhost_user_header *header,
                      const void *payload, int pass_fd, GError **error);
/* Send more of the queue, on writability. */
bool vdt_channel_flush(struct vdt_channel *channel, GError **error);

static inline bool
vdt_channel_pending(const struct vdt_channel *channel)
{
    return channel->queued > 0;
}
