/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snapshot/snapshot.h"

#include <string.h>

/*
 * Two JSON trees are walked side by side, so that what is shown is what is compared. The control
 * state is left to vdt_net_state_diff(), which compares address tables as sets.
 */

/* Said by another field of the same object. */
static bool
is_redundant(const char *path)
{
    return strcmp(path, "identity.created_us") == 0 || strcmp(path, "control") == 0;
}

/* Who wrote it down, when and how, and what is known about where it was: no part of the state. */
static bool
is_by_nature(const char *line)
{
    static const char *const paths[] = {
        "format:", "identity.created:", "identity.tool_version:", "source"};

    for (unsigned i = 0; i < G_N_ELEMENTS(paths); i++) {
        if (g_str_has_prefix(line, paths[i]))
            return true;
    }
    return false;
}

static char *
value_text(JsonNode *node)
{
    return node ? json_to_string(node, FALSE) : g_strdup("absent");
}

static void
add_line(GPtrArray *lines, const char *path, JsonNode *a, JsonNode *b)
{
    g_autofree char *in_a = value_text(a);
    g_autofree char *in_b = value_text(b);

    /* Older formats do not have every member; null is unset too. */
    if ((!a || JSON_NODE_HOLDS_NULL(a)) && (!b || JSON_NODE_HOLDS_NULL(b)))
        return;
    if (strcmp(in_a, in_b) != 0)
        g_ptr_array_add(lines, g_strdup_printf("%s: %s -> %s", path, in_a, in_b));
}

static bool
array_has(JsonArray *array, const char *text)
{
    for (guint i = 0; i < json_array_get_length(array); i++) {
        if (strcmp(json_array_get_string_element(array, i), text) == 0)
            return true;
    }
    return false;
}

static void
append_only(GString *line, const char *where, JsonArray *here, JsonArray *there)
{
    bool first = true;

    for (guint i = 0; i < json_array_get_length(here); i++) {
        const char *name = json_array_get_string_element(here, i);
        if (array_has(there, name))
            continue;
        if (first)
            g_string_append_printf(line, "; only in %s:", where);
        g_string_append_printf(line, " %s", name);
        first = false;
    }
}

/* {hex, names}: one line for the set. */
static void
compare_feature_sets(GPtrArray *lines, const char *path, JsonObject *a, JsonObject *b)
{
    const char *hex_a = json_object_get_string_member(a, "hex");
    const char *hex_b = json_object_get_string_member(b, "hex");

    if (strcmp(hex_a, hex_b) == 0)
        return;
    GString *line = g_string_new(path);
    g_string_append_printf(line, ": %s -> %s", hex_a, hex_b);
    append_only(line, "A", json_object_get_array_member(a, "names"),
                json_object_get_array_member(b, "names"));
    append_only(line, "B", json_object_get_array_member(b, "names"),
                json_object_get_array_member(a, "names"));
    g_ptr_array_add(lines, g_string_free(line, FALSE));
}

static void compare(GPtrArray *lines, const char *path, JsonNode *a, JsonNode *b);

static void
compare_objects(GPtrArray *lines, const char *path, JsonObject *a, JsonObject *b)
{
    g_autoptr(GList) names = json_object_get_members(a);
    g_autoptr(GList) more = json_object_get_members(b);

    if (json_object_has_member(a, "names") && json_object_has_member(b, "names")) {
        compare_feature_sets(lines, path, a, b);
        return;
    }
    for (GList *i = names; i; i = i->next) {
        g_autofree char *below =
            g_strdup_printf("%s%s%s", path, *path ? "." : "", (char *) i->data);
        compare(lines, below, json_object_get_member(a, i->data),
                json_object_get_member(b, i->data));
    }
    for (GList *i = more; i; i = i->next) {
        g_autofree char *below =
            g_strdup_printf("%s%s%s", path, *path ? "." : "", (char *) i->data);
        if (!json_object_has_member(a, i->data))
            compare(lines, below, NULL, json_object_get_member(b, i->data));
    }
}

static void
compare_arrays(GPtrArray *lines, const char *path, JsonArray *a, JsonArray *b)
{
    guint len_a = json_array_get_length(a), len_b = json_array_get_length(b);

    for (guint i = 0; i < MAX(len_a, len_b); i++) {
        g_autofree char *below = g_strdup_printf("%s[%u]", path, i);
        compare(lines, below, i < len_a ? json_array_get_element(a, i) : NULL,
                i < len_b ? json_array_get_element(b, i) : NULL);
    }
}

/* As deep as our own JSON is. Either node may be NULL. */
static void
compare(GPtrArray *lines, const char *path, JsonNode *a, JsonNode *b)
{
    if (is_redundant(path))
        return;
    if (a && b && JSON_NODE_HOLDS_OBJECT(a) && JSON_NODE_HOLDS_OBJECT(b))
        compare_objects(lines, path, json_node_get_object(a), json_node_get_object(b));
    else if (a && b && JSON_NODE_HOLDS_ARRAY(a) && JSON_NODE_HOLDS_ARRAY(b))
        compare_arrays(lines, path, json_node_get_array(a), json_node_get_array(b));
    else
        add_line(lines, path, a, b);
}

GPtrArray *
vdt_snapshot_diff_all(const struct vdt_snapshot *a, const struct vdt_snapshot *b,
                      GPtrArray **ret_by_nature)
{
    GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(JsonNode) json_a = vdt_snapshot_to_json(a);
    g_autoptr(JsonNode) json_b = vdt_snapshot_to_json(b);
    g_autoptr(GPtrArray) control = vdt_net_state_diff(&a->net, &b->net);

    compare(lines, "", json_a, json_b);
    for (guint i = 0; i < control->len; i++)
        g_ptr_array_add(lines, g_strdup_printf("control: %s", (char *) control->pdata[i]));

    *ret_by_nature = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < lines->len;) {
        if (is_by_nature(lines->pdata[i]))
            g_ptr_array_add(*ret_by_nature, g_ptr_array_steal_index(lines, i));
        else
            i++;
    }
    return lines;
}

GPtrArray *
vdt_snapshot_diff(const struct vdt_snapshot *a, const struct vdt_snapshot *b)
{
    g_autoptr(GPtrArray) by_nature = NULL;

    return vdt_snapshot_diff_all(a, b, &by_nature);
}
