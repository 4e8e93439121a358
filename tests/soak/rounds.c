/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rounds: thousands of frontends, one after the other, on one tracker: what it holds of the system
 * afterwards is what it held after the first of them.
 *
 *   rounds [--process] [--count N] [--seed S] [--every N] [--verbose]
 *
 * Without --process the tracker's NIC lives in this process, on a thread of its own, so that the
 * heap can be counted to the byte; with it the tracker is the daemon, watched from outside through
 * /proc. A round that is refused what has to work says so, and runs alone by --seed.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "daemon/nic.h"
#include "lib/footprint.h"
#include "soak/round.h"

#define COUNT 10000u
#define COUNT_NIGHTLY 100000u
#define RAM_SIZE (4u << 20)
#define DEVICE "sim:pairs=2,num=64"
#define WARM 100u /* rounds after which each kind of object has been made once */
#define EVERY 500u
/* Bytes of heap by which two looks may differ: arrays of GLib and of the device's texts that have
 * their longest once in thousands of rounds. The least leak of each round is 16 bytes: after the
 * first thousand it is beyond that. */
#define HEAP_SLACK 4096u
#define TIMEOUT_MS 10000u
#define SETTLE_MS 20000

struct tracker {
    bool process, verbose;
    unsigned long every; /* rounds between two looks */
    /* in this process */
    GMainContext *context;
    pthread_t thread;
    struct vdt_nic *nic;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool quit, busy; /* by @lock */
    /* the daemon's */
    pid_t pid;
    char *dir, *socket; /* owned */
};

/* Nonsense is refused with a warning, thousands of times. */
static GLogWriterOutput
hush(GLogLevelFlags level, const GLogField *fields, gsize count, void *ctx)
{
    return G_LOG_WRITER_HANDLED;
}

static void
fatal(const char *what)
{
    printf("not ok - %s\n1..1\n", what);
    exit(1);
}

/* ---- in this process ---- */

static void *
control_thread(void *ctx)
{
    struct tracker *tracker = ctx;

    while (!__atomic_load_n(&tracker->quit, __ATOMIC_ACQUIRE))
        g_main_context_iteration(tracker->context, TRUE);
    return NULL;
}

static void
ended(void *ctx, const GError *reason)
{
    struct tracker *tracker = ctx;

    pthread_mutex_lock(&tracker->lock);
    tracker->busy = false;
    pthread_cond_broadcast(&tracker->changed);
    pthread_mutex_unlock(&tracker->lock);
}

struct visitor {
    struct tracker *tracker;
    int fd;
};

static gboolean
let_in(gpointer ctx)
{
    struct visitor *visitor = ctx;

    vdt_nic_connect(visitor->tracker->nic, visitor->fd, ended, visitor->tracker);
    return G_SOURCE_REMOVE;
}

static bool
await_end(struct tracker *tracker)
{
    struct timespec until;
    int status = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += SETTLE_MS / 1000;
    pthread_mutex_lock(&tracker->lock);
    while (tracker->busy && status == 0)
        status = pthread_cond_timedwait(&tracker->changed, &tracker->lock, &until);
    pthread_mutex_unlock(&tracker->lock);
    return status == 0;
}

