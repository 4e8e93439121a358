/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The device's end of the control queue (virtio 1.2, 5.1.6.5; 1.3 for coalescing and statistics).
 * Shares nothing with src/control on purpose: a mistake there must not be repeated here.
 */
#include "device/sim.h"

#include <endian.h>
#include <string.h>

#include "base/wire.h"

#define BATCH 64u
#define COMMAND_MAX 65536u
#define REPLY_MAX 65536u

static void
mark(struct vdt_sim *sim, uint32_t group)
{
    sim->net.set |= group;
}

static bool
run_rx(struct vdt_sim *sim, struct vdt_sim_command *command)
{
    if (command->len != 1 || command->data[0] > 1)
        return false;
    sim->net.rx[command->command] = command->data[0];
    mark(sim, VDT_NET_PROMISC << command->command);
    return true;
}

/* Reads one list of a TABLE_SET; -1: it does not fit into what is left. */
static int64_t
read_list(const uint8_t **at, uint64_t *left)
{
    uint64_t entries;

    if (*left < 4)
        return -1;
    entries = vdt_get32(*at);
    if (entries > VDT_MAC_TABLE_MAX || entries * 6 > *left - 4)
        return -1;
    *at += 4 + entries * 6;
    *left -= 4 + entries * 6;
    return (int64_t) entries;
}

static bool
run_mac_table(struct vdt_sim *sim, struct vdt_sim_command *command)
{
    const uint8_t *unicast = command->data, *multicast, *end = unicast;
    uint64_t left = command->len;
    int64_t n = read_list(&end, &left), m;

    if (n < 0)
        return false;
    multicast = end;
    m = read_list(&end, &left);
    if (m < 0 || left)
        return false;
    memset(sim->net.unicast, 0, sizeof sim->net.unicast);
    memset(sim->net.multicast, 0, sizeof sim->net.multicast);
    memcpy(sim->net.unicast, unicast + 4, (size_t) n * 6);
    memcpy(sim->net.multicast, multicast + 4, (size_t) m * 6);
    sim->net.unicast_count = (uint16_t) n;
    sim->net.multicast_count = (uint16_t) m;
    /* A filter that is too small for a list lets everything of that kind pass. */
    sim->unicast_overflow = n > VDT_SIM_MAC_SLOTS;
    sim->multicast_overflow = m > VDT_SIM_MAC_SLOTS;
    mark(sim, VDT_NET_MAC_TABLE);
    return true;
}

static bool
run_mac_addr(struct vdt_sim *sim, struct vdt_sim_command *command)
{
    if (command->len != 6 || (command->data[0] & 1))
        return false;
    memcpy(sim->net.mac, command->data, 6);
    memcpy(sim->config.mac, command->data, 6);
    sim->config_generation++;
    mark(sim, VDT_NET_MAC);
    return true;
}

static bool
run_vlan(struct vdt_sim *sim, struct vdt_sim_command *command)
{
    uint16_t vid;

    if (command->len != 2)
        return false;
    vid = vdt_get16(command->data);
    if (vid > 4095)
        return false;
    vdt_net_state_vlan(&sim->net, vid, command->command == VIRTIO_NET_CTRL_VLAN_ADD);
    return true;
}

static bool
run_announce(struct vdt_sim *sim, struct vdt_sim_command *command)
{
    if (command->len != 0)
        return false;
    sim->config.status &= (uint16_t) ~htole16(VIRTIO_NET_S_ANNOUNCE);
    sim->net.announce = false;
    sim->config_generation++;
    return true;
}

static bool
run_offloads(struct vdt_sim *sim, struct vdt_sim_command *command)
{
    uint64_t can = VDT_BIT(VIRTIO_NET_F_GUEST_CSUM) | VDT_BIT(VIRTIO_NET_F_GUEST_TSO4) |
                   VDT_BIT(VIRTIO_NET_F_GUEST_TSO6) | VDT_BIT(VIRTIO_NET_F_GUEST_ECN) |
                   VDT_BIT(VIRTIO_NET_F_GUEST_UFO) | VDT_BIT(VIRTIO_NET_F_GUEST_USO4) |
                   VDT_BIT(VIRTIO_NET_F_GUEST_USO6);
    uint64_t wanted;

    if (command->len != 8)
        return false;
    wanted = vdt_get64(command->data);
    if (wanted & ~(sim->features & can))
        return false;
    sim->net.guest_offloads = wanted;
    mark(sim, VDT_NET_OFFLOADS);
    sim->backend->offloads(sim);
    return true;
}

