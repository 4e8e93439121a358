/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The "control" object read back (net_json.c writes it). A tracker of another version may have sent
 * it: nothing is taken for granted, and what is not understood is unset. */
#include <stdio.h>
#include <string.h>

#include "snapshot/json.h"
#include "virtio/net_ctrl.h"

static JsonNode *
member(JsonNode *node, const char *name)
{
    return node && JSON_NODE_HOLDS_OBJECT(node)
               ? json_object_get_member(json_node_get_object(node), name)
               : NULL;
}

static uint64_t
number(JsonNode *node, const char *name)
{
    JsonNode *value = member(node, name);

    return value && JSON_NODE_HOLDS_VALUE(value) ? (uint64_t) json_node_get_int(value) : 0;
}

static const char *
text(JsonNode *node)
{
    return node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING
               ? json_node_get_string(node)
               : "";
}

/* Elements of the array @name, up to @most. */
static unsigned
length(JsonNode *node, const char *name, JsonArray **ret_array, unsigned most)
{
    JsonNode *array = member(node, name);

    *ret_array = array && JSON_NODE_HOLDS_ARRAY(array) ? json_node_get_array(array) : NULL;
    return *ret_array ? MIN(json_array_get_length(*ret_array), most) : 0;
}

/* "0x1f" of a text or of a feature set. */
static uint64_t
hexadecimal(JsonNode *node)
{
    return g_ascii_strtoull(text(node && JSON_NODE_HOLDS_OBJECT(node) ? member(node, "hex") : node),
                            NULL, 16);
}

