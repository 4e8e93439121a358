/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kill -9: a tracker's process is killed under a running guest, the next one of its name takes
 * over. The guest loses no command that was acknowledged to it and no request; it never gets one
 * back that it does not have out.
 */
#include "lib/leak.h"
#include "lib/vm.h"

#include <criterion/parameterized.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "base/wire.h"
#include "control/command.h"
#include "snapshot/snapshot.h"
#include "virtio/packed_layout.h"

TestSuite(recover, .fini = vm_clean, .timeout = 120);

#define CONTROL                                                                                    \
    (VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_CTRL_RX) |                               \
     VDT_BIT(VIRTIO_NET_F_CTRL_VLAN) | VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |                       \
     VDT_BIT(VIRTIO_NET_F_MAC) | VDT_BIT(VIRTIO_NET_F_STATUS))
#define PACKED VDT_BIT(VIRTIO_F_RING_PACKED)
#define EVENT VDT_BIT(VIRTIO_RING_F_EVENT_IDX)
#define ORDER VDT_BIT(VIRTIO_F_IN_ORDER)
#define INDIRECT VDT_BIT(VIRTIO_RING_F_INDIRECT_DESC)

#define STORM_CI 50u
#define STORM_NIGHTLY 1000u

struct stand {
    struct tracker tracker;
    struct vm vm;
    const char *device, *shadow;
    struct vdt_net_state model; /* what was acknowledged */
    uint16_t pending;           /* VLAN whose ADD is out, 0: none */
    GRand *rand;
};

static void
must(bool ok, GError *error)
{
    cr_assert(ok, "%s", error ? error->message : "failed without a message");
}

static void
run(struct stand *stand)
{
    const char *const more[] = {"--shadow", stand->shadow, NULL};

    tracker_start(&stand->tracker, "a", stand->device, more);
}

static void
attach(struct stand *stand)
{
    GError *error = NULL;

    vm_connect(&stand->vm, "a");
    must(vm_start(&stand->vm, &error), error);
    /* A driver reads it from the config space once. */
    if (stand->model.set & VDT_NET_MAC)
        memcpy(stand->vm.mac, stand->model.mac, 6);
}

static void
begin(struct stand *stand, const char *device, const char *shadow, uint64_t features)
{
    *stand = (struct stand){.device = device, .shadow = shadow};
    stand->rand = g_rand_new_with_seed(7);
    vdt_net_state_init(&stand->model);
    run(stand);
    vm_init(&stand->vm, CONTROL | features);
    stand->vm.indirect = features & INDIRECT;
    attach(stand);
}

static bool
there(const char *suffix)
{
    g_autofree char *path = g_strdup_printf("%s/a%s", vm_runtime_dir(), suffix);

    return access(path, F_OK) == 0;
}

static void
end(struct stand *stand)
{
    vm_clear(&stand->vm);
    g_rand_free(stand->rand);
    /* Once the VMM has gone nobody is left to go on. */
    for (unsigned i = 0; i < 500; i++) {
        g_autoptr(JsonNode) status = vm_cli_json("status", "a", NULL);
        if (!json_object_get_boolean_member(json_node_get_object(status), "connected"))
            break;
        g_usleep(2000);
    }
    cr_assert_eq(tracker_end(&stand->tracker), 0);
    cr_expect(!there(".journal") && !there(".inflight") && !there(".lock"));
}

static void
crash(struct stand *stand, enum vm_base base)
{
    tracker_kill(&stand->tracker);
    vm_disconnect(&stand->vm);
    vm_forget_bases(&stand->vm, base);
}

static void
go_on(struct stand *stand)
{
    run(stand);
    attach(stand);
}

static void
add_vlan(struct stand *stand, uint16_t vid)
{
    uint8_t bytes[2];

    vdt_put16(bytes, vid);
    vm_command_post(&stand->vm, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, bytes, 2);
    stand->pending = vid;
}

