/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <string.h>

#include "base/wire.h"
#include "sample.h"
#include "snapshot/frame.h"

VDT_SUITE(decode);

static GByteArray *
encode_sample(struct vdt_snapshot *s)
{
    GBytes *bytes = vdt_snapshot_encode(s, NULL);

    vdt_snapshot_free(s);
    cr_assert_not_null(bytes);
    return g_bytes_unref_to_array(bytes);
}

/* Length and checksum of what the payload has become. */
static void
reseal(GByteArray *bytes)
{
    uint32_t len = bytes->len - VDT_FRAME_SIZE;

    vdt_put32(bytes->data + 8, len);
    vdt_put64(bytes->data + 12, vdt_frame_checksum(bytes->data, bytes->data + VDT_FRAME_SIZE, len));
}

static GByteArray *
framed(const void *payload, size_t len)
{
    GByteArray *bytes = g_byte_array_new();
    static const uint8_t head[VDT_FRAME_SIZE] = {'V', 'D', 'T', 'S', VDT_SNAPSHOT_FORMAT};

    g_byte_array_append(bytes, head, sizeof(head));
    if (len > 0)
        g_byte_array_append(bytes, payload, (guint) len);
    reseal(bytes);
    return bytes;
}

/* Exactly sized, so that the sanitizer sees a byte too far. */
static void
expect_refusal(const uint8_t *data, size_t len, const char *reason, const char *name)
{
    g_autofree uint8_t *bytes = g_memdup2(data, len);
    g_autoptr(GError) error = NULL;
    VDT_AUTO(snapshot) s = vdt_snapshot_decode(bytes, len, &error);

    cr_assert_null(s, "%s: accepted", name);
    cr_assert(error && strstr(error->message, reason), "%s: %s", name,
              error ? error->message : "no error");
}

Test(decode, cut_off_at_every_byte_is_refused)
{
    g_autoptr(GByteArray) bytes = encode_sample(sample_packed());

    for (guint len = 0; len < bytes->len; len++)
        expect_refusal(bytes->data, len, len < VDT_FRAME_SIZE ? "too few" : "cut off", "cut off");
}

Test(decode, payload_cut_off_at_every_byte_is_refused_behind_the_checksum_too)
{
    g_autoptr(GByteArray) bytes = encode_sample(sample_split());

    for (guint len = bytes->len - 1; len >= VDT_FRAME_SIZE; len--) {
        g_byte_array_set_size(bytes, len);
        reseal(bytes);
        expect_refusal(bytes->data, bytes->len, "", "cut off");
    }
}

Test(decode, a_byte_behind_the_end_is_refused)
{
    g_autoptr(GByteArray) bytes = encode_sample(sample_split());

    g_byte_array_append(bytes, (const guint8 *) "", 1);
    expect_refusal(bytes->data, bytes->len, "has a tail", "trailing byte");
}

Test(decode, every_flipped_bit_is_refused)
{
    g_autoptr(GByteArray) bytes = encode_sample(sample_split());

    for (guint bit = 0; bit < 8 * bytes->len; bit++) {
        bytes->data[bit / 8] ^= (guint8) (1u << bit % 8);
        expect_refusal(bytes->data, bytes->len, "", "flipped bit");
        bytes->data[bit / 8] ^= (guint8) (1u << bit % 8);
    }
}

struct header_row {
    const char *name;
    unsigned offset;
    uint8_t value;
    const char *reason;
};

Test(decode, wrong_headers_are_refused_by_name)
{
    static const struct header_row rows[] = {
        {"magic", 0, 'X', "no snapshot"},
        {"magic end", 3, 'T', "no snapshot"},
        {"version 0", 4, 0, "format 0"},
        {"version 3", 4, 3, "a newer version: format 3, this one reads 1 and 2"},
        {"version high", 5, 1, "format 258"},
        {"flags", 6, 1, "unknown flags 0x1"},
        {"flags high", 7, 128, "flags 0x8000"},
        {"checksum", 12, 0x55, "checksum"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GByteArray) bytes = encode_sample(sample_split());
        bytes->data[rows[i].offset] = rows[i].value;
        if (rows[i].offset < 12)
            reseal(bytes);
        expect_refusal(bytes->data, bytes->len, rows[i].reason, rows[i].name);
    }
}

Test(decode, more_than_the_limit_is_refused_unread)
{
    uint8_t byte = 0;
    g_autoptr(GError) error = NULL;

    cr_assert_null(vdt_snapshot_decode(&byte, VDT_SNAPSHOT_BYTES_MAX + 1u, &error));
    cr_assert(strstr(error->message, "more than a snapshot can have"), "%s", error->message);
}

