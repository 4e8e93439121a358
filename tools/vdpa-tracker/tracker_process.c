/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/tracker_process.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "daemon/runtime.h"
#include "tools/vdpa-tracker/client.h"

#define END_MS 5000
#define LOG_TAIL 2000u

/* In the child, between fork and exec. */
static void
prepare(gpointer log)
{
    sigset_t none;

    /* Ours may be blocked: the child has to end by them. */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(GPOINTER_TO_INT(log), STDOUT_FILENO);
    dup2(GPOINTER_TO_INT(log), STDERR_FILENO);
}

struct vdt_tracker_process *
vdt_tracker_process_start(const char *name, const char *device, const char *shadow,
                          const char *features_from, GError **error)
{
    struct vdt_tracker_process *process = g_new0(struct vdt_tracker_process, 1);
    const char *argv[] = {"/proc/self/exe",
                          "run",
                          "--name",
                          name,
                          "--device",
                          device,
                          "--shadow",
                          shadow,
                          features_from ? "--features-from" : NULL,
                          features_from,
                          NULL};

    process->name = g_strdup(name);
    process->socket = vdt_runtime_path(name, ".sock");
    process->log = vdt_runtime_path(name, ".log");
    VDT_AUTO_FD log = open(process->log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (log >= 0 && g_spawn_async(NULL, (char **) argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, prepare,
                                  GINT_TO_POINTER(log), &process->pid, error))
        return process;
    if (log < 0)
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot write %s: %s", process->log,
                    g_strerror(errno));
    process->pid = 0;
    vdt_tracker_process_free(process);
    return NULL;
}

static bool
ended(struct vdt_tracker_process *process)
{
    if (process->pid && waitpid(process->pid, NULL, WNOHANG) == process->pid)
        process->pid = 0;
    return process->pid == 0;
}

void
vdt_tracker_process_free(struct vdt_tracker_process *process)
{
    if (!process)
        return;
    if (!ended(process))
        kill(process->pid, SIGTERM);
    for (unsigned ms = 0; ms < END_MS && !ended(process); ms += 5)
        g_usleep(5000);
    if (!ended(process)) {
        kill(process->pid, SIGKILL);
        waitpid(process->pid, NULL, 0);
    }
    g_free(process->name);
    g_free(process->socket);
    g_free(process->log);
    g_free(process);
}

char *
vdt_tracker_process_log(const struct vdt_tracker_process *process)
{
    g_autofree char *text = NULL;
    gsize len = 0;

    if (!g_file_get_contents(process->log, &text, &len, NULL) || len == 0)
        return g_strdup("it left no word");
    return g_strdup(g_strchomp(len > LOG_TAIL ? text + len - LOG_TAIL : text));
}

bool
vdt_tracker_process_alive(struct vdt_tracker_process *process, GError **error)
{
    if (!ended(process))
        return true;
    g_autofree char *log = vdt_tracker_process_log(process);
    g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "tracker %s has ended: %s", process->name, log);
    return false;
}

JsonNode *
vdt_tracker_process_status(const struct vdt_tracker_process *process, GError **error)
{
    g_autofree char *text = NULL;
    g_autoptr(VdtTracker1) tracker = vdt_client_new(process->name, error);

    if (!tracker || !vdt_tracker1_call_status_sync(tracker, &text, NULL, error))
        return NULL;
    return vdt_client_json(text, error);
}
