/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sample.h"

VDT_SUITE(file);

struct place {
    char *dir, *path;
};

static struct place
make_place(void)
{
    char *dir = g_dir_make_tmp("vdt-file-XXXXXX", NULL);

    cr_assert_not_null(dir);
    return (struct place){dir, g_build_filename(dir, "state.vdts", NULL)};
}

/* Says how many files were left besides state.vdts. */
static unsigned
drop_place(struct place *place)
{
    GDir *dir = g_dir_open(place->dir, 0, NULL);
    unsigned others = 0;
    const char *name;

    while ((name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(place->dir, name, NULL);
        others += strcmp(name, "state.vdts") != 0;
        if (remove(path) != 0)
            others += 1000;
    }
    g_dir_close(dir);
    g_rmdir(place->dir);
    g_free(place->dir);
    g_free(place->path);
    return others;
}

static void
expect_load_refusal(const char *path, const char *reason)
{
    g_autoptr(GError) error = NULL;
    VDT_AUTO(snapshot) s = vdt_snapshot_load(path, &error);

    cr_assert_null(s);
    cr_assert(strstr(error->message, reason), "%s", error->message);
    cr_assert(strstr(error->message, path), "%s", error->message);
}

static void
expect_save_refusal(const char *path, const char *reason)
{
    g_autoptr(GError) error = NULL;
    VDT_AUTO(snapshot) s = sample_split();

    cr_assert_not(vdt_snapshot_save(s, path, &error));
    cr_assert(strstr(error->message, reason), "%s", error->message);
}

Test(file, what_was_saved_is_loaded)
{
    struct place place = make_place();
    g_autoptr(GError) error = NULL;
    VDT_AUTO(snapshot) a = sample_packed();
    struct stat st;

    cr_assert(vdt_snapshot_save(a, place.path, &error), "%s", error ? error->message : "");
    VDT_AUTO(snapshot) b = vdt_snapshot_load(place.path, &error);
    cr_assert_not_null(b, "%s", error ? error->message : "");
    g_autofree char *difference = sample_difference(a, b);
    cr_assert_null(difference, "%s", difference);
    cr_assert(stat(place.path, &st) == 0 && (st.st_mode & 0777) == 0600);
    cr_assert_eq(drop_place(&place), 0);
}

Test(file, an_older_file_is_replaced)
{
    struct place place = make_place();
    VDT_AUTO(snapshot) a = sample_packed();
    VDT_AUTO(snapshot) b = sample_split();

    cr_assert(vdt_snapshot_save(a, place.path, NULL));
    cr_assert(vdt_snapshot_save(b, place.path, NULL));
    VDT_AUTO(snapshot) c = vdt_snapshot_load(place.path, NULL);
    cr_assert(c && !c->packed);
    cr_assert_eq(drop_place(&place), 0);
}

/* The file size limit stands for a full disk. */
Test(file, a_write_that_fails_leaves_the_old_file_and_no_other)
{
    struct place place = make_place();
    struct rlimit limit = {100, RLIM_INFINITY};
    VDT_AUTO(snapshot) a = sample_packed();

    cr_assert(vdt_snapshot_save(a, place.path, NULL));
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    expect_save_refusal(place.path, "what was there before is unchanged");
    limit.rlim_cur = RLIM_INFINITY;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    VDT_AUTO(snapshot) b = vdt_snapshot_load(place.path, NULL);
    cr_assert(b && b->packed);
    cr_assert_eq(drop_place(&place), 0);
}

Test(file, other_kinds_of_files_are_not_read)
{
    struct place place = make_place();
    g_autofree char *link = g_build_filename(place.dir, "link", NULL);
    g_autofree char *fifo = g_build_filename(place.dir, "fifo", NULL);
    VDT_AUTO(snapshot) a = sample_split();

    cr_assert(vdt_snapshot_save(a, place.path, NULL));
    cr_assert_eq(symlink("state.vdts", link), 0);
    cr_assert_eq(mkfifo(fifo, 0600), 0);
    expect_load_refusal(link, "symbolic link");
    expect_load_refusal(fifo, "no regular file");
    expect_load_refusal(place.dir, "no regular file");
    expect_load_refusal("/dev/zero", "no regular file");
    expect_load_refusal("/nonexistent/state", "No such file");
    cr_assert_eq(drop_place(&place), 2);
}

Test(file, other_kinds_of_files_are_not_replaced)
{
    struct place place = make_place();
    g_autofree char *link = g_build_filename(place.dir, "link", NULL);

    cr_assert_eq(symlink("/etc/passwd", link), 0);
    expect_save_refusal(link, "no regular file");
    expect_save_refusal(place.dir, "no regular file");
    expect_save_refusal("/dev/null", "no regular file");
    expect_save_refusal("/nonexistent/state", "cannot open the directory");
    cr_assert_eq(drop_place(&place), 1);
}

Test(file, a_directory_that_takes_no_file_is_named)
{
    expect_save_refusal("/proc/self/state.vdts", "nothing was written");
}

Test(file, too_long_a_file_is_not_read_whole)
{
    struct place place = make_place();
    int fd = open(place.path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    cr_assert(fd >= 0 && ftruncate(fd, 1ll << 40) == 0);
    close(fd);
    expect_load_refusal(place.path, "longer than a snapshot can be");
    cr_assert_eq(drop_place(&place), 0);
}

Test(file, damage_is_reported_with_the_path)
{
    struct place place = make_place();

    cr_assert(g_file_set_contents(place.path, "not a snapshot, just text", -1, NULL));
    expect_load_refusal(place.path, "no snapshot");
    cr_assert_eq(drop_place(&place), 0);
}

Test(file, dash_is_a_pipe)
{
    g_autoptr(GError) error = NULL;
    VDT_AUTO(snapshot) a = sample_packed();
    int pipe_fds[2], saved_in = dup(STDIN_FILENO), saved_out = dup(STDOUT_FILENO);

    cr_assert_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
    dup2(pipe_fds[1], STDOUT_FILENO);
    bool saved = vdt_snapshot_save(a, "-", &error);
    dup2(saved_out, STDOUT_FILENO);
    close(saved_out);
    close(pipe_fds[1]);
    cr_assert(saved, "%s", error ? error->message : "");

    dup2(pipe_fds[0], STDIN_FILENO);
    close(pipe_fds[0]);
    VDT_AUTO(snapshot) b = vdt_snapshot_load("-", &error);
    dup2(saved_in, STDIN_FILENO);
    close(saved_in);
    cr_assert_not_null(b, "%s", error ? error->message : "");
    g_autofree char *difference = sample_difference(a, b);
    cr_assert_null(difference, "%s", difference);
}
