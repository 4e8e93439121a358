/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <string.h>

#include "base/wire.h"
#include "sample.h"
#include "virtio/features.h"

VDT_SUITE(compat);

struct target {
    struct vdt_snapshot *state; /* owned */
    struct vdt_device_info info;
    uint8_t config[24];
};

/* A target that is just like the source. */
static void
init_target(struct target *t, struct vdt_snapshot *state)
{
    memset(t, 0, sizeof(*t));
    t->state = state;
    t->info.device_id = state->device_id;
    t->info.features = state->negotiated_features;
    t->info.rings = MAX(state->ring_count, 3);
    t->info.ring_max = 300;
    t->info.set_base = true;
    memcpy(t->config, state->config, sizeof(t->config));
}

static GPtrArray *
check(struct target *t)
{
    return vdt_snapshot_compat(t->state, &t->info, t->config, sizeof(t->config));
}

Test(compat, the_same_device_again_takes_every_sample)
{
    for (const struct sample *sample = samples; sample->name; sample++) {
        struct target t;
        VDT_AUTO(snapshot) state = sample->make();
        g_clear_pointer(&state->unmigratable, g_free);
        init_target(&t, state);
        g_autoptr(GPtrArray) reasons = check(&t);
        cr_assert_eq(reasons->len, 0, "%s: %s", sample->name,
                     reasons->len ? (char *) reasons->pdata[0] : "");
    }
}

static void
use_rss(struct target *t)
{
    t->state->guest_features |= VDT_BIT(VIRTIO_NET_F_RSS);
    t->state->negotiated_features |= VDT_BIT(VIRTIO_NET_F_RSS);
    t->info.features |= VDT_BIT(VIRTIO_NET_F_RSS);
}

#define SPOIL(name, code)                                                                          \
    static void name(struct target *t)                                                             \
    {                                                                                              \
        code;                                                                                      \
    }

SPOIL(type, t->info.device_id = 2)
SPOIL(unmigratable, t->state->unmigratable = g_strdup("because"))
SPOIL(one_feature, t->info.features &= ~VDT_BIT(VIRTIO_NET_F_CTRL_VLAN))
SPOIL(pairs, vdt_put16(t->config + 8, 1))
SPOIL(rings, t->info.rings = 4)
SPOIL(ring_max, t->info.ring_max = 128)
SPOIL(mtu, vdt_put16(t->config + 10, 1400))
SPOIL(rss_key, use_rss(t); t->config[17] = 20)
SPOIL(rss_table, use_rss(t); vdt_put16(t->config + 18, 64))
SPOIL(hash_types, use_rss(t); vdt_put32(t->config + 20, 0xff))
SPOIL(ours, t->state->negotiated_features &= ~VDT_BIT(VIRTIO_NET_F_CTRL_RX);
      t->info.features &= ~VDT_BIT(VIRTIO_NET_F_CTRL_RX))
SPOIL(no_control_queue, t->state->guest_features &= ~VDT_BIT(VIRTIO_NET_F_CTRL_VQ);
      t->info.features &= ~VDT_BIT(VIRTIO_NET_F_CTRL_VQ))

Test(compat, each_reason_is_a_sentence)
{
    static const struct {
        void (*spoil)(struct target *t);
        const char *reason;
    } rows[] = {
        {type, "device is of type 2, the state needs type 1"},
        {unmigratable, "state cannot be carried: because"},
        {one_feature, "device lacks CTRL_VLAN, which the guest negotiated"},
        {pairs, "device offers 1 queue pairs, the state needs 2"},
        {rings, "device has 4 rings, the state needs 5"},
        {ring_max, "device takes rings of up to 128 entries, ring 0 of the state has 256"},
        {mtu, "device has an MTU of 1400, the state needs 1500"},
        {rss_key, "device takes RSS keys of up to 20 bytes, the state needs 40"},
        {rss_table, "device takes RSS tables of up to 64 entries, the state needs 128"},
        {hash_types, "device cannot hash by the types 0x100, which the guest was told of"},
        {ours, "device has no command for promiscuous mode, which the guest set"},
        {no_control_queue, "device has no control queue, the state has commands to replay"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct target t;
        VDT_AUTO(snapshot) state = sample_split();
        init_target(&t, state);
        rows[i].spoil(&t);
        g_autoptr(GPtrArray) reasons = check(&t);
        cr_assert_eq(reasons->len, 1, "%s: %u reasons, first: %s", rows[i].reason, reasons->len,
                     reasons->len ? (char *) reasons->pdata[0] : "");
        cr_assert_str_eq(reasons->pdata[0], rows[i].reason);
    }
}

Test(compat, an_address_that_cannot_be_set_has_to_be_there)
{
    struct target t;
    VDT_AUTO(snapshot) state = sample_split();
    init_target(&t, state);
    t.info.features &= ~VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR);
    g_autoptr(GPtrArray) reasons = check(&t);

    cr_assert_eq(reasons->len, 2);
    cr_assert_str_eq(reasons->pdata[0], "device lacks CTRL_MAC_ADDR, which the guest negotiated");
    cr_assert_str_eq(reasons->pdata[1], "device has the MAC address 52:54:00:12:34:56, the state "
                                        "needs 52:54:00:12:34:99, and it cannot be set there");
}

Test(compat, every_reason_is_given_at_once)
{
    struct target t;
    VDT_AUTO(snapshot) state = sample_split();
    init_target(&t, state);
    one_feature(&t);
    pairs(&t);
    mtu(&t);
    ring_max(&t);
    g_autoptr(GPtrArray) reasons = check(&t);

    cr_assert_eq(reasons->len, 4);
}

Test(compat, a_target_without_config_space_holds_nothing)
{
    struct target t;
    VDT_AUTO(snapshot) state = sample_split();
    init_target(&t, state);
    g_autoptr(GPtrArray) reasons = vdt_snapshot_compat(t.state, &t.info, t.config, 0);

    cr_assert_eq(reasons->len, 2); /* pairs, MTU */
}

Test(compat, order_is_kept_only_where_rings_start_anywhere)
{
    struct target t;
    VDT_AUTO(snapshot) state = sample_split();
    init_target(&t, state);
    t.info.set_base = false;
    g_autoptr(GPtrArray) none = check(&t);
    cr_assert_eq(none->len, 0);
    state->guest_features |= VDT_BIT(VIRTIO_F_IN_ORDER);
    state->negotiated_features |= VDT_BIT(VIRTIO_F_IN_ORDER);
    t.info.features |= VDT_BIT(VIRTIO_F_IN_ORDER);
    g_autoptr(GPtrArray) reasons = check(&t);
    cr_assert_eq(reasons->len, 1);
    cr_assert(strstr(reasons->pdata[0], "IN_ORDER"), "%s", (char *) reasons->pdata[0]);
}
