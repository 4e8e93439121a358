/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "tools/vdpa-tracker/client.h"
#include "tools/vdpa-tracker/verb.h"

#include "snapshot/snapshot.h"

static const char *
text_of(JsonObject *object, const char *member)
{
    JsonNode *node = json_object_get_member(object, member);

    return node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING
               ? json_node_get_string(node)
               : NULL;
}

static gint64
number_of(JsonObject *object, const char *member)
{
    return json_object_get_int_member_with_default(object, member, 0);
}

static void
print_names(JsonObject *features, const char *which)
{
    JsonArray *names = json_object_get_array_member(features, which);

    printf("  %-11s", which);
    for (guint i = 0; names && i < json_array_get_length(names); i++)
        printf(" %s", json_array_get_string_element(names, i));
    puts("");
}

static void
print_withheld(JsonObject *object, const char *name, JsonNode *reason, gpointer unused)
{
    printf("  withheld    %s: %s\n", name, json_node_get_string(reason));
}

static void
print_features(JsonObject *status)
{
    JsonObject *features = json_object_get_object_member(status, "features");

    if (!features)
        return;
    puts("features");
    print_names(features, "offered");
    print_names(features, "acked");
    print_names(features, "negotiated");
    json_object_foreach_member(json_object_get_object_member(features, "withheld"), print_withheld,
                               NULL);
}

static void
print_ring(JsonArray *array, guint index, JsonNode *node, gpointer unused)
{
    JsonObject *ring = json_node_get_object(node);
    const char *broken = text_of(ring, "broken");
    const char *state = broken                                            ? "broken"
                        : json_object_get_boolean_member(ring, "active")  ? "active"
                        : json_object_get_boolean_member(ring, "started") ? "started"
                                                                          : "off";

    printf("  %4u %-4s %-8s %6" G_GINT64_FORMAT, index, text_of(ring, "kind"), state,
           number_of(ring, "size"));
    if (json_object_get_boolean_member(ring, "counted"))
        printf(" %8" G_GINT64_FORMAT " %12" G_GINT64_FORMAT " %12" G_GINT64_FORMAT
               " %14" G_GINT64_FORMAT,
               number_of(ring, "in_flight"), number_of(ring, "chains"), number_of(ring, "returned"),
               number_of(ring, "bytes_in") + number_of(ring, "bytes_out"));
    else
        printf(" %8s %12s %12s %14s", "-", "-", "-", "-"); /* the device's own business */
    printf("%s%s\n", broken ? "  " : "", broken ? broken : "");
}

static void
print_line(const char *name, const char *text)
{
    if (text && *text)
        printf("%-12s %s\n", name, text);
}

/* Of interest where a tracker before this one left something. */
static void
print_recovery(JsonObject *status)
{
    JsonObject *recovery = json_object_get_object_member(status, "recovery");
    const char *note = recovery ? text_of(recovery, "note") : NULL;

    if (!note)
        return;
    g_autofree char *text = g_strdup_printf("%s: %s", text_of(recovery, "state"), note);
    print_line("recovery", text);
}

/* Of interest once there was one, or a guest waits. */
static void
print_handover(JsonObject *status)
{
    JsonObject *handover = json_object_get_object_member(status, "handover");
    const char *state = handover ? text_of(handover, "state") : NULL;
    const char *error = handover ? text_of(handover, "error") : NULL;

    if (!state || g_str_equal(state, "off") || g_str_equal(state, "none"))
        return;
    g_autofree char *text = g_strdup_printf("%s, %.3f s%s%s", state,
                                            (double) number_of(handover, "us") / G_USEC_PER_SEC,
                                            error ? ": " : "", error ? error : "");
    print_line("handover", text);
}

static void
print_status(JsonNode *node)
{
    JsonObject *status = json_node_get_object(node);
    JsonObject *device = json_object_get_object_member(status, "device");
    struct vdt_net_state control;
    g_autofree char *mode =
        g_strdup_printf("%s: %s", text_of(status, "mode"), text_of(status, "reason"));
    g_autofree char *dirty =
        g_strdup_printf("%s, %" G_GINT64_FORMAT " pages dirty",
                        json_object_get_boolean_member(status, "logging") ? "on" : "off",
                        number_of(status, "dirty_pages"));

    print_line("name", text_of(status, "name"));
    print_line("device", text_of(device, "name"));
    print_line("driver", text_of(device, "driver"));
    print_line("VMM", json_object_get_boolean_member(status, "connected") ? "connected" : "none");
    print_line("phase", text_of(status, "phase"));
    print_line("mode", mode);
    print_line("failure", text_of(status, "failure"));
    print_line("unmigratable", text_of(status, "unmigratable"));
    print_line("arrival", text_of(status, "arrival"));
    print_handover(status);
    print_recovery(status);
    print_line("log", dirty);
    print_line("mac", text_of(status, "mac"));
    print_features(status);
    printf("rings\n  %4s %-4s %-8s %6s %8s %12s %12s %14s\n", "ring", "kind", "state", "size",
           "inflight", "taken", "returned", "bytes");
    json_array_foreach_element(json_object_get_array_member(status, "rings"), print_ring, NULL);
    vdt_net_state_from_json(json_object_get_member(status, "control"), &control);
    g_autofree char *text = vdt_net_state_to_text(&control);
    printf("control (what is not listed is at the device's default)\n%s", text);
}

int
vdt_verb_status(const struct vdt_verb *verb, int argc, char **argv)
{
    gboolean json = FALSE;
    const GOptionEntry entries[] = {
        {"json", 'j', 0, G_OPTION_ARG_NONE, &json, "As JSON", NULL},
        {NULL},
    };
    g_autofree char *answer = NULL;
    GError *error = NULL;
    int exit_code;

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 1, 1, &exit_code))
        return exit_code;
    g_autoptr(VdtTracker1) tracker = vdt_client_new(argv[1], &error);
    JsonNode *status = NULL;
    if (tracker && vdt_tracker1_call_status_sync(tracker, &answer, NULL, &error))
        status = vdt_client_json(answer, &error);
    if (!status) {
        vdt_client_strip(error);
        return vdt_verb_fail(json, error);
    }
    if (json) {
        vdt_print_json(status);
        return VDT_EXIT_DONE;
    }
    print_status(status);
    json_node_unref(status);
    return VDT_EXIT_DONE;
}
