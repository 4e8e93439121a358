/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chain: one buffer of a ring, copied out of foreign memory and checked.
 *
 * Everything here is our own copy: the owner of the ring may change its memory at will, and nothing
 * is read from there again. Segments are in ring order, indirect tables already resolved.
 */
#pragma once

#include "virtio/ring.h"

#define VDT_SEG_NEXT 1u     /* VRING_DESC_F_NEXT */
#define VDT_SEG_WRITE 2u    /* VRING_DESC_F_WRITE */
#define VDT_SEG_INDIRECT 4u /* VRING_DESC_F_INDIRECT; only inside the ring code and the relay */

/* Same shape as a split descriptor, host byte order. */
struct vdt_seg {
    uint64_t addr;
    uint32_t len;
    uint16_t flags; /* VDT_SEG_WRITE; NEXT where a next one follows in this chain */
    uint16_t
        next; /* with NEXT; split, direct part: ring index of the next descriptor; table: entry */
};

struct vdt_chain {
    struct vdt_seg *seg; /* borrowed scratch of @capacity entries; the taker provides it */
    uint32_t capacity;   /* >= 3 * ring size is always enough (direct part, table, table as read) */
    uint32_t count;      /* segments filled, 0 is possible (only zero-length parts are kept too) */
    uint32_t direct;     /* the first @direct of them stand in the ring itself ... */
    bool indirect;       /* ... the rest came from one indirect table */
    uint16_t head;       /* split: ring index of the first descriptor; packed: slot of it */
    uint16_t id;         /* packed: buffer id, opaque 16 bits; split: equal to head */
    uint16_t slots;      /* ring descriptors consumed, >= 1 (direct + the one INDIRECT, if any) */
    uint64_t table_addr;    /* packed, when @indirect: its table as the guest wrote it; ... */
    uint32_t table_len;     /* ... 0: not known */
    uint32_t indirect_slot; /* split: ring index of the INDIRECT descriptor, when @indirect */
    uint32_t readable;      /* bytes the device may read */
    uint32_t writable;      /* bytes the device may write; readable + writable < 2^32 */
};

/* Copies bytes out of the address space that descriptors speak; false where it is not mapped. */
struct vdt_reader {
    bool (*read)(void *ctx, uint64_t addr, void *dst, uint32_t len);
    void *ctx;
};

/*
 * The indirect part of @chain as a table that a ring of @kind understands, written to @table, which
 * has room for count - direct entries of 16 bytes. Returns the bytes written.
 */
uint32_t vdt_chain_write_table(const struct vdt_chain *chain, enum vdt_ring_kind kind, void *table);
