/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A guest of elsewhere, whose rings wait for a state that did not come with it. */
#include "lib/handover_stand.h"
#include "lib/leak.h"
#include "unit/snapshot/golden_dir.h"

#include <string.h>

#include "base/wire.h"

TestSuite(await_state, .init = NULL, .fini = vm_clean, .timeout = 60);

static void
expect_waiting(struct vm *vm)
{
    uint32_t received = vm->received;

    for (unsigned i = 0; i < 20; i++) {
        vm_send(vm, 1);
        g_usleep(10000);
    }
    cr_assert_eq(vm->received, received);
    cr_assert(awaits_state("b"));
    expect_part("b", "failure", "its state has not come here");
    expect_text("b", "arrival", "null");
    expect_text("b", "mode", "stopped");
}

/* On b, which waits for a state; the source's is in @state. */
static void
begin_waiting(struct tracker *a, struct tracker *b, struct vm *vm, const char *state)
{
    GError *error = NULL;

    tracker_start(b, "b", "sim:loop", (const char *[]){"--await-state", NULL});
    begin(a, vm, "exit 1", "10");
    vm_log(vm, true);
    vm_stop(vm);
    expect_counts("a", 0, 1);
    cr_assert_eq(vm_cli(NULL, NULL, "snapshot", "a", "-o", state, NULL), 0);
    move_to(vm, "b");
    must(vm_start(vm, &error), error);
    expect_waiting(vm);
}

Test(await_state, rings_wait_for_the_state_and_go_on_with_it)
{
    struct tracker a, b;
    struct vm vm;
    g_autofree char *state = stand_file("state"), *err = NULL;

    begin_waiting(&a, &b, &vm, state);
    /* Not one of another guest, and not in the middle of another migration. */
    cr_assert_eq(vm_cli(NULL, &err, "restore", "b", VDT_GOLDEN_DIR "/v2-control.vdts", NULL), 3);
    expect_waiting(&vm);
    /* The state is still to be had at the source, whose VMM has gone. */
    cr_assert_eq(vm_cli(NULL, NULL, "restore", "b", state, NULL), 0);
    vm_traffic(&vm, 50);
    cr_assert(!awaits_state("b"));
    expect_text("b", "arrival", "loaded");
    expect_text("b", "failure", "null");
    expect_text("b", "phase", "running");
    g_autofree char *control = NULL;
    cr_assert(vm_control_matches("b", &control));
    cr_assert(strstr(control, "\"vlans\":[5]"), "%s", control);
    cr_assert_eq(tracker_end(&b), 0);
    end(&a, &vm);
}

Test(await_state, state_of_another_position_does_not_start_the_rings)
{
    struct tracker a, b;
    struct vm vm;
    g_autofree char *state = stand_file("state"), *later = stand_file("later"), *err = NULL;
    GError *error = NULL;

    begin_waiting(&a, &b, &vm, state);
    /* Back at the source for a while: what was taken before is of the past. */
    vm_disconnect(&vm);
    vm_connect(&vm, "a");
    must(vm_start(&vm, &error), error);
    vm_settle(&vm);
    vm_traffic(&vm, 70);
    vm_log(&vm, true);
    vm_stop(&vm);
    cr_assert_eq(vm_cli(NULL, NULL, "snapshot", "a", "-o", later, NULL), 0);
    move_to(&vm, "b");
    must(vm_start(&vm, &error), error);
    expect_waiting(&vm);
    cr_assert_eq(vm_cli(NULL, &err, "restore", "b", state, NULL), 3);
    cr_assert(strstr(err, "not the state of this guest"), "%s", err);
    expect_waiting(&vm);
    cr_assert_eq(vm_cli(NULL, NULL, "restore", "b", later, NULL), 0);
    vm_traffic(&vm, 50);
    expect_text("b", "arrival", "loaded");
    cr_assert_eq(tracker_end(&b), 0);
    end(&a, &vm);
}

/* Its VMM has moved a ring on by itself (QEMU does while the link is down): what was brought does
 * not fit, and nothing of the attempt is left. */
