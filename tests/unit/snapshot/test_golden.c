/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <string.h>

#include "sample.h"
#include "unit/snapshot/golden_dir.h"

VDT_SUITE(golden);

static void
read_golden(const char *name, const char *suffix, char **ret_bytes, gsize *ret_len)
{
    g_autofree char *path = g_strdup_printf(VDT_GOLDEN_DIR "/%s.%s", name, suffix);
    g_autoptr(GError) error = NULL;

    cr_assert(g_file_get_contents(path, ret_bytes, ret_len, &error), "%s",
              error ? error->message : "");
}

static struct vdt_snapshot *
decode_golden(const char *name, char **ret_bytes, gsize *ret_len)
{
    g_autoptr(GError) error = NULL;

    read_golden(name, "vdts", ret_bytes, ret_len);
    struct vdt_snapshot *s = vdt_snapshot_decode((const uint8_t *) *ret_bytes, *ret_len, &error);
    cr_assert_not_null(s, "%s: %s", name, error ? error->message : "");
    return s;
}

Test(golden, files_mean_what_they_meant)
{
    for (const struct sample *sample = samples; sample->name; sample++) {
        g_autofree char *bytes = NULL;
        g_autofree char *expected = NULL;
        gsize len, expected_len;
        VDT_AUTO(snapshot) s = decode_golden(sample->name, &bytes, &len);
        read_golden(sample->name, "json", &expected, &expected_len);

        g_autoptr(JsonNode) tree = vdt_snapshot_to_json(s);
        g_autofree char *json = json_to_string(tree, TRUE);
        cr_assert_str_eq(json, g_strchomp(expected), "%s", sample->name);

        VDT_AUTO(snapshot) made = sample->make();
        g_autofree char *difference = sample_difference(made, s);
        cr_assert_null(difference, "%s: %s", sample->name, difference);
    }
}

Test(golden, files_are_written_the_same_way_again)
{
    for (const struct sample *sample = samples; sample->name; sample++) {
        g_autofree char *bytes = NULL;
        gsize len, again_len;
        VDT_AUTO(snapshot) s = decode_golden(sample->name, &bytes, &len);
        cr_assert_eq(s->format, sample->format, "%s", sample->name);
        g_autoptr(GBytes) again = vdt_snapshot_encode_as(s, sample->format, NULL);
        const void *data = g_bytes_get_data(again, &again_len);

        cr_assert(len == again_len && memcmp(bytes, data, len) == 0, "%s", sample->name);
    }
}
