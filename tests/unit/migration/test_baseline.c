/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What devices have in common, and the file of it. */
#include "lib/leak.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migration/admit.h"
#include "migration/baseline.h"
#include "snapshot/net_config.h"
#include "virtio/features.h"

VDT_SUITE(baseline);

#define BIT(feature) VDT_BIT(VIRTIO_NET_F_##feature)

static struct vdt_baseline
of(const char *spec)
{
    struct vdt_baseline b;
    g_autoptr(GError) error = NULL;
    VDT_AUTO(device) dev = vdt_device_open(spec, &error);

    cr_assert(dev && vdt_baseline_of_device(&b, dev, &error), "%s: %s", spec,
              error ? error->message : "");
    return b;
}

static bool
is_less(const struct vdt_baseline *b, const struct vdt_baseline *than)
{
    g_autoptr(GPtrArray) reasons = vdt_baseline_reasons(than, b);

    return reasons->len > 0;
}

Test(baseline, what_both_have_is_no_more_than_either)
{
    static const char *const specs[] = {"sim:",
                                        "sim:pairs=4",
                                        "sim:pairs=2,no-rss,mtu=9000",
                                        "sim:no-cvq,num=512",
                                        "sim:no-packed,mtu=68,num=64",
                                        "sim:pairs=8,-MTU,-CSUM",
                                        "sim:in-order,no-base"};

    for (unsigned i = 0; i < G_N_ELEMENTS(specs); i++) {
        for (unsigned j = 0; j < G_N_ELEMENTS(specs); j++) {
            struct vdt_baseline a = of(specs[i]), b = of(specs[j]), both = a, turned = b;

            vdt_baseline_narrow(&both, &b);
            vdt_baseline_narrow(&turned, &a);
            cr_expect_not(is_less(&both, &turned) || is_less(&turned, &both), "%s %s", specs[i],
                          specs[j]);
            cr_expect_not(is_less(&a, &both) || is_less(&b, &both), "%s %s", specs[i], specs[j]);
            if (i == j)
                cr_expect_not(is_less(&both, &a), "%s", specs[i]);
            g_autofree char *text = vdt_baseline_to_text(&both);
            struct vdt_baseline read = {0};
            g_autoptr(GError) error = NULL;
            cr_assert(vdt_baseline_from_text(&read, text, strlen(text), &error), "%s\n%s",
                      error ? error->message : "", text);
            cr_expect_not(is_less(&read, &both) || is_less(&both, &read), "%s", text);
        }
    }
}

Test(baseline, feature_goes_with_what_it_builds_on)
{
    struct vdt_baseline a = of("sim:"), b = a;

    a.features |= BIT(GUEST_CSUM) | BIT(GUEST_TSO4) | BIT(GUEST_ECN);
    b.features |= BIT(GUEST_CSUM) | BIT(GUEST_TSO6) | BIT(GUEST_ECN);
    a.features &= ~BIT(GUEST_TSO6);
    b.features &= ~BIT(GUEST_TSO4);
    vdt_baseline_narrow(&a, &b);
    cr_expect_not(a.features & (BIT(GUEST_ECN) | BIT(GUEST_TSO4) | BIT(GUEST_TSO6)));
    cr_expect(a.features & BIT(GUEST_CSUM));

    struct vdt_baseline many = of("sim:pairs=4"), plain = of("sim:no-cvq");
    cr_expect_eq(many.pairs, 4);
    vdt_baseline_narrow(&many, &plain);
    cr_expect_eq(many.pairs, 1);
    cr_expect_eq(many.hash_types, 0);
    cr_expect_not(many.features & vdt_net_features_needing_ctrl_vq());
}

Test(baseline, hashes_that_differ_leave_no_rss)
{
    struct vdt_baseline a = of("sim:pairs=4"), b = a;

    cr_assert(a.features & BIT(RSS));
    a.hash_types = 0x3;
    b.hash_types = 0xc;
    vdt_baseline_narrow(&a, &b);
    cr_expect_not(a.features & (BIT(RSS) | BIT(HASH_REPORT)));
    cr_expect_eq(a.rss_table_max, 0);
    cr_expect_eq(a.pairs, 4, "MQ is left");
}

