/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <linux/virtio_blk.h>
#include <string.h>

#include "base/wire.h"
#include "control/command.h"
#include "snapshot/net_config.h"
#include "snapshot/words.h"
#include "virtio/features.h"

#define BIT(feature) VDT_BIT(VIRTIO_NET_F_##feature)

/* The vhost bits concern the frontend alone; ACCESS_PLATFORM is between us and a device. */
#define NOT_THE_DEVICES (VDT_BIT(26) | VDT_BIT(30) | VDT_BIT(VIRTIO_F_ACCESS_PLATFORM))
#define MULTIQUEUE (BIT(MQ) | BIT(RSS))

/* What is compared, taken apart. */
struct sides {
    const struct vdt_snapshot *state;
    const struct vdt_device_info *target;
    struct vdt_net_config guest, device;
};

static void G_GNUC_PRINTF(2, 3) add(GPtrArray *reasons, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_ptr_array_add(reasons, g_strdup_vprintf(format, args));
    va_end(args);
}

/* What the guest uses and the source device had to have. What only the guest has, we gave it. */
static uint64_t
needed_features(const struct vdt_snapshot *s)
{
    uint64_t needed = s->guest_features & ~NOT_THE_DEVICES;

    return s->negotiated_features ? needed & s->negotiated_features : needed;
}

static void
check_features(GPtrArray *reasons, const struct sides *sides)
{
    uint64_t missing = needed_features(sides->state) & ~sides->target->features;

    for (unsigned bit = 0; bit < 64; bit++) {
        const char *name = vdt_feature_name(sides->state->device_id, bit);
        if (!(missing >> bit & 1))
            continue;
        if (name)
            add(reasons, "device lacks %s, which the guest negotiated", name);
        else
            add(reasons, "device lacks feature bit %u, which the guest negotiated", bit);
    }
}

/* Control state that would have no way into the device. */
static void
check_control(GPtrArray *reasons, const struct sides *sides)
{
    static const char *const names[] = {
        "its MAC address",
        "promiscuous mode",
        "all-multicast mode",
        "all-unicast mode",
        "no-multicast mode",
        "no-unicast mode",
        "no-broadcast mode",
        "MAC address tables",
        "VLAN filters",
        "its queue pairs",
        "RSS",
        "hash reports",
        "guest offloads",
        "transmit coalescing",
        "receive coalescing",
        "coalescing of single rings",
    };
    /* Missing features have been named already. */
    uint64_t features = sides->target->features | needed_features(sides->state);
    uint32_t lacking = vdt_command_groups_lacking(&sides->state->net, features);

    if (!(features & BIT(CTRL_VQ)) && sides->state->net.set & ~(uint32_t) VDT_NET_MAC) {
        add(reasons, "device has no control queue, the state has commands to replay");
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (lacking >> i & 1)
            add(reasons, "device has no command for %s, which the guest set", names[i]);
    }
}

static void
check_mac(GPtrArray *reasons, const struct sides *sides)
{
    const struct vdt_snapshot *s = sides->state;
    const uint8_t *mac = s->net.set & VDT_NET_MAC ? s->net.mac : sides->guest.mac;
    bool matters = s->net.set & VDT_NET_MAC || s->guest_features & BIT(MAC);

    if (!matters || sides->target->features & BIT(CTRL_MAC_ADDR) ||
        !vdt_net_config_has(&sides->guest, VDT_CONFIG_MAC) ||
        memcmp(mac, sides->device.mac, 6) == 0)
        return;
    g_autofree char *want = vdt_words_mac(mac);
    g_autofree char *have = vdt_words_mac(sides->device.mac);
    add(reasons, "device has the MAC address %s, the state needs %s, and it cannot be set there",
        have, want);
}

static unsigned
pairs_of(uint64_t features, const struct vdt_net_config *config)
{
    return features & MULTIQUEUE ? MAX(config->max_pairs, 1u) : 1;
}

static void
check_queues(GPtrArray *reasons, const struct sides *sides)
{
    const struct vdt_snapshot *s = sides->state;
    const struct vdt_device_info *target = sides->target;
    unsigned largest = 0;

    if (s->device_id == VIRTIO_ID_NET) {
        unsigned want = pairs_of(s->guest_features, &sides->guest);
        unsigned have = pairs_of(target->features, &sides->device);
        unsigned rings = 2 * want + (target->features & BIT(CTRL_VQ) ? 1 : 0);
        if (s->net.set & (VDT_NET_PAIRS | VDT_NET_RSS))
            want = MAX(want, s->net.queue_pairs);
        if (have < want)
            add(reasons, "device offers %u queue pairs, the state needs %u", have, want);
        else if (target->rings < rings)
            add(reasons, "device has %u rings, the state needs %u", target->rings, rings);
    } else if (target->rings < s->ring_count) {
        add(reasons, "device has %u rings, the state needs %u", target->rings, s->ring_count);
    }

    /* A control queue of the device's is ours and has the size it likes. */
    for (unsigned i = 0; i < s->ring_count; i++) {
        if ((int32_t) i != s->cvq_index && s->rings[i].num > s->rings[largest].num)
            largest = i;
    }
    if (s->ring_count > 0 && s->rings[largest].num > target->ring_max)
        add(reasons, "device takes rings of up to %u entries, ring %u of the state has %u",
            target->ring_max, largest, s->rings[largest].num);
}

