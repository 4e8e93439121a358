/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What state costs: encode, decode and validate by size; the check of a guest's command, and its
 * effect on the model; replay, for each command, by how many are in flight at once. Replay is CPU
 * time of the tracker's thread, its system calls included; the device answers on a thread of its
 * own.
 */
#include <glib.h>
#include <string.h>

#include "bench/bench.h"
#include "control/replay.h"
#include "lib/fake_cvq_device.h"
#include "snapshot/snapshot.h"
#include "virtio/features.h"
#include "virtio/net_ctrl.h"

#define MACS 64u
#define VLANS 4094u
#define DEADLINE_MS 10000u

struct state {
    struct vdt_snapshot *snapshot;
    GBytes *bytes;
};

static void
set_macs(struct vdt_net_state *net)
{
    net->set |= VDT_NET_MAC | VDT_NET_MAC_TABLE;
    memcpy(net->mac, "\x52\x54\x00\x12\x34\x56", 6);
    net->unicast_count = net->multicast_count = MACS / 2;
    for (unsigned i = 0; i < MACS / 2; i++) {
        memcpy(net->unicast[i], "\x52\x54\x00\x12\x35", 5);
        memcpy(net->multicast[i], "\x33\x33\x00\x00\x00", 5);
        net->unicast[i][5] = net->multicast[i][5] = (uint8_t) i;
    }
}

static void
set_vlans(struct vdt_net_state *net, unsigned count)
{
    net->set |= VDT_NET_VLAN;
    for (unsigned vid = 1; vid <= count; vid++)
        vdt_vlan_set(net->vlan, vid, true);
}

static void
set_rss(struct vdt_net_state *net, uint16_t pairs)
{
    struct vdt_net_rss *rss = &net->rss;

    net->set |= VDT_NET_RSS;
    net->queue_pairs = rss->max_tx_vq = pairs;
    rss->hash_types = 0x3f;
    rss->table_len = 128;
    for (unsigned i = 0; i < rss->table_len; i++)
        rss->table[i] = (uint16_t) (i % pairs);
    rss->key_len = 40;
}

static struct vdt_snapshot *
make(uint16_t pairs, bool full)
{
    struct vdt_snapshot *s = vdt_snapshot_new();

    s->device_id = VIRTIO_ID_NET;
    s->name = g_strdup("web1-net0");
    s->device = g_strdup("vhost-vdpa:/dev/vhost-vdpa-0");
    s->driver = g_strdup("mlx5");
    s->uuid = g_strdup("8f3c1f0e-7d8a-4f53-9c55-0f6a3d2b1c00");
    s->tool_version = g_strdup(VDT_VERSION);
    s->created_us = 1700000000123456;
    s->guest_features = VDT_BIT(VIRTIO_F_VERSION_1) | VDT_BIT(VIRTIO_NET_F_MAC) |
                        VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_CTRL_RX) |
                        VDT_BIT(VIRTIO_NET_F_CTRL_VLAN) | VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |
                        VDT_BIT(VIRTIO_NET_F_MQ) | VDT_BIT(VIRTIO_NET_F_RSS);
    s->offered_features = s->device_features = s->negotiated_features = s->guest_features;
    s->config_len = 24;
    memcpy(s->config, "\x52\x54\x00\x12\x34\x56\x01", 7);
    s->config[8] = (uint8_t) pairs;
    s->ring_count = 2u * pairs + 1;
    s->cvq_index = 2 * pairs;
    for (uint16_t i = 0; i < s->ring_count; i++) {
        struct vdt_snapshot_ring *ring = &s->rings[i];
        ring->num = 256;
        ring->started = ring->enabled = ring->exact = true;
        ring->pos.avail = ring->pos.used = (uint16_t) (1000 * i);
    }
    set_vlans(&s->net, full ? VLANS : 16);
    if (full) {
        set_macs(&s->net);
        set_rss(&s->net, pairs);
    }
    return s;
}

static void
encode(void *ctx, uint64_t turns)
{
    struct state *state = ctx;
    size_t len = 0;

    for (uint64_t i = 0; i < turns; i++) {
        g_autoptr(GBytes) bytes = vdt_snapshot_encode(state->snapshot, NULL);
        len += g_bytes_get_size(bytes);
    }
    g_assert(len == turns * g_bytes_get_size(state->bytes));
}

static void
decode(void *ctx, uint64_t turns)
{
    struct state *state = ctx;
    size_t len;
    const uint8_t *data = g_bytes_get_data(state->bytes, &len);
    uint64_t rings = 0;

    for (uint64_t i = 0; i < turns; i++) {
        VDT_AUTO(snapshot) s = vdt_snapshot_decode(data, len, NULL);
        rings += s->ring_count;
    }
    g_assert(rings == turns * state->snapshot->ring_count);
}

static void
validate(void *ctx, uint64_t turns)
{
    struct state *state = ctx;
    uint64_t good = 0;

    for (uint64_t i = 0; i < turns; i++)
        good += vdt_snapshot_validate(state->snapshot, NULL);
    g_assert(good == turns);
}

