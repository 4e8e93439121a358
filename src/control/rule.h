/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules: the functions behind the command table, by topic. Only command.c includes this beside the
 * files that define them. Their contracts are those of struct vdt_command_rule: check() sees bytes
 * of any length, apply() only what check() accepted, emit() only valid states.
 */
#pragma once

#include "base/wire.h"
#include "control/command.h"
#include "virtio/net_ctrl.h"

#define VDT_RULE_CHECK(name)                                                                       \
    bool vdt_rule_check_##name(const struct vdt_command *command,                                  \
                               const struct vdt_net_state *state,                                  \
                               const struct vdt_control_limits *limits, uint64_t features)
#define VDT_RULE_APPLY(name)                                                                       \
    void vdt_rule_apply_##name(const struct vdt_command *command, struct vdt_net_state *state)
#define VDT_RULE_EMIT(name)                                                                        \
    bool vdt_rule_emit_##name(const struct vdt_command_rule *rule,                                 \
                              const struct vdt_net_state *state, uint64_t features,                \
                              const struct vdt_command_sink *sink)
#define VDT_RULE_PRINT(name)                                                                       \
    void vdt_rule_print_##name(const struct vdt_command *command, GString *text)

#define VDT_RULE(name)                                                                             \
    VDT_RULE_CHECK(name);                                                                          \
    VDT_RULE_APPLY(name);                                                                          \
    VDT_RULE_EMIT(name);                                                                           \
    VDT_RULE_PRINT(name)

/* rule_filter.c */
VDT_RULE(rx);
VDT_RULE(mac);
VDT_RULE(mac_table);
VDT_RULE(vlan);

/* rule_steering.c */
VDT_RULE(pairs);
VDT_RULE(rss);
VDT_RULE(hash);

/* rule_tuning.c */
VDT_RULE(offloads);
VDT_RULE(coal);
VDT_RULE(coal_vq);
VDT_RULE_CHECK(coal_vq_get);
VDT_RULE_PRINT(coal_vq_get);
VDT_RULE_CHECK(none); /* no data at all */
VDT_RULE_APPLY(announce_ack);
VDT_RULE_CHECK(stats_get);

/* The queue pairs that a guest with @features can use. */
static inline unsigned
vdt_rule_pairs(const struct vdt_control_limits *limits, uint64_t features)
{
    if (!(features & (VDT_BIT(VIRTIO_NET_F_MQ) | VDT_BIT(VIRTIO_NET_F_RSS))))
        return 1;
    return CLAMP(limits->max_pairs, 1u, VDT_PAIRS_MAX);
}

static inline bool
vdt_rule_put(const struct vdt_command_rule *rule, const struct vdt_command_sink *sink,
             const uint8_t *data, uint32_t len)
{
    const struct vdt_command command = {rule->class, rule->command, data, len};

    return sink->put(sink->ctx, &command);
}
