/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A vhost-vdpa device is found, opened and asked what it is; and what is said when it cannot be. */
#include <errno.h>
#include <string.h>

#include "device/vhost_vdpa.h"
#include "lib/fake_vhost_vdpa.h"
#include "lib/leak.h"
#include "nic.h"

VDT_SUITE(vhost_open);

static void
expect_refusal(const char *spec, int code, const char *part)
{
    g_autoptr(GError) error = NULL;
    struct vdt_device *dev = vdt_device_open(spec, &error);

    cr_assert_null(dev, "%s", spec);
    cr_expect_eq(error->code, code, "%s: code %d: %s", spec, error->code, error->message);
    cr_expect(strstr(error->message, part), "%s: %s", spec, error->message);
    cr_expect(strstr(error->message, spec), "%s is not named: %s", spec, error->message);
}

Test(vhost_open, it_is_brought_up_in_the_kernels_order)
{
    struct nic nic;

    fake_vhost_install();
    nic_run(&nic, "vhost-vdpa:sim:", NIC_SPLIT, 0);
    cr_expect_str_eq(
        fake_vhost_seen.calls,
        "OPEN DEVICE_ID SET_OWNER FEATURES BACKEND SET_BACKEND RANGE STATUS=1 STATUS=3 "
        "SET_FEATURES STATUS=b ASID IOTLB "
        "NUM BASE ADDR KICK CALL ENABLE NUM BASE ADDR KICK CALL ENABLE "
        "NUM BASE ADDR KICK CALL ENABLE STATUS=f");
    nic_close(&nic);
    cr_expect(g_str_has_suffix(fake_vhost_seen.calls, "STATUS=f STATUS=0 CLOSE"));
    cr_expect_eq(fake_vhost_seen.silent, 0, "%s", fake_vhost_seen.silent_text);
}

Test(vhost_open, what_it_is_comes_from_the_kernel_and_from_its_row)
{
    fake_vhost_install();
    VDT_AUTO(device) sim = vdt_device_open("sim:pairs=2,num=512", NULL);
    VDT_AUTO(device) dev = vdt_device_open("vhost-vdpa:sim:pairs=2,num=512", NULL);

    cr_assert(dev);
    cr_expect_str_eq(dev->info.driver, "vdpa_sim_net");
    cr_expect_eq(dev->info.device_id, 1);
    cr_expect_eq(dev->info.features, sim->info.features);
    cr_expect_eq(dev->info.rings, 5);
    cr_expect_eq(dev->info.ring_max, 512);
    cr_expect_eq(dev->info.config_size, sim->info.config_size);
    cr_expect_eq(dev->info.iova_last, sim->info.iova_last);
    cr_expect_eq(dev->info.groups, 2);
    cr_expect_eq(dev->info.asids, 2);
    cr_expect(dev->info.suspend && dev->info.resume && dev->info.ring_state);
    cr_expect(dev->info.enable_after_driver_ok && dev->info.maps_survive_reset);
    cr_expect(dev->info.set_base && dev->info.readdress && dev->info.disable);
}

Test(vhost_open, a_parent_that_can_less_says_so_by_its_backend_features)
{
    fake_vhost_install();
    fake_vhost.driver = "vp-vdpa";
    fake_vhost.one_space = true;
    VDT_AUTO(device)
    dev = vdt_device_open("vhost-vdpa:sim:no-suspend,no-enable-after-driver-ok", NULL);

    cr_assert(dev);
    cr_expect_str_eq(dev->info.driver, "vp_vdpa");
    cr_expect_eq(dev->info.asids, 1, "the feature is offered with one space");
    cr_expect_not(dev->info.suspend || dev->info.resume || dev->info.ring_state);
    cr_expect_not(dev->info.set_base || dev->info.disable || dev->info.readdress);
    cr_expect_not(dev->info.enable_after_driver_ok || dev->info.passthrough);
}

Test(vhost_open, a_driver_that_nobody_knows_gets_the_careful_row)
{
    fake_vhost_install();
    fake_vhost.driver = "acme_vdpa";
    VDT_AUTO(device) dev = vdt_device_open("vhost-vdpa:sim:", NULL);

    cr_assert(dev);
    cr_expect_str_eq(dev->info.driver, "acme_vdpa", "by its own name");
    cr_expect(dev->info.suspend, "as the kernel says");
    cr_expect_not(dev->info.ring_state || dev->info.set_base || dev->info.readdress);
    cr_expect_not(dev->info.disable || dev->info.passthrough);
}

Test(vhost_open, a_driver_that_is_not_told_is_unknown_and_gets_the_careful_row)
{
    fake_vhost_install();
    fake_vhost.driver = NULL;
    VDT_AUTO(device) dev = vdt_device_open("vhost-vdpa:sim:", NULL);

    cr_assert(dev);
    cr_expect_str_eq(dev->info.driver, "unknown");
    cr_expect_not(dev->info.set_base || dev->info.passthrough);
}

Test(vhost_open, a_base_that_is_the_used_index_is_no_ring_state)
{
    fake_vhost_install();
    fake_vhost.driver = "mlx5_core";
    VDT_AUTO(device) dev = vdt_device_open("vhost-vdpa:sim:", NULL);

    cr_assert(dev);
    cr_expect_str_eq(dev->info.driver, "mlx5_core");
    cr_expect(dev->info.suspend && dev->info.resume);
    cr_expect_not(dev->info.ring_state);
}