struct payload_row {
    const char *name;
    const char *bytes;
    size_t len;
    const char *reason;
};

#define ROW(name, bytes, reason)                                                                   \
    {                                                                                              \
        name, bytes, sizeof(bytes) - 1, reason                                                     \
    }

Test(decode, malformed_payloads_are_refused)
{
    /* Keys: field << 3 | kind. 12 identity, 1a features, 22 config, 2a rings, 32 control, 38 live,
     * 42 unmigratable. */
    static const struct payload_row rows[] = {
        ROW("nothing", "", "no identity"),
        ROW("field 0", "\x02\x00", "field number 0"),
        ROW("field 0, over-long", "\x85\x00\x01\x02\x03\x04", "longer than it has to be"),
        ROW("field too high", "\x80\x80\x80\x80\x10\x00", "field number 536870912"),
        ROW("field twice", "\x12\x00\x12\x00", "field 2 comes twice"),
        ROW("unknown field twice", "\xf8\x07\x01\xf8\x07\x01", "field 127 comes twice"),
        ROW("out of order", "\x1a\x00\x12\x00", "field 2 comes after a higher one"),
        ROW("number for message", "\x10\x01", "identity is of the wrong kind 0"),
        ROW("message for number", "\x3a\x01\x01", "live is of the wrong kind 2"),
        ROW("fixed64 as fixed32", "\x0d\x01\x00\x00\x00", "must_understand is of the wrong kind 5"),
        ROW("unpacked column", "\x2a\x05\x1d\x01\x00\x00\x00", "num is of the wrong kind 5"),
        ROW("group", "\xfb\x07\xfc\x07", "unknown kind 3"),
        ROW("kind 6", "\xfe\x07", "unknown kind 6"),
        ROW("zero written", "\x38\x00", "live is zero and yet written"),
        ROW("fixed zero", "\x09\x00\x00\x00\x00\x00\x00\x00\x00", "must_understand is zero"),
        ROW("no bool", "\x38\x02", "neither true nor false"),
        ROW("over-long bool", "\x38\x81\x00", "longer than it has to be"),
        ROW("uint32 too long", "\x12\x06\x08\x81\x80\x80\x80\x10", "device_id does not fit"),
        ROW("varint of 11 bytes", "\x38\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            "more than 64 bits"),
        ROW("varint without end", "\x38\xff", "ends inside a number"),
        ROW("empty bytes", "\x22\x00", "config is empty"),
        ROW("length too long",
            "\x22\x05"
            "abcd",
            "5 bytes where 4 are left"),
        ROW("length wraps",
            "\x22\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
            "abcd",
            "where 4 are left"),
        ROW("nested length", "\x12\x03\x12\x04\x41", "4 bytes where 1 are left"),
        ROW("NUL in text",
            "\x42\x03"
            "a\0b",
            "zero byte"),
        ROW("column half", "\x2a\x04\x1a\x02\x01\x00", "do not fill its 2 bytes"),
        ROW("cut fixed", "\x09\x01\x00", "inside a field of 8 bytes"),
        ROW("must_understand", "\x09\x01\x00\x00\x00\x00\x00\x00\x00", "(must_understand 0x1)"),
        ROW("must_understand high", "\x09\x00\x00\x00\x00\x00\x00\x00\x80\xff\xff",
            "(must_understand 0x8000000000000000)"),
        ROW("no features", "\x12\x00", "no features"),
        ROW("no rings", "\x12\x00\x1a\x00", "no rings"),
        ROW("no control", "\x12\x00\x1a\x00\x2a\x00", "no control state"),
        ROW("all empty", "\x12\x00\x1a\x00\x2a\x00\x32\x00", "device type 0"),
        ROW("missing column", "\x12\x00\x1a\x00\x2a\x06\x1a\x04\x00\x01\x00\x00\x32\x00",
            "differ in length"),
        ROW("cvq beyond", "\x12\x00\x1a\x00\x2a\x02\x10\x01\x32\x00", "control queue 0 of 0"),
        ROW("short MAC", "\x12\x00\x1a\x00\x2a\x00\x32\x06\x92\x01\x03\x0a\x01\x02",
            "MAC address has 1 bytes instead of 6"),
        ROW("empty MAC", "\x12\x00\x1a\x00\x2a\x00\x32\x03\x92\x01\x00",
            "has 0 bytes instead of 6"),
        ROW("empty VLANs", "\x12\x00\x1a\x00\x2a\x00\x32\x03\x8a\x02\x00",
            "0 bytes instead of 512"),
        ROW("odd MAC table", "\x12\x00\x1a\x00\x2a\x00\x32\x06\x8a\x01\x03\x0a\x01\x02",
            "unicast table has 1 bytes"),
        ROW("tables of no requests", "\x12\x00\x1a\x00\x2a\x06\x7a\x04\x10\x00\x00\x00\x32\x00",
            "tables are given for 0 and 1 requests of 0"),
        ROW("faults of no rings", "\x12\x00\x1a\x00\x2a\x07\x82\x01\x04\x01\x00\x00\x00\x32\x00",
            "faults are given for 1 rings of 0"),
        ROW("source's number as a text", "\x52\x02\x12\x00", "rings is of the wrong kind 2"),
        ROW("pairs", "\x12\x00\x1a\x00\x2a\x00\x32\x05\x80\x40\x80\x80\x04", "65536 queue pairs"),
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GByteArray) bytes = framed(rows[i].bytes, rows[i].len);
        expect_refusal(bytes->data, bytes->len, rows[i].reason, rows[i].name);
    }
}

