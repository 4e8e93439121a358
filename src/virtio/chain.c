/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virtio/chain.h"

#include "base/wire.h"
#include "virtio/chain_walk.h"

#define ENTRY 16u

/*
 * The table's bytes, at the far end of the chain's scratch so that segments built from them at the
 * near end do not reach them: direct + 2 * entries <= capacity.
 */
static enum vdt_ring_fault
fetch_table(struct vdt_chain *chain, const struct vdt_reader *reader, uint64_t addr, uint32_t len,
            uint16_t num, const uint8_t **ret_table)
{
    uint32_t entries = len / ENTRY;
    uint64_t end;
    void *raw;

    if (len == 0 || len % ENTRY != 0 || entries > num || reader == NULL)
        return VDT_FAULT_INDIRECT;
    if (!vdt_range_end(addr, len, &end))
        return VDT_FAULT_ADDRESS;
    if (chain->count + 2 * entries > chain->capacity)
        return VDT_FAULT_TOO_LONG;
    raw = chain->seg + (chain->capacity - entries);
    if (!reader->read(reader->ctx, addr, raw, len))
        return VDT_FAULT_INDIRECT;
    *ret_table = raw;
    return VDT_FAULT_NONE;
}

enum vdt_ring_fault
vdt_chain_walk_split_table(struct vdt_chain_walk *walk, struct vdt_chain *chain,
                           const struct vdt_reader *reader, uint64_t addr, uint32_t len,
                           uint16_t num)
{
    uint32_t entries = len / ENTRY, index = 0;
    const uint8_t *table;
    enum vdt_ring_fault fault = fetch_table(chain, reader, addr, len, num, &table);

    if (fault != VDT_FAULT_NONE)
        return fault;
    for (uint32_t steps = 1;; steps++) {
        const uint8_t *p = table + (size_t) index * ENTRY;
        struct vdt_seg desc = {
            .addr = vdt_get64(p),
            .len = vdt_get32(p + 8),
            .flags = vdt_get16(p + 12),
            .next = (uint16_t) steps, /* where it will stand in a table of just these segments */
        };

        if (desc.flags & VDT_SEG_INDIRECT)
            return VDT_FAULT_INDIRECT;
        fault = vdt_chain_walk_add(walk, chain, desc);
        if (fault != VDT_FAULT_NONE)
            return fault;
        if (!(desc.flags & VDT_SEG_NEXT))
            return VDT_FAULT_NONE;
        index = vdt_get16(p + 14);
        if (index >= entries)
            return VDT_FAULT_NEXT;
        if (steps == entries)
            return VDT_FAULT_LOOP;
    }
}

enum vdt_ring_fault
vdt_chain_walk_packed_table(struct vdt_chain_walk *walk, struct vdt_chain *chain,
                            const struct vdt_reader *reader, uint64_t addr, uint32_t len,
                            uint16_t num)
{
    uint32_t entries = len / ENTRY;
    const uint8_t *table;
    enum vdt_ring_fault fault = fetch_table(chain, reader, addr, len, num, &table);

    for (uint32_t i = 0; i < entries && fault == VDT_FAULT_NONE; i++) {
        const uint8_t *p = table + (size_t) i * ENTRY;
        bool last = i + 1 == entries;

        /* WRITE is the only flag with a meaning in here, the device ignores the others and the id.
         */
        fault = vdt_chain_walk_add(walk, chain,
                                   (struct vdt_seg){
                                       .addr = vdt_get64(p),
                                       .len = vdt_get32(p + 8),
                                       .flags = (uint16_t) ((vdt_get16(p + 14) & VDT_SEG_WRITE) |
                                                            (last ? 0 : VDT_SEG_NEXT)),
                                       .next = (uint16_t) (i + 1),
                                   });
    }
    return fault;
}

uint32_t
vdt_chain_write_table(const struct vdt_chain *chain, enum vdt_ring_kind kind, void *table)
{
    uint32_t entries = chain->count - chain->direct;
    uint8_t *p = table;

    for (uint32_t i = 0; i < entries; i++, p += ENTRY) {
        const struct vdt_seg *seg = &chain->seg[chain->direct + i];
        uint16_t write = seg->flags & VDT_SEG_WRITE;
        bool last = i + 1 == entries;

        vdt_put64(p, seg->addr);
        vdt_put32(p + 8, seg->len);
        if (kind == VDT_RING_SPLIT) {
            vdt_put16(p + 12, last ? write : write | VDT_SEG_NEXT);
            vdt_put16(p + 14, last ? 0 : (uint16_t) (i + 1));
        } else {
            vdt_put16(p + 12, 0);
            vdt_put16(p + 14, write);
        }
    }
    return entries * ENTRY;
}
