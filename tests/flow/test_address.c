/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The address of a guest that never set one: what it read once is its own on every device. */
#include <string.h>

#include "lib/leak.h"
#include "lib/vm.h"

TestSuite(address, .init = NULL, .fini = vm_clean, .timeout = 60);

#define CONTROL                                                                                    \
    (VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_CTRL_RX) |                               \
     VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) | VDT_BIT(VIRTIO_NET_F_MAC))

static void
must(bool ok, GError *error)
{
    cr_assert(ok, "%s", error ? error->message : "failed without a message");
}

static void
begin(struct vm *vm, struct tracker *tracker, const char *device)
{
    GError *error = NULL;

    tracker_start(tracker, "a", device, NULL);
    vm_init(vm, CONTROL);
    vm_connect(vm, "a");
    must(vm_start(vm, &error), error);
    cr_assert_eq(vm->mac[5], 1);
    /* From here on the device lets in what is for its address, no more. */
    cr_assert_eq(vm_command(vm, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &(uint8_t){0}, 1),
                 0);
}

Test(address, goes_along_with_a_swap)
{
    struct tracker a;
    struct vm vm;

    begin(&vm, &a, "sim:loop,mac=52:54:00:00:00:01");
    vm_traffic(&vm, 50);
    cr_assert_eq(
        vm_cli(NULL, NULL, "swap", "a", "--device", "sim:loop,mac=52:54:00:00:00:02", NULL), 0);
    vm_traffic(&vm, 50);
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&a), 0);
}

Test(address, goes_along_with_a_migration)
{
    struct tracker a, b;
    struct vm vm;
    GError *error = NULL;

    begin(&vm, &a, "sim:loop,mac=52:54:00:00:00:01");
    tracker_start(&b, "b", "sim:loop,mac=52:54:00:00:00:02", NULL);
    vm_traffic(&vm, 50);
    vm_stop(&vm);
    GByteArray *state = vdt_frontend_save(vm.frontend, 1 << 20, &error);
    must(state != NULL, error);
    vm_disconnect(&vm);
    vm_connect(&vm, "b");
    must(vdt_frontend_load(vm.frontend, state->data, state->len, &error), error);
    g_byte_array_unref(state);
    must(vm_start(&vm, &error), error);
    cr_expect_eq(vm.mac[5], 1, "config space has the address that the guest uses");
    vm_traffic(&vm, 50);
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&a), 0);
    cr_assert_eq(tracker_end(&b), 0);
}
