/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where a guest comes from: its state is tried before it comes, or it comes without one. */
#include "lib/leak.h"
#include "lib/vm.h"

#include <string.h>

#include "base/wire.h"

TestSuite(arrival, .init = NULL, .fini = vm_clean, .timeout = 60);

#define MAC VDT_BIT(VIRTIO_NET_F_MAC) /* of a guest whose control queue ends in its VMM */
#define CONTROL                                                                                    \
    (VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_CTRL_RX) |                               \
     VDT_BIT(VIRTIO_NET_F_CTRL_VLAN) | VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |                       \
     VDT_BIT(VIRTIO_NET_F_MAC) | VDT_BIT(VIRTIO_NET_F_STATUS))

static void
must(bool ok, GError *error)
{
    cr_assert(ok, "%s", error ? error->message : "failed without a message");
}

static JsonObject *
status_of(const char *name)
{
    g_autoptr(JsonNode) status = vm_cli_json("status", name, NULL);

    return json_object_ref(json_node_get_object(status));
}

static void
expect_text(const char *name, const char *member, const char *expected)
{
    g_autoptr(JsonObject) status = status_of(name);
    JsonNode *node = json_object_get_member(status, member);

    cr_assert(node, "status has no %s", member);
    const char *text = json_node_is_null(node) ? "null" : json_node_get_string(node);
    cr_assert_str_eq(text, expected, "%s of %s is %s, not %s", member, name, text, expected);
}

static int64_t
carried(const char *name, const char *member)
{
    g_autoptr(JsonObject) status = status_of(name);

    return json_object_get_int_member(json_object_get_object_member(status, "carried"), member);
}

static void
configure(struct vm *vm)
{
    const uint8_t on = 1, vid[2][2] = {{5, 0}, {0, 1}};

    cr_assert_eq(vm_command(vm, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 1), 0);
    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(vm_command(vm, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, vid[i], 2), 0);
}

static void
begin(struct vm *vm, uint64_t features)
{
    GError *error = NULL;

    vm_init(vm, features);
    vm_connect(vm, "a");
    must(vm_start(vm, &error), error);
    vm_traffic(vm, 100);
}

/* Stopped, saved, offered to @to on a connection of its own. The source's stays open. */
static bool
offer(struct vm *vm, const char *to)
{
    GError *error = NULL;
    struct vdt_frontend *source = vm->frontend;

    vm_stop(vm);
    GByteArray *state = vdt_frontend_save(source, 1 << 20, &error);
    must(state != NULL, error);
    vm->frontend = NULL;
    vm_connect(vm, to);
    bool taken = vdt_frontend_load(vm->frontend, state->data, state->len, &error);
    g_byte_array_unref(state);
    g_clear_error(&error);
    if (taken) {
        vdt_frontend_free(source);
    } else {
        vm_disconnect(vm);
        vm->frontend = source;
    }
    return taken;
}

/* @refused says no to the state, and says it before the source is let go. @next: the features of
 * the guest that it serves then, 0 where the device is not good for any of ours. */
static void
refusal(const char *source, const char *refused, uint64_t features, uint64_t next)
{
    struct tracker a, b, c;
    struct vm vm;
    GError *error = NULL;

    tracker_start(&a, "a", source, NULL);
    tracker_start(&b, "b", refused, NULL);
    tracker_start(&c, "c", source, NULL);
    begin(&vm, features);
    if (features & VDT_BIT(VIRTIO_NET_F_CTRL_RX))
        configure(&vm);
    cr_assert(!offer(&vm, "b"), "%s took the state", refused);
    cr_assert_eq(carried("b", "loads"), 0);
    expect_text("b", "phase", "idle");
    must(vm_start(&vm, &error), error);
    vm_traffic(&vm, 100);
    expect_text("a", "arrival", "resumed");
    cr_assert(vm_control_matches("a", NULL));

    /* And it can still go somewhere. */
    cr_assert(offer(&vm, "c"));
    must(vm_start(&vm, &error), error);
    vm_traffic(&vm, 100);
    expect_text("c", "arrival", "loaded");
    cr_assert(vm_control_matches("c", NULL));
    vm_disconnect(&vm);

    /* What refused has kept nothing of it. */
    vm_clear(&vm);
    if (next) {
        vm_init(&vm, next);
        vm_connect(&vm, "b");
        must(vm_start(&vm, &error), error);
        vm_traffic(&vm, 20);
        expect_text("b", "arrival", "new");
        vm_clear(&vm);
    }
    cr_assert_eq(tracker_end(&a), 0);
    cr_assert_eq(tracker_end(&b), 0);
    cr_assert_eq(tracker_end(&c), 0);
}

