/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <unistd.h>

#include "tools/vdpa-tracker/client.h"
#include "tools/vdpa-tracker/verb.h"

#include "snapshot/snapshot.h"

/* @format 0: as the tracker gives its states away. */
static bool
take(const char *name, const char *path, unsigned format, GError **error)
{
    g_autoptr(VdtTracker1) tracker = vdt_client_new(name, error);
    g_autoptr(GVariant) state = NULL;

    if (!tracker ||
        !(format > 0 ? vdt_tracker1_call_snapshot_as_sync(tracker, format, &state, NULL, error)
                     : vdt_tracker1_call_snapshot_sync(tracker, &state, NULL, error)))
        return false;
    gsize len;
    const uint8_t *bytes = g_variant_get_fixed_array(state, &len, 1);
    /* Decoded here as well: what is written is a file that can be read. */
    VDT_AUTO(snapshot) snapshot = vdt_snapshot_decode(bytes, len, error);
    return snapshot && vdt_snapshot_save_as(snapshot, path, snapshot->format, error);
}

int
vdt_verb_snapshot(const struct vdt_verb *verb, int argc, char **argv)
{
    g_autofree char *output = NULL;
    int format = VDT_ABSENT;
    const GOptionEntry entries[] = {
        {"format", 0, 0, G_OPTION_ARG_INT, &format, "In this format of states, for an older reader",
         "N"},
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &output, "File to write; - is standard output",
         "FILE"},
        {NULL},
    };
    GError *error = NULL;
    int exit_code;

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 1, 1, &exit_code))
        return exit_code;
    if (!vdt_verb_positive(&format))
        return vdt_verb_misused(false, "--format: 1 or more is possible");
    if (!output && isatty(STDOUT_FILENO))
        return vdt_verb_misused(false, "a snapshot is binary: -o FILE, or a pipe");
    if (!take(argv[1], output ? output : "-", (unsigned) format, &error)) {
        vdt_client_strip(error);
        return vdt_verb_fail(false, error);
    }
    return VDT_EXIT_DONE;
}
