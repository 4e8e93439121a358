/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The tracker as its users meet it: processes, sockets, the command line, a guest. */
#include "lib/leak.h"
#include "lib/vm.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/wire.h"
#include "snapshot/snapshot.h"

TestSuite(tracker, .init = NULL, .fini = vm_clean, .timeout = 60);

#define CONTROL                                                                                    \
    (VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_CTRL_RX) |                               \
     VDT_BIT(VIRTIO_NET_F_CTRL_VLAN) | VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |                       \
     VDT_BIT(VIRTIO_NET_F_MAC) | VDT_BIT(VIRTIO_NET_F_STATUS))

static void
must(bool ok, GError *error)
{
    cr_assert(ok, "%s", error ? error->message : "failed without a message");
}

static char *
text_of(const char *name, const char *member)
{
    g_autoptr(JsonNode) status = vm_cli_json("status", name, NULL);
    JsonNode *node = json_object_get_member(json_node_get_object(status), member);

    cr_assert(node, "status has no %s", member);
    return json_node_dup_string(node);
}

static void
begin(struct vm *vm, struct tracker *tracker, const char *device, uint64_t features)
{
    GError *error = NULL;

    tracker_start(tracker, "a", device, NULL);
    vm_init(vm, features);
    vm_connect(vm, "a");
    must(vm_start(vm, &error), error);
}

static void
end(struct vm *vm, struct tracker *tracker)
{
    vm_clear(vm);
    cr_assert_eq(tracker_end(tracker), 0);
}

Test(tracker, guest_sends_and_configures)
{
    struct tracker a;
    struct vm vm;
    g_autofree char *control = NULL;

    begin(&vm, &a, "sim:loop", CONTROL);
    vm_traffic(&vm, 200);
    vm_configure(&vm);
    cr_assert(vm_control_matches("a", &control));
    cr_assert(strstr(control, "52:54:00:01:02:03"), "%s", control);
    vm_traffic(&vm, 200);
    end(&vm, &a);
}

Test(tracker, packed_guest_sends_and_configures)
{
    struct tracker a;
    struct vm vm;

    begin(&vm, &a, "sim:loop", CONTROL | VDT_BIT(VIRTIO_F_RING_PACKED));
    vm_traffic(&vm, 200);
    vm_configure(&vm);
    cr_assert(vm_control_matches("a", NULL));
    end(&vm, &a);
}

/* The device refuses the coalescing of a ring that does not run; the others are to go on. */
Test(tracker, coalescing_of_a_ring_that_was_stopped_alone_waits_for_it)
{
    const uint8_t coalescing[12] = {0, 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0};
    struct tracker a;
    struct vm vm;
    GError *error = NULL;

    begin(&vm, &a, "sim:loop",
          CONTROL | VDT_BIT(VIRTIO_NET_F_NOTF_COAL) | VDT_BIT(VIRTIO_NET_F_VQ_NOTF_COAL));
    cr_assert_eq(vm_command(&vm, VIRTIO_NET_CTRL_NOTF_COAL, VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET,
                            coalescing, sizeof(coalescing)),
                 0);
    must(vdt_frontend_get_base(vm.frontend, 0, &vm.base[0], &error), error);
    g_usleep(200000);
    vm_configure(&vm);
    g_autoptr(JsonNode) status = vm_cli_json("status", "a", NULL);
    JsonNode *failure = json_object_get_member(json_node_get_object(status), "failure");
    cr_assert(!failure || json_node_is_null(failure), "%s", json_node_get_string(failure));
    vm_stop(&vm);
    must(vm_start(&vm, &error), error);
    vm_traffic(&vm, 50);
    cr_assert(vm_control_matches("a", NULL));
    end(&vm, &a);
}

