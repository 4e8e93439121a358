/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Little-endian fields in memory that somebody else may change under us.
 *
 * The rule for foreign memory: load a field once with one of these, check the local copy, use the
 * local copy, never load it again. virtio 1.x is little-endian on every host.
 */
#pragma once

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Aligned shared fields (ring indices, flags): one load or store, no tearing. */
static inline uint16_t
vdt_load16(const void *p)
{
    return le16toh(__atomic_load_n((const uint16_t *) p, __ATOMIC_RELAXED));
}

static inline uint16_t
vdt_load16_acquire(const void *p)
{
    return le16toh(__atomic_load_n((const uint16_t *) p, __ATOMIC_ACQUIRE));
}

static inline uint32_t
vdt_load32(const void *p)
{
    return le32toh(__atomic_load_n((const uint32_t *) p, __ATOMIC_RELAXED));
}

static inline uint64_t
vdt_load64(const void *p)
{
    return le64toh(__atomic_load_n((const uint64_t *) p, __ATOMIC_RELAXED));
}

static inline void
vdt_store16(void *p, uint16_t v)
{
    __atomic_store_n((uint16_t *) p, htole16(v), __ATOMIC_RELAXED);
}

static inline void
vdt_store16_release(void *p, uint16_t v)
{
    __atomic_store_n((uint16_t *) p, htole16(v), __ATOMIC_RELEASE);
}

static inline void
vdt_store32(void *p, uint32_t v)
{
    __atomic_store_n((uint32_t *) p, htole32(v), __ATOMIC_RELAXED);
}

static inline void
vdt_store64(void *p, uint64_t v)
{
    __atomic_store_n((uint64_t *) p, htole64(v), __ATOMIC_RELAXED);
}

/* Bytes of a private buffer, any alignment. */
static inline uint16_t
vdt_get16(const uint8_t *p)
{
    return (uint16_t) (p[0] | p[1] << 8);
}

static inline uint32_t
vdt_get32(const uint8_t *p)
{
    return (uint32_t) vdt_get16(p) | (uint32_t) vdt_get16(p + 2) << 16;
}

static inline uint64_t
vdt_get64(const uint8_t *p)
{
    return (uint64_t) vdt_get32(p) | (uint64_t) vdt_get32(p + 4) << 32;
}

static inline void
vdt_put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t) v;
    p[1] = (uint8_t) (v >> 8);
}

static inline void
vdt_put32(uint8_t *p, uint32_t v)
{
    vdt_put16(p, (uint16_t) v);
    vdt_put16(p + 2, (uint16_t) (v >> 16));
}

static inline void
vdt_put64(uint8_t *p, uint64_t v)
{
    vdt_put32(p, (uint32_t) v);
    vdt_put32(p + 4, (uint32_t) (v >> 32));
}

/* @start + @len stays within 64 bits and the end is stored; false on wrap. */
static inline bool
vdt_range_end(uint64_t start, uint64_t len, uint64_t *ret_end)
{
    return !__builtin_add_overflow(start, len, ret_end);
}
