/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "tools/vdpa-tracker/verb.h"

#include "snapshot/snapshot.h"

/* As of diff(1): that two files differ is an answer, and 1; what keeps us from one is 2. */
#define EXIT_DIFFER 1
#define EXIT_TROUBLE 2

static void
add_lines(JsonBuilder *builder, const char *name, const GPtrArray *lines)
{
    json_builder_set_member_name(builder, name);
    json_builder_begin_array(builder);
    for (guint i = 0; i < lines->len; i++)
        json_builder_add_string_value(builder, lines->pdata[i]);
    json_builder_end_array(builder);
}

static JsonNode *
lines_to_json(const GPtrArray *lines, const GPtrArray *by_nature)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "equal");
    json_builder_add_boolean_value(builder, lines->len == 0);
    add_lines(builder, "differences", lines);
    add_lines(builder, "by_nature", by_nature);
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
        return vdt_verb_fail_with(EXIT_TROUBLE, json, error);
    VDT_AUTO(snapshot) b = vdt_snapshot_load(argv[2], &error);
    if (!b)
        return vdt_verb_fail_with(EXIT_TROUBLE, json, error);
    g_autoptr(GPtrArray) by_nature = NULL;
    g_autoptr(GPtrArray) lines = vdt_snapshot_diff_all(a, b, &by_nature);
    if (json) {
        vdt_print_json(lines_to_json(lines, by_nature));
    } else {
        for (guint i = 0; i < lines->len; i++)
            puts(lines->pdata[i]);
        for (guint i = 0; i < by_nature->len; i++)
            printf("(%s)\n", (const char *) by_nature->pdata[i]);
    }
    if (fflush(stdout) != 0)
        return EXIT_TROUBLE;
    return lines->len == 0 ? VDT_EXIT_DONE : EXIT_DIFFER;
}
