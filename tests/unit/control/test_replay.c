/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <vdpa-tracker/error.h>

#include "control/replay.h"
#include "lib/fake_cvq_device.h"
#include "virtio/net_ctrl.h"

VDT_SUITE(replay);

#define DEADLINE_MS 5000
#define ALL_FEATURES (~0ull)

static const struct vdt_ring_format format = {.kind = VDT_RING_SPLIT, .num = 64};
static struct fake_cvq_device *fake;
static struct vdt_device_cvq *cvq;
static struct vdt_replay_report report;
static GError *error;

static void
set_up(void)
{
    fake = fake_cvq_device_new(&format, 16384, 8192);
    fake_cvq_device_start(fake);
    cvq = vdt_device_cvq_new(&fake->config);
}

static void
tear_down(void)
{
    g_clear_error(&error);
    vdt_replay_report_clear(&report);
    vdt_device_cvq_free(cvq);
    fake_cvq_device_free(fake);
}

/* Something in every group. */
static void
fill_state(struct vdt_net_state *state)
{
    vdt_net_state_init(state);
    state->set = VDT_NET_MAC | VDT_NET_PROMISC | VDT_NET_ALLMULTI | VDT_NET_NOBCAST |
                 VDT_NET_MAC_TABLE | VDT_NET_VLAN | VDT_NET_RSS | VDT_NET_OFFLOADS |
                 VDT_NET_COAL_TX | VDT_NET_COAL_RX | VDT_NET_COAL_VQ;
    memcpy(state->mac, "\x52\x54\x00\x01\x02\x03", 6);
    state->rx[1] = true;
    state->unicast_count = 2;
    state->unicast[1][5] = 1;
    state->multicast_count = 1;
    state->multicast[0][0] = 1;
    vdt_vlan_set(state->vlan, 0, true);
    vdt_vlan_set(state->vlan, 100, true);
    vdt_vlan_set(state->vlan, 4095, true);
    state->rss = (struct vdt_net_rss){
        .hash_types = 0x3f, .table_len = 4, .table = {0, 1, 2, 3}, .max_tx_vq = 4, .key_len = 40};
    memset(state->rss.key, 0x5a, 40);
    state->queue_pairs = 4;
    state->guest_offloads = VDT_BIT(VIRTIO_NET_F_GUEST_CSUM);
    state->coal_tx = (struct vdt_net_coal){1, 2};
    state->coal_rx = (struct vdt_net_coal){3, 4};
    state->vq_coal_set[0] = 1u << 5;
    state->vq_coal[5] = (struct vdt_net_coal){5, 6};
}

Test(replay, fresh_device_reads_back_equal)
{
    struct vdt_net_state state;

    fill_state(&state);
    set_up();
    cr_assert(vdt_replay(&state, ALL_FEATURES, cvq, DEADLINE_MS, &report, &error), "%s",
              error ? error->message : "");
    cr_expect(vdt_net_state_equal(&state, &fake->state));
    cr_expect_eq(report.commands, vdt_replay_count(&state, ALL_FEATURES));
    cr_expect_eq(report.acked, report.commands);
    cr_expect_null(report.steps);
    tear_down();
}

Test(replay, twice_is_once)
{
    struct vdt_net_state state;

    fill_state(&state);
    set_up();
    cr_assert(vdt_replay(&state, ALL_FEATURES, cvq, DEADLINE_MS, &report, NULL));
    cr_assert(vdt_replay(&state, ALL_FEATURES, cvq, DEADLINE_MS, &report, NULL));
    cr_expect(vdt_net_state_equal(&state, &fake->state));
    cr_expect_eq(report.commands, vdt_replay_count(&state, ALL_FEATURES));
    tear_down();
}

Test(replay, steps_are_kept_when_asked_for)
{
    struct vdt_net_state state;
    const struct vdt_replay_step *step;

    fill_state(&state);
    set_up();
    report.keep_steps = true;
    cr_assert(vdt_replay(&state, ALL_FEATURES, cvq, DEADLINE_MS, &report, NULL));
    cr_assert_eq(report.steps->len, report.commands);
    step = g_ptr_array_index(report.steps, 0);
    cr_expect_str_eq(step->text, "MAC_ADDR_SET 52:54:00:01:02:03");
    cr_expect_eq(step->ack, VDT_ACK_OK);
    tear_down();
}