static void
measure_snapshot(struct bench *bench, uint16_t pairs, bool full)
{
    static const struct {
        const char *name;
        void (*fn)(void *ctx, uint64_t turns);
    } ways[] = {{"encode", encode}, {"decode", decode}, {"validate", validate}};
    struct state state = {.snapshot = make(pairs, full)};
    struct bench_samples size = {0};

    state.bytes = vdt_snapshot_encode(state.snapshot, NULL);
    g_assert(state.bytes);
    for (unsigned i = 0; i < G_N_ELEMENTS(ways); i++) {
        g_autofree char *series = g_strconcat(full ? "" : "small: ", ways[i].name, NULL);
        bench_time(bench, series, "rings", state.snapshot->ring_count, ways[i].fn, 1, &state);
    }
    bench_add(&size, (double) g_bytes_get_size(state.bytes));
    if (bench_wants(bench, full ? "size" : "small: size"))
        bench_row(bench, full ? "size" : "small: size", "rings", state.snapshot->ring_count,
                  "bytes", &size);
    g_bytes_unref(state.bytes);
    vdt_snapshot_free(state.snapshot);
}

struct check {
    struct vdt_command command;
    struct vdt_net_state state;
};

static void
check_and_apply(void *ctx, uint64_t turns)
{
    static const struct vdt_control_limits limits = {32, 512, 255, ~0u};
    struct check *check = ctx;
    uint64_t allowed = 0;

    for (uint64_t i = 0; i < turns; i++) {
        const struct vdt_command_rule *rule =
            vdt_command_find(check->command.class, check->command.command);
        if (!vdt_command_allowed(&check->command, &check->state, &limits, ~0ull))
            continue;
        rule->apply(&check->command, &check->state);
        allowed++;
    }
    g_assert(allowed == turns && check->state.set);
}

static void
measure_commands(struct bench *bench)
{
    static const uint8_t on[] = {1}, vid[] = {100, 0}, pairs[] = {4, 0};
    static const uint8_t mac[] = {0x52, 0x54, 0, 1, 2, 3};
    uint8_t table[8 + 6 * MACS] = {0};
    const struct {
        const char *name;
        struct vdt_command command;
    } ways[] = {
        {"command RX mode", {VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, on, 1}},
        {"command VLAN add", {VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, vid, 2}},
        {"command MAC address", {VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6}},
        {"command MAC table 32+32",
         {VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, table, sizeof(table)}},
        {"command queue pairs", {VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, pairs, 2}},
    };

    table[0] = table[4 + 6 * (MACS / 2)] = MACS / 2;
    for (unsigned i = 0; i < MACS / 2; i++)
        table[8 + 6 * (MACS / 2 + i)] = 0x33;
    for (unsigned i = 0; i < G_N_ELEMENTS(ways); i++) {
        struct check check = {.command = ways[i].command};
        vdt_net_state_init(&check.state);
        bench_time(bench, ways[i].name, "", 0, check_and_apply, 64, &check);
    }
}

struct replaying {
    struct vdt_net_state state;
    struct vdt_device_cvq *cvq;
};

static void
replay(void *ctx, uint64_t turns)
{
    struct replaying *r = ctx;
    struct vdt_replay_report report = {0};
    uint64_t acked = 0;

    while (acked < turns) {
        g_assert(vdt_replay(&r->state, ~VDT_BIT(VIRTIO_F_RING_PACKED), r->cvq, DEADLINE_MS, &report,
                            NULL));
        acked += report.acked;
    }
    g_assert(acked == turns);
    vdt_replay_report_clear(&report);
}

static void
measure_replay(struct bench *bench, enum vdt_ring_kind kind, uint16_t num)
{
    const struct vdt_ring_format format = {.kind = kind, .num = num};
    const char *series = kind == VDT_RING_SPLIT ? "replay 4094 VLANs" : "packed: replay 4094 VLANs";
    struct fake_cvq_device *fake = fake_cvq_device_new(&format, 65536, 65536);
    struct replaying r = {.cvq = vdt_device_cvq_new(&fake->config)};

    vdt_net_state_init(&r.state);
    set_vlans(&r.state, VLANS);
    fake_cvq_device_start(fake);
    bench_time(bench, series, "in flight", num / 2, replay,
               vdt_replay_count(&r.state, ~VDT_BIT(VIRTIO_F_RING_PACKED)), &r);
    vdt_device_cvq_free(r.cvq);
    g_assert(fake->strange == 0);
    fake_cvq_device_free(fake);
}

int
main(int argc, char **argv)
{
    static const uint16_t pairs[] = {1, 4, 8, 16, 32}, nums[] = {2, 16, 64, 256};
    struct bench bench;

    bench_init(&bench, "state", argc, argv);
    bench_pin();
    measure_snapshot(&bench, 1, false);
    for (unsigned i = 0; i < G_N_ELEMENTS(pairs); i++)
        measure_snapshot(&bench, pairs[i], true);
    measure_commands(&bench);
    for (unsigned i = 0; i < G_N_ELEMENTS(nums); i++)
        measure_replay(&bench, VDT_RING_SPLIT, nums[i]);
    measure_replay(&bench, VDT_RING_PACKED, 64);
    return bench_finish(&bench);
}