Test(tracker, swap_takes_state_and_traffic_along)
{
    struct tracker a;
    struct vm vm;

    begin(&vm, &a, "sim:loop", CONTROL);
    vm_configure(&vm);
    vm_traffic(&vm, 100);
    g_autoptr(JsonNode) report = vm_cli_json("swap", "a", "--device", "sim:loop,latency=50", NULL);
    JsonObject *fields = json_node_get_object(report);
    cr_assert_geq(json_object_get_int_member(fields, "commands"), 4);
    cr_assert(!json_object_get_boolean_member(fields, "returned"));
    cr_assert_gt(json_object_get_int_member(fields, "window_end_us"),
                 json_object_get_int_member(fields, "window_start_us"));
    cr_assert(vm_control_matches("a", NULL));
    vm_traffic(&vm, 100);
    const uint8_t vid[2] = {9, 0};
    cr_assert_eq(vm_command(&vm, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, vid, 2), 0);
    cr_assert(vm_control_matches("a", NULL));
    end(&vm, &a);
}

/* The control queue lies behind all pairs, the guest's and each device's own. */
Test(tracker, control_queue_is_found_behind_other_numbers_of_pairs)
{
    const uint8_t pairs[2] = {2, 0};
    struct tracker a;
    struct vm vm;
    GError *error = NULL;

    tracker_start(&a, "a", "sim:loop,pairs=2", NULL);
    vm_init(&vm, CONTROL | VDT_BIT(VIRTIO_NET_F_MQ));
    vm.cvq = 4;
    vm_connect(&vm, "a");
    must(vm_start(&vm, &error), error);
    vm_configure(&vm);
    vm_traffic(&vm, 50);
    cr_assert_eq(vm_cli(NULL, NULL, "swap", "a", "--device", "sim:loop,pairs=4", NULL), 0);
    cr_assert(vm_control_matches("a", NULL));
    vm_traffic(&vm, 50);
    cr_assert_eq(vm_command(&vm, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, pairs, 2), 0);
    cr_assert(vm_control_matches("a", NULL));
    /* More than this guest was ever told of. */
    const uint8_t many[2] = {3, 0};
    cr_assert_eq(vm_command(&vm, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, many, 2), 1);
    end(&vm, &a);
}

Test(tracker, trace_prints_each_command_as_it_passes)
{
    const uint8_t on = 1, bad[3] = {0};
    struct tracker a;
    struct vm vm;

    begin(&vm, &a, "sim:loop", CONTROL);
    gchar *words[] = {
        (gchar *) VDT_TRACKER_EXE, (gchar *) "trace", (gchar *) "a", (gchar *) "--json",
        (gchar *) "--count",       (gchar *) "2",     NULL};
    GPid pid;
    int out;
    cr_assert(g_spawn_async_with_pipes(NULL, words, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL,
                                       &pid, NULL, &out, NULL, NULL));
    /* It listens at some time soon: send until it has seen enough. */
    g_autoptr(GString) text = g_string_new(NULL);
    for (int i = 0; i < 200; i++) {
        struct pollfd fd = {out, POLLIN, 0};
        char chunk[512];

        vm_command(&vm, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 1);
        vm_command(&vm, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, bad, 3);
        if (poll(&fd, 1, 20) <= 0)
            continue;
        ssize_t n = read(out, chunk, sizeof(chunk));
        if (n <= 0)
            break;
        g_string_append_len(text, chunk, n);
    }
    int status;
    waitpid(pid, &status, 0);
    close(out);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    cr_assert(strstr(text->str, "RX_PROMISC"), "%s", text->str);
    cr_assert(strstr(text->str, "\"forwarded\":false"), "%s", text->str);
    end(&vm, &a);
}

