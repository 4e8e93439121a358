/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "tools/vdpa-tracker/metrics.h"
#include "tools/vdpa-tracker/tracker_list.h"
#include "tools/vdpa-tracker/verb.h"

#define WAIT_MS 1000u

int
vdt_verb_metrics(const struct vdt_verb *verb, int argc, char **argv)
{
    gboolean textfile = FALSE;
    const GOptionEntry entries[] = {
        {"textfile", 't', 0, G_OPTION_ARG_NONE, &textfile,
         "As node_exporter's textfile collector reads it", NULL},
        {NULL},
    };
    GError *error = NULL;
    int exit_code;

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 0, 1, &exit_code))
        return exit_code;
    g_autoptr(GPtrArray) trackers = vdt_tracker_list(argc > 1 ? argv[1] : NULL, WAIT_MS, &error);
    if (!trackers)
        return vdt_verb_fail(false, error);
    g_autofree char *text =
        vdt_metrics_text(trackers, textfile ? VDT_METRICS_PROMETHEUS : VDT_METRICS_OPEN);
    fputs(text, stdout);
    return VDT_EXIT_DONE;
}
