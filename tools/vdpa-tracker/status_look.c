/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/status_look.h"

#include <string.h>

JsonNode *
vdt_look(JsonNode *node, const char *path)
{
    g_auto(GStrv) names = g_strsplit(path, ".", -1);

    for (char **name = names; node && *name; name++)
        node = JSON_NODE_HOLDS_OBJECT(node)
                   ? json_object_get_member(json_node_get_object(node), *name)
                   : NULL;
    return node && !JSON_NODE_HOLDS_NULL(node) ? node : NULL;
}

static JsonNode *
value(JsonNode *node, const char *path, GType type)
{
    JsonNode *found = vdt_look(node, path);

    return found && JSON_NODE_HOLDS_VALUE(found) && json_node_get_value_type(found) == type ? found
                                                                                            : NULL;
}

const char *
vdt_look_text(JsonNode *node, const char *path)
{
    JsonNode *found = value(node, path, G_TYPE_STRING);

    return found ? json_node_get_string(found) : NULL;
}

bool
vdt_look_number(JsonNode *node, const char *path, gint64 *ret)
{
    JsonNode *found = value(node, path, G_TYPE_INT64);

    if (found)
        *ret = json_node_get_int(found);
    return found != NULL;
}

bool
vdt_look_bool(JsonNode *node, const char *path)
{
    JsonNode *found = value(node, path, G_TYPE_BOOLEAN);

    return found && json_node_get_boolean(found);
}

JsonArray *
vdt_look_array(JsonNode *node, const char *path)
{
    JsonNode *found = vdt_look(node, path);

    return found && JSON_NODE_HOLDS_ARRAY(found) ? json_node_get_array(found) : NULL;
}
