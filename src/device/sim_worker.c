/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The device thread: waits for kicks, the wire and the clock, and works off one batch at a time. */
#include "device/sim.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <vdpa-tracker/error.h>

#include "base/fd.h"

#define EVENTS 16
#define TAG_WAKE 0x10000u
#define TAG_TIMER 0x10001u

static void
take_event(struct vdt_sim *sim, uint32_t tag)
{
    uint64_t ticks;

    if (tag == TAG_WAKE) {
        vdt_event_drain(sim->wake);
    } else if (tag == TAG_TIMER) {
        (void) !read(sim->timer, &ticks, sizeof ticks);
    } else if (tag < VDT_SIM_RINGS_MAX && sim->rings[tag].kick >= 0) {
        if (vdt_event_drain(sim->rings[tag].kick)) {
            sim->rings[tag].kicks++;
            sim->rings[tag].kicked = true;
        }
    }
}

static bool
work(struct vdt_sim *sim, int64_t *ret_due)
{
    int64_t now = g_get_monotonic_time();
    uint32_t cvq = vdt_sim_cvq(sim);
    bool more = false;

    if (!(sim->status & VIRTIO_CONFIG_S_DRIVER_OK) ||
        (sim->suspended && !sim->options.dma_after_suspend))
        return false;
    /* Commands first: they may bring further rings into use. */
    if (cvq < sim->dev.info.rings && vdt_sim_ring_ready(sim, cvq))
        more |= vdt_sim_ctrl_run(sim, now, ret_due);
    for (uint32_t i = 0; i < cvq; i++) {
        if ((i & 1) && i / 2 < sim->net.queue_pairs && vdt_sim_ring_ready(sim, i))
            more |= vdt_sim_transmit(sim, i, now, ret_due);
    }
    more |= vdt_sim_poll_wire(sim);
    for (uint32_t i = 0; i < cvq; i++) {
        if (!(i & 1) && vdt_sim_ring_ready(sim, i))
            more |= vdt_sim_receive(sim, i, now, ret_due);
    }
    return more;
}

static void
arm(struct vdt_sim *sim, int64_t due)
{
    struct itimerspec when = {
        .it_value = {.tv_sec = due / 1000000, .tv_nsec = (due % 1000000) * 1000},
    };

    timerfd_settime(sim->timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void *
run(void *arg)
{
    struct vdt_sim *sim = arg;
    bool more = false, quit = false;

    prctl(PR_SET_NAME, "sim-device");
    while (!quit) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(sim->epoll, events, EVENTS, more ? 0 : -1);
        int64_t due = INT64_MAX;

        vdt_sim_lock(&sim->dev);
        for (int i = 0; i < count; i++)
            take_event(sim, events[i].data.u32);
        more = work(sim, &due);
        if (due != INT64_MAX)
            arm(sim, due);
        quit = sim->quit;
        vdt_sim_unlock(sim);
    }
    return NULL;
}

bool
vdt_sim_worker_watch(struct vdt_sim *sim, int fd, uint32_t tag, GError **error)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = tag};

    /* A kick that is no eventfd (a socket, a file in a test) may not block the device thread. */
    if (!vdt_set_nonblocking(fd, error))
        return false;
    if (epoll_ctl(sim->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        return vdt_sim_fail(sim, error, VDT_ERROR_FAILED, "cannot wait for descriptor %d: %s", fd,
                            g_strerror(errno));
    return true;
}

void
vdt_sim_worker_unwatch(struct vdt_sim *sim, int fd)
{
    if (fd >= 0 && sim->epoll >= 0)
        epoll_ctl(sim->epoll, EPOLL_CTL_DEL, fd, NULL);
}

void
vdt_sim_worker_wake(struct vdt_sim *sim)
{
    vdt_event_signal(sim->wake);
}

bool
vdt_sim_worker_start(struct vdt_sim *sim, GError **error)
{
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL};
    sigset_t all, old;
    int failed;

    sim->epoll = epoll_create1(EPOLL_CLOEXEC);
    sim->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    sim->wake = vdt_eventfd(error);
    if (sim->wake < 0)
        return false;
    if (sim->epoll < 0 || sim->timer < 0)
        return vdt_sim_fail(sim, error, VDT_ERROR_FAILED, "cannot start: %s", g_strerror(errno));
    if (!vdt_sim_worker_watch(sim, sim->wake, TAG_WAKE, error) ||
        !vdt_sim_worker_watch(sim, sim->timer, TAG_TIMER, error))
        return false;
    /* A fault while its signal is blocked ends the process past any handler, and guest memory whose
     * file was shortened faults (memory/sigbus.h). */
    sigfillset(&all);
    for (unsigned i = 0; i < G_N_ELEMENTS(faults); i++)
        sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    failed = pthread_create(&sim->thread, NULL, run, sim);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (failed)
        return vdt_sim_fail(sim, error, VDT_ERROR_FAILED, "cannot start its thread: %s",
                            g_strerror(failed));
    sim->thread_started = true;
    return true;
}

void
vdt_sim_worker_stop(struct vdt_sim *sim)
{
    if (sim->thread_started) {
        vdt_sim_lock(&sim->dev);
        sim->quit = true;
        vdt_sim_unlock(sim);
        vdt_sim_worker_wake(sim);
        pthread_join(sim->thread, NULL);
        sim->thread_started = false;
    }
    sim->epoll = vdt_close(sim->epoll);
    sim->timer = vdt_close(sim->timer);
    sim->wake = vdt_close(sim->wake);
}