Test(baseline, config_space_reads_as_the_baseline_says)
{
    struct vdt_baseline b = of("sim:pairs=4");
    struct vdt_net_config net;
    uint8_t config[VDT_CONFIG_HASH_TYPES + 4];

    memset(config, 0xff, sizeof config);
    b.pairs = 2;
    b.mtu = 1400;
    b.rss_key_max = 16;
    b.rss_table_max = 64;
    b.hash_types = 0x3;
    for (uint32_t len = 0; len <= VDT_CONFIG_HASH_TYPES; len++) {
        uint8_t part[sizeof config];

        memset(part, 0xff, sizeof part);
        vdt_baseline_clamp(&b, part, len);
        for (uint32_t i = len; i < sizeof part; i++)
            cr_expect_eq(part[i], 0xff, "byte %u of a config space of %u", i, len);
    }
    vdt_baseline_clamp(&b, config, VDT_CONFIG_HASH_TYPES);
    vdt_net_config_parse(&net, config, VDT_CONFIG_HASH_TYPES);
    cr_expect_eq(net.max_pairs, 2);
    cr_expect_eq(net.mtu, 1400);
    cr_expect_eq(net.rss_key_max, 16);
    cr_expect_eq(net.rss_table_max, 64);
    cr_expect_eq(net.hash_types, 0x3);
    cr_expect_eq(net.mac[0], 0xff);
    cr_expect_eq(net.status, 0xffff);
}

Test(baseline, every_reason_is_given)
{
    struct vdt_baseline b = of("sim:pairs=4"), less = b;

    less.features &= ~(BIT(CTRL_VLAN) | VDT_BIT(47));
    b.features |= VDT_BIT(47);
    less.pairs = 2;
    less.ring_max = 128;
    less.mtu = 1000;
    less.rss_key_max = 8;
    less.rss_table_max = 8;
    less.hash_types = 0;
    g_autoptr(GPtrArray) reasons = vdt_baseline_reasons(&b, &less);
    cr_expect_eq(reasons->len, 8);
    cr_expect_str_eq(reasons->pdata[0], "device does not offer CTRL_VLAN");
    cr_expect_str_eq(reasons->pdata[1], "device does not offer bit47");
}

#define HEAD "[baseline]\nformat = 1\ntype = net\n"
#define PLAIN "pairs = 1\nring-size = 256\n"

