/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the relay costs: ns of thread CPU time for one chain, forward and back, with the two ends
 * (a driver and a device that do next to nothing) in it.
 */
#include <glib.h>

#include "bench/bench.h"
#include "bench/relay_rig.h"

static const struct relay_way ways[] = {
    {"split", VDT_RING_SPLIT},
    {"split logged", VDT_RING_SPLIT, .log = true},
    {"split translated", VDT_RING_SPLIT, .translated = true},
    {"split indirect 2", VDT_RING_SPLIT, .indirect = true},
    {"split event index", VDT_RING_SPLIT, .event_idx = true},
    {"split in order", VDT_RING_SPLIT, .in_order = true},
    {"split in-flight area", VDT_RING_SPLIT, .area = true},
    {"split eventfds", VDT_RING_SPLIT, .events = true},
    {"packed", VDT_RING_PACKED},
    {"packed logged", VDT_RING_PACKED, .log = true},
    {"packed translated", VDT_RING_PACKED, .translated = true},
    {"packed indirect 2", VDT_RING_PACKED, .indirect = true},
    {"packed event index", VDT_RING_PACKED, .event_idx = true},
    {"packed in order", VDT_RING_PACKED, .in_order = true},
    {"packed in-flight area", VDT_RING_PACKED, .area = true},
    {"packed eventfds", VDT_RING_PACKED, .events = true},
};

static void
measure(struct bench *bench, const struct relay_way *way, uint16_t num)
{
    static const unsigned batches[] = {1, 32, 256};
    g_autofree char *series =
        num == 256 ? g_strdup(way->name) : g_strdup_printf("ring %u: %s", num, way->name);

    for (unsigned i = 0; bench_wants(bench, series) && i < G_N_ELEMENTS(batches); i++) {
        struct relay_rig rig;

        relay_rig_init(&rig, way, num);
        rig.batch = batches[i];
        bench_time(bench, series, "batch", rig.batch, relay_rig_run, rig.batch, &rig);
        relay_rig_clear(&rig);
    }
}

int
main(int argc, char **argv)
{
    struct bench bench;
    struct relay_rig ends;

    bench_init(&bench, "relay", argc, argv);
    bench_pin();
    for (unsigned i = 0; i < G_N_ELEMENTS(ways); i++)
        measure(&bench, &ways[i], 256);
    for (unsigned i = 0; i < G_N_ELEMENTS(ways); i++)
        measure(&bench, &ways[i], 1024);
    relay_rig_init(&ends, &ways[0], 256);
    ends.batch = 32;
    bench_time(&bench, "the two ends alone", "batch", 32, relay_rig_ends_alone, 32, &ends);
    relay_rig_clear(&ends);
    return bench_finish(&bench);
}
