/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/case_list.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "tools/vdpa-tracker/junit.h"

struct watch {
    struct vdt_case_list *list;
    int signals, done; /* owned */
    int64_t end;
    unsigned seconds;
};

static void
free_case(gpointer data)
{
    struct vdt_case *one = data;

    g_free(one->name);
    g_free(one->said);
    g_free(one);
}

struct vdt_case_list *
vdt_case_list_new(const char *title, const char *path, void *ctx)
{
    struct vdt_case_list *list = g_new0(struct vdt_case_list, 1);

    list->title = title;
    list->path = path;
    list->ctx = ctx;
    list->cases = g_ptr_array_new_with_free_func(free_case);
    list->properties = g_ptr_array_new_with_free_func(g_free);
    list->created_us = g_get_real_time();
    list->began = g_get_monotonic_time();
    g_mutex_init(&list->lock);
    return list;
}

void
vdt_case_list_free(struct vdt_case_list *list)
{
    if (!list)
        return;
    g_ptr_array_unref(list->cases);
    g_ptr_array_unref(list->properties);
    g_mutex_clear(&list->lock);
    g_free(list);
}

void
vdt_case_list_add(struct vdt_case_list *list, const char *group, vdt_case_run run, unsigned arg,
                  const char *name, ...)
{
    struct vdt_case *one = g_new0(struct vdt_case, 1);
    va_list args;

    one->group = group;
    one->run = run;
    one->arg = arg;
    va_start(args, name);
    one->name = g_strdup_vprintf(name, args);
    va_end(args);
    g_ptr_array_add(list->cases, one);
}

void
vdt_case_list_note(struct vdt_case_list *list, const char *name, const char *value, ...)
{
    va_list args;

    va_start(args, value);
    char *text = g_strdup_vprintf(value, args);
    va_end(args);
    g_mutex_lock(&list->lock);
    for (unsigned i = 0; i < list->properties->len; i += 2) {
        if (!g_str_equal(list->properties->pdata[i], name))
            continue;
        g_free(list->properties->pdata[i + 1]);
        list->properties->pdata[i + 1] = g_steal_pointer(&text);
    }
    if (text) {
        g_ptr_array_add(list->properties, g_strdup(name));
        g_ptr_array_add(list->properties, text);
    }
    g_mutex_unlock(&list->lock);
}

static void
ending_signals(sigset_t *ret_set)
{
    sigemptyset(ret_set);
    sigaddset(ret_set, SIGTERM);
    sigaddset(ret_set, SIGINT);
    sigaddset(ret_set, SIGHUP);
}

