/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kill -9: a tracker's process is killed under a running guest, the next one of its name takes
 * over. The guest loses no command that was acknowledged to it and no request; it never gets one
 * back that it does not have out.
 */
#include "lib/leak.h"
#include "lib/recover_stand.h"

#include <criterion/parameterized.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#include "base/wire.h"
#include "virtio/packed_layout.h"

TestSuite(recover, .fini = vm_clean, .timeout = 120);

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

    stand_begin(&stand, way->device, way->shadow, way->features);
    for (unsigned round = 0; round < 3; round++) {
        g_autofree char *mode = stand_text_of("mode");
        cr_assert_str_eq(mode, way->mode);
        vm_traffic(&stand.vm, 100);
        stand_set_mac(&stand, (uint8_t) round);
        stand_add_vlan(&stand, stand_any_vlan(&stand));
        if (round % 2 == 0) {
            cr_assert_eq(vm_command_wait(&stand.vm), 0);
            stand_vlan_added(&stand);
        }
        vm_send(&stand.vm, 20);
        g_usleep((gulong) g_rand_int_range(stand.rand, 0, 600));
        stand_crash(&stand, way->base);
        stand_go_on(&stand);
        if (stand.pending) {
            cr_assert_eq(vm_command_wait(&stand.vm), 0, "the command that was out is done");
            stand_vlan_added(&stand);
        }
        stand_check_requests(&stand);
        stand_check_control(&stand);
        g_autofree char *state = stand_recovery(&requests, &commands);
        cr_assert_str_eq(state, "done");
        cr_expect_geq(commands, 1);
        sum += requests;
    }
    cr_expect_gt(sum, 0, "something was in flight");
    stand_end(&stand);
    vdt_test_check_leaks();
}

/* The tracker was killed between its journal and the guest's ring: the command is done, the guest
 * has not seen it. */
Test(recover, command_that_was_not_given_back_is_answered)
{
    for (unsigned i = 0; i < 2; i++) {
        struct stand stand;
        uint8_t before[16];

        stand_begin(&stand, "sim:loop", "always", i ? PACKED : 0);
        vm_traffic(&stand.vm, 100);
        for (unsigned n = 0; n < 40; n++)
            stand_set_mac(&stand, (uint8_t) n);
        struct vdt_ring_mem *mem = &stand.vm.ring[VM_CVQ].mem;
        uint8_t *at = i ? vdt_packed_desc(mem->desc, stand.vm.ring[VM_CVQ].pos.used)
                        : (uint8_t *) mem->device + 2;
        stand_add_vlan(&stand, 77);
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
        stand_go_on(&stand);
        cr_assert_eq(vm_command_wait(&stand.vm), 0);
        stand_vlan_added(&stand);
        stand_set_mac(&stand, 99);
        stand_check_requests(&stand);
        stand_check_control(&stand);
        stand_end(&stand);
    }
}

/* The next ones are killed before the VMM has come back, or while it does. */
Test(recover, crash_after_a_crash_loses_nothing)
{
    for (unsigned i = 0; i < 2; i++) {
        struct stand stand;

        stand_begin(&stand, "sim:loop,latency=2000,ooo", "always", i ? PACKED : EVENT);
        vm_traffic(&stand.vm, 100);
        stand_set_mac(&stand, 1);
        vm_send(&stand.vm, 20);
        stand_crash(&stand, VM_BASE_USED);
        for (unsigned n = 0; n < 8; n++) {
            stand_run(&stand);
            if (n % 4 == 1)
                vm_connect(&stand.vm, "a");
            if (n % 4 > 1)
                stand_attach(&stand);
            g_usleep(n == 3 ? 1000 : 0);
            stand_crash(&stand, VM_BASE_USED);
        }
        stand_go_on(&stand);
        stand_check_requests(&stand);
        stand_check_control(&stand);
        stand_end(&stand);
    }
}

Test(recover, guest_that_has_rebooted_meanwhile_begins_with_nothing)
{
    for (unsigned i = 0; i < 4; i++) {
        struct stand stand;
        int64_t requests;

        stand_begin(&stand, i < 2 ? "sim:loop,latency=500" : "sim:loop", i < 2 ? "always" : "auto",
                    i % 2 ? PACKED : 0);
        vm_traffic(&stand.vm, 100);
        stand_set_mac(&stand, 1);
        vm_send(&stand.vm, 20);
        stand_crash(&stand, VM_BASE_USED);
        vm_reboot(&stand.vm);
        vdt_net_state_init(&stand.model);
        stand_go_on(&stand);
        stand_check_requests(&stand);
        stand_check_control(&stand);
        g_autofree char *state = stand_recovery(&requests, NULL);
        cr_expect_str_eq(state, "dropped");
        cr_expect_eq(requests, 0);
        stand_end(&stand);
    }
}

Test(recover, guest_with_other_features_begins_with_nothing)
{
    struct stand stand;

    stand_begin(&stand, "sim:loop", "always", 0);
    vm_traffic(&stand.vm, 100);
    stand_set_mac(&stand, 1);
    stand_crash(&stand, VM_BASE_USED);
    stand.vm.features |= EVENT;
    vm_reboot(&stand.vm);
    vdt_net_state_init(&stand.model);
    stand_go_on(&stand);
    stand_check_requests(&stand);
    stand_check_control(&stand);
    stand_end(&stand);
}

