/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shadow/negotiate.h"

#include <criterion/criterion.h>
#include <stddef.h>

#include "base/wire.h"
#include "fake_maps.h"
#include "lib/leak.h"
#include "virtio/features.h"

VDT_SUITE(negotiate);

#define BIT(name) VDT_BIT(name)
#define V1 BIT(VIRTIO_F_VERSION_1)
#define CTRL BIT(VIRTIO_NET_F_CTRL_VQ)
#define MQ BIT(VIRTIO_NET_F_MQ)
#define RX BIT(VIRTIO_NET_F_CTRL_RX)
#define VLAN BIT(VIRTIO_NET_F_CTRL_VLAN)
#define ADDR BIT(VIRTIO_NET_F_CTRL_MAC_ADDR)
#define PLATFORM BIT(VIRTIO_F_ACCESS_PLATFORM)

static void
make(struct fake_maps *fake, uint64_t features, uint16_t pairs)
{
    fake_maps_init(fake);
    fake->dev.info.device_id = VIRTIO_ID_NET;
    fake->dev.info.features = features;
    fake->dev.info.set_base = true;
    vdt_put16(fake->config + offsetof(struct virtio_net_config, max_virtqueue_pairs), pairs);
}

static struct vdt_negotiation
offer(uint64_t features, uint64_t mask)
{
    struct vdt_negotiation n;
    struct fake_maps fake;

    make(&fake, features, 1);
    cr_assert(vdt_negotiation_init(&n, &fake.dev, mask, NULL));
    return n;
}

Test(negotiate, access_platform_is_for_the_device_and_never_offered)
{
    struct vdt_negotiation n;
    struct fake_maps fake;

    make(&fake, V1 | PLATFORM | CTRL, 1);
    cr_assert(vdt_negotiation_init(&n, &fake.dev, UINT64_MAX, NULL));
    cr_expect_not(n.offered & PLATFORM);
    cr_assert(vdt_negotiation_ack(&n, &fake.dev.info, V1, 0, NULL));
    cr_expect_eq(n.acked, V1);
    cr_expect_eq(n.device, V1 | PLATFORM);
    /* A device that does not ask for it does not get it. */
    fake.dev.info.features = V1;
    cr_assert(vdt_negotiation_ack(&n, &fake.dev.info, V1, 0, NULL));
    cr_expect_eq(n.device, V1);
}

Test(negotiate, what_is_withheld_has_a_reason)
{
    static const unsigned bits[] = {VIRTIO_F_ACCESS_PLATFORM,
                                    VIRTIO_F_RING_RESET,
                                    VIRTIO_F_NOTIFICATION_DATA,
                                    VIRTIO_F_NOTIF_CONFIG_DATA,
                                    VIRTIO_F_ADMIN_VQ,
                                    VIRTIO_F_SR_IOV,
                                    VIRTIO_F_ORDER_PLATFORM,
                                    VIRTIO_F_NOTIFY_ON_EMPTY,
                                    26,
                                    30};
    struct vdt_negotiation n = offer(UINT64_MAX, UINT64_MAX);

    for (unsigned i = 0; i < G_N_ELEMENTS(bits); i++) {
        cr_expect_not(n.offered & VDT_BIT(bits[i]), "bit %u is offered", bits[i]);
        cr_expect_not_null(vdt_feature_withheld(bits[i]), "bit %u", bits[i]);
    }
    cr_expect_null(vdt_feature_withheld(VIRTIO_F_VERSION_1));
    cr_expect(n.offered & V1);
}

Test(negotiate, policy_and_dependencies_bound_the_offer)
{
    struct vdt_negotiation n = offer(V1 | CTRL | RX | VLAN | ADDR, ~CTRL);

    cr_expect_eq(n.offered, V1, "commands need the control queue: 0x%lx", (long) n.offered);
    n = offer(V1 | BIT(VIRTIO_RING_F_EVENT_IDX), 0);
    cr_expect_eq(n.offered, V1, "without VERSION_1 there is nothing to offer");
}

Test(negotiate, in_order_needs_a_device_that_takes_any_position)
{
    uint64_t order = BIT(VIRTIO_F_IN_ORDER);
    struct vdt_negotiation n;
    struct fake_maps fake;

    make(&fake, V1 | order, 1);
    cr_assert(vdt_negotiation_init(&n, &fake.dev, UINT64_MAX, NULL));
    cr_expect(n.offered & order);
    fake.dev.info.set_base = false;
    cr_assert(vdt_negotiation_init(&n, &fake.dev, UINT64_MAX, NULL));
    cr_expect_not(n.offered & order);
}

