/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vhost_user/frontend_private.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"

struct vdt_frontend *
vdt_frontend_new(int fd, unsigned timeout_ms)
{
    struct vdt_frontend *frontend = g_new0(struct vdt_frontend, 1);

    vdt_channel_init(&frontend->channel, fd);
    frontend->timeout_ms = timeout_ms;
    frontend->backend_fd = -1;
    return frontend;
}

struct vdt_frontend *
vdt_frontend_connect(const char *path, unsigned timeout_ms, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    VDT_AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof(address.sun_path)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE, "the socket path %s is too long", path);
        return NULL;
    }
    strcpy(address.sun_path, path);
    if (fd < 0 || connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot connect to %s: %s", path,
                    g_strerror(errno));
        return NULL;
    }
    return vdt_frontend_new(vdt_steal_fd(&fd), timeout_ms);
}

void
vdt_frontend_free(struct vdt_frontend *frontend)
{
    if (!frontend)
        return;
    vdt_channel_clear(&frontend->channel);
    vdt_close(frontend->backend_fd);
    g_free(frontend);
}

/* Wait until @fd is ready for @events or @deadline (monotonic, us) has passed. */
static bool
wait_for(int fd, short events, int64_t deadline, const char *what, GError **error)
{
    for (;;) {
        int64_t left = (deadline - g_get_monotonic_time() + 999) / 1000;
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, (int) MAX(left, 0));

        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot wait for the backend: %s",
                        g_strerror(errno));
            return false;
        }
        if (n == 0 && left <= 0) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_TIMEOUT, "the backend did not %s in time",
                        what);
            return false;
        }
    }
}

static int64_t
deadline_of(const struct vdt_frontend *frontend)
{
    return g_get_monotonic_time() + (int64_t) frontend->timeout_ms * 1000;
}

static bool
transmit(struct vdt_frontend *frontend, const struct vdt_request *request, bool ack, GError **error)
{
    struct vhost_user_header header = {
        .request = request->number,
        .flags = VHOST_USER_VERSION | (ack ? VHOST_USER_NEED_REPLY : 0),
        .size = request->size,
    };
    uint8_t bytes[sizeof(header) + sizeof(union vhost_user_payload)];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(VDT_MESSAGE_FDS * sizeof(int))];
    } control = {0};
    size_t len = sizeof(header) + request->size, done = 0;
    size_t fd_bytes = request->fd_count * sizeof(int);
    int64_t deadline = deadline_of(frontend);

    g_assert(request->size <= sizeof(union vhost_user_payload));
    g_assert(request->fd_count <= VDT_MESSAGE_FDS);
    memcpy(bytes, &header, sizeof(header));
    if (request->size > 0)
        memcpy(bytes + sizeof(header), request->payload, request->size);

    while (done < len) {
        struct iovec iov = {.iov_base = bytes + done, .iov_len = len - done};
        struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
        if (done == 0 && fd_bytes > 0) {
            msg.msg_control = control.bytes;
            msg.msg_controllen = CMSG_SPACE(fd_bytes);
            struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
            c->cmsg_level = SOL_SOCKET;
            c->cmsg_type = SCM_RIGHTS;
            c->cmsg_len = CMSG_LEN(fd_bytes);
            memcpy(CMSG_DATA(c), request->fds, fd_bytes);
        }
        ssize_t n = sendmsg(frontend->channel.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            done += (size_t) n;
        } else if (n < 0 && errno == EAGAIN) {
            if (!wait_for(frontend->channel.fd, POLLOUT, deadline, "read a request", error))
                return false;
        } else if (n < 0 && errno != EINTR) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED,
                        "cannot send request %u to the backend: %s", request->number,
                        g_strerror(errno));
            return false;
        }
    }
    return true;
}

/* The answer to @request is in channel.message afterwards. */
static bool
receive(struct vdt_frontend *frontend, const struct vdt_request *request, GError **error)
{
    const struct vhost_user_header *header = &frontend->channel.message.header;
    int64_t deadline = deadline_of(frontend);

    for (;;) {
        switch (vdt_channel_receive(&frontend->channel, error)) {
        case VDT_RECEIVE_MESSAGE:
            if (header->request == request->number && (header->flags & VHOST_USER_REPLY))
                return true;
            g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                        "the backend answered request %u with message %u", request->number,
                        header->request);
            return false;
        case VDT_RECEIVE_AGAIN:
            if (!wait_for(frontend->channel.fd, POLLIN, deadline, "answer a request", error)) {
                g_prefix_error(error, "request %u: ", request->number);
                return false;
            }
            break;
        case VDT_RECEIVE_END:
            g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                        "the backend closed the connection over request %u", request->number);
            return false;
        case VDT_RECEIVE_ERROR:
            return false;
        }
    }
}

