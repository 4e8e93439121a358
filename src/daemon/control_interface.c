/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/control_interface.h"

#include <errno.h>
#include <gio/gio.h>
#include <glib/gstdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/log.h"
#include "daemon/dbus_error.h"
#include "daemon/runtime.h"
#include "snapshot/collect.h"
#include "tracker1.h"

#define INTERFACE "io.github.vdpa_tracker.Tracker1"
#define BACKLOG "vdt-backlog"
#define UNREAD_MAX 256u /* commands that a client may be behind */

struct vdt_control_interface {
    struct vdt_nic *nic; /* borrowed */
    char *path;          /* owned: the socket */
    GDBusServer *server;
    GDBusAuthObserver *observer;
    VdtTracker1 *skeleton;
    GPtrArray *connections; /* GDBusConnection *, owned references */
};

static char *
json_text(JsonNode *node)
{
    char *text = json_to_string(node, FALSE);

    json_node_unref(node);
    return text;
}

static void
answer_error(GDBusMethodInvocation *call, GError *error)
{
    vdt_info("%s: %s", g_dbus_method_invocation_get_method_name(call), error->message);
    g_dbus_method_invocation_take_error(call, error);
}

static gboolean
on_status(VdtTracker1 *skeleton, GDBusMethodInvocation *call, struct vdt_control_interface *self)
{
    g_autofree char *text = json_text(vdt_nic_status(self->nic));

    vdt_tracker1_complete_status(skeleton, call, text);
    return TRUE;
}

static gboolean
on_device_state(VdtTracker1 *skeleton, GDBusMethodInvocation *call,
                struct vdt_control_interface *self)
{
    GError *error = NULL;
    JsonNode *state = vdt_nic_device_state(self->nic, &error);

    if (!state) {
        answer_error(call, error);
        return TRUE;
    }
    g_autofree char *text = json_text(state);
    vdt_tracker1_complete_device_state(skeleton, call, text);
    return TRUE;
}

static GVariant *
bytes_variant(GBytes *bytes)
{
    return g_variant_new_from_bytes(G_VARIANT_TYPE("ay"), bytes, TRUE);
}

static GBytes *
snapshot_bytes(struct vdt_nic *nic, unsigned format, GError **error)
{
    VDT_AUTO(snapshot) snapshot = vdt_nic_snapshot(nic, error);

    return snapshot ? vdt_snapshot_encode_as(snapshot, format, error) : NULL;
}

static gboolean
on_snapshot(VdtTracker1 *skeleton, GDBusMethodInvocation *call, struct vdt_control_interface *self)
{
    GError *error = NULL;
    g_autoptr(GBytes) bytes = snapshot_bytes(self->nic, vdt_nic_format(self->nic), &error);

    if (bytes)
        vdt_tracker1_complete_snapshot(skeleton, call, bytes_variant(bytes));
    else
        answer_error(call, error);
    return TRUE;
}

static gboolean
on_snapshot_as(VdtTracker1 *skeleton, GDBusMethodInvocation *call, unsigned format,
               struct vdt_control_interface *self)
{
    GError *error = NULL;
    g_autoptr(GBytes) bytes = snapshot_bytes(self->nic, format, &error);

    if (bytes)
        vdt_tracker1_complete_snapshot_as(skeleton, call, bytes_variant(bytes));
    else
        answer_error(call, error);
    return TRUE;
}

static gboolean
on_restore(VdtTracker1 *skeleton, GDBusMethodInvocation *call, GVariant *state,
           struct vdt_control_interface *self)
{
    gsize len;
    const uint8_t *bytes = g_variant_get_fixed_array(state, &len, 1);
    GError *error = NULL;
    unsigned commands = 0;
    VDT_AUTO(snapshot) snapshot = vdt_snapshot_decode(bytes, len, &error);

    if (!snapshot || !vdt_nic_restore(self->nic, snapshot, &commands, &error)) {
        answer_error(call, error);
        return TRUE;
    }
    g_autofree char *text = g_strdup_printf("{\"live\":%s,\"commands\":%u,\"requests\":%u}",
                                            snapshot->live ? "true" : "false", commands,
                                            snapshot->live ? 0 : vdt_snapshot_requests(snapshot));
    vdt_tracker1_complete_restore(skeleton, call, text);
    return TRUE;
}

