/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "migration/baseline.h"

#include <string.h>
#include <vdpa-tracker/error.h>

#include "base/wire.h"
#include "control/command.h"
#include "migration/admit.h"
#include "shadow/negotiate.h"
#include "snapshot/net_config.h"
#include "virtio/features.h"

#define BIT(feature) VDT_BIT(VIRTIO_NET_F_##feature)
#define MULTIQUEUE (BIT(MQ) | BIT(RSS))
#define MTU_MIN 68u /* virtio 1.2, 5.1.4.1 */
#define HASHES (BIT(RSS) | BIT(HASH_REPORT))

/* What a feature that is not there leaves without meaning. */
static void
settle(struct vdt_baseline *b)
{
    if (b->mtu < MTU_MIN)
        b->features &= ~BIT(MTU);
    if (b->hash_types == 0)
        b->features &= ~HASHES;
    if (b->rss_key_max == 0 || b->rss_table_max == 0)
        b->features &= ~BIT(RSS);
    b->features = vdt_net_features_sound(b->features);
    if (!(b->features & MULTIQUEUE))
        b->pairs = 1;
    if (!(b->features & BIT(MTU)))
        b->mtu = 0;
    if (!(b->features & HASHES)) {
        b->rss_key_max = 0;
        b->rss_table_max = 0;
        b->hash_types = 0;
    }
}

static bool
take(struct vdt_baseline *b, const char *name, uint32_t type, uint64_t features, uint16_t ring_max,
     const uint8_t *config, uint32_t len, GError **error)
{
    struct vdt_net_config net;

    if (type != VIRTIO_ID_NET) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                    "%s is of virtio type %u: a baseline is of network devices", name, type);
        return false;
    }
    vdt_net_config_parse(&net, config, len);
    *b = (struct vdt_baseline){
        .features = features,
        .pairs = (uint16_t) CLAMP(net.max_pairs, 1u, VDT_PAIRS_MAX),
        .ring_max = ring_max,
        .mtu = net.mtu,
        .rss_key_max = net.rss_key_max,
        .rss_table_max = MIN(net.rss_table_max, VDT_RSS_TABLE_MAX),
        .hash_types = net.hash_types,
    };
    settle(b);
    return true;
}

bool
vdt_baseline_of_device(struct vdt_baseline *baseline, struct vdt_device *dev, GError **error)
{
    uint64_t known = vdt_command_features_known(dev->info.features);
    uint8_t config[VDT_CONFIG_MAX] = {0};
    struct vdt_negotiation n = {0};
    uint32_t len;

    if (!vdt_negotiation_init(&n, dev, known, error) ||
        !vdt_admit_read_config(dev, config, &len, error))
        return false;
    return take(baseline, dev->info.name, dev->info.device_id, n.offered, dev->info.ring_max,
                config, len, error);
}

bool
vdt_baseline_of_snapshot(struct vdt_baseline *baseline, const struct vdt_snapshot *s,
                         GError **error)
{
    uint16_t largest = 0;

    for (unsigned i = 0; i < s->ring_count; i++)
        largest = (int32_t) i == s->cvq_index ? largest : MAX(largest, s->rings[i].num);
    /* A guest that had no rings yet says nothing of their size. */
    return take(baseline, s->device, s->device_id, s->offered_features,
                largest ? largest : VDT_RING_MAX, s->config, s->config_len, error);
}

void
vdt_baseline_narrow(struct vdt_baseline *b, const struct vdt_baseline *other)
{
    b->features &= other->features;
    b->pairs = MIN(b->pairs, other->pairs);
    b->ring_max = MIN(b->ring_max, other->ring_max);
    b->mtu = MIN(b->mtu, other->mtu);
    b->rss_key_max = MIN(b->rss_key_max, other->rss_key_max);
    b->rss_table_max = MIN(b->rss_table_max, other->rss_table_max);
    b->hash_types &= other->hash_types;
    settle(b);
}

static void
expect(GPtrArray *reasons, const char *what, unsigned want, unsigned have)
{
    if (have < want)
        g_ptr_array_add(reasons, g_strdup_printf("device offers %s of %u, the baseline has %u",
                                                 what, have, want));
}

GPtrArray *
vdt_baseline_reasons(const struct vdt_baseline *b, const struct vdt_baseline *offer)
{
    GPtrArray *reasons = g_ptr_array_new_with_free_func(g_free);

    for (unsigned bit = 0; bit < 64; bit++) {
        const char *name = vdt_feature_name(VIRTIO_ID_NET, bit);

        if (!((b->features & ~offer->features) >> bit & 1))
            continue;
        g_ptr_array_add(reasons, name ? g_strdup_printf("device does not offer %s", name)
                                      : g_strdup_printf("device does not offer bit%u", bit));
    }
    expect(reasons, "a number of queue pairs", b->pairs, offer->pairs);
    expect(reasons, "a ring size", b->ring_max, offer->ring_max);
    expect(reasons, "an MTU", b->mtu, offer->mtu);
    expect(reasons, "an RSS key length", b->rss_key_max, offer->rss_key_max);
    expect(reasons, "an RSS table length", b->rss_table_max, offer->rss_table_max);
    if (b->hash_types & ~offer->hash_types)
        g_ptr_array_add(reasons, g_strdup_printf("device cannot hash by the types 0x%x",
                                                 b->hash_types & ~offer->hash_types));
    return reasons;
}

void
vdt_baseline_clamp(const struct vdt_baseline *b, uint8_t *config, uint32_t len)
{
    if (b->features & MULTIQUEUE && len >= VDT_CONFIG_PAIRS)
        vdt_put16(config + VDT_CONFIG_PAIRS - 2, b->pairs);
    if (b->features & BIT(MTU) && len >= VDT_CONFIG_MTU)
        vdt_put16(config + VDT_CONFIG_MTU - 2, b->mtu);
    if (!(b->features & HASHES) || len < VDT_CONFIG_HASH_TYPES)
        return;
    config[VDT_CONFIG_RSS_KEY - 1] = b->rss_key_max;
    vdt_put16(config + VDT_CONFIG_RSS_TABLE - 2, b->rss_table_max);
    vdt_put32(config + VDT_CONFIG_HASH_TYPES - 4, b->hash_types);
}
