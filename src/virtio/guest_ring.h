/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest ring: the device role. Takes chains that a driver made available, gives them back used.
 *
 * Used by the relay (the guest's data rings), by the control queue relay and by the embedded
 * device (the rings that we hand to it). The ring's memory belongs to an untrusted driver: each
 * field is read once, and a ring that breaks a rule is out of service until init() again.
 *
 * Thread: one owner at a time. No allocation, no lock, no log in take/give/publish.
 */
#pragma once

#include "virtio/chain.h"

enum vdt_take {
    VDT_TAKE_CHAIN,  /* the chain is filled and ours until given back */
    VDT_TAKE_EMPTY,  /* nothing available; not an error */
    VDT_TAKE_BROKEN, /* the driver broke the ring; see @fault */
};

struct vdt_guest_ring {
    struct vdt_ring_format format;
    struct vdt_ring_mem mem;
    struct vdt_ring_pos pos; /* next to take, next to give */
    uint16_t avail_seen;     /* split: avail.idx as last loaded */
    uint16_t published;      /* pos.used at the last publish(); what lies behind it is staged */
    uint32_t in_flight;      /* split: chains; packed: slots (<= num) taken and not given; at the
                              * start what lies between pos.used and pos.avail */
    uint16_t first_flags;    /* packed: flags of the first staged used descriptor, for publish() */
    enum vdt_ring_fault fault;
};

/* @mem points at areas of at least the format's sizes, readable and (device area, packed desc)
 * writable, and stays so while the ring is in use. A @pos that is none puts the ring out of
 * service. */
void vdt_guest_ring_init(struct vdt_guest_ring *ring, const struct vdt_ring_format *format,
                         const struct vdt_ring_mem *mem, struct vdt_ring_pos pos);

/*
 * Copy and check the next available chain. @reader resolves indirect tables. Structural rules only:
 * the addresses of the segments are the caller's to check. On BROKEN nothing was consumed.
 */
enum vdt_take vdt_guest_ring_take(struct vdt_guest_ring *ring, const struct vdt_reader *reader,
                                  struct vdt_chain *chain);

/* By what was seen so far: more may have come meanwhile. */
bool vdt_guest_ring_seems_empty(const struct vdt_guest_ring *ring);

/* The last taken chain was not wanted now: take() will return it again. Only directly after take().
 */
void vdt_guest_ring_untake(struct vdt_guest_ring *ring, const struct vdt_chain *chain);

/* Stage a used entry. @id and @slots are the chain's. Visible to the driver after publish(). */
void vdt_guest_ring_give(struct vdt_guest_ring *ring, uint16_t id, uint16_t slots, uint32_t len);

/* Make all staged entries visible (one release store). No-op when nothing is staged. */
void vdt_guest_ring_publish(struct vdt_guest_ring *ring);

/*
 * After publish(): does the driver want an interrupt for what was published since @published_from?
 * That is @published as it stood before the publish() (= pos.used before the first give() of the
 * batch); several publishes may share one question, then it is the value before the first of them.
 * Holds the one full fence of the batch. Suppression that breaks the packed rules sets @fault.
 */
bool vdt_guest_ring_needs_call(struct vdt_guest_ring *ring, uint16_t published_from);

/* Ask the driver not to kick / to kick again. kicks_on() returns true if something became available
 * meanwhile (then take again, or the kick is lost). */
void vdt_guest_ring_kicks_off(struct vdt_guest_ring *ring);
bool vdt_guest_ring_kicks_on(struct vdt_guest_ring *ring);

/* A stretch of one of the areas that we wrote, for dirty logging. */
struct vdt_ring_span {
    uint64_t offset; /* from the start of @area */
    uint32_t len;
    bool in_desc; /* area: packed descriptor ring (true) or device area (false) */
};

#define VDT_RING_SPANS_MAX 4

/* What publish() wrote when pos.used went from @from to the current published position, index or
 * flags fields and suppression fields included, whether they changed or not: after kicks_on() or
 * kicks_off() alone, ask with @from = published. Returns how many of @spans were filled. */
unsigned vdt_guest_ring_written(const struct vdt_guest_ring *ring, uint16_t from,
                                struct vdt_ring_span spans[VDT_RING_SPANS_MAX]);

/*
 * The chains between @from and pos.avail of a stopped ring, by the heads in the avail ring (split
 * only): for a start without known in-flight list. Returns the count, at most num; false in
 * @ret_ok when an entry is not a head.
 */
uint32_t vdt_guest_ring_heads(const struct vdt_guest_ring *ring, uint16_t from, uint16_t to,
                              uint16_t *heads, bool *ret_ok);

/* Split only: copy and check the chain that starts at @head, whatever the avail ring says; for
 * resubmission of in-flight requests at a destination, which pos already counts as in flight. */
enum vdt_take vdt_guest_ring_take_head(struct vdt_guest_ring *ring, const struct vdt_reader *reader,
                                       uint16_t head, struct vdt_chain *chain);