static gboolean
on_swap(VdtTracker1 *skeleton, GDBusMethodInvocation *call, const char *device,
        struct vdt_control_interface *self)
{
    struct vdt_swap_report report = {0};
    GError *error = NULL;

    if (vdt_nic_swap(self->nic, device, &report, &error)) {
        g_autofree char *text = json_text(vdt_swap_report_to_json(&report));
        vdt_tracker1_complete_swap(skeleton, call, text);
    } else {
        answer_error(call, error);
    }
    vdt_swap_report_clear(&report);
    return TRUE;
}

/* What one client was told and has not read, kept with its connection. */
struct backlog {
    unsigned told; /* since the flush that runs, or the last one */
    bool flushing;
    unsigned lost;
};

static void
on_flushed(GObject *connection, GAsyncResult *result, gpointer unused)
{
    struct backlog *backlog = g_object_get_data(connection, BACKLOG);

    backlog->flushing = false;
    backlog->told = 0;
    if (!g_dbus_connection_flush_finish(G_DBUS_CONNECTION(connection), result, NULL))
        return;
    if (backlog->lost > 0)
        vdt_warning("control interface: a client did not read for a while and was not told of %u "
                    "control commands",
                    backlog->lost);
    backlog->lost = 0;
}

/* GDBus queues without bound, and the guest decides how many commands there are: a client that
 * stopped reading (a trace in a pager) misses some. */
static void
tell(GDBusConnection *connection, GVariant *command)
{
    struct backlog *backlog = g_object_get_data(G_OBJECT(connection), BACKLOG);

    if (backlog->told >= UNREAD_MAX) {
        backlog->lost++;
        return;
    }
    backlog->told++;
    g_dbus_connection_emit_signal(connection, NULL, VDT_DBUS_PATH, INTERFACE, "Command", command,
                                  NULL);
    if (!backlog->flushing) {
        backlog->flushing = true;
        g_dbus_connection_flush(connection, NULL, on_flushed, NULL);
    }
}

static void
on_command(void *ctx, const struct vdt_cvq_event *event)
{
    struct vdt_control_interface *self = ctx;

    if (self->connections->len == 0)
        return;
    g_autofree char *text = vdt_command_describe(&event->command);
    GVariant *data =
        g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, event->command.data, event->command.len, 1);
    g_autoptr(GVariant) command = g_variant_ref_sink(
        g_variant_new("(xyys@ayybx)", g_get_real_time(), event->command.class,
                      event->command.command, text, data, event->ack, event->forwarded, event->us));
    for (guint i = 0; i < self->connections->len; i++)
        tell(g_ptr_array_index(self->connections, i), command);
}

static void
on_closed(GDBusConnection *connection, gboolean vanished, GError *error,
          struct vdt_control_interface *self)
{
    GDBusInterfaceSkeleton *skeleton = G_DBUS_INTERFACE_SKELETON(self->skeleton);

    if (g_dbus_interface_skeleton_has_connection(skeleton, connection))
        g_dbus_interface_skeleton_unexport_from_connection(skeleton, connection);
    g_signal_handlers_disconnect_by_data(connection, self);
    g_ptr_array_remove(self->connections, connection);
}

static gboolean
on_connection(GDBusServer *server, GDBusConnection *connection, struct vdt_control_interface *self)
{
    g_autoptr(GError) error = NULL;

    /* Gone already, and its "closed" with it. */
    if (g_dbus_connection_is_closed(connection))
        return FALSE;
    if (!g_dbus_interface_skeleton_export(G_DBUS_INTERFACE_SKELETON(self->skeleton), connection,
                                          VDT_DBUS_PATH, &error)) {
        vdt_warning("control interface: %s", error->message);
        return FALSE;
    }
    g_object_set_data_full(G_OBJECT(connection), BACKLOG, g_new0(struct backlog, 1), g_free);
    g_ptr_array_add(self->connections, g_object_ref(connection));
    g_signal_connect(connection, "closed", G_CALLBACK(on_closed), self);
    return TRUE;
}

static gboolean
on_mechanism(GDBusAuthObserver *observer, const char *mechanism, gpointer unused)
{
    return g_str_equal(mechanism, "EXTERNAL");
}

/* In GDBus' thread: touches nothing of ours. */
static gboolean
on_peer(GDBusAuthObserver *observer, GIOStream *stream, GCredentials *credentials, gpointer unused)
{
    uid_t uid = credentials ? g_credentials_get_unix_user(credentials, NULL) : (uid_t) -1;

    return uid != (uid_t) -1 && (uid == 0 || uid == geteuid());
}

