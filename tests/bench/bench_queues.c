/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whole shadowed queues with real threads: a guest (this thread), one or two workers, and the
 * embedded device's thread, which loops frames back, all woken by eventfds. 1 to 4 queue pairs.
 *
 * Chains are counted as the guest gets them back: one for each frame sent, one for each received.
 * Wall time a chain, and with it chains a second, is the host's: where there are no more than two
 * processors, guest, workers and device share them, and it says little of what one more worker
 * would bring on a larger one. The CPU time a chain, of each kind of thread, says what the tracker
 * takes of it.
 */
#include <dirent.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/wire.h"
#include "bench/bench.h"
#include "bench/guest.h"
#include "virtio/features.h"

#define RUNS 5u
#define RUN_NS 100e6
#define QUICK_NS 40e6
#define BATCH 32u
#define HEADER 12u
#define FRAME (HEADER + 64u)
#define STALLED_MS 5000

/* CPU time so far, ns: of this thread, the workers, the rest (the device). */
struct spent {
    double wall, guest, workers, device;
};

static double
read_schedstat(const char *tid, char name[16])
{
    g_autofree char *stat = g_strdup_printf("/proc/self/task/%s/schedstat", tid);
    g_autofree char *comm = g_strdup_printf("/proc/self/task/%s/comm", tid);
    g_autofree char *text = NULL, *first = NULL;

    if (!g_file_get_contents(stat, &first, NULL, NULL) ||
        !g_file_get_contents(comm, &text, NULL, NULL))
        return 0;
    g_strlcpy(name, g_strchomp(text), 16);
    return g_ascii_strtod(first, NULL);
}

static struct spent
look(void)
{
    struct spent spent = {.wall = (double) g_get_monotonic_time() * 1e3};
    g_autofree char *own = g_strdup_printf("%d", (int) gettid());
    g_autoptr(GDir) dir = g_dir_open("/proc/self/task", 0, NULL);
    const char *tid;

    while (dir && (tid = g_dir_read_name(dir))) {
        char name[16] = "";
        double ns = read_schedstat(tid, name);

        *(g_str_equal(tid, own)                ? &spent.guest
          : g_str_has_prefix(name, "vdt-data") ? &spent.workers
                                               : &spent.device) += ns;
    }
    return spent;
}

/* Frames of a flow of its own for each pair, so that they come back on it. */
static void
fill_frames(struct bench_guest *guest)
{
    for (uint32_t ring = 1; ring < guest->rings; ring += 2) {
        for (uint16_t id = 0; id < GUEST_NUM; id++) {
            uint8_t *frame = guest_buffer(guest, ring, id) + HEADER;

            memset(frame - HEADER, 0, FRAME);
            memcpy(frame, "\x52\x54\x00\x73\x69\x6d", 6);
            memcpy(frame + 6, "\x02\x00\x00\x00\x00", 5);
            frame[11] = (uint8_t) ring;
            frame[12] = 0x88; /* local experimental ethertype */
            frame[13] = 0xb5;
        }
    }
}

/* Completions taken, buffers given anew. */
static uint64_t
turn(struct bench_guest *guest)
{
    uint64_t done = 0;

    for (uint32_t i = 0; i < guest->rings; i++) {
        struct vdt_used used;
        bool receive = i % 2 == 0;
        unsigned n = 0;

        while (vdt_device_ring_reap(&guest->ring[i], &used) == VDT_REAP_USED) {
            g_assert(!receive || used.len == FRAME);
            n++;
        }
        g_assert(!guest->ring[i].fault);
        done += n;
        /* A sender that sends as long as there is room, a batch at a time. */
        if (guest_post(guest, i, receive ? GUEST_NUM : BATCH, receive ? GUEST_BUFFER : FRAME,
                       receive) > 0)
            guest_kick(guest, i);
    }
    return done;
}

/* Asks for calls; true if there is no need to wait for one. */
static bool
busy(struct bench_guest *guest)
{
    bool more = false;

    for (uint32_t i = 0; i < guest->rings; i++)
        more |= vdt_device_ring_calls_on(&guest->ring[i]);
    return more;
}

