/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "control/command.h"

#include "control/rule.h"
#include "virtio/features.h"

#define HEADER 2u /* class, command */
#define CAP_OTHER 4096u

#define CLASS(cls, cmd) .class = VIRTIO_NET_CTRL_##cls, .command = VIRTIO_NET_CTRL_##cls##_##cmd
#define NAMED(cls, cmd) CLASS(cls, cmd), .name = #cls "_" #cmd
#define FEATURE(name) .features = VDT_BIT(VIRTIO_NET_F_##name)
#define CHECK_APPLY_PRINT(rule)                                                                    \
    .check = vdt_rule_check_##rule, .apply = vdt_rule_apply_##rule, .print = vdt_rule_print_##rule
#define ALL(rule) CHECK_APPLY_PRINT(rule), .emit = vdt_rule_emit_##rule
#define RX_MODE(cmd, feature)                                                                      \
    {                                                                                              \
        NAMED(RX, cmd), FEATURE(feature), .groups = VDT_NET_##cmd, ALL(rx)                         \
    }

/* In replay order: who the guest is and how it is steered before what reaches it, whole-direction
 * coalescing before single rings. */
static const struct vdt_command_rule rules[] = {
    {NAMED(MAC, ADDR_SET), FEATURE(CTRL_MAC_ADDR), .groups = VDT_NET_MAC, ALL(mac)},
    {NAMED(MAC, TABLE_SET), FEATURE(CTRL_RX), .groups = VDT_NET_MAC_TABLE, ALL(mac_table)},
    {NAMED(MQ, VQ_PAIRS_SET), FEATURE(MQ), .groups = VDT_NET_PAIRS, ALL(pairs)},
    {NAMED(MQ, RSS_CONFIG), FEATURE(RSS), .groups = VDT_NET_RSS | VDT_NET_PAIRS, ALL(rss)},
    {NAMED(MQ, HASH_CONFIG), FEATURE(HASH_REPORT), .groups = VDT_NET_HASH, ALL(hash)},
    {NAMED(GUEST_OFFLOADS, SET), FEATURE(CTRL_GUEST_OFFLOADS), .groups = VDT_NET_OFFLOADS,
     ALL(offloads)},
    RX_MODE(PROMISC, CTRL_RX),
    RX_MODE(ALLMULTI, CTRL_RX),
    RX_MODE(ALLUNI, CTRL_RX_EXTRA),
    RX_MODE(NOMULTI, CTRL_RX_EXTRA),
    RX_MODE(NOUNI, CTRL_RX_EXTRA),
    RX_MODE(NOBCAST, CTRL_RX_EXTRA),
    {NAMED(VLAN, ADD), FEATURE(CTRL_VLAN), .groups = VDT_NET_VLAN, ALL(vlan)},
    {NAMED(VLAN, DEL), FEATURE(CTRL_VLAN), CHECK_APPLY_PRINT(vlan)},
    {NAMED(NOTF_COAL, TX_SET), FEATURE(NOTF_COAL), .groups = VDT_NET_COAL_TX, ALL(coal)},
    {NAMED(NOTF_COAL, RX_SET), FEATURE(NOTF_COAL), .groups = VDT_NET_COAL_RX, ALL(coal)},
    {NAMED(NOTF_COAL, VQ_SET), FEATURE(VQ_NOTF_COAL), .groups = VDT_NET_COAL_VQ, .late = true,
     ALL(coal_vq)},
    {NAMED(NOTF_COAL, VQ_GET), FEATURE(VQ_NOTF_COAL), .reply_min = 8, .reply_max = 8,
     .check = vdt_rule_check_coal_vq_get, .print = vdt_rule_print_coal_vq_get},
    {NAMED(ANNOUNCE, ACK), FEATURE(GUEST_ANNOUNCE), .check = vdt_rule_check_none,
     .apply = vdt_rule_apply_announce_ack},
    {NAMED(STATS, QUERY), FEATURE(DEVICE_STATS), .reply_min = 8, .reply_max = 8,
     .check = vdt_rule_check_none},
    {NAMED(STATS, GET), FEATURE(DEVICE_STATS), .reply_max = VDT_COMMAND_REPLY_MAX,
     .check = vdt_rule_check_stats_get},
};

/* The most that a rule of the class can accept. */
static const uint32_t caps[] = {
    [VIRTIO_NET_CTRL_RX] = HEADER + 1,
    [VIRTIO_NET_CTRL_MAC] = VDT_COMMAND_MAX,
    [VIRTIO_NET_CTRL_VLAN] = HEADER + 2,
    [VIRTIO_NET_CTRL_ANNOUNCE] = HEADER,
    [VIRTIO_NET_CTRL_MQ] = HEADER + 11 + 2 * VDT_RSS_TABLE_MAX + VDT_RSS_KEY_MAX,
    [VIRTIO_NET_CTRL_GUEST_OFFLOADS] = HEADER + 8,
    [VIRTIO_NET_CTRL_NOTF_COAL] = HEADER + 12,
};

const struct vdt_command_rule *
vdt_command_rules(unsigned *ret_count)
{
    *ret_count = G_N_ELEMENTS(rules);
    return rules;
}

const struct vdt_command_rule *
vdt_command_find(uint8_t class, uint8_t command)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(rules); i++) {
        if (rules[i].class == class && rules[i].command == command)
            return &rules[i];
    }
    return NULL;
}

uint32_t
vdt_command_cap(uint8_t class)
{
    return class < G_N_ELEMENTS(caps) ? caps[class] : CAP_OTHER;
}

bool
vdt_command_allowed(const struct vdt_command *command, const struct vdt_net_state *state,
                    const struct vdt_control_limits *limits, uint64_t features)
{
    const struct vdt_command_rule *rule = vdt_command_find(command->class, command->command);

    return rule && features & rule->features &&
           command->len + HEADER <= vdt_command_cap(rule->class) &&
           rule->check(command, state, limits, features);
}

bool
vdt_command_emit(const struct vdt_net_state *state, uint64_t features,
                 const struct vdt_command_sink *sink)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(rules); i++) {
        const struct vdt_command_rule *rule = &rules[i];

        if (!rule->emit || !(features & rule->features) || !(state->set & rule->groups))
            continue;
        if (!rule->emit(rule, state, features, sink))
            return false;
    }
    return true;
}

uint32_t
vdt_command_groups_lacking(const struct vdt_net_state *state, uint64_t features)
{
    uint32_t covered = VDT_NET_MAC;

    for (unsigned i = 0; i < G_N_ELEMENTS(rules); i++) {
        if (features & rules[i].features)
            covered |= rules[i].groups;
    }
    return state->set & ~covered;
}

uint64_t
vdt_command_features_known(uint64_t offered)
{
    uint64_t known = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(rules); i++)
        known |= rules[i].features;
    return offered & ~(vdt_net_features_needing_ctrl_vq() & ~known);
}

char *
vdt_command_describe(const struct vdt_command *command)
{
    const struct vdt_command_rule *rule = vdt_command_find(command->class, command->command);

    if (!rule)
        return g_strdup_printf("class %u command %u (%u bytes)", command->class, command->command,
                               command->len);

    GString *text = g_string_new(rule->name);
    gsize name_len = text->len;
    if (rule->print)
        rule->print(command, text);
    if (text->len == name_len && command->len > 0)
        g_string_append_printf(text, " (%u bytes)", command->len);
    return g_string_free(text, FALSE);
}