static void
vlan_added(struct stand *stand)
{
    vdt_vlan_set(stand->model.vlan, stand->pending, true);
    stand->model.set |= VDT_NET_VLAN;
    stand->pending = 0;
}

static void
set_mac(struct stand *stand, uint8_t last)
{
    const uint8_t mac[6] = {0x52, 0x54, 0, 1, 2, last};

    cr_assert_eq(vm_command(&stand->vm, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6),
                 0);
    memcpy(stand->model.mac, mac, 6);
    memcpy(stand->vm.mac, mac, 6);
    stand->model.set |= VDT_NET_MAC;
}

static uint16_t
any_vlan(struct stand *stand)
{
    return (uint16_t) g_rand_int_range(stand->rand, 1, 4095);
}

/* What the tracker and the device say is what the guest was told. */
static void
check_control(struct stand *stand)
{
    g_autoptr(JsonNode) model = vdt_net_state_to_json(&stand->model);
    g_autofree char *expected = json_to_string(model, FALSE);
    g_autofree char *control = NULL;

    cr_assert(vm_control_matches("a", &control));
    cr_assert_str_eq(control, expected);
}

static char *
recovery(int64_t *ret_requests, int64_t *ret_commands)
{
    g_autoptr(JsonNode) status = vm_cli_json("status", "a", NULL);
    JsonObject *fields = json_object_get_object_member(json_node_get_object(status), "recovery");

    if (ret_requests)
        *ret_requests = json_object_get_int_member(fields, "requests");
    if (ret_commands)
        *ret_commands = json_object_get_int_member(fields, "commands");
    return g_strdup(json_object_get_string_member(fields, "state"));
}

static char *
text_of(const char *member)
{
    g_autoptr(JsonNode) status = vm_cli_json("status", "a", NULL);
    JsonNode *node = json_object_get_member(json_node_get_object(status), member);

    return JSON_NODE_HOLDS_NULL(node) ? g_strdup("") : json_node_dup_string(node);
}

/* Every request that was out is used, every buffer still goes round. */
static void
check_requests(struct stand *stand)
{
    vm_settle(&stand->vm);
    vm_traffic(&stand->vm, 6 * VM_NUM);
    for (unsigned i = 0; i < VM_NUM; i++)
        cr_assert_gt(stand->vm.taken[i], 0, "receive buffer %u is lost", i);
}

struct way {
    char device[64], shadow[8], mode[16];
    uint64_t features;
    enum vm_base base;
};

static struct way ways[] = {
    {"sim:loop,latency=500,ooo", "always", "shadow", INDIRECT, VM_BASE_USED},
    {"sim:loop,latency=500,ooo", "always", "shadow", EVENT, VM_BASE_ZERO},
    {"sim:loop,latency=500,in-order", "always", "shadow", ORDER | INDIRECT, VM_BASE_USED},
    {"sim:loop,latency=500,ooo,no-suspend,no-base", "always", "shadow", EVENT, VM_BASE_USED},
    {"sim:loop,latency=500,ooo", "always", "shadow", PACKED | INDIRECT, VM_BASE_USED},
    {"sim:loop,latency=500,ooo", "always", "shadow", PACKED | EVENT, VM_BASE_ZERO},
    {"sim:loop,latency=500,in-order", "always", "shadow", PACKED | ORDER | INDIRECT, VM_BASE_ZERO},
    {"sim:loop,latency=500", "auto", "passthrough", EVENT | INDIRECT, VM_BASE_USED},
    {"sim:loop,latency=500", "auto", "passthrough", 0, VM_BASE_ZERO},
};

ParameterizedTestParameters(recover, guest_goes_on_with_the_next_tracker)
{
    return cr_make_param_array(struct way, ways, sizeof(ways) / sizeof(ways[0]));
}

