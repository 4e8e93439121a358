/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "daemon/listener.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"

VDT_SUITE(listener);

struct stand {
    GMainContext *context;
    char *dir, *path;
    int clients, last;
};

static void
init(struct stand *stand)
{
    *stand = (struct stand){.last = -1};
    stand->context = g_main_context_new();
    stand->dir = g_dir_make_tmp("vdt-XXXXXX", NULL);
    stand->path = g_build_filename(stand->dir, "s", NULL);
}

static void
clear(struct stand *stand)
{
    vdt_close(stand->last);
    g_unlink(stand->path);
    g_rmdir(stand->dir);
    g_free(stand->dir);
    g_free(stand->path);
    g_main_context_unref(stand->context);
}

static void
connected(void *ctx, int fd)
{
    struct stand *stand = ctx;

    stand->clients++;
    vdt_close(stand->last);
    stand->last = fd;
}

static void
turn(struct stand *stand)
{
    for (int i = 0; i < 20; i++)
        g_main_context_iteration(stand->context, FALSE);
}

static int
dial(const struct stand *stand)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(addr.sun_path, stand->path, sizeof(addr.sun_path));
    cr_assert_eq(connect(fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
    return fd;
}

Test(listener, second_client_waits_for_the_first_to_go)
{
    struct stand stand;
    struct stat st;

    init(&stand);
    struct vdt_listener *listener =
        vdt_listener_new(stand.path, stand.context, connected, &stand, NULL);
    cr_assert(listener);
    cr_assert_eq(stat(stand.path, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0660);
    int first = dial(&stand);
    int second = dial(&stand);
    turn(&stand);
    cr_assert_eq(stand.clients, 1);
    cr_assert(vdt_listener_next(listener));
    turn(&stand);
    cr_assert_eq(stand.clients, 2);
    vdt_close(first);
    vdt_close(second);
    vdt_listener_free(listener);
    cr_assert_neq(access(stand.path, F_OK), 0);
    clear(&stand);
}

Test(listener, client_that_cannot_be_taken_is_taken_later_and_no_busy_loop_until_then)
{
    struct stand stand;
    struct rlimit limit, none;

    init(&stand);
    struct vdt_listener *listener =
        vdt_listener_new(stand.path, stand.context, connected, &stand, NULL);
    int client = dial(&stand);

    getrlimit(RLIMIT_NOFILE, &limit);
    none = limit;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    turn(&stand);
    cr_expect_eq(stand.clients, 0);
    cr_expect_not(g_main_context_pending(stand.context), "it hears of the client all the time");
    setrlimit(RLIMIT_NOFILE, &limit);
    for (int64_t end = g_get_monotonic_time() + 5 * G_USEC_PER_SEC;
         stand.clients == 0 && g_get_monotonic_time() < end; g_usleep(1000))
        turn(&stand);
    cr_expect_eq(stand.clients, 1);
    vdt_close(client);
    vdt_listener_free(listener);
    clear(&stand);
}

Test(listener, stale_socket_is_replaced_and_a_living_one_is_not)
{
    struct stand stand;
    g_autoptr(GError) error = NULL;

    init(&stand);
    struct vdt_listener *first =
        vdt_listener_new(stand.path, stand.context, connected, &stand, NULL);
    cr_assert_null(vdt_listener_new(stand.path, stand.context, connected, &stand, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_BUSY));
    vdt_listener_free(first);

    /* Left by a process that died: bound, nobody listens. */
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    VDT_AUTO_FD dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_strlcpy(addr.sun_path, stand.path, sizeof(addr.sun_path));
    cr_assert_eq(bind(dead, (struct sockaddr *) &addr, sizeof(addr)), 0);
    VDT_AUTO(listener) again = vdt_listener_new(stand.path, stand.context, connected, &stand, NULL);
    cr_assert(again);
    clear(&stand);
}

Test(listener, file_in_the_way_is_not_removed)
{
    struct stand stand;
    g_autoptr(GError) error = NULL;

    init(&stand);
    cr_assert(g_file_set_contents(stand.path, "x", 1, NULL));
    cr_assert_null(vdt_listener_new(stand.path, stand.context, connected, &stand, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_USAGE));
    cr_assert_eq(access(stand.path, F_OK), 0);
    clear(&stand);
}

Test(listener, connected_descriptor_is_handed_over_once)
{
    struct stand stand;
    int ends[2];

    init(&stand);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    struct vdt_listener *listener =
        vdt_listener_from_fd(ends[0], stand.context, connected, &stand, NULL);
    cr_assert_eq(stand.clients, 0);
    turn(&stand);
    cr_assert_eq(stand.clients, 1);
    cr_assert(!vdt_listener_next(listener));
    vdt_listener_free(listener);
    vdt_close(ends[1]);
    clear(&stand);
}

Test(listener, descriptor_that_is_no_socket_is_refused)
{
    struct stand stand;
    g_autoptr(GError) error = NULL;

    init(&stand);
    cr_assert_null(
        vdt_listener_from_fd(vdt_eventfd(NULL), stand.context, connected, &stand, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_USAGE));
    clear(&stand);
}

Test(listener, path_that_is_too_long_is_refused)
{
    struct stand stand;
    g_autoptr(GError) error = NULL;
    g_autofree char *name = g_strnfill(150, 'a');

    init(&stand);
    g_autofree char *path = g_build_filename(stand.dir, name, NULL);
    cr_assert_null(vdt_listener_new(path, stand.context, connected, &stand, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_USAGE));
    clear(&stand);
}

Test(listener, dials_until_somebody_listens_and_again_when_he_has_gone)
{
    struct stand stand;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    init(&stand);
    g_strlcpy(addr.sun_path, stand.path, sizeof(addr.sun_path));
    struct vdt_listener *dialer =
        vdt_listener_dial(stand.path, stand.context, connected, &stand, NULL);
    cr_assert(dialer);
    turn(&stand);
    cr_expect_eq(stand.clients, 0, "nobody is there");
    for (int n = 1; n <= 2; n++) {
        VDT_AUTO_FD server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        cr_assert_eq(bind(server, (struct sockaddr *) &addr, sizeof(addr)), 0);
        cr_assert_eq(listen(server, 1), 0);
        for (int i = 0; i < 500 && stand.clients < n; i++) {
            g_main_context_iteration(stand.context, FALSE);
            g_usleep(2000);
        }
        cr_assert_eq(stand.clients, n);
        turn(&stand);
        cr_expect_eq(stand.clients, n, "one at a time");
        g_unlink(stand.path);
        cr_assert(vdt_listener_next(dialer));
    }
    vdt_listener_free(dialer);
    clear(&stand);
}