Test(replay, two_parts_make_the_whole)
{
    struct vdt_net_state state;
    unsigned early;

    fill_state(&state);
    set_up();
    cr_assert(vdt_replay_early(&state, ALL_FEATURES, cvq, DEADLINE_MS, &report, NULL));
    early = report.commands;
    cr_expect_eq(fake->state.set, state.set & ~VDT_NET_COAL_VQ);
    cr_assert(vdt_replay_late(&state, ALL_FEATURES, cvq, DEADLINE_MS, &report, NULL));
    cr_expect_eq(early + report.commands, vdt_replay_count(&state, ALL_FEATURES));
    cr_expect(vdt_net_state_equal(&state, &fake->state));
    tear_down();
}

Test(replay, fresh_state_sends_nothing)
{
    struct vdt_net_state state;

    vdt_net_state_init(&state);
    set_up();
    cr_assert(vdt_replay(&state, ALL_FEATURES, cvq, DEADLINE_MS, &report, NULL));
    cr_expect_eq(fake->seen, 0);
    tear_down();
}

Test(replay, all_4096_vlans_travel_in_batches)
{
    struct vdt_net_state state;

    vdt_net_state_init(&state);
    state.set = VDT_NET_VLAN;
    memset(state.vlan, 0xff, sizeof(state.vlan));
    set_up();
    cr_assert(vdt_replay(&state, ALL_FEATURES, cvq, DEADLINE_MS, &report, NULL));
    cr_expect_eq(report.acked, 4096);
    cr_expect(vdt_net_state_equal(&state, &fake->state));
    cr_expect_lt(fake->kicks, 1024, "not a kick each: %u", fake->kicks);
    tear_down();
}

static void
refuse_nth(void *ctx, struct fake_answer *answer)
{
    if (answer->index == *(unsigned *) ctx)
        answer->ack = VDT_ACK_ERR;
}

Test(replay, the_kth_refusal_is_named_for_every_k)
{
    struct vdt_net_state state;
    unsigned count;

    fill_state(&state);
    count = vdt_replay_count(&state, ALL_FEATURES);
    for (unsigned k = 0; k < count; k++) {
        g_autofree char *start = g_strdup_printf("replaying command %u of %u (", k + 1, count);

        set_up();
        fake->answer = refuse_nth;
        fake->ctx = &k;
        report.keep_steps = true;
        cr_assert_not(vdt_replay(&state, ALL_FEATURES, cvq, DEADLINE_MS, &report, &error));
        cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_REFUSED));
        cr_expect(g_str_has_prefix(error->message, start), "%s", error->message);
        const struct vdt_replay_step *last = g_ptr_array_index(report.steps, report.steps->len - 1);
        cr_expect(strstr(error->message, last->text), "%s", error->message);
        cr_expect_eq(report.acked, k);
        cr_expect(vdt_device_cvq_idle(cvq));
        tear_down();
    }
}

static void
refuse_then_silence(void *ctx, struct fake_answer *answer)
{
    if (answer->index == 2)
        answer->ack = VDT_ACK_ERR;
    answer->mute = answer->index > 2;
}

Test(replay, a_refusal_counts_more_than_the_silence_behind_it)
{
    struct vdt_net_state state;

    fill_state(&state);
    set_up();
    fake->answer = refuse_then_silence;
    cr_assert_not(vdt_replay(&state, ALL_FEATURES, cvq, 30, &report, &error));
    cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_REFUSED), "%s", error->message);
    tear_down();
}

static void
silence(void *ctx, struct fake_answer *answer)
{
    answer->mute = answer->index == 1;
}

Test(replay, silence_is_a_timeout_with_the_place)
{
    struct vdt_net_state state;

    fill_state(&state);
    set_up();
    fake->answer = silence;
    cr_assert_not(vdt_replay(&state, ALL_FEATURES, cvq, 30, &report, &error));
    cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_TIMEOUT), "%s", error->message);
    cr_expect(g_str_has_prefix(error->message, "replaying command 2 of "), "%s", error->message);
    cr_expect(strstr(error->message, "MAC_TABLE_SET"), "%s", error->message);
    tear_down();
}

