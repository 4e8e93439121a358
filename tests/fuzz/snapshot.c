/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshot target: bytes as a file. What is decoded is valid, equals what its own encoding decodes
 * to, and that encoding is the one there is; it can be shown, compared and judged. Each input is
 * tried as it is and with length and checksum put right, so that the checksum hides nothing.
 */
#include "fuzz.h"

#include "base/wire.h"
#include "snapshot/frame.h"
#include "snapshot/snapshot.h"

static void
show(const struct vdt_snapshot *snapshot, const struct vdt_snapshot *same)
{
    g_autofree char *text = vdt_snapshot_to_text(snapshot);
    g_autofree char *text_same = vdt_snapshot_to_text(same);
    g_autoptr(JsonNode) json = vdt_snapshot_to_json(snapshot);
    g_autoptr(JsonNode) json_same = vdt_snapshot_to_json(same);
    g_autofree char *line = json_to_string(json, FALSE);
    g_autofree char *line_same = json_to_string(json_same, FALSE);
    g_autoptr(GPtrArray) lines = vdt_snapshot_diff(snapshot, same);
    g_autoptr(JsonNode) parsed = json_from_string(line, NULL);

    FUZZ_CHECK(g_utf8_validate(text, -1, NULL) && strcmp(text, text_same) == 0);
    FUZZ_CHECK(parsed && strcmp(line, line_same) == 0);
    FUZZ_CHECK(lines->len == 0);
}

/* Against an empty one and a device with little to offer; any answer will do. */
static void
judge(const struct vdt_snapshot *snapshot)
{
    static const struct vdt_device_info target = {0};
    VDT_AUTO(snapshot) empty = vdt_snapshot_new();
    g_autoptr(GPtrArray) reasons =
        vdt_snapshot_compat(snapshot, &target, snapshot->config, snapshot->config_len);
    g_autoptr(GPtrArray) lines = vdt_snapshot_diff(snapshot, empty);

    FUZZ_CHECK(reasons && lines);
}

static void
try_bytes(const uint8_t *bytes, size_t len)
{
    g_autoptr(GError) error = NULL;
    VDT_AUTO(snapshot) snapshot = vdt_snapshot_decode(bytes, len, &error);

    FUZZ_CHECK((snapshot == NULL) == (error != NULL));
    if (!snapshot)
        return;
    FUZZ_CHECK(vdt_snapshot_validate(snapshot, NULL));

    g_autoptr(GBytes) once = vdt_snapshot_encode_as(snapshot, snapshot->format, &error);
    FUZZ_CHECK(once != NULL);
    VDT_AUTO(snapshot)
    again = vdt_snapshot_decode(g_bytes_get_data(once, NULL), g_bytes_get_size(once), &error);
    FUZZ_CHECK(again != NULL);
    g_autoptr(GBytes) twice = vdt_snapshot_encode_as(again, again->format, &error);
    FUZZ_CHECK(twice != NULL && g_bytes_equal(once, twice));
    /* Fields of a newer writer are left out; all else has one encoding. */
    FUZZ_CHECK(
        g_bytes_get_size(once) < len ||
        (g_bytes_get_size(once) == len && memcmp(g_bytes_get_data(once, NULL), bytes, len) == 0));
    show(snapshot, again);
    judge(snapshot);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree uint8_t *mended = NULL;
    uint32_t payload;

    try_bytes(data, size);
    if (size < VDT_FRAME_SIZE)
        return 0;
    payload = (uint32_t) (size - VDT_FRAME_SIZE);
    mended = g_memdup2(data, size);
    vdt_put32(mended + 8, payload);
    vdt_put64(mended + 12, vdt_frame_checksum(mended, mended + VDT_FRAME_SIZE, payload));
    try_bytes(mended, size);
    return 0;
}
