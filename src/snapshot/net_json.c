/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snapshot/json.h"

#include "snapshot/words.h"
#include "virtio/net_ctrl.h"

static void
add_macs(JsonBuilder *b, const char *name, const uint8_t (*macs)[6], unsigned count)
{
    json_builder_set_member_name(b, name);
    json_builder_begin_array(b);
    for (unsigned i = 0; i < count; i++) {
        g_autofree char *mac = vdt_words_mac(macs[i]);
        json_builder_add_string_value(b, mac);
    }
    json_builder_end_array(b);
}

/* The member's name, and null unless @set. True: the value is to follow. */
static bool
begin(JsonBuilder *b, const char *name, bool set)
{
    json_builder_set_member_name(b, name);
    if (!set)
        json_builder_add_null_value(b);
    return set;
}

static void
add_filters(JsonBuilder *b, const struct vdt_net_state *net)
{
    static const char *const rx[6] = {"promisc", "allmulti", "alluni",
                                      "nomulti", "nouni",    "nobcast"};

    if (begin(b, "mac", net->set & VDT_NET_MAC)) {
        g_autofree char *mac = vdt_words_mac(net->mac);
        json_builder_add_string_value(b, mac);
    }
    json_builder_set_member_name(b, "rx");
    json_builder_begin_object(b);
    for (unsigned i = 0; i < 6; i++) {
        if (begin(b, rx[i], net->set & VDT_NET_PROMISC << i))
            json_builder_add_boolean_value(b, net->rx[i]);
    }
    json_builder_end_object(b);
    if (begin(b, "mac_table", net->set & VDT_NET_MAC_TABLE)) {
        json_builder_begin_object(b);
        add_macs(b, "unicast", net->unicast, MIN(net->unicast_count, VDT_MAC_TABLE_MAX));
        add_macs(b, "multicast", net->multicast, MIN(net->multicast_count, VDT_MAC_TABLE_MAX));
        json_builder_end_object(b);
    }
    if (begin(b, "vlans", net->set & VDT_NET_VLAN)) {
        json_builder_begin_array(b);
        for (unsigned vid = 0; vid < 8 * VDT_VLAN_BYTES; vid++) {
            if (vdt_vlan_test(net->vlan, vid))
                json_builder_add_int_value(b, vid);
        }
        json_builder_end_array(b);
    }
}

static void
add_hash(JsonBuilder *b, const struct vdt_net_rss *rss)
{
    vdt_json_add_number(b, "hash_types", rss->hash_types);
    g_autofree char *key = vdt_words_hex(rss->key, rss->key_len);
    json_builder_set_member_name(b, "key");
    json_builder_add_string_value(b, key);
}

static void
add_steering(JsonBuilder *b, const struct vdt_net_state *net)
{
    if (begin(b, "queue_pairs", net->set & (VDT_NET_PAIRS | VDT_NET_RSS)))
        json_builder_add_int_value(b, net->queue_pairs);
    if (begin(b, "rss", net->set & VDT_NET_RSS)) {
        json_builder_begin_object(b);
        add_hash(b, &net->rss);
        vdt_json_add_int(b, "unclassified", net->rss.unclassified);
        vdt_json_add_int(b, "max_tx_vq", net->rss.max_tx_vq);
        json_builder_set_member_name(b, "table");
        json_builder_begin_array(b);
        for (unsigned i = 0; i < MIN(net->rss.table_len, VDT_RSS_TABLE_MAX); i++)
            json_builder_add_int_value(b, net->rss.table[i]);
        json_builder_end_array(b);
        json_builder_end_object(b);
    }
    if (begin(b, "hash", net->set & VDT_NET_HASH)) {
        json_builder_begin_object(b);
        add_hash(b, &net->hash);
        json_builder_end_object(b);
    }
}

static void
add_coal_values(JsonBuilder *b, const struct vdt_net_coal *coal)
{
    vdt_json_add_int(b, "max_packets", coal->max_packets);
    vdt_json_add_int(b, "max_usecs", coal->max_usecs);
}

static void
add_coal(JsonBuilder *b, const char *name, bool set, const struct vdt_net_coal *coal)
{
    if (!begin(b, name, set))
        return;
    json_builder_begin_object(b);
    add_coal_values(b, coal);
    json_builder_end_object(b);
}

static void
add_coalescing(JsonBuilder *b, const struct vdt_net_state *net)
{
    json_builder_set_member_name(b, "coalescing");
    json_builder_begin_object(b);
    add_coal(b, "tx", net->set & VDT_NET_COAL_TX, &net->coal_tx);
    add_coal(b, "rx", net->set & VDT_NET_COAL_RX, &net->coal_rx);
    if (begin(b, "rings", net->set & VDT_NET_COAL_VQ)) {
        json_builder_begin_array(b);
        for (unsigned i = 0; i < 64; i++) {
            if (!(net->vq_coal_set[0] >> i & 1))
                continue;
            json_builder_begin_object(b);
            vdt_json_add_int(b, "ring", i);
            add_coal_values(b, &net->vq_coal[i]);
            json_builder_end_object(b);
        }
        json_builder_end_array(b);
    }
    json_builder_end_object(b);
}

JsonNode *
vdt_net_state_to_json(const struct vdt_net_state *net)
{
    g_autoptr(JsonBuilder) b = json_builder_new();

    json_builder_begin_object(b);
    add_filters(b, net);
    add_steering(b, net);
    if (begin(b, "guest_offloads", net->set & VDT_NET_OFFLOADS))
        vdt_json_add_feature_set(b, VIRTIO_ID_NET, net->guest_offloads);
    add_coalescing(b, net);
    json_builder_set_member_name(b, "announce");
    json_builder_add_boolean_value(b, net->announce);
    json_builder_end_object(b);
    return json_builder_get_root(b);
}
