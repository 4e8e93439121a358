/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bench/relay_rig.h"

#include <glib.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "base/wire.h"
#include "virtio/packed_layout.h"
#include "virtio/split_layout.h"

#define GPA 0x100000u
#define MEMORY (16u << 20)
#define DRIVER_AT 0x8000u
#define DEVICE_AT 0xc000u
#define TABLES_AT 0x20000u
#define BUFFERS_AT 0x100000u
#define BUFFER 2048u

/* What descriptor @i stands for: one writable buffer, or a table of two. */
static struct vdt_seg
descriptor(const struct relay_rig *rig, uint32_t i)
{
    if (rig->way.indirect)
        return (struct vdt_seg){
            .addr = GPA + TABLES_AT + i * 32, .len = 32, .flags = VDT_SEG_INDIRECT};
    return (struct vdt_seg){
        .addr = GPA + BUFFERS_AT + (uint64_t) i * BUFFER, .len = BUFFER, .flags = VDT_SEG_WRITE};
}

static void
fill_guest(struct relay_rig *rig)
{
    for (uint32_t i = 0; i < rig->num; i++) {
        struct vdt_seg d = descriptor(rig, i);
        uint8_t *at = rig->memory + 16u * i, *table = rig->memory + TABLES_AT + i * 32;

        vdt_put64(at, d.addr);
        vdt_put32(at + 8, d.len);
        vdt_put16(at + (rig->way.kind == VDT_RING_SPLIT ? 12 : 14), d.flags);
        for (uint32_t half = 0; half < 2; half++) {
            uint16_t next = rig->way.kind == VDT_RING_SPLIT && half == 0 ? VDT_SEG_NEXT : 0;
            vdt_put64(table + 16 * half, GPA + BUFFERS_AT + i * BUFFER + half * 1024);
            vdt_put32(table + 16 * half + 8, 1024);
            vdt_put16(table + 16 * half + (rig->way.kind == VDT_RING_SPLIT ? 12 : 14),
                      (uint16_t) (VDT_SEG_WRITE | next));
            vdt_put16(table + 16 * half + (rig->way.kind == VDT_RING_SPLIT ? 14 : 12), 1);
        }
    }
}

void
relay_rig_init(struct relay_rig *rig, const struct relay_way *way, uint16_t num)
{
    const struct vdt_ring_format format = {.kind = way->kind,
                                           .num = num,
                                           .event_idx = way->event_idx,
                                           .indirect = way->indirect,
                                           .in_order = way->in_order};

    *rig = (struct relay_rig){.way = *way, .num = num, .batch = 1};
    VDT_AUTO_FD fd = vdt_memfd("bench", MEMORY, NULL);
    rig->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    g_assert(rig->memory != MAP_FAILED);
    struct vdt_region_spec spec = {
        .gpa = GPA, .size = MEMORY, .frontend = 0x7f0000000000, .fd = fd};
    rig->map = vdt_guest_map_from_table(&spec, 1, NULL);
    rig->shadow = (struct vdt_ring_mem){g_malloc0(vdt_ring_desc_size(&format)),
                                        g_malloc0(vdt_ring_driver_size(&format)),
                                        g_malloc0(vdt_ring_device_size(&format))};
    rig->tables = g_malloc0(vdt_inflight_table_size(num));
    struct vdt_iova_stretch stretch = {.from = GPA, .to = 0x40000000, .len = MEMORY};
    rig->table = vdt_iova_table_new(&stretch, 1);
    g_assert(rig->map && rig->table);

    struct vdt_relay_config config = {
        .format = format,
        .guest_mem = {rig->memory, rig->memory + DRIVER_AT, rig->memory + DEVICE_AT},
        .device_mem = rig->shadow,
        .gpa = {GPA, GPA + DRIVER_AT, GPA + DEVICE_AT},
        .guest_pos = vdt_ring_pos_initial(way->kind),
        .device_pos = vdt_ring_pos_initial(way->kind),
        .table_memory = {rig->tables, 0x70000000},
        .map = rig->map};
    fill_guest(rig);
    vdt_relay_init(&rig->relay, &config);
    rig->driver = rig->device = config.guest_pos.avail;
    rig->relay.table = way->translated ? rig->table : NULL;
    VDT_AUTO_FD log = vdt_memfd("bench-log", 4096, NULL);
    if (way->log) {
        g_assert(vdt_dirty_log_init(&rig->log, log, 0, 4096, GPA + MEMORY, NULL));
        rig->relay.log = &rig->log;
    }
    VDT_AUTO_FD area = vdt_memfd("bench-area", vdt_inflight_area_own_size(1, num), NULL);
    if (way->area) {
        rig->area = vdt_inflight_area_map_own(area, 1, num, NULL);
        g_assert(rig->area && vdt_area_ring_open(&rig->area_ring, rig->area, 0, &format, 1,
                                                 config.guest_pos, NULL, 0));
        vdt_inflight_area_settled(rig->area, 0);
        rig->relay.area = &rig->area_ring;
    }
    rig->kick = rig->call = rig->device_kick = rig->device_call = -1;
    if (way->events) {
        rig->kick = vdt_eventfd(NULL);
        rig->call = rig->relay.guest_call = vdt_eventfd(NULL);
        rig->device_kick = rig->relay.device_kick = vdt_eventfd(NULL);
        rig->device_call = vdt_eventfd(NULL);
    }
}

