/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A live snapshot is given to a running guest. */
#include "lib/leak.h"
#include "lib/vm.h"

#include <string.h>

TestSuite(restore, .init = NULL, .fini = vm_clean, .timeout = 60);

static void
begin(struct vm *vm, struct tracker *tracker, const char *device)
{
    GError *error = NULL;

    tracker_start(tracker, "a", device, NULL);
    vm_init(vm, VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_CTRL_RX) |
                    VDT_BIT(VIRTIO_NET_F_CTRL_VLAN) | VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |
                    VDT_BIT(VIRTIO_NET_F_MAC));
    vm_connect(vm, "a");
    cr_assert(vm_start(vm, &error), "%s", error ? error->message : "");
}

static void
end(struct vm *vm, struct tracker *tracker)
{
    vm_clear(vm);
    cr_assert_eq(tracker_end(tracker), 0);
}

Test(restore, a_running_device_goes_back_to_the_state_of_a_live_snapshot)
{
    struct tracker a;
    struct vm vm;
    g_autofree char *control = NULL, *again = NULL;

    begin(&vm, &a, "sim:loop");
    g_autofree char *before = g_build_filename(vm_runtime_dir(), "before.vdts", NULL);
    g_autofree char *after = g_build_filename(vm_runtime_dir(), "after.vdts", NULL);
    cr_assert_eq(vm_cli(NULL, NULL, "snapshot", "a", "-o", before, NULL), 0);
    vm_configure(&vm);
    vm_traffic(&vm, 50);
    cr_assert_eq(vm_cli(NULL, NULL, "snapshot", "a", "-o", after, NULL), 0);

    /* What was set since then is in the device no more. */
    cr_assert_eq(vm_cli(NULL, NULL, "restore", "a", before, NULL), 0);
    cr_assert(vm_control_matches("a", &control));
    cr_assert_null(strstr(control, "52:54:00:01:02:03"), "%s", control);
    cr_assert_null(strstr(control, "256"), "%s", control);
    vm_traffic(&vm, 50);

    cr_assert_eq(vm_cli(NULL, NULL, "restore", "a", after, NULL), 0);
    cr_assert(vm_control_matches("a", &again));
    cr_assert(strstr(again, "52:54:00:01:02:03") && strstr(again, "256"), "%s", again);
    vm_traffic(&vm, 50);
    end(&vm, &a);
}

Test(restore, a_live_snapshot_that_the_device_refuses_leaves_all_as_it_was)
{
    struct tracker a, b;
    struct vm vm;
    g_autofree char *err = NULL;

    begin(&vm, &a, "sim:loop");
    vm_configure(&vm);
    g_autofree char *file = g_build_filename(vm_runtime_dir(), "f.vdts", NULL);
    cr_assert_eq(vm_cli(NULL, NULL, "snapshot", "a", "-o", file, NULL), 0);
    end(&vm, &a);

    begin(&vm, &b, "sim:loop,nak=3");
    vm_traffic(&vm, 50);
    cr_assert_eq(vm_cli(NULL, &err, "restore", "a", file, NULL), 3);
    cr_assert(strstr(err, "command 3 of 4"), "%s", err);
    cr_assert(vm_control_matches("a", NULL));
    vm_traffic(&vm, 50);
    end(&vm, &b);
}
