/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * RX filter: what QEMU's query-rx-filter says of a NIC, as a tracker takes it. What a guest wants
 * and cannot be said so lets more through, never less. QEMU's answer is untrusted.
 */
#pragma once

#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "virtio/net_state.h"

struct vdt_rx_filter {
    uint8_t mac[6];
    bool promisc, allmulti;
    unsigned unicast_count, multicast_count;
    uint8_t unicast[VDT_MAC_TABLE_MAX][6], multicast[VDT_MAC_TABLE_MAX][6];
    uint8_t vlan[VDT_VLAN_BYTES];
    unsigned vlan_count; /* bits in it */
};

/* @node: the list that query-rx-filter returns; the NIC @device of it, or the only one for NULL.
 * VDT_ERROR_INVALID. */
bool vdt_rx_filter_parse(JsonNode *node, const char *device, struct vdt_rx_filter *ret,
                         GError **error);
