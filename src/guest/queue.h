/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Queue: one virtqueue of the built-in guest's driver, and its books: every chain that was made
 * available is on record until it comes back, whichever device gives it back.
 *
 * The books are what a migration is judged by. A completion for an id that is not in flight is a
 * duplicate; what is still on record once the device had all the time it needs is lost.
 *
 * Thread: the guest's.
 */
#pragma once

#include "guest/ram.h"
#include "virtio/device_ring.h"

#define VDT_QUEUE_PARTS 8u

struct vdt_queue_part {
    uint64_t gpa;
    uint32_t len;
    bool write; /* by the device */
};

/* A chain in flight. */
struct vdt_queue_chain {
    bool posted;
    unsigned count;
    struct vdt_queue_part part[VDT_QUEUE_PARTS];
    uint64_t table; /* GPA of its indirect table, 0: none */
    uint64_t cookie;
};

struct vdt_queue {
    uint32_t index;
    struct vdt_ram *ram; /* borrowed: where the guest runs now */
    struct vdt_device_ring ring;
    struct vdt_ring_addr addr;      /* GPA; each area on pages of its own */
    struct vdt_queue_chain *chains; /* owned, by id */
    int kick, call;                 /* owned eventfds */
    uint64_t available, used, duplicated, kicks, calls;
};

/* Bytes of guest memory that a ring takes, from a page boundary on. */
uint64_t vdt_queue_size(const struct vdt_ring_format *format);

bool vdt_queue_init(struct vdt_queue *queue, uint32_t index, const struct vdt_ring_format *format,
                    struct vdt_ram *ram, uint64_t gpa, GError **error);
void vdt_queue_clear(struct vdt_queue *queue);

/* The guest's memory is elsewhere now, byte for byte: go on there. Fresh eventfds, as at a VMM that
 * has just started. */
bool vdt_queue_move(struct vdt_queue *queue, struct vdt_ram *ram, GError **error);

/* Readable parts first. @table: GPA of a buffer for an indirect table, 0 for a direct chain. False:
 * the ring is full. Seen by the device after kick(). */
bool vdt_queue_post(struct vdt_queue *queue, const struct vdt_queue_part *parts, unsigned count,
                    uint64_t table, uint64_t cookie);
/* Chains of @count parts that fit now. */
bool vdt_queue_has_room(const struct vdt_queue *queue, unsigned count, bool indirect);
void vdt_queue_kick(struct vdt_queue *queue);

/* The next completion: true with the chain as it was posted (the caller has its buffers back). A
 * ring that the device broke yields nothing more; see broken(). */
bool vdt_queue_reap(struct vdt_queue *queue, struct vdt_queue_chain *ret_chain, uint32_t *ret_len);
const char *vdt_queue_broken(const struct vdt_queue *queue); /* NULL: it works */

/* Ask for a call; true when something is there already. */
bool vdt_queue_sleep(struct vdt_queue *queue);

static inline uint64_t
vdt_queue_in_flight(const struct vdt_queue *queue)
{
    return queue->available - queue->used;
}
