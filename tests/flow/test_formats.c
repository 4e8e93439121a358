/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* States between trackers of different versions, and what scripts see of the command line. */
#include "lib/leak.h"
#include "lib/vm.h"

#include <string.h>

#include "base/wire.h"
#include "snapshot/snapshot.h"
#include "unit/snapshot/golden_dir.h"

TestSuite(formats, .init = NULL, .fini = vm_clean, .timeout = 60);

#define CONTROL                                                                                    \
    (VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_CTRL_RX) |                               \
     VDT_BIT(VIRTIO_NET_F_CTRL_VLAN) | VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |                       \
     VDT_BIT(VIRTIO_NET_F_MAC) | VDT_BIT(VIRTIO_NET_F_STATUS))
#define INDIRECT VDT_GOLDEN_DIR "/v2-indirect.vdts"

static void
must(bool ok, GError *error)
{
    cr_assert(ok, "%s", error ? error->message : "failed without a message");
}

static void
begin(struct vm *vm, struct tracker *tracker, const char *device, const char *const *more)
{
    GError *error = NULL;

    tracker_start(tracker, "a", device, more);
    vm_init(vm, CONTROL);
    vm_connect(vm, "a");
    must(vm_start(vm, &error), error);
}

static void
end(struct vm *vm, struct tracker *tracker)
{
    vm_clear(vm);
    cr_assert_eq(tracker_end(tracker), 0);
}

/* @more: "--format", "1" or nothing. */
static unsigned
format_of_snapshot(const char *option, const char *number)
{
    g_autofree char *file = g_build_filename(vm_runtime_dir(), "f.vdts", NULL);
    g_autofree char *err = NULL;
    int exit_code = vm_cli(NULL, &err, "snapshot", "a", "-o", file, option, number, NULL);

    cr_assert_eq(exit_code, 0, "%s", err);
    g_autoptr(JsonNode) shown = vm_cli_json("show", file, NULL);
    return (unsigned) json_object_get_int_member(json_node_get_object(shown), "format");
}

Test(formats, the_current_one_is_written_and_an_older_one_on_demand)
{
    struct tracker a;
    struct vm vm;

    begin(&vm, &a, "sim:loop", NULL);
    cr_assert_eq(format_of_snapshot(NULL, NULL), 2);
    cr_assert_eq(format_of_snapshot("--format", "1"), 1);
    g_autofree char *err = NULL;
    cr_assert_eq(vm_cli(NULL, &err, "snapshot", "a", "-o", "/dev/null", "--format", "3", NULL), 2);
    cr_assert(strstr(err, "writes the formats 1 to 2"), "%s", err);
    end(&vm, &a);
}

/* A destination of the version before: what the source gives to the VMM's stream and to files. */
Test(formats, a_tracker_gives_its_states_away_in_the_format_it_was_told)
{
    const char *const older[] = {"--format", "1", NULL};
    struct tracker a, b;
    struct vm vm;
    GError *error = NULL;

    begin(&vm, &a, "sim:loop", older);
    const uint8_t on = 1;
    cr_assert_eq(vm_command(&vm, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 1), 0);
    vm_traffic(&vm, 50);
    cr_assert_eq(format_of_snapshot(NULL, NULL), 1);
    cr_assert_eq(format_of_snapshot("--format", "2"), 2);
    vm_stop(&vm);
    GByteArray *state = vdt_frontend_save(vm.frontend, 1 << 20, &error);
    must(state != NULL, error);
    cr_assert_eq(vdt_get16(state->data + 4), 1);

    vm_disconnect(&vm);
    tracker_start(&b, "b", "sim:loop", NULL);
    vm_connect(&vm, "b");
    must(vdt_frontend_load(vm.frontend, state->data, state->len, &error), error);
    g_byte_array_unref(state);
    must(vm_start(&vm, &error), error);
    vm_traffic(&vm, 50);
    g_autofree char *control = NULL;
    cr_assert(vm_control_matches("b", &control));
    cr_assert(strstr(control, "\"promisc\":true"), "%s", control);
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&b), 0);
    cr_assert_eq(tracker_end(&a), 0);
}

