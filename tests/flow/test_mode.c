/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When the device works on the guest's own rings, as status has it. */
#include "lib/leak.h"
#include "lib/vm.h"

TestSuite(mode, .init = NULL, .fini = vm_clean, .timeout = 60);

#define CONTROL (VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_STATUS))

static void
begin(struct vm *vm, struct tracker *tracker, uint64_t features)
{
    g_autoptr(GError) error = NULL;

    tracker_start(tracker, "a", "sim:loop", NULL);
    vm_init(vm, features);
    vm_connect(vm, "a");
    cr_assert(vm_start(vm, &error), "%s", error ? error->message : "");
}

static bool
passes_through(void)
{
    int64_t end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
    bool direct = false;

    do {
        g_autoptr(JsonNode) status = vm_cli_json("status", "a", NULL);
        const char *mode = json_object_get_string_member(json_node_get_object(status), "mode");
        direct = g_str_equal(mode, "passthrough");
    } while (!direct && g_get_monotonic_time() < end);
    return direct;
}

/* With settings of single rings a start has to begin with empty rings, in shadow. */
Test(mode, swap_ends_in_passthrough_where_it_began_there)
{
    const uint8_t coal[12] = {1, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0};
    struct tracker a;
    struct vm vm;

    begin(&vm, &a,
          CONTROL | VDT_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) | VDT_BIT(VIRTIO_NET_F_NOTF_COAL) |
              VDT_BIT(VIRTIO_NET_F_VQ_NOTF_COAL));
    cr_assert_eq(vm_command(&vm, VIRTIO_NET_CTRL_NOTF_COAL, VIRTIO_NET_CTRL_NOTF_COAL_VQ_SET, coal,
                            sizeof(coal)),
                 0);
    vm_traffic(&vm, 50);
    cr_assert(passes_through());
    for (unsigned i = 0; i < 3; i++) {
        cr_assert_eq(vm_cli(NULL, NULL, "swap", "a", "--device", "sim:loop,latency=50", NULL), 0);
        cr_assert(passes_through(), "after swap %u", i);
        vm_traffic(&vm, 50);
    }
    cr_assert_eq(vm_command(&vm, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, NULL, 0),
                 0);
    cr_assert(vm_control_matches("a", NULL));
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&a), 0);
}
