/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/uml_machine.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"

#define PROGRAM "linux.uml"
#define MODULES "/usr/lib/uml/modules"
#define COMMAND_S 30u
#define OFF_MS 20000
#define LINE_FD 9 /* its serial line, as the kernel's arguments say */
#define ECHO_FD 8

static const char script[] =
#include "uml_guest.h"
    ;

/* In the child, between fork and exec. Whatever it starts is of its group. */
static void
prepare(gpointer unused)
{
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* The folder of the newest kernel's modules; caller frees. */
static char *
modules_of_kernel(GError **error)
{
    g_autoptr(GDir) dir = g_dir_open(MODULES, 0, NULL);
    g_autofree char *newest = NULL;
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        if (!newest || strverscmp(name, newest) > 0) {
            g_free(newest);
            newest = g_strdup(name);
        }
    }
    if (newest)
        return g_build_filename(MODULES, newest, NULL);
    g_set_error_literal(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                        "there are no modules for User-Mode Linux in " MODULES
                        " (Debian's package user-mode-linux has program and modules)");
    return NULL;
}

static char *
in(const struct vdt_uml_machine *machine, const char *name)
{
    return g_build_filename(machine->dir, name, NULL);
}

struct vdt_uml_machine *
vdt_uml_machine_new(const char *dir)
{
    struct vdt_uml_machine *machine = g_new0(struct vdt_uml_machine, 1);

    machine->dir = g_strdup(dir);
    machine->line = -1;
    return machine;
}

static bool
spawn(struct vdt_uml_machine *machine, const char *socket, GError **error)
{
    g_autofree char *program = g_find_program_in_path(PROGRAM);
    g_autofree char *modules = program ? modules_of_kernel(error) : NULL;
    g_autofree char *tmp = g_strdup_printf("TMPDIR=%s", machine->dir);
    g_autofree char *home = g_strdup_printf("HOME=%s", machine->dir);
    g_autofree char *init = g_strdup_printf("init=%s/init", machine->dir);
    g_autofree char *share = g_strdup_printf("GUEST_DIR=%s/share", machine->dir);
    g_autofree char *own = g_strdup_printf("uml_dir=%s", machine->dir);
    g_autofree char *of_kernel = g_strdup_printf("GUEST_MODULES=%s", modules);
    g_autofree char *nic = g_strdup_printf("virtio_uml.device=%s:1", socket);
    g_autofree char *log_path = in(machine, "log");
    const char *argv[] = {program,
                          "mem=192M",
                          "root=/dev/root",
                          "rootfstype=hostfs",
                          "rootflags=/",
                          "ro",
                          init,
                          share,
                          of_kernel,
                          own,
                          "umid=guest",
                          "con=null",
                          "con0=null,fd:1",
                          "ssl0=fd:9,fd:8",
                          "quiet",
                          nic,
                          NULL};
    const char *envp[] = {tmp, home, "PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};

    if (!program)
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                            "there is no " PROGRAM " here (Debian's package user-mode-linux)");
    if (!modules)
        return false;
    VDT_AUTO_FD log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    VDT_AUTO_FD null = open("/dev/null", O_RDWR | O_CLOEXEC);
    const int from[] = {machine->line, null}, to[] = {LINE_FD, ECHO_FD};
    return g_spawn_async_with_pipes_and_fds(NULL, argv, envp, G_SPAWN_DO_NOT_REAP_CHILD, prepare,
                                            NULL, null, log, log, from, to, 2, &machine->pid, NULL,
                                            NULL, NULL, error);
}

static bool
ended(struct vdt_uml_machine *machine)
{
    if (machine->pid && waitpid(machine->pid, NULL, WNOHANG) == machine->pid)
        machine->pid = 0;
    return machine->pid == 0;
}

/* Until the file is there. */
static bool
wait_for_file(struct vdt_uml_machine *machine, const char *path, unsigned seconds)
{
    int64_t end = g_get_monotonic_time() + (int64_t) seconds * G_USEC_PER_SEC;

    while (!g_file_test(path, G_FILE_TEST_EXISTS)) {
        if (ended(machine) || g_get_monotonic_time() > end)
            return false;
        g_usleep(10000);
    }
    return true;
}

