/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules of receive steering (virtio 1.2, 5.1.6.5.5 to 5.1.6.5.7). RSS_CONFIG and HASH_CONFIG share
 * one layout:
 *
 *   le32 hash_types; le16 mask, unclassified, table[mask + 1], max_tx_vq; u8 key_len, key[key_len]
 *
 * where HASH_CONFIG has four reserved le16 in place of mask to max_tx_vq.
 */
#include "control/rule.h"

#define RSS_FIXED 11u  /* all but table and key */
#define HASH_FIXED 13u /* all but the key */

VDT_RULE_CHECK(pairs)
{
    if (command->len != 2)
        return false;

    uint16_t pairs = vdt_get16(command->data);
    return pairs >= 1 && pairs <= vdt_rule_pairs(limits, features);
}

VDT_RULE_APPLY(pairs)
{
    state->queue_pairs = vdt_get16(command->data);
    state->set &= ~(VDT_NET_RSS | VDT_NET_HASH);
    state->set |= VDT_NET_PAIRS;
}

VDT_RULE_EMIT(pairs)
{
    uint8_t data[2];

    vdt_put16(data, state->queue_pairs);
    return vdt_rule_put(rule, sink, data, sizeof(data));
}

VDT_RULE_PRINT(pairs)
{
    if (command->len == 2)
        g_string_append_printf(text, " %u", vdt_get16(command->data));
}

/* The fields by the lengths that the command itself names; false when they do not fill it exactly
 * or exceed what a state can hold. */
static bool
parse_rss(const struct vdt_command *command, struct vdt_net_rss *rss)
{
    const uint8_t *p = command->data;
    uint32_t entries, fixed;

    if (command->len < RSS_FIXED)
        return false;
    rss->hash_types = vdt_get32(p);
    entries = vdt_get16(p + 4) + 1u;
    if (entries > VDT_RSS_TABLE_MAX || (entries & (entries - 1)) != 0)
        return false;
    fixed = RSS_FIXED + 2 * entries;
    if (command->len < fixed)
        return false;
    rss->table_len = (uint16_t) entries;
    rss->unclassified = vdt_get16(p + 6);
    for (uint32_t i = 0; i < entries; i++)
        rss->table[i] = vdt_get16(p + 8 + 2 * i);
    rss->max_tx_vq = vdt_get16(p + fixed - 3);
    rss->key_len = p[fixed - 1];
    if (command->len != fixed + rss->key_len)
        return false;
    memcpy(rss->key, p + fixed, rss->key_len);
    return true;
}

static bool
hash_allowed(const struct vdt_net_rss *rss, const struct vdt_control_limits *limits)
{
    return rss->key_len <= limits->rss_key_max && !(rss->hash_types & ~limits->hash_types);
}

/* Bit 15 of a queue reference is reserved; no number of pairs reaches that far. */
VDT_RULE_CHECK(rss)
{
    const unsigned pairs = vdt_rule_pairs(limits, features);
    struct vdt_net_rss rss;

    if (!parse_rss(command, &rss) || !hash_allowed(&rss, limits))
        return false;
    if (rss.table_len > limits->rss_table_max || rss.unclassified >= pairs)
        return false;
    for (unsigned i = 0; i < rss.table_len; i++) {
        if (rss.table[i] >= pairs)
            return false;
    }
    return rss.max_tx_vq >= 1 && rss.max_tx_vq <= pairs;
}

VDT_RULE_APPLY(rss)
{
    memset(&state->rss, 0, sizeof(state->rss));
    parse_rss(command, &state->rss);
    state->queue_pairs = state->rss.max_tx_vq;
    state->set &= ~(VDT_NET_PAIRS | VDT_NET_HASH);
    state->set |= VDT_NET_RSS;
}

/*
 * PAIRS without RSS comes here when the guest has RSS but not MQ, set its pairs by RSS_CONFIG and
 * went over to HASH_CONFIG: no VQ_PAIRS_SET can bring the pairs back, the least RSS_CONFIG does.
 */
VDT_RULE_EMIT(rss)
{
    static const struct vdt_net_rss none = {.table_len = 1};
    uint8_t data[RSS_FIXED + 2 * VDT_RSS_TABLE_MAX + VDT_RSS_KEY_MAX];
    const struct vdt_net_rss *rss = &state->rss;
    uint32_t len = 8;

    if (!(state->set & VDT_NET_RSS)) {
        if (features & VDT_BIT(VIRTIO_NET_F_MQ))
            return true;
        rss = &none;
    }
    vdt_put32(data, rss->hash_types);
    vdt_put16(data + 4, (uint16_t) (rss->table_len - 1));
    vdt_put16(data + 6, rss->unclassified);
    for (unsigned i = 0; i < rss->table_len; i++, len += 2)
        vdt_put16(data + len, rss->table[i]);
    vdt_put16(data + len, rss == &none ? state->queue_pairs : rss->max_tx_vq);
    data[len + 2] = rss->key_len;
    memcpy(data + len + 3, rss->key, rss->key_len);
    return vdt_rule_put(rule, sink, data, len + 3 + rss->key_len);
}

VDT_RULE_PRINT(rss)
{
    struct vdt_net_rss rss;

    if (parse_rss(command, &rss))
        g_string_append_printf(text, " %u transmit queues, table of %u, hash types 0x%x",
                               rss.max_tx_vq, rss.table_len, rss.hash_types);
}

static bool
parse_hash(const struct vdt_command *command, struct vdt_net_rss *hash)
{
    const uint8_t *p = command->data;

    if (command->len < HASH_FIXED || vdt_get64(p + 4) != 0)
        return false;
    hash->hash_types = vdt_get32(p);
    hash->key_len = p[12];
    if (command->len != HASH_FIXED + hash->key_len)
        return false;
    memcpy(hash->key, p + HASH_FIXED, hash->key_len);
    return true;
}

VDT_RULE_CHECK(hash)
{
    struct vdt_net_rss hash;

    return parse_hash(command, &hash) && hash_allowed(&hash, limits);
}

/* The pairs that an RSS_CONFIG has set stay; from here on they stand for themselves. */
VDT_RULE_APPLY(hash)
{
    memset(&state->hash, 0, sizeof(state->hash));
    parse_hash(command, &state->hash);
    if (state->set & VDT_NET_RSS)
        state->set |= VDT_NET_PAIRS;
    state->set &= ~VDT_NET_RSS;
    state->set |= VDT_NET_HASH;
}

VDT_RULE_EMIT(hash)
{
    uint8_t data[HASH_FIXED + VDT_RSS_KEY_MAX];

    vdt_put32(data, state->hash.hash_types);
    vdt_put64(data + 4, 0);
    data[12] = state->hash.key_len;
    memcpy(data + HASH_FIXED, state->hash.key, state->hash.key_len);
    return vdt_rule_put(rule, sink, data, HASH_FIXED + state->hash.key_len);
}

VDT_RULE_PRINT(hash)
{
    struct vdt_net_rss hash;

    if (parse_hash(command, &hash))
        g_string_append_printf(text, " hash types 0x%x", hash.hash_types);
}
