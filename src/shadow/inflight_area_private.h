/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inside of an in-flight area, for the files that make it up: inflight_area.c (made, mapped,
 * written), inflight_area_read.c, inflight_area_own.c.
 */
#pragma once

#include "shadow/inflight_area.h"

#include <stddef.h>
#include <unistd.h>

#include "base/wire.h"
#include "memory/sigbus.h"

#define VDT_AREA_VERSION 1u
/* Only in an area of our own. */
#define VDT_AREA_DIRECT 0x8001u

/* As vhost-user lays it out; fields by vdt_load and vdt_store. */
struct vdt_area_split_entry {
    uint8_t inflight, reserved[5];
    uint16_t next; /* the one given before it in its batch */
    uint64_t counter;
};

struct vdt_area_split_head {
    uint64_t features; /* of the format: none; ours: the tag */
    uint16_t version, entries, last_given, used;
};

struct vdt_area_packed_entry {
    uint8_t inflight, reserved;
    uint16_t next; /* in its chain, else in the free list */
    uint16_t last, slots;
    uint64_t counter;
    uint16_t id, flags;
    uint32_t len;
    uint64_t addr;
};

struct vdt_area_packed_head {
    uint64_t features;
    uint16_t version, entries, free_head, old_free_head, used, old_used;
    uint8_t wrap, old_wrap, reserved[7];
};

G_STATIC_ASSERT(sizeof(struct vdt_area_split_entry) == 16 &&
                sizeof(struct vdt_area_split_head) == 16);
G_STATIC_ASSERT(sizeof(struct vdt_area_packed_entry) == 32 &&
                sizeof(struct vdt_area_packed_head) == 32);
G_STATIC_ASSERT(offsetof(struct vdt_area_packed_head, wrap) == 20);

struct vdt_inflight_area {
    uint8_t *map; /* owned */
    uint64_t size, stride;
    struct vdt_sigbus_guard *guard;
    uint16_t queues, entries;
    bool own; /* a copy of each region stands behind the last */
};

static inline struct vdt_area_split_entry *
vdt_area_split_at(const uint8_t *region, uint32_t i)
{
    return (struct vdt_area_split_entry *) (region + sizeof(struct vdt_area_split_head)) + i;
}

static inline struct vdt_area_packed_entry *
vdt_area_packed_at(const uint8_t *region, uint32_t i)
{
    return (struct vdt_area_packed_entry *) (region + sizeof(struct vdt_area_packed_head)) + i;
}

static inline void
vdt_area_store8(uint8_t *p, uint8_t value)
{
    __atomic_store_n(p, value, __ATOMIC_RELAXED);
}

/* What went before is in memory when this process dies here: no more than the compiler's order. */
static inline void
vdt_area_keep_order(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* Of stores to volatile objects the compiler keeps the order, and it is free in all others: a head
 * is in flight only after those before it. */
static inline void
vdt_area_split_take(uint8_t *at, uint16_t head, uint64_t counter)
{
    struct vdt_area_split_entry *entry = vdt_area_split_at(at, head);

    *(volatile uint64_t *) &entry->counter = GUINT64_TO_LE(counter);
    *(volatile uint8_t *) &entry->inflight = 1;
}

static inline uint8_t *
vdt_area_region(const struct vdt_inflight_area *area, uint32_t index)
{
    return area->map + index * area->stride;
}

/* They stand at the same place for either kind. */
static inline uint16_t *
vdt_area_version(uint8_t *region)
{
    return &((struct vdt_area_split_head *) region)->version;
}

static inline uint64_t
vdt_area_stride(uint16_t size)
{
    uint64_t page = (uint64_t) sysconf(_SC_PAGESIZE);
    uint64_t bytes = sizeof(struct vdt_area_packed_head) +
                     (uint64_t) size * sizeof(struct vdt_area_packed_entry);

    return (bytes + page - 1) / page * page;
}

bool vdt_area_check_rings(uint16_t queues, uint16_t size, GError **error);