void
vdt_case_list_block_signals(void)
{
    sigset_t set;

    ending_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void
settle(struct vdt_case_list *list, struct vdt_case *one, enum vdt_verdict verdict, char *said)
{
    one->verdict = verdict;
    one->said = said;
    if (list->told)
        list->told(one);
}

/* The case that runs has failed by @why, and all after it are not reached. The lock is kept: this
 * is the end. */
static void G_GNUC_NORETURN
cut_off(struct vdt_case_list *list, const char *why)
{
    g_autoptr(GError) error = NULL;

    g_mutex_lock(&list->lock);
    for (unsigned i = 0; i < list->cases->len; i++) {
        struct vdt_case *one = list->cases->pdata[i];

        if (one->verdict == VDT_CASE_RUNNING) {
            one->us = g_get_monotonic_time() - one->us;
            settle(list, one, VDT_CASE_FAILED, g_strdup(why));
        } else if (one->verdict == VDT_CASE_PLANNED)
            settle(list, one, VDT_CASE_SKIPPED, g_strdup_printf("not reached: %s", why));
    }
    fprintf(stderr, "vdpa-tracker: %s\n", why);
    if (!vdt_junit_write(list, &error))
        fprintf(stderr, "vdpa-tracker: %s\n", error->message);
    if (list->cut_off)
        list->cut_off(list->ctx);
    fflush(stdout);
    _exit(1);
}

static void *
watch(void *ctx)
{
    struct watch *watch = ctx;
    struct pollfd p[] = {{.fd = watch->signals, .events = POLLIN},
                         {.fd = watch->done, .events = POLLIN}};
    g_autofree char *why = NULL;

    for (;;) {
        int64_t left = watch->end - g_get_monotonic_time();
        int n = poll(p, 2, (int) CLAMP(left / 1000 + 1, 0, 60000));

        if (n > 0 && p[1].revents)
            return NULL;
        if (n > 0 && p[0].revents) {
            struct signalfd_siginfo info = {0};

            if (read(watch->signals, &info, sizeof(info)) != sizeof(info))
                continue;
            why = g_strdup_printf("the test was ended by a signal (%s)",
                                  g_strsignal((gint) info.ssi_signo));
            break;
        }
        if (g_get_monotonic_time() >= watch->end) {
            why = g_strdup_printf("the test took longer than %u s (--timeout)", watch->seconds);
            break;
        }
    }
    cut_off(watch->list, why);
}

/* One case; true: what follows makes sense. */
static bool
run_case(struct vdt_case_list *list, struct vdt_case *one, const char *broken, GError **error)
{
    g_autoptr(GString) said = g_string_new(NULL);
    int result = VDT_CASE_SKIPPED;
    int64_t start = g_get_monotonic_time();

    if (broken && !one->always) {
        g_string_printf(said, "not reached: \"%s\" failed", broken);
    } else {
        g_mutex_lock(&list->lock);
        one->verdict = VDT_CASE_RUNNING;
        one->us = start;
        bool written = vdt_junit_write(list, error);
        g_mutex_unlock(&list->lock);
        if (!written)
            return false;
        result = one->run(list->ctx, one->arg, said);
    }
    g_mutex_lock(&list->lock);
    one->us = g_get_monotonic_time() - start;
    settle(list, one, result == VDT_CASE_BROKEN ? VDT_CASE_FAILED : (enum vdt_verdict) result,
           said->len ? g_strdup(said->str) : NULL);
    g_mutex_unlock(&list->lock);
    return result != VDT_CASE_BROKEN;
}

static bool
run_all(struct vdt_case_list *list, GError **error)
{
    g_autoptr(GError) reason = NULL;
    const char *broken = NULL;

    for (unsigned i = 0; i < list->cases->len && !reason; i++) {
        struct vdt_case *one = list->cases->pdata[i];

        if (!run_case(list, one, broken, &reason) && !broken)
            broken = one->name;
    }
    if (!reason)
        vdt_junit_write(list, &reason);
    if (reason)
        g_propagate_error(error, g_steal_pointer(&reason));
    return reason == NULL && (!error || !*error);
}

bool
vdt_case_list_run(struct vdt_case_list *list, unsigned seconds, GError **error)
{
    VDT_AUTO_FD signals = -1;
    VDT_AUTO_FD done = eventfd(0, EFD_CLOEXEC);
    sigset_t set;

    if (!vdt_junit_write(list, error))
        return false;
    ending_signals(&set);
    signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0 || done < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot watch the test's time: %s",
                    g_strerror(errno));
        return false;
    }
    struct watch context = {list, signals, done, list->began + (int64_t) seconds * G_USEC_PER_SEC,
                            seconds};
    GThread *thread = g_thread_new("watch", watch, &context);
    bool ok = run_all(list, error);
    eventfd_write(done, 1);
    g_thread_join(thread);
    return ok;
}

unsigned
vdt_case_list_count(const struct vdt_case_list *list, enum vdt_verdict verdict)
{
    unsigned n = 0;

    for (unsigned i = 0; i < list->cases->len; i++)
        n += ((const struct vdt_case *) list->cases->pdata[i])->verdict == verdict;
    return n;
}
