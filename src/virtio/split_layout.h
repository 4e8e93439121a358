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

static inline uint8_t *
vdt_split_avail_event(void *used, uint16_t num)
{
    return (uint8_t *) used + VDT_SPLIT_RING + 8u * num;
}

/* A descriptor, read once: the only look that is taken at these 16 bytes. */
static inline struct vdt_seg
vdt_split_load_desc(const void *table, uint32_t index)
{
    const uint64_t *p = (const uint64_t *) table + 2 * (size_t) index;
    uint64_t addr = vdt_load64(p);
    uint64_t rest = vdt_load64(p + 1);

    return (struct vdt_seg){
        .addr = addr,
        .len = (uint32_t) rest,
        .flags = (uint16_t) (rest >> 32),
        .next = (uint16_t) (rest >> 48),
    };
}

static inline void
vdt_split_store_desc(void *table, uint32_t index, uint64_t addr, uint32_t len, uint16_t flags,
                     uint16_t next)
{
    uint64_t *p = (uint64_t *) table + 2 * (size_t) index;

    vdt_store64(p, addr);
    vdt_store64(p + 1, len | (uint64_t) flags << 32 | (uint64_t) next << 48);
}

/* Whether an index that went from @old to @now passed the place the other side waits for (2.7.7.1).
 */
static inline bool
vdt_split_passed(uint16_t event, uint16_t now, uint16_t old)
{
    return (uint16_t) (now - event - 1) < (uint16_t) (now - old);
}
