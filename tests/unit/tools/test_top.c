/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "tools/vdpa-tracker/top.h"

#include <string.h>

#include "tools/vdpa-tracker/table.h"
#include "tools/vdpa-tracker/tracker_list.h"

VDT_SUITE(top);

/* One look at one tracker; @status NULL: it does not answer. */
static void
look(struct vdt_top *top, gint64 at_us, const char *status)
{
    g_autoptr(GPtrArray) trackers = g_ptr_array_new();
    struct vdt_listed_tracker tracker = {.name = (char *) "web", .at_us = at_us};

    if (status)
        tracker.status = json_from_string(status, NULL);
    else
        tracker.failure = (char *) "it does not answer";
    g_ptr_array_add(trackers, &tracker);
    vdt_top_take(top, trackers);
    g_clear_pointer(&tracker.status, json_node_unref);
}

static char *
status_of(int pid, const char *counted, int64_t rx, int64_t tx)
{
    return g_strdup_printf(
        "{\"pid\": %d, \"phase\": \"running\", \"mode\": \"shadow\", \"logging\": true,"
        "\"dirty_pages\": 9, \"device\": {\"name\": \"sim:\"}, \"rings\": ["
        "{\"kind\": \"rx\", \"counted\": true, \"chains\": %d, \"bytes_in\": %d, \"bytes_out\": 0,"
        "\"in_flight\": 5},"
        "{\"kind\": \"tx\", \"counted\": %s, \"chains\": %d, \"bytes_in\": 0, \"bytes_out\": %d,"
        "\"in_flight\": 2},"
        "{\"kind\": \"cvq\", \"counted\": true, \"chains\": 77, \"bytes_in\": 0}]}",
        pid, (int) rx, (int) rx * 1000, counted, (int) tx, (int) tx * 100);
}

static JsonObject *
shown(struct vdt_top *top, JsonNode **ret_node)
{
    *ret_node = vdt_top_json(top, 1);
    JsonArray *array = json_object_get_array_member(json_node_get_object(*ret_node), "trackers");
    cr_assert_eq(json_array_get_length(array), 1);
    return json_array_get_object_element(array, 0);
}

/* Two looks, what the second says. -1: no rate. */
static const struct {
    int64_t at_us[2];
    int pid[2];
    const char *counted[2];
    int64_t rx[2], tx[2];
    double chains, in, out;
} looks[] = {
    {{0, 1000000}, {1, 1}, {"true", "true"}, {0, 300}, {0, 100}, 400, 300000, 10000},
    {{0, 2000000}, {1, 1}, {"true", "true"}, {50, 350}, {0, 100}, 200, 150000, 5000},
    {{0, 500000}, {1, 1}, {"true", "true"}, {7, 7}, {9, 9}, 0, 0, 0},
    /* the rings started anew in between */
    {{0, 1000000}, {1, 1}, {"true", "true"}, {900, 30}, {100, 10}, 40, 30000, 1000},
    /* another process */
    {{0, 1000000}, {1, 2}, {"true", "true"}, {0, 300}, {0, 100}, -1, -1, -1},
    /* one ring is the device's own business */
    {{0, 1000000}, {1, 1}, {"true", "false"}, {0, 300}, {0, 100}, -1, -1, -1},
    /* no time in between */
    {{5, 5}, {1, 1}, {"true", "true"}, {0, 300}, {0, 100}, -1, -1, -1},
};

static double
rate_of(JsonObject *tracker, const char *name)
{
    JsonNode *node = json_object_get_member(tracker, name);

    return json_node_is_null(node) ? -1 : json_node_get_double(node);
}

Test(top, rates_are_gains_over_the_time_between_two_answers)
{
    for (size_t i = 0; i < G_N_ELEMENTS(looks); i++) {
        struct vdt_top *top = vdt_top_new();
        JsonNode *node;

        for (unsigned k = 0; k < 2; k++) {
            g_autofree char *status =
                status_of(looks[i].pid[k], looks[i].counted[k], looks[i].rx[k], looks[i].tx[k]);
            look(top, looks[i].at_us[k], status);
        }
        JsonObject *tracker = shown(top, &node);
        cr_expect_float_eq(rate_of(tracker, "chains_per_second"), looks[i].chains, 1e-6, "row %zu",
                           i);
        cr_expect_float_eq(rate_of(tracker, "bytes_in_per_second"), looks[i].in, 1e-6, "row %zu",
                           i);
        cr_expect_float_eq(rate_of(tracker, "bytes_out_per_second"), looks[i].out, 1e-6, "row %zu",
                           i);
        json_node_unref(node);
        vdt_top_free(top);
    }
}