/* A guest that has reset its device before the crash is as new as one after it. */
Test(recover, guest_that_begins_anew_leaves_nothing_of_its_life_before)
{
    struct stand stand;
    GError *error = NULL;

    stand_begin(&stand, "sim:loop", "always", 0);
    vm_traffic(&stand.vm, 100);
    stand_set_mac(&stand, 1);
    stand_must(vdt_frontend_set_status(stand.vm.frontend, 0, &error), error);
    vm_reboot(&stand.vm);
    vdt_net_state_init(&stand.model);
    stand_must(vm_start(&stand.vm, &error), error);
    vm_traffic(&stand.vm, 30);
    stand_add_vlan(&stand, 9);
    cr_assert_eq(vm_command_wait(&stand.vm), 0);
    stand_vlan_added(&stand);
    stand_crash(&stand, VM_BASE_USED);
    stand_go_on(&stand);
    stand_check_requests(&stand);
    stand_check_control(&stand);
    stand_end(&stand);
}

Test(recover, paused_guest_goes_on_where_it_stopped)
{
    struct stand stand;

    stand_begin(&stand, "sim:loop,latency=500,ooo", "always", EVENT);
    vm_traffic(&stand.vm, 100);
    stand_set_mac(&stand, 5);
    vm_send(&stand.vm, 20);
    vm_stop(&stand.vm);
    tracker_kill(&stand.tracker);
    vm_disconnect(&stand.vm);
    stand_go_on(&stand);
    stand_check_requests(&stand);
    stand_check_control(&stand);
    stand_end(&stand);
}

Test(recover, tracker_that_is_told_to_end_leaves_its_guest_to_the_next)
{
    for (unsigned i = 0; i < 2; i++) {
        struct stand stand;

        stand_begin(&stand, "sim:loop,latency=500,ooo", "always", i ? PACKED : 0);
        vm_traffic(&stand.vm, 100);
        stand_set_mac(&stand, 5);
        vm_send(&stand.vm, 20);
        cr_assert_eq(tracker_end(&stand.tracker), 0);
        vm_disconnect(&stand.vm);
        vm_forget_bases(&stand.vm, VM_BASE_USED);
        stand_go_on(&stand);
        while (stand.vm.sent_done < stand.vm.next_send)
            vm_send(&stand.vm, 0);
        cr_expect_eq(stand.vm.duplicated, 0);
        stand_check_requests(&stand);
        stand_check_control(&stand);
        stand_end(&stand);
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

        stand_begin(&stand, "sim:loop", "always", 0);
        vm_traffic(&stand.vm, 100);
        stand_set_mac(&stand, 5);
        stand_crash(&stand, VM_BASE_USED);
        spoil(".journal", how);
        vdt_net_state_init(&stand.model);
        stand_go_on(&stand);
        stand_check_requests(&stand);
        stand_check_control(&stand);
        g_autofree char *state = stand_recovery(NULL, NULL);
        cr_expect_str_eq(state, "none", "%u", how);
        stand_end(&stand);
    }
}

/* In order and at the used index, what is in flight is in the ring itself. */
Test(recover, area_that_cannot_be_used_costs_no_control_state)
{
    for (unsigned how = 0; how < 4; how++) {
        struct stand stand;

        stand_begin(&stand, "sim:loop", "always", 0);
        vm_traffic(&stand.vm, 100);
        stand_set_mac(&stand, 5);
        stand_crash(&stand, VM_BASE_USED);
        spoil(".inflight", how);
        stand_go_on(&stand);
        stand_check_requests(&stand);
        stand_check_control(&stand);
        stand_end(&stand);
    }
}

Test(recover, nothing_is_kept_and_nothing_taken_where_it_is_not_wanted)
{
    static const char *const never[] = {"--no-recovery", "--shadow", "always", NULL};
    struct stand stand;

    stand_begin(&stand, "sim:loop", "always", 0);
    vm_traffic(&stand.vm, 100);
    stand_set_mac(&stand, 5);
    stand_crash(&stand, VM_BASE_USED);
    cr_expect(stand_there(".journal") && stand_there(".inflight"));
    tracker_start(&stand.tracker, "a", "sim:loop", never);
    cr_expect(!stand_there(".journal") && !stand_there(".inflight"));
    vdt_net_state_init(&stand.model);
    stand_attach(&stand);
    stand_check_requests(&stand);
    stand_check_control(&stand);
    g_autofree char *state = stand_recovery(NULL, NULL);
    cr_expect_str_eq(state, "off");
    stand_end(&stand);
}

struct untold {
    const char *device;
    uint64_t features;
    const char *why;
};

static const struct untold untold[] = {
    {"sim:loop,latency=3000,ooo", 0, "completed out of order"},
    {"sim:loop,latency=1000,in-order", PACKED | ORDER, "a packed ring does not say"},
};

/* Nobody writes down what a device does on the guest's own ring: then order is all there is. */
Test(recover, what_cannot_be_told_is_refused_by_name)
{
    for (unsigned n = 0; n < G_N_ELEMENTS(untold); n++) {
        struct stand stand;
        g_autofree char *failure = NULL;
        GError *error = NULL;

        stand_begin(&stand, untold[n].device, "never", untold[n].features);
        g_autofree char *mode = stand_text_of("mode");
        cr_assert_str_eq(mode, "passthrough");
        for (unsigned i = 0; i < 40; i++) {
            vm_send(&stand.vm, 8);
            g_usleep(1000);
        }
        stand_crash(&stand, VM_BASE_USED);
        stand_go_on(&stand);
        for (unsigned i = 0; i < 500 && (!failure || !*failure); i++) {
            g_usleep(2000);
            g_free(failure);
            failure = stand_text_of("failure");
        }
        cr_expect(strstr(failure, untold[n].why), "%s", failure);

        stand_must(vdt_frontend_set_status(stand.vm.frontend, 0, &error), error);
        vm_reboot(&stand.vm);
        stand_must(vm_start(&stand.vm, &error), error);
        stand_check_requests(&stand);
        stand_end(&stand);
    }
}
