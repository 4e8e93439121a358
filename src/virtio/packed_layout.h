/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Packed layout: the fields of a packed ring and what its two bits say (virtio 1.2, 2.8.1
 * and 2.8.14). Ring code only.
 */
#pragma once

#include <linux/virtio_ring.h>

#include "base/wire.h"
#include "virtio/chain.h"

#define VDT_PACKED_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define VDT_PACKED_USED (1u << VRING_PACKED_DESC_F_USED)

/* A position with its wrap counter, as the flags of a descriptor made available or used there. */
static inline uint16_t
vdt_packed_avail_bits(uint16_t pos)
{
    return pos & 0x8000 ? VDT_PACKED_AVAIL : VDT_PACKED_USED;
}

static inline uint16_t
vdt_packed_used_bits(uint16_t pos)
{
    return pos & 0x8000 ? VDT_PACKED_AVAIL | VDT_PACKED_USED : 0;
}

static inline bool
vdt_packed_is_avail(uint16_t flags, uint16_t pos)
{
    return (flags & (VDT_PACKED_AVAIL | VDT_PACKED_USED)) == vdt_packed_avail_bits(pos);
}

static inline bool
vdt_packed_is_used(uint16_t flags, uint16_t pos)
{
    return (flags & (VDT_PACKED_AVAIL | VDT_PACKED_USED)) == vdt_packed_used_bits(pos);
}

static inline uint8_t *
vdt_packed_desc(void *ring, uint16_t pos)
{
    return (uint8_t *) ring + 16u * (pos & 0x7fffu);
}

static inline uint8_t *
vdt_packed_flags(void *ring, uint16_t pos)
{
    return vdt_packed_desc(ring, pos) + 14;
}

/* Slots from the one at @pos to the last one of the ring. */
static inline uint32_t
vdt_packed_until_end(uint16_t num, uint16_t pos)
{
    return num - (pos & 0x7fffu);
}

/* Id and flags of a descriptor, which lie side by side. */
static inline uint32_t
vdt_packed_tail(uint16_t id, uint16_t flags)
{
    return id | (uint32_t) flags << 16;
}

/* The second half of a descriptor. */
static inline uint64_t
vdt_packed_rest(uint32_t len, uint16_t id, uint16_t flags)
{
    return len | (uint64_t) id << 32 | (uint64_t) flags << 48;
}

/* Event suppression: le16 position, le16 flags; written and read as one field. */
static inline uint32_t
vdt_packed_event(uint16_t pos, uint16_t flags)
{
    return pos | (uint32_t) flags << 16;
}

#define VDT_PACKED_EVENT_FLAGS(event) ((event) >> 16 & 3u) /* the other bits are reserved */
#define VDT_PACKED_EVENT_POS(event) ((uint16_t) (event))

/* Whether positions that went from @old to @now passed @event. */
static inline bool
vdt_packed_passed(uint16_t event, uint16_t now, uint16_t old, uint16_t num)
{
    return vdt_packed_distance(old, event, num) < vdt_packed_distance(old, now, num);
}
