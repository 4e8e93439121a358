/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arena: our own stretch of the device's address space, for shadow rings, copies of indirect tables
 * and control queue buffers. One shared memory file, in three parts that are mapped with different
 * rights: what the device only reads, what it writes, and the control queue's (its own ASID).
 *
 * Placed at the top of the device's IOVA range and above 4 GiB where that is possible: the range
 * that a kernel reports does not leave out reserved MSI windows, which lie below.
 *
 * Thread: control. Pointers handed out are used by the data threads.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/auto.h"
#include "device/device.h"
#include "memory/iova_space.h"

enum vdt_arena_part { VDT_ARENA_READ, VDT_ARENA_WRITE, VDT_ARENA_CVQ, VDT_ARENA_PARTS };

struct vdt_arena {
    uint8_t *host; /* owned mapping of @size bytes */
    uint64_t size;
    uint64_t iova;                   /* of the whole */
    uint64_t start[VDT_ARENA_PARTS]; /* offsets, page aligned */
    uint64_t length[VDT_ARENA_PARTS];
    uint64_t used[VDT_ARENA_PARTS];
    bool mapped[VDT_ARENA_PARTS];
    uint32_t asid[VDT_ARENA_PARTS];
};

struct vdt_arena *vdt_arena_new(const uint64_t length[VDT_ARENA_PARTS],
                                struct vdt_iova_space *space, GError **error);
void vdt_arena_free(struct vdt_arena *arena, struct vdt_iova_space *space);

/* Bytes at a multiple of @align (a power of two), with whatever an earlier start left in them. The
 * parts are sized for everything that can be taken; asking for more is a bug. */
void *vdt_arena_take(struct vdt_arena *arena, enum vdt_arena_part part, uint64_t len,
                     uint64_t align, uint64_t *ret_iova);
/* Forget what was taken of @part, for the next start. Nobody may use it any more. */
void vdt_arena_rewind(struct vdt_arena *arena, enum vdt_arena_part part);

/* Map into the device; the control queue's part into @cvq_asid. Undone on failure. */
bool vdt_arena_map(struct vdt_arena *arena, struct vdt_device *dev, uint32_t cvq_asid,
                   GError **error);
/* Also after a reset that dropped the maps: the kernel keeps a list of its own. */
void vdt_arena_unmap(struct vdt_arena *arena, struct vdt_device *dev);
