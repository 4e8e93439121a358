/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Replay: runs a fuzz target on the files of a folder, each whole and cut short at a few places.
 * Usage: replay CORPUS NAME MINIMUM. Prints TAP; a property that does not hold ends the process.
 */
#include "fuzz.h"

static void
run(const char *bytes, size_t len)
{
    /* A copy of exactly that size, so that a step beyond it is seen. */
    g_autofree uint8_t *copy = g_malloc(MAX(len, 1));

    memcpy(copy, bytes, len);
    LLVMFuzzerTestOneInput(copy, len);
}

int
main(int argc, char **argv)
{
    g_autoptr(GDir) dir = argc == 4 ? g_dir_open(argv[1], 0, NULL) : NULL;
    unsigned inputs = 0, minimum = argc == 4 ? (unsigned) strtoul(argv[3], NULL, 10) : 0;
    const char *name;

    printf("1..1\n");
    if (!dir) {
        printf("Bail out! usage: replay CORPUS NAME MINIMUM\n");
        return 2;
    }
    fflush(stdout);
    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(argv[1], name, NULL);
        g_autofree char *bytes = NULL;
        gsize len;

        if (!g_file_get_contents(path, &bytes, &len, NULL))
            continue;
        fprintf(stderr, "%s\n", name);
        run(bytes, len);
        run(bytes, len / 2);
        run(bytes, len - len / 8);
        inputs++;
    }
    printf("%sok 1 - %s: %u inputs, at least %u\n", inputs < minimum ? "not " : "", argv[2], inputs,
           minimum);
    return inputs < minimum;
}
