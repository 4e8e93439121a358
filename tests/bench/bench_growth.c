/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How the cost of shadowing grows with rings, memory regions and VLANs: switch from passthrough to
 * shadow and back, stop, start from reset, start with replay. CPU time of the whole process (start
 * with replay: of the tracker's thread) over a device that does nothing. Where much is allocated
 * and freed, which is from 16 rings on, page faults are a part of it. The exponent is that of the
 * largest size against an eighth of it: 1 is linear, 0 is flat.
 */
#include <math.h>
#include <stdio.h>

#include "bench/bench.h"
#include "bench/guest.h"
#include "bench/null_device.h"
#include "virtio/features.h"

enum step { TO_SHADOW, TO_PASSTHROUGH, STOP, START, STEPS };

static const char *const step_name[STEPS] = {"switch to shadow", "switch to passthrough", "stop",
                                             "start"};

#define SIZES_MAX 8u

struct growth {
    struct bench *bench;
    const char *parameter;
    const unsigned *sizes;
    unsigned count;
    double cost[SIZES_MAX];
};

static void
put(struct growth *g, unsigned index, const char *series, struct bench_samples *samples)
{
    g->cost[index] = bench_least(samples);
    bench_row(g->bench, series, g->parameter, g->sizes[index], "us", samples);
}

/* After the last size: what each one more costs, and how it grows. */
static void
judge(struct growth *g, const char *series)
{
    unsigned last = g->count - 1, before = last;
    g_autofree char *each = g_strdup_printf("%s: each more", series);
    g_autofree char *exponent = g_strdup_printf("%s: growth", series);
    struct bench_samples more = {0}, grows = {0};

    while (before > 0 && g->sizes[before] * 8 > g->sizes[last])
        before--;
    bench_add(&more, (g->cost[last] - g->cost[before]) * 1e3 /
                         (double) (g->sizes[last] - g->sizes[before]));
    bench_add(&grows, log(g->cost[last] / g->cost[before]) /
                          log((double) g->sizes[last] / (double) g->sizes[before]));
    bench_row(g->bench, each, g->parameter, g->sizes[last], "ns more", &more);
    bench_row(g->bench, exponent, g->parameter, g->sizes[last], "exponent", &grows);
}

static void
log_all(struct bench_guest *guest, bool on)
{
    g_assert(vdt_shadow_set_features(guest->shadow, guest->features, on, NULL));
    g_assert(vdt_shadow_mode(guest->shadow) == (on ? VDT_MODE_SHADOW : VDT_MODE_PASSTHROUGH));
}

static void
go(struct bench_guest *guest, enum step step)
{
    switch (step) {
    case TO_SHADOW:
    case TO_PASSTHROUGH:
        log_all(guest, step == TO_SHADOW);
        break;
    case STOP:
        guest_stop(guest);
        g_assert(vdt_shadow_mode(guest->shadow) == VDT_MODE_STOPPED);
        break;
    default:
        guest_start(guest);
        g_assert(vdt_shadow_mode(guest->shadow) == VDT_MODE_PASSTHROUGH);
    }
}

/* Round and round: shadow, passthrough, stop, start. */
static void
walk(struct growth *g, struct bench_guest *guest, struct bench_samples samples[STEPS])
{
    guest_start(guest);
    for (unsigned r = 0; r < bench_repeat(g->bench); r++) {
        for (enum step step = 0; step < STEPS; step++) {
            double start = bench_now(g->bench);
            go(guest, step);
            bench_add(&samples[step], (bench_now(g->bench) - start) / 1e3);
        }
    }
}

static void
by_rings(struct bench *bench, uint16_t held)
{
    static const unsigned sizes[] = {1, 2, 4, 8, 16, 32, 64};
    struct growth g[STEPS];

    for (enum step step = 0; step < STEPS; step++)
        g[step] = (struct growth){bench, "rings", sizes, G_N_ELEMENTS(sizes), {0}};
    for (enum step step = 0; step < STEPS; step++) {
        g_autofree char *series =
            g_strdup_printf("%s%s", step_name[step], held ? " (rings full)" : "");
        for (unsigned i = 0; bench_wants(bench, series) && i < g->count; i++) {
            struct bench_samples samples[STEPS] = {0};
            struct bench_guest guest;

            guest_init(&guest, null_device_new(64, held), VDT_SHADOW_AUTO, 1, 0, sizes[i], 1);
            for (unsigned k = 0; k < sizes[i]; k++) {
                g_assert(guest_post(&guest, k, held, GUEST_BUFFER, true) == held);
                guest_kick(&guest, k);
            }
            walk(&g[step], &guest, samples);
            put(&g[step], i, series, &samples[step]);
            guest_clear(&guest);
        }
        if (bench_wants(bench, series))
            judge(&g[step], series);
    }
}

static void
plug(struct growth *g, unsigned index, struct bench_guest *guest)
{
    VDT_AUTO(guest_map) more = guest_more_memory(guest);
    struct bench_samples samples = {0};

    for (unsigned r = 0; r < bench_repeat(g->bench); r++) {
        double start = bench_now(g->bench);
        g_assert(vdt_shadow_set_memory(guest->shadow, more, NULL));
        g_assert(vdt_shadow_set_memory(guest->shadow, guest->map, NULL));
        bench_add(&samples, (bench_now(g->bench) - start) / 1e3);
    }
    put(g, index, "region plugged and unplugged", &samples);
}

static void
by_regions(struct bench *bench)
{
    static const unsigned sizes[] = {1, 8, 64, 511};
    struct growth plugged = {bench, "regions", sizes, G_N_ELEMENTS(sizes), {0}};
    struct growth g[STEPS];

    for (enum step step = 0; step < STEPS; step++)
        g[step] = plugged;
    for (unsigned i = 0; i < plugged.count; i++) {
        struct bench_samples samples[STEPS] = {0};
        struct bench_guest guest;

        guest_init(&guest, null_device_new(64, 0), VDT_SHADOW_AUTO, 1, 0, 2, sizes[i]);
        walk(&g[0], &guest, samples);
        for (enum step step = 0; step < STEPS; step++)
            put(&g[step], i, step_name[step], &samples[step]);
        plug(&plugged, i, &guest);
        guest_clear(&guest);
    }
    for (enum step step = 0; step < STEPS; step++)
        judge(&g[step], step_name[step]);
    judge(&plugged, "region plugged and unplugged");
}

static void
by_vlans(struct bench *bench)
{
    static const unsigned sizes[] = {1, 8, 64, 512, 4094};
    struct growth g = {bench, "VLANs", sizes, G_N_ELEMENTS(sizes), {0}};
    const uint64_t features =
        VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_CTRL_VLAN) | VDT_BIT(VIRTIO_NET_F_MAC);

    bench->clock = CLOCK_THREAD_CPUTIME_ID;
    for (unsigned i = 0; i < g.count; i++) {
        struct vdt_device *sim = vdt_device_open("sim:", NULL);
        struct bench_samples samples = {0};
        struct bench_guest guest;

        guest_init(&guest, sim, VDT_SHADOW_AUTO, 1, features, 2, 1);
        guest.net.set = VDT_NET_VLAN;
        for (unsigned vid = 1; vid <= sizes[i]; vid++)
            vdt_vlan_set(guest.net.vlan, vid, true);
        for (unsigned r = 0; r < bench_repeat(bench); r++) {
            double start = bench_now(bench);
            guest_start(&guest);
            bench_add(&samples, (bench_now(bench) - start) / 1e3);
            g_assert(guest.replayed == sizes[i]);
            guest_stop(&guest);
        }
        put(&g, i, "start with replay", &samples);
        guest_clear(&guest);
    }
    judge(&g, "start with replay");
}

int
main(int argc, char **argv)
{
    struct bench bench;

    bench_init(&bench, "growth", argc, argv);
    bench_pin();
    bench.clock = CLOCK_PROCESS_CPUTIME_ID;
    by_rings(&bench, 0);
    by_rings(&bench, GUEST_NUM);
    if (!bench.prefix) {
        by_regions(&bench);
        by_vlans(&bench);
    }
    return bench_finish(&bench);
}
