/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON text: trees leave the library as text, so that its users need no JSON library of ours.
 */
#pragma once

#include <json-glib/json-glib.h>

/* @tree is owned from now on; caller frees the text. */
static inline char *
vdt_json_text(JsonNode *tree)
{
    char *text = json_to_string(tree, FALSE);

    json_node_unref(tree);
    return text;
}
