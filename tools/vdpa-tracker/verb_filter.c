/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a guest wants to receive, from the QEMU that keeps its control queue to its tracker. */
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tools/vdpa-tracker/client.h"
#include "tools/vdpa-tracker/qmp.h"
#include "tools/vdpa-tracker/rx_filter.h"
#include "tools/vdpa-tracker/status_look.h"
#include "tools/vdpa-tracker/verb.h"

#define AGAIN_S 5u /* a guest that was stopped and goes on, a tracker that was started anew */
#define FILE_MAX VDT_QMP_LINE_MAX

struct follower {
    const char *name, *device; /* borrowed; @device NULL: the only one */
    bool json;
    GMainLoop *loop;
    struct vdt_qmp *qmp;
    bool asked, again;
    char *said;    /* owned: the last failure, which is not said twice */
    GError *error; /* owned: why it ends */
};

static GVariant *
bytes_of(const void *bytes, size_t len)
{
    return g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, bytes, len, 1);
}

static void
say(bool json, const char *name, const struct vdt_rx_filter *filter, gint64 commands)
{
    if (json) {
        g_autoptr(JsonBuilder) b = json_builder_new();

        json_builder_begin_object(b);
        json_builder_set_member_name(b, "time_us");
        json_builder_add_int_value(b, g_get_real_time());
        json_builder_set_member_name(b, "commands");
        json_builder_add_int_value(b, commands);
        json_builder_end_object(b);
        JsonNode *node = json_builder_get_root(b);
        g_autofree char *line = json_to_string(node, FALSE);
        puts(line);
        json_node_unref(node);
    } else {
        printf("%s: %" G_GINT64_FORMAT
               " commands: %s%s%u unicast, %u multicast addresses, %u VLANs\n",
               name, commands, filter->promisc ? "promiscuous, " : "",
               filter->allmulti ? "all multicast, " : "", filter->unicast_count,
               filter->multicast_count, filter->vlan_count);
    }
    fflush(stdout);
}

/* @ret_commands: that the device was sent. */
static bool
tell(const char *name, const struct vdt_rx_filter *filter, gint64 *ret_commands, GError **error)
{
    g_autoptr(VdtTracker1) tracker = vdt_client_new(name, error);
    g_autofree char *text = NULL;

    *ret_commands = 0;
    if (!tracker)
        return false;
    bool ok = vdt_tracker1_call_filter_sync(
        tracker, bytes_of(filter->mac, 6), filter->promisc, filter->allmulti,
        bytes_of(filter->unicast, 6u * filter->unicast_count),
        bytes_of(filter->multicast, 6u * filter->multicast_count),
        bytes_of(filter->vlan, sizeof(filter->vlan)), &text, NULL, error);
    g_autoptr(JsonNode) answer = ok ? vdt_client_json(text, error) : NULL;
    if (answer)
        vdt_look_number(answer, "commands", ret_commands);
    /* Not left to GDBus's thread, which may be in the middle of it when the program ends. */
    g_dbus_connection_close_sync(g_dbus_proxy_get_connection(G_DBUS_PROXY(tracker)), NULL, NULL);
    if (!ok && error && *error)
        vdt_client_strip(*error);
    return answer != NULL;
}

/* --- a file --- */

static bool
once(const char *name, const char *path, const char *device, bool json, GError **error)
{
    g_autofree struct vdt_rx_filter *filter = g_new0(struct vdt_rx_filter, 1);
    g_autoptr(GIOChannel) in = g_str_equal(path, "-") ? g_io_channel_unix_new(STDIN_FILENO)
                                                      : g_io_channel_new_file(path, "r", error);
    g_autofree char *text = g_malloc(FILE_MAX + 1);
    gsize len = 0;
    gint64 commands;

    if (!in || g_io_channel_set_encoding(in, NULL, error) != G_IO_STATUS_NORMAL ||
        g_io_channel_read_chars(in, text, FILE_MAX, &len, error) == G_IO_STATUS_ERROR)
        return false;
    text[len] = '\0';
    g_autoptr(JsonNode) node = json_from_string(text, error);
    JsonNode *list = node && vdt_look(node, "return") ? vdt_look(node, "return") : node;
    if (error && *error)
        return false;
    if (!vdt_rx_filter_parse(list, device, filter, error) || !tell(name, filter, &commands, error))
        return false;
    say(json, name, filter, commands);
    return true;
}

