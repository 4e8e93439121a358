/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Split layout: where the fields of a split ring lie (virtio 1.2, 2.7.5 to 2.7.8). Ring code only.
 */
#pragma once

#include <linux/virtio_ring.h>

#include "base/wire.h"
#include "virtio/chain.h"

#define VDT_SPLIT_FLAGS 0u /* of both the avail and the used ring */
#define VDT_SPLIT_IDX 2u
#define VDT_SPLIT_RING 4u

#define VDT_LIKELY(x) __builtin_expect(!!(x), 1)
#define VDT_UNLIKELY(x) __builtin_expect(!!(x), 0)

static inline uint8_t *
vdt_split_avail_entry(void *avail, uint16_t num, uint16_t pos)
{
    return (uint8_t *) avail + VDT_SPLIT_RING + 2u * (pos & (num - 1u));
}

static inline uint8_t *
vdt_split_used_event(void *avail, uint16_t num)
{
    return (uint8_t *) avail + VDT_SPLIT_RING + 2u * num;
}

/* 4-byte aligned only. */
static inline uint8_t *
vdt_split_used_entry(void *used, uint16_t num, uint16_t pos)
{
    return (uint8_t *) used + VDT_SPLIT_RING + 8u * (pos & (num - 1u));
}

/* Entries from the one at @pos to the last one of its ring. */
static inline uint32_t
vdt_split_until_end(uint16_t num, uint16_t pos)
{
    return num - (pos & (num - 1u));
}

static inline void
vdt_split_store_used(uint8_t *entry, uint32_t id, uint32_t len)
{
    vdt_store32(entry, id);
    vdt_store32(entry + 4, len);
}

static inline uint8_t *
vdt_split_avail_event(void *used, uint16_t num)
{
    return (uint8_t *) used + VDT_SPLIT_RING + 8u * num;
}

/* A descriptor, each field read once: the only look that is taken at these 16 bytes. */
static inline struct vdt_seg
vdt_split_load_desc(const void *table, uint32_t index)
{
    const uint8_t *p = (const uint8_t *) table + 16 * (size_t) index;
    uint32_t tail = vdt_load32(p + 12);

    return (struct vdt_seg){.addr = vdt_load64(p),
                            .len = vdt_load32(p + 8),
                            .flags = (uint16_t) tail,
                            .next = (uint16_t) (tail >> 16)};
}

static inline void
vdt_split_store_desc(void *table, uint32_t index, uint64_t addr, uint32_t len, uint16_t flags,
                     uint16_t next)
{
    uint8_t *p = (uint8_t *) table + 16 * (size_t) index;

    vdt_store64(p, addr);
    vdt_store32(p + 8, len);
    vdt_store32(p + 12, flags | (uint32_t) next << 16);
}

/* Whether an index that went from @old to @now passed the place the other side waits for (2.7.7.1).
 */
static inline bool
vdt_split_passed(uint16_t event, uint16_t now, uint16_t old)
{
    return (uint16_t) (now - event - 1) < (uint16_t) (now - old);
}