/* 2 MiB of empty messages would be 126 MiB in protobuf-c. */
Test(decode, many_empty_messages_are_refused_before_they_take_memory)
{
    g_autoptr(GByteArray) payload = g_byte_array_new();

    g_byte_array_set_size(payload, 2u << 20);
    for (guint i = 0; i < payload->len; i += 2)
        memcpy(payload->data + i, "\x12\x00", 2);
    g_autoptr(GByteArray) bytes = framed(payload->data, payload->len);
    expect_refusal(bytes->data, bytes->len, "comes twice", "amplification");
}

static void
append_varint(GByteArray *bytes, uint64_t value)
{
    do {
        uint8_t byte = (uint8_t) ((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        g_byte_array_append(bytes, &byte, 1);
        value >>= 7;
    } while (value > 0);
}

/* They take no memory: nothing of them is kept. */
Test(decode, many_unknown_fields_are_passed_over)
{
    g_autoptr(GByteArray) bytes = encode_sample(sample_split());
    g_autoptr(GError) error = NULL;

    for (uint64_t field = 2000; field < 400000; field++) {
        append_varint(bytes, field << 3);
        append_varint(bytes, 1);
    }
    reseal(bytes);
    VDT_AUTO(snapshot) s = vdt_snapshot_decode(bytes->data, bytes->len, &error);
    cr_assert_not_null(s, "%s", error ? error->message : "");
}

Test(decode, unknown_fields_of_a_newer_writer_are_ignored)
{
    g_autoptr(GByteArray) bytes = encode_sample(sample_split());
    g_autoptr(GError) error = NULL;

    g_byte_array_append(bytes,
                        (const guint8 *) "\xc2\x3e\x03"
                                         "new"
                                         "\xc8\x3e\x07",
                        9);
    reseal(bytes);
    VDT_AUTO(snapshot) s = vdt_snapshot_decode(bytes->data, bytes->len, &error);
    cr_assert_not_null(s, "%s", error ? error->message : "");
    VDT_AUTO(snapshot) expected = sample_split();
    g_autofree char *difference = sample_difference(expected, s);
    cr_assert_null(difference, "%s", difference);
}

/* Behind the checksum: whatever is accepted is valid and has one encoding only. */
Test(decode, what_is_accepted_after_random_damage_is_canonical)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    unsigned accepted = 0;

    for (unsigned i = 0; i < 20000; i++) {
        g_autoptr(GByteArray) bytes =
            encode_sample(i % 2 ? sample_packed() : samples[i / 2 % 16].make());
        for (int n = g_rand_int_range(rand, 1, 4); n > 0; n--) {
            guint at = (guint) g_rand_int_range(rand, VDT_FRAME_SIZE, (gint32) bytes->len);
            bytes->data[at] = (guint8) g_rand_int(rand);
        }
        reseal(bytes);
        VDT_AUTO(snapshot) s = vdt_snapshot_decode(bytes->data, bytes->len, NULL);
        if (!s)
            continue;
        accepted++;
        g_autoptr(GBytes) again = vdt_snapshot_encode(s, NULL);
        cr_assert_not_null(again);
        g_autofree char *text = vdt_snapshot_to_text(s);
        cr_assert(g_utf8_validate(text, -1, NULL), "%u", i);
        /* A field turned into an unknown one is not written again. */
        if (g_bytes_get_size(again) != bytes->len)
            continue;
        cr_assert(memcmp(g_bytes_get_data(again, NULL), bytes->data, bytes->len) == 0, "%u", i);
    }
    cr_assert_gt(accepted, 100);
}