/* Positions that a device cannot start at are translated, and with them goes the order. */
static void
check_order(GPtrArray *reasons, const struct sides *sides)
{
    if (needed_features(sides->state) & VDT_BIT(VIRTIO_F_IN_ORDER) && !sides->target->set_base)
        add(reasons, "device starts rings at the initial position only, which IN_ORDER does not "
                     "allow for");
}

static void
check_limits(GPtrArray *reasons, const struct sides *sides)
{
    uint64_t taken = sides->state->guest_features;
    const struct vdt_net_config *want = &sides->guest, *have = &sides->device;

    if (taken & BIT(MTU) && sides->target->features & BIT(MTU) && have->mtu < want->mtu)
        add(reasons, "device has an MTU of %u, the state needs %u", have->mtu, want->mtu);
    if (!(taken & (BIT(RSS) | BIT(HASH_REPORT))) ||
        !(sides->target->features & (BIT(RSS) | BIT(HASH_REPORT))))
        return;
    if (have->rss_key_max < want->rss_key_max)
        add(reasons, "device takes RSS keys of up to %u bytes, the state needs %u",
            have->rss_key_max, want->rss_key_max);
    if (taken & BIT(RSS) && have->rss_table_max < want->rss_table_max)
        add(reasons, "device takes RSS tables of up to %u entries, the state needs %u",
            have->rss_table_max, want->rss_table_max);
    if (want->hash_types & ~have->hash_types)
        add(reasons, "device cannot hash by the types 0x%x, which the guest was told of",
            want->hash_types & ~have->hash_types);
}

/* The guest has read its disk's size and limits once (virtio 1.2, 5.2.4). */
static void
check_disk(GPtrArray *reasons, const struct vdt_snapshot *s, const uint8_t *config, uint32_t len)
{
    static const struct {
        uint8_t offset, size;
        const char *name;
        bool equal;       /* else: at least that */
        uint64_t feature; /* the field counts only with that one taken; 0: always */
    } fields[] = {
        {offsetof(struct virtio_blk_config, capacity), 8, "sectors", true, 0},
        {offsetof(struct virtio_blk_config, size_max), 4, "bytes a segment", false,
         VDT_BIT(VIRTIO_BLK_F_SIZE_MAX)},
        {offsetof(struct virtio_blk_config, seg_max), 4, "segments a request", false,
         VDT_BIT(VIRTIO_BLK_F_SEG_MAX)},
        {offsetof(struct virtio_blk_config, blk_size), 4, "bytes a block", true,
         VDT_BIT(VIRTIO_BLK_F_BLK_SIZE)},
        {offsetof(struct virtio_blk_config, num_queues), 2, "queues", false,
         VDT_BIT(VIRTIO_BLK_F_MQ)},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(fields); i++) {
        uint8_t want[8] = {0}, have[8] = {0};
        uint32_t end = fields[i].offset + fields[i].size;

        if (fields[i].feature && !(s->guest_features & fields[i].feature))
            continue;
        if (end <= s->config_len)
            memcpy(want, s->config + fields[i].offset, fields[i].size);
        if (end <= len)
            memcpy(have, config + fields[i].offset, fields[i].size);
        uint64_t need = vdt_get64(want), is = vdt_get64(have);
        if (fields[i].equal ? is != need : is < need)
            add(reasons, "device has %" G_GUINT64_FORMAT " %s, the state needs %" G_GUINT64_FORMAT,
                is, fields[i].name, need);
    }
}

GPtrArray *
vdt_snapshot_compat(const struct vdt_snapshot *snapshot, const struct vdt_device_info *target,
                    const uint8_t *config, uint32_t config_len)
{
    GPtrArray *reasons = g_ptr_array_new_with_free_func(g_free);
    struct sides sides = {.state = snapshot, .target = target};

    if (snapshot->unmigratable)
        add(reasons, "state cannot be carried: %s", snapshot->unmigratable);
    /* Of another type, nothing below means the same. */
    if (snapshot->device_id != target->device_id) {
        add(reasons, "device is of type %u, the state needs type %u", target->device_id,
            snapshot->device_id);
        return reasons;
    }
    vdt_net_config_parse(&sides.guest, snapshot->config, snapshot->config_len);
    vdt_net_config_parse(&sides.device, config, config_len);
    check_features(reasons, &sides);
    check_queues(reasons, &sides);
    check_order(reasons, &sides);
    if (snapshot->device_id == VIRTIO_ID_NET) {
        check_control(reasons, &sides);
        check_mac(reasons, &sides);
        check_limits(reasons, &sides);
    } else {
        check_disk(reasons, snapshot, config, config_len);
    }
    return reasons;
}
