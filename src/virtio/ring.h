/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rings: what split (virtio 1.2, 2.7) and packed (2.8) rings have in common: format, areas,
 * positions.
 *
 * Pure layout, no system calls. Addresses are in the space of whoever owns the ring: GPA for the
 * guest's rings, IOVA for the ones a device sees.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VDT_RING_MAX 32768u

enum vdt_ring_kind { VDT_RING_SPLIT, VDT_RING_PACKED };

/* What was negotiated, as far as rings care. */
struct vdt_ring_format {
    enum vdt_ring_kind kind;
    uint16_t num; /* descriptors; a power of two for split, any 1..32768 for packed */
    bool event_idx;
    bool indirect;
    bool in_order;
};

/* The spec's names for the three areas of either kind. */
struct vdt_ring_addr {
    uint64_t desc;   /* split: descriptor table; packed: descriptor ring */
    uint64_t driver; /* split: avail ring; packed: driver event suppression */
    uint64_t device; /* split: used ring; packed: device event suppression */
};

struct vdt_ring_mem {
    void *desc;
    void *driver;
    void *device;
};

/*
 * A place in a ring, as VHOST_GET_VRING_BASE tells it. Split: the free-running index. Packed: slot
 * in bits 0-14, wrap counter in bit 15. Split keeps only @avail in vhost's number; packed keeps
 * both (used in the upper half).
 */
struct vdt_ring_pos {
    uint16_t avail; /* next to be fetched by the device side */
    uint16_t used;  /* next to be given back by the device side */
};

/* Where a fresh ring starts: 0/0 for split, slot 0 with wrap counter 1 (0x8000) for packed. */
struct vdt_ring_pos vdt_ring_pos_initial(enum vdt_ring_kind kind);

size_t vdt_ring_desc_size(const struct vdt_ring_format *format);
size_t vdt_ring_driver_size(const struct vdt_ring_format *format);
size_t vdt_ring_device_size(const struct vdt_ring_format *format);

/* Alignment that the spec demands: split 16/2/4, packed 16/4/4. */
bool vdt_ring_addr_aligned(const struct vdt_ring_format *format, const struct vdt_ring_addr *addr);

/* Whether @num can be the size of a ring of @kind. */
bool vdt_ring_num_valid(enum vdt_ring_kind kind, uint32_t num);

/* Whether @pos is a position in such a ring (packed: slots < num; split: anything, used <= avail
 * distance num). */
bool vdt_ring_pos_valid(const struct vdt_ring_format *format, struct vdt_ring_pos pos);

/*
 * The vhost number of a position and back (vhost-user VRING_BASE, VHOST_GET_VRING_BASE).
 * Frontends differ in packed: UML sends 0 for "initial" (taken as 0x80008000), DPDK 16 bits (the
 * used half is then taken equal to the avail half). False if no such position exists.
 */
uint32_t vdt_ring_pos_to_base(const struct vdt_ring_format *format, struct vdt_ring_pos pos);
bool vdt_ring_pos_from_base(const struct vdt_ring_format *format, uint32_t base,
                            struct vdt_ring_pos *ret_pos);

/* The packed position @slots further; wraps at num and flips the wrap counter. */
static inline uint16_t
vdt_packed_advance(uint16_t pos, uint16_t slots, uint16_t num)
{
    uint32_t slot = (uint32_t) (pos & 0x7fff) + slots;
    uint16_t wrap = pos & 0x8000;

    if (slot >= num) {
        slot -= num;
        wrap ^= 0x8000;
    }
    return (uint16_t) (slot | wrap);
}

/* Slots from packed position @from forward to @to: 0 .. 2 * num - 1. */
static inline uint32_t
vdt_packed_distance(uint16_t from, uint16_t to, uint16_t num)
{
    uint32_t a = (uint32_t) (from & 0x7fff) + (from & 0x8000 ? 0 : num);
    uint32_t b = (uint32_t) (to & 0x7fff) + (to & 0x8000 ? 0 : num);

    return b >= a ? b - a : b + 2u * num - a;
}

/* What went wrong with a ring, for err fds, status, logs and snapshots, where the numbers stand: a
 * new one goes to the end. 0 is "nothing". */
enum vdt_ring_fault {
    VDT_FAULT_NONE,
    VDT_FAULT_AVAIL_INDEX, /* more made available than the ring has room for */
    VDT_FAULT_HEAD,        /* head >= ring size */
    VDT_FAULT_NEXT,        /* next >= table size */
    VDT_FAULT_LOOP,        /* chain longer than the table that holds it */
    VDT_FAULT_TOO_LONG,    /* chain of more than 2^32 - 1 bytes, or more than ring size entries */
    VDT_FAULT_ORDER,       /* device-readable descriptor behind a device-writable one */
    VDT_FAULT_INDIRECT,    /* INDIRECT not negotiated, with NEXT, nested, bad length, unreadable */
    VDT_FAULT_ADDRESS,     /* address wraps, or lies outside guest memory */
    VDT_FAULT_OWNED,       /* descriptor of a chain that is still in flight */
    VDT_FAULT_FLAGS,       /* packed: AVAIL/USED inconsistent within a chain */
    VDT_FAULT_USED_INDEX,  /* device: used.idx beyond what is in flight */
    VDT_FAULT_USED_ID,     /* device: id out of range or not in flight */
    VDT_FAULT_USED_LEN,    /* device: more bytes than the chain can take */
    VDT_FAULT_EMPTY_CHAIN, /* no descriptor with a length where one is required */
    VDT_FAULT_EVENT,       /* packed: event suppression with reserved flags or a slot >= num */
    VDT_FAULT_COUNT
};

/* "descriptor chain loops", ... Never NULL. */
const char *vdt_ring_fault_name(enum vdt_ring_fault fault);
