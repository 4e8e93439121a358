/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What address look-ups cost by the number of maps, and what it costs to add and remove one. Maps
 * are of 2 MiB, with a hole behind each, and in no order on the other side.
 */
#include <glib.h>

#include "base/fd.h"
#include "bench/bench.h"
#include "memory/guest_map.h"
#include "memory/iova_space.h"

#define MAP (2ull << 20)
#define STRIDE (2 * MAP)
#define GPA 0x100000000ull
#define ADDRESSES 16384u
#define LEN 1500u

struct lookup {
    unsigned maps;
    uint64_t *address; /* owned: ADDRESSES, taken round and round */
    struct vdt_iova_table *table;
    struct vdt_guest_map *map;
    struct vdt_iova_space *space;
    int fd;
};

static void
choose_addresses(struct lookup *l, bool same_region)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);
    int only = g_rand_int_range(rand, 0, (gint32) l->maps);

    for (unsigned i = 0; i < ADDRESSES; i++) {
        int at = same_region ? only : g_rand_int_range(rand, 0, (gint32) l->maps);
        l->address[i] =
            GPA + (uint64_t) at * STRIDE + (uint64_t) g_rand_int_range(rand, 0, MAP - LEN);
    }
}

static void
in_table(void *ctx, uint64_t turns)
{
    const struct lookup *l = ctx;
    uint64_t found = 0, to;

    for (uint64_t i = 0; i < turns; i++) {
        if (vdt_iova_table_lookup(l->table, l->address[i % ADDRESSES], LEN, &to))
            found += to != 0;
    }
    g_assert(found == turns);
}

static void
in_guest_map(void *ctx, uint64_t turns)
{
    const struct lookup *l = ctx;
    uint64_t found = 0;

    for (uint64_t i = 0; i < turns; i++)
        found += vdt_guest_map_covers(l->map, l->address[i % ADDRESSES], LEN);
    g_assert(found == turns);
}

/* Where guest memory is at IOVA = GPA: the place is known, and checked to be free. */
static void
reserve_and_release(void *ctx, uint64_t turns)
{
    struct lookup *l = ctx;
    uint64_t done = 0;

    for (uint64_t i = 0; i < turns; i++) {
        uint64_t at = GPA + (i & (l->maps - 1)) * STRIDE + MAP;
        done += vdt_iova_space_reserve(l->space, at, MAP, NULL) &&
                vdt_iova_space_release(l->space, at, MAP);
    }
    g_assert(done == turns);
}

/* Where it is not: a hole is looked for, and the only one lies behind all maps. */
static void
alloc_and_release(void *ctx, uint64_t turns)
{
    struct lookup *l = ctx;
    uint64_t at, done = 0;

    for (uint64_t i = 0; i < turns; i++)
        done += vdt_iova_space_alloc(l->space, 2 * MAP, MAP, false, &at, NULL) &&
                vdt_iova_space_release(l->space, at, 2 * MAP);
    g_assert(done == turns);
}

/* A generation of the guest map with one region more, one with that less: what a hot-plugged module
 * costs, the mapping of its memory included. */
static void
plug_and_unplug(void *ctx, uint64_t turns)
{
    struct lookup *l = ctx;
    struct vdt_region_spec spec = {
        .gpa = GPA - STRIDE, .size = MAP, .frontend = 0x7f0000000000 - MAP, .fd = l->fd};

    for (uint64_t i = 0; i < turns; i++) {
        struct vdt_guest_map *more = vdt_guest_map_with(l->map, &spec, NULL);
        struct vdt_guest_map *less =
            vdt_guest_map_without(more, spec.gpa, spec.size, spec.frontend, NULL);

        g_assert(vdt_guest_map_count(less) == l->maps);
        vdt_guest_map_unref(more);
        vdt_guest_map_unref(less);
    }
}