static bool
bad_size(const struct vdt_request *request, GError **error)
{
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                "the backend's answer to request %u has an unexpected size", request->number);
    return false;
}

bool
vdt_frontend_tell(struct vdt_frontend *frontend, const struct vdt_request *request, GError **error)
{
    bool ack = frontend->protocol_features & VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK);
    bool always = request->number == VHOST_USER_SET_LOG_BASE ||
                  request->number == VHOST_USER_SET_DEVICE_STATE_FD ||
                  request->number == VHOST_USER_CHECK_DEVICE_STATE;

    if (!transmit(frontend, request, ack, error))
        return false;
    if (!ack && !always)
        return true;
    if (!receive(frontend, request, error))
        return false;
    if (frontend->channel.message.header.size != sizeof(uint64_t))
        return bad_size(request, error);

    uint64_t result = frontend->channel.message.payload.u64;
    if (request->number == VHOST_USER_SET_DEVICE_STATE_FD)
        result &= ~(uint64_t) VHOST_USER_NO_FD;
    if (result == 0)
        return true;
    g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                "the backend refused request %u; its log says why", request->number);
    return false;
}

bool
vdt_frontend_ask(struct vdt_frontend *frontend, const struct vdt_request *request, uint32_t size,
                 GError **error)
{
    if (!transmit(frontend, request, false, error) || !receive(frontend, request, error))
        return false;
    return frontend->channel.message.header.size == size || bad_size(request, error);
}

bool
vdt_frontend_tell_u64(struct vdt_frontend *frontend, enum vhost_user_request number, uint64_t value,
                      GError **error)
{
    struct vdt_request request = {.number = number, .payload = &value, .size = sizeof(value)};

    return vdt_frontend_tell(frontend, &request, error);
}

bool
vdt_frontend_ask_u64(struct vdt_frontend *frontend, enum vhost_user_request number, uint64_t *ret,
                     GError **error)
{
    struct vdt_request request = {.number = number};

    if (!vdt_frontend_ask(frontend, &request, sizeof(*ret), error))
        return false;
    *ret = frontend->channel.message.payload.u64;
    return true;
}

bool
vdt_frontend_has(const struct vdt_frontend *frontend, enum vhost_user_protocol_feature bit)
{
    return frontend->protocol_features & VHOST_USER_BIT(bit);
}

static bool
open_backend_channel(struct vdt_frontend *frontend, GError **error)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot make a socket pair: %s",
                    g_strerror(errno));
        return false;
    }
    VDT_AUTO_FD theirs = pair[1];
    vdt_close(frontend->backend_fd);
    frontend->backend_fd = pair[0];
    struct vdt_request request = {
        .number = VHOST_USER_SET_BACKEND_REQ_FD, .fds = &theirs, .fd_count = 1};
    return vdt_frontend_tell(frontend, &request, error);
}

bool
vdt_frontend_negotiate(struct vdt_frontend *frontend, uint64_t wanted, GError **error)
{
    struct vdt_request owner = {.number = VHOST_USER_SET_OWNER};
    uint64_t offered;

    if (!vdt_frontend_tell(frontend, &owner, error) ||
        !vdt_frontend_ask_u64(frontend, VHOST_USER_GET_PROTOCOL_FEATURES, &offered, error))
        return false;
    frontend->protocol_features = wanted & offered;
    if (!vdt_frontend_tell_u64(frontend, VHOST_USER_SET_PROTOCOL_FEATURES, wanted & offered, error))
        return false;
    return !vdt_frontend_has(frontend, VHOST_USER_PROTOCOL_F_BACKEND_REQ) ||
           open_backend_channel(frontend, error);
}

int
vdt_frontend_backend_fd(const struct vdt_frontend *frontend)
{
    return frontend->backend_fd;
}

