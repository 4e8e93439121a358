/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rules of the receive filter: RX modes, MAC addresses, VLANs (virtio 1.2, 5.1.6.5.1 to 5.1.6.5.3).
 */
#include "control/rule.h"

#define MAC_LEN 6u
#define VLANS 4096u

static void
print_mac(const uint8_t *mac, GString *text)
{
    g_string_append_printf(text, " %02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
                           mac[4], mac[5]);
}

VDT_RULE_CHECK(rx)
{
    return command->len == 1 && command->data[0] <= 1;
}

VDT_RULE_APPLY(rx)
{
    state->rx[command->command] = command->data[0];
    state->set |= VDT_NET_PROMISC << command->command;
}

VDT_RULE_EMIT(rx)
{
    const uint8_t on = state->rx[rule->command];

    return vdt_rule_put(rule, sink, &on, 1);
}

VDT_RULE_PRINT(rx)
{
    if (command->len == 1)
        g_string_append_printf(text, " %u", command->data[0]);
}

/* A group address cannot be a station's. */
VDT_RULE_CHECK(mac)
{
    return command->len == MAC_LEN && !(command->data[0] & 1);
}

VDT_RULE_APPLY(mac)
{
    memcpy(state->mac, command->data, MAC_LEN);
    state->set |= VDT_NET_MAC;
}

VDT_RULE_EMIT(mac)
{
    return vdt_rule_put(rule, sink, state->mac, MAC_LEN);
}

VDT_RULE_PRINT(mac)
{
    if (command->len == MAC_LEN)
        print_mac(command->data, text);
}

/* Two lists, each a 32-bit count and its addresses. In 64 bits nothing here can wrap. */
static bool
parse_table(const struct vdt_command *command, uint32_t *ret_unicast, uint32_t *ret_multicast)
{
    uint64_t second, end;

    if (command->len < 4)
        return false;
    *ret_unicast = vdt_get32(command->data);
    second = 4 + (uint64_t) MAC_LEN * *ret_unicast;
    if (command->len < second + 4)
        return false;
    *ret_multicast = vdt_get32(command->data + second);
    end = second + 4 + (uint64_t) MAC_LEN * *ret_multicast;
    return command->len == end;
}

VDT_RULE_CHECK(mac_table)
{
    uint32_t unicast, multicast;

    return parse_table(command, &unicast, &multicast) && unicast <= VDT_MAC_TABLE_MAX &&
           multicast <= VDT_MAC_TABLE_MAX;
}

VDT_RULE_APPLY(mac_table)
{
    uint32_t unicast = 0, multicast = 0;

    parse_table(command, &unicast, &multicast);
    state->unicast_count = (uint16_t) unicast;
    state->multicast_count = (uint16_t) multicast;
    memcpy(state->unicast, command->data + 4, MAC_LEN * unicast);
    memcpy(state->multicast, command->data + 8 + MAC_LEN * unicast, MAC_LEN * multicast);
    state->set |= VDT_NET_MAC_TABLE;
}

VDT_RULE_EMIT(mac_table)
{
    const uint32_t unicast = state->unicast_count, multicast = state->multicast_count;
    uint8_t data[8 + MAC_LEN * 2 * VDT_MAC_TABLE_MAX];

    vdt_put32(data, unicast);
    memcpy(data + 4, state->unicast, MAC_LEN * unicast);
    vdt_put32(data + 4 + MAC_LEN * unicast, multicast);
    memcpy(data + 8 + MAC_LEN * unicast, state->multicast, MAC_LEN * multicast);
    return vdt_rule_put(rule, sink, data, 8 + MAC_LEN * (unicast + multicast));
}

VDT_RULE_PRINT(mac_table)
{
    uint32_t unicast, multicast;

    if (parse_table(command, &unicast, &multicast))
        g_string_append_printf(text, " %u unicast, %u multicast", unicast, multicast);
}

VDT_RULE_CHECK(vlan)
{
    return command->len == 2 && vdt_get16(command->data) < VLANS;
}

VDT_RULE_APPLY(vlan)
{
    vdt_net_state_vlan(state, vdt_get16(command->data),
                       command->command == VIRTIO_NET_CTRL_VLAN_ADD);
}

VDT_RULE_EMIT(vlan)
{
    uint8_t data[2];

    for (unsigned first = 0; first < VLANS; first += 64) {
        for (uint64_t left = vdt_get64(state->vlan + first / 8); left; left &= left - 1) {
            vdt_put16(data, (uint16_t) (first + (unsigned) __builtin_ctzll(left)));
            if (!vdt_rule_put(rule, sink, data, sizeof(data)))
                return false;
        }
    }
    return true;
}

VDT_RULE_PRINT(vlan)
{
    if (command->len == 2)
        g_string_append_printf(text, " %u", vdt_get16(command->data));
}