static struct vdt_iova_stretch *
stretches(unsigned maps)
{
    struct vdt_iova_stretch *s = g_new(struct vdt_iova_stretch, maps);
    g_autoptr(GRand) rand = g_rand_new_with_seed(11);

    for (unsigned i = 0; i < maps; i++)
        s[i] = (struct vdt_iova_stretch){.from = GPA + i * STRIDE, .to = i * STRIDE, .len = MAP};
    for (unsigned i = maps - 1; i > 0; i--) {
        unsigned k = (unsigned) g_rand_int_range(rand, 0, (gint32) i + 1);
        uint64_t to = s[i].to;
        s[i].to = s[k].to;
        s[k].to = to;
    }
    return s;
}

static void
build_table(void *ctx, uint64_t turns)
{
    const struct lookup *l = ctx;
    g_autofree struct vdt_iova_stretch *s = stretches(l->maps);

    for (uint64_t done = 0; done < turns; done += l->maps) {
        VDT_AUTO(iova_table) table = vdt_iova_table_new(s, l->maps);
        g_assert(table);
    }
}

static void
measure_table(struct bench *bench, struct lookup *l)
{
    g_autofree struct vdt_iova_stretch *s = stretches(l->maps);

    l->table = vdt_iova_table_new(s, l->maps);
    g_assert(l->table);
    choose_addresses(l, false);
    bench_time(bench, "translate random", "maps", l->maps, in_table, 1024, l);
    choose_addresses(l, true);
    bench_time(bench, "translate same region", "maps", l->maps, in_table, 1024, l);
    bench_time(bench, "table built for each map", "maps", l->maps, build_table, l->maps, l);
    vdt_iova_table_free(l->table);
}

static void
measure_space(struct bench *bench, struct lookup *l)
{
    l->space = vdt_iova_space_new(0, UINT64_MAX >> 8);
    g_assert(vdt_iova_space_reserve(l->space, 0, GPA, NULL));
    for (unsigned i = 0; i < l->maps; i++)
        g_assert(vdt_iova_space_reserve(l->space, GPA + i * STRIDE, MAP, NULL));
    bench_time(bench, "reserve and release", "maps", l->maps, reserve_and_release, 64, l);
    bench_time(bench, "find a hole and release", "maps", l->maps, alloc_and_release, 1, l);
    vdt_iova_space_free(l->space);
}

static void
measure_guest_map(struct bench *bench, struct lookup *l)
{
    g_autofree struct vdt_region_spec *specs = g_new(struct vdt_region_spec, l->maps);

    for (unsigned i = 0; i < l->maps; i++)
        specs[i] = (struct vdt_region_spec){.gpa = GPA + i * STRIDE,
                                            .size = MAP,
                                            .frontend = 0x7f0000000000 + i * STRIDE,
                                            .fd = l->fd};
    l->map = vdt_guest_map_from_table(specs, l->maps, NULL);
    g_assert(l->map);
    choose_addresses(l, false);
    bench_time(bench, "guest memory random", "regions", l->maps, in_guest_map, 1024, l);
    choose_addresses(l, true);
    bench_time(bench, "guest memory same region", "regions", l->maps, in_guest_map, 1024, l);
    if (l->maps < VDT_REGIONS_MAX)
        bench_time(bench, "region plugged and unplugged", "regions", l->maps, plug_and_unplug, 1,
                   l);
    vdt_guest_map_unref(l->map);
}

int
main(int argc, char **argv)
{
    static const unsigned counts[] = {2, 8, 64, 1024, 16384};
    static const unsigned regions[] = {1, 2, 8, 64, 511, VDT_REGIONS_MAX};
    VDT_AUTO_FD fd = vdt_memfd("bench", MAP, NULL);
    g_autofree uint64_t *address = g_new(uint64_t, ADDRESSES);
    struct lookup l = {.address = address, .fd = fd};
    struct bench bench;

    bench_init(&bench, "lookup", argc, argv);
    bench_pin();
    for (unsigned i = 0; i < G_N_ELEMENTS(counts); i++) {
        l.maps = counts[i];
        measure_table(&bench, &l);
        measure_space(&bench, &l);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(regions); i++) {
        l.maps = regions[i];
        measure_guest_map(&bench, &l);
    }
    return bench_finish(&bench);
}
