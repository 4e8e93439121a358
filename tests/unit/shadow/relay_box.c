/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "relay_box.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"

static bool
read_iova(void *ctx, uint64_t addr, void *dst, uint32_t len)
{
    struct relay_box *box = ctx;
    uint64_t size = vdt_inflight_table_size(box->format.num);

    if (addr < BOX_IOVA || addr - BOX_IOVA > size || len > size - (addr - BOX_IOVA))
        return false;
    memcpy(dst, (uint8_t *) box->tables + (addr - BOX_IOVA), len);
    return true;
}

void
relay_box_init(struct relay_box *box, struct vdt_ring_format format)
{
    relay_box_init_at(box, format, vdt_ring_pos_initial(format.kind));
}

void
relay_box_init_at(struct relay_box *box, struct vdt_ring_format format, struct vdt_ring_pos at)
{
    struct vdt_ring_pos pos = vdt_ring_pos_initial(format.kind);

    *box = (struct relay_box){.format = format, .logfd = -1};
    box->memfd = vdt_memfd("box", BOX_SIZE, NULL);
    box->memory = mmap(NULL, BOX_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, box->memfd, 0);
    struct vdt_region_spec spec = {
        .gpa = BOX_GPA, .size = BOX_SIZE, .frontend = 0x7f0000000000, .fd = box->memfd};
    box->map = vdt_guest_map_from_table(&spec, 1, NULL);
    box->guest_mem =
        (struct vdt_ring_mem){box->memory, box->memory + 0x8000, box->memory + 0x10000};
    box->shadow_mem = (struct vdt_ring_mem){g_malloc0(vdt_ring_desc_size(&format)),
                                            g_malloc0(vdt_ring_driver_size(&format)),
                                            g_malloc0(vdt_ring_device_size(&format))};
    box->tables = g_malloc0(vdt_inflight_table_size(format.num));
    box->reader = (struct vdt_reader){.read = read_iova, .ctx = box};
    box->chain.capacity = 3u * format.num;
    box->chain.seg = g_new0(struct vdt_seg, box->chain.capacity);
    box->kick = vdt_eventfd(NULL);
    box->call = vdt_eventfd(NULL);
    box->device_kick = vdt_eventfd(NULL);
    box->device_call = vdt_eventfd(NULL);
    box->attention = vdt_eventfd(NULL);

    struct vdt_relay_config config = {
        .format = format,
        .guest_mem = box->guest_mem,
        .device_mem = box->shadow_mem,
        .gpa = {BOX_GPA, BOX_GPA + 0x8000, BOX_GPA + 0x10000},
        .guest_pos = at,
        .device_pos = pos,
        .table_memory = {box->tables, BOX_IOVA},
        .map = box->map,
    };
    vdt_device_ring_init(&box->driver, &format, &box->guest_mem, at);
    vdt_relay_init(&box->relay, &config);
    box->relay.guest_kick = box->kick;
    box->relay.guest_call = box->call;
    box->relay.device_kick = box->device_kick;
    box->relay.device_call = box->device_call;
    box->relay.attention = box->attention;
    vdt_guest_ring_init(&box->device, &format, &box->shadow_mem, pos);
}

void
relay_box_clear(struct relay_box *box)
{
    vdt_relay_clear(&box->relay);
    vdt_device_ring_clear(&box->driver);
    vdt_dirty_log_clear(&box->log);
    vdt_guest_map_unref(box->map);
    munmap(box->memory, BOX_SIZE);
    g_free(box->shadow_mem.desc);
    g_free(box->shadow_mem.driver);
    g_free(box->shadow_mem.device);
    g_free(box->tables);
    g_free(box->chain.seg);
    vdt_close(box->memfd);
    vdt_close(box->logfd);
    vdt_close(box->kick);
    vdt_close(box->call);
    vdt_close(box->device_kick);
    vdt_close(box->device_call);
    vdt_close(box->attention);
}

void
relay_box_log_start(struct relay_box *box)
{
    box->logfd = vdt_memfd("box-log", 4096, NULL);
    g_assert(vdt_dirty_log_init(&box->log, box->logfd, 0, 4096, BOX_GPA + BOX_SIZE, NULL));
    box->relay.log = &box->log;
}

bool
relay_box_dirty(const struct relay_box *box, uint64_t offset)
{
    uint64_t page = (BOX_GPA + offset) / VDT_LOG_PAGE;

    return box->log.words[page / 64] >> page % 64 & 1;
}

bool
relay_box_post(struct relay_box *box, const struct vdt_seg *segs, uint32_t count, bool indirect,
               uint16_t *ret_id)
{
    struct vdt_seg own[128];
    struct vdt_chain chain = {.seg = own, .capacity = 128, .count = count, .indirect = indirect};
    uint64_t table = 0;

    memcpy(own, segs, count * sizeof(*segs));
    chain.direct = indirect ? 0 : count;
    chain.slots = (uint16_t) (indirect ? 1 : count);
    for (uint32_t i = 0; i < count; i++) {
        if (segs[i].flags & VDT_SEG_WRITE)
            chain.writable += segs[i].len;
        else
            chain.readable += segs[i].len;
    }
    if (!vdt_device_ring_lay(&box->driver, &chain, ret_id))
        return false;
    if (indirect) {
        uint64_t at = BOX_TABLES + *ret_id * 64u * 16u;
        vdt_chain_write_table(&chain, box->format.kind, box->memory + at);
        table = BOX_GPA + at;
    }
    vdt_device_ring_post(&box->driver, &chain, *ret_id, table, count * 16);
    return true;
}

uint16_t
relay_box_post_one(struct relay_box *box, uint64_t offset, uint32_t len, bool write)
{
    struct vdt_seg seg = {.addr = BOX_GPA + offset, .len = len, .flags = write ? VDT_SEG_WRITE : 0};
    uint16_t id = 0;

    g_assert(relay_box_post(box, &seg, 1, false, &id));
    return id;
}

void
relay_box_publish(struct relay_box *box)
{
    if (vdt_device_ring_publish(&box->driver))
        vdt_event_signal(box->kick);
}

bool
relay_box_take(struct relay_box *box)
{
    return vdt_guest_ring_take(&box->device, &box->reader, &box->chain) == VDT_TAKE_CHAIN;
}

void
relay_box_use(struct relay_box *box, uint16_t id, uint16_t slots, uint32_t len)
{
    uint16_t from = box->device.published;

    vdt_guest_ring_give(&box->device, id, slots, len);
    vdt_guest_ring_publish(&box->device);
    if (vdt_guest_ring_needs_call(&box->device, from))
        vdt_event_signal(box->device_call);
}

unsigned
relay_box_events(int fd)
{
    uint64_t n = 0;

    return read(fd, &n, sizeof(n)) == sizeof(n) ? (unsigned) n : 0;
}