ParameterizedTest(struct way *way, recover, guest_goes_on_with_the_next_tracker)
{
    struct stand stand;
    int64_t requests = 0, commands = 0, sum = 0;

    begin(&stand, way->device, way->shadow, way->features);
    for (unsigned round = 0; round < 3; round++) {
        g_autofree char *mode = text_of("mode");
        cr_assert_str_eq(mode, way->mode);
        vm_traffic(&stand.vm, 100);
        set_mac(&stand, (uint8_t) round);
        add_vlan(&stand, any_vlan(&stand));
        if (round % 2 == 0) {
            cr_assert_eq(vm_command_wait(&stand.vm), 0);
            vlan_added(&stand);
        }
        vm_send(&stand.vm, 20);
        g_usleep((gulong) g_rand_int_range(stand.rand, 0, 600));
        crash(&stand, way->base);
        go_on(&stand);
        if (stand.pending) {
            cr_assert_eq(vm_command_wait(&stand.vm), 0, "the command that was out is done");
            vlan_added(&stand);
        }
        check_requests(&stand);
        check_control(&stand);
        g_autofree char *state = recovery(&requests, &commands);
        cr_assert_str_eq(state, "done");
        cr_expect_geq(commands, 1);
        sum += requests;
    }
    cr_expect_gt(sum, 0, "something was in flight");
    end(&stand);
    vdt_test_check_leaks();
}

/* The tracker was killed between its journal and the guest's ring: the command is done, the guest
 * has not seen it. */
Test(recover, command_that_was_not_given_back_is_answered)
{
    for (unsigned i = 0; i < 2; i++) {
        struct stand stand;
        uint8_t before[16];

        begin(&stand, "sim:loop", "always", i ? PACKED : 0);
        vm_traffic(&stand.vm, 100);
        for (unsigned n = 0; n < 40; n++)
            set_mac(&stand, (uint8_t) n);
        struct vdt_ring_mem *mem = &stand.vm.ring[VM_CVQ].mem;
        uint8_t *at = i ? vdt_packed_desc(mem->desc, stand.vm.ring[VM_CVQ].pos.used)
                        : (uint8_t *) mem->device + 2;
        add_vlan(&stand, 77);
        if (i) {
            /* As the guest wrote it, were it not for the tracker. */
            memcpy(before, at, 16);
            for (unsigned t = 0; t < 5000 && !memcmp(before, at, 16); t++)
                g_usleep(1000);
            uint16_t bits = vdt_packed_avail_bits(stand.vm.ring[VM_CVQ].pos.used);
            vdt_put16(before + 14, (uint16_t) (bits | VDT_SEG_NEXT));
            tracker_kill(&stand.tracker);
            memcpy(at, before, 16);
        } else {
            uint16_t used = vdt_get16(at);
            for (unsigned t = 0; t < 5000 && vdt_load16((uint16_t *) at) == used; t++)
                g_usleep(1000);
            tracker_kill(&stand.tracker);
            vdt_put16(at, used);
        }
        vm_disconnect(&stand.vm);
        vm_forget_bases(&stand.vm, VM_BASE_USED);
        go_on(&stand);
        cr_assert_eq(vm_command_wait(&stand.vm), 0);
        vlan_added(&stand);
        set_mac(&stand, 99);
        check_requests(&stand);
        check_control(&stand);
        end(&stand);
    }
}

/* The next ones are killed before the VMM has come back, or while it does. */
Test(recover, crash_after_a_crash_loses_nothing)
{
    for (unsigned i = 0; i < 2; i++) {
        struct stand stand;

        begin(&stand, "sim:loop,latency=2000,ooo", "always", i ? PACKED : EVENT);
        vm_traffic(&stand.vm, 100);
        set_mac(&stand, 1);
        vm_send(&stand.vm, 20);
        crash(&stand, VM_BASE_USED);
        for (unsigned n = 0; n < 8; n++) {
            run(&stand);
            if (n % 4 == 1)
                vm_connect(&stand.vm, "a");
            if (n % 4 > 1)
                attach(&stand);
            g_usleep(n == 3 ? 1000 : 0);
            crash(&stand, VM_BASE_USED);
        }
        go_on(&stand);
        check_requests(&stand);
        check_control(&stand);
        end(&stand);
    }
}