static bool
parse_mac(JsonNode *node, uint8_t mac[6])
{
    unsigned b[6];

    if (sscanf(text(node), "%2x:%2x:%2x:%2x:%2x:%2x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) !=
        6)
        return false;
    for (unsigned i = 0; i < 6; i++)
        mac[i] = (uint8_t) b[i];
    return true;
}

static uint16_t
parse_macs(JsonNode *node, const char *name, uint8_t (*macs)[6])
{
    JsonArray *array;
    unsigned n = length(node, name, &array, VDT_MAC_TABLE_MAX), good = 0;

    for (unsigned i = 0; i < n; i++)
        good += parse_mac(json_array_get_element(array, i), macs[good]);
    return (uint16_t) good;
}

static void
parse_filters(JsonNode *node, struct vdt_net_state *net)
{
    static const char *const rx[6] = {"promisc", "allmulti", "alluni",
                                      "nomulti", "nouni",    "nobcast"};
    JsonNode *tables = member(node, "mac_table"), *modes = member(node, "rx");
    JsonArray *vlans;
    unsigned n = length(node, "vlans", &vlans, 8 * VDT_VLAN_BYTES);

    if (parse_mac(member(node, "mac"), net->mac))
        net->set |= VDT_NET_MAC;
    for (unsigned i = 0; i < 6; i++) {
        JsonNode *mode = member(modes, rx[i]);
        if (!mode || !JSON_NODE_HOLDS_VALUE(mode))
            continue;
        net->set |= VDT_NET_PROMISC << i;
        net->rx[i] = json_node_get_boolean(mode);
    }
    if (tables && JSON_NODE_HOLDS_OBJECT(tables)) {
        net->set |= VDT_NET_MAC_TABLE;
        net->unicast_count = parse_macs(tables, "unicast", net->unicast);
        net->multicast_count = parse_macs(tables, "multicast", net->multicast);
    }
    if (vlans)
        net->set |= VDT_NET_VLAN;
    for (unsigned i = 0; i < n; i++) {
        JsonNode *vid = json_array_get_element(vlans, i);
        gint64 value = JSON_NODE_HOLDS_VALUE(vid) ? json_node_get_int(vid) : -1;
        if (value >= 0 && value < 8 * (gint64) VDT_VLAN_BYTES)
            vdt_vlan_set(net->vlan, (unsigned) value, true);
    }
}

static void
parse_hash(JsonNode *node, struct vdt_net_rss *rss)
{
    const char *key = text(member(node, "key"));

    rss->hash_types = (uint32_t) hexadecimal(member(node, "hash_types"));
    for (; g_ascii_isxdigit(key[0]) && g_ascii_isxdigit(key[1]) && rss->key_len < VDT_RSS_KEY_MAX;
         key += 2)
        rss->key[rss->key_len++] =
            (uint8_t) (g_ascii_xdigit_value(key[0]) << 4 | g_ascii_xdigit_value(key[1]));
}

static void
parse_steering(JsonNode *node, struct vdt_net_state *net)
{
    JsonNode *pairs = member(node, "queue_pairs"), *rss = member(node, "rss");
    JsonNode *hash = member(node, "hash");
    JsonArray *table;

    /* By which command, if RSS is not in force; with it, by that. */
    if (pairs && JSON_NODE_HOLDS_VALUE(pairs)) {
        net->set |= rss && JSON_NODE_HOLDS_OBJECT(rss) ? 0 : VDT_NET_PAIRS;
        net->queue_pairs = (uint16_t) json_node_get_int(pairs);
    }
    if (rss && JSON_NODE_HOLDS_OBJECT(rss)) {
        net->set |= VDT_NET_RSS;
        parse_hash(rss, &net->rss);
        net->rss.unclassified = (uint16_t) number(rss, "unclassified");
        net->rss.max_tx_vq = (uint16_t) number(rss, "max_tx_vq");
        net->rss.table_len = (uint16_t) length(rss, "table", &table, VDT_RSS_TABLE_MAX);
        for (unsigned i = 0; i < net->rss.table_len; i++) {
            JsonNode *queue = json_array_get_element(table, i);
            net->rss.table[i] =
                (uint16_t) (JSON_NODE_HOLDS_VALUE(queue) ? json_node_get_int(queue) : 0);
        }
    }
    if (hash && JSON_NODE_HOLDS_OBJECT(hash)) {
        net->set |= VDT_NET_HASH;
        parse_hash(hash, &net->hash);
    }
}

static struct vdt_net_coal
parse_coal(JsonNode *node)
{
    return (struct vdt_net_coal){(uint32_t) number(node, "max_packets"),
                                 (uint32_t) number(node, "max_usecs")};
}

static void
parse_coalescing(JsonNode *node, struct vdt_net_state *net)
{
    JsonNode *tx = member(node, "tx"), *rx = member(node, "rx");
    JsonArray *rings;
    unsigned n = length(node, "rings", &rings, 64);

    if (tx && JSON_NODE_HOLDS_OBJECT(tx)) {
        net->set |= VDT_NET_COAL_TX;
        net->coal_tx = parse_coal(tx);
    }
    if (rx && JSON_NODE_HOLDS_OBJECT(rx)) {
        net->set |= VDT_NET_COAL_RX;
        net->coal_rx = parse_coal(rx);
    }
    for (unsigned i = 0; i < n; i++) {
        JsonNode *entry = json_array_get_element(rings, i);
        uint64_t ring = number(entry, "ring");
        if (ring >= 64)
            continue;
        net->set |= VDT_NET_COAL_VQ;
        net->vq_coal_set[0] |= 1ull << ring;
        net->vq_coal[ring] = parse_coal(entry);
    }
}

void
vdt_net_state_from_json(JsonNode *node, struct vdt_net_state *ret_state)
{
    JsonNode *offloads = member(node, "guest_offloads"), *announce = member(node, "announce");

    vdt_net_state_init(ret_state);
    parse_filters(node, ret_state);
    parse_steering(node, ret_state);
    if (offloads && JSON_NODE_HOLDS_OBJECT(offloads)) {
        ret_state->set |= VDT_NET_OFFLOADS;
        ret_state->guest_offloads = hexadecimal(offloads);
    }
    parse_coalescing(member(node, "coalescing"), ret_state);
    ret_state->announce =
        announce && JSON_NODE_HOLDS_VALUE(announce) && json_node_get_boolean(announce);
}