static uint64_t
run_for(struct bench_guest *guest, double ns)
{
    double end = (double) g_get_monotonic_time() * 1e3 + ns;
    struct pollfd fds[VDT_RINGS_MAX];
    uint64_t done = 0;

    for (uint32_t i = 0; i < guest->rings; i++)
        fds[i] = (struct pollfd){.fd = guest->call[i], .events = POLLIN};
    while (done == 0 || (double) g_get_monotonic_time() * 1e3 < end) {
        uint64_t n = turn(guest);

        done += n;
        if (n > 0 || busy(guest))
            continue;
        g_assert(poll(fds, guest->rings, STALLED_MS) > 0);
        for (uint32_t i = 0; i < guest->rings; i++)
            vdt_event_drain(guest->call[i]);
    }
    return done;
}

struct figures {
    struct bench_samples wall, worker, device, guest;
};

static void
put(struct bench *bench, unsigned pairs, unsigned workers, struct figures *f)
{
    const struct {
        const char *what, *unit;
        struct bench_samples *samples;
    } rows[] = {{"wall time", "ns", &f->wall},
                {"CPU of the workers", "ns", &f->worker},
                {"CPU of the device", "ns", &f->device},
                {"CPU of the guest", "ns", &f->guest}};

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *series =
            g_strdup_printf("%u worker%s: %s", workers, workers == 1 ? "" : "s", rows[i].what);
        bench_row(bench, series, "queue pairs", pairs, rows[i].unit, rows[i].samples);
    }
}

static void
measure(struct bench *bench, unsigned pairs, unsigned workers)
{
    g_autofree char *spec = g_strdup_printf("sim:pairs=%u", pairs);
    struct vdt_device *sim = vdt_device_open(spec, NULL);
    uint64_t features = VDT_BIT(VIRTIO_NET_F_MAC) | VDT_BIT(VIRTIO_RING_F_EVENT_IDX);
    unsigned runs = bench->quick ? 1 : RUNS;
    struct figures f = {0};
    struct bench_guest guest;
    uint64_t counted = 0;

    if (pairs > 1)
        features |= VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_MQ);
    guest_init(&guest, sim, VDT_SHADOW_ALWAYS, workers, features, 2 * pairs, 1);
    if (pairs > 1) {
        guest.net.set = VDT_NET_PAIRS;
        guest.net.queue_pairs = (uint16_t) pairs;
    }
    fill_frames(&guest);
    guest_start(&guest);
    g_assert(guest.replayed == (pairs > 1) && vdt_shadow_mode(guest.shadow) == VDT_MODE_SHADOW);
    run_for(&guest, bench->quick ? QUICK_NS : RUN_NS / 4);
    for (unsigned r = 0; r < runs; r++) {
        struct spent before = look();
        double done = (double) run_for(&guest, bench->quick ? QUICK_NS : RUN_NS);
        struct spent after = look();

        counted += (uint64_t) done;
        bench_add(&f.wall, (after.wall - before.wall) / done);
        bench_add(&f.worker, (after.workers - before.workers) / done);
        bench_add(&f.device, (after.device - before.device) / done);
        bench_add(&f.guest, (after.guest - before.guest) / done);
    }
    uint64_t returned = 0;
    for (uint32_t i = 0; i < guest.rings; i++) {
        struct vdt_shadow_ring_view view;
        vdt_shadow_view_ring(guest.shadow, i, &view);
        g_free(view.requests);
        returned += view.returned;
        g_assert(!view.broken);
    }
    g_assert(returned >= counted);
    guest_stop(&guest);
    put(bench, pairs, workers, &f);
    guest_clear(&guest);
}

int
main(int argc, char **argv)
{
    struct bench bench;

    bench_init(&bench, "queues", argc, argv);
    for (unsigned workers = 1; workers <= 2; workers++) {
        for (unsigned pairs = 1; pairs <= 4; pairs++)
            measure(&bench, pairs, workers);
    }
    bench.prefix = NULL;
    return bench_finish(&bench);
}
