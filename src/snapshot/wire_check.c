/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snapshot/wire_check.h"

#include <string.h>

#include <vdpa-tracker/error.h>

struct cursor {
    const uint8_t *start, *p, *end;
    size_t origin;
};

static bool G_GNUC_PRINTF(3, 4)
    refuse(const struct cursor *at, GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *why = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "the snapshot is malformed at byte %zu: %s",
                at->origin + (size_t) (at->p - at->start), why);
    return false;
}

/* The shortest form only: the last byte of a longer one is not zero. */
static bool
take_varint(struct cursor *at, uint64_t *ret, GError **error)
{
    uint64_t value = 0;
    const uint8_t *p = at->p;

    for (unsigned shift = 0; p < at->end; shift += 7) {
        uint8_t byte = *p++;
        if (shift == 63 && byte > 1)
            return refuse(at, error, "a number of more than 64 bits");
        value |= (uint64_t) (byte & 0x7f) << shift;
        if (byte & 0x80)
            continue;
        if (byte == 0 && shift > 0)
            return refuse(at, error, "a number that is longer than it has to be");
        at->p = p;
        *ret = value;
        return true;
    }
    return refuse(at, error, "it ends inside a number");
}

static ProtobufCWireType
wire_type(const ProtobufCFieldDescriptor *field)
{
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED; /* the schema's are all packed */
    switch (field->type) {
    case PROTOBUF_C_TYPE_FIXED32:
        return PROTOBUF_C_WIRE_TYPE_32BIT;
    case PROTOBUF_C_TYPE_FIXED64:
        return PROTOBUF_C_WIRE_TYPE_64BIT;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED;
    default:
        return PROTOBUF_C_WIRE_TYPE_VARINT;
    }
}

static bool
check_number(struct cursor *at, const ProtobufCFieldDescriptor *field, uint64_t value,
             GError **error)
{
    if (value == 0)
        return refuse(at, error, "%s is zero and yet written", field->name);
    if (field->type == PROTOBUF_C_TYPE_BOOL && value > 1)
        return refuse(at, error, "%s is neither true nor false", field->name);
    if (field->type == PROTOBUF_C_TYPE_UINT32 && value > UINT32_MAX)
        return refuse(at, error, "%s does not fit into 32 bits", field->name);
    return true;
}

static bool
check_block(struct cursor *at, const ProtobufCFieldDescriptor *field, size_t len, GError **error)
{
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return vdt_wire_check(field->descriptor, at->p, len,
                              at->origin + (size_t) (at->p - at->start), error);
    if (len == 0)
        return refuse(at, error, "%s is empty and yet written", field->name);
    if (field->type == PROTOBUF_C_TYPE_STRING && memchr(at->p, 0, len))
        return refuse(at, error, "%s has a zero byte in it", field->name);
    if ((field->type == PROTOBUF_C_TYPE_FIXED32 && len % 4 != 0) ||
        (field->type == PROTOBUF_C_TYPE_FIXED64 && len % 8 != 0))
        return refuse(at, error, "the entries of %s do not fill its %zu bytes", field->name, len);
    return true;
}

/* @field: NULL for one that the schema does not know. */
static bool
check_value(struct cursor *at, const ProtobufCFieldDescriptor *field, uint32_t type, GError **error)
{
    size_t left, len;
    uint64_t value = 0;

    switch (type) {
    case PROTOBUF_C_WIRE_TYPE_VARINT:
        return take_varint(at, &value, error) && (!field || check_number(at, field, value, error));
    case PROTOBUF_C_WIRE_TYPE_32BIT:
    case PROTOBUF_C_WIRE_TYPE_64BIT:
        len = type == PROTOBUF_C_WIRE_TYPE_32BIT ? 4 : 8;
        if ((size_t) (at->end - at->p) < len)
            return refuse(at, error, "it ends inside a field of %zu bytes", len);
        memcpy(&value, at->p, len); /* only compared with zero: byte order is of no matter */
        at->p += len;
        return !field || value != 0 || refuse(at, error, "%s is zero and yet written", field->name);
    case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
        if (!take_varint(at, &value, error))
            return false;
        left = (size_t) (at->end - at->p);
        if (value > left)
            return refuse(at, error, "a field of %" G_GUINT64_FORMAT " bytes where %zu are left",
                          value, left);
        if (field && !check_block(at, field, (size_t) value, error))
            return false;
        at->p += value;
        return true;
    default:
        return refuse(at, error, "a field of the unknown kind %u", type);
    }
}

/* Recursion is as deep as the schema, which has no cycle. */
bool
vdt_wire_check(const ProtobufCMessageDescriptor *schema, const uint8_t *bytes, size_t len,
               size_t origin, GError **error)
{
    struct cursor at = {bytes, bytes, bytes + len, origin};
    uint64_t key, number, previous = 0;

    while (at.p < at.end) {
        if (!take_varint(&at, &key, error))
            return false;
        number = key >> 3;
        if (number == 0 || number >> 29)
            return refuse(&at, error, "field number %" G_GUINT64_FORMAT, number);
        if (number <= previous)
            return refuse(&at, error, "field %" G_GUINT64_FORMAT " comes %s", number,
                          number == previous ? "twice" : "after a higher one");
        previous = number;

        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(schema, (unsigned) number);
        if (field && (key & 7) != wire_type(field))
            return refuse(&at, error, "%s is of the wrong kind %u", field->name,
                          (unsigned) (key & 7));
        if (!check_value(&at, field, (uint32_t) (key & 7), error))
            return false;
    }
    return true;
}
