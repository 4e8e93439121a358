/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/control_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/log.h"
#include "daemon/listener.h"

#define STRANGERS_MAX 64u /* clients that have not said who they are: a thread each */

struct vdt_control_socket {
    struct vdt_listener *listener;
    unsigned patience_ms;
    char *guid;
    GDBusAuthObserver *observer;
    GPtrArray *strangers; /* struct stranger *, owned */
    bool warned;          /* of too many of them */
    vdt_control_socket_client client;
    void *ctx;
};

struct stranger {
    struct vdt_control_socket *socket;
    GIOStream *stream;
    int fd; /* the same socket once more, to end it from here: GCancellable aborts without one */
    GSource *clock;
    GThread *thread;
    GDBusConnection *connection; /* the thread's until its idle source runs */
};

static gboolean
on_mechanism(GDBusAuthObserver *observer, const char *mechanism, gpointer unused)
{
    return g_str_equal(mechanism, "EXTERNAL");
}

/* In the client's thread. */
static gboolean
on_peer(GDBusAuthObserver *observer, GIOStream *stream, GCredentials *credentials, gpointer unused)
{
    uid_t uid = credentials ? g_credentials_get_unix_user(credentials, NULL) : (uid_t) -1;

    return uid != (uid_t) -1 && (uid == 0 || uid == geteuid());
}

static void
free_stranger(gpointer data)
{
    struct stranger *stranger = data;

    g_thread_join(stranger->thread);
    g_idle_remove_by_data(stranger);
    g_source_destroy(stranger->clock);
    g_source_unref(stranger->clock);
    g_clear_object(&stranger->connection);
    g_object_unref(stranger->stream);
    vdt_close(stranger->fd);
    g_free(stranger);
}

static gboolean
on_patience_over(gpointer data)
{
    struct stranger *stranger = data;

    shutdown(stranger->fd, SHUT_RDWR);
    return G_SOURCE_REMOVE;
}

static gboolean
on_known(gpointer data)
{
    struct stranger *stranger = data;
    struct vdt_control_socket *socket = stranger->socket;
    g_autoptr(GDBusConnection) connection = g_steal_pointer(&stranger->connection);

    g_ptr_array_remove_fast(socket->strangers, stranger);
    if (connection && socket->client(socket->ctx, connection))
        g_dbus_connection_start_message_processing(connection);
    return G_SOURCE_REMOVE;
}

static gpointer
get_known(gpointer data)
{
    struct stranger *stranger = data;

    stranger->connection =
        g_dbus_connection_new_sync(stranger->stream, stranger->socket->guid,
                                   G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_SERVER |
                                       G_DBUS_CONNECTION_FLAGS_DELAY_MESSAGE_PROCESSING,
                                   stranger->socket->observer, NULL, NULL);
    g_idle_add(on_known, stranger);
    return NULL;
}

/* @fd is kept, also where this fails. */
static bool
begin(struct vdt_control_socket *socket, int fd, GError **error)
{
    VDT_AUTO_FD own = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    struct stranger *stranger;

    if (own < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "%s", g_strerror(errno));
        return false;
    }
    g_autoptr(GSocket) peer = g_socket_new_from_fd(own, error);
    if (!peer)
        return false;
    vdt_steal_fd(&own);
    stranger = g_new0(struct stranger, 1);
    stranger->socket = socket;
    stranger->stream = G_IO_STREAM(g_socket_connection_factory_create_connection(peer));
    stranger->fd = fd;
    stranger->thread = g_thread_try_new("control-client", get_known, stranger, error);
    if (!stranger->thread) {
        g_object_unref(stranger->stream);
        g_free(stranger);
        return false;
    }
    stranger->clock = g_timeout_source_new(socket->patience_ms);
    g_source_set_callback(stranger->clock, on_patience_over, stranger, NULL);
    g_source_attach(stranger->clock, NULL);
    g_ptr_array_add(socket->strangers, stranger);
    return true;
}

static void
on_socket(void *ctx, int fd)
{
    struct vdt_control_socket *socket = ctx;
    g_autoptr(GError) error = NULL;
    bool room = socket->strangers->len < STRANGERS_MAX;

    vdt_listener_next(socket->listener);
    if (!room)
        g_set_error(&error, VDT_ERROR, VDT_ERROR_BUSY, "%u others have not said yet who they are",
                    STRANGERS_MAX);
    bool taken = room && begin(socket, fd, &error);
    if (!taken) {
        if (!socket->warned)
            vdt_warning("control interface: a client is turned away: %s", error->message);
        vdt_close(fd);
    }
    socket->warned = !taken;
}

struct vdt_control_socket *
vdt_control_socket_new(const char *path, unsigned patience_ms, vdt_control_socket_client client,
                       void *ctx, GError **error)
{
    VDT_AUTO(control_socket) self = g_new0(struct vdt_control_socket, 1);

    self->patience_ms = patience_ms;
    self->client = client;
    self->ctx = ctx;
    self->strangers = g_ptr_array_new_with_free_func(free_stranger);
    self->guid = g_dbus_generate_guid();
    self->observer = g_dbus_auth_observer_new();
    g_signal_connect(self->observer, "allow-mechanism", G_CALLBACK(on_mechanism), NULL);
    g_signal_connect(self->observer, "authorize-authenticated-peer", G_CALLBACK(on_peer), NULL);
    self->listener = vdt_listener_new(path, NULL, on_socket, self, error);
    if (!self->listener)
        return NULL;
    if (chmod(path, 0600) < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot keep others from %s: %s", path,
                    g_strerror(errno));
        return NULL;
    }
    return g_steal_pointer(&self);
}

void
vdt_control_socket_free(struct vdt_control_socket *socket)
{
    if (!socket)
        return;
    vdt_listener_free(socket->listener);
    for (guint i = 0; i < socket->strangers->len; i++)
        on_patience_over(g_ptr_array_index(socket->strangers, i));
    g_ptr_array_unref(socket->strangers);
    g_object_unref(socket->observer);
    g_free(socket->guid);
    g_free(socket);
}
