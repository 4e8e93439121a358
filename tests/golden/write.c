/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Writes the golden files of samples that have none yet: write-golden tests/golden. A file that is
 * there stays as it is: it stands for what some version wrote, and every later one has to read it.
 */
#include <stdio.h>

#include "unit/snapshot/sample.h"

static int
write_new(const char *path, const char *bytes, gsize len)
{
    g_autoptr(GError) error = NULL;

    if (g_file_test(path, G_FILE_TEST_EXISTS)) {
        printf("%s: kept\n", path);
        return 0;
    }
    if (!g_file_set_contents(path, bytes, (gssize) len, &error)) {
        fprintf(stderr, "%s\n", error->message);
        return 1;
    }
    printf("%s: written\n", path);
    return 0;
}

int
main(int argc, char **argv)
{
    int failed = 0;

    if (argc != 2) {
        fprintf(stderr, "usage: write-golden DIRECTORY\n");
        return 2;
    }
    for (const struct sample *sample = samples; sample->name; sample++) {
        VDT_AUTO(snapshot) s = sample->make();
        g_autoptr(GError) error = NULL;
        g_autoptr(GBytes) encoded = vdt_snapshot_encode_as(s, sample->format, &error);
        g_autofree char *binary = g_strdup_printf("%s/%s.vdts", argv[1], sample->name);
        g_autofree char *json = g_strdup_printf("%s/%s.json", argv[1], sample->name);
        s->format = sample->format;
        g_autoptr(JsonNode) tree = vdt_snapshot_to_json(s);
        g_autofree char *text = json_to_string(tree, TRUE);
        g_autofree char *lines = g_strdup_printf("%s\n", text);
        if (!encoded) {
            fprintf(stderr, "%s: %s\n", sample->name, error->message);
            return 1;
        }
        gsize len;
        const char *bytes = g_bytes_get_data(encoded, &len);
        failed |= write_new(binary, bytes, len);
        failed |= write_new(json, lines, strlen(lines));
    }
    return failed;
}
