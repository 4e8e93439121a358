/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/listener.h"

#include <errno.h>
#include <glib-unix.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/source.h"

#define BACKLOG 8
#define DIAL_US 100000
#define PAUSE_MS 200 /* after a connection that could not be taken: it is still there */

struct vdt_listener {
    int fd;      /* owned: listening, or the one connection */
    bool single; /* the latter */
    bool dials;  /* neither: we connect to @addr */
    struct sockaddr_un addr;
    char *path; /* owned: to be removed; NULL where the socket is not ours */
    GMainContext *context;
    GSource *source; /* owned: hears clients or the end of a pause; NULL while deaf */
    bool warned;     /* of the client that waits */
    vdt_listener_connected connected;
    void *ctx;
};

static void
make_deaf(struct vdt_listener *listener)
{
    if (!listener->source)
        return;
    g_source_destroy(listener->source);
    g_clear_pointer(&listener->source, g_source_unref);
}

static void listen_now(struct vdt_listener *listener);

static gboolean
on_pause_over(gpointer data)
{
    struct vdt_listener *listener = data;

    make_deaf(listener);
    listen_now(listener);
    return G_SOURCE_REMOVE;
}

/* Out of descriptors or memory: the client waits in the backlog, and hearing of it all the time
 * would be a busy loop. */
static void
pause_a_while(struct vdt_listener *listener, int code)
{
    if (!listener->warned)
        vdt_warning("a client of %s could not be let in: %s; it is tried again every %u ms",
                    listener->path ? listener->path : "the VMM's socket", g_strerror(code),
                    PAUSE_MS);
    listener->warned = true;
    make_deaf(listener);
    listener->source = g_timeout_source_new(PAUSE_MS);
    g_source_set_callback(listener->source, on_pause_over, listener, NULL);
    g_source_attach(listener->source, listener->context);
}

static gboolean
on_client(gint fd, GIOCondition condition, gpointer data)
{
    struct vdt_listener *listener = data;
    int client =
        listener->single ? vdt_steal_fd(&listener->fd) : accept4(fd, NULL, NULL, SOCK_CLOEXEC);

    if (client < 0) {
        if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
            return G_SOURCE_CONTINUE;
        pause_a_while(listener, errno);
        return G_SOURCE_REMOVE;
    }
    listener->warned = false;
    make_deaf(listener);
    listener->connected(listener->ctx, client);
    return G_SOURCE_REMOVE;
}

static void
dial(void *ctx)
{
    struct vdt_listener *listener = ctx;
    VDT_AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd >= 0 && connect(fd, (struct sockaddr *) &listener->addr, sizeof(listener->addr)) == 0) {
        make_deaf(listener);
        listener->connected(listener->ctx, vdt_steal_fd(&fd));
        return;
    }
    g_source_set_ready_time(listener->source, g_get_monotonic_time() + DIAL_US);
}

static void
listen_now(struct vdt_listener *listener)
{
    if (listener->dials) {
        listener->source = vdt_clock_source_new(listener->context, dial, listener);
        g_source_set_ready_time(listener->source, 0);
        return;
    }
    /* A connection that is there already is handed over by the loop as well, never from new(). */
    GIOCondition condition = listener->single ? G_IO_IN | G_IO_OUT | G_IO_HUP : G_IO_IN;

    listener->source = g_unix_fd_source_new(listener->fd, condition);
    g_source_set_static_name(listener->source, "vhost-user listener");
    g_source_set_callback(listener->source, G_SOURCE_FUNC(on_client), listener, NULL);
    g_source_attach(listener->source, listener->context);
}

static struct vdt_listener *
new_listener(int fd, bool single, const char *path, GMainContext *context,
             vdt_listener_connected connected, void *ctx)
{
    struct vdt_listener *listener = g_new0(struct vdt_listener, 1);

    listener->fd = fd;
    listener->single = single;
    listener->path = g_strdup(path);
    listener->context = context;
    listener->connected = connected;
    listener->ctx = ctx;
    listen_now(listener);
    return listener;
}

