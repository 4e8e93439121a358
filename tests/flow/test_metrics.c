/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a scraper gets of trackers that run. */
#include <signal.h>
#include <string.h>

#include "lib/leak.h"
#include "lib/openmetrics.h"
#include "lib/vm.h"

TestSuite(metrics, .init = NULL, .fini = vm_clean, .timeout = 60);

static GHashTable *
scrape(const char *name)
{
    g_autofree char *text = NULL;
    char *why = NULL;

    cr_assert_eq(vm_cli(&text, NULL, "metrics", name, NULL), 0);
    GHashTable *samples = openmetrics_read(text, false, &why);
    cr_assert(samples, "%s\n%s", why, text);
    return samples;
}

/* -1: there is none. */
static double
value(GHashTable *samples, const char *key)
{
    const char *text = g_hash_table_lookup(samples, key);

    return text ? g_ascii_strtod(text, NULL) : -1;
}

#define OF_A(name) "vdpa_tracker_" name "{tracker=\"a\"}"
#define RX(name) "vdpa_tracker_ring_" name "{tracker=\"a\",ring=\"0\",kind=\"rx\"}"
#define TX(name) "vdpa_tracker_ring_" name "{tracker=\"a\",ring=\"1\",kind=\"tx\"}"
#define PHASE(name, phase) "vdpa_tracker_phase_" name "{tracker=\"a\",phase=\"" phase "\"}"

Test(metrics, counters_are_what_the_guest_did)
{
    const char *const always[] = {"--shadow", "always", NULL};
    const uint8_t on = 1, bad[3] = {1, 2, 3};
    struct tracker a;
    struct vm vm;
    GError *error = NULL;

    tracker_start(&a, "a", "sim:loop", always);
    vm_init(&vm, VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_CTRL_RX));
    vm_connect(&vm, "a");
    cr_assert(vm_start(&vm, &error), "%s", error ? error->message : "");
    vm_traffic(&vm, 200);
    cr_assert_eq(vm_command(&vm, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 1), 0);
    cr_assert_eq(vm_command(&vm, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, bad, 3), 1);
    g_autoptr(GHashTable) runs = scrape(NULL);
    cr_expect_eq(value(runs, OF_A("up")), 1);
    cr_expect_eq(value(runs, OF_A("connected")), 1);
    cr_expect_eq(value(runs, OF_A("migratable")), 1);
    cr_expect_eq(value(runs, TX("counted")), 1);
    cr_expect_eq(value(runs, TX("chains_total")), 200);
    cr_expect_eq(value(runs, TX("returned_chains_total")), 200);
    cr_expect_geq(value(runs, TX("sent_bytes_total")), 200 * 60);
    cr_expect_eq(value(runs, RX("returned_chains_total")), 200);
    cr_expect_geq(value(runs, RX("received_bytes_total")), 200 * 60);
    cr_expect_eq(value(runs, RX("in_flight")), value(runs, RX("chains_total")) - 200);
    cr_expect_gt(value(runs, TX("guest_kicks_total")), 0);
    cr_expect_gt(value(runs, RX("guest_calls_total")), 0);
    cr_expect_eq(value(runs, OF_A("control_commands_total")), 1);
    cr_expect_eq(value(runs, OF_A("control_refused_commands_total")), 1);
    cr_expect_eq(value(runs, "vdpa_tracker_phase{tracker=\"a\",vdpa_tracker_phase=\"running\"}"),
                 1);
    cr_expect_eq(value(runs, "vdpa_tracker_phase{tracker=\"a\",vdpa_tracker_phase=\"idle\"}"), 0);
    cr_expect_eq(value(runs, "vdpa_tracker_mode{tracker=\"a\",vdpa_tracker_mode=\"shadow\"}"), 1);

    g_autoptr(JsonNode) report = vm_cli_json("swap", "a", "--device", "sim:loop,latency=50", NULL);
    vm_stop(&vm);
    g_autoptr(GHashTable) stopped = scrape("a");
    cr_expect_eq(value(stopped, OF_A("swaps_total")), 1);
    cr_expect_gt(value(stopped, OF_A("swap_open_last_seconds")), 0);
    gint64 frozen_us = json_object_get_int_member(json_node_get_object(report), "frozen_us");
    cr_expect_float_eq(value(stopped, OF_A("swap_freeze_last_seconds")), (double) frozen_us / 1e6,
                       1e-9);
    cr_expect_eq(value(stopped, OF_A("replay_last_commands")),
                 (double) json_object_get_int_member(json_node_get_object(report), "commands"));
    cr_expect_eq(value(stopped, PHASE("entries_total", "running")), 1);
    cr_expect_eq(value(stopped, PHASE("entries_total", "stopped")), 1);
    cr_expect_gt(value(stopped, PHASE("last_seconds", "running")), 0);
    cr_expect_gt(value(stopped, PHASE("entered_seconds", "stopped")),
                 value(stopped, PHASE("entered_seconds", "running")));
    cr_expect_float_eq(value(stopped, PHASE("entered_seconds", "stopped")),
                       (double) g_get_real_time() / 1e6, 60);
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&a), 0);
}

Test(metrics, tracker_that_does_not_answer_is_down_and_costs_the_others_nothing)
{
    struct tracker a, b;

    tracker_start(&a, "a", "sim:", NULL);
    tracker_start(&b, "b", "sim:", NULL);
    kill(b.pid, SIGSTOP);
    g_autoptr(GHashTable) samples = scrape(NULL);
    kill(b.pid, SIGCONT);
    cr_expect_eq(value(samples, OF_A("up")), 1);
    cr_expect_eq(value(samples, OF_A("connected")), 0);
    cr_expect_eq(value(samples, "vdpa_tracker_up{tracker=\"b\"}"), 0);
    cr_expect_eq(value(samples, "vdpa_tracker_connected{tracker=\"b\"}"), -1);
    cr_assert_eq(tracker_end(&a), 0);
    cr_assert_eq(tracker_end(&b), 0);
}

Test(metrics, one_tracker_is_asked_by_its_name)
{
    struct tracker a, b;
    g_autofree char *err = NULL;

    tracker_start(&a, "a", "sim:", NULL);
    tracker_start(&b, "b", "sim:", NULL);
    g_autoptr(GHashTable) samples = scrape("a");
    cr_expect_eq(value(samples, OF_A("up")), 1);
    cr_expect_eq(value(samples, "vdpa_tracker_up{tracker=\"b\"}"), -1);
    cr_expect_eq(vm_cli(NULL, &err, "metrics", "c", NULL), 1);
    cr_expect(strstr(err, "tracker c is not running"), "%s", err);
    cr_expect_eq(vm_cli(NULL, NULL, "metrics", "../c", NULL), 2);
    cr_assert_eq(tracker_end(&a), 0);
    cr_assert_eq(tracker_end(&b), 0);
}
