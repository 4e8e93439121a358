/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/tracker_unit.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "daemon/runtime.h"
#include "tools/vdpa-tracker/client.h"
#include "tools/vdpa-tracker/verb.h"

#define STEP_US 10000
#define SYSTEMCTL_MS 2000u

enum vdt_unit_way
vdt_unit_way_of_host(void)
{
    return g_file_test("/run/systemd/system", G_FILE_TEST_IS_DIR) ? VDT_UNIT_SYSTEMD
                                                                  : VDT_UNIT_FORK;
}

pid_t
vdt_unit_pid(const char *name)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct ucred peer;
    socklen_t len = sizeof peer;
    g_autofree char *path = vdt_runtime_path(name, ".ctl");
    VDT_AUTO_FD fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0 || g_strlcpy(addr.sun_path, path, sizeof addr.sun_path) >= sizeof addr.sun_path ||
        connect(fd, (struct sockaddr *) &addr, sizeof addr) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return 0;
    return peer.pid;
}

static bool
is_ready(const char *name)
{
    g_autofree char *status = NULL;
    g_autoptr(VdtTracker1) tracker = vdt_unit_pid(name) ? vdt_client_new(name, NULL) : NULL;

    return tracker && vdt_tracker1_call_status_sync(tracker, &status, NULL, NULL);
}

/* Waits for @pid to end; *ret_code is its exit code, 1 for a signal. */
static bool
has_ended(pid_t pid, unsigned wait_ms, int *ret_code)
{
    gint64 end = g_get_monotonic_time() + wait_ms * G_TIME_SPAN_MILLISECOND;
    int status = 0;

    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (g_get_monotonic_time() >= end)
            return false;
        g_usleep(STEP_US);
    }
    *ret_code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    return true;
}

/* In the child, between fork and exec. */
static void
go_alone(gpointer log)
{
    setsid();
    dup2(GPOINTER_TO_INT(log), STDERR_FILENO);
}

static pid_t
spawn(const char *const *argv, const char *log_path, GError **error)
{
    GPid pid = 0;
    VDT_AUTO_FD log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);

    if (log < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot write %s: %s", log_path,
                    g_strerror(errno));
        return 0;
    }
    if (!g_spawn_async("/", (char **) argv, NULL,
                       G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL,
                       go_alone, GINT_TO_POINTER(log), &pid, error))
        return 0;
    return pid;
}

/* The last line of its log is the message that it ended with. */
static bool
tell_end(const char *name, const char *log_path, int code, GError **error)
{
    static const char prefix[] = "vdpa-tracker: ";
    g_autofree char *text = NULL;

    g_file_get_contents(log_path, &text, NULL, NULL);
    const char *line = text ? strrchr(g_strchomp(text), '\n') : NULL;
    line = line ? line + 1 : text;
    if (line && g_str_has_prefix(line, prefix))
        line += strlen(prefix);
    g_set_error(error, VDT_ERROR, code == VDT_EXIT_REFUSED ? VDT_ERROR_REFUSED : VDT_ERROR_FAILED,
                "tracker %s did not start: %s", name, line && *line ? line : "it left no word");
    return false;
}

static bool
too_late(const char *name, unsigned wait_ms, GError **error)
{
    g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED,
                "tracker %s was not ready within %u ms and is not waited for", name, wait_ms);
    return false;
}

static bool
start_forked(const char *name, const char *const *options, unsigned wait_ms, GError **error)
{
    g_autofree char *log = vdt_runtime_path(name, ".log");
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    gint64 end = g_get_monotonic_time() + wait_ms * G_TIME_SPAN_MILLISECOND;
    int code;

    g_ptr_array_add(argv, (gpointer) "/proc/self/exe");
    g_ptr_array_add(argv, (gpointer) "run");
    g_ptr_array_add(argv, (gpointer) "--name");
    g_ptr_array_add(argv, (gpointer) name);
    for (unsigned i = 0; options[i]; i++)
        g_ptr_array_add(argv, (gpointer) options[i]);
    g_ptr_array_add(argv, NULL);
    pid_t pid = spawn((const char *const *) argv->pdata, log, error);
    if (!pid)
        return false;
    while (!is_ready(name)) {
        if (has_ended(pid, 0, &code))
            return tell_end(name, log, code, error);
        if (g_get_monotonic_time() >= end) {
            kill(-pid, SIGKILL);
            has_ended(pid, SYSTEMCTL_MS, &code);
            return too_late(name, wait_ms, error);
        }
        g_usleep(STEP_US);
    }
    return true;
}

