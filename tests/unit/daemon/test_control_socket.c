/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "daemon/control_socket.h"

#include <glib/gstdio.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fd.h"

TestSuite(control_socket, .fini = vdt_test_check_leaks, .timeout = 60);

#define STRANGERS 64 /* as many as are heard at a time */

struct stand {
    char *dir, *path;
    struct vdt_control_socket *socket;
    unsigned clients;
    bool met, refuse;
    GDBusConnection *connection; /* the client's end */
    bool answered;
};

static bool
on_client(void *ctx, GDBusConnection *connection)
{
    struct stand *stand = ctx;

    stand->clients++;
    stand->met = true;
    return !stand->refuse;
}

static void
init(struct stand *stand, unsigned patience_ms)
{
    g_autoptr(GError) error = NULL;

    *stand = (struct stand){.dir = g_dir_make_tmp("vdt-XXXXXX", NULL)};
    stand->path = g_build_filename(stand->dir, "s.ctl", NULL);
    stand->socket = vdt_control_socket_new(stand->path, patience_ms, on_client, stand, &error);
    cr_assert(stand->socket, "%s", error ? error->message : "");
}

static void
clear(struct stand *stand)
{
    vdt_control_socket_free(stand->socket);
    cr_expect_neq(access(stand->path, F_OK), 0);
    cr_expect_eq(g_rmdir(stand->dir), 0, "something is left");
    g_free(stand->dir);
    g_free(stand->path);
}

/* Until @done, or for ten seconds. */
static bool
turn_until(const bool *done)
{
    for (int64_t end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
         !*done && g_get_monotonic_time() < end;) {
        if (!g_main_context_iteration(NULL, FALSE))
            g_usleep(1000);
    }
    return *done;
}

static int
dial(const struct stand *stand)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(addr.sun_path, stand->path, sizeof(addr.sun_path));
    cr_assert_eq(connect(fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
    for (unsigned i = 0; i < 5; i++)
        g_main_context_iteration(NULL, FALSE);
    return fd;
}

static bool
hung_up(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLRDHUP};

    return poll(&pollfd, 1, 0) == 1;
}

static bool
await_end(int fd)
{
    bool done = false;

    for (int64_t end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
         !done && g_get_monotonic_time() < end; done = hung_up(fd)) {
        if (!g_main_context_iteration(NULL, FALSE))
            g_usleep(1000);
    }
    return done;
}

static void
on_connected(GObject *source, GAsyncResult *result, gpointer data)
{
    struct stand *stand = data;

    stand->connection = g_dbus_connection_new_for_address_finish(result, NULL);
    stand->answered = true;
}

/* A client that does as it should; false if it is turned away. */
static bool
call(struct stand *stand)
{
    g_autofree char *address = g_strdup_printf("unix:path=%s", stand->path);

    stand->answered = false;
    g_dbus_connection_new_for_address(address, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT, NULL,
                                      NULL, on_connected, stand);
    cr_assert(turn_until(&stand->answered), "a client waits for ever");
    if (!stand->connection)
        return false;
    g_dbus_connection_close_sync(stand->connection, NULL, NULL);
    g_clear_object(&stand->connection);
    return true;
}

Test(control_socket, our_own_user_is_let_in_and_no_group)
{
    struct stand stand;
    struct stat st;

    init(&stand, 5000);
    cr_assert_eq(stat(stand.path, &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0600);
    cr_expect(call(&stand));
    cr_expect(turn_until(&stand.met));
    cr_expect_eq(stand.clients, 1);
    clear(&stand);
}

Test(control_socket, who_says_nothing_is_let_go_after_a_while)
{
    struct stand stand;

    init(&stand, 300);
    int silent = dial(&stand), slow = dial(&stand);
    cr_assert_eq(write(slow, "\0AUTH EXTERNAL 30\r\n", 19), 19);
    cr_expect_not(hung_up(silent));
    cr_expect(await_end(silent));
    cr_expect(await_end(slow));
    cr_expect_eq(stand.clients, 0);
    cr_expect(call(&stand));
    vdt_close(silent);
    vdt_close(slow);
    clear(&stand);
}

Test(control_socket, more_than_so_many_strangers_are_turned_away)
{
    struct stand stand;
    int strangers[STRANGERS];

    init(&stand, 60000);
    for (unsigned i = 0; i < STRANGERS; i++)
        strangers[i] = dial(&stand);
    int late = dial(&stand);
    cr_expect(await_end(late));
    cr_expect_not(call(&stand));
    for (unsigned i = 0; i < STRANGERS; i++)
        cr_expect_not(hung_up(strangers[i]), "%u", i);
    vdt_close(strangers[7]);
    bool in = false;
    for (unsigned i = 0; i < 50 && !in; i++)
        in = call(&stand);
    cr_expect(in, "there is room again");
    vdt_close(late);
    int64_t began = g_get_monotonic_time();
    clear(&stand);
    cr_expect_lt(g_get_monotonic_time() - began, 10 * G_USEC_PER_SEC, "it waits for strangers");
    for (unsigned i = 0; i < STRANGERS; i++)
        vdt_close(i == 7 ? -1 : strangers[i]);
}

/* GDBusServer hears of such a client all the time, and says so each time. */
Test(control_socket, without_a_descriptor_left_nothing_runs_in_circles)
{
    struct stand stand;
    struct rlimit limit, none;

    init(&stand, 5000);
    getrlimit(RLIMIT_NOFILE, &limit);
    none = limit;
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_strlcpy(addr.sun_path, stand.path, sizeof(addr.sun_path));
    cr_assert_eq(connect(fd, (struct sockaddr *) &addr, sizeof(addr)), 0);
    /* Each below the last of these is taken; with a limit of 0 poll() would fail as well. */
    int fill[20];
    for (unsigned i = 0; i < G_N_ELEMENTS(fill); i++)
        fill[i] = dup(fd);
    none.rlim_cur = (rlim_t) fill[G_N_ELEMENTS(fill) - 1] + 1;
    setrlimit(RLIMIT_NOFILE, &none);
    for (unsigned i = 0; i < 20; i++)
        g_main_context_iteration(NULL, FALSE);
    cr_expect_not(g_main_context_pending(NULL));
    setrlimit(RLIMIT_NOFILE, &limit);
    for (unsigned i = 0; i < G_N_ELEMENTS(fill); i++)
        vdt_close(fill[i]);
    cr_expect(call(&stand));
    vdt_close(fd);
    clear(&stand);
}

Test(control_socket, client_that_nobody_wants_is_let_go)
{
    struct stand stand;

    init(&stand, 5000);
    stand.refuse = true;
    int fd = dial(&stand);
    g_autofree char *uid = g_strdup_printf("%u", (unsigned) getuid());
    GString *auth = g_string_new(NULL);
    g_string_append_len(auth, "\0AUTH EXTERNAL ", 15);
    for (const char *c = uid; *c; c++)
        g_string_append_printf(auth, "%02x", (unsigned) *c);
    g_string_append(auth, "\r\nBEGIN\r\n");
    cr_assert_eq(write(fd, auth->str, auth->len), (ssize_t) auth->len);
    g_string_free(auth, TRUE);
    cr_expect(await_end(fd));
    cr_expect_eq(stand.clients, 1);
    vdt_close(fd);
    clear(&stand);
}
