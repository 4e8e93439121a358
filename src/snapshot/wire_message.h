/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Wire message: protobuf messages by a table, read and written in their one canonical form.
 *
 * A message is a plain struct and a schema that says where its fields lie. Reading copies nothing
 * and allocates nothing: texts, byte strings and columns point into the bytes that were read.
 * Writing goes from the last field to the first, so that the length of a message is known when it
 * is to be written.
 *
 * Not protobuf-c's reader, for it lets much pass that we refuse: field number 0, a field that comes
 * twice (the last one wins; repeated ones are what amplifies), over-long numbers, numbers cut to 32
 * bits, zero values that are written. Fields of a number that the schema does not know pass if they
 * are well formed: a newer writer's, and must_understand says whether they may be ignored.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vdt_wire_bytes {
    const uint8_t *at;
    size_t len; /* in bytes, also of a column */
};

enum vdt_wire_kind {                    /* the field in its struct is a: */
                     VDT_WIRE_BOOL,     /* bool */
                     VDT_WIRE_UINT32,   /* uint32_t */
                     VDT_WIRE_UINT64,   /* uint64_t */
                     VDT_WIRE_FIXED32,  /* uint32_t */
                     VDT_WIRE_FIXED64,  /* uint64_t */
                     VDT_WIRE_TEXT,     /* struct vdt_wire_bytes, without a zero byte in it */
                     VDT_WIRE_BYTES,    /* struct vdt_wire_bytes */
                     VDT_WIRE_COLUMN32, /* struct vdt_wire_bytes: packed fixed32, little-endian,
                                           unaligned */
                     VDT_WIRE_COLUMN64, /* struct vdt_wire_bytes: packed fixed64 */
                     VDT_WIRE_MESSAGE,  /* struct whose first member is a bool: is it there? */
};

struct vdt_wire_field {
    uint32_t key; /* number << 3 | wire type, as it is written */
    enum vdt_wire_kind kind;
    size_t offset; /* in the message's struct */
    const char *name;
    const struct vdt_wire_schema *message; /* of VDT_WIRE_MESSAGE */
};

/* Kinds by the wire type that they have. */
#define VDT_WIRE_TYPE(kind)                                                                        \
    ((kind) <= VDT_WIRE_UINT64    ? 0u                                                             \
     : (kind) == VDT_WIRE_FIXED32 ? 5u                                                             \
     : (kind) == VDT_WIRE_FIXED64 ? 1u                                                             \
                                  : 2u)

struct vdt_wire_schema {
    const char *name;
    const struct vdt_wire_field *fields; /* by ascending number */
    unsigned count;
};

/* Into @message, which is all zero. @origin: where @bytes stand in the file, for @error. */
bool vdt_wire_read(const struct vdt_wire_schema *schema, const uint8_t *bytes, size_t len,
                   size_t origin, void *message, GError **error);

/* What a field takes at most beside the bytes of a text, byte string or column. */
#define VDT_WIRE_FIELD_ROOM 16u

/* Write @message so that it ends before @end, where room is; returns where it begins. */
uint8_t *vdt_wire_write(const struct vdt_wire_schema *schema, const void *message, uint8_t *end);
