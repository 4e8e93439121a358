/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a VMM pays to take a dirty log of 3 GiB of guest memory: the built-in VMM's vdt_ram_take(),
 * and a walk over every bit of the same log as its yardstick. us for one harvest.
 */
#include <glib.h>
#include <string.h>

#include "bench/bench.h"
#include "guest/ram.h"

#define MEMORY (3ull << 30)
#define PAGES (MEMORY / VDT_RAM_PAGE)
#define CLUSTER 512u /* pages: 2 MiB */

struct harvest {
    struct vdt_ram ram; /* never touched: only its log is of interest */
    uint64_t *log;
    uint64_t *dirty; /* owned: GPAs of the pages to mark */
    uint64_t count, taken;
};

static uint64_t
gpa_of(const struct harvest *h, uint64_t page)
{
    uint64_t in_region = h->ram.region[0].size / VDT_RAM_PAGE;

    return h->ram.region[page / in_region].gpa + page % in_region * VDT_RAM_PAGE;
}

static void
count_page(void *ctx, uint64_t gpa)
{
    ((struct harvest *) ctx)->taken++;
}

static void
take(struct harvest *h)
{
    vdt_ram_take(&h->ram, h->log, count_page, h);
}

/* Bit by bit, as it is written down first. */
static void
walk(struct harvest *h)
{
    for (unsigned i = 0; i < VDT_RAM_REGIONS; i++) {
        uint64_t first = h->ram.region[i].gpa / VDT_RAM_PAGE;
        uint64_t end = first + h->ram.region[i].size / VDT_RAM_PAGE;

        for (uint64_t page = first; page < end; page++) {
            uint64_t bit = 1ull << page % 64;
            if (__atomic_load_n(&h->log[page / 64], __ATOMIC_RELAXED) & bit) {
                __atomic_fetch_and(&h->log[page / 64], ~bit, __ATOMIC_SEQ_CST);
                count_page(h, page * VDT_RAM_PAGE);
            }
        }
    }
}

static void
measure(struct bench *bench, struct harvest *h, const char *series, double percent,
        void (*fn)(struct harvest *h))
{
    struct bench_samples samples = {0};

    if (!bench_wants(bench, series))
        return;
    for (unsigned r = 0; r < bench_repeat(bench); r++) {
        for (uint64_t i = 0; i < h->count; i++)
            h->log[h->dirty[i] / VDT_RAM_PAGE / 64] |= 1ull << h->dirty[i] / VDT_RAM_PAGE % 64;
        h->taken = 0;
        double start = bench_now(bench);
        fn(h);
        bench_add(&samples, (bench_now(bench) - start) / 1e3);
        g_assert(h->taken == h->count);
    }
    bench_row(bench, series, "percent dirty", percent, "us", &samples);
}

/* Distinct pages, at random or whole clusters at random. */
static void
choose(struct harvest *h, double percent, unsigned cluster)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(5);
    g_autofree bool *chosen = g_new0(bool, PAGES / cluster);
    uint64_t wanted = (uint64_t) ((double) PAGES * percent / 100 / cluster + 0.5);

    for (h->count = 0; h->count < wanted * cluster;) {
        unsigned at = (unsigned) g_rand_int_range(rand, 0, (gint32) (PAGES / cluster));
        if (chosen[at])
            continue;
        chosen[at] = true;
        for (unsigned i = 0; i < cluster; i++)
            h->dirty[h->count++] = gpa_of(h, (uint64_t) at * cluster + i);
    }
}

int
main(int argc, char **argv)
{
    static const double percents[] = {0, 0.1, 1, 10, 100};
    struct harvest h = {0};
    struct bench bench;

    bench_init(&bench, "harvest", argc, argv);
    bench_pin();
    g_assert(vdt_ram_init(&h.ram, MEMORY, NULL));
    /* Pages of its own, as a log in use has: untouched, all of it would be one page of zeros. */
    h.log = g_new(uint64_t, h.ram.words);
    memset(h.log, 0xff, h.ram.words * sizeof(h.log[0]));
    take(&h);
    h.dirty = g_new(uint64_t, PAGES);
    for (unsigned i = 0; i < G_N_ELEMENTS(percents); i++) {
        choose(&h, percents[i], 1);
        measure(&bench, &h, "random pages", percents[i], take);
        measure(&bench, &h, "yardstick: bit by bit", percents[i], walk);
        if (percents[i] > 0 && percents[i] < 100) {
            choose(&h, percents[i], CLUSTER);
            measure(&bench, &h, "clusters of 2 MiB", percents[i], take);
        }
    }
    g_free(h.log);
    g_free(h.dirty);
    vdt_ram_clear(&h.ram);
    return bench_finish(&bench);
}
