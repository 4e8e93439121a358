/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Relay: one data ring, guest's and shadow, and what is in flight between them. The data path.
 *
 * Thread: the worker that it is attached to; the control thread while it is parked. Nobody else
 * touches it, but for the counters, which anybody may read.
 */
#pragma once

#include "memory/dirty_log.h"
#include "memory/guest_map.h"
#include "memory/iova_space.h"
#include "shadow/inflight.h"
#include "shadow/inflight_area.h"
#include "shadow/stretch.h"
#include "virtio/device_ring.h"
#include "virtio/guest_ring.h"

/* Written by the relay's thread only; read racily by status. */
struct vdt_relay_counters {
    uint64_t chains, returned, bytes_in, bytes_out;
    uint64_t kicks_taken, kicks_sent, calls_taken, calls_sent;
    struct vdt_ring_pos pos; /* of the guest's ring, as of the last batch */
    uint32_t in_flight;      /* as of the last batch */
};

#define VDT_COUNT(counter, n) __atomic_store_n(&(counter), (counter) + (n), __ATOMIC_RELAXED)

struct vdt_relay {
    struct vdt_guest_ring guest;
    struct vdt_device_ring device;
    struct vdt_inflight inflight;
    struct vdt_chain chain;   /* scratch of the forward path; its segments are owned */
    struct vdt_reader reader; /* indirect tables, out of @map */

    struct vdt_guest_map *map;          /* reference held: the generation this ring works with */
    const struct vdt_iova_table *table; /* borrowed; NULL: IOVA = GPA */
    struct vdt_stretch stretch;         /* of the last segment; of the map and table that follow */
    uint64_t stretch_generation;
    const struct vdt_iova_table *stretch_table;
    struct vdt_dirty_log *log; /* borrowed; NULL: no logging */
    bool dirty_used_width;
    struct vdt_area_ring *area;    /* borrowed; NULL: no in-flight area is kept */
    struct vdt_seg resubmit_table; /* packed: where the table of the next resubmit() lies */
    struct vdt_ring_addr gpa;      /* the guest ring's areas */

    int guest_kick, guest_call;   /* borrowed; -1: none */
    int device_kick, device_call; /* borrowed eventfds of ours */
    int attention;                /* borrowed: signalled when the relay breaks */

    bool single_out, single_in; /* the last chain could go in a run: so may the next */
    bool stalled;               /* room ran out: fetch again after a completion */
    enum vdt_ring_fault fault;  /* out of service until init */
    bool device_fault;          /* the device did it, not the guest */
    struct vdt_relay_counters counters;
};

struct vdt_relay_config {
    struct vdt_ring_format format;
    struct vdt_ring_mem guest_mem, device_mem;
    struct vdt_ring_addr gpa;
    struct vdt_ring_pos guest_pos;
    struct vdt_ring_pos device_pos; /* nothing in flight: avail == used */
    struct vdt_table_memory table_memory;
    struct vdt_guest_map *map;
};

void vdt_relay_init(struct vdt_relay *relay, const struct vdt_relay_config *config);
void vdt_relay_clear(struct vdt_relay *relay);

/*
 * Move what can be moved, both ways; at most a ring's worth each. True if there may be more to do
 * at once (come again before sleeping), false when kicks and calls are asked for again.
 */
bool vdt_relay_work(struct vdt_relay *relay);

/* The two halves; the number of chains moved. For parked relays: back() reaps what the device has
 * finished without fetching anything new. */
unsigned vdt_relay_forward(struct vdt_relay *relay);
unsigned vdt_relay_back(struct vdt_relay *relay);

/* Nobody looks at the ring for a while: leave it asking for kicks, for whoever works on it next.
 */
void vdt_relay_park(struct vdt_relay *relay);

/* Make a request available to the device again that an earlier device did not finish; in fetch
 * order, before the first forward. Split: by the head; packed: @segs, @slots as kept. False: the
 * guest's memory does not hold such a chain (@fault set). Not seen by the device before kick(). */
bool vdt_relay_resubmit(struct vdt_relay *relay, uint16_t id, uint16_t slots,
                        const struct vdt_seg *segs, uint32_t seg_count);
void vdt_relay_kick_device(struct vdt_relay *relay);

/* Log the whole of everything in flight: a device that was reset may have written any of it. */
void vdt_relay_log_in_flight(struct vdt_relay *relay);
