/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Wire check: is this protobuf message the one canonical encoding of what it says?
 *
 * Runs before protobuf-c sees a byte, allocates nothing. protobuf-c lets much pass that we refuse:
 * field number 0 (it keeps such a field and then cannot read its own output), a field that comes
 * twice (the last one wins; repeated ones are what amplifies), over-long numbers, numbers cut to 32
 * bits. Fields of a number that the schema does not know pass if they are well formed: a newer
 * writer's, and must_understand says whether they may be ignored.
 */
#pragma once

#include <glib.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* @origin: where @bytes stand in the file, for the message of @error. */
bool vdt_wire_check(const ProtobufCMessageDescriptor *schema, const uint8_t *bytes, size_t len,
                    size_t origin, GError **error);