/* A socket left by a tracker that died is replaced, that of a living one is not. */
static bool
clear_path(const char *path, const char *name, GError **error)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct stat st;

    if (g_strlcpy(addr.sun_path, path, sizeof(addr.sun_path)) >= sizeof(addr.sun_path)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE, "socket path %s is too long", path);
        return false;
    }
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
    if (connect(probe, (struct sockaddr *) &addr, sizeof(addr)) == 0 || errno == EAGAIN) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_BUSY, "a tracker of the name %s is running", name);
        return false;
    }
    if (errno == ECONNREFUSED)
        unlink(path);
    return true;
}

static bool
start_server(struct vdt_control_interface *self, const char *name, GError **error)
{
    g_autofree char *address = vdt_runtime_control_address(name);
    g_autofree char *guid = g_dbus_generate_guid();

    self->observer = g_dbus_auth_observer_new();
    g_signal_connect(self->observer, "allow-mechanism", G_CALLBACK(on_mechanism), NULL);
    g_signal_connect(self->observer, "authorize-authenticated-peer", G_CALLBACK(on_peer), NULL);
    mode_t before = umask(0117);
    self->server = g_dbus_server_new_sync(address, G_DBUS_SERVER_FLAGS_NONE, guid, self->observer,
                                          NULL, error);
    umask(before);
    if (!self->server) {
        /* Made, and then not listened at. */
        if (error && !g_error_matches(*error, G_IO_ERROR, G_IO_ERROR_ADDRESS_IN_USE))
            unlink(self->path);
        g_prefix_error(error, "control interface at %s: ", self->path);
        return false;
    }
    g_signal_connect(self->server, "new-connection", G_CALLBACK(on_connection), self);
    g_dbus_server_start(self->server);
    return true;
}

struct vdt_control_interface *
vdt_control_interface_new(struct vdt_nic *nic, const char *name, GError **error)
{
    VDT_AUTO(control_interface) self = g_new0(struct vdt_control_interface, 1);
    g_autofree char *path = vdt_runtime_path(name, ".ctl");

    vdt_dbus_error_register();
    self->nic = nic;
    self->connections = g_ptr_array_new_with_free_func(g_object_unref);
    self->skeleton = vdt_tracker1_skeleton_new();
    vdt_tracker1_set_name(self->skeleton, name);
    vdt_tracker1_set_version(self->skeleton, VDT_VERSION);
    g_signal_connect(self->skeleton, "handle-status", G_CALLBACK(on_status), self);
    g_signal_connect(self->skeleton, "handle-snapshot", G_CALLBACK(on_snapshot), self);
    g_signal_connect(self->skeleton, "handle-snapshot-as", G_CALLBACK(on_snapshot_as), self);
    g_signal_connect(self->skeleton, "handle-restore", G_CALLBACK(on_restore), self);
    g_signal_connect(self->skeleton, "handle-swap", G_CALLBACK(on_swap), self);
    g_signal_connect(self->skeleton, "handle-device-state", G_CALLBACK(on_device_state), self);

    if (!clear_path(path, name, error))
        return NULL;
    self->path = g_steal_pointer(&path);
    if (!start_server(self, name, error))
        return NULL;
    const struct vdt_nic_watch watch = {on_command, self};
    vdt_nic_set_watch(nic, &watch);
    return g_steal_pointer(&self);
}

void
vdt_control_interface_free(struct vdt_control_interface *self)
{
    if (!self)
        return;
    vdt_nic_set_watch(self->nic, &(const struct vdt_nic_watch){NULL, NULL});
    if (self->server) {
        g_signal_handlers_disconnect_by_data(self->server, self);
        g_dbus_server_stop(self->server);
        unlink(self->path);
    }
    while (self->connections->len > 0) {
        g_autoptr(GDBusConnection) connection =
            g_object_ref(g_ptr_array_index(self->connections, 0));
        on_closed(connection, FALSE, NULL, self);
        g_dbus_connection_close_sync(connection, NULL, NULL);
    }
    g_signal_handlers_disconnect_by_data(self->skeleton, self);
    g_clear_object(&self->skeleton);
    g_clear_object(&self->server);
    g_clear_object(&self->observer);
    g_ptr_array_unref(self->connections);
    g_free(self->path);
    g_free(self);
}
