/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest/queue.h"

#include "base/fd.h"

static uint64_t
whole_pages(uint64_t size)
{
    return (size + VDT_RAM_PAGE - 1) & ~(uint64_t) (VDT_RAM_PAGE - 1);
}

uint64_t
vdt_queue_size(const struct vdt_ring_format *format)
{
    return whole_pages(vdt_ring_desc_size(format)) + whole_pages(vdt_ring_driver_size(format)) +
           whole_pages(vdt_ring_device_size(format));
}

static void
point(struct vdt_queue *queue, struct vdt_ram *ram)
{
    const struct vdt_ring_format *format = &queue->ring.format;

    queue->ram = ram;
    queue->ring.mem = (struct vdt_ring_mem){
        .desc = vdt_ram_at(ram, queue->addr.desc, vdt_ring_desc_size(format)),
        .driver = vdt_ram_at(ram, queue->addr.driver, vdt_ring_driver_size(format)),
        .device = vdt_ram_at(ram, queue->addr.device, vdt_ring_device_size(format)),
    };
}

static bool
open_events(struct vdt_queue *queue, GError **error)
{
    vdt_close(queue->kick);
    vdt_close(queue->call);
    queue->kick = vdt_eventfd(error);
    queue->call = queue->kick < 0 ? -1 : vdt_eventfd(error);
    return queue->call >= 0;
}

/* Ring memory that the processor may have written: descriptors, and the driver's area. */
static void
wrote_ring(struct vdt_queue *queue)
{
    const struct vdt_ring_format *format = &queue->ring.format;

    vdt_ram_wrote(queue->ram, queue->addr.desc, vdt_ring_desc_size(format));
    vdt_ram_wrote(queue->ram, queue->addr.driver, vdt_ring_driver_size(format));
}

bool
vdt_queue_init(struct vdt_queue *queue, uint32_t index, const struct vdt_ring_format *format,
               struct vdt_ram *ram, uint64_t gpa, GError **error)
{
    *queue = (struct vdt_queue){.index = index, .kick = -1, .call = -1};
    queue->addr.desc = gpa;
    queue->addr.driver = gpa + whole_pages(vdt_ring_desc_size(format));
    queue->addr.device = queue->addr.driver + whole_pages(vdt_ring_driver_size(format));
    queue->ring.format = *format;
    point(queue, ram);
    struct vdt_ring_mem mem = queue->ring.mem;
    vdt_device_ring_init(&queue->ring, format, &mem, vdt_ring_pos_initial(format->kind));
    wrote_ring(queue);
    vdt_ram_wrote(ram, queue->addr.device, vdt_ring_device_size(format));
    queue->chains = g_new0(struct vdt_queue_chain, format->num);
    return open_events(queue, error);
}

void
vdt_queue_clear(struct vdt_queue *queue)
{
    vdt_device_ring_clear(&queue->ring);
    g_clear_pointer(&queue->chains, g_free);
    vdt_close(vdt_steal_fd(&queue->kick));
    vdt_close(vdt_steal_fd(&queue->call));
}

bool
vdt_queue_move(struct vdt_queue *queue, struct vdt_ram *ram, GError **error)
{
    point(queue, ram);
    return open_events(queue, error);
}

bool
vdt_queue_has_room(const struct vdt_queue *queue, unsigned count, bool indirect)
{
    unsigned slots = indirect ? 1 : count;

    return queue->ring.in_flight + slots <= queue->ring.format.num;
}

bool
vdt_queue_post(struct vdt_queue *queue, const struct vdt_queue_part *parts, unsigned count,
               uint64_t table, uint64_t cookie)
{
    struct vdt_seg seg[VDT_QUEUE_PARTS];
    struct vdt_chain chain = {.seg = seg, .capacity = VDT_QUEUE_PARTS, .count = count};
    uint32_t table_len = 0;
    uint16_t id;

    g_assert(count > 0 && count <= VDT_QUEUE_PARTS);
    chain.indirect = table != 0;
    chain.direct = table ? 0 : count;
    chain.slots = (uint16_t) (table ? 1 : count);
    for (unsigned i = 0; i < count; i++) {
        seg[i] = (struct vdt_seg){.addr = parts[i].gpa, .len = parts[i].len};
        seg[i].flags =
            (uint16_t) ((parts[i].write ? VDT_SEG_WRITE : 0) | (i + 1 < count ? VDT_SEG_NEXT : 0));
        *(parts[i].write ? &chain.writable : &chain.readable) += parts[i].len;
    }
    if (!vdt_device_ring_lay(&queue->ring, &chain, &id))
        return false;
    if (table) {
        void *at = vdt_ram_at(queue->ram, table, 16 * count);

        table_len = vdt_chain_write_table(&chain, queue->ring.format.kind, at);
        vdt_ram_wrote(queue->ram, table, table_len);
    }
    vdt_device_ring_post(&queue->ring, &chain, id, table, table_len);

    struct vdt_queue_chain *record = &queue->chains[id];
    g_assert(!record->posted);
    *record =
        (struct vdt_queue_chain){.posted = true, .count = count, .table = table, .cookie = cookie};
    memcpy(record->part, parts, count * sizeof(*parts));
    queue->available++;
    return true;
}

void
vdt_queue_kick(struct vdt_queue *queue)
{
    if (queue->ring.published == queue->ring.pos.avail)
        return;
    bool wanted = vdt_device_ring_publish(&queue->ring);

    wrote_ring(queue);
    if (wanted) {
        vdt_event_signal(queue->kick);
        queue->kicks++;
    }
}

bool
vdt_queue_reap(struct vdt_queue *queue, struct vdt_queue_chain *ret_chain, uint32_t *ret_len)
{
    struct vdt_used used;

    if (queue->ring.fault != VDT_FAULT_NONE)
        return false;
    switch (vdt_device_ring_reap(&queue->ring, &used)) {
    case VDT_REAP_EMPTY:
        return false;
    case VDT_REAP_BROKEN:
        /* Given back without being in flight: a second time, or never made available. */
        queue->duplicated +=
            queue->ring.fault == VDT_FAULT_USED_ID || queue->ring.fault == VDT_FAULT_USED_INDEX;
        return false;
    case VDT_REAP_USED:
        break;
    }
    *ret_chain = queue->chains[used.id];
    *ret_len = used.len;
    queue->chains[used.id].posted = false;
    queue->used++;
    return true;
}

const char *
vdt_queue_broken(const struct vdt_queue *queue)
{
    return queue->ring.fault == VDT_FAULT_NONE ? NULL : vdt_ring_fault_name(queue->ring.fault);
}

bool
vdt_queue_sleep(struct vdt_queue *queue)
{
    bool more = vdt_device_ring_calls_on(&queue->ring);

    vdt_ram_wrote(queue->ram, queue->addr.driver, vdt_ring_driver_size(&queue->ring.format));
    return more;
}