bool
vdt_frontend_wait_config_changed(struct vdt_frontend *frontend, unsigned timeout_ms)
{
    int64_t deadline = g_get_monotonic_time() + (int64_t) timeout_ms * 1000;
    struct vhost_user_header header;
    bool changed = false;

    if (frontend->backend_fd < 0)
        return false;
    for (;;) {
        /* A sender writes the 12 bytes in one piece, and a stream socket gives them so. */
        ssize_t n = recv(frontend->backend_fd, &header, sizeof(header), MSG_DONTWAIT);
        if (n == (ssize_t) sizeof(header)) {
            changed |= header.request == VHOST_USER_BACKEND_CONFIG_CHANGE_MSG;
            continue;
        }
        if (n >= 0 || errno != EAGAIN || changed)
            return changed;
        if (!wait_for(frontend->backend_fd, POLLIN, deadline, "speak", NULL))
            return false;
    }
}

static bool
begin_transfer(struct vdt_frontend *frontend, enum vhost_user_transfer direction, int ret_pipe[2],
               GError **error)
{
    struct vhost_user_transfer_params params = {.direction = direction};
    bool save = direction == VHOST_USER_TRANSFER_SAVE;

    if (pipe2(ret_pipe, O_CLOEXEC) < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot make a pipe: %s",
                    g_strerror(errno));
        return false;
    }
    int *theirs = &ret_pipe[save ? 1 : 0], *ours = &ret_pipe[save ? 0 : 1];
    struct vdt_request request = {VHOST_USER_SET_DEVICE_STATE_FD, &params, sizeof(params), theirs,
                                  1};
    bool ok = vdt_set_nonblocking(*ours, error) && vdt_frontend_tell(frontend, &request, error);

    *theirs = vdt_close(*theirs);
    if (!ok)
        *ours = vdt_close(*ours);
    return ok;
}

static bool
check_transfer(struct vdt_frontend *frontend, GError **error)
{
    struct vdt_request request = {.number = VHOST_USER_CHECK_DEVICE_STATE};

    return vdt_frontend_tell(frontend, &request, error);
}

GByteArray *
vdt_frontend_save(struct vdt_frontend *frontend, size_t max, GError **error)
{
    g_autoptr(GByteArray) state = g_byte_array_new();
    int ends[2];

    if (!begin_transfer(frontend, VHOST_USER_TRANSFER_SAVE, ends, error))
        return NULL;
    VDT_AUTO_FD from = ends[0];
    for (;;) {
        uint8_t piece[4096];
        ssize_t n = read(from, piece, sizeof(piece));

        if (n == 0)
            break;
        if (n > 0 && (size_t) n <= max - state->len) {
            g_byte_array_append(state, piece, (guint) n);
        } else if (n > 0) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                        "the backend's state is longer than %zu bytes", max);
            return NULL;
        } else if (errno == EAGAIN) {
            if (!wait_for(from, POLLIN, deadline_of(frontend), "write its state", error))
                return NULL;
        } else if (errno != EINTR) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot read the backend's state: %s",
                        g_strerror(errno));
            return NULL;
        }
    }
    return check_transfer(frontend, error) ? g_steal_pointer(&state) : NULL;
}

bool
vdt_frontend_load(struct vdt_frontend *frontend, const void *state, size_t len, GError **error)
{
    const uint8_t *bytes = state;
    size_t done = 0;
    int ends[2];

    if (!begin_transfer(frontend, VHOST_USER_TRANSFER_LOAD, ends, error))
        return false;
    VDT_AUTO_FD to = ends[1];
    while (done < len) {
        /* A pipe cannot be told MSG_NOSIGNAL: who uses this ignores SIGPIPE. */
        ssize_t n = write(to, bytes + done, len - done);

        if (n > 0) {
            done += (size_t) n;
        } else if (n < 0 && errno == EPIPE) {
            break; /* the check says what the backend thinks of it */
        } else if (n < 0 && errno == EAGAIN) {
            if (!wait_for(to, POLLOUT, deadline_of(frontend), "read its state", error))
                return false;
        } else if (n < 0 && errno != EINTR) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot write the backend's state: %s",
                        g_strerror(errno));
            return false;
        }
    }
    to = vdt_close(to);
    return check_transfer(frontend, error);
}
