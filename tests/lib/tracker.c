/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Trackers as processes, and the command line. */
#include <criterion/criterion.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/vm.h"

#define WAIT_US (10 * G_USEC_PER_SEC)

static char *runtime_dir;

const char *
vm_runtime_dir(void)
{
    if (!runtime_dir) {
        runtime_dir = g_dir_make_tmp("vdt-XXXXXX", NULL);
        g_setenv("VDPA_TRACKER_RUNTIME_DIR", runtime_dir, TRUE);
    }
    return runtime_dir;
}

void
vm_clean(void)
{
    if (!runtime_dir)
        return;
    GDir *dir = g_dir_open(runtime_dir, 0, NULL);
    for (const char *name; dir && (name = g_dir_read_name(dir));) {
        g_autofree char *path = g_build_filename(runtime_dir, name, NULL);
        g_unlink(path);
    }
    if (dir)
        g_dir_close(dir);
    g_rmdir(runtime_dir);
    g_clear_pointer(&runtime_dir, g_free);
}

static bool
ended(struct tracker *tracker)
{
    if (tracker->ended == -1 && waitpid(tracker->pid, &tracker->ended, WNOHANG) != tracker->pid)
        tracker->ended = -1;
    return tracker->ended != -1;
}

/* A tracker does not outlive a test that fails. */
static void
die_with_parent(gpointer unused)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

void
tracker_start(struct tracker *tracker, const char *name, const char *device,
              const char *const *more)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    g_autofree char *control = g_strdup_printf("%s/%s.sock", vm_runtime_dir(), name);
    GError *error = NULL;
    struct stat st;

    g_ptr_array_add(words, (gpointer) VDT_TRACKER_EXE);
    g_ptr_array_add(words, (gpointer) "run");
    g_ptr_array_add(words, (gpointer) "--name");
    g_ptr_array_add(words, (gpointer) name);
    g_ptr_array_add(words, (gpointer) "--device");
    g_ptr_array_add(words, (gpointer) device);
    g_ptr_array_add(words, (gpointer) "--log-level");
    g_ptr_array_add(words, (gpointer) "error");
    for (; more && *more; more++)
        g_ptr_array_add(words, (gpointer) *more);
    g_ptr_array_add(words, NULL);
    /* One that a killed tracker left is not the one to wait for. */
    struct timespec stale = lstat(control, &st) == 0 ? st.st_ctim : (struct timespec){0};
    tracker->name = g_strdup(name);
    tracker->ended = -1;
    bool ok = g_spawn_async(NULL, (char **) words->pdata, NULL, G_SPAWN_DO_NOT_REAP_CHILD,
                            die_with_parent, NULL, &tracker->pid, &error);
    cr_assert(ok, "%s", error ? error->message : "");
    /* The VMM's socket is the last that it opens. */
    int64_t end = g_get_monotonic_time() + WAIT_US;
    while (lstat(control, &st) != 0 || memcmp(&st.st_ctim, &stale, sizeof(stale)) == 0) {
        cr_assert(!ended(tracker), "tracker %s ended at its start", name);
        cr_assert_lt(g_get_monotonic_time(), end, "tracker %s does not come up", name);
        g_usleep(2000);
    }
}

int
tracker_end(struct tracker *tracker)
{
    int64_t end = g_get_monotonic_time() + WAIT_US;

    if (!ended(tracker))
        kill(tracker->pid, SIGTERM);
    while (!ended(tracker) && g_get_monotonic_time() < end)
        g_usleep(2000);
    if (!ended(tracker)) {
        kill(tracker->pid, SIGKILL);
        waitpid(tracker->pid, &tracker->ended, 0);
    }
    g_spawn_close_pid(tracker->pid);
    g_free(tracker->name);
    return WIFEXITED(tracker->ended) ? WEXITSTATUS(tracker->ended) : -1;
}

void
tracker_kill(struct tracker *tracker)
{
    kill(tracker->pid, SIGKILL);
    waitpid(tracker->pid, &tracker->ended, 0);
    g_spawn_close_pid(tracker->pid);
    g_free(tracker->name);
}

static int
run_words(GPtrArray *words, char **ret_out, char **ret_err)
{
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;
    GError *error = NULL;
    int status;

    vm_runtime_dir();
    g_ptr_array_add(words, NULL);
    bool ok = g_spawn_sync(NULL, (char **) words->pdata, NULL, G_SPAWN_DEFAULT, die_with_parent,
                           NULL, &out, &err, &status, &error);
    cr_assert(ok, "%s", error ? error->message : "");
    if (ret_out)
        *ret_out = g_steal_pointer(&out);
    if (ret_err)
        *ret_err = g_steal_pointer(&err);
    else if (err && *err)
        fprintf(stderr, "# %s", err);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int
vm_cli(char **ret_out, char **ret_err, ...)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    va_list args;

    g_ptr_array_add(words, (gpointer) VDT_TRACKER_EXE);
    va_start(args, ret_err);
    for (const char *word; (word = va_arg(args, const char *));)
        g_ptr_array_add(words, (gpointer) word);
    va_end(args);
    return run_words(words, ret_out, ret_err);
}

JsonNode *
vm_cli_json(const char *verb, ...)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    g_autofree char *out = NULL;
    va_list args;

    g_ptr_array_add(words, (gpointer) VDT_TRACKER_EXE);
    g_ptr_array_add(words, (gpointer) verb);
    va_start(args, verb);
    for (const char *word; (word = va_arg(args, const char *));)
        g_ptr_array_add(words, (gpointer) word);
    va_end(args);
    g_ptr_array_add(words, (gpointer) "--json");
    int exit_code = run_words(words, &out, NULL);
    cr_assert_eq(exit_code, 0, "%s: exit code %d", verb, exit_code);
    JsonNode *node = json_from_string(out, NULL);
    cr_assert(node && JSON_NODE_HOLDS_OBJECT(node), "%s printed: %s", verb, out);
    return node;
}

bool
vm_control_matches(const char *name, char **ret_control)
{
    g_autoptr(JsonNode) status = vm_cli_json("status", name, NULL);
    JsonObject *fields = json_node_get_object(status);
    g_autofree char *control = json_to_string(json_object_get_member(fields, "control"), FALSE);
    g_autofree char *device = json_to_string(json_object_get_member(fields, "device_state"), FALSE);
    bool same = g_str_equal(control, device);

    if (!same)
        fprintf(stderr, "# model:  %s\n# device: %s\n", control, device);
    if (ret_control)
        *ret_control = g_steal_pointer(&control);
    return same;
}
