/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chain walk: the structural rules that each descriptor has to keep, whichever ring it came from.
 * Ring code only.
 */
#pragma once

#include "base/wire.h"
#include "virtio/chain.h"

struct vdt_chain_walk {
    uint64_t readable, writable; /* cannot overflow: <= 2^17 descriptors of < 2^32 bytes */
    bool in_writable;            /* a writable descriptor was seen; no readable one may follow */
};

static inline void
vdt_chain_walk_start(struct vdt_chain_walk *walk, struct vdt_chain *chain)
{
    *walk = (struct vdt_chain_walk){0};
    chain->count = 0;
    chain->indirect = false;
}

/* Append our copy @desc; its NEXT is kept, the caller's walk follows it. */
static inline enum vdt_ring_fault
vdt_chain_walk_add(struct vdt_chain_walk *walk, struct vdt_chain *chain, struct vdt_seg desc)
{
    uint64_t end;

    if (__builtin_expect(chain->count == chain->capacity, 0))
        return VDT_FAULT_TOO_LONG;
    if (desc.flags & VDT_SEG_WRITE) {
        walk->in_writable = true;
        walk->writable += desc.len;
    } else {
        if (__builtin_expect(walk->in_writable, 0))
            return VDT_FAULT_ORDER;
        walk->readable += desc.len;
    }
    /* An empty descriptor's address means nothing and is not looked at. */
    if (__builtin_expect(!vdt_range_end(desc.addr, desc.len, &end) && desc.len > 0, 0))
        return VDT_FAULT_ADDRESS;
    desc.flags &= VDT_SEG_NEXT | VDT_SEG_WRITE;
    chain->seg[chain->count++] = desc;
    return VDT_FAULT_NONE;
}

static inline enum vdt_ring_fault
vdt_chain_walk_end(const struct vdt_chain_walk *walk, struct vdt_chain *chain)
{
    if (__builtin_expect(walk->readable + walk->writable > UINT32_MAX, 0))
        return VDT_FAULT_TOO_LONG;
    chain->readable = (uint32_t) walk->readable;
    chain->writable = (uint32_t) walk->writable;
    return VDT_FAULT_NONE;
}

/* A whole chain of the one descriptor @desc, as most are; the same rules without the sums. */
static inline enum vdt_ring_fault
vdt_chain_walk_single(struct vdt_chain *chain, struct vdt_seg desc)
{
    bool write = desc.flags & VDT_SEG_WRITE;
    uint64_t end;

    if (__builtin_expect(chain->capacity == 0, 0))
        return VDT_FAULT_TOO_LONG;
    if (__builtin_expect(!vdt_range_end(desc.addr, desc.len, &end), 0) && desc.len > 0)
        return VDT_FAULT_ADDRESS;
    desc.flags &= VDT_SEG_WRITE;
    chain->seg[0] = desc;
    chain->count = 1;
    chain->direct = 1;
    chain->slots = 1;
    chain->indirect = false;
    chain->readable = write ? 0 : desc.len;
    chain->writable = write ? desc.len : 0;
    return VDT_FAULT_NONE;
}

/*
 * Append the indirect table at @addr, which may hold up to @num entries, fetched by one call of
 * @reader. Split tables are linked by next (2.7.5.3), packed ones are used from the first entry to
 * the last (2.8.7).
 */
enum vdt_ring_fault vdt_chain_walk_split_table(struct vdt_chain_walk *walk, struct vdt_chain *chain,
                                               const struct vdt_reader *reader, uint64_t addr,
                                               uint32_t len, uint16_t num);
enum vdt_ring_fault vdt_chain_walk_packed_table(struct vdt_chain_walk *walk,
                                                struct vdt_chain *chain,
                                                const struct vdt_reader *reader, uint64_t addr,
                                                uint32_t len, uint16_t num);
