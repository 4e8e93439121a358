/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vhost_user/channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"

/* The kernel passes at most this many descriptors in one message (SCM_MAX_FD): with room for all
 * of them a cut-short control message can only mean that we are out of descriptors. */
#define KERNEL_FDS_MAX 253

struct outgoing {
    int fd; /* owned until its first byte is sent */
    size_t done;
    size_t len;
    uint8_t bytes[];
};

int
vdt_message_take_fd(struct vdt_message *message)
{
    if (message->fd_taken >= MIN(message->fd_count, VDT_MESSAGE_FDS))
        return -1;
    return vdt_steal_fd(&message->fds[message->fd_taken++]);
}

void
vdt_message_clear(struct vdt_message *message)
{
    for (unsigned i = 0; i < VDT_MESSAGE_FDS; i++)
        message->fds[i] = vdt_close(message->fds[i]);
    message->reply_fd = vdt_close(message->reply_fd);
    message->fd_count = 0;
    message->fd_taken = 0;
    message->reply_size = 0;
    memset(&message->header, 0, sizeof(message->header));
    memset(&message->payload, 0, sizeof(message->payload));
}

void
vdt_channel_init(struct vdt_channel *channel, int fd)
{
    memset(channel, 0, sizeof(*channel));
    channel->fd = fd;
    for (unsigned i = 0; i < VDT_MESSAGE_FDS; i++)
        channel->message.fds[i] = -1;
    channel->message.reply_fd = -1;
    g_queue_init(&channel->out);
}

static void
free_outgoing(struct outgoing *out)
{
    vdt_close(out->fd);
    g_free(out);
}

void
vdt_channel_clear(struct vdt_channel *channel)
{
    struct outgoing *out;

    while ((out = g_queue_pop_head(&channel->out)))
        free_outgoing(out);
    channel->queued = 0;
    channel->got = 0;
    vdt_message_clear(&channel->message);
    channel->fd = vdt_close(channel->fd);
}

/* Keep what fits, close the rest; fd_count tells the rule check that there was more. */
static void
collect_fds(struct vdt_message *message, struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
            if (message->fd_count < VDT_MESSAGE_FDS)
                message->fds[message->fd_count] = fd;
            else
                vdt_close(fd);
            message->fd_count++;
        }
    }
}

/* Read up to @len bytes: > 0 as read, 0 end of file, -1 with errno. */
static ssize_t
receive_some(struct vdt_channel *channel, void *to, size_t len, bool *ret_truncated)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(KERNEL_FDS_MAX * sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = to, .iov_len = len};
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes),
    };
    ssize_t n;

    do {
        n = recvmsg(channel->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return n;
    collect_fds(&channel->message, &msg);
    *ret_truncated = (msg.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) != 0;
    return n;
}

static bool
check_header(const struct vhost_user_header *header, GError **error)
{
    if ((header->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "the peer speaks vhost-user version %u, not 1",
                    header->flags & VHOST_USER_VERSION_MASK);
        return false;
    }
    if (header->size > sizeof(union vhost_user_payload)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "vhost-user message %u announces %u bytes, more than any message has",
                    header->request, header->size);
        return false;
    }
    return true;
}

enum vdt_receive
vdt_channel_receive(struct vdt_channel *channel, GError **error)
{
    const uint32_t header_size = sizeof(struct vhost_user_header);
    struct vdt_message *message = &channel->message;

    if (channel->got >= header_size && channel->got == header_size + message->header.size)
        channel->got = 0; /* the last one was handed out */
    if (channel->got == 0)
        vdt_message_clear(message);

    while (channel->got < header_size || channel->got < header_size + message->header.size) {
        bool truncated = false;
        bool in_header = channel->got < header_size;
        uint8_t *to = in_header ? (uint8_t *) &message->header + channel->got
                                : message->payload.bytes + (channel->got - header_size);
        size_t left = in_header ? header_size - channel->got
                                : header_size + message->header.size - channel->got;
        ssize_t n = receive_some(channel, to, left, &truncated);

        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return VDT_RECEIVE_AGAIN;
        if (n < 0 && errno == ECONNRESET && channel->got == 0)
            return VDT_RECEIVE_END;
        if (n < 0) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED,
                        "cannot read from the vhost-user socket: %s", g_strerror(errno));
            return VDT_RECEIVE_ERROR;
        }
        if (n == 0 && channel->got == 0)
            return VDT_RECEIVE_END;
        if (n == 0) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                        "the vhost-user peer left after %u bytes of a message", channel->got);
            return VDT_RECEIVE_ERROR;
        }
        if (truncated) {
            g_set_error_literal(error, VDT_ERROR, VDT_ERROR_FAILED,
                                "descriptors of a vhost-user message were lost: too many are open");
            return VDT_RECEIVE_ERROR;
        }
        channel->got += (uint32_t) n;
        if (in_header && channel->got == header_size && !check_header(&message->header, error))
            return VDT_RECEIVE_ERROR;
    }
    return VDT_RECEIVE_MESSAGE;
}

static ssize_t
send_some(int fd, struct outgoing *out)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {.iov_base = out->bytes + out->done, .iov_len = out->len - out->done};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (out->fd >= 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &out->fd, sizeof(int));
    }
    do {
        n = sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n;
}

bool
vdt_channel_flush(struct vdt_channel *channel, GError **error)
{
    struct outgoing *out;

    while ((out = g_queue_peek_head(&channel->out))) {
        ssize_t n = send_some(channel->fd, out);

        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return true;
        if (n < 0) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED,
                        "cannot answer on the vhost-user socket: %s", g_strerror(errno));
            return false;
        }
        out->fd = vdt_close(out->fd);
        out->done += (size_t) n;
        channel->queued -= (size_t) n;
        if (out->done == out->len)
            free_outgoing(g_queue_pop_head(&channel->out));
    }
    return true;
}

bool
vdt_channel_send(struct vdt_channel *channel, const struct vhost_user_header *header,
                 const void *payload, int pass_fd, GError **error)
{
    size_t len = sizeof(*header) + header->size;

    if (len > VDT_CHANNEL_QUEUE_MAX - channel->queued) {
        vdt_close(pass_fd);
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "the vhost-user peer leaves %zu bytes of answers unread", channel->queued);
        return false;
    }

    struct outgoing *out = g_malloc(sizeof(*out) + len);
    out->fd = pass_fd;
    out->done = 0;
    out->len = len;
    memcpy(out->bytes, header, sizeof(*header));
    if (header->size > 0)
        memcpy(out->bytes + sizeof(*header), payload, header->size);
    g_queue_push_tail(&channel->out, out);
    channel->queued += len;
    return vdt_channel_flush(channel, error);
}
