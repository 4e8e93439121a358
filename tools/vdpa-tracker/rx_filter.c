/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/rx_filter.h"

#include <string.h>

#include <vdpa-tracker/error.h>

#include "tools/vdpa-tracker/status_look.h"

static bool
parse_mac(const char *text, uint8_t mac[6])
{
    if (!text || strlen(text) != 17)
        return false;
    for (unsigned i = 0; i < 6; i++) {
        int high = g_ascii_xdigit_value(text[3 * i]), low = g_ascii_xdigit_value(text[3 * i + 1]);

        if (high < 0 || low < 0 || (i < 5 && text[3 * i + 2] != ':'))
            return false;
        mac[i] = (uint8_t) (high << 4 | low);
    }
    return true;
}

/* False: not all of them are there, or more than fit. */
static bool
parse_table(JsonNode *nic, const char *name, uint8_t (*macs)[6], unsigned *ret_count)
{
    JsonArray *array = vdt_look_array(nic, name);
    guint len = array ? json_array_get_length(array) : 0;

    *ret_count = 0;
    if (!array || len > VDT_MAC_TABLE_MAX)
        return false;
    for (guint i = 0; i < len; i++) {
        JsonNode *node = json_array_get_element(array, i);
        bool text = JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING;

        if (!parse_mac(text ? json_node_get_string(node) : NULL, macs[i]))
            return false;
    }
    *ret_count = len;
    return true;
}

/* All of them where the guest has no say in it, or what it said is not understood. */
static void
parse_vlans(JsonNode *nic, struct vdt_rx_filter *ret)
{
    const char *mode = vdt_look_text(nic, "vlan");
    JsonArray *array = vdt_look_array(nic, "vlan-table");
    guint len = array ? json_array_get_length(array) : 0;
    bool known = array && (g_strcmp0(mode, "normal") == 0 || g_strcmp0(mode, "none") == 0);

    for (guint i = 0; known && i < len; i++) {
        JsonNode *node = json_array_get_element(array, i);
        gint64 vid = -1;

        if (JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_INT64)
            vid = json_node_get_int(node);
        known = vid >= 0 && vid < 8 * (gint64) VDT_VLAN_BYTES;
        if (known)
            vdt_vlan_set(ret->vlan, (unsigned) vid, true);
    }
    if (!known)
        memset(ret->vlan, 0xff, sizeof(ret->vlan));
    for (unsigned vid = 0; vid < 8 * VDT_VLAN_BYTES; vid++)
        ret->vlan_count += vdt_vlan_test(ret->vlan, vid);
}

static JsonNode *
find_nic(JsonNode *node, const char *device, GError **error)
{
    JsonArray *array = node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
    guint len = array ? json_array_get_length(array) : 0;

    for (guint i = 0; i < len; i++) {
        JsonNode *nic = json_array_get_element(array, i);
        if (device ? g_strcmp0(vdt_look_text(nic, "name"), device) == 0 : len == 1)
            return nic;
    }
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "QEMU has %u NICs with filters, and %s%s", len,
                device ? "none is called " : "which one it is has to be said",
                device ? device : "");
    return NULL;
}

bool
vdt_rx_filter_parse(JsonNode *node, const char *device, struct vdt_rx_filter *ret, GError **error)
{
    JsonNode *nic = find_nic(node, device, error);

    if (!nic)
        return false;
    memset(ret, 0, sizeof(*ret));
    if (!parse_mac(vdt_look_text(nic, "main-mac"), ret->mac)) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_INVALID,
                            "QEMU's answer has no main-mac, an address");
        return false;
    }
    const char *unicast = vdt_look_text(nic, "unicast"),
               *multicast = vdt_look_text(nic, "multicast");
    ret->promisc = vdt_look_bool(nic, "promiscuous") || vdt_look_bool(nic, "unicast-overflow") ||
                   g_strcmp0(unicast, "all") == 0 ||
                   !parse_table(nic, "unicast-table", ret->unicast, &ret->unicast_count);
    ret->allmulti = vdt_look_bool(nic, "multicast-overflow") || g_strcmp0(multicast, "all") == 0 ||
                    !parse_table(nic, "multicast-table", ret->multicast, &ret->multicast_count);
    parse_vlans(nic, ret);
    return true;
}