bool
vdt_uml_machine_start(struct vdt_uml_machine *machine, const char *socket, unsigned seconds,
                      GError **error)
{
    g_autofree char *share = in(machine, "share"), *init = in(machine, "init");
    g_autofree char *line = in(machine, "line"), *log = in(machine, "log");
    g_autofree char *ready = in(machine, "share/ready"), *said = NULL;

    if (g_mkdir(machine->dir, 0700) != 0 || g_mkdir(share, 0700) != 0 || mkfifo(line, 0600) != 0 ||
        (machine->line = open(line, O_RDWR | O_CLOEXEC)) < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED,
                    "cannot make what a machine needs in %s: %s", machine->dir, g_strerror(errno));
        return false;
    }
    if (!g_file_set_contents(init, script, -1, error) || g_chmod(init, 0700) != 0 ||
        !spawn(machine, socket, error))
        return false;
    if (wait_for_file(machine, ready, seconds))
        return true;
    g_file_get_contents(log, &said, NULL, NULL);
    g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, PROGRAM " %s: %s",
                machine->pid ? "does not come up" : "has ended",
                said && *said ? g_strchomp(said) : "it says nothing");
    return false;
}

void
vdt_uml_machine_kill(struct vdt_uml_machine *machine)
{
    if (machine->pid <= 0)
        return;
    kill(-machine->pid, SIGKILL);
    waitpid(machine->pid, NULL, 0);
    machine->pid = 0;
}

bool
vdt_uml_machine_end(struct vdt_uml_machine *machine)
{
    bool off = true;

    if (!machine)
        return true;
    if (!ended(machine)) {
        vdt_uml_machine_begin(machine, "echo o >/proc/sysrq-trigger");
        for (unsigned ms = 0; ms < OFF_MS && !ended(machine); ms += 10)
            g_usleep(10000);
        off = ended(machine);
        vdt_uml_machine_kill(machine);
    }
    if (machine->line >= 0)
        close(machine->line);
    g_free(machine->dir);
    g_free(machine);
    return off;
}

unsigned
vdt_uml_machine_begin(struct vdt_uml_machine *machine, const char *command)
{
    unsigned job = ++machine->jobs;
    g_autofree char *name = g_strdup_printf("share/%u.sh", job);
    g_autofree char *path = in(machine, name);
    g_autofree char *line = g_strdup_printf("%u\n", job);

    /* What cannot be written is not answered either. */
    if (g_file_set_contents(path, command, -1, NULL) &&
        write(machine->line, line, strlen(line)) < 0)
        g_unlink(path);
    return job;
}

static char *
read_of(struct vdt_uml_machine *machine, unsigned job, const char *what)
{
    g_autofree char *name = g_strdup_printf("share/%u.%s", job, what);
    g_autofree char *path = in(machine, name);
    char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? g_strchomp(text) : g_strdup("");
}

char *
vdt_uml_machine_finish(struct vdt_uml_machine *machine, unsigned job, unsigned seconds,
                       GError **error)
{
    g_autofree char *name = g_strdup_printf("share/%u.code", job);
    g_autofree char *path = in(machine, name);
    g_autofree char *code = NULL, *err = NULL;

    if (!wait_for_file(machine, path, seconds)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_TIMEOUT, "the guest %s",
                    machine->pid ? "does not answer" : "has ended");
        return NULL;
    }
    code = read_of(machine, job, "code");
    if (g_str_equal(code, "0"))
        return read_of(machine, job, "out");
    err = read_of(machine, job, "err");
    g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "in the guest: %s (exit code %s)",
                *err ? err : "it failed", code);
    return NULL;
}

char *
vdt_uml_machine_run(struct vdt_uml_machine *machine, const char *command, GError **error)
{
    return vdt_uml_machine_finish(machine, vdt_uml_machine_begin(machine, command), COMMAND_S,
                                  error);
}
