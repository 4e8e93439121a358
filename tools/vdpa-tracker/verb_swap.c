/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "tools/vdpa-tracker/client.h"
#include "tools/vdpa-tracker/verb.h"

static JsonNode *
swap(const char *name, const char *device, GError **error)
{
    g_autoptr(VdtTracker1) tracker = vdt_client_new(name, error);
    g_autofree char *answer = NULL;

    if (!tracker || !vdt_tracker1_call_swap_sync(tracker, device, &answer, NULL, error))
        return NULL;
    return vdt_client_json(answer, error);
}

int
vdt_verb_swap(const struct vdt_verb *verb, int argc, char **argv)
{
    g_autofree char *device = NULL;
    gboolean json = FALSE;
    const GOptionEntry entries[] = {
        {"device", 'd', 0, G_OPTION_ARG_STRING, &device, "The device to move to", "DEVICE"},
        {"json", 'j', 0, G_OPTION_ARG_NONE, &json, "The report as JSON", NULL},
        {NULL},
    };
    GError *error = NULL;
    int exit_code;

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 1, 1, &exit_code))
        return exit_code;
    if (!device)
        return vdt_verb_misused(json, "swap needs --device DEVICE");
    JsonNode *report = swap(argv[1], device, &error);
    if (!report) {
        vdt_client_strip(error);
        return vdt_verb_fail(json, error);
    }
    if (json) {
        vdt_print_json(report);
        return VDT_EXIT_DONE;
    }
    JsonObject *fields = json_node_get_object(report);
    printf("%s: %s -> %s, %.3f ms without the NIC, %" G_GINT64_FORMAT
           " commands replayed, %" G_GINT64_FORMAT " requests resubmitted\n",
           argv[1], json_object_get_string_member(fields, "from"),
           json_object_get_string_member(fields, "to"),
           (double) json_object_get_int_member(fields, "frozen_us") / 1000,
           json_object_get_int_member(fields, "commands"),
           json_object_get_int_member(fields, "resubmitted"));
    json_node_unref(report);
    return VDT_EXIT_DONE;
}