Test(tracker, tracker_starts_from_the_file_of_a_stopped_guest)
{
    struct tracker a, b;
    struct vm vm;
    GError *error = NULL;

    begin(&vm, &a, "sim:loop", CONTROL);
    vm_configure(&vm);
    vm_traffic(&vm, 30);
    g_autofree char *file = g_build_filename(vm_runtime_dir(), "s.vdts", NULL);
    vm_stop(&vm);
    cr_assert_eq(vm_cli(NULL, NULL, "snapshot", "a", "-o", file, NULL), 0);
    /* That of a stopped guest is nothing for one that runs. */
    must(vm_start(&vm, &error), error);
    vm_traffic(&vm, 5);
    cr_assert_eq(vm_cli(NULL, NULL, "restore", "a", file, NULL), 1);
    vm_stop(&vm);
    cr_assert_eq(vm_cli(NULL, NULL, "snapshot", "a", "-o", file, NULL), 0);
    vm_disconnect(&vm);

    const char *const more[] = {"--restore", file, NULL};
    tracker_start(&b, "b", "sim:loop", more);
    vm_connect(&vm, "b");
    must(vm_start(&vm, &error), error);
    vm_traffic(&vm, 30);
    g_autofree char *control = NULL;
    cr_assert(vm_control_matches("b", &control));
    cr_assert(strstr(control, "52:54:00:01:02:03"), "%s", control);
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&b), 0);
    cr_assert_eq(tracker_end(&a), 0);
}

Test(tracker, swap_onto_a_device_that_refuses_leaves_the_guest_where_it_was)
{
    struct tracker a;
    struct vm vm;
    g_autofree char *err = NULL;

    begin(&vm, &a, "sim:loop", CONTROL);
    vm_configure(&vm);
    vm_traffic(&vm, 50);
    int exit_code = vm_cli(NULL, &err, "swap", "a", "--device", "sim:loop,nak=2", NULL);
    cr_assert_eq(exit_code, 3, "exit code %d: %s", exit_code, err);
    cr_assert(strstr(err, "goes on with sim:loop"), "%s", err);
    vm_traffic(&vm, 50);
    cr_assert(vm_control_matches("a", NULL));
    end(&vm, &a);
}

Test(tracker, swap_onto_a_lesser_device_is_refused_before_anything_stops)
{
    struct tracker a;
    struct vm vm;
    g_autofree char *err = NULL;

    begin(&vm, &a, "sim:loop", CONTROL);
    cr_assert_eq(vm_cli(NULL, &err, "swap", "a", "--device", "sim:loop,num=32", NULL), 3);
    cr_assert(strstr(err, "cannot take the state"), "%s", err);
    vm_traffic(&vm, 50);
    end(&vm, &a);
}

Test(tracker, live_snapshot_shows_compares_and_replays)
{
    struct tracker a;
    struct vm vm;

    begin(&vm, &a, "sim:loop", CONTROL);
    g_autofree char *before = g_build_filename(vm_runtime_dir(), "before.vdts", NULL);
    g_autofree char *after = g_build_filename(vm_runtime_dir(), "after.vdts", NULL);
    cr_assert_eq(vm_cli(NULL, NULL, "snapshot", "a", "-o", before, NULL), 0);
    vm_configure(&vm);
    cr_assert_eq(vm_cli(NULL, NULL, "snapshot", "a", "-o", after, NULL), 0);

    g_autofree char *diff = NULL;
    cr_assert_eq(vm_cli(&diff, NULL, "diff", before, after, NULL), 1);
    cr_assert(strstr(diff, "52:54:00:01:02:03"), "%s", diff);
    cr_assert_eq(vm_cli(NULL, NULL, "diff", after, after, NULL), 0);
    cr_assert_eq(vm_cli(NULL, NULL, "diff", after, "/nowhere/f", NULL), 2);

    g_autoptr(JsonNode) shown = vm_cli_json("show", after, NULL);
    cr_assert(json_object_has_member(json_node_get_object(shown), "control"));
    g_autoptr(JsonNode) replayed = vm_cli_json("replay", after, "--device", "sim:", NULL);
    cr_assert_eq(json_object_get_int_member(json_node_get_object(replayed), "acked"), 4);
    cr_assert_eq(vm_cli(NULL, NULL, "check", "--from", after, "--to", "sim:loop", NULL), 0);

    end(&vm, &a);
}