static bool
socket_address(const char *path, struct sockaddr_un *addr, GError **error)
{
    memset(addr, 0, sizeof(*addr));
    addr->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(addr->sun_path)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE,
                    "socket path %s is too long: %zu bytes are the most", path,
                    sizeof(addr->sun_path) - 2);
        return false;
    }
    memcpy(addr->sun_path, path, strlen(path));
    return true;
}

/* A socket nobody listens at is left from a process that died. Anything else is not ours to
 * remove. */
static bool
clear_path(const char *path, const struct sockaddr_un *addr, GError **error)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return true;
    if (!S_ISSOCK(st.st_mode)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE, "%s is there and is no socket", path);
        return false;
    }
    VDT_AUTO_FD probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (probe < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot look who listens at %s: %s", path,
                    g_strerror(errno));
        return false;
    }
    if (connect(probe, (const struct sockaddr *) addr, sizeof(*addr)) == 0 ||
        errno != ECONNREFUSED) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_BUSY, "somebody listens at %s already", path);
        return false;
    }
    unlink(path);
    return true;
}

struct vdt_listener *
vdt_listener_new(const char *path, GMainContext *context, vdt_listener_connected connected,
                 void *ctx, GError **error)
{
    VDT_AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* Whoever sees the socket can connect: it gets its name once it listens. */
    g_autofree char *unnamed = g_strconcat(path, "~", NULL);
    struct sockaddr_un addr, early;

    if (fd < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "no socket for %s: %s", path,
                    g_strerror(errno));
        return NULL;
    }
    if (!socket_address(path, &addr, error) || !clear_path(path, &addr, error) ||
        !socket_address(unnamed, &early, error) || !clear_path(unnamed, &early, error))
        return NULL;
    mode_t before = umask(0117);
    int rc = bind(fd, (struct sockaddr *) &early, sizeof(early));
    umask(before);
    if (rc < 0 || listen(fd, BACKLOG) < 0 || rename(unnamed, path) < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "listening at %s: %s", path,
                    g_strerror(errno));
        if (rc == 0)
            unlink(unnamed);
        return NULL;
    }
    return new_listener(vdt_steal_fd(&fd), false, path, context, connected, ctx);
}

struct vdt_listener *
vdt_listener_from_fd(int fd, GMainContext *context, vdt_listener_connected connected, void *ctx,
                     GError **error)
{
    VDT_AUTO_FD owned = fd;
    int listening = 0;
    socklen_t len = sizeof(listening);

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE, "descriptor %d is no socket: %s", fd,
                    g_strerror(errno));
        return NULL;
    }
    if (listening && !vdt_set_nonblocking(fd, error))
        return NULL;
    return new_listener(vdt_steal_fd(&owned), !listening, NULL, context, connected, ctx);
}

struct vdt_listener *
vdt_listener_dial(const char *path, GMainContext *context, vdt_listener_connected connected,
                  void *ctx, GError **error)
{
    struct sockaddr_un addr;

    if (!socket_address(path, &addr, error))
        return NULL;
    struct vdt_listener *listener = g_new0(struct vdt_listener, 1);
    *listener = (struct vdt_listener){.fd = -1,
                                      .dials = true,
                                      .addr = addr,
                                      .context = context,
                                      .connected = connected,
                                      .ctx = ctx};
    listen_now(listener);
    return listener;
}

void
vdt_listener_free(struct vdt_listener *listener)
{
    if (!listener)
        return;
    make_deaf(listener);
    vdt_close(listener->fd);
    if (listener->path)
        unlink(listener->path);
    g_free(listener->path);
    g_free(listener);
}

bool
vdt_listener_next(struct vdt_listener *listener)
{
    if (listener->single)
        return false;
    if (!listener->source)
        listen_now(listener);
    return true;
}
