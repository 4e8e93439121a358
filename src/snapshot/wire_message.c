/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snapshot/wire_message.h"

#include <string.h>

#include <vdpa-tracker/error.h>

#include "base/wire.h"

/* Protobuf's wire types. */
enum { VARINT = 0, FIXED64 = 1, BLOCK = 2, FIXED32 = 5 };

struct cursor {
    const uint8_t *start, *p, *end;
    size_t origin;
};

static bool G_GNUC_PRINTF(3, 4) G_GNUC_NO_INLINE
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
take_long_varint(struct cursor *at, uint64_t *ret, GError **error)
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

static inline bool
take_varint(struct cursor *at, uint64_t *ret, GError **error)
{
    if (at->p < at->end && *at->p < 0x80) {
        *ret = *at->p++;
        return true;
    }
    return take_long_varint(at, ret, error);
}

static bool
take_number(struct cursor *at, const struct vdt_wire_field *field, void *dst, uint64_t value,
            GError **error)
{
    if (value == 0)
        return refuse(at, error, "%s is zero and yet written", field->name);
    switch (field->kind) {
    case VDT_WIRE_BOOL:
        if (value > 1)
            return refuse(at, error, "%s is neither true nor false", field->name);
        *(bool *) dst = true;
        return true;
    case VDT_WIRE_UINT32:
        if (value > UINT32_MAX)
            return refuse(at, error, "%s does not fit into 32 bits", field->name);
        *(uint32_t *) dst = (uint32_t) value;
        return true;
    case VDT_WIRE_FIXED32:
        *(uint32_t *) dst = (uint32_t) value;
        return true;
    default:
        *(uint64_t *) dst = value;
        return true;
    }
}

static bool
take_block(struct cursor *at, const struct vdt_wire_field *field, void *dst, size_t len,
           GError **error)
{
    struct vdt_wire_bytes *block = dst;

    if (field->kind == VDT_WIRE_MESSAGE) {
        *(bool *) dst = true;
        return vdt_wire_read(field->message, at->p, len, at->origin + (size_t) (at->p - at->start),
                             dst, error);
    }
    if (len == 0)
        return refuse(at, error, "%s is empty and yet written", field->name);
    if (field->kind == VDT_WIRE_TEXT && memchr(at->p, 0, len))
        return refuse(at, error, "%s has a zero byte in it", field->name);
    if ((field->kind == VDT_WIRE_COLUMN32 && len % 4 != 0) ||
        (field->kind == VDT_WIRE_COLUMN64 && len % 8 != 0))
        return refuse(at, error, "the entries of %s do not fill its %zu bytes", field->name, len);
    block->at = at->p;
    block->len = len;
    return true;
}

/* @field: NULL for one that the schema does not know; it is passed over. */
static bool
take_value(struct cursor *at, const struct vdt_wire_field *field, unsigned type, void *dst,
           GError **error)
{
    size_t left = (size_t) (at->end - at->p);
    uint64_t value = 0;

    switch (type) {
    case BLOCK:
        if (!take_varint(at, &value, error))
            return false;
        left = (size_t) (at->end - at->p);
        if (value > left)
            return refuse(at, error, "a field of %" G_GUINT64_FORMAT " bytes where %zu are left",
                          value, left);
        if (field && !take_block(at, field, dst, (size_t) value, error))
            return false;
        at->p += value;
        return true;
    case VARINT:
        return take_varint(at, &value, error) &&
               (!field || take_number(at, field, dst, value, error));
    case FIXED32:
    case FIXED64:
        if (left < (type == FIXED32 ? 4u : 8u))
            return refuse(at, error, "it ends inside a field of %u bytes", type == FIXED32 ? 4 : 8);
        value = type == FIXED32 ? vdt_get32(at->p) : vdt_get64(at->p);
        at->p += type == FIXED32 ? 4 : 8;
        return !field || take_number(at, field, dst, value, error);
    default:
        return refuse(at, error, "a field of the unknown kind %u", type);
    }
}

/* Recursion is as deep as the schema, which has no cycle. */
bool
vdt_wire_read(const struct vdt_wire_schema *schema, const uint8_t *bytes, size_t len, size_t origin,
              void *message, GError **error)
{
    struct cursor at = {bytes, bytes, bytes + len, origin};
    const struct vdt_wire_field *field = schema->fields, *last = field + schema->count;
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
        while (field < last && field->key >> 3 < number)
            field++;

        bool known = field < last && field->key >> 3 == number;
        if (known && key != field->key)
            return refuse(&at, error, "%s is of the wrong kind %u", field->name,
                          (unsigned) (key & 7));
        if (!take_value(&at, known ? field : NULL, (unsigned) (key & 7),
                        known ? (uint8_t *) message + field->offset : NULL, error))
            return false;
    }
    return true;
}

/* Before @end; returns where it begins. */
static uint8_t *
put_varint(uint8_t *end, uint64_t value)
{
    uint8_t *p = end - 1, *start;

    if (value < 0x80) {
        *p = (uint8_t) value;
        return p;
    }
    for (uint64_t rest = value >> 7; rest > 0; rest >>= 7)
        p--;
    for (start = p; value >= 0x80; value >>= 7)
        *p++ = (uint8_t) (value | 0x80);
    *p = (uint8_t) value;
    return start;
}

uint8_t *
vdt_wire_write(const struct vdt_wire_schema *schema, const void *message, uint8_t *end)
{
    for (const struct vdt_wire_field *field = schema->fields + schema->count;
         field-- > schema->fields;) {
        const void *src = (const uint8_t *) message + field->offset;
        const struct vdt_wire_bytes *block = src;
        uint8_t *start = end;

        switch (field->kind) {
        case VDT_WIRE_BOOL:
            if (!*(const bool *) src)
                continue;
            *--end = true;
            break;
        case VDT_WIRE_UINT32:
            if (*(const uint32_t *) src == 0)
                continue;
            end = put_varint(end, *(const uint32_t *) src);
            break;
        case VDT_WIRE_UINT64:
            if (*(const uint64_t *) src == 0)
                continue;
            end = put_varint(end, *(const uint64_t *) src);
            break;
        case VDT_WIRE_FIXED32:
            if (*(const uint32_t *) src == 0)
                continue;
            end -= 4;
            vdt_put32(end, *(const uint32_t *) src);
            break;
        case VDT_WIRE_FIXED64:
            if (*(const uint64_t *) src == 0)
                continue;
            end -= 8;
            vdt_put64(end, *(const uint64_t *) src);
            break;
        case VDT_WIRE_TEXT:
        case VDT_WIRE_BYTES:
        case VDT_WIRE_COLUMN32:
        case VDT_WIRE_COLUMN64:
            if (block->len == 0)
                continue;
            end -= block->len;
            memcpy(end, block->at, block->len);
            end = put_varint(end, block->len);
            break;
        case VDT_WIRE_MESSAGE:
            if (!*(const bool *) src)
                continue;
            end = vdt_wire_write(field->message, src, end);
            end = put_varint(end, (uint64_t) (start - end));
            break;
        }
        end = put_varint(end, field->key);
    }
    return end;
}