Test(negotiate, legacy_and_nonsense_are_refused)
{
    g_autoptr(GError) error = NULL;
    struct vdt_negotiation n;
    struct fake_maps fake;

    make(&fake, CTRL, 1);
    cr_expect_not(vdt_negotiation_init(&n, &fake.dev, UINT64_MAX, &error));
    cr_expect_not_null(error);
    for (unsigned i = 0; i < 3; i++) {
        static const uint16_t pairs[] = {0, 0x8001, 0xffff};
        make(&fake, V1 | CTRL | MQ, pairs[i]);
        cr_expect_not(vdt_negotiation_init(&n, &fake.dev, UINT64_MAX, NULL), "%u pairs", pairs[i]);
    }
    fake.config_fails = true;
    cr_expect_not(vdt_negotiation_init(&n, &fake.dev, UINT64_MAX, NULL));
}

Test(negotiate, an_ack_beyond_the_offer_or_without_version_1_changes_nothing)
{
    struct vdt_negotiation n, before;
    struct fake_maps fake;

    make(&fake, V1 | CTRL | PLATFORM, 1);
    cr_assert(vdt_negotiation_init(&n, &fake.dev, UINT64_MAX, NULL));
    cr_assert(vdt_negotiation_ack(&n, &fake.dev.info, V1 | CTRL, 0, NULL));
    before = n;
    cr_expect_not(vdt_negotiation_ack(&n, &fake.dev.info, V1 | MQ, 0, NULL));
    cr_expect_not(vdt_negotiation_ack(&n, &fake.dev.info, V1 | PLATFORM, 0, NULL));
    cr_expect_not(vdt_negotiation_ack(&n, &fake.dev.info, CTRL, 0, NULL));
    cr_expect_eq(memcmp(&n, &before, sizeof(n)), 0);
}

Test(negotiate, a_control_queue_that_we_drive_has_a_vlan_filter_only_where_it_is_wanted)
{
    struct vdt_negotiation n;
    struct fake_maps fake;

    make(&fake, V1 | CTRL | RX | VLAN | ADDR | MQ, 4);
    cr_assert(vdt_negotiation_init(&n, &fake.dev, UINT64_MAX, NULL));
    cr_assert(vdt_negotiation_ack(&n, &fake.dev.info, V1, VDT_DRIVE, NULL));
    cr_expect_eq(n.acked, V1);
    cr_expect_eq(n.device & (CTRL | RX | VLAN | ADDR), CTRL | RX | ADDR);
    cr_expect_eq(n.guest_cvq, -1);
    cr_assert_geq(n.device_cvq, 2);
    cr_assert(vdt_negotiation_ack(&n, &fake.dev.info, V1, VDT_DRIVE | VLAN, NULL));
    cr_expect_eq(n.device & (CTRL | RX | VLAN | ADDR), CTRL | RX | VLAN | ADDR,
                 "where it is wanted");
    cr_assert(vdt_negotiation_ack(&n, &fake.dev.info, V1 | CTRL, VDT_DRIVE | VLAN, NULL));
    cr_expect_eq(n.device, V1 | CTRL, "a guest that has the queue sends what it wants itself");
}

Test(negotiate, the_control_queue_lies_where_each_sides_pairs_put_it)
{
    static const struct {
        uint64_t acked;
        uint16_t first, second; /* pairs of the first device and of the one in its place */
        int guest, device;
    } rows[] = {
        {V1, 4, 4, -1, -1},           {V1 | CTRL, 4, 4, 2, 2},
        {V1 | CTRL | MQ, 4, 4, 8, 8}, {V1 | CTRL | MQ, 4, 8, 8, 16},
        {V1 | CTRL | MQ, 1, 2, 2, 4}, {V1 | CTRL, 4, 8, 2, 2},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct vdt_negotiation n;
        struct fake_maps fake;

        make(&fake, V1 | CTRL | MQ, rows[i].first);
        cr_assert(vdt_negotiation_init(&n, &fake.dev, UINT64_MAX, NULL));
        cr_assert(vdt_negotiation_ack(&n, &fake.dev.info, rows[i].acked, 0, NULL));
        make(&fake, V1 | CTRL | MQ, rows[i].second);
        cr_assert(vdt_negotiation_move(&n, &fake.dev, 0, NULL));
        cr_expect_eq(n.guest_cvq, rows[i].guest, "row %u: %d", i, n.guest_cvq);
        cr_expect_eq(n.device_cvq, rows[i].device, "row %u: %d", i, n.device_cvq);
    }
}

Test(negotiate, a_device_that_lacks_a_feature_in_use_does_not_take_the_place)
{
    g_autoptr(GError) error = NULL;
    struct vdt_negotiation n, before;
    struct fake_maps fake;

    make(&fake, V1 | CTRL | RX, 1);
    cr_assert(vdt_negotiation_init(&n, &fake.dev, UINT64_MAX, NULL));
    cr_assert(vdt_negotiation_ack(&n, &fake.dev.info, V1 | CTRL | RX, 0, NULL));
    before = n;
    make(&fake, V1 | CTRL, 1);
    cr_expect_not(vdt_negotiation_move(&n, &fake.dev, 0, &error));
    cr_expect_not_null(error);
    cr_expect_eq(memcmp(&n, &before, sizeof(n)), 0);
}
