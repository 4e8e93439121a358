/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * JSON: small steps that the snapshot's and the net state's trees are built of.
 */
#pragma once

#include "snapshot/snapshot.h"

void vdt_json_add_text(JsonBuilder *builder, const char *name, const char *text);
void vdt_json_add_int(JsonBuilder *builder, const char *name, int64_t value);
void vdt_json_add_bool(JsonBuilder *builder, const char *name, bool value);
void vdt_json_add_number(JsonBuilder *builder, const char *name, uint64_t value); /* "0x..." */

/* A value: {hex: "0x...", names: [...]}. */
void vdt_json_add_feature_set(JsonBuilder *builder, uint32_t device_id, uint64_t features);
