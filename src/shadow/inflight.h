/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * In flight: the chains of one ring that the device has, kept in our own memory from the moment
 * they are forwarded until they are given back.
 *
 * What is logged, given back and carried to a destination comes from here, never from guest or
 * device memory read a second time. Indexed by the id that the device knows: split: the head (same
 * index on both rings); packed: a shadow id from a free list, since the guest's ids are opaque.
 *
 * Segments: split keeps descriptor i at place i, so that a descriptor of two chains at once is
 * seen; packed takes places from a free list. Tables: an indirect table is copied into memory that
 * the device can read; each id has a table of VDT_TABLE_ENTRIES, longer ones come from a small
 * pool, and when that is used up the caller stops fetching until one is freed.
 *
 * Thread: that of the relay that owns it. No allocation outside init/clear.
 */
#pragma once

#include "virtio/chain.h"

#define VDT_TABLE_ENTRIES 32u
#define VDT_TABLES_LONG 4u /* tables of ring size, for each ring */

struct vdt_inflight_head {
    uint64_t order;         /* fetch order */
    uint16_t seg;           /* first kept segment of the direct part */
    uint16_t direct;        /* segments of the direct part */
    uint16_t table;         /* segments of the table */
    uint16_t indirect_slot; /* split: of the ring */
    uint16_t guest_id;
    uint16_t slots;
    uint8_t long_table; /* 0: the id's own; else 1 + index in the pool */
    bool busy;
    bool indirect;
};

/* Device-visible tables: @VDT_TABLE_ENTRIES descriptors for each id, then the long ones. */
struct vdt_table_memory {
    struct vdt_seg *host;
    uint64_t iova;
};

struct vdt_inflight {
    enum vdt_ring_kind kind;
    uint16_t num;
    uint32_t count; /* heads busy */
    uint64_t order;
    struct vdt_inflight_head *heads; /* owned, num */
    struct vdt_seg *segs;            /* owned, num; guest addresses */
    bool *owned_seg;                 /* owned, num; split: descriptor is in a chain in flight */
    uint16_t *free_ids;              /* owned stack, packed */
    uint16_t *free_segs;             /* owned stack, packed */
    uint32_t free_id_count, free_seg_count;
    struct vdt_table_memory table; /* borrowed from the arena; host NULL without INDIRECT */
    struct vdt_seg *kept_tables;   /* owned, same shape; guest addresses */
    struct vdt_seg *table_descs;   /* owned; by id: where the guest's table lies, packed */
    unsigned long_free;            /* bit per long table */
};

/* Bytes of device-visible table memory for a ring of @num. */
uint64_t vdt_inflight_table_size(uint16_t num);

void vdt_inflight_init(struct vdt_inflight *f, const struct vdt_ring_format *format,
                       const struct vdt_table_memory *table);
void vdt_inflight_clear(struct vdt_inflight *f);

enum vdt_keep {
    VDT_KEEP_OK,
    VDT_KEEP_FULL,  /* no id, segment or long table left: fetch again after a completion */
    VDT_KEEP_OWNED, /* a descriptor that another chain in flight owns: the guest broke the ring */
};

/* Keep @chain (guest addresses). @ret_id: for the device. Where it has a table, @ret_table is the
 * device-visible copy to be filled and @ret_table_iova its address. */
enum vdt_keep vdt_inflight_keep(struct vdt_inflight *f, const struct vdt_chain *chain,
                                uint16_t *ret_id, struct vdt_seg **ret_table,
                                uint64_t *ret_table_iova);
void vdt_inflight_drop(struct vdt_inflight *f, uint16_t id);

/* The same for a split chain of one descriptor, @head, which is not owned. */
static inline void
vdt_inflight_keep_single(struct vdt_inflight *f, uint16_t head, const struct vdt_seg *seg)
{
    f->owned_seg[head] = true;
    f->segs[head] = *seg;
    f->heads[head] = (struct vdt_inflight_head){
        .order = f->order++, .seg = head, .direct = 1, .guest_id = head, .slots = 1, .busy = true};
    f->count++;
}

static inline void
vdt_inflight_drop_single(struct vdt_inflight *f, uint16_t head)
{
    f->owned_seg[head] = false;
    f->heads[head].busy = false;
    f->count--;
}

/* Call @mark for each device-writable stretch of the chain; at most @limit bytes in all. */
typedef void (*vdt_mark)(void *ctx, uint64_t gpa, uint64_t len);
void vdt_inflight_each_writable(const struct vdt_inflight *f, uint16_t id, uint64_t limit,
                                vdt_mark mark, void *ctx);

/* Ids in fetch order into @ids (room for num). Returns how many. Not for the data path. */
uint32_t vdt_inflight_list(const struct vdt_inflight *f, uint16_t *ids);
/* All segments of @id, guest addresses, in order; at most 2 * num. Returns how many. */
uint32_t vdt_inflight_segments(const struct vdt_inflight *f, uint16_t id, struct vdt_seg *segs);
