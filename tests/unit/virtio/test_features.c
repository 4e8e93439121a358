/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <string.h>

#include "virtio/features.h"

VDT_SUITE(features);

#define NET 1u
#define BLOCK 2u

Test(features, names_belong_to_a_device_type)
{
    cr_assert_str_eq(vdt_feature_name(NET, 17), "CTRL_VQ");
    cr_assert_str_eq(vdt_feature_name(BLOCK, 12), "MQ");
    cr_assert_str_eq(vdt_feature_name(NET, 22), "MQ");
    cr_assert_str_eq(vdt_feature_name(77, 32), "VERSION_1");
    cr_assert_null(vdt_feature_name(77, 17));
    cr_assert_null(vdt_feature_name(NET, 4));
    cr_assert_null(vdt_feature_name(NET, 64));
    cr_assert_null(vdt_feature_name(NET, UINT32_MAX));
}

Test(features, names_and_bits_are_one_to_one)
{
    const uint32_t types[] = {NET, BLOCK, 77};

    for (unsigned t = 0; t < G_N_ELEMENTS(types); t++) {
        for (unsigned bit = 0; bit < 64; bit++) {
            g_autofree char *text = vdt_features_to_string(types[t], 1ull << bit);

            cr_assert_eq(vdt_feature_from_name(types[t], text), (int) bit, "%s", text);
        }
    }
}

Test(features, text_lists_bits_in_ascending_order)
{
    g_autofree char *some = vdt_features_to_string(NET, 1ull << 17 | 1 | 1ull << 47 | 1ull << 63);
    g_autofree char *none = vdt_features_to_string(NET, 0);

    cr_assert_str_eq(some, "CSUM CTRL_VQ bit47 SPEED_DUPLEX");
    cr_assert_str_eq(none, "");
}

Test(features, numbers_of_bits_are_read_strictly)
{
    const struct {
        const char *name;
        int bit;
    } rows[] = {
        {"bit0", 0},   {"bit17", 17},    {"bit63", 63},
        {"bit64", -1}, {"bit", -1},      {"bit-1", -1},
        {"bit+1", -1}, {"bit 1", -1},    {"bit1 ", -1},
        {"bit1x", -1}, {"", -1},         {"ctrl_vq", -1},
        {"RO", -1},    {"CTRL_VQ ", -1}, {"bit99999999999999999999", -1},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        cr_expect_eq(vdt_feature_from_name(NET, rows[i].name), rows[i].bit, "\"%s\"", rows[i].name);
}

Test(features, ring_format_follows_the_bits)
{
    struct vdt_ring_format plain = vdt_features_ring_format(VDT_BIT(VIRTIO_F_VERSION_1), 256);
    struct vdt_ring_format all = vdt_features_ring_format(UINT64_MAX, 100);

    cr_assert_eq(plain.kind, VDT_RING_SPLIT);
    cr_assert_eq(plain.num, 256);
    cr_assert_not(plain.event_idx || plain.indirect || plain.in_order);
    cr_assert_eq(all.kind, VDT_RING_PACKED);
    cr_assert_eq(all.num, 100);
    cr_assert(all.event_idx && all.indirect && all.in_order);
}

Test(features, control_queue_stands_behind_the_data_rings)
{
    const uint64_t mq = VDT_BIT(VIRTIO_NET_F_MQ), rss = VDT_BIT(VIRTIO_NET_F_RSS);

    cr_assert_eq(vdt_net_cvq_index(0, 8), 2);
    cr_assert_eq(vdt_net_cvq_index(mq, 8), 16);
    cr_assert_eq(vdt_net_cvq_index(rss, 8), 16);
    cr_assert_eq(vdt_net_cvq_index(mq, 1), 2);
    cr_assert_eq(vdt_net_cvq_index(mq, 0), 2);
    cr_assert_eq(vdt_net_cvq_index(mq | rss, 65535), 131070);
}

Test(features, control_queue_is_no_dependent_of_itself)
{
    uint64_t bits = vdt_net_features_needing_ctrl_vq();

    cr_assert_not(bits & VDT_BIT(VIRTIO_NET_F_CTRL_VQ));
    cr_assert(bits & VDT_BIT(VIRTIO_NET_F_MQ));
    cr_assert(bits & VDT_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE));
    cr_assert_not(bits & VDT_BIT(VIRTIO_NET_F_MAC));
    cr_assert_not(bits & VDT_BIT(VIRTIO_F_VERSION_1));
}
