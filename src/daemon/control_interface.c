/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/control_interface.h"

#include <gio/gio.h>
#include <string.h>

#include <vdpa-tracker/error.h>

#include "base/log.h"
#include "daemon/control_socket.h"
#include "daemon/dbus_error.h"
#include "daemon/runtime.h"
#include "snapshot/collect.h"
#include "tracker1.h"

#define INTERFACE "io.github.vdpa_tracker.Tracker1"
#define BACKLOG "vdt-backlog"
#define UNREAD_MAX 256u /* commands that a client may be behind */
#define CLIENTS_MAX 256u
#define PATIENCE_MS 5000 /* for a client to say who it is */

struct vdt_control_interface {
    struct vdt_nic *nic; /* borrowed */
    struct vdt_control_socket *socket;
    VdtTracker1 *skeleton;
    GPtrArray *connections; /* GDBusConnection *, owned references */
    bool crowded;           /* said so */
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

/* Addresses of six bytes each into @macs, which holds @most. False: not that. */
static bool
take_macs(GVariant *variant, uint8_t (*macs)[6], unsigned most, uint16_t *ret_count)
{
    gsize len;
    const uint8_t *bytes = g_variant_get_fixed_array(variant, &len, 1);

    if (len % 6 != 0 || len / 6 > most)
        return false;
    if (len > 0) /* of an empty array there are no bytes at all */
        memcpy(macs, bytes, len);
    *ret_count = (uint16_t) (len / 6);
    return true;
}

static bool
take_vlans(GVariant *value, uint8_t vlan[VDT_VLAN_BYTES])
{
    gsize len;
    const void *bytes = g_variant_get_fixed_array(value, &len, 1);

    if (len != VDT_VLAN_BYTES)
        return false;
    memcpy(vlan, bytes, len);
    return true;
}

static gboolean
on_filter(VdtTracker1 *skeleton, GDBusMethodInvocation *call, GVariant *mac, gboolean promisc,
          gboolean allmulti, GVariant *unicast, GVariant *multicast, GVariant *vlans,
          struct vdt_control_interface *self)
{
    g_autofree struct vdt_nic_filter *filter = g_new0(struct vdt_nic_filter, 1);
    uint16_t one = 0;
    unsigned commands;
    GError *error = NULL;

    filter->promisc = promisc;
    filter->allmulti = allmulti;
    if (!take_macs(mac, &filter->mac, 1, &one) || one != 1 ||
        !take_macs(unicast, filter->unicast, VDT_MAC_TABLE_MAX, &filter->unicast_count) ||
        !take_macs(multicast, filter->multicast, VDT_MAC_TABLE_MAX, &filter->multicast_count)) {
        g_set_error(&error, VDT_ERROR, VDT_ERROR_USAGE,
                    "addresses have six bytes, and each list %u of them at most",
                    VDT_MAC_TABLE_MAX);
        answer_error(call, error);
        return TRUE;
    }
    if (!take_vlans(vlans, filter->vlan)) {
        g_set_error(&error, VDT_ERROR, VDT_ERROR_USAGE, "VLANs are %u bytes, a bit for each",
                    VDT_VLAN_BYTES);
        answer_error(call, error);
        return TRUE;
    }
    if (!vdt_nic_filter(self->nic, filter, &commands, &error)) {
        answer_error(call, error);
        return TRUE;
    }
    g_autofree char *text = g_strdup_printf("{\"commands\":%u}", commands);
    vdt_tracker1_complete_filter(skeleton, call, text);
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

static bool
on_client(void *ctx, GDBusConnection *connection)
{
    struct vdt_control_interface *self = ctx;
    g_autoptr(GError) error = NULL;

    /* Gone already, and its "closed" with it. */
    if (g_dbus_connection_is_closed(connection))
        return false;
    if (self->connections->len >= CLIENTS_MAX) {
        if (!self->crowded)
            vdt_warning("control interface: a client is turned away: there are %u others",
                        CLIENTS_MAX);
        self->crowded = true;
        return false;
    }
    self->crowded = false;
    if (!g_dbus_interface_skeleton_export(G_DBUS_INTERFACE_SKELETON(self->skeleton), connection,
                                          VDT_DBUS_PATH, &error)) {
        vdt_warning("control interface: %s", error->message);
        return false;
    }
    g_object_set_data_full(G_OBJECT(connection), BACKLOG, g_new0(struct backlog, 1), g_free);
    g_ptr_array_add(self->connections, g_object_ref(connection));
    g_signal_connect(connection, "closed", G_CALLBACK(on_closed), self);
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
    g_signal_connect(self->skeleton, "handle-filter", G_CALLBACK(on_filter), self);
    g_signal_connect(self->skeleton, "handle-swap", G_CALLBACK(on_swap), self);
    g_signal_connect(self->skeleton, "handle-device-state", G_CALLBACK(on_device_state), self);

    self->socket = vdt_control_socket_new(path, PATIENCE_MS, on_client, self, error);
    if (!self->socket) {
        g_prefix_error(error, "control interface: ");
        return NULL;
    }
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
    g_clear_pointer(&self->socket, vdt_control_socket_free);
    while (self->connections->len > 0) {
        g_autoptr(GDBusConnection) connection =
            g_object_ref(g_ptr_array_index(self->connections, 0));
        on_closed(connection, FALSE, NULL, self);
        g_dbus_connection_close_sync(connection, NULL, NULL);
    }
    g_signal_handlers_disconnect_by_data(self->skeleton, self);
    g_clear_object(&self->skeleton);
    g_ptr_array_unref(self->connections);
    g_free(self);
}