Test(formats, a_file_is_restored_in_its_own_format_or_in_the_one_asked_for)
{
    struct tracker a;
    struct vm vm;

    begin(&vm, &a, "sim:loop", NULL);
    g_autofree char *file = g_build_filename(vm_runtime_dir(), "f.vdts", NULL);
    cr_assert_eq(vm_cli(NULL, NULL, "snapshot", "a", "-o", file, "--format", "1", NULL), 0);
    cr_assert_eq(vm_cli(NULL, NULL, "restore", "a", file, NULL), 0);
    cr_assert_eq(vm_cli(NULL, NULL, "restore", "a", file, "--format", "2", NULL), 0);
    g_autofree char *err = NULL;
    cr_assert_eq(vm_cli(NULL, &err, "restore", "a", INDIRECT, "--format", "1", NULL), 3);
    cr_assert(strstr(err, "no place for rings[1].in_flight[0].table"), "%s", err);
    end(&vm, &a);
}

Test(formats, check_knows_what_an_older_destination_could_not_read)
{
    g_autofree char *out = NULL;

    cr_assert_eq(vm_cli(&out, NULL, "check", "--from", INDIRECT, "--to", "sim:pairs=2,num=1024",
                        "--format", "1", "--json", NULL),
                 3);
    cr_assert(strstr(out, "rings[1].in_flight[0].table"), "%s", out);
    g_autofree char *newer = NULL;
    vm_cli(&newer, NULL, "check", "--from", INDIRECT, "--to", "sim:pairs=2,num=1024", "--format",
           "2", "--json", NULL);
    cr_assert(strstr(newer, "\"reasons\"") && !strstr(newer, "table"), "%s", newer);
}

static bool
rx_window_of_a_stop(const char *device)
{
    struct tracker a;
    struct vm vm;
    GError *error = NULL;

    begin(&vm, &a, device, NULL);
    vm_traffic(&vm, 20);
    vm_stop(&vm);
    GByteArray *state = vdt_frontend_save(vm.frontend, 1 << 20, &error);
    must(state != NULL, error);
    VDT_AUTO(snapshot) saved = vdt_snapshot_decode(state->data, state->len, &error);
    must(saved != NULL, error);
    g_byte_array_unref(state);
    cr_assert(saved->source.known);
    cr_assert_eq(!(saved->source.abilities & VDT_ABILITY_SUSPEND),
                 strstr(device, "no-suspend") != NULL);
    end(&vm, &a);
    return saved->resubmitted_rx_window;
}

Test(formats, only_a_stop_by_reset_leaves_a_window)
{
    cr_assert(rx_window_of_a_stop("sim:loop,no-suspend,no-base"));
    cr_assert_not(rx_window_of_a_stop("sim:loop"));
}

Test(formats, two_snapshots_of_one_state_are_equal)
{
    struct tracker a;
    struct vm vm;

    begin(&vm, &a, "sim:loop", NULL);
    vm_stop(&vm);
    g_autofree char *one = g_build_filename(vm_runtime_dir(), "one.vdts", NULL);
    g_autofree char *two = g_build_filename(vm_runtime_dir(), "two.vdts", NULL);
    cr_assert_eq(vm_cli(NULL, NULL, "snapshot", "a", "-o", one, NULL), 0);
    cr_assert_eq(vm_cli(NULL, NULL, "snapshot", "a", "-o", two, "--format", "1", NULL), 0);
    g_autofree char *out = NULL;
    cr_assert_eq(vm_cli(&out, NULL, "diff", one, two, NULL), 0, "%s", out);
    cr_assert(strstr(out, "(format: 2 -> 1)"), "%s", out);
    g_autoptr(JsonNode) json = vm_cli_json("diff", one, two, NULL);
    JsonObject *fields = json_node_get_object(json);
    cr_assert(json_object_get_boolean_member(fields, "equal"));
    cr_assert_gt(json_array_get_length(json_object_get_array_member(fields, "by_nature")), 0);
    end(&vm, &a);
}

Test(formats, status_tells_the_control_state_as_show_does)
{
    const uint8_t on = 1, vid[2] = {5, 0};
    struct tracker a;
    struct vm vm;

    begin(&vm, &a, "sim:loop", NULL);
    vm_command(&vm, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 1);
    vm_command(&vm, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, vid, 2);
    g_autofree char *status = NULL, *shown = NULL;
    g_autofree char *file = g_build_filename(vm_runtime_dir(), "f.vdts", NULL);
    cr_assert_eq(vm_cli(&status, NULL, "status", "a", NULL), 0);
    cr_assert_eq(vm_cli(NULL, NULL, "snapshot", "a", "-o", file, NULL), 0);
    cr_assert_eq(vm_cli(&shown, NULL, "show", file, NULL), 0);
    const char *in_status = strstr(status, "control (what"),
               *in_show = strstr(shown, "control (wh");
    cr_assert(in_status && in_show, "%s", status);
    cr_assert_str_eq(in_status, in_show);
    cr_assert(strstr(in_status, "promiscuous            on\n"), "%s", in_status);
    cr_assert(strstr(in_status, "vlans                  5\n"), "%s", in_status);
    end(&vm, &a);
}