Test(arrival, command_that_the_device_refuses_is_found_at_load)
{
    refusal("sim:loop", "sim:loop,nak-class=2.0", CONTROL, MAC);
}

Test(arrival, command_that_a_device_refuses_is_found_at_load_packed)
{
    refusal("sim:loop", "sim:loop,nak-class=2.0", CONTROL | VDT_BIT(VIRTIO_F_RING_PACKED), MAC);
}

Test(arrival, feature_that_the_device_lacks_is_found_at_load)
{
    refusal("sim:loop", "sim:loop,no-packed", CONTROL | VDT_BIT(VIRTIO_F_RING_PACKED), MAC);
}

Test(arrival, smaller_rings_are_found_at_load)
{
    refusal("sim:loop", "sim:loop,num=32", CONTROL, 0);
}

Test(arrival, address_that_the_device_refuses_is_found_at_load)
{
    refusal("sim:loop,mac=52:54:00:00:00:01", "sim:loop,mac=52:54:00:00:00:02,nak-class=1.1",
            CONTROL & ~VDT_BIT(VIRTIO_NET_F_CTRL_RX), 0);
}

/* The VMM keeps the control queue: what the tracker asks for itself is tried the same way, with its
 * second choice. */
Test(arrival, device_that_takes_only_the_second_choice_is_taken)
{
    struct tracker a, b;
    struct vm vm;
    GError *error = NULL;

    tracker_start(&a, "a", "sim:loop", NULL);
    tracker_start(&b, "b", "sim:loop,nak-class=0.0", NULL);
    begin(&vm, MAC);
    cr_assert(offer(&vm, "b"));
    cr_assert_gt(carried("b", "rehearsed_us"), 0);
    must(vm_start(&vm, &error), error);
    vm_traffic(&vm, 50);
    g_autofree char *control = NULL;
    cr_assert(vm_control_matches("b", &control));
    cr_assert(strstr(control, "\"allmulti\":true"), "%s", control);
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&a), 0);
    cr_assert_eq(tracker_end(&b), 0);
}

Test(arrival, address_of_a_guest_without_control_queue_is_tried_too)
{
    refusal("sim:loop", "sim:loop,nak-class=1.1", MAC, 0);
}

static void
stateless(uint64_t features, const char *unmigratable)
{
    struct tracker a, b;
    struct vm vm;
    GError *error = NULL;

    tracker_start(&a, "a", "sim:loop", NULL);
    tracker_start(&b, "b", "sim:loop", NULL);
    begin(&vm, features);
    expect_text("a", "arrival", "new");
    expect_text("a", "unmigratable", "null");
    vm_stop(&vm);
    vm_disconnect(&vm);
    expect_text("a", "arrival", "null");
    vm_connect(&vm, "b");
    must(vm_start(&vm, &error), error);
    vm_traffic(&vm, 50);
    expect_text("b", "arrival", "stateless");
    expect_text("b", "unmigratable", unmigratable);

    /* Its driver begins anew: nothing is missing any more. */
    vm_stop(&vm);
    must(vdt_frontend_set_status(vm.frontend, 0, &error), error);
    vm_reboot(&vm);
    must(vdt_frontend_reset_device(vm.frontend, &error), error);
    must(vm_start(&vm, &error), error);
    vm_traffic(&vm, 50);
    expect_text("b", "unmigratable", "null");
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&a), 0);
    cr_assert_eq(tracker_end(&b), 0);
}

Test(arrival, guest_without_its_state_is_named)
{
    stateless(CONTROL, "the guest came here without its control state");
}

/* Nothing of it is missing but the order of what was in flight. */
Test(arrival, guest_without_control_queue_can_go_on_from_there)
{
    stateless(MAC, "null");
}
