/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snapshot/arena.h"

#include <glib.h>
#include <stdint.h>
#include <stdlib.h>

#define ALIGN 16u
#define BLOCK_SIZE (64u << 10)

struct vdt_arena_block {
    struct vdt_arena_block *older;
    _Alignas(ALIGN) uint8_t bytes[];
};

static void *
allocate(void *ctx, size_t size)
{
    struct vdt_arena *arena = ctx;

    if (size > arena->budget)
        return NULL;
    size = (size + ALIGN - 1) & ~(size_t) (ALIGN - 1);
    if (size > arena->left) {
        size_t block_size = MAX(size, BLOCK_SIZE);
        struct vdt_arena_block *block = malloc(sizeof(*block) + block_size);
        if (!block)
            return NULL;
        block->older = arena->blocks;
        arena->blocks = block;
        arena->next = block->bytes;
        arena->left = block_size;
    }
    uint8_t *taken = arena->next;
    arena->next += size;
    arena->left -= size;
    arena->budget -= MIN(size, arena->budget);
    return taken;
}

static void
release(void *ctx, void *p)
{
}

void
vdt_arena_init(struct vdt_arena *arena, size_t budget)
{
    arena->allocator = (ProtobufCAllocator){allocate, release, arena};
    arena->budget = budget;
    arena->next = arena->first;
    arena->left = sizeof(arena->first);
    arena->blocks = NULL;
}

void
vdt_arena_clear(struct vdt_arena *arena)
{
    while (arena->blocks) {
        struct vdt_arena_block *block = arena->blocks;
        arena->blocks = block->older;
        free(block);
    }
}
