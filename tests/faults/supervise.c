/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/seccomp.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"

struct call {
    int nr;
    char name[32];
    bool fd;  /* the first argument is one */
    int path; /* argument that is a path, -1: none */
    bool op;  /* the second argument says what is done */
};

bool
supervise_init(struct supervise *s, const char *calls, GError **error)
{
    g_autofree char *text = NULL;

    if (!g_file_get_contents(calls, &text, NULL, error))
        return false;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    s->calls = g_array_new(FALSE, TRUE, sizeof(struct call));
    for (char **line = lines; *line; line++) {
        struct call call = {.path = -1};
        char kind[16];

        if (sscanf(*line, "%31s %15s", call.name, kind) != 2)
            continue;
        call.nr = seccomp_syscall_resolve_name(call.name);
        if (call.nr < 0)
            continue;
        call.fd = g_str_equal(kind, "fd");
        call.op = g_str_equal(kind, "op");
        if (g_str_has_prefix(kind, "path"))
            call.path = kind[4] - '0';
        g_array_append_val(s->calls, call);
    }
    s->counts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    s->listener = -1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    return true;
}

/* ---- the watcher: answers for each call whether it is made ---- */

static const struct call *
find_call(const struct supervise *s, int nr)
{
    for (guint i = 0; i < s->calls->len; i++) {
        const struct call *call = &g_array_index(s->calls, struct call, i);

        if (call->nr == nr)
            return call;
    }
    return NULL;
}

static void
read_link(char *to, size_t size, const char *path)
{
    ssize_t n = readlink(path, to, size - 1);

    to[MAX(n, 0)] = '\0';
}

static void
thread_name(char *to, size_t size, pid_t tid)
{
    char path[32], name[32] = {0};

    /* Close-on-exec: another thread of ours may be starting a program. */
    g_snprintf(path, sizeof(path), "/proc/%d/comm", tid);
    VDT_AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, name, sizeof(name) - 1) <= 0)
        name[0] = '?';
    name[strcspn(name, "\n")] = '\0';
    g_strlcpy(to, g_strdelimit(name, " ", '_'), size);
}

/* What a descriptor is: the word in "anon_inode:[word]", "socket:[...]", else by where it lies. */
static const char *
fd_kind(const char *link)
{
    static const char *const kinds[][2] = {
        {"anon_inode:[eventfd]", "eventfd"},
        {"anon_inode:[eventpoll]", "epoll"},
        {"socket:", "socket"},
        {"pipe:", "pipe"},
        {"/memfd:", "memfd"},
        {"/dev/", "dev"},
        {"/proc/", "proc"},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (g_str_has_prefix(link, kinds[i][0]))
            return kinds[i][1];
    }
    return *link ? "file" : "bad";
}

static void
read_text(char *to, size_t size, pid_t tid, uint64_t at)
{
    struct iovec local = {to, size - 1}, remote = {(void *) (uintptr_t) at, size - 1};
    ssize_t n = process_vm_readv(tid, &local, 1, &remote, 1, 0);

    /* The string may stand at the end of its page. */
    if (n < 0) {
        remote.iov_len = 4096 - at % 4096;
        n = process_vm_readv(tid, &local, 1, &remote, 1, 0);
    }
    to[MAX(n, 0)] = '\0';
}

/* True: this call is the one. */
static bool
count_call(struct supervise *s, const struct call *call, const struct seccomp_notif *req)
{
    char thread[32], detail[256] = "", link[64], kind[16] = "-";

    if (call->fd && (int) req->data.args[0] >= 0) {
        g_snprintf(link, sizeof(link), "/proc/%d/fd/%d", req->pid, (int) req->data.args[0]);
        read_link(detail, sizeof(detail), link);
        g_strlcpy(kind, fd_kind(detail), sizeof(kind));
    } else if (call->op) {
        g_snprintf(kind, sizeof(kind), "%d", (int) req->data.args[1]);
    } else if (call->path >= 0) {
        read_text(detail, sizeof(detail), (pid_t) req->pid, req->data.args[call->path]);
    }
    if (!s->counting) {
        s->counting = call->path == 1 && g_str_equal(detail, s->marker) &&
                      (req->data.args[2] & O_ACCMODE) == O_RDWR;
        if (!s->counting)
            return false;
    }
    thread_name(thread, sizeof(thread), (pid_t) req->pid);

    g_autofree char *key = g_strdup_printf("%s %s %s", thread, call->name, kind);
    guint n = GPOINTER_TO_UINT(g_hash_table_lookup(s->counts, key)) + 1;
    g_autofree char *point = g_strdup_printf("%s %u", key, n);

    g_hash_table_replace(s->counts, g_steal_pointer(&key), GUINT_TO_POINTER(n));
    if (s->record)
        fprintf(s->record, "call %s %s\n", point, detail);
    return s->fault.point && g_str_equal(point, s->fault.point);
}

