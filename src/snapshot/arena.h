/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arena: memory for one decoded protobuf tree, with a limit, given back in one go.
 *
 * protobuf-c's own memory for foreign input can be 60 times that input; past the limit its
 * allocations fail and so does the decoding.
 */
#pragma once

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

#define VDT_ARENA_FIRST 16384u

struct vdt_arena_block;

struct vdt_arena {
    ProtobufCAllocator allocator; /* to be given to protobuf-c */
    size_t budget;                /* bytes it may still hand out */
    uint8_t *next;                /* free part of the newest block */
    size_t left;
    struct vdt_arena_block *blocks;              /* owned, newest first; without @first */
    _Alignas(16) uint8_t first[VDT_ARENA_FIRST]; /* enough for an ordinary snapshot */
};

void vdt_arena_init(struct vdt_arena *arena, size_t budget);
void vdt_arena_clear(struct vdt_arena *arena);
