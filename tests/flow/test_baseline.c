/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A fleet of different devices: what they have in common, and a guest that goes round. */
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "base/wire.h"
#include "lib/leak.h"
#include "lib/vm.h"
#include "virtio/features.h"

TestSuite(baseline, .init = NULL, .fini = vm_clean, .timeout = 60);

#define ONE "sim:loop,pairs=4,no-rss,mtu=9000,num=256"
#define TWO "sim:loop,pairs=2,no-packed,num=512,latency=20"

#define CONTROL                                                                                    \
    (VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_CTRL_RX) | VDT_BIT(VIRTIO_NET_F_MQ) |    \
     VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) | VDT_BIT(VIRTIO_NET_F_MAC) | VDT_BIT(VIRTIO_NET_F_MTU))

static void
must(bool ok, GError *error)
{
    cr_assert(ok, "%s", error ? error->message : "failed without a message");
}

static char *
path_of(const char *name)
{
    return g_build_filename(vm_runtime_dir(), name, NULL);
}

/* The baseline of both, as a file. */
static char *
make_fleet(void)
{
    g_autofree char *text = NULL;
    char *path = path_of("fleet.conf");

    cr_assert_eq(vm_cli(&text, NULL, "baseline", ONE, TWO, NULL), 0);
    cr_assert(g_file_set_contents(path, text, -1, NULL));
    return path;
}

static uint16_t
config16(struct vm *vm, size_t offset)
{
    uint8_t field[2];
    GError *error = NULL;

    must(vdt_frontend_get_config(vm->frontend, (uint32_t) offset, field, 2, &error), error);
    return vdt_get16(field);
}

static void
go_to(struct vm *vm, const char *device)
{
    cr_assert_eq(vm_cli(NULL, NULL, "swap", "a", "--device", device, NULL), 0, "%s", device);
    cr_assert(vm_control_matches("a", NULL));
    vm_traffic(vm, 50);
}

Test(baseline, guest_goes_to_each_device_and_back)
{
    const uint8_t mac[6] = {0x52, 0x54, 0, 1, 2, 3}, pairs[2] = {2, 0}, many[2] = {3, 0};
    g_autofree char *fleet = make_fleet();
    const char *more[] = {"--features-from", fleet, NULL};
    struct tracker a;
    struct vm vm;
    GError *error = NULL;
    uint64_t queues = 0;

    tracker_start(&a, "a", ONE, more);
    vm_init(&vm, CONTROL);
    vm.cvq = 4; /* behind two pairs, though the device has four */
    vm_connect(&vm, "a");
    must(vm_start(&vm, &error), error);
    cr_expect_eq(config16(&vm, offsetof(struct virtio_net_config, max_virtqueue_pairs)), 2);
    cr_expect_eq(config16(&vm, offsetof(struct virtio_net_config, mtu)), 1500);
    must(vdt_frontend_get_queue_num(vm.frontend, &queues, &error), error);
    cr_expect_eq(queues, 5);
    cr_assert_eq(vm_command(&vm, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6), 0);
    cr_assert_eq(vm_command(&vm, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, many, 2), 1,
                 "the device could, the baseline says no");
    cr_assert_eq(vm_command(&vm, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, pairs, 2), 0);
    memcpy(vm.mac, mac, 6);
    vm_traffic(&vm, 50);
    for (unsigned round = 0; round < 2; round++) {
        go_to(&vm, TWO);
        go_to(&vm, ONE);
    }
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&a), 0);
}

Test(baseline, nothing_outside_is_offered_and_status_says_why)
{
    g_autofree char *fleet = make_fleet();
    const char *more[] = {"--features-from", fleet, NULL};
    struct tracker a;
    struct vm vm;
    GError *error = NULL;
    uint64_t offered = 0;

    tracker_start(&a, "a", TWO, more);
    vm_init(&vm, CONTROL);
    vm_connect(&vm, "a");
    must(vdt_frontend_get_features(vm.frontend, &offered, &error), error);
    cr_expect_not(offered & VDT_BIT(VIRTIO_NET_F_RSS), "only this device has it");
    cr_expect(offered & VDT_BIT(VIRTIO_NET_F_MQ));
    cr_expect_not(vdt_frontend_set_num(vm.frontend, 0, 512, &error), "the other takes 256");
    g_clear_error(&error);
    g_autoptr(JsonNode) status = vm_cli_json("status", "a", NULL);
    JsonObject *features = json_object_get_object_member(json_node_get_object(status), "features");
    JsonObject *withheld = json_object_get_object_member(features, "withheld");
    cr_expect_str_eq(json_object_get_string_member_with_default(withheld, "RSS", ""),
                     "it is not in the baseline (--features-from)");
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&a), 0);
}