/* --- a QEMU --- */

static void
ask(struct follower *f)
{
    if (f->asked) {
        f->again = true; /* what it answers now may be of before */
        return;
    }
    f->asked = true;
    vdt_qmp_ask(f->qmp, "query-rx-filter");
}

static void
on_ready(void *ctx)
{
    struct follower *f = ctx;

    f->asked = f->again = false;
    ask(f);
}

static void
on_event(void *ctx, const char *name, JsonNode *data)
{
    struct follower *f = ctx;

    if (g_str_equal(name, "NIC_RX_FILTER_CHANGED") &&
        (!f->device || g_strcmp0(vdt_look_text(data, "name"), f->device) == 0))
        ask(f);
}

static void
on_answer(void *ctx, JsonNode *answer, const GError *refusal)
{
    struct follower *f = ctx;
    g_autofree struct vdt_rx_filter *filter = g_new0(struct vdt_rx_filter, 1);
    g_autoptr(GError) error = refusal ? g_error_copy(refusal) : NULL;
    gint64 commands = 0;

    f->asked = false;
    bool ok = answer && vdt_rx_filter_parse(answer, f->device, filter, &error) &&
              tell(f->name, filter, &commands, &error);
    if (ok && commands > 0)
        say(f->json, f->name, filter, commands);
    if (!ok && g_strcmp0(f->said, error->message) != 0)
        fprintf(stderr, "vdpa-tracker: %s\n", error->message);
    g_free(f->said);
    f->said = ok ? NULL : g_strdup(error->message);
    if (ferror(stdout))
        g_main_loop_quit(f->loop);
    if (f->again) {
        f->again = false;
        ask(f);
    }
}

static void
on_ended(void *ctx, const GError *reason)
{
    struct follower *f = ctx;

    f->error = g_error_copy(reason);
    g_main_loop_quit(f->loop);
}

static gboolean
on_time(gpointer data)
{
    ask(data);
    return G_SOURCE_CONTINUE;
}

static gboolean
on_signal(gpointer data)
{
    g_main_loop_quit(data);
    return G_SOURCE_CONTINUE;
}

static bool
follow(struct follower *f, const char *path, GError **error)
{
    const struct vdt_qmp_hooks hooks = {on_ready, on_event, on_answer, on_ended, f};

    f->loop = g_main_loop_new(NULL, FALSE);
    f->asked = true; /* until it is ready */
    f->qmp = vdt_qmp_new(path, &hooks, error);
    if (f->qmp) {
        guint interrupt = g_unix_signal_add(SIGINT, on_signal, f->loop);
        guint term = g_unix_signal_add(SIGTERM, on_signal, f->loop);
        guint timer = g_timeout_add_seconds(AGAIN_S, on_time, f);

        g_main_loop_run(f->loop);
        g_source_remove(timer);
        g_source_remove(term);
        g_source_remove(interrupt);
    }
    bool ok = f->qmp != NULL && !f->error;
    vdt_qmp_free(f->qmp);
    g_main_loop_unref(f->loop);
    g_free(f->said);
    if (f->error)
        g_propagate_error(error, f->error);
    return ok;
}

int
vdt_verb_filter(const struct vdt_verb *verb, int argc, char **argv)
{
    gboolean json = FALSE;
    g_autofree char *qmp = NULL;
    g_autofree char *device = NULL;
    const GOptionEntry entries[] = {
        {"json", 'j', 0, G_OPTION_ARG_NONE, &json, "As JSON", NULL},
        {"qmp", 'q', 0, G_OPTION_ARG_FILENAME, &qmp, "Follow the QEMU whose monitor is there",
         "SOCKET"},
        {"nic", 'n', 0, G_OPTION_ARG_STRING, &device, "Its NIC, by the id of its device", "ID"},
        {NULL},
    };
    GError *error = NULL;
    int exit_code;

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 1, 2, &exit_code))
        return exit_code;
    if (qmp ? argc != 2 : argc != 3)
        return vdt_verb_misused(json, "one of FILE and --qmp SOCKET has to be given");
    struct follower f = {.name = argv[1], .device = device, .json = json};
    bool ok = qmp ? follow(&f, qmp, &error) : once(argv[1], argv[2], device, json, &error);
    return ok ? VDT_EXIT_DONE : vdt_verb_fail(json, error);
}
