/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/client.h"

#include <vdpa-tracker/error.h>

#include "daemon/dbus_error.h"
#include "daemon/runtime.h"

VdtTracker1 *
vdt_client_new(const char *name, GError **error)
{
    g_autoptr(GError) reason = NULL;

    if (!vdt_runtime_name_valid(name, error))
        return NULL;
    vdt_dbus_error_register();
    g_autofree char *address = vdt_runtime_control_address(name);
    g_autoptr(GDBusConnection) connection = g_dbus_connection_new_for_address_sync(
        address, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT, NULL, NULL, &reason);
    if (!connection) {
        bool absent = g_error_matches(reason, G_IO_ERROR, G_IO_ERROR_NOT_FOUND) ||
                      g_error_matches(reason, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED);
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED,
                    "tracker %s %s (its control socket in %s): "
                    "%s%s",
                    name, absent ? "is not running" : "cannot be reached", vdt_runtime_dir(),
                    reason->message,
                    absent ? "" : " (it answers only root and the user that it runs as)");
        return NULL;
    }
    VdtTracker1 *tracker = vdt_tracker1_proxy_new_sync(connection, G_DBUS_PROXY_FLAGS_NONE, NULL,
                                                       VDT_DBUS_PATH, NULL, error);
    if (!tracker)
        return NULL;
    g_dbus_proxy_set_default_timeout(G_DBUS_PROXY(tracker), G_MAXINT);
    return tracker;
}

void
vdt_client_strip(GError *error)
{
    g_dbus_error_strip_remote_error(error);
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CLOSED)) {
        g_free(error->message);
        error->message = g_strdup("the connection to the tracker broke before it answered (has it "
                                  "ended?); what it had begun is not known to be done");
    }
}

JsonNode *
vdt_client_json(const char *text, GError **error)
{
    JsonNode *node = json_from_string(text, error);

    if (!node && error && !*error)
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_INVALID, "the tracker's answer is empty");
    return node;
}
