/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What it costs to mark dirty pages: in a log whose bits are set already, as they are after a busy
 * round, and in one that the VMM has just cleared. For each page; where a buffer is smaller than a
 * page, for each buffer.
 */
#include <glib.h>
#include <string.h>

#include "base/fd.h"
#include "bench/bench.h"
#include "memory/dirty_log.h"

#define MARKS 65536u

struct pattern {
    const char *name;
    uint64_t memory; /* the log's */
    uint64_t len, stride;
    bool random;
};

static const struct pattern patterns[] = {
    {"4 KiB random over 16 GiB", 16ull << 30, 4096, 4096, true},
    {"4 KiB in sequence", 1ull << 30, 4096, 4096, false},
    {"1500 B in sequence", 1ull << 30, 1500, 2048, false},
    {"64 KiB buffers", 4ull << 30, 64 << 10, 64 << 10, false},
    {"2 MiB buffers", 4ull << 30, 2 << 20, 2 << 20, false},
};

struct dirty {
    const struct pattern *pattern;
    struct vdt_dirty_log log;
    uint32_t *order; /* owned: buffer numbers, MARKS */
    uint64_t bytes;  /* of the log */
    uint64_t pages;  /* of one buffer; turns are pages */
    uint64_t buffers;
};

static void
clean(void *ctx)
{
    struct dirty *d = ctx;

    memset(d->log.words, 0, d->bytes);
}

static void
mark(void *ctx, uint64_t turns)
{
    struct dirty *d = ctx;
    uint64_t len = d->pattern->len, stride = d->pattern->stride;

    for (uint64_t done = 0; done < turns; done += d->buffers * d->pages) {
        for (uint64_t i = 0; i < d->buffers; i++)
            vdt_dirty_log_mark(&d->log, d->order[i] * stride, len);
    }
    g_assert(d->log.dropped == 0);
}

/* What one pass over all buffers has to leave behind. */
static uint64_t
pages_marked(const struct dirty *d)
{
    const struct pattern *p = d->pattern;
    g_autoptr(GHashTable) pages = g_hash_table_new(NULL, NULL);

    for (uint64_t i = 0; i < d->buffers; i++) {
        uint64_t first = d->order[i] * p->stride;
        for (uint64_t page = first / 4096; page <= (first + p->len - 1) / 4096; page++)
            g_hash_table_add(pages, GSIZE_TO_POINTER(page + 1));
    }
    return g_hash_table_size(pages);
}

static void
measure(struct bench *bench, const struct pattern *p)
{
    struct dirty d = {.pattern = p, .pages = MAX(p->len / 4096, 1)};
    g_autoptr(GRand) rand = g_rand_new_with_seed(3);
    g_autofree char *set = g_strdup_printf("set: %s", p->name);
    g_autofree char *clear = g_strdup_printf("cleared: %s", p->name);
    uint32_t in_memory = (uint32_t) (p->memory / p->stride);

    if (!bench_wants(bench, set) && !bench_wants(bench, clear))
        return;
    d.bytes = p->memory / 4096 / 8;
    VDT_AUTO_FD fd = vdt_memfd("bench-log", d.bytes, NULL);
    g_assert(vdt_dirty_log_init(&d.log, fd, 0, d.bytes, p->memory, NULL));
    d.buffers = MIN(MARKS, in_memory);
    d.order = g_new(uint32_t, d.buffers);
    for (uint32_t i = 0; i < d.buffers; i++)
        d.order[i] = p->random ? (uint32_t) g_rand_int_range(rand, 0, (gint32) in_memory) : i;

    mark(&d, d.buffers * d.pages);
    g_assert(vdt_dirty_log_count(&d.log) == pages_marked(&d));
    bench_time(bench, set, "", 0, mark, d.buffers * d.pages, &d);
    bench_time_fresh(bench, clear, "", 0, clean, mark, d.buffers * d.pages, &d);
    g_assert(vdt_dirty_log_count(&d.log) == pages_marked(&d));
    g_free(d.order);
    vdt_dirty_log_clear(&d.log);
}

int
main(int argc, char **argv)
{
    struct bench bench;

    bench_init(&bench, "dirty", argc, argv);
    bench_pin();
    for (unsigned i = 0; i < G_N_ELEMENTS(patterns); i++)
        measure(&bench, &patterns[i]);
    return bench_finish(&bench);
}