Test(vhost_open, a_feature_that_is_offered_and_not_taken_is_done_without)
{
    fake_vhost_install();
    fake_vhost.takes_not = VDT_BIT(VHOST_BACKEND_F_RESUME) | VDT_BIT(VHOST_BACKEND_F_IOTLB_PERSIST);
    VDT_AUTO(device) dev = vdt_device_open("vhost-vdpa:sim:", NULL);

    cr_assert(dev);
    cr_expect(dev->info.suspend && dev->info.enable_after_driver_ok);
    cr_expect_not(dev->info.resume || dev->info.maps_survive_reset);
    cr_expect_eq(dev->info.asids, 2);
}

Test(vhost_open, an_old_kernel_has_one_space_and_no_later_feature)
{
    fake_vhost_install();
    fake_vhost.old = true;
    fake_vhost.lacks =
        ~(VDT_BIT(VHOST_BACKEND_F_IOTLB_MSG_V2) | VDT_BIT(VHOST_BACKEND_F_IOTLB_ASID));
    VDT_AUTO(device) dev = vdt_device_open("vhost-vdpa:sim:", NULL);

    cr_assert(dev);
    cr_expect_eq(dev->info.asids, 1);
    cr_expect_eq(dev->info.groups, 1);
    cr_expect_not(dev->info.suspend || dev->info.maps_survive_reset);
}

Test(vhost_open, a_kernel_without_version_2_messages_is_too_old)
{
    fake_vhost_install();
    fake_vhost.lacks = UINT64_MAX;
    expect_refusal("vhost-vdpa:sim:", VDT_ERROR_UNSUPPORTED, "Linux 5.19");
}

Test(vhost_open, why_it_cannot_be_opened_is_said_with_what_to_do)
{
    static const struct {
        int errnum, code;
        const char *part;
    } rows[] = {
        {EBUSY, VDT_ERROR_BUSY, "already open by another process: a vDPA device has one owner"},
        {ENOENT, VDT_ERROR_FAILED, "vdpa dev add"},
        {EACCES, VDT_ERROR_FAILED, "udev rule"},
        {EPERM, VDT_ERROR_FAILED, "DeviceAllow="},
        {ENOTTY, VDT_ERROR_USAGE, "no device node"},
        {VDT_ENOTSUPP, VDT_ERROR_UNSUPPORTED, "IOMMU"},
        {ENODEV, VDT_ERROR_FAILED, "gone"},
        {EMFILE, VDT_ERROR_FAILED, "Too many open files"},
    };

    fake_vhost_install();
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        fake_vhost.open_errno = rows[i].errnum;
        expect_refusal("vhost-vdpa:/dev/vhost-vdpa-0", rows[i].code, rows[i].part);
    }
}

Test(vhost_open, the_real_kernel_says_no_to_what_is_no_node)
{
    expect_refusal("vhost-vdpa:/dev/no-such-vhost-vdpa-9", VDT_ERROR_FAILED, "no such node");
    expect_refusal("vhost-vdpa:/tmp", VDT_ERROR_USAGE, "no device node");
    expect_refusal("vhost-vdpa:/dev/null", VDT_ERROR_USAGE, "no vDPA device");
    expect_refusal("vhost-vdpa:", VDT_ERROR_USAGE, "path of a node");
    expect_refusal("vhost-vdpa", VDT_ERROR_USAGE, "path of a node");
}

Test(vhost_open, a_device_has_one_owner_and_is_fresh_for_the_next_one)
{
    struct nic nic;

    fake_vhost_install();
    fake_vhost_put("/dev/vhost-vdpa-7", vdt_device_open("sim:", NULL));
    nic_run(&nic, "vhost-vdpa:/dev/vhost-vdpa-7", NIC_SPLIT, 0);
    expect_refusal("vhost-vdpa:/dev/vhost-vdpa-7", VDT_ERROR_BUSY, "one owner");
    cr_expect_gt(fake_vhost_pinned(), 0);
    nic_close(&nic);
    cr_expect_eq(fake_vhost_pinned(), 0);

    VDT_AUTO(device) dev = vdt_device_open("vhost-vdpa:/dev/vhost-vdpa-7", NULL);
    uint8_t status = 0xff;
    cr_assert(dev);
    cr_expect(VDT_DEVICE_CALL(dev, get_status, NULL, &status));
    cr_expect_eq(status, 0);
    vdt_device_close(g_steal_pointer(&dev));
    fake_vhost_remove_all();
}

Test(vhost_open, describe_tells_what_was_agreed_on)
{
    fake_vhost_install();
    VDT_AUTO(device) dev = vdt_device_open("vhost-vdpa:sim:no-resume", NULL);
    JsonNode *node = vdt_device_describe(dev);
    g_autofree char *text = json_to_string(node, FALSE);

    cr_expect(strstr(text, "\"row\":\"vdpa_sim_net\""), "%s", text);
    cr_expect(strstr(text, "\"keeps_mac\":true"), "%s", text);
    cr_expect(strstr(text, "\"IOTLB_ASID\",\"SUSPEND\",\"ENABLE_AFTER_DRIVER_OK\""), "%s", text);
    json_node_unref(node);
}
