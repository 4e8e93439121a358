/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <unistd.h>

#include "tools/vdpa-tracker/client.h"
#include "tools/vdpa-tracker/verb.h"

#include "snapshot/snapshot.h"

static bool
take(const char *name, const char *path, GError **error)
{
    g_autoptr(VdtTracker1) tracker = vdt_client_new(name, error);
    g_autoptr(GVariant) state = NULL;

    if (!tracker || !vdt_tracker1_call_snapshot_sync(tracker, &state, NULL, error))
        return false;
    gsize len;
    const uint8_t *bytes = g_variant_get_fixed_array(state, &len, 1);
    /* Decoded here as well: what is written is a file that can be read. */
    VDT_AUTO(snapshot) snapshot = vdt_snapshot_decode(bytes, len, error);
    return snapshot && vdt_snapshot_save(snapshot, path, error);
}

int
vdt_verb_snapshot(const struct vdt_verb *verb, int argc, char **argv)
{
    g_autofree char *output = NULL;
    const GOptionEntry entries[] = {
        {"output", 'o', 0, G_OPTION_ARG_FILENAME, &output, "File to write; - is standard output",
         "FILE"},
        {NULL},
    };
    GError *error = NULL;
    int exit_code;

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 1, 1, &exit_code))
        return exit_code;
    if (!output && isatty(STDOUT_FILENO)) {
        fprintf(stderr, "vdpa-tracker: a snapshot is binary: -o FILE, or a pipe\n");
        return VDT_EXIT_USAGE;
    }
    if (!take(argv[1], output ? output : "-", &error)) {
        vdt_client_strip(error);
        return vdt_verb_fail(error);
    }
    return VDT_EXIT_DONE;
}