Test(top, first_look_has_state_and_no_rates)
{
    struct vdt_top *top = vdt_top_new();
    g_autofree char *status = status_of(1, "true", 300, 100);
    JsonNode *node;

    look(top, 1, status);
    JsonObject *tracker = shown(top, &node);
    cr_expect_eq(rate_of(tracker, "chains_per_second"), -1);
    cr_expect_str_eq(json_object_get_string_member(tracker, "phase"), "running");
    cr_expect_eq(json_object_get_int_member(tracker, "in_flight"), 7);
    cr_expect_eq(json_object_get_int_member(tracker, "dirty_pages"), 9);
    g_autofree char *text = vdt_top_text(top);
    cr_expect_str_eq(text, "NAME  DEVICE  PHASE    MODE    CHAINS/s  IN MB/s  OUT MB/s  INFLIGHT  "
                           "LOG  DIRTY  PROBLEM\n"
                           "web   sim:    running  shadow         -        -         -         7  "
                           "on       9  -\n");
    json_node_unref(node);
    vdt_top_free(top);
}

Test(top, tracker_that_does_not_answer_stays_with_its_reason)
{
    struct vdt_top *top = vdt_top_new();
    g_autofree char *status = status_of(1, "true", 300, 100);
    JsonNode *node;

    look(top, 1, status);
    look(top, 1000001, NULL);
    JsonObject *tracker = shown(top, &node);
    cr_expect_str_eq(json_object_get_string_member(tracker, "problem"), "it does not answer");
    cr_expect_eq(rate_of(tracker, "chains_per_second"), -1);
    cr_expect(json_object_get_null_member(tracker, "in_flight"));
    json_node_unref(node);
    look(top, 2000001, status);
    tracker = shown(top, &node);
    cr_expect_eq(rate_of(tracker, "chains_per_second"), -1, "nothing to compare with");
    json_node_unref(node);
    look(top, 3000001, status);
    tracker = shown(top, &node);
    cr_expect_eq(rate_of(tracker, "chains_per_second"), 0);
    json_node_unref(node);
    vdt_top_free(top);
}

/* In the order in which they are told. */
static const struct {
    const char *status, *problem;
} problems[] = {
    {"{}", NULL},
    {"{\"failure\": \"it fell\", \"unmigratable\": \"it lies\"}", "it fell"},
    {"{\"unmigratable\": \"it lies\", \"rings\": [{\"broken\": \"a loop\"}]}", "it lies"},
    {"{\"rings\": [{}, {\"broken\": \"a loop\"}, {\"broken\": \"another\"}]}", "ring 1: a loop"},
};

Test(top, problem_is_the_gravest_one)
{
    for (size_t i = 0; i < G_N_ELEMENTS(problems); i++) {
        struct vdt_top *top = vdt_top_new();
        JsonNode *node;

        look(top, 1, problems[i].status);
        JsonNode *problem = json_object_get_member(shown(top, &node), "problem");
        cr_expect_eq(g_strcmp0(json_node_is_null(problem) ? NULL : json_node_get_string(problem),
                               problems[i].problem),
                     0, "row %zu", i);
        json_node_unref(node);
        vdt_top_free(top);
    }
}

Test(top, columns_are_as_wide_as_characters)
{
    const char *heads[] = {"A", "WIDE", "C"};
    char *rows[2][3] = {{(char *) "\xc3\xa4\xc3\xb6", (char *) "1", NULL},
                        {NULL, (char *) "12345", (char *) "x"}};
    g_autoptr(GPtrArray) array = g_ptr_array_new();
    g_autoptr(GString) text = g_string_new(NULL);

    g_ptr_array_add(array, rows[0]);
    g_ptr_array_add(array, rows[1]);
    vdt_table_add(text, heads, 3, 1u << 1, array);
    cr_expect_str_eq(text->str, "A    WIDE  C\n\xc3\xa4\xc3\xb6      1  -\n-   12345  x\n");
}
