/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "tools/vdpa-tracker/verb.h"

#include "snapshot/snapshot.h"

int
vdt_verb_show(const struct vdt_verb *verb, int argc, char **argv)
{
    gboolean json = FALSE;
    const GOptionEntry entries[] = {
        {"json", 'j', 0, G_OPTION_ARG_NONE, &json, "As JSON", NULL},
        {NULL},
    };
    GError *error = NULL;
    int exit_code;

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 1, 1, &exit_code))
        return exit_code;
    VDT_AUTO(snapshot) snapshot = vdt_snapshot_load(argv[1], &error);
    if (!snapshot)
        return vdt_verb_fail(json, error);
    if (json) {
        vdt_print_json(vdt_snapshot_to_json(snapshot));
    } else {
        g_autofree char *text = vdt_snapshot_to_text(snapshot);
        fputs(text, stdout);
    }
    return VDT_EXIT_DONE;
}
