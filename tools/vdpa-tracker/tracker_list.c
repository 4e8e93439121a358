/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/tracker_list.h"

#include <gio/gio.h>
#include <string.h>

#include <vdpa-tracker/error.h>

#include "daemon/dbus_error.h"
#include "daemon/runtime.h"
#include "tracker1.h"

#define TRACKERS_MAX 1024u

struct question {
    GMainContext *context;
    GCancellable *cancellable; /* borrowed: of all questions */
    unsigned *open;            /* questions without an answer yet */
    bool absent;
    struct vdt_listed_tracker *tracker;
};

static void
settle(struct question *q, GError *error)
{
    (*q->open)--;
    if (!error)
        return;
    q->absent = g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND) ||
                g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CONNECTION_REFUSED);
    if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED)) {
        q->tracker->failure = g_strdup("it does not answer");
    } else {
        g_dbus_error_strip_remote_error(error);
        q->tracker->failure = g_strdup(error->message);
    }
    g_error_free(error);
}

static void
on_status(GObject *object, GAsyncResult *result, gpointer data)
{
    struct question *q = data;
    GError *error = NULL;
    g_autoptr(GVariant) answer =
        g_dbus_connection_call_finish(G_DBUS_CONNECTION(object), result, &error);
    const char *text = NULL;

    q->tracker->at_us = g_get_monotonic_time();
    if (answer) {
        g_variant_get(answer, "(&s)", &text);
        q->tracker->status = json_from_string(text, &error);
        if (q->tracker->status && !JSON_NODE_HOLDS_OBJECT(q->tracker->status))
            g_clear_pointer(&q->tracker->status, json_node_unref);
        if (!q->tracker->status && !error)
            error = g_error_new_literal(G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                                        "its answer cannot be understood");
    }
    /* Not left to GDBus's thread, which may be in the middle of it when the program ends. */
    g_dbus_connection_close_sync(G_DBUS_CONNECTION(object), NULL, NULL);
    settle(q, error);
}

static void
on_connection(GObject *object, GAsyncResult *result, gpointer data)
{
    struct question *q = data;
    GError *error = NULL;
    g_autoptr(GDBusConnection) connection =
        g_dbus_connection_new_for_address_finish(result, &error);

    if (!connection) {
        settle(q, error);
        return;
    }
    g_dbus_connection_call(connection, NULL, VDT_DBUS_PATH, vdt_tracker1_interface_info()->name,
                           "Status", NULL, G_VARIANT_TYPE("(s)"), G_DBUS_CALL_FLAGS_NONE, -1,
                           q->cancellable, on_status, q);
}

static void
ask(struct question *q)
{
    g_autofree char *address = vdt_runtime_control_address(q->tracker->name);

    (*q->open)++;
    g_dbus_connection_new_for_address(address, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT, NULL,
                                      q->cancellable, on_connection, q);
}

static int
by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* Names with a control socket, sorted. */
static GPtrArray *
find_names(GError **error)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) why = NULL;
    g_autoptr(GDir) dir = g_dir_open(vdt_runtime_dir(), 0, &why);
    const char *entry;

    if (!dir && !g_error_matches(why, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
        g_propagate_error(error, g_steal_pointer(&why));
        return NULL;
    }
    while (dir && names->len < TRACKERS_MAX && (entry = g_dir_read_name(dir))) {
        if (!g_str_has_suffix(entry, ".ctl"))
            continue;
        g_autofree char *name = g_strndup(entry, strlen(entry) - strlen(".ctl"));
        if (vdt_runtime_name_valid(name, NULL))
            g_ptr_array_add(names, g_steal_pointer(&name));
    }
    g_ptr_array_sort(names, by_name);
    return g_steal_pointer(&names);
}

static GPtrArray *
one_name(const char *name, GError **error)
{
    if (!vdt_runtime_name_valid(name, error))
        return NULL;
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(names, g_strdup(name));
    return names;
}

static gboolean
on_time(gpointer cancellable)
{
    g_cancellable_cancel(cancellable);
    return G_SOURCE_REMOVE;
}

GPtrArray *
vdt_tracker_list(const char *only, unsigned wait_ms, GError **error)
{
    g_autoptr(GPtrArray) names = only ? one_name(only, error) : find_names(error);
    GPtrArray *list;

    if (!names)
        return NULL;
    vdt_dbus_error_register();
    list = g_ptr_array_new_with_free_func((GDestroyNotify) vdt_listed_tracker_free);
    GMainContext *context = g_main_context_new();
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    GSource *timer = g_timeout_source_new(wait_ms);
    g_autofree struct question *questions = g_new0(struct question, names->len + 1);
    unsigned open = 0;

    g_main_context_push_thread_default(context);
    g_source_set_callback(timer, on_time, cancellable, NULL);
    g_source_attach(timer, context);
    for (guint i = 0; i < names->len; i++) {
        struct vdt_listed_tracker *tracker = g_new0(struct vdt_listed_tracker, 1);

        tracker->name = g_strdup(names->pdata[i]);
        questions[i] = (struct question){context, cancellable, &open, false, tracker};
        ask(&questions[i]);
    }
    while (open > 0)
        g_main_context_iteration(context, TRUE);
    while (g_main_context_iteration(context, FALSE))
        ;
    for (guint i = 0; i < names->len; i++) {
        if (questions[i].absent)
            vdt_listed_tracker_free(questions[i].tracker);
        else
            g_ptr_array_add(list, questions[i].tracker);
    }
    if (only && list->len == 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED,
                    "tracker %s is not running (its control socket would be in %s)", only,
                    vdt_runtime_dir());
        g_clear_pointer(&list, g_ptr_array_unref);
    }
    g_source_destroy(timer);
    g_source_unref(timer);
    g_main_context_pop_thread_default(context);
    g_main_context_unref(context);
    return list;
}
