/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/log.h"
#include "config.h"
#include "daemon/control_interface.h"
#include "daemon/last_call.h"
#include "daemon/listener.h"
#include "daemon/runtime.h"

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

/* systemd and people expect SIGTERM to be heeded within two seconds. */
#define PATIENCE_MS 1500

struct daemon {
    const char *name;
    int lock; /* owned */
    GMainLoop *loop;
    struct vdt_nic *nic;
    struct vdt_listener *listener;
    struct vdt_control_interface *control;
    struct vdt_last_call *last_call;
};

static void
tell_systemd(const char *state)
{
#ifdef HAVE_SYSTEMD
    sd_notify(0, state);
#endif
}

static void
on_ended(void *ctx, const GError *reason)
{
    struct daemon *daemon = ctx;

    if (reason)
        vdt_warning("the VMM's connection ended: %s", reason->message);
    else
        vdt_info("the VMM has disconnected");
    if (!vdt_listener_next(daemon->listener))
        g_main_loop_quit(daemon->loop);
}

static void
on_connected(void *ctx, int fd)
{
    struct daemon *daemon = ctx;

    vdt_info("a VMM has connected");
    vdt_nic_connect(daemon->nic, fd, on_ended, daemon);
}

static gboolean
on_signal(gpointer data)
{
    struct daemon *daemon = data;

    g_main_loop_quit(daemon->loop);
    return G_SOURCE_CONTINUE;
}

static bool
take_file(struct vdt_nic *nic, const char *path, GError **error)
{
    VDT_AUTO(snapshot) snapshot = vdt_snapshot_load(path, error);
    unsigned commands;

    return snapshot && vdt_nic_restore(nic, snapshot, &commands, error);
}

/* What a tracker before this one left must not be found by one after it. */
static void
forget_files(const struct vdt_nic_options *nic)
{
    if (unlink(nic->journal) == 0)
        vdt_warning("%s: the state of the guest before this start is thrown away", nic->name);
    unlink(nic->inflight);
}

static bool
set_up(struct daemon *daemon, const struct vdt_daemon_options *options, GError **error)
{
    struct vdt_nic_options nic = options->nic;
    g_autofree char *path = options->socket_path ? g_strdup(options->socket_path)
                                                 : vdt_runtime_path(options->name, ".sock");

    g_autofree char *journal = vdt_runtime_path(options->name, ".journal");
    g_autofree char *inflight = vdt_runtime_path(options->name, ".inflight");

    nic.name = options->name;
    nic.journal = journal;
    nic.inflight = inflight;
    if (!vdt_runtime_dir_make(error))
        return false;
    daemon->lock = vdt_runtime_lock(options->name, error);
    if (daemon->lock < 0)
        return false;
    struct vdt_device *dev = vdt_device_open(options->device, error);
    if (!dev)
        return false;
    if (options->no_recovery) {
        forget_files(&nic);
        nic.journal = nic.inflight = NULL;
    }
    daemon->nic = vdt_nic_new(dev, &nic, error);
    if (!daemon->nic || (options->restore && !take_file(daemon->nic, options->restore, error)))
        return false;
    daemon->control = vdt_control_interface_new(daemon->nic, options->name, error);
    if (!daemon->control)
        return false;
    g_autofree char *control = vdt_runtime_path(options->name, ".ctl");
    const char *paths[] = {control, options->fd >= 0 || options->connect ? NULL : path, NULL};
    daemon->last_call = vdt_last_call_new(PATIENCE_MS, paths);
    if (options->connect)
        daemon->listener = vdt_listener_dial(options->connect, NULL, on_connected, daemon, error);
    else if (options->fd >= 0)
        daemon->listener = vdt_listener_from_fd(options->fd, NULL, on_connected, daemon, error);
    else
        daemon->listener = vdt_listener_new(path, NULL, on_connected, daemon, error);
    if (!daemon->listener)
        return false;
    return options->connect || options->fd >= 0 ||
           vdt_socket_access_apply(&options->access, path, error);
}

static void
take_down(struct daemon *daemon)
{
    g_clear_pointer(&daemon->control, vdt_control_interface_free);
    g_clear_pointer(&daemon->listener, vdt_listener_free);
    g_clear_pointer(&daemon->nic, vdt_nic_free);
    g_clear_pointer(&daemon->last_call, vdt_last_call_free);
    g_clear_pointer(&daemon->loop, g_main_loop_unref);
    vdt_runtime_unlock(daemon->name, daemon->lock);
}

/* The parent waits in the foreground until the child is ready, and ends with its word: before any
 * thread is started. Returns the child's end of the pipe, or does not return. */
static int
go_behind(void)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    pid_t pid = fork();
    if (pid < 0)
        return -1;
    if (pid == 0) {
        vdt_close(ends[0]);
        setsid();
        return ends[1];
    }
    vdt_close(ends[1]);
    char ready = 0;
    ssize_t n;
    int status = 0;
    do {
        n = read(ends[0], &ready, 1);
    } while (n < 0 && errno == EINTR);
    if (n == 1)
        _exit(0);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    _exit(WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1);
}

static void
tell_parent(int fd)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    ssize_t n;

    do {
        n = write(fd, "r", 1);
    } while (n < 0 && errno == EINTR);
    if (n != 1)
        vdt_warning("whoever started this tracker does not wait for it any more");
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        vdt_close(null);
    }
    vdt_close(fd);
}

bool
vdt_daemon_run(const struct vdt_daemon_options *options, GError **error)
{
    struct daemon daemon = {.name = options->name, .lock = -1};
    int parent = -1;

    if (options->daemonize) {
        parent = go_behind();
        if (parent < 0) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "going to the background: %s",
                        g_strerror(errno));
            return false;
        }
    }
    signal(SIGPIPE, SIG_IGN);
    daemon.loop = g_main_loop_new(NULL, FALSE);
    guint term = g_unix_signal_add(SIGTERM, on_signal, &daemon);
    guint interrupt = g_unix_signal_add(SIGINT, on_signal, &daemon);
    guint hangup = g_unix_signal_add(SIGHUP, on_signal, &daemon);
    bool ok = set_up(&daemon, options, error);

    if (ok) {
        vdt_info("%s: ready with %s", options->name, vdt_nic_device_info(daemon.nic)->name);
        tell_systemd("READY=1");
        if (parent >= 0)
            tell_parent(vdt_steal_fd(&parent));
        g_main_loop_run(daemon.loop);
        tell_systemd("STOPPING=1");
    }
    take_down(&daemon);
    g_source_remove(term);
    g_source_remove(interrupt);
    g_source_remove(hangup);
    vdt_close(parent);
    return ok;
}
