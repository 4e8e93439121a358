/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ring box: the three areas of one ring, each of exactly its size so that AddressSanitizer sees a
 * step outside, and a stretch of memory behind them for indirect tables.
 */
#pragma once

#include <glib.h>
#include <string.h>

#include "base/wire.h"
#include "virtio/chain.h"

#define RING_BOX_TABLES 0x100000u /* address of the first byte of @tables */
#define RING_BOX_TABLES_SIZE (64u * 1024u)

struct ring_box {
    struct vdt_ring_format format;
    struct vdt_ring_mem mem;
    uint8_t *tables;
    unsigned reads; /* calls of the reader */
    struct vdt_reader reader;
};

static inline void *
ring_box_area(size_t size)
{
    size_t whole = (size + 15) & ~(size_t) 15;
    void *p = NULL;

    g_assert(posix_memalign(&p, 16, whole) == 0);
    memset(p, 0, whole);
    return p;
}

static inline bool
ring_box_read(void *ctx, uint64_t addr, void *dst, uint32_t len)
{
    struct ring_box *box = ctx;

    box->reads++;
    if (addr < RING_BOX_TABLES || addr - RING_BOX_TABLES > RING_BOX_TABLES_SIZE ||
        len > RING_BOX_TABLES_SIZE - (addr - RING_BOX_TABLES))
        return false;
    memcpy(dst, box->tables + (addr - RING_BOX_TABLES), len);
    return true;
}

/* @box must not move afterwards. */
static inline void
ring_box_init(struct ring_box *box, struct vdt_ring_format format)
{
    *box = (struct ring_box){
        .format = format,
        .mem = {.desc = ring_box_area(vdt_ring_desc_size(&format)),
                .driver = ring_box_area(vdt_ring_driver_size(&format)),
                .device = ring_box_area(vdt_ring_device_size(&format))},
        .tables = ring_box_area(RING_BOX_TABLES_SIZE),
        .reader = {.read = ring_box_read, .ctx = box},
    };
}

static inline void
ring_box_clear(struct ring_box *box)
{
    free(box->mem.desc);
    free(box->mem.driver);
    free(box->mem.device);
    free(box->tables);
}

/* A descriptor as a driver writes it; @a and @b are flags, next (split) or id, flags (packed). */
static inline void
ring_box_put_desc(void *at, uint64_t addr, uint32_t len, uint16_t a, uint16_t b)
{
    uint8_t *p = at;

    vdt_put64(p, addr);
    vdt_put32(p + 8, len);
    vdt_put16(p + 12, a);
    vdt_put16(p + 14, b);
}

/* Split: make @head available as entry @pos of the avail ring. */
static inline void
ring_box_avail(struct ring_box *box, uint16_t pos, uint16_t head)
{
    uint8_t *avail = box->mem.driver;

    vdt_put16(avail + 4 + 2 * (pos % box->format.num), head);
    vdt_put16(avail + 2, (uint16_t) (pos + 1));
}

/* Split: say that the device used @id as entry @pos of the used ring. */
static inline void
ring_box_used(struct ring_box *box, uint16_t pos, uint32_t id, uint32_t len)
{
    uint8_t *used = box->mem.device;

    vdt_put32(used + 4 + 8 * (pos % box->format.num), id);
    vdt_put32(used + 8 + 8 * (pos % box->format.num), len);
    vdt_put16(used + 2, (uint16_t) (pos + 1));
}
