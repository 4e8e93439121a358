/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whole migrations by memory size: `vdpa-tracker demo`, two trackers and a guest under traffic on
 * this host. Wall time. A migration that the demo does not call good ends the program.
 */
#include <json-glib/json-glib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "bench/bench.h"

#define RUNS 3u

static JsonNode *
run_demo(unsigned mib, unsigned seed)
{
    g_autofree char *line = g_strdup_printf("%s demo --json --memory %u --seed %u --vlans 4 "
                                            "--duration 0 --rounds 3 --commands 0",
                                            VDT_TRACKER_EXE, mib, seed);
    g_autofree char *out = NULL, *err = NULL;
    g_auto(GStrv) argv = NULL;
    g_autoptr(GError) error = NULL;
    int status = 0;

    if (!g_shell_parse_argv(line, NULL, &argv, &error) ||
        !g_spawn_sync(NULL, argv, NULL, 0, NULL, NULL, &out, &err, &status, &error))
        g_error("%s", error->message);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        g_error("%s: %s%s", line, out, err);
    JsonNode *node = json_from_string(out, NULL);
    g_assert(node && JSON_NODE_HOLDS_OBJECT(node));
    return node;
}

static double
number(JsonNode *node, const char *group, const char *name)
{
    JsonObject *object = json_node_get_object(node);

    if (group)
        object = json_object_get_object_member(object, group);
    g_assert(object && json_object_has_member(object, name));
    return (double) json_object_get_int_member(object, name);
}

static void
measure(struct bench *bench, unsigned mib, unsigned runs)
{
    struct bench_samples downtime = {0}, total = {0}, copy = {0};

    for (unsigned r = 0; r < runs; r++) {
        g_autoptr(JsonNode) node = run_demo(mib, r + 1);
        double pages = number(node, "pages", "total");

        g_assert(pages == mib * 256.0 && number(node, "pages", "copied") > pages &&
                 number(node, "pages", "missed") == 0 && number(node, "chains", "lost") == 0);
        bench_add(&downtime, number(node, NULL, "downtime_us") / 1e3);
        bench_add(&total, number(node, NULL, "total_us") / 1e3);
        bench_add(&copy, number(node, NULL, "first_copy_us") * 1e3 / pages);
    }
    bench_row(bench, "downtime", "MiB", mib, "ms", &downtime);
    bench_row(bench, "whole migration", "MiB", mib, "ms", &total);
    bench_row(bench, "first copy of a page", "MiB", mib, "ns", &copy);
}

int
main(int argc, char **argv)
{
    static const unsigned sizes[] = {16, 64, 256, 1024};
    struct bench bench;

    bench_init(&bench, "migration", argc, argv);
    measure(&bench, sizes[0], bench.quick ? 1 : RUNS);
    for (unsigned i = 1; !bench.quick && i < G_N_ELEMENTS(sizes); i++)
        measure(&bench, sizes[i], sizes[i] < 1024 ? RUNS : 1);
    bench.prefix = NULL;
    return bench_finish(&bench);
}
