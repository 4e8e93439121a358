/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <string.h>

#include <vdpa-tracker/error.h>

#include "base/wire.h"
#include "proto/snapshot.pb-c.h"
#include "sample.h"
#include "snapshot/frame.h"
#include "snapshot/schema.h"

VDT_SUITE(formats);

static GBytes *
encode_as(const struct vdt_snapshot *s, unsigned format)
{
    g_autoptr(GError) error = NULL;
    GBytes *bytes = vdt_snapshot_encode_as(s, format, &error);

    cr_assert_not_null(bytes, "format %u: %s", format, error ? error->message : "");
    return bytes;
}

static struct vdt_snapshot *
decode_up_to(GBytes *bytes, unsigned newest)
{
    g_autoptr(GError) error = NULL;
    gsize len;
    const uint8_t *data = g_bytes_get_data(bytes, &len);
    struct vdt_snapshot *s = vdt_snapshot_decode_up_to(data, len, newest, &error);

    cr_assert_not_null(s, "up to %u: %s", newest, error ? error->message : "");
    return s;
}

/* Without what format 1 does not say. */
static void
forget_newer(struct vdt_snapshot *s)
{
    s->source = (struct vdt_snapshot_source){0};
    for (unsigned i = 0; i < s->ring_count; i++) {
        s->rings[i].fault = 0;
        for (uint32_t j = 0; j < s->rings[i].request_count; j++)
            s->rings[i].requests[j].table_addr = s->rings[i].requests[j].table_len = 0;
    }
}

Test(formats, the_current_one_is_written_by_default)
{
    VDT_AUTO(snapshot) s = sample_split();
    g_autoptr(GBytes) bytes = vdt_snapshot_encode(s, NULL);
    g_autoptr(GBytes) same = encode_as(s, 0);

    cr_assert_eq(vdt_get16((const uint8_t *) g_bytes_get_data(bytes, NULL) + 4), 2);
    cr_assert(g_bytes_equal(bytes, same));
}

Test(formats, a_reader_of_format_1_takes_what_is_written_for_it)
{
    for (const struct sample *sample = samples; sample->name; sample++) {
        VDT_AUTO(snapshot) s = sample->make();
        forget_newer(s);
        g_autoptr(GBytes) bytes = encode_as(s, 1);
        VDT_AUTO(snapshot) old = decode_up_to(bytes, 1);
        g_autofree char *difference = sample_difference(s, old);

        cr_assert_null(difference, "%s: %s", sample->name, difference);
        cr_assert_eq(old->format, 1);
    }
}

Test(formats, a_reader_of_format_1_refuses_format_2_by_name)
{
    VDT_AUTO(snapshot) s = sample_split();
    g_autoptr(GBytes) bytes = encode_as(s, 2);
    g_autoptr(GError) error = NULL;
    gsize len;
    const uint8_t *data = g_bytes_get_data(bytes, &len);

    cr_assert_null(vdt_snapshot_decode_up_to(data, len, 1, &error));
    cr_assert(strstr(error->message, "a newer version: format 2, this one reads format 1"), "%s",
              error->message);
}

Test(formats, a_reader_of_format_3_would_refuse_format_1)
{
    VDT_AUTO(snapshot) s = sample_split();
    g_autoptr(GBytes) bytes = encode_as(s, 1);
    g_autoptr(GError) error = NULL;
    gsize len;
    const uint8_t *data = g_bytes_get_data(bytes, &len);

    cr_assert_null(vdt_snapshot_decode_up_to(data, len, 3, &error));
    cr_assert(strstr(error->message, "format 1, this one reads 2 and 3"), "%s", error->message);
}

Test(formats, there_and_back_keeps_all_that_the_older_one_can_say)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(2);

    for (unsigned i = 0; i < 500; i++) {
        VDT_AUTO(snapshot) s = sample_random(rand);
        for (unsigned r = 0; r < s->ring_count; r++) {
            for (uint32_t j = 0; j < s->rings[r].request_count; j++)
                s->rings[r].requests[j].table_addr = s->rings[r].requests[j].table_len = 0;
        }
        g_autoptr(GBytes) newer = encode_as(s, 2);
        VDT_AUTO(snapshot) read = decode_up_to(newer, 2);
        g_autoptr(GBytes) older = encode_as(read, 1);
        VDT_AUTO(snapshot) old = decode_up_to(older, 1);
        g_autoptr(GBytes) again = encode_as(old, 2);
        VDT_AUTO(snapshot) back = decode_up_to(again, 2);
        forget_newer(s);
        g_autofree char *difference = sample_difference(s, back);

        cr_assert_null(difference, "%u: %s", i, difference);
    }
}

Test(formats, what_an_older_one_cannot_say_is_refused_by_its_field)
{
    g_autoptr(GError) error = NULL;
    VDT_AUTO(snapshot) s = sample_indirect();

    cr_assert_null(vdt_snapshot_encode_as(s, 1, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_REFUSED));
    cr_assert(
        strstr(error->message, "format 1, which has no place for rings[1].in_flight[0].table"),
        "%s", error->message);
    cr_assert_not(vdt_snapshot_fits_format(s, 1, NULL));
    cr_assert(vdt_snapshot_fits_format(s, 2, NULL));
}

Test(formats, there_are_no_others)
{
    static const unsigned none[] = {3, 99, UINT_MAX};
    VDT_AUTO(snapshot) s = sample_split();

    for (unsigned i = 0; i < G_N_ELEMENTS(none); i++) {
        g_autoptr(GError) error = NULL;
        cr_assert_null(vdt_snapshot_encode_as(s, none[i], &error));
        cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_USAGE));
        cr_assert(strstr(error->message, "writes the formats 1 to 2"), "%s", error->message);
    }
}

