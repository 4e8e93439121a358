/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Device statistics (virtio 1.4, "Device Statistics"): the counters are real. */
#include "device/sim.h"

#include "base/wire.h"

#define TYPE_RX_BASIC 0u
#define TYPE_TX_BASIC 16u
#define TYPE_CVQ 32u
#define TYPES (VDT_BIT(TYPE_RX_BASIC) | VDT_BIT(TYPE_TX_BASIC) | VDT_BIT(TYPE_CVQ))
#define REPLY_HEADER 8u

bool
vdt_sim_ctrl_stats_query(struct vdt_sim *sim, struct vdt_sim_command *command)
{
    if (command->len != 0 || command->reply_room < 8)
        return false;
    vdt_put64(command->reply, TYPES);
    command->reply_len = 8;
    return true;
}

static bool
put(struct vdt_sim_command *command, unsigned type, uint16_t index, const uint64_t *values,
    unsigned count)
{
    uint32_t size = REPLY_HEADER + 8u * count;
    uint8_t *at = command->reply + command->reply_len;

    if (size > command->reply_room - command->reply_len)
        return false;
    at[0] = (uint8_t) type;
    at[1] = 0;
    vdt_put16(at + 2, index);
    vdt_put16(at + 4, 0);
    vdt_put16(at + 6, (uint16_t) size);
    for (unsigned i = 0; i < count; i++)
        vdt_put64(at + REPLY_HEADER + 8u * i, values[i]);
    command->reply_len += size;
    return true;
}

static bool
put_ring(struct vdt_sim *sim, struct vdt_sim_command *command, uint16_t index, uint64_t types)
{
    const struct vdt_sim_ring *ring = &sim->rings[index];
    uint64_t control[] = {sim->commands, sim->commands_ok};
    uint64_t receive[] = {ring->calls, ring->frames, ring->bytes, ring->drops + ring->overruns,
                          ring->overruns};
    uint64_t transmit[] = {ring->calls, ring->frames, ring->bytes, ring->malformed,
                           ring->malformed};

    switch (vdt_sim_ring_role(sim, index)) {
    case VDT_SIM_CTRL:
        return types == VDT_BIT(TYPE_CVQ) && put(command, TYPE_CVQ, index, control, 2);
    case VDT_SIM_RX:
        return types == VDT_BIT(TYPE_RX_BASIC) && put(command, TYPE_RX_BASIC, index, receive, 5);
    case VDT_SIM_TX:
        return types == VDT_BIT(TYPE_TX_BASIC) && put(command, TYPE_TX_BASIC, index, transmit, 5);
    }
    return false;
}

/* @data: 16 bytes a ring: le16 index, le16 reserved[3], le64 types. */
bool
vdt_sim_ctrl_stats_get(struct vdt_sim *sim, struct vdt_sim_command *command)
{
    if (command->len == 0 || command->len % 16)
        return false;
    for (uint32_t at = 0; at < command->len; at += 16) {
        uint16_t index = vdt_get16(command->data + at);

        if (index > vdt_sim_cvq(sim) ||
            !put_ring(sim, command, index, vdt_get64(command->data + at + 8)))
            return false;
    }
    return true;
}
