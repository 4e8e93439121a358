/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest/pool.h"

void
vdt_pool_init(struct vdt_pool *pool)
{
    *pool = (struct vdt_pool){0};
}

void
vdt_pool_clear(struct vdt_pool *pool)
{
    g_clear_pointer(&pool->free, g_free);
}

void
vdt_pool_add(struct vdt_pool *pool, uint64_t gpa, uint64_t size)
{
    uint32_t more = (uint32_t) (size / VDT_POOL_BUFFER);

    pool->capacity += more;
    pool->free = g_renew(uint64_t, pool->free, pool->capacity);
    for (uint32_t i = 0; i < more; i++)
        pool->free[pool->count++] = gpa + (uint64_t) i * VDT_POOL_BUFFER;
}

bool
vdt_pool_take(struct vdt_pool *pool, GRand *rand, uint64_t *ret_gpa)
{
    uint32_t at;

    if (pool->count == 0)
        return false;
    at = (uint32_t) g_rand_int_range(rand, 0, (gint32) pool->count);
    *ret_gpa = pool->free[at];
    pool->free[at] = pool->free[--pool->count];
    return true;
}

void
vdt_pool_give(struct vdt_pool *pool, uint64_t gpa)
{
    g_assert(pool->count < pool->capacity);
    pool->free[pool->count++] = gpa;
}
