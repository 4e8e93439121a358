/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A NIC driven through its backend table, without a session or a guest. */
#include "lib/leak.h"

#include "daemon/nic.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/wire.h"
#include "snapshot/snapshot.h"
#include "virtio/net_ctrl.h"

VDT_SUITE(nic);

static const uint8_t own_mac[6] = {0x52, 0x54, 0, 9, 9, 9};

static struct vdt_nic *
make(const char *device, bool mac)
{
    struct vdt_nic_options options = {
        .name = "t", .policy = VDT_SHADOW_AUTO, .workers = 1, .deadline_ms = 200, .mac_given = mac};
    GError *error = NULL;
    struct vdt_device *dev = vdt_device_open(device, &error);

    memcpy(options.mac, own_mac, 6);
    cr_assert(dev, "%s", error ? error->message : "");
    struct vdt_nic *nic = vdt_nic_new(dev, &options, &error);
    cr_assert(nic, "%s", error ? error->message : "");
    return nic;
}

Test(nic, config_space_bears_the_given_address)
{
    VDT_AUTO(nic) nic = make("sim:mtu=1400", true);
    uint8_t config[16];

    cr_assert(vdt_nic_backend()->get_config(nic, 0, sizeof(config), config, NULL));
    cr_assert_arr_eq(config, own_mac, 6);
    cr_assert_eq(vdt_get16(config + 10), 1400);
}

static const struct {
    uint32_t offset, len;
    bool ok;
} reads[] = {
    {0, 256, true},  {255, 1, true},         {256, 0, true},         {256, 1, false},
    {0, 257, false}, {0xffffffff, 1, false}, {1, 0xffffffff, false},
};

Test(nic, config_space_ends_where_it_ends)
{
    VDT_AUTO(nic) nic = make("sim:", false);
    uint8_t config[VDT_CONFIG_MAX];

    for (size_t i = 0; i < G_N_ELEMENTS(reads); i++) {
        g_autoptr(GError) error = NULL;
        cr_expect_eq(
            vdt_nic_backend()->get_config(nic, reads[i].offset, reads[i].len, config, &error),
            reads[i].ok, "row %zu", i);
    }
}

Test(nic, config_space_is_frozen_for_the_guest_when_the_device_is_swapped)
{
    VDT_AUTO(nic) nic = make("sim:mtu=1400", false);
    struct vdt_swap_report report = {0};
    g_autoptr(GError) error = NULL;
    uint8_t before[16], after[16];

    cr_assert(vdt_nic_backend()->get_config(nic, 0, sizeof(before), before, NULL));
    cr_assert(vdt_nic_swap(nic, "sim:mtu=9000,mac=52:54:00:77:77:77", &report, &error), "%s",
              error ? error->message : "");
    cr_assert(vdt_nic_backend()->get_config(nic, 0, sizeof(after), after, NULL));
    cr_assert_arr_eq(before, after, sizeof(before));
    vdt_swap_report_clear(&report);
}

Test(nic, snapshot_of_a_nic_that_never_ran_is_stopped_and_goes_into_another)
{
    VDT_AUTO(nic) nic = make("sim:", false);
    VDT_AUTO(nic) other = make("sim:", false);
    g_autoptr(GError) error = NULL;
    unsigned commands = 1;

    VDT_AUTO(snapshot) snapshot = vdt_nic_snapshot(nic, &error);
    cr_assert(snapshot, "%s", error ? error->message : "");
    cr_assert(!snapshot->live);
    cr_assert(vdt_nic_restore(other, snapshot, &commands, &error), "%s",
              error ? error->message : "");
    cr_assert_eq(commands, 0);
    g_autoptr(JsonNode) status = vdt_nic_status(other);
    cr_assert_str_eq(json_object_get_string_member(json_node_get_object(status), "phase"),
                     "loaded");
}

Test(nic, state_that_cannot_be_carried_is_refused)
{
    VDT_AUTO(nic) nic = make("sim:", false);
    g_autoptr(GError) error = NULL;
    unsigned commands;

    VDT_AUTO(snapshot) snapshot = vdt_nic_snapshot(nic, NULL);
    snapshot->unmigratable = g_strdup("class 9 command 1 was used");
    cr_assert(!vdt_nic_restore(nic, snapshot, &commands, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_REFUSED));
    cr_assert(strstr(error->message, "class 9"), "%s", error->message);
}

Test(nic, features_that_were_not_offered_are_refused)
{
    VDT_AUTO(nic) nic = make("sim:no-packed", false);
    g_autoptr(GError) error = NULL;

    cr_assert(!vdt_nic_backend()->set_features(
        nic, VDT_BIT(VIRTIO_F_VERSION_1) | VDT_BIT(VIRTIO_F_RING_PACKED), &error));
    cr_assert(vdt_nic_backend()->set_features(nic, VDT_BIT(VIRTIO_F_VERSION_1), NULL));
}

Test(nic, state_check_without_a_transfer_is_an_error)
{
    VDT_AUTO(nic) nic = make("sim:", false);
    g_autoptr(GError) error = NULL;

    cr_assert(!vdt_nic_backend()->state_check(nic, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_BUSY));
}

static void
on_ended(void *ctx, const GError *reason)
{
    char **text = ctx;

    *text = g_strdup(reason ? reason->message : "no reason");
}

Test(nic, whoever_hears_of_the_end_of_a_session_hears_why)
{
    VDT_AUTO(nic) nic = make("sim:", false);
    const uint32_t header[3] = {1, 7, 0}; /* version 3 */
    g_autofree char *text = NULL;
    int pair[2];

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    vdt_nic_connect(nic, pair[0], on_ended, &text);
    cr_assert_eq(write(pair[1], header, sizeof(header)), (ssize_t) sizeof(header));
    for (int i = 0; !text && i < 100; i++)
        g_main_context_iteration(NULL, TRUE);
    cr_assert_str_eq(text, "the peer speaks vhost-user version 3, not 1");
    close(pair[1]);
}

Test(nic, mtu_beyond_the_device_is_refused)
{
    VDT_AUTO(nic) nic = make("sim:mtu=1500", false);

    cr_assert(vdt_nic_backend()->set_mtu(nic, 1500, NULL));
    cr_assert(!vdt_nic_backend()->set_mtu(nic, 1501, NULL));
    cr_assert(!vdt_nic_backend()->set_mtu(nic, 67, NULL));
}

Test(nic, status_gives_a_reason_for_what_is_withheld)
{
    VDT_AUTO(nic) nic = make("sim:", false);
    g_autoptr(JsonNode) status = vdt_nic_status(nic);
    JsonObject *features = json_object_get_object_member(json_node_get_object(status), "features");

    JsonObject *withheld = json_object_get_object_member(features, "withheld");
    cr_assert(json_object_has_member(withheld, "ACCESS_PLATFORM"));
    cr_assert_gt(strlen(json_object_get_string_member(withheld, "ACCESS_PLATFORM")), 10);
}
