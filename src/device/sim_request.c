/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Chains in and out of a live ring, on the device thread. */
#include "device/sim.h"

#include <stdarg.h>
#include <string.h>

#include "base/fd.h"

#define PICK_WINDOW 8u

struct window {
    struct vdt_sim *sim;
    uint32_t asid;
};

static bool
read_foreign(void *ctx, uint64_t addr, void *dst, uint32_t len)
{
    struct window *window = ctx;

    return vdt_sim_dma_read(window->sim, window->asid, addr, dst, len);
}

bool
vdt_sim_ring_translate(struct vdt_sim *sim, uint32_t index, const struct vdt_ring_format *format,
                       struct vdt_ring_mem *ret_mem)
{
    const struct vdt_ring_addr *addr = &sim->rings[index].addr;
    uint32_t asid = vdt_sim_asid(sim, index);

    ret_mem->desc = vdt_sim_dma_at(sim, asid, addr->desc, vdt_ring_desc_size(format),
                                   format->kind == VDT_RING_PACKED);
    ret_mem->driver = vdt_sim_dma_at(sim, asid, addr->driver, vdt_ring_driver_size(format), false);
    ret_mem->device = vdt_sim_dma_at(sim, asid, addr->device, vdt_ring_device_size(format), true);
    return ret_mem->desc && ret_mem->driver && ret_mem->device;
}

void
vdt_sim_ring_break(struct vdt_sim *sim, uint32_t index, const char *format, ...)
{
    g_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = g_strdup_vprintf(format, args);
    va_end(args);
    vdt_sim_fault(sim, "ring %u: %s", index, text);
    sim->rings[index].broken = true;
    /* virtio 1.2, 2.1.2: the device asks for a reset, and says so by a config interrupt. */
    if (sim->status & VIRTIO_CONFIG_S_DRIVER_OK) {
        sim->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
        vdt_sim_config_changed(sim);
    }
}

bool
vdt_sim_ring_ready(struct vdt_sim *sim, uint32_t index)
{
    struct vdt_sim_ring *ring = &sim->rings[index];

    if (!(sim->status & VIRTIO_CONFIG_S_DRIVER_OK) || !ring->live || ring->broken ||
        (sim->suspended && !sim->options.dma_after_suspend) ||
        (sim->options.kick_only && !ring->kicked))
        return false;
    if (ring->maps_seen != sim->maps_generation) {
        if (!vdt_sim_ring_translate(sim, index, &ring->ring.format, &ring->ring.mem)) {
            vdt_sim_ring_break(sim, index, "its areas are not mapped any more");
            return false;
        }
        ring->maps_seen = sim->maps_generation;
    }
    return true;
}

bool
vdt_sim_fetch(struct vdt_sim *sim, uint32_t index, int64_t due)
{
    struct vdt_sim_ring *ring = &sim->rings[index];
    struct window window = {sim, vdt_sim_asid(sim, index)};
    struct vdt_reader reader = {read_foreign, &window};
    struct vdt_chain chain = {.seg = ring->scratch, .capacity = 3u * ring->ring.format.num};
    struct vdt_sim_request *request;

    if (ring->broken)
        return false;
    switch (vdt_guest_ring_take(&ring->ring, &reader, &chain)) {
    case VDT_TAKE_EMPTY:
        return false;
    case VDT_TAKE_BROKEN:
        vdt_sim_ring_break(sim, index, "%s", vdt_ring_fault_name(ring->ring.fault));
        return false;
    case VDT_TAKE_CHAIN:
        break;
    }
    request = g_malloc(sizeof *request + chain.count * sizeof chain.seg[0]);
    request->due = due;
    request->chain = chain;
    request->chain.seg = request->seg;
    memcpy(request->seg, chain.seg, chain.count * sizeof chain.seg[0]);
    g_queue_push_tail(&ring->stock, request);
    ring->chains++;
    return true;
}

unsigned
vdt_sim_pick(struct vdt_sim *sim, const struct vdt_sim_ring *ring)
{
    if (!sim->options.out_of_order || ring->ring.format.in_order || ring->stock.length < 2)
        return 0;
    return (unsigned) g_rand_int_range(sim->rand, 0, (gint32) MIN(ring->stock.length, PICK_WINDOW));
}

void
vdt_sim_complete(struct vdt_sim *sim, uint32_t index, struct vdt_sim_request *request, uint32_t len)
{
    struct vdt_guest_ring *ring = &sim->rings[index].ring;
    uint16_t id = request->chain.id, slots = request->chain.slots;

    if (sim->options.used_len_lies)
        len = request->chain.writable + 4096u;
    if (sim->options.used_id_lies)
        id ^= 0x4000u;
    vdt_guest_ring_give(ring, id, slots, len);
    if (sim->options.used_twice) {
        /* What is counted in flight is the ring's own; the second entry is beyond its rules. */
        ring->in_flight += ring->format.kind == VDT_RING_SPLIT ? 1u : slots;
        vdt_guest_ring_give(ring, id, slots, len);
    }
    g_free(request);
}

void
vdt_sim_ring_flush(struct vdt_sim *sim, uint32_t index)
{
    struct vdt_sim_ring *ring = &sim->rings[index];
    uint16_t from = ring->ring.published;

    vdt_guest_ring_publish(&ring->ring);
    if (ring->ring.published == from || !vdt_guest_ring_needs_call(&ring->ring, from))
        return;
    ring->calls++;
    if (ring->call >= 0)
        vdt_event_signal(ring->call);
}

bool
vdt_sim_request_read(struct vdt_sim *sim, uint32_t index, const struct vdt_sim_request *request,
                     void *dst, uint32_t len)
{
    uint32_t asid = vdt_sim_asid(sim, index), done = 0;

    for (uint32_t i = 0; i < request->chain.count && done < len; i++) {
        const struct vdt_seg *seg = &request->seg[i];
        uint32_t part = MIN(seg->len, len - done);

        if (seg->flags & VDT_SEG_WRITE)
            break;
        if (part && !vdt_sim_dma_read(sim, asid, seg->addr, (uint8_t *) dst + done, part)) {
            vdt_sim_ring_break(sim, index,
                               "DMA fault: read of %u bytes at 0x%lx (address space %u)", part,
                               (long) seg->addr, asid);
            return false;
        }
        done += part;
    }
    return true;
}

bool
vdt_sim_request_write(struct vdt_sim *sim, uint32_t index, const struct vdt_sim_request *request,
                      const void *src, uint32_t len)
{
    uint32_t asid = vdt_sim_asid(sim, index), done = 0;

    for (uint32_t i = 0; i < request->chain.count && done < len; i++) {
        const struct vdt_seg *seg = &request->seg[i];
        uint32_t part = MIN(seg->len, len - done);

        if (!(seg->flags & VDT_SEG_WRITE))
            continue;
        if (part && !vdt_sim_dma_write(sim, asid, seg->addr, (const uint8_t *) src + done, part)) {
            vdt_sim_ring_break(sim, index,
                               "DMA fault: write of %u bytes at 0x%lx (address space %u)", part,
                               (long) seg->addr, asid);
            return false;
        }
        done += part;
    }
    return true;
}
