/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "daemon/runtime.h"

#include <glib/gstdio.h>

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