Test(replay, state_without_its_feature_is_refused_before_anything_is_sent)
{
    struct vdt_net_state state;

    fill_state(&state);
    set_up();
    cr_assert_not(
        vdt_replay(&state, ~VDT_BIT(VIRTIO_NET_F_CTRL_VLAN), cvq, DEADLINE_MS, &report, &error));
    cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_REFUSED));
    cr_expect(strstr(error->message, "VLAN_ADD"), "%s", error->message);
    cr_expect_eq(fake->seen, 0);
    tear_down();
}

Test(replay, mac_without_its_feature_is_left_to_the_config_space)
{
    struct vdt_net_state state;

    vdt_net_state_init(&state);
    state.set = VDT_NET_MAC;
    set_up();
    cr_assert(vdt_replay(&state, 0, cvq, DEADLINE_MS, &report, NULL));
    cr_expect_eq(fake->seen, 0);
    tear_down();
}

Test(replay, invalid_state_is_refused)
{
    struct vdt_net_state state;

    fill_state(&state);
    state.unicast_count = 60000;
    set_up();
    cr_assert_not(vdt_replay(&state, ALL_FEATURES, cvq, DEADLINE_MS, &report, &error));
    cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_INVALID));
    cr_expect_eq(fake->seen, 0);
    tear_down();
}

/* A device that a former owner has left with RSS on (QEMU's keeps it over a reset) is told. */
static const struct {
    const char *what;
    uint32_t set;
    uint64_t features;
    unsigned commands;
    uint32_t then; /* the groups of steering that are in force in the device */
} leftovers[] = {
    {"pairs go back to one", 0, ALL_FEATURES, 1, VDT_NET_PAIRS},
    {"RSS alone", 0, VDT_BIT(VIRTIO_NET_F_RSS), 1, VDT_NET_RSS},
    {"hash reports alone", 0, VDT_BIT(VIRTIO_NET_F_HASH_REPORT), 1, VDT_NET_HASH | VDT_NET_PAIRS},
    {"nothing to steer by", 0, VDT_BIT(VIRTIO_NET_F_CTRL_RX), 0, VDT_NET_RSS},
    {"set by the guest", VDT_NET_RSS, ALL_FEATURES, 1, VDT_NET_RSS},
    {"pairs set by the guest", VDT_NET_PAIRS, ALL_FEATURES, 1, VDT_NET_PAIRS},
};

Test(replay, steering_of_a_former_owner_does_not_stay)
{
    const uint32_t steering = VDT_NET_PAIRS | VDT_NET_RSS | VDT_NET_HASH;
    struct vdt_net_state owner, state;

    for (unsigned i = 0; i < G_N_ELEMENTS(leftovers); i++) {
        const char *what = leftovers[i].what;

        fill_state(&owner);
        vdt_net_state_init(&state);
        state.set = leftovers[i].set;
        state.rss = owner.rss;
        state.rss.hash_types = 1;
        state.queue_pairs = leftovers[i].set ? 2 : 7;
        state.rss.max_tx_vq = 2;
        set_up();
        fake->state = owner;
        vdt_replay_insist(&state, leftovers[i].features);
        cr_assert(vdt_replay(&state, leftovers[i].features, cvq, DEADLINE_MS, &report, &error),
                  "%s: %s", what, error ? error->message : "");
        cr_expect_eq(report.commands, leftovers[i].commands, "%s: %u", what, report.commands);
        cr_expect_eq(fake->state.set & steering, leftovers[i].then, "%s: 0x%x", what,
                     fake->state.set & steering);
        if (leftovers[i].commands) {
            bool left = leftovers[i].then == VDT_NET_RSS && fake->state.rss.hash_types == 0x3f;
            cr_expect_not(left, "%s", what);
        }
        if (leftovers[i].then == VDT_NET_PAIRS)
            cr_expect_eq(fake->state.queue_pairs, leftovers[i].set ? 2 : 1, "%s", what);
        tear_down();
    }
}
