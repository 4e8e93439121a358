/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Random: whole migrations, one a seed, shared among some processes. A seed that fails says so and
 * can be run alone.
 *
 *   random-migrations [--count N] [--first S] [--seed S] [--jobs N] [--verbose]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/footprint.h"
#include "random/migration.h"

#define RAM_SIZE (4u << 20)
#define COUNT 10000u
#define COUNT_NIGHTLY 100000u
#define JOBS 2u
#define JOBS_MAX 64u
#define FAILURES_MAX 5u
/* Seeds after which every kind of object has been made once. */
#define WARM 100u

struct choice {
    unsigned long count, first;
    unsigned jobs;
    bool floors, verbose;
};

/* What one process tells the first, in memory that they share. */
struct job {
    unsigned long seed; /* at work on it */
    unsigned failed;
    struct tally tally;
};

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

/* After each seed the process holds what it held after the first ones. */
static bool
leaves_nothing(unsigned long seed, unsigned long done, struct footprint *base)
{
    struct footprint now;

    if (!footprint_take(&now))
        return false;
    if (done <= WARM) {
        *base = now;
        return true;
    }
    g_autofree char *why = footprint_differs(base, &now);
    if (why)
        printf("random: seed %lu failed: not all is given back: %s\n", seed, why);
    return !why;
}

/* Job @n of them all takes every choice->jobs-th seed. */
static void
work(const struct choice *choice, unsigned n, struct job *job)
{
    struct footprint base = {0};
    struct vdt_ram ram[2];
    unsigned long done = 0;

    if (!vdt_ram_init(&ram[0], RAM_SIZE, NULL) || !vdt_ram_init(&ram[1], RAM_SIZE, NULL))
        exit(1);
    for (unsigned long i = n; i < choice->count && job->failed < FAILURES_MAX; i += choice->jobs) {
        job->seed = choice->first + i;
        if (!one(job->seed, choice, ram, &job->tally))
            job->failed++;
        /* One that failed stops where it stood. */
        else if (job->failed == 0 && !leaves_nothing(job->seed, ++done, &base))
            job->failed++;
    }
    vdt_ram_clear(&ram[0]);
    vdt_ram_clear(&ram[1]);
    fflush(stdout);
    _exit(0);
}

static void
add(struct tally *sum, const struct tally *part)
{
    unsigned long *to = (unsigned long *) sum;
    const unsigned long *from = (const unsigned long *) part;

    for (size_t i = 0; i < sizeof(*sum) / sizeof(*to); i++)
        to[i] += from[i];
}

/* Returns how many seeds failed. */
static unsigned
run(const struct choice *choice, struct tally *ret_sum)
{
    struct job *jobs = mmap(NULL, choice->jobs * sizeof(*jobs), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid[JOBS_MAX];
    unsigned failed = 0;

    g_assert(jobs != MAP_FAILED);
    fflush(stdout);
    for (unsigned n = 0; n < choice->jobs; n++) {
        pid[n] = fork();
        g_assert(pid[n] >= 0);
        if (pid[n] == 0)
            work(choice, n, &jobs[n]);
    }
    for (unsigned n = 0; n < choice->jobs; n++) {
        int status;

        g_assert(waitpid(pid[n], &status, 0) == pid[n]);
        failed += jobs[n].failed;
        add(ret_sum, &jobs[n].tally);
        if (status == 0)
            continue;
        failed++;
        printf("random: seed %lu failed: %s\n", jobs[n].seed,
               !WIFSIGNALED(status)          ? "the process ended"
               : WTERMSIG(status) == SIGALRM ? "it was not over after a minute"
                                             : strsignal(WTERMSIG(status)));
    }
    munmap(jobs, choice->jobs * sizeof(*jobs));
    return failed;
}

static bool
floor_of(const char *what, unsigned long have, unsigned long least)
{
    bool ok = have >= least;

    printf("%s - %s: %lu, at least %lu wanted\n", ok ? "ok" : "not ok", what, have, least);
    return ok;
}

#define FLOORS 10u

/* Scaled from 10,000 migrations. */
static bool
floors(const struct tally *tally, unsigned long count)
{
    bool ok = floor_of("migrations", tally->migrations, count);

    ok &= floor_of("packed", tally->packed, count / 10);
    ok &= floor_of("with requests in flight at the switch that were overtaken", tally->out_of_order,
                   count / 10);
    ok &= floor_of("refused at command k by the destination", tally->refused, count / 20);
    ok &= floor_of("went on at the source after that", tally->resumed, count / 20);
    ok &= floor_of("passed through until the log went on", tally->passed_through, count / 10);
    ok &= floor_of("the same, packed", tally->packed_through, count / 50);
    ok &= floor_of("logged, then not, then logged again", tally->wavered, count / 10);
    ok &= floor_of("memory came and went under traffic", tally->grown, count / 10);
    ok &= floor_of("a command of the guest was refused", tally->nacked, count / 20);
    return ok;
}

static bool
choose(int argc, char **argv, struct choice *choice)
{
    *choice = (struct choice){.count = g_getenv("VDT_NIGHTLY") ? COUNT_NIGHTLY : COUNT,
                              .first = 1,
                              .jobs = JOBS,
                              .floors = true};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (strcmp(argv[i], "--verbose") == 0) {
            choice->verbose = true;
        } else if (strcmp(argv[i], "--count") == 0 && value) {
            choice->count = strtoul(argv[++i], NULL, 10);
            choice->floors = false;
        } else if (strcmp(argv[i], "--first") == 0 && value) {
            choice->first = strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--jobs") == 0 && value) {
            choice->jobs = (unsigned) strtoul(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--seed") == 0 && value) {
            choice->first = strtoul(argv[++i], NULL, 10);
            choice->count = choice->jobs = 1;
            choice->floors = false;
        } else {
            return false;
        }
    }
    return choice->jobs >= 1 && choice->jobs <= JOBS_MAX;
}

int
main(int argc, char **argv)
{
    struct tally tally = {0};
    struct choice choice;
    int64_t start = g_get_monotonic_time();

    footprint_make_exact(argv);
    if (!choose(argc, argv, &choice)) {
        fprintf(stderr, "usage: random-migrations [--count N] [--first S] [--seed S] [--jobs N] "
                        "[--verbose]\n");
        return 2;
    }
    if (!choice.verbose)
        g_log_set_writer_func(hush, NULL, NULL);
    printf("TAP version 13\n");
    unsigned failed = run(&choice, &tally);
    printf(
        "# %lu migrations in %.1f s: %lu without suspend, %lu with requests in flight, %lu given "
        "up and gone on with, %lu replayed twice; %lu commands, %lu chains, %lu pages, %lu looks "
        "into the rings' books\n",
        tally.migrations, (double) (g_get_monotonic_time() - start) / 1e6, tally.no_suspend,
        tally.in_flight, tally.cancelled, tally.twice, tally.commands, tally.chains, tally.pages,
        tally.looks);
    printf("%s - every seed keeps the invariants\n", failed ? "not ok" : "ok");
    bool enough = !choice.floors || failed || floors(&tally, choice.count);
    printf("1..%u\n", choice.floors && !failed ? 1 + FLOORS : 1);
    return failed || !enough;
}
