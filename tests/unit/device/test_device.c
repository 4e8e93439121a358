/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/device.h"

#include <dirent.h>
#include <string.h>
#include <vdpa-tracker/error.h>

#include "device/sim_options.h"
#include "lib/leak.h"
#include "virtio/net_ctrl.h"

VDT_SUITE(device);

Test(device, words_that_name_no_device_are_refused)
{
    static const char *const specs[] = {
        "",
        "sim",
        "simple:",
        ":",
        "pci:0000:00:01.0",
        "sim:what",
        "sim:pairs",
        "sim:pairs=",
        "sim:pairs=0",
        "sim:pairs=17",
        "sim:pairs=-1",
        "sim:pairs= 1",
        "sim:pairs=1x",
        "sim:num=65536",
        "sim:num=99999999999999999999",
        "sim:mac=01:00:00:00:00:00",
        "sim:mac=52:54:00:00:00",
        "sim:mac=52:54:00:00:00:00:00",
        "sim:features=xyz",
        "sim:+NOTHING",
        "sim:-",
        "sim:in-order=1",
        "sim:iova=5",
        "sim:iova=9-5",
        "sim:nak-class=1",
        "sim:nak-class=256.0",
        "sim:tap=",
        "sim:tap=abcdefghijklmnop",
        "sim:null,loop",
        "sim:tap=a,pair=b",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(specs); i++) {
        g_autoptr(GError) error = NULL;
        struct vdt_device *dev = vdt_device_open(specs[i], &error);

        if (g_str_equal(specs[i], "sim")) { /* no option needs no colon */
            cr_assert(dev);
            vdt_device_close(dev);
            continue;
        }
        cr_assert_null(dev, "'%s'", specs[i]);
        cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_USAGE), "'%s'", specs[i]);
    }
}

Test(device, what_it_is_follows_from_the_options)
{
    VDT_AUTO(device)
    dev = vdt_device_open("sim:pairs=4,num=1024,-RING_PACKED,+IN_ORDER,iova=0x1000-0xffff", NULL);

    cr_assert_eq(dev->info.rings, 9);
    cr_assert_eq(dev->info.ring_max, 1024);
    cr_assert_eq(dev->info.iova_first, 0x1000);
    cr_assert_eq(dev->info.iova_last, 0xffff);
    cr_assert_not(dev->info.features & VDT_BIT(VIRTIO_F_RING_PACKED));
    cr_assert(dev->info.features & VDT_BIT(VIRTIO_F_IN_ORDER));
    cr_assert(dev->info.features & VDT_BIT(VIRTIO_NET_F_RSS));
    cr_assert_eq(dev->info.config_size, 24);
}

Test(device, every_option_is_in_the_help)
{
    g_autofree char *help = vdt_sim_options_help();

    cr_assert(strstr(help, "pairs=N"));
    cr_assert(strstr(help, "config-garbage"));
}

Test(device, a_call_that_is_missing_is_named)
{
    static const struct vdt_device_ops none = {.kind = "none"};
    struct vdt_device dev = {.ops = &none, .info.name = "none:x"};
    g_autoptr(GError) error = NULL;

    cr_assert_not(VDT_DEVICE_CALL(&dev, suspend, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED));
    cr_assert_str_eq(error->message, "device none:x has no call 'suspend'");
}

static unsigned
open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned count = 0;

    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

Test(device, close_leaves_no_descriptor)
{
    unsigned start = open_descriptors();

    for (unsigned i = 0; i < 20; i++) {
        VDT_AUTO(device) a = vdt_device_open("sim:pair=x", NULL);
        VDT_AUTO(device) b = vdt_device_open("sim:pairs=16", NULL);

        cr_assert(a && b);
        cr_assert_null(vdt_device_open("sim:tap=no/such", NULL));
    }
    cr_assert_eq(open_descriptors(), start);
}