Test(tracker, replay_onto_a_device_that_refuses_names_the_command)
{
    struct tracker a;
    struct vm vm;
    g_autofree char *err = NULL;

    begin(&vm, &a, "sim:loop", CONTROL);
    vm_configure(&vm);
    g_autofree char *file = g_build_filename(vm_runtime_dir(), "f.vdts", NULL);
    cr_assert_eq(vm_cli(NULL, NULL, "snapshot", "a", "-o", file, NULL), 0);
    cr_assert_eq(vm_cli(NULL, &err, "replay", file, "--device", "sim:nak=2", NULL), 3);
    cr_assert(strstr(err, "command 2 of 4"), "%s", err);
    end(&vm, &a);
}

/* The state goes with the VMM's migration stream: SAVE on one tracker, LOAD on the other. */
static void
migrate(struct vm *vm, const char *to, bool reset_between)
{
    GError *error = NULL;

    if (reset_between) {
        must(vdt_frontend_get_base(vm->frontend, 0, &vm->base[0], &error), error);
        must(vdt_frontend_set_status(vm->frontend, 0, &error), error);
        must(vdt_frontend_get_base(vm->frontend, 1, &vm->base[1], &error), error);
        must(vdt_frontend_get_base(vm->frontend, 2, &vm->base[2], &error), error);
        must(vdt_frontend_reset_device(vm->frontend, &error), error);
    } else {
        vm_stop(vm);
    }
    GByteArray *state = vdt_frontend_save(vm->frontend, 1 << 20, &error);
    must(state != NULL, error);
    VDT_AUTO(snapshot) saved = vdt_snapshot_decode(state->data, state->len, &error);
    must(saved != NULL, error);
    for (unsigned i = 0; i < VM_RINGS; i++)
        cr_assert(saved->rings[i].started && saved->rings[i].exact, "ring %u", i);
    vm_disconnect(vm);
    vm_connect(vm, to);
    must(vdt_frontend_load(vm->frontend, state->data, state->len, &error), error);
    g_byte_array_unref(state);
    must(vm_start(vm, &error), error);
}

static void
migration(const char *from, const char *to, uint64_t features, bool reset_between)
{
    struct tracker a, b;
    struct vm vm;
    g_autofree char *before = NULL, *after = NULL;

    begin(&vm, &a, from, features);
    tracker_start(&b, "b", to, NULL);
    vm_configure(&vm);
    vm_traffic(&vm, 150);
    cr_assert(vm_control_matches("a", &before));
    migrate(&vm, "b", reset_between);
    vm_traffic(&vm, 150);
    cr_assert(vm_control_matches("b", &after));
    cr_assert_str_eq(before, after);
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&b), 0);
    cr_assert_eq(tracker_end(&a), 0);
}

Test(tracker, state_travels_with_the_stream)
{
    migration("sim:loop", "sim:loop", CONTROL, false);
}

Test(tracker, state_travels_with_the_stream_packed)
{
    migration("sim:loop", "sim:loop", CONTROL | VDT_BIT(VIRTIO_F_RING_PACKED), false);
}

Test(tracker, state_survives_a_reset_between_two_bases)
{
    migration("sim:loop", "sim:loop", CONTROL, true);
}

Test(tracker, state_travels_between_devices_that_cannot_be_suspended)
{
    migration("sim:loop,no-suspend,no-base", "sim:loop,no-suspend,no-base", CONTROL, false);
}

Test(tracker, stopped_and_continued_guest_keeps_its_state)
{
    struct tracker a;
    struct vm vm;
    GError *error = NULL;

    begin(&vm, &a, "sim:loop", CONTROL);
    vm_configure(&vm);
    vm_stop(&vm);
    must(vdt_frontend_set_status(vm.frontend, 0, &error), error);
    must(vm_start(&vm, &error), error);
    vm_traffic(&vm, 50);
    g_autofree char *control = NULL;
    cr_assert(vm_control_matches("a", &control));
    cr_assert(strstr(control, "52:54:00:01:02:03"), "%s", control);
    end(&vm, &a);
}

