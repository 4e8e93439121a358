/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "tools/vdpa-tracker/verb.h"

#include "snapshot/snapshot.h"

static JsonNode *
lines_to_json(const GPtrArray *lines)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "equal");
    json_builder_add_boolean_value(builder, lines->len == 0);
    json_builder_set_member_name(builder, "differences");
    json_builder_begin_array(builder);
    for (guint i = 0; i < lines->len; i++)
        json_builder_add_string_value(builder, lines->pdata[i]);
    json_builder_end_array(builder);
    json_builder_end_object(builder);
    return json_builder_get_root(builder);
}

int
vdt_verb_diff(const struct vdt_verb *verb, int argc, char **argv)
{
    gboolean json = FALSE;
    const GOptionEntry entries[] = {
        {"json", 'j', 0, G_OPTION_ARG_NONE, &json, "As JSON", NULL},
        {NULL},
    };
    GError *error = NULL;
    int exit_code;

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 2, 2, &exit_code))
        return exit_code;
    VDT_AUTO(snapshot) a = vdt_snapshot_load(argv[1], &error);
    if (!a)
        return vdt_verb_fail(error);
    VDT_AUTO(snapshot) b = vdt_snapshot_load(argv[2], &error);
    if (!b)
        return vdt_verb_fail(error);
    g_autoptr(GPtrArray) lines = vdt_snapshot_diff(a, b);
    if (json) {
        vdt_print_json(lines_to_json(lines));
    } else {
        for (guint i = 0; i < lines->len; i++)
            puts(lines->pdata[i]);
    }
    return lines->len == 0 ? VDT_EXIT_DONE : VDT_EXIT_FAILED;
}
