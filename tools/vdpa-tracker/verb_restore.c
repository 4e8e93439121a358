/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "tools/vdpa-tracker/client.h"
#include "tools/vdpa-tracker/verb.h"

#include "snapshot/snapshot.h"

/* In the format of the file, unless the tracker is said to read another. */
static JsonNode *
give(const char *name, const char *path, unsigned format, GError **error)
{
    /* Read and judged here first: a bad file is the user's news before it is the tracker's. */
    VDT_AUTO(snapshot) snapshot = vdt_snapshot_load(path, error);
    g_autoptr(GBytes) bytes =
        snapshot ? vdt_snapshot_encode_as(snapshot, format ? format : snapshot->format, error)
                 : NULL;
    g_autofree char *answer = NULL;

    if (!bytes)
        return NULL;
    g_autoptr(VdtTracker1) tracker = vdt_client_new(name, error);
    if (!tracker)
        return NULL;
    GVariant *state = g_variant_new_from_bytes(G_VARIANT_TYPE("ay"), bytes, TRUE);
    if (!vdt_tracker1_call_restore_sync(tracker, state, &answer, NULL, error))
        return NULL;
    return vdt_client_json(answer, error);
}

int
vdt_verb_restore(const struct vdt_verb *verb, int argc, char **argv)
{
    gboolean json = FALSE;
    int format = VDT_ABSENT;
    const GOptionEntry entries[] = {
        {"format", 0, 0, G_OPTION_ARG_INT, &format,
         "Give it in this format of states, for an older tracker", "N"},
        {"json", 'j', 0, G_OPTION_ARG_NONE, &json, "The report as JSON", NULL},
        {NULL},
    };
    GError *error = NULL;
    int exit_code;

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 1, 2, &exit_code))
        return exit_code;
    if (!vdt_verb_positive(&format))
        return vdt_verb_misused(json, "--format: 1 or more is possible");
    JsonNode *report = give(argv[1], argc > 2 ? argv[2] : "-", (unsigned) format, &error);
    if (!report) {
        vdt_client_strip(error);
        return vdt_verb_fail(json, error);
    }
    if (json) {
        vdt_print_json(report);
        return VDT_EXIT_DONE;
    }
    JsonObject *fields = json_node_get_object(report);
    gint64 commands = json_object_get_int_member(fields, "commands");
    gint64 requests = json_object_get_int_member(fields, "requests");
    if (commands > 0)
        printf("%s: %" G_GINT64_FORMAT " commands replayed\n", argv[1], commands);
    else
        printf("%s: taken, with %" G_GINT64_FORMAT
               " requests in flight; it is what the guest starts with\n",
               argv[1], requests);
    json_node_unref(report);
    return VDT_EXIT_DONE;
}
