/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A guest's two rings through the shadow device onto sim:, whole life. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#include "lib/leak.h"
#include "lib/shadow_rig.h"
#include "virtio/net_ctrl.h"

VDT_SUITE(shadow);

#define PACKED VDT_BIT(VIRTIO_F_RING_PACKED)
#define EVENT VDT_BIT(VIRTIO_RING_F_EVENT_IDX)
#define ORDER VDT_BIT(VIRTIO_F_IN_ORDER)

struct way {
    char name[48]; /* by value: Criterion hands parameters to another process */
    char spec[64];
    enum vdt_shadow_policy policy;
    uint64_t features;
};

static struct way ways[] = {
    {"split", "", VDT_SHADOW_ALWAYS, 0},
    {"split with event index", "", VDT_SHADOW_ALWAYS, EVENT},
    {"split in order", "in-order", VDT_SHADOW_ALWAYS, ORDER},
    {"split, out of order, late", "ooo,latency=300", VDT_SHADOW_ALWAYS, EVENT},
    {"split, device without suspend", "no-suspend,no-base,latency=100", VDT_SHADOW_AUTO, EVENT},
    {"split, device that enables early", "no-enable-after-driver-ok", VDT_SHADOW_AUTO, EVENT},
    {"split passed through", "", VDT_SHADOW_AUTO, EVENT},
    {"packed", "", VDT_SHADOW_ALWAYS, PACKED},
    {"packed with event index", "", VDT_SHADOW_ALWAYS, PACKED | EVENT},
    {"packed in order", "in-order", VDT_SHADOW_ALWAYS, PACKED | ORDER},
    {"packed, out of order, late", "ooo,latency=300", VDT_SHADOW_ALWAYS, PACKED | EVENT},
    {"packed, device without suspend", "no-suspend,no-base,latency=100", VDT_SHADOW_AUTO,
     PACKED | EVENT},
    {"packed passed through", "in-order", VDT_SHADOW_AUTO, PACKED | EVENT | ORDER},
    {"translated", "iova=0x10000000-0x1fffffff", VDT_SHADOW_ALWAYS, EVENT},
};

ParameterizedTestParameters(shadow, frames_come_back_once)
{
    return cr_make_param_array(struct way, ways, sizeof(ways) / sizeof(ways[0]));
}

ParameterizedTest(struct way *way, shadow, frames_come_back_once)
{
    struct vdt_shadow_options options = rig_options(way->policy);
    struct rig rig;

    rig_init(&rig, way->spec, &options, way->features);
    rig_start(&rig);
    rig_traffic(&rig, 2000);
    cr_assert(rig_settle(&rig, 5000), "%s: sent %u, done %u, received %u (%s: %s)", way->spec,
              rig.next_send, rig.sent_done, rig.received,
              vdt_mode_name(vdt_shadow_mode(rig.shadow)), vdt_shadow_mode_reason(rig.shadow));
    cr_expect_eq(rig.duplicated + rig.corrupt + rig.broken, 0);
    rig_clear(&rig);
    vdt_test_check_leaks();
}

ParameterizedTestParameters(shadow, nothing_is_lost_over_freeze_and_thaw_under_traffic)
{
    return cr_make_param_array(struct way, ways, sizeof(ways) / sizeof(ways[0]));
}

ParameterizedTest(struct way *way, shadow, nothing_is_lost_over_freeze_and_thaw_under_traffic)
{
    struct vdt_shadow_options options = rig_options(way->policy);
    g_autoptr(GError) error = NULL;
    struct rig rig;
    bool may_lose = strstr(way->spec, "no-suspend") != NULL;

    rig_init(&rig, way->spec, &options, way->features);
    rig_start(&rig);
    for (unsigned round = 0; round < 20; round++) {
        rig_traffic(&rig, 100);
        cr_assert(vdt_shadow_freeze(rig.shadow, &error), "%s", error ? error->message : "");
        cr_assert(vdt_shadow_thaw(rig.shadow, &error), "%s", error ? error->message : "");
    }
    bool settled = rig_settle(&rig, may_lose ? 500 : 5000);
    cr_expect_eq(rig.sent_done, rig.next_send, "%s: %u of %u sent", way->name, rig.sent_done,
                 rig.next_send);
    cr_expect(settled || may_lose, "%s: received %u of %u", way->name, rig.received, rig.next_send);
    cr_expect_eq(rig.duplicated + rig.corrupt + rig.broken, 0, "%s: %u doubled, %u corrupt",
                 way->name, rig.duplicated, rig.corrupt);
    rig_clear(&rig);
    vdt_test_check_leaks();
}

ParameterizedTestParameters(shadow, rings_stop_and_start_at_their_base)
{
    return cr_make_param_array(struct way, ways, sizeof(ways) / sizeof(ways[0]));
}

ParameterizedTest(struct way *way, shadow, rings_stop_and_start_at_their_base)
{
    struct vdt_shadow_options options = rig_options(way->policy);
    struct rig rig;
    uint32_t base[2];

    rig_init(&rig, way->spec, &options, way->features);
    rig_start(&rig);
    for (unsigned round = 0; round < 5; round++) {
        rig_traffic(&rig, 200);
        rig_stop(&rig, base);
        rig_poll(&rig);
        rig_set_rings(&rig, base);
    }
    /* A device that is reset drops the frames that it had not delivered yet; what the guest made
     * available is all used. */
    rig_settle(&rig, 300);
    cr_expect_eq(rig.sent_done, rig.next_send, "%s: %u of %u sent", way->name, rig.sent_done,
                 rig.next_send);
    cr_expect_eq(rig.duplicated + rig.corrupt + rig.broken, 0);
    rig_clear(&rig);
    vdt_test_check_leaks();
}
