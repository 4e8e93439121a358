/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "migration/pipe.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"

#define CHUNK 65536u
/* The frontend asks for the result when it has written or read everything: what is left then is in
 * the pipe. Longer, and whoever else waits for the control thread would wait for the frontend. */
#define FINISH_MS 2000

struct vdt_pipe {
    int fd;     /* owned */
    int cancel; /* owned eventfd: free() wakes the thread */
    int ended;  /* owned eventfd: the thread has nothing more to do */
    bool source;
    size_t max;
    unsigned deadline_ms; /* without progress */
    GThread *thread;      /* owned until joined */
    GBytes *bytes;        /* source: what goes out; target: what came in */
    GByteArray *in;       /* the thread's */
    GError *failed;       /* the thread's until it is joined */
};

/* True when @events came; false with @error on cancel, timeout, error. */
static bool
wait_for(struct vdt_pipe *pipe, short events, GError **error)
{
    struct pollfd fds[] = {{pipe->fd, events, 0}, {pipe->cancel, POLLIN, 0}};
    int n;

    do {
        n = poll(fds, G_N_ELEMENTS(fds), (int) pipe->deadline_ms);
    } while (n < 0 && errno == EINTR);
    if (n > 0 && fds[1].revents == 0)
        return true;
    if (n == 0)
        g_set_error(error, VDT_ERROR, VDT_ERROR_TIMEOUT,
                    "the VMM did not move the device state for %u ms; the transfer was given up",
                    pipe->deadline_ms);
    else if (n < 0)
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED,
                    "cannot wait for the VMM to move the device state: %s", g_strerror(errno));
    else
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_FAILED,
                            "the transfer of the device state was ended before it was whole");
    return false;
}

static bool
failed_io(struct vdt_pipe *pipe, int code, GError **error)
{
    g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "%s the device state: %s",
                pipe->source ? "writing" : "reading", g_strerror(code));
    return false;
}

static bool
write_all(struct vdt_pipe *pipe, GError **error)
{
    size_t size, done = 0;
    const uint8_t *data = g_bytes_get_data(pipe->bytes, &size);

    while (done < size) {
        if (!wait_for(pipe, POLLOUT, error))
            return false;
        ssize_t n = write(pipe->fd, data + done, MIN(size - done, CHUNK));
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return failed_io(pipe, errno, error);
        if (n > 0)
            done += (size_t) n;
    }
    return true;
}

static bool
read_all(struct vdt_pipe *pipe, GError **error)
{
    g_autofree uint8_t *chunk = g_malloc(CHUNK);

    for (;;) {
        if (!wait_for(pipe, POLLIN, error))
            return false;
        ssize_t n = read(pipe->fd, chunk, CHUNK);
        if (n == 0)
            return true;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return failed_io(pipe, errno, error);
        if (n > 0 && pipe->in->len + (size_t) n > pipe->max) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                        "the device state is longer than %zu bytes; it was not taken", pipe->max);
            return false;
        }
        if (n > 0)
            g_byte_array_append(pipe->in, chunk, (guint) n);
    }
}

static gpointer
transfer(gpointer data)
{
    struct vdt_pipe *pipe = data;
    bool ok = pipe->source ? write_all(pipe, &pipe->failed) : read_all(pipe, &pipe->failed);

    /* The other end learns of the end by our close. */
    pipe->fd = vdt_close(pipe->fd);
    vdt_event_signal(pipe->ended);
    return GINT_TO_POINTER(ok);
}

static struct vdt_pipe *
start(int fd, GBytes *bytes, size_t max, unsigned deadline_ms, GError **error)
{
    VDT_AUTO_FD owned = fd;
    VDT_AUTO_FD cancel = -1;
    VDT_AUTO_FD ended = -1;

    if (!vdt_set_nonblocking(fd, error))
        return NULL;
    if ((cancel = vdt_eventfd(error)) < 0 || (ended = vdt_eventfd(error)) < 0)
        return NULL;

    struct vdt_pipe *pipe = g_new0(struct vdt_pipe, 1);
    pipe->fd = vdt_steal_fd(&owned);
    pipe->cancel = vdt_steal_fd(&cancel);
    pipe->ended = vdt_steal_fd(&ended);
    pipe->source = bytes != NULL;
    pipe->bytes = bytes ? g_bytes_ref(bytes) : NULL;
    pipe->in = bytes ? NULL : g_byte_array_new();
    pipe->max = max;
    pipe->deadline_ms = deadline_ms;
    pipe->thread = g_thread_try_new("device-state", transfer, pipe, error);
    if (!pipe->thread) {
        vdt_pipe_free(pipe);
        return NULL;
    }
    return pipe;
}

struct vdt_pipe *
vdt_pipe_source(int fd, GBytes *bytes, unsigned deadline_ms, GError **error)
{
    return start(fd, bytes, 0, deadline_ms, error);
}

struct vdt_pipe *
vdt_pipe_target(int fd, size_t max, unsigned deadline_ms, GError **error)
{
    return start(fd, NULL, max, deadline_ms, error);
}

bool
vdt_pipe_is_source(const struct vdt_pipe *pipe)
{
    return pipe->source;
}

/* Above 0 if the thread came to its end by itself, 0 if not in time, below with errno. */
static int
ends_in_time(struct vdt_pipe *pipe)
{
    struct pollfd pollfd = {pipe->ended, POLLIN, 0};
    int n;

    do {
        n = poll(&pollfd, 1, FINISH_MS);
    } while (n < 0 && errno == EINTR);
    return n;
}

bool
vdt_pipe_finish(struct vdt_pipe *pipe, GError **error)
{
    if (pipe->thread) {
        int ended = ends_in_time(pipe), code = errno;

        if (ended <= 0)
            vdt_event_signal(pipe->cancel);
        g_thread_join(g_steal_pointer(&pipe->thread));
        if (ended < 0 && pipe->failed) {
            g_clear_error(&pipe->failed);
            g_set_error(&pipe->failed, VDT_ERROR, VDT_ERROR_FAILED,
                        "cannot wait for the transfer of the device state to end: %s",
                        g_strerror(code));
        } else if (ended == 0 && pipe->failed) {
            g_clear_error(&pipe->failed);
            g_set_error(&pipe->failed, VDT_ERROR, VDT_ERROR_TIMEOUT,
                        "the VMM asked whether the device state is whole and did not %s it to its "
                        "end within %d ms; the transfer was given up",
                        pipe->source ? "read" : "write", FINISH_MS);
        }
        if (!pipe->source && !pipe->failed)
            pipe->bytes = g_byte_array_free_to_bytes(g_steal_pointer(&pipe->in));
    }
    if (pipe->failed) {
        g_propagate_error(error, g_error_copy(pipe->failed));
        return false;
    }
    return true;
}

GBytes *
vdt_pipe_bytes(const struct vdt_pipe *pipe)
{
    return pipe->source ? NULL : pipe->bytes;
}

void
vdt_pipe_free(struct vdt_pipe *pipe)
{
    if (!pipe)
        return;
    if (pipe->thread) {
        vdt_event_signal(pipe->cancel);
        g_thread_join(g_steal_pointer(&pipe->thread));
    }
    vdt_close(pipe->fd);
    vdt_close(pipe->cancel);
    vdt_close(pipe->ended);
    g_clear_pointer(&pipe->bytes, g_bytes_unref);
    g_clear_pointer(&pipe->in, g_byte_array_unref);
    g_clear_error(&pipe->failed);
    g_free(pipe);
}