Test(baseline, files_are_taken_or_refused_with_a_reason)
{
    static const struct {
        const char *text;
        const char *part; /* of the reason; NULL: it is taken */
    } rows[] = {
        {HEAD "features = VERSION_1\n" PLAIN, NULL},
        {"# by hand\n\n" HEAD "features = VERSION_1\tCSUM  bit47 \n" PLAIN "# end", NULL},
        {HEAD "features = VERSION_1 MTU\n" PLAIN "mtu = 68\n", NULL},
        {HEAD "features = VERSION_1 CTRL_VQ MQ\npairs = 32\nring-size = 32768\n", NULL},
        {"", "one group"},
        {"pairs = 1\n", "group"},
        {HEAD "[more]\n", "one group"},
        {HEAD "features = VERSION_1\n" PLAIN "speed = 1\n", "'speed' is not known"},
        {HEAD PLAIN, "features ="},
        {HEAD "features = VERSION_1 WARP\n" PLAIN, "'WARP'"},
        {HEAD "features = VERSION_1 bit64\n" PLAIN, "'bit64'"},
        {HEAD "features = CSUM\n" PLAIN, "VERSION_1 is not"},
        {HEAD "features = VERSION_1 MQ\n" PLAIN, "build on is not among the features: MQ"},
        {HEAD "features = VERSION_1 GUEST_CSUM GUEST_ECN\n" PLAIN, "GUEST_ECN"},
        {HEAD "features = VERSION_1\npairs = 1\n", "'ring-size = ...'"},
        {HEAD "features = VERSION_1\npairs = 0\nring-size = 256\n", "1 to 32"},
        {HEAD "features = VERSION_1 CTRL_VQ MQ\npairs = 33\nring-size = 256\n", "1 to 32"},
        {HEAD "features = VERSION_1\npairs = 2\nring-size = 256\n", "2 pairs want MQ"},
        {HEAD "features = VERSION_1\npairs = -1\nring-size = 256\n", "pairs = -1"},
        {HEAD "features = VERSION_1\npairs = 1x\nring-size = 256\n", "pairs = 1x"},
        {HEAD "features = VERSION_1 MTU\n" PLAIN, "'mtu = ...'"},
        {HEAD "features = VERSION_1 MTU\n" PLAIN "mtu = 67\n", "68 to 65535"},
        {HEAD "features = VERSION_1\n" PLAIN "mtu = 1500\n", "'mtu' without a feature"},
        {HEAD "features = VERSION_1 CTRL_VQ RSS\n" PLAIN
              "rss-key = 0\nrss-table = 128\nhash-types = 0x3\n",
         "key and a table"},
        {HEAD "features = VERSION_1 CTRL_VQ RSS\n" PLAIN
              "rss-key = 40\nrss-table = 128\nhash-types = 0x100000000\n",
         "hash-types"},
        {"[baseline]\nformat = 2\ntype = net\nfeatures = VERSION_1\n" PLAIN, "format 2"},
        {"[baseline]\nformat = 1\ntype = blk\nfeatures = VERSION_1\n" PLAIN, "type blk"},
        {"[baseline\n", "group"},
        {"\xff\xfe", "no text"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct vdt_baseline b;
        g_autoptr(GError) error = NULL;
        bool taken = vdt_baseline_from_text(&b, rows[i].text, strlen(rows[i].text), &error);

        cr_expect_eq(taken, rows[i].part == NULL, "row %u: %s", i, error ? error->message : "");
        if (!taken && rows[i].part)
            cr_expect(error->code == VDT_ERROR_INVALID && strstr(error->message, rows[i].part),
                      "row %u: %s", i, error->message);
    }
}

Test(baseline, what_is_no_small_regular_file_is_not_read)
{
    g_autofree char *dir = g_dir_make_tmp("vdt-base-XXXXXX", NULL);
    g_autofree char *fifo = g_build_filename(dir, "fifo", NULL);
    g_autofree char *large = g_build_filename(dir, "large", NULL);
    g_autofree char *fill = g_strnfill(70000, '#');
    struct vdt_baseline b;
    g_autoptr(GError) error = NULL;

    cr_assert_eq(mkfifo(fifo, 0600), 0);
    g_file_set_contents(large, fill, -1, NULL);
    cr_expect_not(vdt_baseline_load(&b, fifo, &error));
    cr_expect(strstr(error->message, "no regular file"), "%s", error->message);
    g_clear_error(&error);
    cr_expect_not(vdt_baseline_load(&b, large, &error));
    cr_expect(strstr(error->message, "longer than"), "%s", error->message);
    cr_expect_not(vdt_baseline_is_file(large) || vdt_baseline_is_file(fifo) ||
                  vdt_baseline_is_file(dir));
    g_file_set_contents(large, "# by hand\n\n[baseline]\n", -1, NULL);
    cr_expect(vdt_baseline_is_file(large));
    g_unlink(fifo);
    g_unlink(large);
    g_rmdir(dir);
}

/* --- locked memory, which a state does not know of --- */

static uint64_t pinned_now, limit_now;

static bool
say_limit(struct vdt_device *dev, uint64_t *ret_pinned, uint64_t *ret_limit)
{
    *ret_pinned = pinned_now;
    *ret_limit = limit_now;
    return true;
}

Test(baseline, memory_beyond_the_limit_is_a_reason_with_numbers)
{
    const struct vdt_device_ops ops = {.memory_limit = say_limit}, none = {0};
    struct vdt_device pins = {.ops = &ops}, free_one = {.ops = &none};
    const uint64_t gib = UINT64_C(1) << 30;

    limit_now = 4 * gib;
    pinned_now = 2 * gib;
    cr_expect_null(vdt_admit_memory(&pins, 0));
    cr_expect_null(vdt_admit_memory(&pins, 2 * gib));
    cr_expect_null(vdt_admit_memory(&free_one, 100 * gib));
    g_autofree char *beyond = vdt_admit_memory(&pins, 2 * gib + 1);
    g_autofree char *wraps = vdt_admit_memory(&pins, UINT64_MAX);
    cr_assert(beyond && wraps);
    cr_expect(strstr(beyond, "beside 2048 MiB") && strstr(beyond, "RLIMIT_MEMLOCK is 4096 MiB"),
              "%s", beyond);
}