static void
answer(struct supervise *s, struct seccomp_notif *req, struct seccomp_notif_resp *resp)
{
    const struct call *call = find_call(s, req->data.nr);

    *resp = (struct seccomp_notif_resp){.id = req->id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    if (!call || !count_call(s, call, req))
        return;
    s->reached = true;
    if (s->fault.code == 0) {
        kill(s->pid, SIGKILL);
        return;
    }
    resp->flags = 0;
    resp->error = -s->fault.code;
}

static void *
watch(void *ctx)
{
    struct supervise *s = ctx;

    /* fork() holds the allocator's locks while the spawner waits for our answer: nothing is
     * allocated here before counting begins. */
    pthread_mutex_lock(&s->lock);
    while (s->listener < 0 && !s->failed)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);

    struct pollfd pollfd = {.fd = s->listener, .events = POLLIN};
    /* The filter's last user gone is POLLHUP. */
    while (s->listener >= 0 && poll(&pollfd, 1, -1) > 0 && !(pollfd.revents & POLLHUP)) {
        memset(s->req, 0, sizeof(*s->req));
        if (seccomp_notify_receive(s->listener, s->req) < 0)
            continue; /* whoever called was killed */
        answer(s, s->req, s->resp);
        seccomp_notify_respond(s->listener, s->resp);
    }
    return NULL;
}

/* ---- the spawner: takes the filter upon itself, so that its child has it ---- */

/* From seccomp_load() on this thread makes no watched call before the watcher has its listener. */
static bool
load_filter(struct supervise *s)
{
    bool ok = (s->filter = seccomp_init(SCMP_ACT_ALLOW)) != NULL;

    for (guint i = 0; ok && i < s->calls->len; i++)
        ok = seccomp_rule_add(s->filter, SCMP_ACT_NOTIFY,
                              g_array_index(s->calls, struct call, i).nr, 0) == 0;
    return ok && seccomp_load(s->filter) == 0;
}

static void
be_child(struct supervise *s)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(s->log, STDOUT_FILENO);
    dup2(s->log, STDERR_FILENO);
    execv(s->argv[0], s->argv);
    _exit(127);
}

static void *
spawn(void *ctx)
{
    struct supervise *s = ctx;
    bool ok = load_filter(s);

    pthread_mutex_lock(&s->lock);
    s->failed = !ok;
    s->listener = ok ? seccomp_notify_fd(s->filter) : -1;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (!ok)
        return NULL;
    pid_t pid = fork();
    if (pid == 0)
        be_child(s);
    pthread_mutex_lock(&s->lock);
    s->pid = pid;
    s->spawned = true;
    pthread_cond_broadcast(&s->changed);
    /* The child is to end with us, and it is this thread that started it. */
    while (!s->over)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

bool
supervise_start(struct supervise *s, GError **error)
{
    if (seccomp_notify_alloc(&s->req, &s->resp) < 0 ||
        pthread_create(&s->watcher, NULL, watch, s) != 0 ||
        pthread_create(&s->spawner, NULL, spawn, s) != 0) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot start threads");
        return false;
    }
    pthread_mutex_lock(&s->lock);
    while (!s->spawned && !s->failed)
        pthread_cond_wait(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    if (!s->failed && s->pid > 0)
        return true;
    g_set_error_literal(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                        "system calls cannot be watched here (seccomp user notification)");
    return false;
}

void
supervise_clear(struct supervise *s)
{
    pthread_mutex_lock(&s->lock);
    s->over = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->spawner, NULL);
    pthread_join(s->watcher, NULL);
    seccomp_notify_free(s->req, s->resp);
    if (s->filter)
        seccomp_release(s->filter); /* and with it the listener */
    g_array_unref(s->calls);
    g_hash_table_unref(s->counts);
}
