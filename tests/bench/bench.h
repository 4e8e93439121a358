/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bench: what the benchmark programs share: options, repetitions, rows as table or CSV.
 *
 * A row is one point: what was measured (series), at which value of which parameter, the least and
 * the median of many repetitions. The least counts: other work on the machine only ever adds. Times
 * are CPU time of the thread that measures, unless the row says otherwise, and each program ends
 * with yardsticks of the same run, since absolute times drift from machine to machine. Nothing is
 * asserted about time; every program asserts that the work was done.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define BENCH_REPEAT 31u

struct bench {
    const char *name; /* of the program: first column of the CSV */
    bool csv;
    bool quick;         /* two short repetitions: does it run at all? */
    const char *prefix; /* only series that begin so; NULL: all */
    clockid_t clock;    /* thread CPU time; the program may ask for another */
    unsigned rows;
};

/* The samples of one row. */
struct bench_samples {
    double value[BENCH_REPEAT];
    unsigned count;
};

/* Reads --csv, --quick and a prefix; ends the program with 2 for anything else. */
void bench_init(struct bench *bench, const char *name, int argc, char **argv);
/* Yardsticks; the exit code. 1: no row has that prefix. */
int bench_finish(struct bench *bench);

/* This thread, and those it makes from now on, stay on one processor: the last that they may use.
 */
void bench_pin(void);

bool bench_wants(const struct bench *bench, const char *series);
unsigned bench_repeat(const struct bench *bench); /* repetitions of this run */
double bench_now(const struct bench *bench);      /* ns of the clock */

/* ns a turn. @fn does @turns turns, a multiple of @step; as many as take a millisecond. */
void bench_time(struct bench *bench, const char *series, const char *parameter, double at,
                void (*fn)(void *ctx, uint64_t turns), uint64_t step, void *ctx);
/* The same where each repetition needs a fresh start, which is not measured, and has exactly @turns
 * turns. */
void bench_time_fresh(struct bench *bench, const char *series, const char *parameter, double at,
                      void (*fresh)(void *ctx), void (*fn)(void *ctx, uint64_t turns),
                      uint64_t turns, void *ctx);

/* A row of the program's own measuring. @unit: "ns", "us" and "ms" are of one turn. */
void bench_add(struct bench_samples *samples, double value);
double bench_least(const struct bench_samples *samples);
void bench_row(struct bench *bench, const char *series, const char *parameter, double at,
               const char *unit, struct bench_samples *samples);
