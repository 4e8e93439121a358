/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The demo as its users run it: a migration between two processes, judged by the guest. */
#include "lib/leak.h"

#include <json-glib/json-glib.h>
#include <string.h>
#include <sys/wait.h>

TestSuite(demo, .fini = vdt_test_check_leaks, .timeout = 120);

static JsonNode *
run(const char *words, int *ret_exit, char **ret_out)
{
    g_autofree char *line = g_strdup_printf("%s demo --json %s", VDT_TRACKER_EXE, words);
    g_autofree char *out = NULL, *err = NULL;
    g_auto(GStrv) argv = NULL;
    g_autoptr(GError) error = NULL;
    int status = 0;

    cr_assert(g_shell_parse_argv(line, NULL, &argv, &error));
    cr_assert(g_spawn_sync(NULL, argv, NULL, 0, NULL, NULL, &out, &err, &status, &error), "%s",
              error ? error->message : "");
    *ret_exit = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    JsonNode *node = out && *out ? json_from_string(out, NULL) : NULL;
    cr_assert(node != NULL, "exit %d, no verdict: %s", *ret_exit, err);
    *ret_out = g_steal_pointer(&out);
    return node;
}

static gint64
number(JsonNode *node, const char *group, const char *name)
{
    JsonObject *object = json_node_get_object(node);

    if (group)
        object = json_object_get_object_member(object, group);
    cr_assert(object && json_object_has_member(object, name), "%s is missing", name);
    return json_object_get_int_member(object, name);
}

static JsonNode *
run_well(const char *words)
{
    g_autofree char *out = NULL;
    int exit_code;
    JsonNode *node = run(words, &exit_code, &out);
    JsonObject *object = json_node_get_object(node);

    cr_assert_eq(exit_code, 0, "%s", out);
    cr_expect_str_eq(json_object_get_string_member(object, "verdict"), "ok", "%s", out);
    cr_expect(json_object_get_boolean_member(object, "state_equal"), "%s", out);
    cr_expect_gt(number(node, "chains", "available"), 1000, "%s", out);
    cr_expect_eq(number(node, "chains", "used"), number(node, "chains", "available"), "%s", out);
    cr_expect_eq(number(node, "chains", "lost"), 0, "%s", out);
    cr_expect_eq(number(node, "chains", "duplicated"), 0, "%s", out);
    cr_expect_gt(number(node, "pages", "written"), 100, "%s", out);
    cr_expect_eq(number(node, "pages", "missed"), 0, "%s", out);
    cr_expect_geq(number(node, "commands", "captured"), 100, "%s", out);
    cr_expect_gt(number(node, "commands", "replayed"), 10, "%s", out);
    cr_expect_eq(number(node, "commands", "refused"), 0, "%s", out);
    cr_expect_gt(number(node, NULL, "downtime_us"), 0, "%s", out);
    cr_expect_gt(number(node, NULL, "total_us"), number(node, NULL, "downtime_us"), "%s", out);
    cr_expect_gt(number(node, NULL, "first_copy_us"), 0, "%s", out);
    cr_expect_gt(number(node, "pages", "copied"), number(node, "pages", "total"), "%s", out);
    cr_expect_gt(number(node, NULL, "snapshot_bytes"), 100, "%s", out);
    cr_expect_gt(number(node, "in_flight", "receive"), 0, "%s", out);
    return node;
}

/* The source holds requests back: without any in flight the switch would prove little. */
static void
run_with_requests_in_flight(const char *words)
{
    JsonNode *node = run_well(words);

    cr_expect_gt(number(node, "in_flight", "transmit"), 0);
    json_node_unref(node);
}

#define SHORT " --duration 0.3 --rounds 3"

Test(demo, split_rings)
{
    run_with_requests_in_flight("--seed 11" SHORT);
}

Test(demo, packed_rings)
{
    run_with_requests_in_flight("--rings packed --seed 12" SHORT);
}

Test(demo, split_rings_out_of_order)
{
    run_with_requests_in_flight("--out-of-order --seed 13" SHORT);
}

Test(demo, packed_rings_out_of_order)
{
    run_with_requests_in_flight("--rings packed --out-of-order --seed 14" SHORT);
}

Test(demo, one_pair)
{
    run_with_requests_in_flight("--pairs 1 --seed 15" SHORT);
}

Test(demo, every_vlan_filter, .timeout = 240)
{
    JsonNode *node = run_well("--vlans 4094 --seed 16" SHORT);

    cr_expect_geq(number(node, "commands", "captured"), 4094);
    cr_expect_geq(number(node, "commands", "replayed"), 4094);
    json_node_unref(node);
}

/* Each filter that comes goes again: the source has an empty table where its successor has none. */
Test(demo, no_vlan_filter)
{
    json_node_unref(run_well("--vlans 0 --seed 20" SHORT));
}

/* A device like vp_vdpa: it cannot be suspended, and enables rings before DRIVER_OK only. What it
 * was given to send is waited for, so it must not hold any of that back. */
Test(demo, device_that_stops_only_by_a_reset)
{
    json_node_unref(run_well("--seed 17 --source hold=0,no-suspend,no-enable-after-driver-ok "
                             "--destination no-suspend,no-enable-after-driver-ok" SHORT));
}

/* A destination device that takes a command back is found out before the guest goes there. */
Test(demo, refusing_destination_fails)
{
    g_autofree char *out = NULL;
    int exit_code;
    JsonNode *node = run("--seed 18 --destination nak-class=2.0" SHORT, &exit_code, &out);
    JsonObject *object = json_node_get_object(node);

    cr_expect_eq(exit_code, 3);
    cr_assert(json_object_has_member(object, "error"), "%s", out);
    object = json_object_get_object_member(object, "error");
    cr_expect_str_eq(json_object_get_string_member(object, "kind"), "refused");
    /* CHECK_DEVICE_STATE */
    cr_expect(strstr(json_object_get_string_member(object, "message"), "request 43"), "%s", out);
    json_node_unref(node);
}