Test(baseline, device_with_less_is_refused_with_each_reason)
{
    g_autofree char *fleet = make_fleet();
    g_autofree char *err = NULL;
    g_autofree char *out = NULL;

    int code = vm_cli(NULL, &err, "run", "--name", "b", "--device", "sim:pairs=1,mtu=1000,num=128",
                      "--features-from", fleet, NULL);
    cr_expect_eq(code, 3);
    cr_expect(strstr(err, "does not offer MQ; ") && strstr(err, "queue pairs of 1") &&
                  strstr(err, "ring size of 128, the baseline has 256") &&
                  strstr(err, "MTU of 1000, the baseline has 1500"),
              "%s", err);
    code = vm_cli(&out, NULL, "check", "--from", fleet, "--to", "sim:pairs=1", NULL);
    cr_expect_eq(code, 3);
    cr_expect(strstr(out, "  device does not offer MQ\n"), "%s", out);
    cr_expect_eq(vm_cli(NULL, NULL, "check", "--from", fleet, "--to", "sim:pairs=3", NULL), 0);
}

Test(baseline, snapshots_and_baselines_take_part)
{
    g_autofree char *fleet = make_fleet();
    g_autofree char *snapshot = path_of("a.vdts");
    g_autofree char *out = NULL;
    g_autofree char *err = NULL;
    struct tracker a;

    tracker_start(&a, "a", "sim:pairs=3,no-event-idx", NULL);
    cr_assert_eq(vm_cli(NULL, NULL, "snapshot", "a", "-o", snapshot, NULL), 0);
    cr_assert_eq(vm_cli(&out, NULL, "baseline", "sim:pairs=4", snapshot, NULL), 0);
    cr_expect(strstr(out, "\npairs = 3\n"), "%s", out);
    cr_expect(strstr(out, "# without EVENT_IDX: "), "%s", out);
    g_clear_pointer(&out, g_free);
    cr_assert_eq(vm_cli(&out, NULL, "baseline", snapshot, fleet, NULL), 0);
    cr_expect(strstr(out, "\npairs = 2\n") && !strstr(out, "rss-key"), "%s", out);
    cr_assert_eq(vm_cli(NULL, &err, "baseline", "sim:", "/dev/null", NULL), 1);
    cr_assert_eq(tracker_end(&a), 0);
}

/* A guest of a wider tracker is told at the door, not by its VMM's failure. */
Test(baseline, state_of_a_guest_that_uses_more_is_refused)
{
    g_autofree char *fleet = make_fleet();
    g_autofree char *state = path_of("wide.vdts");
    g_autofree char *err = NULL;
    struct tracker a;
    struct vm vm;
    GError *error = NULL;

    tracker_start(&a, "a", "sim:loop,pairs=2", NULL);
    vm_init(&vm, CONTROL | VDT_BIT(VIRTIO_F_RING_PACKED));
    vm.cvq = 4;
    vm_connect(&vm, "a");
    must(vm_start(&vm, &error), error);
    vm_traffic(&vm, 10);
    cr_assert_eq(vm_cli(NULL, NULL, "snapshot", "a", "-o", state, NULL), 0);
    int code = vm_cli(NULL, &err, "run", "--name", "b", "--device", ONE, "--features-from", fleet,
                      "--restore", state, NULL);
    cr_expect_eq(code, 3);
    cr_expect(strstr(err, "RING_PACKED"), "%s", err);
    vm_clear(&vm);
    cr_assert_eq(tracker_end(&a), 0);
}

Test(baseline, file_that_is_none_is_said_to_be_none)
{
    g_autofree char *path = path_of("bad.conf");
    g_autofree char *err = NULL;

    g_file_set_contents(path, "[baseline]\nformat = 1\ntype = net\nfeatures = MQ\n", -1, NULL);
    int code =
        vm_cli(NULL, &err, "run", "--name", "b", "--device", "sim:", "--features-from", path, NULL);
    cr_expect_eq(code, 1);
    cr_expect(strstr(err, path) && strstr(err, "build on"), "%s", err);
    cr_expect_eq(vm_cli(NULL, NULL, "check", "--from", path, "--to", "sim:", NULL), 1);
}
