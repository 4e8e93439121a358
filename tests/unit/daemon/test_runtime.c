/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "daemon/runtime.h"

#include <glib/gstdio.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

VDT_SUITE(runtime);

static const struct {
    const char *name;
    bool valid;
} names[] = {
    {"web", true},
    {"web-1.eth0_a", true},
    {"0", true},
    {"", false},
    {".web", false},
    {"-web", false},
    {"a/b", false},
    {"..", false},
    {"a b", false},
    {"a\nb", false},
    {"w\xc3\xa4", false},
    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true},
    {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
};

Test(runtime, names_stay_within_the_directory)
{
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GError) error = NULL;

        cr_expect_eq(vdt_runtime_name_valid(names[i].name, &error), names[i].valid, "\"%s\"",
                     names[i].name);
        cr_expect(names[i].valid || g_error_matches(error, VDT_ERROR, VDT_ERROR_USAGE));
    }
}

Test(runtime, directory_comes_from_the_environment)
{
    g_unsetenv("VDPA_TRACKER_RUNTIME_DIR");
    cr_assert_str_eq(vdt_runtime_dir(), "/run/vdpa-tracker");
    g_setenv("VDPA_TRACKER_RUNTIME_DIR", "", TRUE);
    cr_assert_str_eq(vdt_runtime_dir(), "/run/vdpa-tracker");
    g_setenv("VDPA_TRACKER_RUNTIME_DIR", "/tmp/a;b", TRUE);
    g_autofree char *path = vdt_runtime_path("web", ".sock");
    cr_assert_str_eq(path, "/tmp/a;b/web.sock");
    /* A separator of D-Bus addresses in the path is escaped. */
    g_autofree char *address = vdt_runtime_control_address("web");
    cr_assert_str_eq(address, "unix:path=/tmp/a%3Bb/web.ctl");
}

Test(runtime, directory_that_cannot_be_made_is_an_error)
{
    g_autoptr(GError) error = NULL;

    g_setenv("VDPA_TRACKER_RUNTIME_DIR", "/dev/null/x", TRUE);
    cr_assert(!vdt_runtime_dir_make(&error));
    cr_assert_not_null(error);
}

Test(runtime, one_tracker_of_a_name_at_a_time)
{
    g_autofree char *dir = g_dir_make_tmp("vdt-XXXXXX", NULL);
    g_autoptr(GError) error = NULL;

    g_setenv("VDPA_TRACKER_RUNTIME_DIR", dir, TRUE);
    g_autofree char *path = vdt_runtime_path("web", ".lock");
    int first = vdt_runtime_lock("web", &error);
    cr_assert_geq(first, 0);
    cr_expect_eq(vdt_runtime_lock("web", &error), -1);
    cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_BUSY), "%s", error->message);
    int other = vdt_runtime_lock("mail", NULL);
    cr_expect_geq(other, 0);
    vdt_runtime_unlock("mail", other);

    /* A file that was removed while it was locked is not the lock any more. */
    g_unlink(path);
    int second = vdt_runtime_lock("web", NULL);
    cr_expect_geq(second, 0);
    vdt_runtime_unlock("web", second);
    close(first);

    /* One that a killed tracker left is in nobody's way. */
    cr_assert(g_file_set_contents(path, "", 0, NULL));
    second = vdt_runtime_lock("web", NULL);
    cr_expect_geq(second, 0);
    vdt_runtime_unlock("web", second);
    cr_expect_neq(g_rmdir(dir), -1, "nothing is left");
}

#define OWNERS 4u
#define TURNS 3000u

static int inside, met;

/* Each of them opens a file that its last owner may be about to remove. */
static gpointer
own_in_turn(gpointer unused)
{
    for (unsigned i = 0; i < TURNS; i++) {
        int lock = vdt_runtime_lock("web", NULL);

        if (lock < 0)
            continue;
        if (g_atomic_int_add(&inside, 1) > 0)
            g_atomic_int_inc(&met);
        g_thread_yield();
        g_atomic_int_add(&inside, -1);
        vdt_runtime_unlock("web", lock);
    }
    return NULL;
}

Test(runtime, two_never_own_a_name_however_they_come_and_go)
{
    g_autofree char *dir = g_dir_make_tmp("vdt-XXXXXX", NULL);
    GThread *threads[OWNERS];

    g_setenv("VDPA_TRACKER_RUNTIME_DIR", dir, TRUE);
    for (unsigned i = 0; i < OWNERS; i++)
        threads[i] = g_thread_new("owner", own_in_turn, NULL);
    for (unsigned i = 0; i < OWNERS; i++)
        g_thread_join(threads[i]);
    cr_expect_eq(met, 0);
    g_rmdir(dir);
}
