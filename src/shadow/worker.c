/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shadow/worker.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "virtio/net_state.h"

#define EVENTS 64

/* An attached relay and its two event sources; the low bits of epoll's word tell them apart. */
struct post {
    struct vdt_relay *relay;
    bool again; /* has work left: looked at before sleeping */
};

struct vdt_worker {
    pthread_t thread;
    int epoll;
    int wake; /* mailbox eventfd */
    char name[16];
    /* Mailbox: one message at a time, since the control thread waits for each. */
    void (*fn)(void *arg);
    void *arg;
    sem_t done;
    bool quit;
    /* Worker thread only from here on. */
    struct post posts[VDT_RINGS_MAX];
};

enum { GUEST_KICK, DEVICE_CALL, MAILBOX };

static uint64_t
tag(unsigned index, unsigned source)
{
    return (uint64_t) index << 2 | source;
}

static int
watch(struct vdt_worker *worker, int fd, uint64_t data)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = data};

    return fd < 0 || epoll_ctl(worker->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : errno;
}

static void
unwatch(struct vdt_worker *worker, int fd)
{
    if (fd >= 0)
        epoll_ctl(worker->epoll, EPOLL_CTL_DEL, fd, NULL);
}

/* The other end of a frontend's pipe or socket is closed: it would be ready for ever. An eventfd
 * takes no reads of one byte. */
static bool
at_end(int fd)
{
    char byte;

    return read(fd, &byte, 1) == 0;
}

static void
take_event(struct vdt_worker *worker, uint64_t data)
{
    struct post *post = &worker->posts[data >> 2];

    /* A relay detached by an earlier event of the same batch. */
    if (!post->relay)
        return;
    struct vdt_relay_counters *counters = &post->relay->counters;
    bool kick = (data & 3) == GUEST_KICK;
    int fd = kick ? post->relay->guest_kick : post->relay->device_call;
    uint64_t *counter = kick ? &counters->kicks_taken : &counters->calls_taken;

    if (!vdt_event_drain(fd) && at_end(fd))
        unwatch(worker, fd);
    __atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
    post->again = true;
}

static void
read_mail(struct vdt_worker *worker)
{
    if (!vdt_event_drain(worker->wake))
        return;
    worker->fn(worker->arg);
    sem_post(&worker->done);
}

static void *
worker_main(void *arg)
{
    struct vdt_worker *worker = arg;
    struct epoll_event events[EVENTS];
    bool busy = false;

    prctl(PR_SET_NAME, worker->name);

    while (!worker->quit) {
        int n = epoll_wait(worker->epoll, events, EVENTS, busy ? 0 : -1);
        bool mail = false;

        for (int i = 0; i < n; i++) {
            if ((events[i].data.u64 & 3) == MAILBOX)
                mail = true;
            else
                take_event(worker, events[i].data.u64);
        }
        busy = false;
        for (unsigned i = 0; i < VDT_RINGS_MAX; i++) {
            struct post *post = &worker->posts[i];
            if (post->relay && post->again) {
                post->again = !post->relay->fault && vdt_relay_work(post->relay);
                busy |= post->again;
            }
        }
        /* Last, so that a detached relay is never touched by an event that was taken before. */
        if (mail) {
            read_mail(worker);
            for (unsigned i = 0; i < VDT_RINGS_MAX; i++)
                busy |= worker->posts[i].relay && worker->posts[i].again;
        }
    }
    return NULL;
}

struct vdt_worker *
vdt_worker_new(unsigned index, GError **error)
{
    struct vdt_worker *worker = g_new0(struct vdt_worker, 1);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = MAILBOX};

    g_snprintf(worker->name, sizeof(worker->name), "vdt-data-%u", index);
    sem_init(&worker->done, 0, 0);
    worker->wake = vdt_eventfd(error);
    worker->epoll = worker->wake < 0 ? -1 : epoll_create1(EPOLL_CLOEXEC);
    int failed =
        worker->epoll < 0 || epoll_ctl(worker->epoll, EPOLL_CTL_ADD, worker->wake, &event) < 0
            ? errno
            : pthread_create(&worker->thread, NULL, worker_main, worker);
    if (failed) {
        if (worker->wake >= 0)
            g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot start data thread %u: %s",
                        index, g_strerror(failed));
        vdt_close(worker->epoll);
        vdt_close(worker->wake);
        sem_destroy(&worker->done);
        g_free(worker);
        return NULL;
    }
    return worker;
}

void
vdt_worker_call(struct vdt_worker *worker, void (*fn)(void *arg), void *arg)
{
    worker->fn = fn;
    worker->arg = arg;
    vdt_event_signal(worker->wake);
    while (sem_wait(&worker->done) < 0 && errno == EINTR)
        ;
}

static void
quit(void *arg)
{
    struct vdt_worker *worker = arg;

    worker->quit = true;
}

void
vdt_worker_free(struct vdt_worker *worker)
{
    if (!worker)
        return;
    vdt_worker_call(worker, quit, worker);
    pthread_join(worker->thread, NULL);
    vdt_close(worker->epoll);
    vdt_close(worker->wake);
    sem_destroy(&worker->done);
    g_free(worker);
}

struct attach {
    struct vdt_worker *worker;
    struct vdt_relay *relay;
    int failed;
};

static void
attach(void *arg)
{
    struct attach *a = arg;
    unsigned i = 0;

    while (i < VDT_RINGS_MAX && a->worker->posts[i].relay)
        i++;
    g_assert(i < VDT_RINGS_MAX);
    a->failed = watch(a->worker, a->relay->guest_kick, tag(i, GUEST_KICK));
    if (!a->failed)
        a->failed = watch(a->worker, a->relay->device_call, tag(i, DEVICE_CALL));
    if (a->failed) {
        unwatch(a->worker, a->relay->guest_kick);
        return;
    }
    a->worker->posts[i] = (struct post){.relay = a->relay, .again = true};
}

bool
vdt_worker_attach(struct vdt_worker *worker, struct vdt_relay *relay, GError **error)
{
    struct attach a = {.worker = worker, .relay = relay};

    vdt_worker_call(worker, attach, &a);
    if (a.failed)
        g_set_error(error, VDT_ERROR,
                    a.failed == ENOMEM || a.failed == ENOSPC ? VDT_ERROR_FAILED : VDT_ERROR_INVALID,
                    "cannot wait on a ring's kick descriptor: %s; the ring does not start",
                    g_strerror(a.failed));
    return a.failed == 0;
}

static void
detach(void *arg)
{
    struct attach *a = arg;

    for (unsigned i = 0; i < VDT_RINGS_MAX; i++) {
        if (a->worker->posts[i].relay != a->relay)
            continue;
        unwatch(a->worker, a->relay->guest_kick);
        unwatch(a->worker, a->relay->device_call);
        a->worker->posts[i] = (struct post){0};
    }
}

void
vdt_worker_detach(struct vdt_worker *worker, struct vdt_relay *relay)
{
    struct attach a = {.worker = worker, .relay = relay};

    vdt_worker_call(worker, detach, &a);
}
