/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pool: buffers of one size out of a stretch of guest memory, handed out in random order, so that
 * a long run touches all of its pages. Private to the driver; nothing of it lies in guest memory.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define VDT_POOL_BUFFER 2048u

struct vdt_pool {
    uint64_t *free; /* owned: GPAs */
    uint32_t count, capacity;
};

void vdt_pool_init(struct vdt_pool *pool);
void vdt_pool_clear(struct vdt_pool *pool);
/* Adds the buffers of [@gpa, @gpa + @size). */
void vdt_pool_add(struct vdt_pool *pool, uint64_t gpa, uint64_t size);
bool vdt_pool_take(struct vdt_pool *pool, GRand *rand, uint64_t *ret_gpa);
void vdt_pool_give(struct vdt_pool *pool, uint64_t gpa);
