/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Killing the writer proves nothing about durability (the page cache survives it), so the order of
 * the system calls is checked: this program's fsync() and renameat() stand before libc's.
 */
#include "lib/leak.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sample.h"

VDT_SUITE(file_order);

static char calls[64];

static void
note(const char *call)
{
    g_strlcat(calls, call, sizeof(calls));
}

int
fsync(int fd)
{
    struct stat st;

    note(fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? "sync-dir " : "sync-file ");
    return (int) syscall(SYS_fsync, fd);
}

int
renameat(int old_dir, const char *old_name, int new_dir, const char *new_name)
{
    note("rename ");
    return (int) syscall(SYS_renameat, old_dir, old_name, new_dir, new_name);
}

Test(file_order, the_new_file_is_synced_then_renamed_then_its_directory_synced)
{
    g_autofree char *dir = g_dir_make_tmp("vdt-order-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "state.vdts", NULL);
    VDT_AUTO(snapshot) s = sample_split();

    cr_assert(vdt_snapshot_save(s, path, NULL));
    cr_assert_str_eq(calls, "sync-file rename sync-dir ");
    cr_assert(g_unlink(path) == 0 && g_rmdir(dir) == 0);
}
