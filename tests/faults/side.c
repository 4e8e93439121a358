/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "side.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"

#define STEP_US 500

/* In the background, its output appended to @log. */
static pid_t
spawn(struct supervise *supervise, char **argv, const char *log, GError **error)
{
    VDT_AUTO_FD fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    if (supervise) {
        supervise->argv = argv;
        supervise->log = fd;
        return supervise_start(supervise, error) ? supervise->pid : -1;
    }
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        execv(argv[0], argv);
        _exit(127);
    }
    if (pid < 0)
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot start %s: %s", argv[0],
                    g_strerror(errno));
    return pid;
}

/* Within SIDE_WAIT_MS. */
static bool
reap(pid_t pid, int *ret_status)
{
    int64_t end = g_get_monotonic_time() + SIDE_WAIT_MS * 1000;

    while (waitpid(pid, ret_status, WNOHANG) == 0) {
        if (g_get_monotonic_time() > end) {
            kill(pid, SIGKILL);
            waitpid(pid, ret_status, 0);
            return false;
        }
        g_usleep(STEP_US);
    }
    return true;
}

bool
side_start(struct side *side, GError **error)
{
    g_autofree char *log = g_strdup_printf("%s/%s.log", side->dir, side->name);
    char *argv[] = {(char *) side->exe,
                    (char *) "run",
                    (char *) "--name",
                    (char *) side->name,
                    (char *) "--device",
                    (char *) side->device,
                    (char *) "--shadow",
                    (char *) "always",
                    (char *) "--deadline",
                    (char *) "500",
                    NULL};

    side->pid = spawn(side->supervise, argv, log, error);
    side->running = side->pid > 0;
    return side->running;
}

bool
side_alive(struct side *side)
{
    if (side->running && waitpid(side->pid, &side->status, WNOHANG) == side->pid)
        side->running = false;
    return side->running;
}

static GPtrArray *
list_fds(const struct side *side)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", side->pid);
    GDir *dir = g_dir_open(path, 0, NULL);
    GPtrArray *list = g_ptr_array_new_with_free_func(g_free);

    for (const char *name; dir && (name = g_dir_read_name(dir));) {
        g_autofree char *link = g_build_filename(path, name, NULL);
        char *what = g_file_read_link(link, NULL);

        if (what)
            g_ptr_array_add(list, what);
    }
    if (dir)
        g_dir_close(dir);
    return list;
}

bool
side_ready(struct side *side, GError **error)
{
    g_autofree char *socket = g_strdup_printf("%s/%s.sock", side->dir, side->name);
    int64_t end = g_get_monotonic_time() + SIDE_WAIT_MS * 1000;

    while (access(socket, F_OK) != 0) {
        if (!side_alive(side) || g_get_monotonic_time() > end) {
            g_set_error(error, VDT_ERROR, side->running ? VDT_ERROR_TIMEOUT : VDT_ERROR_FAILED,
                        "tracker %s %s", side->name,
                        side->running ? "does not come up" : "ended at its start");
            return false;
        }
        g_usleep(STEP_US);
    }
    return true;
}

bool
side_connect(struct side *side, GError **error)
{
    g_autofree char *socket = g_strdup_printf("%s/%s.sock", side->dir, side->name);

    side->connected = vdt_vmm_connect(&side->vmm, socket, side->ram, SIDE_WAIT_MS, error);
    return side->connected;
}

void
side_disconnect(struct side *side)
{
    vdt_vmm_clear(&side->vmm);
    side->connected = false;
}

unsigned
side_fds(struct side *side, char **ret_list)
{
    int64_t end = g_get_monotonic_time() + G_USEC_PER_SEC / (side->fds_max ? 1 : 20);

    for (;;) {
        g_autoptr(GPtrArray) fds = list_fds(side);
        unsigned n = fds->len;

        if (n <= side->fds_max || g_get_monotonic_time() > end) {
            g_ptr_array_add(fds, NULL);
            *ret_list = g_strjoinv(" ", (char **) fds->pdata);
            return n;
        }
        g_usleep(2000);
    }
}

bool
side_end(struct side *side)
{
    if (!side_alive(side))
        return true;
    kill(side->pid, SIGTERM);
    side->running = false;
    return reap(side->pid, &side->status);
}

bool
side_command(struct supervise *supervise, char **argv, const char *log, int *ret_status,
             GError **error)
{
    pid_t pid = spawn(supervise, argv, log, error);

    return pid > 0 && reap(pid, ret_status);
}
