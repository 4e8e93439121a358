/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Command: one control queue command (virtio 1.2, 5.1.6.5; 1.3 for coalescing and statistics), and
 * the table of all that we know.
 *
 * The table is the only place to touch when virtio-net grows a command. Its order is the replay
 * order. A rule checks the bytes against what the guest negotiated and against the device's limits,
 * puts the effect into a net state, and emits it again from one. CTRL_VQ itself is not asked for:
 * some frontends keep it to themselves and still acknowledge its dependents.
 *
 * Applied states are canonical, so that replay and read-back agree: the last of VQ_PAIRS_SET,
 * RSS_CONFIG and HASH_CONFIG is in force and takes the others' effect away (only the number of
 * pairs survives HASH_CONFIG), TX_SET and RX_SET forget the overrides of single rings of their
 * direction, and a VLAN filter without a VLAN is not set, since that is a fresh device's.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "virtio/net_state.h"

/* The longest command: class, command, MAC_TABLE_SET with both lists full. */
#define VDT_COMMAND_MAX (2u + 8u + 6u * 2u * VDT_MAC_TABLE_MAX)
/* The longest reply behind the ack byte (VQ_GET: 8; statistics: bounded). */
#define VDT_COMMAND_REPLY_MAX 4096u

/* What the device can hold, from its config space; 0 means none. */
struct vdt_control_limits {
    uint16_t max_pairs;
    uint16_t rss_table_max;
    uint8_t rss_key_max;
    uint32_t hash_types;
};

struct vdt_command {
    uint8_t class;
    uint8_t command;
    const uint8_t *data; /* borrowed, private memory: the bytes after class and command */
    uint32_t len;
};

/* Whom emit() hands its commands to; returns false to stop (out of room). */
struct vdt_command_sink {
    bool (*put)(void *ctx, const struct vdt_command *command);
    void *ctx;
};

struct vdt_command_rule {
    uint8_t class;
    uint8_t command;
    const char *name;  /* "MAC_ADDR_SET", as in linux/virtio_net.h without VIRTIO_NET_CTRL_ */
    uint64_t features; /* one of these bits must be negotiated */
    uint32_t groups;   /* enum vdt_net_group: what emit() covers */
    bool late;         /* devices take it only for enabled data rings (1.3, 5.1.6.5.9.2) */
    /* Bytes of result behind the ack byte; the guest must give room for @reply_min, and an OK with
     * fewer counts as ERR. */
    uint32_t reply_min, reply_max;
    /* Length, ranges, relations; state may matter (VQ_SET needs an enabled ring). */
    bool (*check)(const struct vdt_command *command, const struct vdt_net_state *state,
                  const struct vdt_control_limits *limits, uint64_t features);
    /* After the device's OK; NULL for commands that leave no state (statistics, VQ_GET). */
    void (*apply)(const struct vdt_command *command, struct vdt_net_state *state);
    /* The commands that bring a fresh device to @state, this rule's part; NULL if none. Called when
     * one of @features is negotiated and one of @groups is set. */
    bool (*emit)(const struct vdt_command_rule *rule, const struct vdt_net_state *state,
                 uint64_t features, const struct vdt_command_sink *sink);
    /* The arguments, for people: " 100". Called with a data of any length. May be NULL. */
    void (*print)(const struct vdt_command *command, GString *text);
};

const struct vdt_command_rule *vdt_command_rules(unsigned *ret_count);
const struct vdt_command_rule *vdt_command_find(uint8_t class, uint8_t command); /* NULL: unknown */

/* The most bytes of a command of @class that we copy out of guest memory, class and command
 * included; a longer one is answered with VIRTIO_NET_ERR. */
uint32_t vdt_command_cap(uint8_t class);

/* Whether a guest with @features may send it now: known rule, feature, length, ranges. */
bool vdt_command_allowed(const struct vdt_command *command, const struct vdt_net_state *state,
                         const struct vdt_control_limits *limits, uint64_t features);

/*
 * Every command that brings a fresh device to @state, in replay order. A group that is not set is
 * left at the device's default; a caller who knows the device's MAC sets it in @state, so that it
 * is always explicit (a "fresh" device may still hold another guest's). False when the sink
 * stopped.
 */
bool vdt_command_emit(const struct vdt_net_state *state, uint64_t features,
                      const struct vdt_command_sink *sink);

/* The groups set in @state that no command can bring about with @features. A MAC is none of them:
 * without CTRL_MAC_ADDR it is the config space's. */
uint32_t vdt_command_groups_lacking(const struct vdt_net_state *state, uint64_t features);

/* @offered without the features whose control queue commands the table does not know: what we
 * cannot follow is not offered to a guest. */
uint64_t vdt_command_features_known(uint64_t offered);

/* "VLAN_ADD 100", "MAC_TABLE_SET 3 unicast, 2 multicast", "class 9 command 1 (12 bytes)" */
char *vdt_command_describe(const struct vdt_command *command);