void
relay_rig_clear(struct relay_rig *rig)
{
    vdt_relay_clear(&rig->relay);
    vdt_area_ring_close(&rig->area_ring);
    vdt_inflight_area_free(rig->area);
    vdt_dirty_log_clear(&rig->log);
    vdt_iova_table_free(rig->table);
    vdt_guest_map_unref(rig->map);
    munmap(rig->memory, MEMORY);
    g_free(rig->shadow.desc);
    g_free(rig->shadow.driver);
    g_free(rig->shadow.device);
    g_free(rig->tables);
    vdt_close(rig->kick);
    vdt_close(rig->call);
    vdt_close(rig->device_kick);
    vdt_close(rig->device_call);
}

/* The ends keep what they need in locals: they are to cost as little as can be. */
static void
driver_split(struct relay_rig *rig, unsigned n)
{
    uint16_t *avail = (uint16_t *) (rig->memory + DRIVER_AT), at = rig->driver, num = rig->num;

    if (rig->way.event_idx)
        vdt_store16(vdt_split_used_event(avail, num), at);
    for (unsigned i = 0; i < n; i++, at++)
        avail[2 + (at & (num - 1))] = at & (num - 1);
    rig->driver = at;
    vdt_store16_release(avail + 1, at);
}

static void
device_split(struct relay_rig *rig, unsigned n)
{
    const uint16_t *avail = rig->shadow.driver;
    uint32_t *used = rig->shadow.device;
    uint16_t at = rig->device, num = rig->num;

    for (unsigned i = 0; i < n; i++, at++) {
        used[1 + 2 * (at & (num - 1))] = avail[2 + (at & (num - 1))];
        used[2 + 2 * (at & (num - 1))] = 64;
    }
    rig->device = at;
    if (rig->way.event_idx)
        vdt_store16(vdt_split_avail_event(used, num), at);
    vdt_store16_release((uint16_t *) used + 1, at);
}

static void
driver_packed(struct relay_rig *rig, unsigned n)
{
    uint16_t at = rig->driver;

    if (rig->way.event_idx)
        vdt_store32(rig->memory + DRIVER_AT, vdt_packed_event(at, VRING_PACKED_EVENT_FLAG_DESC));
    for (unsigned i = 0; i < n; i++) {
        uint16_t slot = at & 0x7fff;
        struct vdt_seg d = descriptor(rig, slot);
        uint8_t *desc = rig->memory + 16u * slot;

        vdt_store64(desc, d.addr);
        vdt_store64(desc + 8, vdt_packed_rest(d.len, slot, d.flags | vdt_packed_avail_bits(at)));
        at = vdt_packed_advance(at, 1, rig->num);
    }
    rig->driver = at;
}

static void
device_packed(struct relay_rig *rig, unsigned n)
{
    uint16_t at = rig->device;

    for (unsigned i = 0; i < n; i++) {
        uint8_t *desc = (uint8_t *) rig->shadow.desc + 16u * (at & 0x7fff);
        uint16_t id = vdt_load16(desc + 12);

        vdt_store64(desc + 8, vdt_packed_rest(64, id, vdt_packed_used_bits(at) | VDT_SEG_WRITE));
        at = vdt_packed_advance(at, 1, rig->num);
    }
    rig->device = at;
    if (rig->way.event_idx)
        vdt_store32(rig->shadow.device, vdt_packed_event(at, VRING_PACKED_EVENT_FLAG_DESC));
}

static void
signal_and_drain(int fd)
{
    if (fd >= 0) {
        vdt_event_signal(fd);
        vdt_event_drain(fd);
    }
}

static void
one_batch(struct relay_rig *rig, unsigned n)
{
    bool split = rig->way.kind == VDT_RING_SPLIT;

    (split ? driver_split : driver_packed)(rig, n);
    signal_and_drain(rig->kick);
    unsigned there = vdt_relay_forward(&rig->relay);
    if (rig->device_kick >= 0)
        g_assert(vdt_event_drain(rig->device_kick));
    (split ? device_split : device_packed)(rig, n);
    signal_and_drain(rig->device_call);
    unsigned returned = vdt_relay_back(&rig->relay);
    if (rig->call >= 0)
        g_assert(vdt_event_drain(rig->call));
    g_assert(there == n && returned == n && !rig->relay.fault);
}

void
relay_rig_run(void *ctx, uint64_t chains)
{
    struct relay_rig *rig = ctx;
    uint64_t before = rig->relay.counters.returned;

    for (uint64_t done = 0; done < chains; done += rig->batch)
        one_batch(rig, rig->batch);
    g_assert(rig->relay.counters.returned - before == chains && rig->relay.inflight.count == 0);
    g_assert(!rig->relay.log || vdt_dirty_log_count(&rig->log) > 0);
}

void
relay_rig_ends_alone(void *ctx, uint64_t chains)
{
    struct relay_rig *rig = ctx;

    for (uint64_t done = 0; done < chains; done += rig->batch) {
        driver_split(rig, rig->batch);
        device_split(rig, rig->batch);
    }
}
