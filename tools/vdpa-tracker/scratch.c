/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/scratch.h"

#include <glib/gstdio.h>

char *
vdt_scratch_make(const char *prefix, GError **error)
{
    g_autofree char *name = g_strdup_printf("%s-XXXXXX", prefix);
    char *dir = g_dir_make_tmp(name, error);

    if (dir)
        g_setenv("VDPA_TRACKER_RUNTIME_DIR", dir, TRUE);
    return dir;
}

void
vdt_scratch_remove(const char *path)
{
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        /* Links are not followed: what we made has none to elsewhere. */
        if (g_file_test(file, G_FILE_TEST_IS_DIR) && !g_file_test(file, G_FILE_TEST_IS_SYMLINK))
            vdt_scratch_remove(file);
        else
            g_unlink(file);
    }
    g_rmdir(path);
}
