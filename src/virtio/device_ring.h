/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Device ring: the driver role. Posts chains to a device, reaps what it used.
 *
 * Used by the relay (shadow rings), by the control path (the device's control queue) and by the
 * built-in guest. The device is untrusted: what is in flight is known from private arrays, never
 * from ring memory.
 *
 * Split posts at the indices that the chain names (the relay's same-index rule: guest descriptor i
 * becomes shadow descriptor i); a caller with no such indices takes them from
 * vdt_device_ring_lay().
 *
 * Thread: one owner at a time. No allocation, no lock, no log outside init/clear.
 */
#pragma once

#include "virtio/chain.h"

enum vdt_reap {
    VDT_REAP_USED,
    VDT_REAP_EMPTY,
    VDT_REAP_BROKEN, /* the device broke the ring; see @fault */
};

struct vdt_used {
    uint16_t id;  /* as posted */
    uint32_t len; /* bytes the device says it wrote, <= writable */
    bool whole;   /* skipped by an in-order batch: @len is the whole writable length */
};

/* What is remembered of an id, where the device cannot reach it. */
struct vdt_posted {
    uint32_t writable;
    uint16_t slots; /* ring descriptors; 0: not in flight */
    uint16_t mark;  /* left to who posts */
};

struct vdt_device_ring {
    struct vdt_ring_format format;
    struct vdt_ring_mem mem;
    struct vdt_ring_pos pos;   /* next to post, next to reap */
    uint16_t published;        /* pos.avail at the last publish() */
    uint16_t used_seen;        /* split: used.idx as last loaded */
    uint16_t first_flags;      /* packed: flags of the first staged descriptor, for publish() */
    uint32_t in_flight;        /* ring descriptors (slots) posted and not reaped, <= num */
    struct vdt_posted *posted; /* owned or borrowed; the one of id i lies i * @stride bytes on */
    uint32_t stride;
    bool borrows;
    uint16_t *order; /* owned, ids in post order, num entries; in-order batches */
    uint32_t order_head, order_tail;
    uint16_t *free_next; /* owned, lay(): free descriptors of a split ring, ids of a packed one */
    uint16_t free_head;
    uint32_t free_count;
    bool lays;         /* lay() was called: reap() returns to the free list */
    uint16_t batch_id; /* in-order: last id of the batch being handed out */
    uint32_t batch_len;
    bool in_batch;
    enum vdt_ring_fault fault;
};

/* Allocates the private arrays and writes what makes zeroed @mem an empty ring at @pos (indices, or
 * the wrap bits of each slot); nothing is in flight, so pos.avail = pos.used. */
void vdt_device_ring_init(struct vdt_device_ring *ring, const struct vdt_ring_format *format,
                          const struct vdt_ring_mem *mem, struct vdt_ring_pos pos);
void vdt_device_ring_clear(struct vdt_device_ring *ring);

/* Before the first post(): remember each id in a record that the caller has about it, zeroed and
 * @stride bytes apart: a loop over chains touches one cache line for both. */
void vdt_device_ring_borrow(struct vdt_device_ring *ring, struct vdt_posted *first, size_t stride);

/*
 * Give a split chain ring indices of its own from the free list (head, next); packed: nothing to do
 * but the id. False when the ring has not enough free descriptors. reap() returns them.
 * A ring is used either with lay() for every chain or never.
 */
bool vdt_device_ring_lay(struct vdt_device_ring *ring, struct vdt_chain *chain, uint16_t *ret_id);

/*
 * Write the chain's ring descriptors. @chain->slots of them: the @direct ones, and one INDIRECT
 * with (@table, @table_len bytes, device addresses) when @chain->indirect. Segments hold device
 * addresses. @id: split: = chain->head; packed: < num and not in flight. The caller has checked
 * that in_flight + slots <= num. Visible after publish().
 */
void vdt_device_ring_post(struct vdt_device_ring *ring, const struct vdt_chain *chain, uint16_t id,
                          uint64_t table, uint32_t table_len);

/*
 * Lay and post in one: a chain of two descriptors, @out_len bytes at @out that the device reads and
 * @in_len at @in that it writes. False when the ring has not enough free descriptors. @ret_id as
 * with lay(). device_split.h has it inline.
 */
bool vdt_device_ring_put_pair(struct vdt_device_ring *ring, uint64_t out, uint32_t out_len,
                              uint64_t in, uint32_t in_len, uint16_t *ret_id);

/* Make all posted chains available (one store, one fence). True if the device wants a kick. */
bool vdt_device_ring_publish(struct vdt_device_ring *ring);

/* The next completion, checked against what is in flight. On BROKEN nothing was consumed. */
enum vdt_reap vdt_device_ring_reap(struct vdt_device_ring *ring, struct vdt_used *ret_used);

/* The same for a ring of which every chain came by put_pair(): up to @max of them into @used, whose
 * number is returned. The ring's fault says whether it is broken behind them. */
unsigned vdt_device_ring_reap_some(struct vdt_device_ring *ring, struct vdt_used *used,
                                   unsigned max);

/* By what was seen so far: the device may have used more meanwhile. */
bool vdt_device_ring_seems_empty(const struct vdt_device_ring *ring);

/* Ask the device not to call / to call again; calls_on() returns true if something is used already.
 */
void vdt_device_ring_calls_off(struct vdt_device_ring *ring);
bool vdt_device_ring_calls_on(struct vdt_device_ring *ring);

bool vdt_device_ring_id_in_flight(const struct vdt_device_ring *ring, uint16_t id);