static const struct {
    uint8_t class, command;
    uint8_t feature;
    bool (*run)(struct vdt_sim *sim, struct vdt_sim_command *command);
} commands[] = {
    {0, 0, VIRTIO_NET_F_CTRL_RX, run_rx},
    {0, 1, VIRTIO_NET_F_CTRL_RX, run_rx},
    {0, 2, VIRTIO_NET_F_CTRL_RX_EXTRA, run_rx},
    {0, 3, VIRTIO_NET_F_CTRL_RX_EXTRA, run_rx},
    {0, 4, VIRTIO_NET_F_CTRL_RX_EXTRA, run_rx},
    {0, 5, VIRTIO_NET_F_CTRL_RX_EXTRA, run_rx},
    {1, 0, VIRTIO_NET_F_CTRL_RX, run_mac_table},
    {1, 1, VIRTIO_NET_F_CTRL_MAC_ADDR, run_mac_addr},
    {2, 0, VIRTIO_NET_F_CTRL_VLAN, run_vlan},
    {2, 1, VIRTIO_NET_F_CTRL_VLAN, run_vlan},
    {3, 0, VIRTIO_NET_F_GUEST_ANNOUNCE, run_announce},
    {4, 0, VIRTIO_NET_F_MQ, vdt_sim_ctrl_pairs},
    {4, 1, VIRTIO_NET_F_RSS, vdt_sim_ctrl_rss},
    {4, 2, VIRTIO_NET_F_HASH_REPORT, vdt_sim_ctrl_hash},
    {5, 0, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, run_offloads},
    {6, 0, VIRTIO_NET_F_NOTF_COAL, vdt_sim_ctrl_coal_all},
    {6, 1, VIRTIO_NET_F_NOTF_COAL, vdt_sim_ctrl_coal_all},
    {6, 2, VIRTIO_NET_F_VQ_NOTF_COAL, vdt_sim_ctrl_coal_set},
    {6, 3, VIRTIO_NET_F_VQ_NOTF_COAL, vdt_sim_ctrl_coal_get},
    {8, 0, VIRTIO_NET_F_DEVICE_STATS, vdt_sim_ctrl_stats_query},
    {8, 1, VIRTIO_NET_F_DEVICE_STATS, vdt_sim_ctrl_stats_get},
};

/* @code as options have it. */
static bool
is_code(const struct vdt_sim_command *command, uint32_t code)
{
    return code && code == (uint32_t) (command->class << 8 | command->command) + 1;
}

static bool
refuse_by_option(const struct vdt_sim *sim, const struct vdt_sim_command *command)
{
    return (sim->options.nak && sim->options.nak == sim->commands_since_start) ||
           is_code(command, sim->options.nak_class);
}

uint8_t
vdt_sim_ctrl_execute(struct vdt_sim *sim, struct vdt_sim_command *command)
{
    sim->commands++;
    sim->commands_since_start++;
    if (refuse_by_option(sim, command))
        return VIRTIO_NET_ERR;
    if (is_code(command, sim->options.forget_class))
        return VIRTIO_NET_OK;
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (commands[i].class != command->class || commands[i].command != command->command)
            continue;
        if (!(sim->features & VDT_BIT(commands[i].feature)) || !commands[i].run(sim, command))
            return VIRTIO_NET_ERR;
        sim->commands_ok++;
        return VIRTIO_NET_OK;
    }
    return VIRTIO_NET_ERR;
}

/* Answer one request: the ack byte, and behind it what the command has to tell. */
static bool
answer(struct vdt_sim *sim, uint32_t index, const struct vdt_sim_request *request,
       uint32_t *ret_len)
{
    uint32_t readable = request->chain.readable, writable = request->chain.writable;
    g_autofree uint8_t *in = g_malloc(readable + 1), *out = NULL;
    struct vdt_sim_command command = {0};

    if (!vdt_sim_request_read(sim, index, request, in, readable))
        return false;
    command.reply_room = MIN(writable - 1, REPLY_MAX);
    out = g_malloc0(command.reply_room + 1);
    out[0] = VIRTIO_NET_ERR;
    command.reply = out + 1;
    if (readable >= 2) {
        command.class = in[0];
        command.command = in[1];
        command.data = in + 2;
        command.len = readable - 2;
        out[0] = vdt_sim_ctrl_execute(sim, &command);
    }
    *ret_len = 1 + (out[0] == VIRTIO_NET_OK ? command.reply_len : 0);
    return sim->options.cvq_stale_ack || vdt_sim_request_write(sim, index, request, out, *ret_len);
}

static void
run_one(struct vdt_sim *sim, uint32_t index, struct vdt_sim_request *request)
{
    static const uint8_t refused = VIRTIO_NET_ERR;
    uint32_t len = 1;
    bool fine;

    if (!request->chain.writable) {
        vdt_sim_ring_break(sim, index, "a control command without room for its ack");
        g_free(request);
        return;
    }
    fine = request->chain.readable > COMMAND_MAX
               ? vdt_sim_request_write(sim, index, request, &refused, 1)
               : answer(sim, index, request, &len);
    if (!fine) {
        g_free(request);
        return;
    }
    vdt_sim_complete(sim, index, request, len);
}

bool
vdt_sim_ctrl_run(struct vdt_sim *sim, int64_t now, int64_t *ret_due)
{
    uint32_t index = vdt_sim_cvq(sim);
    struct vdt_sim_ring *ring = &sim->rings[index];
    bool more = true;

    while (more && ring->stock.length < BATCH && !ring->broken) {
        if (!vdt_sim_fetch(sim, index, now + sim->options.latency))
            more = !ring->broken && vdt_guest_ring_kicks_on(&ring->ring);
    }
    if (sim->options.cvq_silent)
        return false;
    while (ring->stock.length && !ring->broken) {
        const struct vdt_sim_request *next = g_queue_peek_head(&ring->stock);

        if (next->due > now) {
            *ret_due = MIN(*ret_due, next->due);
            more = false;
            break;
        }
        run_one(sim, index, g_queue_pop_head(&ring->stock));
        /* The driver may act on the ack at once; each command is visible when it is done. */
        if (!ring->broken)
            vdt_sim_ring_flush(sim, index);
    }
    return more && !ring->broken;
}
