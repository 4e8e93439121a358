/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/recover_stand.h"

#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#include "base/wire.h"
#include "snapshot/snapshot.h"

void
stand_must(bool ok, GError *error)
{
    cr_assert(ok, "%s", error ? error->message : "failed without a message");
}

void
stand_run(struct stand *stand)
{
    const char *const more[] = {"--shadow", stand->shadow, NULL};

    tracker_start(&stand->tracker, "a", stand->device, more);
}

void
stand_attach(struct stand *stand)
{
    GError *error = NULL;

    vm_connect(&stand->vm, "a");
    stand_must(vm_start(&stand->vm, &error), error);
    /* A driver reads it from the config space once. */
    if (stand->model.set & VDT_NET_MAC)
        memcpy(stand->vm.mac, stand->model.mac, 6);
}

void
stand_begin(struct stand *stand, const char *device, const char *shadow, uint64_t features)
{
    *stand = (struct stand){.device = device, .shadow = shadow};
    stand->rand = g_rand_new_with_seed(7);
    vdt_net_state_init(&stand->model);
    stand_run(stand);
    vm_init(&stand->vm, CONTROL | features);
    stand->vm.indirect = features & INDIRECT;
    stand_attach(stand);
}

bool
stand_there(const char *suffix)
{
    g_autofree char *path = g_strdup_printf("%s/a%s", vm_runtime_dir(), suffix);

    return access(path, F_OK) == 0;
}

void
stand_end(struct stand *stand)
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
    cr_expect(!stand_there(".journal") && !stand_there(".inflight") && !stand_there(".lock"));
}

void
stand_crash(struct stand *stand, enum vm_base base)
{
    tracker_kill(&stand->tracker);
    vm_disconnect(&stand->vm);
    vm_forget_bases(&stand->vm, base);
}

void
stand_go_on(struct stand *stand)
{
    stand_run(stand);
    stand_attach(stand);
}

void
stand_add_vlan(struct stand *stand, uint16_t vid)
{
    uint8_t bytes[2];

    vdt_put16(bytes, vid);
    vm_command_post(&stand->vm, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, bytes, 2);
    stand->pending = vid;
}

void
stand_vlan_added(struct stand *stand)
{
    vdt_vlan_set(stand->model.vlan, stand->pending, true);
    stand->model.set |= VDT_NET_VLAN;
    stand->pending = 0;
}

void
stand_set_mac(struct stand *stand, uint8_t last)
{
    const uint8_t mac[6] = {0x52, 0x54, 0, 1, 2, last};

    cr_assert_eq(vm_command(&stand->vm, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6),
                 0);
    memcpy(stand->model.mac, mac, 6);
    memcpy(stand->vm.mac, mac, 6);
    stand->model.set |= VDT_NET_MAC;
}

uint16_t
stand_any_vlan(struct stand *stand)
{
    return (uint16_t) g_rand_int_range(stand->rand, 1, 4095);
}

/* What the tracker and the device say is what the guest was told. */
void
stand_check_control(struct stand *stand)
{
    g_autoptr(JsonNode) model = vdt_net_state_to_json(&stand->model);
    g_autofree char *expected = json_to_string(model, FALSE);
    g_autofree char *control = NULL;

    cr_assert(vm_control_matches("a", &control));
    cr_assert_str_eq(control, expected);
}

char *
stand_recovery(int64_t *ret_requests, int64_t *ret_commands)
{
    g_autoptr(JsonNode) status = vm_cli_json("status", "a", NULL);
    JsonObject *fields = json_object_get_object_member(json_node_get_object(status), "recovery");

    if (ret_requests)
        *ret_requests = json_object_get_int_member(fields, "requests");
    if (ret_commands)
        *ret_commands = json_object_get_int_member(fields, "commands");
    return g_strdup(json_object_get_string_member(fields, "state"));
}

char *
stand_text_of(const char *member)
{
    g_autoptr(JsonNode) status = vm_cli_json("status", "a", NULL);
    JsonNode *node = json_object_get_member(json_node_get_object(status), member);

    return JSON_NODE_HOLDS_NULL(node) ? g_strdup("") : json_node_dup_string(node);
}

/* Every request that was out is used, every buffer still goes round. */
void
stand_check_requests(struct stand *stand)
{
    vm_settle(&stand->vm);
    vm_traffic(&stand->vm, 6 * VM_NUM);
    for (unsigned i = 0; i < VM_NUM; i++)
        cr_assert_gt(stand->vm.taken[i], 0, "receive buffer %u is lost", i);
}