Test(tracker, rebooted_guest_begins_with_nothing)
{
    struct tracker a;
    struct vm vm;
    GError *error = NULL;

    begin(&vm, &a, "sim:loop", CONTROL);
    vm_configure(&vm);
    vm_stop(&vm);
    must(vdt_frontend_set_status(vm.frontend, 0, &error), error);
    vm_reboot(&vm);
    must(vm_start(&vm, &error), error);
    vm_traffic(&vm, 50);
    g_autofree char *control = NULL;
    cr_assert(vm_control_matches("a", &control));
    cr_assert(!strstr(control, "52:54:00:01:02:03"), "%s", control);
    end(&vm, &a);
}

Test(tracker, state_of_another_place_in_the_ring_is_refused)
{
    struct tracker a, b;
    struct vm vm;
    GError *error = NULL;

    begin(&vm, &a, "sim:loop", CONTROL);
    tracker_start(&b, "b", "sim:loop", NULL);
    vm_traffic(&vm, 20);
    vm_stop(&vm);
    GByteArray *state = vdt_frontend_save(vm.frontend, 1 << 20, &error);
    must(state != NULL, error);
    vm_disconnect(&vm);
    vm_connect(&vm, "b");
    must(vdt_frontend_load(vm.frontend, state->data, state->len, &error), error);
    g_byte_array_unref(state);
    vm.base[1]++;
    cr_assert(!vm_start(&vm, &error));
    g_clear_error(&error);
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&b), 0);
    cr_assert_eq(tracker_end(&a), 0);
}

Test(tracker, damaged_state_is_refused_and_the_tracker_stays)
{
    struct tracker a;
    struct vm vm;
    GError *error = NULL;

    tracker_start(&a, "a", "sim:loop", NULL);
    vm_init(&vm, CONTROL);
    vm_connect(&vm, "a");
    cr_assert(!vdt_frontend_load(vm.frontend, "no state at all", 15, &error));
    g_clear_error(&error);
    must(vm_start(&vm, &error), error);
    vm_traffic(&vm, 20);
    end(&vm, &a);
}

Test(tracker, frontend_that_keeps_the_control_queue_gets_its_traffic)
{
    const char *const words[] = {"--mac", "52:54:00:aa:bb:cc", NULL};
    struct tracker a;
    struct vm vm;
    GError *error = NULL;

    tracker_start(&a, "a", "sim:loop", words);
    vm_init(&vm, VDT_BIT(VIRTIO_NET_F_MAC));
    vm_connect(&vm, "a");
    must(vm_start(&vm, &error), error);
    vm_traffic(&vm, 50);
    g_autofree char *control = NULL, *mac = text_of("a", "mac");
    cr_assert_str_eq(mac, "52:54:00:aa:bb:cc");
    cr_assert(vm_control_matches("a", &control));
    cr_assert(strstr(control, "\"promisc\":true"), "%s", control);
    end(&vm, &a);
}

Test(tracker, guest_is_asked_to_announce_itself_after_a_swap)
{
    struct tracker a;
    struct vm vm;
    uint8_t status[2];
    GError *error = NULL;

    begin(&vm, &a, "sim:loop", CONTROL | VDT_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE));
    cr_assert_eq(vm_cli(NULL, NULL, "swap", "a", "--device", "sim:loop", NULL), 0);
    cr_assert(vdt_frontend_wait_config_changed(vm.frontend, 2000));
    must(vdt_frontend_get_config(vm.frontend, 6, status, 2, &error), error);
    cr_assert(status[0] & VIRTIO_NET_S_ANNOUNCE);
    cr_assert_eq(vm_command(&vm, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, NULL, 0),
                 0);
    must(vdt_frontend_get_config(vm.frontend, 6, status, 2, &error), error);
    cr_assert(!(status[0] & VIRTIO_NET_S_ANNOUNCE));
    end(&vm, &a);
}

Test(tracker, next_client_is_served_when_the_first_has_gone)
{
    struct tracker a;
    struct vm vm, second;
    GError *error = NULL;

    begin(&vm, &a, "sim:loop", CONTROL);
    vm_traffic(&vm, 20);
    vm_disconnect(&vm);
    vm_init(&second, CONTROL);
    vm_connect(&second, "a");
    must(vm_start(&second, &error), error);
    vm_traffic(&second, 20);
    vm_clear(&second);
    end(&vm, &a);
}