/* As every reader of format 1 does with what it does not know. */
Test(formats, fields_of_format_2_in_format_1_are_passed_over)
{
    VDT_AUTO(snapshot) s = sample_indirect();
    g_autoptr(GBytes) bytes = encode_as(s, 2);
    g_autoptr(GByteArray) array = g_bytes_unref_to_array(g_steal_pointer(&bytes));

    array->data[4] = 1;
    vdt_put64(array->data + 12, vdt_frame_checksum(array->data, array->data + VDT_FRAME_SIZE,
                                                   array->len - VDT_FRAME_SIZE));
    VDT_AUTO(snapshot) read = vdt_snapshot_decode(array->data, array->len, NULL);
    cr_assert_not_null(read);
    forget_newer(s);
    g_autofree char *difference = sample_difference(s, read);
    cr_assert_null(difference, "%s", difference);
}

Test(formats, an_unknown_part_that_must_be_understood_is_refused_in_each)
{
    for (unsigned format = 1; format <= 2; format++) {
        uint8_t payload[9] = {1 << 3 | 1, 0, 0, 0, 0, 0, 0, 4};
        uint8_t file[VDT_FRAME_SIZE + sizeof(payload)] = {'V', 'D', 'T', 'S'};
        g_autoptr(GError) error = NULL;

        vdt_put16(file + 4, (uint16_t) format);
        vdt_put32(file + 8, sizeof(payload));
        memcpy(file + VDT_FRAME_SIZE, payload, sizeof(payload));
        vdt_put64(file + 12, vdt_frame_checksum(file, file + VDT_FRAME_SIZE, sizeof(payload)));
        cr_assert_null(vdt_snapshot_decode(file, sizeof(file), &error));
        cr_assert(strstr(error->message, "(must_understand 0x4000000000000)"), "%s",
                  error->message);
    }
}

/* Our tables against what protoc makes of the schema. */
static void
expect_same_schema(const struct vdt_wire_schema *ours, const ProtobufCMessageDescriptor *theirs)
{
    cr_assert_str_eq(ours->name, theirs->short_name);
    cr_assert_eq(ours->count, theirs->n_fields, "%s", ours->name);
    for (unsigned i = 0; i < ours->count; i++) {
        const struct vdt_wire_field *a = &ours->fields[i];
        const ProtobufCFieldDescriptor *b = &theirs->fields[i];
        bool column = a->kind == VDT_WIRE_COLUMN32 || a->kind == VDT_WIRE_COLUMN64;
        static const ProtobufCType types[] = {
            [VDT_WIRE_BOOL] = PROTOBUF_C_TYPE_BOOL,
            [VDT_WIRE_UINT32] = PROTOBUF_C_TYPE_UINT32,
            [VDT_WIRE_UINT64] = PROTOBUF_C_TYPE_UINT64,
            [VDT_WIRE_FIXED32] = PROTOBUF_C_TYPE_FIXED32,
            [VDT_WIRE_FIXED64] = PROTOBUF_C_TYPE_FIXED64,
            [VDT_WIRE_TEXT] = PROTOBUF_C_TYPE_STRING,
            [VDT_WIRE_BYTES] = PROTOBUF_C_TYPE_BYTES,
            [VDT_WIRE_COLUMN32] = PROTOBUF_C_TYPE_FIXED32,
            [VDT_WIRE_COLUMN64] = PROTOBUF_C_TYPE_FIXED64,
            [VDT_WIRE_MESSAGE] = PROTOBUF_C_TYPE_MESSAGE,
        };

        cr_assert_str_eq(a->name, b->name, "%s", ours->name);
        cr_assert_eq(a->key >> 3, b->id, "%s.%s", ours->name, a->name);
        cr_assert_eq(types[a->kind], b->type, "%s.%s", ours->name, a->name);
        cr_assert_eq(b->label == PROTOBUF_C_LABEL_REPEATED, column, "%s.%s", ours->name, a->name);
        if (a->kind == VDT_WIRE_MESSAGE)
            expect_same_schema(a->message, b->descriptor);
    }
}

Test(formats, our_tables_are_those_of_the_schema)
{
    expect_same_schema(&vdt_wire_snapshot_schema, &vdt__v1__snapshot__descriptor);
}

/* protobuf-c reads what we write, and writes the same. */
Test(formats, protobuf_c_agrees_on_every_byte)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);

    for (unsigned i = 0; i < 500; i++) {
        VDT_AUTO(snapshot) s = i < 16 ? samples[i].make() : sample_random(rand);
        g_autoptr(GBytes) bytes = encode_as(s, 2);
        gsize len;
        const uint8_t *payload = (const uint8_t *) g_bytes_get_data(bytes, &len) + VDT_FRAME_SIZE;
        len -= VDT_FRAME_SIZE;
        Vdt__V1__Snapshot *m = vdt__v1__snapshot__unpack(NULL, len, payload);

        cr_assert_not_null(m, "%u", i);
        cr_assert_eq(vdt__v1__snapshot__get_packed_size(m), len, "%u", i);
        g_autofree uint8_t *packed = g_malloc(len);
        vdt__v1__snapshot__pack(m, packed);
        cr_assert(memcmp(packed, payload, len) == 0, "%u", i);
        vdt__v1__snapshot__free_unpacked(m, NULL);
    }
}
