/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Replay against the embedded device, which parses commands with code of its own and is as strict
 * as the spec: what it holds afterwards is what was asked for.
 */
#include "lib/leak.h"

#include <vdpa-tracker/error.h>

#include "control/replay.h"
#include "unit/device/nic.h"

VDT_SUITE(replay_sim);

#define DEADLINE_MS 5000
#define OUT_SIZE 16384u
#define IN_SIZE 8192u
#define PAIRS 4u

struct stage {
    struct nic nic;
    struct vdt_device_cvq *cvq;
    struct vdt_replay_report report;
};

/* At DRIVER_OK with the control queue alone enabled. */
static void
open_stage(struct stage *stage, const char *spec, uint64_t mask)
{
    struct nic *nic = &stage->nic;
    struct vdt_device_cvq_config config;
    size_t out, in;

    memset(stage, 0, sizeof(*stage));
    nic_open(nic, spec, mask);
    for (uint32_t i = 0; i <= nic->cvq; i++)
        nic_add_ring(nic, i);
    cr_assert(nic->dev->ops->set_status(nic->dev, 15, NULL));
    cr_assert(nic->dev->ops->set_enable(nic->dev, nic->cvq, true, NULL));
    out = nic_alloc(nic, OUT_SIZE);
    in = nic_alloc(nic, IN_SIZE);
    config = (struct vdt_device_cvq_config){
        .format = nic->rings[nic->cvq].format,
        .mem = nic->rings[nic->cvq].mem,
        .out = nic->memory + out,
        .out_iova = nic_iova(out),
        .out_size = OUT_SIZE,
        .in = nic->memory + in,
        .in_iova = nic_iova(in),
        .in_size = IN_SIZE,
        .kick_fd = nic->rings[nic->cvq].kick,
        .call_fd = nic->rings[nic->cvq].call,
        .device_name = nic->dev->info.name,
    };
    stage->cvq = vdt_device_cvq_new(&config);
}

static void
enable_data_rings(struct stage *stage)
{
    for (uint32_t i = 0; i < stage->nic.cvq; i++)
        cr_assert(stage->nic.dev->ops->set_enable(stage->nic.dev, i, true, NULL));
}

static void
close_stage(struct stage *stage)
{
    vdt_replay_report_clear(&stage->report);
    vdt_device_cvq_free(stage->cvq);
    nic_close(&stage->nic);
}

static bool
replay_both(struct stage *stage, const struct vdt_net_state *state, GError **error)
{
    if (!vdt_replay_early(state, stage->nic.features, stage->cvq, DEADLINE_MS, &stage->report,
                          error))
        return false;
    enable_data_rings(stage);
    return vdt_replay_late(state, stage->nic.features, stage->cvq, DEADLINE_MS, &stage->report,
                           error);
}

static void
expect_holds(struct stage *stage, const struct vdt_net_state *state, const char *what)
{
    struct vdt_net_state held;

    nic_state(&stage->nic, &held);
    g_autoptr(GPtrArray) lines = vdt_net_state_diff(state, &held);
    for (guint i = 0; i < lines->len; i++)
        cr_expect_fail("%s: %s", what, (char *) lines->pdata[i]);
}

static uint32_t
below(GRand *rand, unsigned end)
{
    return (uint32_t) g_rand_int_range(rand, 0, (gint32) end);
}

static void
random_macs(GRand *rand, uint8_t (*macs)[6], unsigned count)
{
    for (unsigned i = 0; i < 6 * count; i++)
        macs[i / 6][i % 6] = (uint8_t) g_rand_int(rand);
}

static struct vdt_net_coal
random_coal(GRand *rand)
{
    return (struct vdt_net_coal){g_rand_int(rand), g_rand_int(rand)};
}

/* Of PAIRS pairs with all features. */
static void
random_state(GRand *rand, struct vdt_net_state *state)
{
    static const uint32_t steering[] = {0, VDT_NET_PAIRS, VDT_NET_RSS, VDT_NET_HASH,
                                        VDT_NET_PAIRS | VDT_NET_HASH};
    uint32_t plain = VDT_NET_PAIRS | VDT_NET_RSS | VDT_NET_HASH | VDT_NET_VLAN | VDT_NET_COAL_VQ;

    vdt_net_state_init(state);
    state->set = (g_rand_int(rand) & (VDT_NET_COAL_VQ * 2 - 1) & ~plain) |
                 steering[below(rand, G_N_ELEMENTS(steering))];
    random_macs(rand, &state->mac, 1);
    state->mac[0] &= 0xfe;
    for (unsigned i = 0; i < 6; i++)
        state->rx[i] = g_rand_boolean(rand);
    state->unicast_count = (uint16_t) below(rand, 513);
    state->multicast_count = (uint16_t) below(rand, 65);
    random_macs(rand, state->unicast, state->unicast_count);
    random_macs(rand, state->multicast, state->multicast_count);
    for (unsigned i = below(rand, 50); i > 0; i--) {
        vdt_vlan_set(state->vlan, below(rand, 4096), true);
        state->set |= VDT_NET_VLAN;
    }
    state->rss = (struct vdt_net_rss){
        .hash_types = below(rand, 0x40),
        .table_len = (uint16_t) (1u << below(rand, 8)),
        .unclassified = (uint16_t) below(rand, PAIRS),
        .max_tx_vq = (uint16_t) (1 + below(rand, PAIRS)),
        .key_len = (uint8_t) below(rand, 41),
    };
    for (unsigned i = 0; i < state->rss.table_len; i++)
        state->rss.table[i] = (uint16_t) below(rand, PAIRS);
    memset(state->rss.key, (int) below(rand, 256), state->rss.key_len);
    state->hash = state->rss;
    if (state->set & VDT_NET_RSS)
        state->queue_pairs = state->rss.max_tx_vq;
    else if (state->set & VDT_NET_PAIRS)
        state->queue_pairs = (uint16_t) (1 + below(rand, PAIRS));
    state->guest_offloads = VDT_BIT(VIRTIO_NET_F_GUEST_CSUM) |
                            (g_rand_boolean(rand) ? VDT_BIT(VIRTIO_NET_F_GUEST_TSO4) : 0);
    state->coal_tx = random_coal(rand);
    state->coal_rx = random_coal(rand);
    for (unsigned i = below(rand, 4); i > 0; i--) {
        unsigned ring = below(rand, 2 * PAIRS);

        state->vq_coal_set[0] |= 1ull << ring;
        state->vq_coal[ring] = random_coal(rand);
        state->set |= VDT_NET_COAL_VQ;
    }
    g_assert(vdt_net_state_valid(state, NULL));
}