Test(recover, guest_that_has_rebooted_meanwhile_begins_with_nothing)
{
    for (unsigned i = 0; i < 4; i++) {
        struct stand stand;
        int64_t requests;

        begin(&stand, i < 2 ? "sim:loop,latency=500" : "sim:loop", i < 2 ? "always" : "auto",
              i % 2 ? PACKED : 0);
        vm_traffic(&stand.vm, 100);
        set_mac(&stand, 1);
        vm_send(&stand.vm, 20);
        crash(&stand, VM_BASE_USED);
        vm_reboot(&stand.vm);
        vdt_net_state_init(&stand.model);
        go_on(&stand);
        check_requests(&stand);
        check_control(&stand);
        g_autofree char *state = recovery(&requests, NULL);
        cr_expect_str_eq(state, "dropped");
        cr_expect_eq(requests, 0);
        end(&stand);
    }
}

Test(recover, guest_with_other_features_begins_with_nothing)
{
    struct stand stand;

    begin(&stand, "sim:loop", "always", 0);
    vm_traffic(&stand.vm, 100);
    set_mac(&stand, 1);
    crash(&stand, VM_BASE_USED);
    stand.vm.features |= EVENT;
    vm_reboot(&stand.vm);
    vdt_net_state_init(&stand.model);
    go_on(&stand);
    check_requests(&stand);
    check_control(&stand);
    end(&stand);
}

/* A guest that has reset its device before the crash is as new as one after it. */
Test(recover, guest_that_begins_anew_leaves_nothing_of_its_life_before)
{
    struct stand stand;
    GError *error = NULL;

    begin(&stand, "sim:loop", "always", 0);
    vm_traffic(&stand.vm, 100);
    set_mac(&stand, 1);
    must(vdt_frontend_set_status(stand.vm.frontend, 0, &error), error);
    vm_reboot(&stand.vm);
    vdt_net_state_init(&stand.model);
    must(vm_start(&stand.vm, &error), error);
    vm_traffic(&stand.vm, 30);
    add_vlan(&stand, 9);
    cr_assert_eq(vm_command_wait(&stand.vm), 0);
    vlan_added(&stand);
    crash(&stand, VM_BASE_USED);
    go_on(&stand);
    check_requests(&stand);
    check_control(&stand);
    end(&stand);
}

Test(recover, paused_guest_goes_on_where_it_stopped)
{
    struct stand stand;

    begin(&stand, "sim:loop,latency=500,ooo", "always", EVENT);
    vm_traffic(&stand.vm, 100);
    set_mac(&stand, 5);
    vm_send(&stand.vm, 20);
    vm_stop(&stand.vm);
    tracker_kill(&stand.tracker);
    vm_disconnect(&stand.vm);
    go_on(&stand);
    check_requests(&stand);
    check_control(&stand);
    end(&stand);
}

Test(recover, tracker_that_is_told_to_end_leaves_its_guest_to_the_next)
{
    for (unsigned i = 0; i < 2; i++) {
        struct stand stand;

        begin(&stand, "sim:loop,latency=500,ooo", "always", i ? PACKED : 0);
        vm_traffic(&stand.vm, 100);
        set_mac(&stand, 5);
        vm_send(&stand.vm, 20);
        cr_assert_eq(tracker_end(&stand.tracker), 0);
        vm_disconnect(&stand.vm);
        vm_forget_bases(&stand.vm, VM_BASE_USED);
        go_on(&stand);
        while (stand.vm.sent_done < stand.vm.next_send)
            vm_send(&stand.vm, 0);
        cr_expect_eq(stand.vm.duplicated, 0);
        check_requests(&stand);
        check_control(&stand);
        end(&stand);
    }
}

