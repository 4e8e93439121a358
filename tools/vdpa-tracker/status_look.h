/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Status look: values out of what a tracker says of itself. It may be an older or a newer tracker:
 * what is not there, or of another kind, is simply not there.
 */
#pragma once

#include <json-glib/json-glib.h>
#include <stdbool.h>

/* @path: members with dots between, "device.name". NULL: there is none, or it is null. Borrowed.
 * @node may be NULL. */
JsonNode *vdt_look(JsonNode *node, const char *path);
const char *vdt_look_text(JsonNode *node, const char *path);         /* NULL: no text there */
bool vdt_look_number(JsonNode *node, const char *path, gint64 *ret); /* false: *ret is untouched */
bool vdt_look_bool(JsonNode *node, const char *path);                /* false: or none there */
JsonArray *vdt_look_array(JsonNode *node, const char *path);         /* NULL: none there */
