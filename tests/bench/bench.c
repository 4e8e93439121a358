/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bench/bench.h"

#include <glib.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

#define LEAST_NS 1e6 /* of a repetition */
#define QUICK_REPEAT 2u

static const char columns[] = "benchmark,series,parameter,at,unit,least,median,per_second";

void
bench_init(struct bench *bench, const char *name, int argc, char **argv)
{
    *bench = (struct bench){.name = name, .clock = CLOCK_THREAD_CPUTIME_ID};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--csv") == 0)
            bench->csv = true;
        else if (strcmp(argv[i], "--quick") == 0)
            bench->quick = true;
        else if (argv[i][0] != '-' && !bench->prefix)
            bench->prefix = argv[i];
        else {
            fprintf(stderr, "usage: bench-%s [--csv] [--quick] [SERIES]\n", name);
            exit(2);
        }
    }
    if (bench->csv)
        printf("%s\n", columns);
    else
        printf("%-44s %20s %12s %12s %14s\n", name, "", "least", "median", "a second");
}

void
bench_pin(void)
{
    cpu_set_t set;
    int last = -1;

    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return;
    for (int i = 0; i < CPU_SETSIZE; i++) {
        if (CPU_ISSET(i, &set))
            last = i;
    }
    CPU_ZERO(&set);
    CPU_SET(last, &set);
    /* Without it the figures are only less steady. */
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        fprintf(stderr, "not pinned to a processor\n");
}

bool
bench_wants(const struct bench *bench, const char *series)
{
    return !bench->prefix || g_str_has_prefix(series, bench->prefix);
}

unsigned
bench_repeat(const struct bench *bench)
{
    return bench->quick ? QUICK_REPEAT : BENCH_REPEAT;
}

double
bench_now(const struct bench *bench)
{
    struct timespec t;

    clock_gettime(bench->clock, &t);
    return (double) t.tv_sec * 1e9 + (double) t.tv_nsec;
}

void
bench_add(struct bench_samples *samples, double value)
{
    g_assert(samples->count < BENCH_REPEAT);
    samples->value[samples->count++] = value;
}

static int
compare(const void *a, const void *b)
{
    double x = *(const double *) a, y = *(const double *) b;

    return x < y ? -1 : x > y;
}

double
bench_least(const struct bench_samples *samples)
{
    double least = samples->value[0];

    for (unsigned i = 1; i < samples->count; i++)
        least = MIN(least, samples->value[i]);
    return least;
}

static double
per_second(const char *unit, double value)
{
    static const struct {
        const char *unit;
        double second;
    } times[] = {{"ns", 1e9}, {"us", 1e6}, {"ms", 1e3}};

    for (unsigned i = 0; i < G_N_ELEMENTS(times); i++) {
        if (strcmp(unit, times[i].unit) == 0)
            return times[i].second / value;
    }
    return 0;
}

void
bench_row(struct bench *bench, const char *series, const char *parameter, double at,
          const char *unit, struct bench_samples *samples)
{
    g_assert(samples->count > 0 && !strpbrk(series, ",\"\n") && !strpbrk(parameter, ",\"\n"));
    qsort(samples->value, samples->count, sizeof(samples->value[0]), compare);

    double least = samples->value[0], median = samples->value[samples->count / 2];
    double often = per_second(unit, least);
    g_autofree char *where = *parameter ? g_strdup_printf("%s %g", parameter, at) : g_strdup("");

    if (bench->csv)
        printf("%s,%s,%s,%g,%s,%.6g,%.6g,%.6g\n", bench->name, series, parameter, at, unit, least,
               median, often);
    else if (often > 0)
        printf("%-44s %20s %9.5g %-2s %9.5g %-2s %14.5g\n", series, where, least, unit, median,
               unit, often);
    else
        printf("%-44s %20s %9.5g %s\n", series, where, least, unit);
    fflush(stdout);
    bench->rows++;
}

/* Turns of which one repetition is long enough to be measured. */
static uint64_t
enough(const struct bench *bench, void (*fn)(void *ctx, uint64_t turns), uint64_t step, void *ctx)
{
    uint64_t turns = step;

    while (!bench->quick) {
        double start = bench_now(bench);
        fn(ctx, turns);
        if (bench_now(bench) - start >= LEAST_NS)
            break;
        turns *= 2;
    }
    return turns;
}

void
bench_time_fresh(struct bench *bench, const char *series, const char *parameter, double at,
                 void (*fresh)(void *ctx), void (*fn)(void *ctx, uint64_t turns), uint64_t turns,
                 void *ctx)
{
    struct bench_samples samples = {0};

    if (!bench_wants(bench, series))
        return;
    for (unsigned i = 0; i < bench_repeat(bench); i++) {
        if (fresh)
            fresh(ctx);
        double start = bench_now(bench);
        fn(ctx, turns);
        bench_add(&samples, (bench_now(bench) - start) / (double) turns);
    }
    bench_row(bench, series, parameter, at, "ns", &samples);
}

void
bench_time(struct bench *bench, const char *series, const char *parameter, double at,
           void (*fn)(void *ctx, uint64_t turns), uint64_t step, void *ctx)
{
    if (bench_wants(bench, series))
        bench_time_fresh(bench, series, parameter, at, NULL, fn, enough(bench, fn, step, ctx), ctx);
}

#define SEGMENTS 256u

static void
copy_16(void *ctx, uint64_t turns)
{
    struct {
        uint64_t half[2];
    } *at = ctx;

    for (uint64_t i = 0; i < turns; i++) {
        at[SEGMENTS + i % SEGMENTS] = at[i % SEGMENTS];
        __asm__ volatile("" ::: "memory");
    }
}

static void
locked_or(void *ctx, uint64_t turns)
{
    for (uint64_t i = 0; i < turns; i++)
        __atomic_fetch_or((uint64_t *) ctx, 1ull << i % 64, __ATOMIC_RELEASE);
}

static void
eventfd_round(void *ctx, uint64_t turns)
{
    for (uint64_t i = 0; i < turns; i++) {
        vdt_event_signal(*(int *) ctx);
        g_assert(vdt_event_drain(*(int *) ctx));
    }
}

int
bench_finish(struct bench *bench)
{
    static uint64_t memory[4 * SEGMENTS];
    VDT_AUTO_FD event = vdt_eventfd(NULL);

    if (bench->rows == 0) {
        fprintf(stderr, "bench-%s has no series '%s'\n", bench->name, bench->prefix);
        return 1;
    }
    bench->prefix = NULL;
    bench->clock = CLOCK_THREAD_CPUTIME_ID;
    bench_time(bench, "yardstick: 16-byte copy", "", 0, copy_16, 1024, memory);
    bench_time(bench, "yardstick: locked OR", "", 0, locked_or, 1024, memory);
    bench_time(bench, "yardstick: eventfd write and read", "", 0, eventfd_round, 64, &event);
    return 0;
}