static const struct {
    const char *words[6];
    int exit_code;
    const char *says;
} refusals[] = {
    {{NULL}, 2, "which verb"},
    {{"fly", NULL}, 2, "no verb"},
    {{"status", NULL}, 2, "missing"},
    {{"status", "a", "b", NULL}, 2, "too many"},
    {{"status", "--fly", "a", NULL}, 2, "--fly"},
    {{"status", "nobody", NULL}, 1, "not running"},
    {{"status", "../nobody", NULL}, 2, "no tracker's name"},
    {{"snapshot", "nobody", "-o", "/nowhere/f", NULL}, 1, "not running"},
    {{"show", "/nowhere/f", NULL}, 1, "/nowhere/f"},
    {{"show", "/dev/null", NULL}, 1, "/dev/null"},
    {{"swap", "a", NULL}, 2, "--device"},
    {{"replay", "/nowhere/f", NULL}, 2, "--device"},
    {{"replay", "/nowhere/f", "--device", "sim:", NULL}, 1, "/nowhere/f"},
    {{"check", "--to", "sim:", NULL}, 2, "--from"},
    {{"check", "--from", "sim:", "--to", "sim:pears=2", NULL}, 2, "pears"},
    {{"check", "--from", "sim:num=256", "--to", "sim:num=64", NULL}, 3, NULL},
    {{"run", "--name", "x", NULL}, 2, "--device"},
    {{"run", "--name", "x", "--device", "carrier-pigeon:", NULL}, 2, "carrier-pigeon"},
    {{"help", "fly", NULL}, 2, "no verb"},
};

Test(tracker, each_refusal_has_its_exit_code_and_says_why)
{
    for (size_t i = 0; i < G_N_ELEMENTS(refusals); i++) {
        const char *const *w = refusals[i].words;
        g_autofree char *err = NULL;
        int exit_code = vm_cli(NULL, &err, w[0], w[1], w[2], w[3], w[4], w[5], NULL);

        cr_expect_eq(exit_code, refusals[i].exit_code, "row %zu: exit code %d: %s", i, exit_code,
                     err);
        cr_expect(!refusals[i].says || strstr(err, refusals[i].says), "row %zu says: %s", i, err);
    }
}

Test(tracker, second_tracker_of_a_name_is_refused)
{
    struct tracker a;
    g_autofree char *err = NULL;

    tracker_start(&a, "a", "sim:", NULL);
    cr_assert_eq(vm_cli(NULL, &err, "run", "--name", "a", "--device", "sim:", NULL), 1);
    cr_assert(strstr(err, "is running"), "%s", err);
    g_autofree char *phase = text_of("a", "phase");
    cr_assert_str_eq(phase, "idle");
    cr_assert_eq(tracker_end(&a), 0);
}

Test(tracker, every_verb_explains_itself)
{
    static const char *const verbs[] = {"run",  "status", "trace", "snapshot", "restore",
                                        "show", "diff",   "check", "replay",   "swap"};

    for (size_t i = 0; i < G_N_ELEMENTS(verbs); i++) {
        g_autofree char *out = NULL;
        cr_expect_eq(vm_cli(&out, NULL, verbs[i], "--help", NULL), 0);
        cr_expect(strstr(out, "vdpa-tracker ") && strstr(out, "Exit codes"), "%s: %s", verbs[i],
                  out);
    }
}

Test(tracker, capabilities_are_those_of_a_vhost_user_network_backend)
{
    g_autoptr(JsonNode) node = NULL;
    g_autofree char *out = NULL;

    cr_assert_eq(vm_cli(&out, NULL, "run", "--print-capabilities", NULL), 0);
    node = json_from_string(out, NULL);
    cr_assert_str_eq(json_object_get_string_member(json_node_get_object(node), "type"), "net");
}
