/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One guest, many trackers, each killed wherever it happens to be. */
#include "lib/leak.h"
#include "lib/recover_stand.h"

#include <criterion/parameterized.h>
#include <signal.h>
#include <string.h>

TestSuite(recover_storm, .fini = vm_clean);

#define STORM_CI 50u
#define STORM_NIGHTLY 1000u

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
        stand_run(stand);
        if (again && g_rand_boolean(stand->rand))
            kill(stand->tracker.pid, SIGKILL);
        bool ok = vm_reach(&stand->vm, "a", &error) && vm_start(&stand->vm, &error);
        memcpy(stand->vm.mac, stand->model.mac, 6);
        if (ok && !again)
            return;
        cr_assert(again, "round %u: %s", round, error ? error->message : "");
        if (g_rand_boolean(stand->rand))
            g_usleep((gulong) g_rand_int_range(stand->rand, 0, 4000));
        stand_crash(stand, g_rand_boolean(stand->rand) ? VM_BASE_USED : VM_BASE_ZERO);
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
            stand_vlan_added(stand);
        }
        if (g_rand_int_range(stand->rand, 0, 4) == 0)
            stand_add_vlan(stand, stand_any_vlan(stand));
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

ParameterizedTestParameters(recover_storm, guest_outlives_many_trackers)
{
    return cr_make_param_array(struct storm, storms, sizeof(storms) / sizeof(storms[0]));
}

ParameterizedTest(struct storm *storm, recover_storm, guest_outlives_many_trackers, .timeout = 1200)
{
    struct stand stand;
    unsigned rounds = storm_rounds();

    stand_begin(&stand, storm->device, storm->shadow, storm->features);
    vm_traffic(&stand.vm, 100);
    stand_set_mac(&stand, 1);
    for (unsigned round = 0; round < rounds; round++) {
        live(&stand, g_rand_int_range(stand.rand, 0, 20000));
        stand_crash(&stand, round % 2 ? VM_BASE_USED : VM_BASE_ZERO);
        come_back(&stand, round);
        if (round % 10 < 8)
            continue;
        if (stand.pending) {
            cr_assert_eq(vm_command_wait(&stand.vm), 0);
            stand_vlan_added(&stand);
        }
        stand_check_requests(&stand);
        stand_check_control(&stand);
    }
    stand_check_requests(&stand);
    if (stand.pending) {
        cr_assert_eq(vm_command_wait(&stand.vm), 0);
        stand_vlan_added(&stand);
    }
    stand_check_control(&stand);
    stand_end(&stand);
    vdt_test_check_leaks();
}