static void
spoil(const char *suffix, unsigned how)
{
    g_autofree char *path = g_strdup_printf("%s/a%s", vm_runtime_dir(), suffix);
    g_autofree char *target = g_strdup_printf("%s/elsewhere", vm_runtime_dir());
    g_autofree char *bytes = NULL;
    gsize len;

    cr_assert(g_file_get_contents(path, &bytes, &len, NULL));
    switch (how) {
    case 0:
        memset(bytes, 0x5a, len);
        cr_assert(g_file_set_contents(path, bytes, (gssize) len, NULL));
        cr_assert_eq(g_chmod(path, 0600), 0);
        break;
    case 1:
        cr_assert_eq(truncate(path, 700), 0);
        break;
    case 2:
        cr_assert_eq(g_rename(path, target), 0);
        cr_assert_eq(symlink(target, path), 0);
        break;
    case 3:
        cr_assert_eq(g_unlink(path), 0);
        break;
    }
}

Test(recover, journal_that_cannot_be_used_starts_the_guest_with_nothing)
{
    for (unsigned how = 0; how < 4; how++) {
        struct stand stand;

        begin(&stand, "sim:loop", "always", 0);
        vm_traffic(&stand.vm, 100);
        set_mac(&stand, 5);
        crash(&stand, VM_BASE_USED);
        spoil(".journal", how);
        vdt_net_state_init(&stand.model);
        go_on(&stand);
        check_requests(&stand);
        check_control(&stand);
        g_autofree char *state = recovery(NULL, NULL);
        /* Cut short, one of the slots may have been spared: an older state. */
        cr_expect(!strcmp(state, "none") || (how == 1 && !strcmp(state, "dropped")), "%u: %s", how,
                  state);
        end(&stand);
    }
}

/* In order and at the used index, what is in flight is in the ring itself. */
Test(recover, area_that_cannot_be_used_costs_no_control_state)
{
    for (unsigned how = 0; how < 4; how++) {
        struct stand stand;

        begin(&stand, "sim:loop", "always", 0);
        vm_traffic(&stand.vm, 100);
        set_mac(&stand, 5);
        crash(&stand, VM_BASE_USED);
        spoil(".inflight", how);
        go_on(&stand);
        check_requests(&stand);
        check_control(&stand);
        end(&stand);
    }
}

Test(recover, nothing_is_kept_and_nothing_taken_where_it_is_not_wanted)
{
    static const char *const never[] = {"--no-recovery", "--shadow", "always", NULL};
    struct stand stand;

    begin(&stand, "sim:loop", "always", 0);
    vm_traffic(&stand.vm, 100);
    set_mac(&stand, 5);
    crash(&stand, VM_BASE_USED);
    cr_expect(there(".journal") && there(".inflight"));
    tracker_start(&stand.tracker, "a", "sim:loop", never);
    cr_expect(!there(".journal") && !there(".inflight"));
    vdt_net_state_init(&stand.model);
    attach(&stand);
    check_requests(&stand);
    check_control(&stand);
    g_autofree char *state = recovery(NULL, NULL);
    cr_expect_str_eq(state, "off");
    end(&stand);
}

/* Nobody writes down what a device does on the guest's own ring: then order is all there is. */
Test(recover, what_cannot_be_told_is_refused_by_name)
{
    struct stand stand;
    g_autofree char *failure = NULL;

    begin(&stand, "sim:loop,latency=3000,ooo", "never", 0);
    g_autofree char *mode = text_of("mode");
    cr_assert_str_eq(mode, "passthrough");
    for (unsigned i = 0; i < 40; i++) {
        vm_send(&stand.vm, 8);
        g_usleep(1000);
    }
    crash(&stand, VM_BASE_USED);
    go_on(&stand);
    for (unsigned i = 0; i < 500 && (!failure || !*failure); i++) {
        g_usleep(2000);
        g_free(failure);
        failure = text_of("failure");
    }
    cr_expect(strstr(failure, "completed out of order"), "%s", failure);

    GError *error = NULL;
    must(vdt_frontend_set_status(stand.vm.frontend, 0, &error), error);
    vm_reboot(&stand.vm);
    must(vm_start(&stand.vm, &error), error);
    check_requests(&stand);
    end(&stand);
}