Test(replay_sim, random_states_read_back_equal)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(7);

    for (unsigned round = 0; round < 60; round++) {
        g_autofree char *what = g_strdup_printf("round %u", round);
        g_autoptr(GError) error = NULL;
        struct vdt_net_state state;
        struct stage stage;

        random_state(rand, &state);
        open_stage(&stage, "sim:null,pairs=4,+IN_ORDER", round % 2 ? NIC_PACKED : NIC_SPLIT);
        cr_assert(replay_both(&stage, &state, &error), "%s: %s", what, error ? error->message : "");
        expect_holds(&stage, &state, what);
        close_stage(&stage);
    }
}

Test(replay_sim, twice_is_once)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(8);

    for (unsigned round = 0; round < 10; round++) {
        struct vdt_net_state state;
        struct stage stage;

        random_state(rand, &state);
        open_stage(&stage, "sim:null,pairs=4", NIC_SPLIT);
        cr_assert(replay_both(&stage, &state, NULL));
        cr_assert(
            vdt_replay(&state, stage.nic.features, stage.cvq, DEADLINE_MS, &stage.report, NULL));
        expect_holds(&stage, &state, "twice");
        close_stage(&stage);
    }
}

Test(replay_sim, coalescing_of_a_ring_needs_the_ring)
{
    g_autoptr(GError) error = NULL;
    struct vdt_net_state state;
    struct stage stage;

    vdt_net_state_init(&state);
    state.set = VDT_NET_COAL_VQ;
    state.vq_coal_set[0] = 1;
    open_stage(&stage, "sim:null,pairs=4", NIC_SPLIT);
    cr_expect_not(
        vdt_replay(&state, stage.nic.features, stage.cvq, DEADLINE_MS, &stage.report, &error),
        "which is why there is a late part");
    cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_REFUSED));
    cr_expect(replay_both(&stage, &state, NULL));
    expect_holds(&stage, &state, "late");
    close_stage(&stage);
}

Test(replay_sim, all_4094_vlans)
{
    struct vdt_net_state state;
    struct stage stage;

    vdt_net_state_init(&state);
    state.set = VDT_NET_VLAN;
    for (unsigned vid = 1; vid < 4095; vid++)
        vdt_vlan_set(state.vlan, vid, true);
    open_stage(&stage, "sim:null", NIC_SPLIT);
    cr_assert(vdt_replay(&state, stage.nic.features, stage.cvq, DEADLINE_MS, &stage.report, NULL));
    cr_expect_eq(stage.report.acked, 4094);
    expect_holds(&stage, &state, "vlans");
    close_stage(&stage);
}

Test(replay_sim, the_kth_refusal_is_a_named_error)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(9);
    struct vdt_net_state state;
    unsigned count;

    random_state(rand, &state);
    state.set &= ~VDT_NET_COAL_VQ;
    state.vq_coal_set[0] = 0;
    count = vdt_replay_count(&state, ~0ull);
    cr_assert_gt(count, 5);
    for (unsigned k = 1; k <= count; k++) {
        g_autofree char *spec = g_strdup_printf("sim:null,pairs=4,nak=%u", k);
        g_autofree char *start = g_strdup_printf("replaying command %u of %u (", k, count);
        g_autoptr(GError) error = NULL;
        struct stage stage;

        open_stage(&stage, spec, NIC_SPLIT);
        cr_assert_not(vdt_replay_early(&state, stage.nic.features, stage.cvq, DEADLINE_MS,
                                       &stage.report, &error));
        cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_REFUSED));
        cr_expect(g_str_has_prefix(error->message, start), "%s", error->message);
        cr_expect_eq(stage.report.acked, k - 1);
        close_stage(&stage);
    }
}

Test(replay_sim, bad_devices_are_found_out)
{
    const struct {
        const char *spec;
        int code;
    } rows[] = {
        {"sim:null,cvq-silent", VDT_ERROR_TIMEOUT},
        {"sim:null,cvq-stale-ack", VDT_ERROR_REFUSED},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        struct vdt_net_state state;
        struct stage stage;

        vdt_net_state_init(&state);
        state.set = VDT_NET_PROMISC;
        open_stage(&stage, rows[i].spec, NIC_SPLIT);
        cr_expect_not(vdt_replay(&state, stage.nic.features, stage.cvq, 50, &stage.report, &error));
        cr_expect(g_error_matches(error, VDT_ERROR, rows[i].code), "%s: %s", rows[i].spec,
                  error->message);
        close_stage(&stage);
    }
}