/* systemctl(1) itself does not wait: that would have no bound. */
static bool
systemctl(const char *verb, const char *name, GError **error)
{
    g_autofree char *unit = g_strdup_printf("vdpa-tracker@%s.service", name);
    g_autofree char *log = vdt_runtime_path(name, ".log");
    const char *argv[] = {"systemctl", "--no-block", verb, unit, NULL};
    pid_t pid = spawn(argv, log, error);
    int code;

    if (!pid)
        return false;
    if (!has_ended(pid, SYSTEMCTL_MS, &code)) {
        kill(-pid, SIGKILL);
        has_ended(pid, SYSTEMCTL_MS, &code);
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "systemctl %s %s does not answer", verb,
                    unit);
        return false;
    }
    return code == 0 || tell_end(name, log, code, error);
}

/* EnvironmentFile= of the unit, which cuts the words at blanks. */
static bool
write_environment(const char *name, const char *const *options, GError **error)
{
    g_autofree char *path = vdt_runtime_path(name, ".env");
    g_autofree char *words = g_strjoinv(" ", (char **) options);

    for (unsigned i = 0; options[i]; i++) {
        if (strpbrk(options[i], " \t\n\"'\\$%")) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE,
                        "tracker %s: '%s' cannot be said in a systemd unit", name, options[i]);
            return false;
        }
    }
    g_autofree char *text = g_strdup_printf("VDPA_TRACKER_OPTIONS=%s\n", words);
    return g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, error);
}

static bool
start_unit(const char *name, const char *const *options, unsigned wait_ms, GError **error)
{
    gint64 end = g_get_monotonic_time() + wait_ms * G_TIME_SPAN_MILLISECOND;

    if (!write_environment(name, options, error) || !systemctl("start", name, error))
        return false;
    while (!is_ready(name)) {
        if (g_get_monotonic_time() >= end) {
            systemctl("stop", name, NULL);
            too_late(name, wait_ms, error);
            g_prefix_error(error, "(journalctl -u vdpa-tracker@%s says more) ", name);
            return false;
        }
        g_usleep(STEP_US);
    }
    return true;
}

bool
vdt_unit_start(enum vdt_unit_way way, const char *name, const char *const *options,
               unsigned wait_ms, GError **error)
{
    if (!vdt_runtime_name_valid(name, error) || !vdt_runtime_dir_make(error))
        return false;
    return way == VDT_UNIT_SYSTEMD ? start_unit(name, options, wait_ms, error)
                                   : start_forked(name, options, wait_ms, error);
}

static bool
is_gone(const char *name, gint64 end)
{
    while (vdt_unit_pid(name)) {
        if (g_get_monotonic_time() >= end)
            return false;
        g_usleep(STEP_US);
    }
    return true;
}

static bool
end_forked(const char *name, unsigned wait_ms, GError **error)
{
    gint64 now = g_get_monotonic_time();
    pid_t pid = vdt_unit_pid(name);

    if (!pid)
        return true;
    kill(pid, SIGTERM);
    if (is_gone(name, now + wait_ms * G_TIME_SPAN_MILLISECOND))
        return true;
    kill(pid, SIGKILL);
    if (is_gone(name, now + 2 * wait_ms * G_TIME_SPAN_MILLISECOND))
        return true;
    g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "tracker %s (process %d) does not end", name,
                (int) pid);
    return false;
}

bool
vdt_unit_stop(enum vdt_unit_way way, const char *name, unsigned wait_ms, GError **error)
{
    static const char *const left[] = {".log", ".env", ".baseline"};

    if (!vdt_runtime_name_valid(name, error))
        return false;
    /* Told first, or it would start the tracker again. One that is no unit ends as the other way.
     */
    if (way == VDT_UNIT_SYSTEMD && systemctl("stop", name, NULL))
        is_gone(name, g_get_monotonic_time() + wait_ms * G_TIME_SPAN_MILLISECOND);
    if (!end_forked(name, wait_ms, error))
        return false;
    for (unsigned i = 0; i < G_N_ELEMENTS(left); i++) {
        g_autofree char *path = vdt_runtime_path(name, left[i]);
        unlink(path);
    }
    return true;
}
