/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "tools/vdpa-tracker/client.h"
#include "tools/vdpa-tracker/verb.h"

struct trace {
    GMainLoop *loop;
    bool json;
    int left; /* commands to go, 0: no end */
};

static void
print_json(gint64 when_us, guchar class, guchar command, const char *text, GVariant *data,
           guchar ack, gboolean forwarded, gint64 took_us)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    g_autoptr(GString) hex = g_string_new(NULL);
    gsize len;
    const guchar *bytes = g_variant_get_fixed_array(data, &len, 1);

    for (gsize i = 0; i < len; i++)
        g_string_append_printf(hex, "%02x", bytes[i]);
    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "when_us");
    json_builder_add_int_value(builder, when_us);
    json_builder_set_member_name(builder, "class");
    json_builder_add_int_value(builder, class);
    json_builder_set_member_name(builder, "command");
    json_builder_add_int_value(builder, command);
    json_builder_set_member_name(builder, "text");
    json_builder_add_string_value(builder, text);
    json_builder_set_member_name(builder, "data");
    json_builder_add_string_value(builder, hex->str);
    json_builder_set_member_name(builder, "ack");
    json_builder_add_int_value(builder, ack);
    json_builder_set_member_name(builder, "forwarded");
    json_builder_add_boolean_value(builder, forwarded);
    json_builder_set_member_name(builder, "took_us");
    json_builder_add_int_value(builder, took_us);
    json_builder_end_object(builder);
    JsonNode *node = json_builder_get_root(builder);
    g_autofree char *line = json_to_string(node, FALSE);
    puts(line);
    json_node_unref(node);
}

static void
print_text(gint64 when_us, const char *text, guchar ack, gboolean forwarded, gint64 took_us)
{
    time_t seconds = (time_t) (when_us / G_USEC_PER_SEC);
    char clock[16];
    struct tm tm;

    localtime_r(&seconds, &tm);
    strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
    printf("%s.%06d %s: %s%s, %" G_GINT64_FORMAT " us\n", clock, (int) (when_us % G_USEC_PER_SEC),
           text, ack == 0 ? "OK" : "ERR", forwarded ? "" : " (not passed to the device)", took_us);
}

static void
on_command(VdtTracker1 *tracker, gint64 when_us, guchar class, guchar command, const char *text,
           GVariant *data, guchar ack, gboolean forwarded, gint64 took_us, struct trace *trace)
{
    if (trace->json)
        print_json(when_us, class, command, text, data, ack, forwarded, took_us);
    else
        print_text(when_us, text, ack, forwarded, took_us);
    fflush(stdout);
    if (ferror(stdout) || (trace->left > 0 && --trace->left == 0))
        g_main_loop_quit(trace->loop);
}

static void
on_closed(GDBusConnection *connection, gboolean vanished, GError *error, struct trace *trace)
{
    g_main_loop_quit(trace->loop);
}

static gboolean
on_interrupt(gpointer data)
{
    g_main_loop_quit(data);
    return G_SOURCE_CONTINUE;
}

int
vdt_verb_trace(const struct vdt_verb *verb, int argc, char **argv)
{
    gboolean json = FALSE;
    struct trace trace = {.left = VDT_ABSENT};
    const GOptionEntry entries[] = {
        {"json", 'j', 0, G_OPTION_ARG_NONE, &json, "One JSON object a line", NULL},
        {"count", 'c', 0, G_OPTION_ARG_INT, &trace.left, "End after so many commands", "N"},
        {NULL},
    };
    GError *error = NULL;
    int exit_code;

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 1, 1, &exit_code))
        return exit_code;
    if (!vdt_verb_positive(&trace.left))
        return vdt_verb_misused(json, "--count: 1 or more is possible");
    trace.json = json;
    g_autoptr(VdtTracker1) tracker = vdt_client_new(argv[1], &error);
    if (!tracker)
        return vdt_verb_fail(json, error);
    trace.loop = g_main_loop_new(NULL, FALSE);
    guint interrupt = g_unix_signal_add(SIGINT, on_interrupt, trace.loop);
    guint term = g_unix_signal_add(SIGTERM, on_interrupt, trace.loop);
    GDBusConnection *connection = g_dbus_proxy_get_connection(G_DBUS_PROXY(tracker));
    g_signal_connect(tracker, "command", G_CALLBACK(on_command), &trace);
    g_signal_connect(connection, "closed", G_CALLBACK(on_closed), &trace);
    if (!g_dbus_connection_is_closed(connection))
        g_main_loop_run(trace.loop);
    g_signal_handlers_disconnect_by_data(connection, &trace);
    g_signal_handlers_disconnect_by_data(tracker, &trace);
    g_source_remove(interrupt);
    g_source_remove(term);
    g_main_loop_unref(trace.loop);
    return VDT_EXIT_DONE;
}