static unsigned
storm_rounds(void)
{
    return g_getenv("VDT_NIGHTLY") ? STORM_NIGHTLY : STORM_CI;
}

/* Connect and start until that has worked; now and then the tracker is killed in the midst of it.
 */
static void
come_back(struct stand *stand, unsigned round)
{
    for (unsigned tries = 0;; tries++) {
        g_autoptr(GError) error = NULL;
        bool again = tries < 3 && g_rand_boolean(stand->rand);
        run(stand);
        if (again && g_rand_boolean(stand->rand))
            kill(stand->tracker.pid, SIGKILL);
        bool ok = vm_reach(&stand->vm, "a", &error) && vm_start(&stand->vm, &error);
        memcpy(stand->vm.mac, stand->model.mac, 6);
        if (ok && !again)
            return;
        cr_assert(again, "round %u: %s", round, error ? error->message : "");
        if (g_rand_boolean(stand->rand))
            g_usleep((gulong) g_rand_int_range(stand->rand, 0, 4000));
        crash(stand, g_rand_boolean(stand->rand) ? VM_BASE_USED : VM_BASE_ZERO);
    }
}

/* Traffic and commands for as long as @us, then kill: the tracker is anywhere. */
static void
live(struct stand *stand, int64_t us)
{
    int64_t until = g_get_monotonic_time() + us;

    while (g_get_monotonic_time() < until) {
        struct vdt_used used;
        vm_send(&stand->vm, 8);
        if (stand->pending) {
            if (vdt_device_ring_reap(&stand->vm.ring[VM_CVQ], &used) != VDT_REAP_USED)
                continue;
            vlan_added(stand);
        }
        if (g_rand_int_range(stand->rand, 0, 4) == 0)
            add_vlan(stand, any_vlan(stand));
    }
}

struct storm {
    char device[64], shadow[8];
    uint64_t features;
};

static struct storm storms[] = {
    {"sim:loop,latency=200,ooo", "always", INDIRECT | EVENT},
    {"sim:loop,latency=200,ooo", "always", PACKED | INDIRECT},
    {"sim:loop,latency=200", "auto", 0},
};

ParameterizedTestParameters(recover, guest_outlives_many_trackers)
{
    return cr_make_param_array(struct storm, storms, sizeof(storms) / sizeof(storms[0]));
}

ParameterizedTest(struct storm *storm, recover, guest_outlives_many_trackers, .timeout = 1200)
{
    struct stand stand;
    unsigned rounds = storm_rounds();

    begin(&stand, storm->device, storm->shadow, storm->features);
    vm_traffic(&stand.vm, 100);
    set_mac(&stand, 1);
    for (unsigned round = 0; round < rounds; round++) {
        live(&stand, g_rand_int_range(stand.rand, 0, 20000));
        crash(&stand, round % 2 ? VM_BASE_USED : VM_BASE_ZERO);
        come_back(&stand, round);
        if (round % 10 < 8)
            continue;
        if (stand.pending) {
            cr_assert_eq(vm_command_wait(&stand.vm), 0);
            vlan_added(&stand);
        }
        check_requests(&stand);
        check_control(&stand);
    }
    check_requests(&stand);
    if (stand.pending) {
        cr_assert_eq(vm_command_wait(&stand.vm), 0);
        vlan_added(&stand);
    }
    check_control(&stand);
    end(&stand);
    vdt_test_check_leaks();
}
