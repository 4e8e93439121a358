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
 * seen; packed takes places from a free list, and the first of a chain is its id. A chain of one
 * descriptor, as most are, is told by that place alone; only others have a head beside it. Tables:
 * an indirect table is copied into memory that the device can read; each id has a table of
 * VDT_TABLE_ENTRIES, longer ones come from a small pool, and when that is used up the caller stops
 * fetching until one is freed.
 *
 * Thread: that of the relay that owns it. No allocation outside init/clear.
 */
#pragma once

#include "virtio/device_ring.h"

#define VDT_TABLE_ENTRIES 32u
#define VDT_TABLES_LONG 4u /* tables of ring size, for each ring */

/* A chain in flight, by its id. */
struct vdt_inflight_head {
    uint16_t direct;        /* segments of the direct part */
    uint16_t table;         /* segments of the table */
    uint16_t indirect_slot; /* split: of the ring */
    uint16_t guest_id;
    uint16_t slots;
    uint8_t long_table; /* 0: the id's own; else 1 + index in the pool */
    bool indirect;
};

/* A place: a guest's descriptor, or free; and what goes with the id of a chain that begins there.
 */
struct vdt_kept {
    uint64_t addr;
    uint64_t order;           /* @fetched when the chain was */
    struct vdt_posted posted; /* the device ring's; @mark: 0 when free, else flags and these: */
    uint32_t len;             /* but @posted.writable of a single that is that */
    uint16_t next;            /* of the chain; packed and single: the guest's id */
};

#define VDT_KEPT_PART 0x100u   /* of a chain in flight */
#define VDT_KEPT_HEAD 0x200u   /* its first place; the id */
#define VDT_KEPT_SINGLE 0x400u /* and its only one: all there is to know about the chain */
#define VDT_KEPT_ALONE (VDT_KEPT_PART | VDT_KEPT_HEAD | VDT_KEPT_SINGLE)

/* Device-visible tables: @VDT_TABLE_ENTRIES descriptors for each id, then the long ones. */
struct vdt_table_memory {
    struct vdt_seg *host;
    uint64_t iova;
};

struct vdt_inflight {
    enum vdt_ring_kind kind;
    uint16_t num;
    uint32_t count;                  /* chains */
    uint64_t fetched;                /* chains ever kept */
    struct vdt_kept *kept;           /* owned, num; guest addresses */
    struct vdt_inflight_head *heads; /* owned, num; by id, of chains that are not single */
    uint16_t *free;                  /* owned stack of places, packed */
    uint32_t free_count;
    struct vdt_table_memory table; /* borrowed from the arena; host NULL without INDIRECT */
    struct vdt_seg *kept_tables;   /* owned, same shape; guest addresses */
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

/* The same for a chain of one descriptor, and posted with it, for loops that count themselves
 * (@count, @fetched; @free_count). @kept is free. */
static inline void
vdt_kept_writable(struct vdt_kept *kept, uint64_t addr, uint32_t len, uint64_t fetched)
{
    kept->addr = addr;
    kept->order = fetched;
    kept->posted.writable = len;
    kept->posted.slots = 1;
    kept->posted.mark = VDT_KEPT_ALONE | VDT_SEG_WRITE;
}

static inline void
vdt_kept_readable(struct vdt_kept *kept, uint64_t addr, uint32_t len, uint64_t fetched)
{
    kept->addr = addr;
    kept->order = fetched;
    kept->len = len;
    kept->posted.writable = 0;
    kept->posted.slots = 1;
    kept->posted.mark = VDT_KEPT_ALONE;
}

static inline void
vdt_kept_drop(struct vdt_kept *kept)
{
    kept->posted.slots = kept->posted.mark = 0;
}

/* As the guest wrote it. */
static inline struct vdt_seg
vdt_kept_seg(const struct vdt_kept *kept)
{
    uint16_t mark = kept->posted.mark;
    bool whole = (mark & (VDT_KEPT_SINGLE | VDT_SEG_WRITE)) == (VDT_KEPT_SINGLE | VDT_SEG_WRITE);

    return (struct vdt_seg){.addr = kept->addr,
                            .len = whole ? kept->posted.writable : kept->len,
                            .flags = mark & (VDT_SEG_NEXT | VDT_SEG_WRITE | VDT_SEG_INDIRECT),
                            .next = kept->next};
}

/* What is known of @id, which is in flight. */
static inline struct vdt_inflight_head
vdt_inflight_head(const struct vdt_inflight *f, uint16_t id)
{
    const struct vdt_kept *kept = &f->kept[id];

    if (!(kept->posted.mark & VDT_KEPT_SINGLE))
        return f->heads[id];
    return (struct vdt_inflight_head){
        .direct = 1, .guest_id = f->kind == VDT_RING_SPLIT ? id : kept->next, .slots = 1};
}

bool vdt_inflight_has(const struct vdt_inflight *f, uint16_t id);

/* Call @mark for each device-writable stretch of the chain; at most @limit bytes in all. */
typedef void (*vdt_mark)(void *ctx, uint64_t gpa, uint64_t len);
void vdt_inflight_each_writable(const struct vdt_inflight *f, uint16_t id, uint64_t limit,
                                vdt_mark mark, void *ctx);

/* Ids in fetch order into @ids (room for num). Returns how many. Not for the data path. */
uint32_t vdt_inflight_list(const struct vdt_inflight *f, uint16_t *ids);
/* All segments of @id, guest addresses, in order; at most 2 * num. Returns how many. */
uint32_t vdt_inflight_segments(const struct vdt_inflight *f, uint16_t id, struct vdt_seg *segs);