static struct vdt_frontend *
enter_inside(struct tracker *tracker)
{
    static struct visitor visitor;
    int pair[2];

    if (!await_end(tracker) || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return NULL;
    tracker->busy = true;
    visitor = (struct visitor){tracker, pair[1]};
    g_main_context_invoke(tracker->context, let_in, &visitor);
    return vdt_frontend_new(pair[0], TIMEOUT_MS);
}

static void
start_inside(struct tracker *tracker)
{
    struct vdt_nic_options options = {.name = "soak", .workers = 1, .deadline_ms = 2000};
    struct vdt_device *dev = vdt_device_open(DEVICE, NULL);

    pthread_mutex_init(&tracker->lock, NULL);
    pthread_cond_init(&tracker->changed, NULL);
    tracker->context = options.context = g_main_context_new();
    tracker->nic = dev ? vdt_nic_new(dev, &options, NULL) : NULL;
    if (!tracker->nic || pthread_create(&tracker->thread, NULL, control_thread, tracker) != 0)
        fatal("there is no NIC");
}

static void
stop_inside(struct tracker *tracker)
{
    __atomic_store_n(&tracker->quit, true, __ATOMIC_RELEASE);
    g_main_context_wakeup(tracker->context);
    pthread_join(tracker->thread, NULL);
    vdt_nic_free(tracker->nic);
    g_main_context_unref(tracker->context);
}

/* ---- the daemon ---- */

static struct vdt_frontend *
enter_process(struct tracker *tracker)
{
    int64_t end = g_get_monotonic_time() + TIMEOUT_MS * 1000;
    struct vdt_frontend *frontend;

    while (!(frontend = vdt_frontend_connect(tracker->socket, TIMEOUT_MS, NULL)) &&
           g_get_monotonic_time() < end)
        g_usleep(2000);
    return frontend;
}

static void
start_process(struct tracker *tracker)
{
    tracker->dir = g_dir_make_tmp("vdt-XXXXXX", NULL);
    tracker->socket = g_strdup_printf("%s/soak.sock", tracker->dir);
    setenv("VDPA_TRACKER_RUNTIME_DIR", tracker->dir, 1);
    tracker->pid = fork();
    if (tracker->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* Its environment is ours: no caches in the C library. */
        execl(VDT_TRACKER_EXE, VDT_TRACKER_EXE, "run", "--name", "soak", "--device", DEVICE,
              "--log-level", tracker->verbose ? "warning" : "error", (char *) NULL);
        _exit(127);
    }
}

static bool
stop_process(struct tracker *tracker)
{
    g_autofree char *control = g_strdup_printf("%s/soak.ctl", tracker->dir);
    int status;

    kill(tracker->pid, SIGTERM);
    if (waitpid(tracker->pid, &status, 0) != tracker->pid)
        status = -1;
    unlink(tracker->socket);
    unlink(control);
    rmdir(tracker->dir);
    g_free(tracker->dir);
    g_free(tracker->socket);
    return status == 0;
}

/* ---- both ---- */

static bool
look(struct tracker *tracker, struct footprint *footprint)
{
    return tracker->process ? footprint_take_of(tracker->pid, footprint)
                            : await_end(tracker) && footprint_take(footprint);
}

/* NULL, or what is not as it was; g_free(). */
static char *
differs(const struct footprint *base, struct footprint now)
{
    size_t apart = MAX(now.heap, base->heap) - MIN(now.heap, base->heap);

    if (apart <= HEAP_SLACK)
        now.heap = base->heap;
    return footprint_differs(base, &now);
}

/* What the last frontend had is given back soon after it has gone, not at once: the first look that
 * is like @base, or like five before it, counts. */
static bool
settled(struct tracker *tracker, const struct footprint *base, struct footprint *ret_footprint)
{
    int64_t end = g_get_monotonic_time() + SETTLE_MS * 1000;
    struct footprint before = {0};
    unsigned same = 0;

    while (g_get_monotonic_time() < end) {
        if (!look(tracker, ret_footprint))
            return false;
        g_autofree char *from_base = base ? differs(base, *ret_footprint) : NULL;
        g_autofree char *from_before = footprint_differs(&before, ret_footprint);
        if (base && !from_base)
            return true;
        same = from_before ? 0 : same + 1;
        if (!base && same == 5)
            return true;
        if (base && same == 50)
            return true;
        before = *ret_footprint;
        g_usleep(20000);
    }
    return true;
}

static bool
same_as(struct tracker *tracker, const struct footprint *base, unsigned long round)
{
    struct footprint now;
    g_autofree char *why = NULL;

    if (!settled(tracker, base, &now)) {
        printf("# the tracker is not there any more after round %lu\n", round);
        return false;
    }
    why = differs(base, now);
    if (why)
        printf("# after round %lu not all is given back: %s\n", round, why);
    return !why;
}

static struct vdt_frontend *
enter(struct tracker *tracker)
{
    return tracker->process ? enter_process(tracker) : enter_inside(tracker);
}

static bool
sweep(struct tracker *tracker)
{
    struct vdt_frontend *frontend = enter(tracker);

    return frontend && round_sweep(frontend);
}

static bool
rounds(struct tracker *tracker, struct vdt_ram *ram, unsigned long first, unsigned long count,
       struct round_tally *tally)
{
    struct footprint base = {0};
    bool ok = true;

    for (unsigned long i = 0; i < count && ok; i++) {
        g_autofree char *why = NULL;
        struct vdt_frontend *frontend = enter(tracker);

        if (!frontend) {
            printf("# seed %lu: nobody lets it in\n", first + i);
            return false;
        }
        alarm(60);
        ok = round_run(frontend, ram, first + i, tally, &why);
        alarm(0);
        if (!ok)
            printf("# seed %lu: %s\n", first + i, why);
        else if (i + 1 == WARM)
            ok = sweep(tracker) && settled(tracker, NULL, &base);
        else if (i + 1 > WARM && ((i + 1) % tracker->every == 0 || i + 1 == count))
            ok = sweep(tracker) && same_as(tracker, &base, i + 1);
    }
    if (ok && count > WARM)
        printf("# held throughout: %u descriptors, %u maps of %zu bytes, %zu bytes locked, %zu of "
               "heap\n",
               base.fds, base.maps, base.mapped, base.locked, base.heap);
    return ok;
}

static bool
many(const char *what, unsigned long have, unsigned long least)
{
    printf("%s - %s: %lu, at least %lu wanted\n", have >= least ? "ok" : "not ok", what, have,
           least);
    return have >= least;
}

int
main(int argc, char **argv)
{
    unsigned long count = g_getenv("VDT_NIGHTLY") ? COUNT_NIGHTLY : COUNT, first = 1;
    struct round_tally tally = {0};
    struct tracker tracker = {.every = EVERY};
    struct vdt_ram ram;
    bool floors = true;

    footprint_make_exact(argv);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--process") == 0)
            tracker.process = true;
        else if (strcmp(argv[i], "--verbose") == 0)
            tracker.verbose = true;
        else if (strcmp(argv[i], "--every") == 0 && argv[i + 1])
            tracker.every = strtoul(argv[++i], NULL, 10) ?: 1;
        else if (strcmp(argv[i], "--count") == 0 && argv[i + 1])
            count = strtoul(argv[++i], NULL, 10), floors = false;
        else if (strcmp(argv[i], "--seed") == 0 && argv[i + 1])
            first = strtoul(argv[++i], NULL, 10), count = 1, floors = false;
        else
            return fprintf(stderr, "usage: rounds [--process] [--count N] [--seed S] [--every N] "
                                   "[--verbose]\n"),
                   2;
    }
    signal(SIGPIPE, SIG_IGN);
    if (!tracker.verbose)
        g_log_set_writer_func(hush, NULL, NULL);
    printf("TAP version 13\n");
    if (!vdt_ram_init(&ram, RAM_SIZE, NULL))
        fatal("no memory for a guest");
    tracker.process ? start_process(&tracker) : start_inside(&tracker);
    int64_t start = g_get_monotonic_time();
    bool ok = rounds(&tracker, &ram, first, count, &tally);
    printf("# %lu rounds in %.1f s: %lu whole, %lu cut off, %lu with nonsense; %lu started, %lu "
           "packed, %lu with single regions, %lu logged, %lu with an in-flight area, %lu stopped; "
           "%lu frames, %lu commands\n",
           tally.rounds, (double) (g_get_monotonic_time() - start) / 1e6, tally.whole, tally.cut,
           tally.nonsense, tally.started, tally.packed, tally.added, tally.logged, tally.inflight,
           tally.stopped, tally.frames, tally.commands);
    if (tracker.process)
        ok &= stop_process(&tracker);
    else
        stop_inside(&tracker);
    printf("%s - what is held after each round is what was held after the first %u\n",
           ok ? "ok" : "not ok", WARM);
    if (ok && floors) {
        ok &= many("rounds", tally.rounds, count);
        ok &= many("cut off in the middle", tally.cut, count / 4);
        ok &= many("with nonsense as the last word", tally.nonsense, count / 8);
        ok &= many("that started a guest", tally.started, count / 4);
        ok &= many("packed", tally.packed, count / 8);
        ok &= many("with regions one by one", tally.added, count / 8);
        ok &= many("logged", tally.logged, count / 10);
        ok &= many("with an in-flight area", tally.inflight, count / 10);
        ok &= many("frames sent", tally.frames, count);
        ok &= many("commands answered", tally.commands, count / 2);
    }
    printf("1..%u\n", floors && tally.rounds == count ? 11u : 1u);
    vdt_ram_clear(&ram);
    return !ok;
}