static const struct {
    const char *words[8];
    int exit_code;
    const char *kind, *says;
} failures[] = {
    {{"status", "nobody", NULL}, 1, "failed", "not running"},
    {{"trace", "nobody", NULL}, 1, "failed", "not running"},
    {{"swap", "nobody", "--device", "sim:", NULL}, 1, "failed", "not running"},
    {{"swap", "nobody", NULL}, 2, "usage", "--device"},
    {{"restore", "nobody", "/nowhere/f", NULL}, 1, "failed", "/nowhere/f"},
    {{"restore", "nobody", INDIRECT, "--format", "1", NULL}, 3, "refused", "in_flight[0].table"},
    {{"restore", "nobody", INDIRECT, "--format", "7", NULL}, 2, "usage", "formats 1 to 2"},
    {{"show", "/nowhere/f", NULL}, 1, "failed", "/nowhere/f"},
    {{"show", VDT_GOLDEN_DIR "/v1-split.json", NULL}, 1, "invalid", "no snapshot"},
    {{"diff", INDIRECT, "/nowhere/f", NULL}, 2, "failed", "/nowhere/f"},
    {{"check", "--from", "/nowhere/f", "--to", "sim:", NULL}, 1, "failed", "/nowhere/f"},
    {{"check", "--from", "sim:", NULL}, 2, "usage", "--to"},
    {{"check", "--from", "sim:", "--to", "sim:", "--format", "0"}, 2, "usage", "--format"},
    {{"restore", "nobody", INDIRECT, "--format", "0", NULL}, 2, "usage", "--format"},
    {{"trace", "nobody", "--count", "0", NULL}, 2, "usage", "--count"},
    {{"demo", "--duration", "nan", NULL}, 2, "usage", "--duration"},
    {{"demo", "--shadow", "sometimes", NULL}, 2, "usage", "--shadow"},
    {{"demo", "--destination", "pears=1", NULL}, 2, "usage", "pears"},
    {{"check", "--from", "sim:", "--to", "sim:pears=2", NULL}, 2, "usage", "pears"},
    {{"replay", "/nowhere/f", "--device", "sim:", NULL}, 1, "failed", "/nowhere/f"},
    {{"replay", VDT_GOLDEN_DIR "/v2-split.vdts", "--device", "sim:pairs=2,nak=1", NULL},
     3,
     "refused",
     "command 1 of 3"},
};

/* What is not given is something else than what is 0, or below. */
Test(formats, number_that_is_none_is_refused)
{
    cr_expect_eq(vm_cli(NULL, NULL, "snapshot", "nobody", "--format", "0", NULL), 2);
    cr_expect_eq(vm_cli(NULL, NULL, "run", "--name", "n", "--device", "sim:", "--fd", "-1", NULL),
                 2);
}

Test(formats, scripts_see_each_failure_in_one_shape)
{
    for (size_t i = 0; i < G_N_ELEMENTS(failures); i++) {
        const char *const *w = failures[i].words;
        g_autofree char *out = NULL, *err = NULL;
        int exit_code =
            vm_cli(&out, &err, w[0], "--json", w[1], w[2], w[3], w[4], w[5], w[6], NULL);
        g_autoptr(JsonNode) node = json_from_string(out, NULL);

        cr_assert(node && JSON_NODE_HOLDS_OBJECT(node), "row %zu printed: %s", i, out);
        JsonObject *error = json_object_get_object_member(json_node_get_object(node), "error");
        cr_assert(error, "row %zu printed: %s", i, out);
        const char *message = json_object_get_string_member(error, "message");
        cr_expect_eq(exit_code, failures[i].exit_code, "row %zu: %d: %s", i, exit_code, err);
        cr_expect_eq(json_object_get_int_member(error, "exit"), exit_code, "row %zu", i);
        cr_expect_str_eq(json_object_get_string_member(error, "kind"), failures[i].kind, "row %zu",
                         i);
        cr_expect(strstr(message, failures[i].says), "row %zu says: %s", i, message);
        cr_expect(strstr(err, message), "row %zu says %s to people: %s", i, message, err);
    }
}
