/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rules of offloads, coalescing, announcement and statistics (virtio 1.3, 5.1.6.5.4, 5.1.6.5.8 on).
 */
#include "control/rule.h"

#define COAL_LEN 8u     /* le32 max_packets, max_usecs */
#define COAL_VQ_LEN 12u /* le16 ring, reserved; then the same */
#define STATS_REQUEST 16u

/* The bits of GUEST_OFFLOADS_SET that stand for a feature of the same number. Bits 46 and 47 stand
 * for features 65 and 66, which no vhost device can negotiate. */
#define OFFLOADS                                                                                   \
    (VDT_BIT(VIRTIO_NET_F_GUEST_CSUM) | VDT_BIT(VIRTIO_NET_F_GUEST_TSO4) |                         \
     VDT_BIT(VIRTIO_NET_F_GUEST_TSO6) | VDT_BIT(VIRTIO_NET_F_GUEST_ECN) |                          \
     VDT_BIT(VIRTIO_NET_F_GUEST_UFO) | VDT_BIT(VIRTIO_NET_F_GUEST_USO4) |                          \
     VDT_BIT(VIRTIO_NET_F_GUEST_USO6) | VDT_BIT(VIRTIO_NET_F_RSC_EXT))

/* Receive rings have even numbers, transmit rings odd ones. */
#define RX_RINGS 0x5555555555555555ull
#define TX_RINGS (~RX_RINGS)

G_STATIC_ASSERT(2 * VDT_PAIRS_MAX == 64); /* vq_coal_set[0] holds every data ring */

VDT_RULE_CHECK(none)
{
    return command->len == 0;
}

VDT_RULE_APPLY(announce_ack)
{
    state->announce = false;
}

VDT_RULE_CHECK(offloads)
{
    return command->len == 8 && !(vdt_get64(command->data) & ~(OFFLOADS & features));
}

VDT_RULE_APPLY(offloads)
{
    state->guest_offloads = vdt_get64(command->data);
    state->set |= VDT_NET_OFFLOADS;
}

VDT_RULE_EMIT(offloads)
{
    uint8_t data[8];

    vdt_put64(data, state->guest_offloads);
    return vdt_rule_put(rule, sink, data, sizeof(data));
}

VDT_RULE_PRINT(offloads)
{
    if (command->len == 8)
        g_string_append_printf(text, " 0x%" G_GINT64_MODIFIER "x", vdt_get64(command->data));
}

static struct vdt_net_coal
get_coal(const uint8_t *p)
{
    return (struct vdt_net_coal){.max_packets = vdt_get32(p), .max_usecs = vdt_get32(p + 4)};
}

static void
put_coal(uint8_t *p, const struct vdt_net_coal *coal)
{
    vdt_put32(p, coal->max_packets);
    vdt_put32(p + 4, coal->max_usecs);
}

VDT_RULE_CHECK(coal)
{
    return command->len == COAL_LEN;
}

/* Sets every ring of its direction, whatever was set for single ones before. */
VDT_RULE_APPLY(coal)
{
    bool tx = command->command == VIRTIO_NET_CTRL_NOTF_COAL_TX_SET;

    *(tx ? &state->coal_tx : &state->coal_rx) = get_coal(command->data);
    state->set |= tx ? VDT_NET_COAL_TX : VDT_NET_COAL_RX;
    state->vq_coal_set[0] &= tx ? ~TX_RINGS : ~RX_RINGS;
    if (state->vq_coal_set[0] == 0)
        state->set &= ~VDT_NET_COAL_VQ;
}

VDT_RULE_EMIT(coal)
{
    uint8_t data[COAL_LEN];

    put_coal(data, rule->groups & VDT_NET_COAL_TX ? &state->coal_tx : &state->coal_rx);
    return vdt_rule_put(rule, sink, data, sizeof(data));
}

static void
print_coal(const uint8_t *p, GString *text)
{
    g_string_append_printf(text, " %u packets or %u us", vdt_get32(p), vdt_get32(p + 4));
}

VDT_RULE_PRINT(coal)
{
    if (command->len == COAL_LEN)
        print_coal(command->data, text);
}

static bool
is_data_ring(const uint8_t *p, const struct vdt_control_limits *limits, uint64_t features)
{
    return vdt_get16(p) < 2 * vdt_rule_pairs(limits, features);
}

/* Every data ring that the guest can have counts as enabled: drivers enable all of them at start,
 * more than the pairs that carry traffic. The reserved field is ignored by devices. */
VDT_RULE_CHECK(coal_vq)
{
    return command->len == COAL_VQ_LEN && is_data_ring(command->data, limits, features);
}

VDT_RULE_APPLY(coal_vq)
{
    uint16_t ring = vdt_get16(command->data);

    state->vq_coal[ring] = get_coal(command->data + 4);
    state->vq_coal_set[0] |= 1ull << ring;
    state->set |= VDT_NET_COAL_VQ;
}

VDT_RULE_EMIT(coal_vq)
{
    for (unsigned ring = 0; ring < 2 * VDT_PAIRS_MAX; ring++) {
        uint8_t data[COAL_VQ_LEN];

        if (!(state->vq_coal_set[0] >> ring & 1))
            continue;
        vdt_put16(data, (uint16_t) ring);
        vdt_put16(data + 2, 0);
        put_coal(data + 4, &state->vq_coal[ring]);
        if (!vdt_rule_put(rule, sink, data, sizeof(data)))
            return false;
    }
    return true;
}

VDT_RULE_PRINT(coal_vq)
{
    if (command->len != COAL_VQ_LEN)
        return;
    g_string_append_printf(text, " ring %u:", vdt_get16(command->data));
    print_coal(command->data + 4, text);
}

VDT_RULE_CHECK(coal_vq_get)
{
    return command->len == 4 && is_data_ring(command->data, limits, features);
}

VDT_RULE_PRINT(coal_vq_get)
{
    if (command->len == 4)
        g_string_append_printf(text, " ring %u", vdt_get16(command->data));
}

VDT_RULE_CHECK(stats_get)
{
    return command->len > 0 && command->len % STATS_REQUEST == 0;
}
