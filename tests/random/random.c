/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random: whole migrations, one a seed. A seed that fails says so and can be run alone.
 *
 *   random-migrations [--nightly | --count N] [--first S] [--seed S] [--verbose]
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "random/migration.h"

#define RAM_SIZE (4u << 20)
#define COUNT_CI 5000u
#define COUNT_NIGHTLY 10000u
#define FAILURES_MAX 5u
#define FDS_EVERY 50u

struct choice {
    unsigned long count, first;
    bool floors, verbose;
};

static unsigned
open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

/* Refusals and broken rings are what is tested here: their warnings drown the seeds. */
static GLogWriterOutput
hush(GLogLevelFlags level, const GLogField *fields, gsize count, void *ctx)
{
    return G_LOG_WRITER_HANDLED;
}

static bool
one(unsigned long seed, const struct choice *choice, struct vdt_ram ram[2], struct tally *tally)
{
    struct plan plan;
    bool ok;

    plan_draw(&plan, seed);
    g_autofree char *text = plan_describe(&plan);
    if (choice->verbose)
        printf("# seed %lu: %s\n", seed, text);
    alarm(60);
    g_autofree char *why = migration_run(&plan, ram, tally);
    alarm(0);
    ok = !why;
    if (!ok)
        printf("random: seed %lu failed: %s (%s)\n", seed, why, text);
    fflush(stdout);
    plan_clear(&plan);
    return ok;
}

static bool
floor_of(const char *what, unsigned long have, unsigned long least)
{
    bool ok = have >= least;

    printf("%s - %s: %lu, at least %lu wanted\n", ok ? "ok" : "not ok", what, have, least);
    return ok;
}

/* Scaled from 10,000 migrations. */
static bool
floors(const struct tally *tally, unsigned long count)
{
    bool ok = floor_of("migrations", tally->migrations, count);

    ok &= floor_of("packed", tally->packed, count / 10);
    ok &=
        floor_of("requests out of order in flight at the switch", tally->out_of_order, count / 10);
    ok &= floor_of("refused at command k", tally->refused, count / 20);
    ok &= floor_of("went on at the source", tally->resumed, count / 20);
    return ok;
}

static bool
choose(int argc, char **argv, struct choice *choice)
{
    *choice = (struct choice){
        .count = g_getenv("VDT_NIGHTLY") ? COUNT_NIGHTLY : COUNT_CI, .first = 1, .floors = true};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(argv[i], "--verbose") == 0) {
            choice->verbose = true;
        } else if (strcmp(argv[i], "--nightly") == 0) {
            choice->count = COUNT_NIGHTLY;
        } else if (strcmp(argv[i], "--count") == 0 && value) {
            choice->count = strtoul(argv[++i], NULL, 10);
            choice->floors = false;
        } else if (strcmp(argv[i], "--first") == 0 && value) {
            choice->first = strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--seed") == 0 && value) {
            choice->first = strtoul(argv[++i], NULL, 10);
            choice->count = 1;
            choice->floors = false;
        } else {
            return false;
        }
    }
    return true;
}

int
main(int argc, char **argv)
{
    struct vdt_ram ram[2];
    struct tally tally = {0};
    struct choice choice;
    unsigned failed = 0, fds = 0;
    int64_t start = g_get_monotonic_time();

    if (!choose(argc, argv, &choice)) {
        fprintf(stderr, "usage: random-migrations [--nightly | --count N] [--first S] [--seed S] "
                        "[--verbose]\n");
        return 2;
    }
    if (!vdt_ram_init(&ram[0], RAM_SIZE, NULL) || !vdt_ram_init(&ram[1], RAM_SIZE, NULL))
        return 1;
    if (!choice.verbose)
        g_log_set_writer_func(hush, NULL, NULL);
    printf("TAP version 13\n");
    for (unsigned long i = 0; i < choice.count && failed < FAILURES_MAX; i++) {
        failed += !one(choice.first + i, &choice, ram, &tally);
        if (i % FDS_EVERY == 0 && failed == 0) {
            unsigned now = open_fds();

            if (fds && now != fds) {
                printf("random: seed %lu failed: %u descriptors are open, %u were %u seeds ago\n",
                       choice.first + i, now, fds, FDS_EVERY);
                failed++;
            }
            fds = now;
        }
    }
    printf("# %lu migrations in %.1f s: %lu packed, %lu with requests in flight, %lu with some out "
           "of order, %lu without suspend, %lu refused at command k, %lu went on at the source, "
           "%lu replayed twice; %lu commands, %lu chains, %lu pages\n",
           tally.migrations, (double) (g_get_monotonic_time() - start) / 1e6, tally.packed,
           tally.in_flight, tally.out_of_order, tally.no_suspend, tally.refused, tally.resumed,
           tally.twice, tally.commands, tally.chains, tally.pages);
    printf("%s - every seed keeps the invariants\n", failed ? "not ok" : "ok");
    bool enough = !choice.floors || failed || floors(&tally, choice.count);
    printf("1..%u\n", choice.floors && !failed ? 6 : 1);
    vdt_ram_clear(&ram[0]);
    vdt_ram_clear(&ram[1]);
    return failed || !enough;
}