Test(await_state, start_that_is_refused_leaves_nothing_behind)
{
    struct tracker a, b;
    struct vm vm;
    g_autofree char *state = stand_file("state");
    g_autoptr(GError) refused = NULL;
    GError *error = NULL;

    begin_waiting(&a, &b, &vm, state);
    move_to(&vm, "b");
    cr_assert_eq(vm_cli(NULL, NULL, "restore", "b", state, NULL), 0);
    expect_text("b", "phase", "loaded");
    vm.base[1] -= 3;
    cr_assert(!vm_start(&vm, &refused));
    vm.base[1] += 3;
    move_to(&vm, "b");
    must(vm_start(&vm, &error), error);
    expect_waiting(&vm);
    cr_assert_eq(vm_cli(NULL, NULL, "restore", "b", state, NULL), 0);
    vm_traffic(&vm, 50);
    expect_text("b", "arrival", "loaded");
    cr_assert_eq(tracker_end(&b), 0);
    end(&a, &vm);
}

/* One that came before any VMM waits for its guest, whoever looks in meanwhile. */
Test(await_state, state_that_came_first_waits_for_its_guest)
{
    struct tracker a, b;
    struct vm vm, other;
    g_autofree char *state = stand_file("state");
    GError *error = NULL;

    begin_waiting(&a, &b, &vm, state);
    vm_disconnect(&vm);
    expect_text("b", "phase", "idle");
    cr_assert_eq(vm_cli(NULL, NULL, "restore", "b", state, NULL), 0);
    vm_init(&other, VDT_BIT(VIRTIO_NET_F_MAC));
    vm_connect(&other, "b");
    vm_clear(&other);
    expect_text("b", "phase", "loaded");
    vm_connect(&vm, "b");
    must(vm_start(&vm, &error), error);
    vm_traffic(&vm, 50);
    expect_text("b", "arrival", "loaded");
    cr_assert_eq(tracker_end(&b), 0);
    end(&a, &vm);
}

Test(await_state, guest_that_resets_its_device_waits_no_longer)
{
    struct tracker a, b;
    struct vm vm;
    g_autofree char *state = stand_file("state");
    GError *error = NULL;

    begin_waiting(&a, &b, &vm, state);
    vm_stop(&vm);
    must(vdt_frontend_set_status(vm.frontend, 0, &error), error);
    vm_reboot(&vm);
    must(vdt_frontend_reset_device(vm.frontend, &error), error);
    go_on(&vm, "b", "new");
    cr_assert(!awaits_state("b"));
    expect_text("b", "failure", "null");
    cr_assert_eq(tracker_end(&b), 0);
    end(&a, &vm);
}

/* Nothing that was stopped here is known of it. */
Test(await_state, guest_that_is_paused_meanwhile_waits_on)
{
    struct tracker a, b;
    struct vm vm;
    g_autofree char *state = stand_file("state");
    GError *error = NULL;

    begin_waiting(&a, &b, &vm, state);
    vm_stop(&vm);
    must(vdt_frontend_set_status(vm.frontend, 0, &error), error);
    must(vm_start(&vm, &error), error);
    expect_waiting(&vm);
    vm_stop(&vm);
    must(vm_start(&vm, &error), error);
    expect_waiting(&vm);
    move_to(&vm, "b");
    must(vm_start(&vm, &error), error);
    expect_waiting(&vm);
    cr_assert_eq(vm_cli(NULL, NULL, "restore", "b", state, NULL), 0);
    vm_traffic(&vm, 50);
    expect_text("b", "arrival", "loaded");
    cr_assert_eq(tracker_end(&b), 0);
    end(&a, &vm);
}

Test(await_state, guest_that_waits_cannot_be_migrated_further)
{
    struct tracker a, b;
    struct vm vm;
    g_autofree char *state = stand_file("state");
    g_autoptr(GError) error = NULL;

    begin_waiting(&a, &b, &vm, state);
    cr_assert(!vdt_frontend_set_features(vm.frontend,
                                         vm.features | (vm.device_features & VDT_BIT(30)) |
                                             VHOST_USER_BIT(VHOST_USER_F_LOG_ALL),
                                         &error));
    expect_waiting(&vm);
    cr_assert_eq(tracker_end(&b), 0);
    end(&a, &vm);
}
