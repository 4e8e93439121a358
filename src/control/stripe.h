/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stripe: a buffer that is filled round and round and freed in the order in which it was filled.
 *
 * Stretches are contiguous: one that does not fit before the end starts at 0. While anything is
 * taken, head == tail never holds: a stretch that would make it so is not given out.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct vdt_stripe {
    uint32_t size;
    uint32_t head; /* where the next stretch starts, if it fits there */
    uint32_t tail; /* where the oldest one starts */
};

/* Where @len bytes could go now; nothing is taken yet. False: no room. */
static inline bool
vdt_stripe_find(const struct vdt_stripe *stripe, uint32_t len, uint32_t *ret_at)
{
    *ret_at = stripe->head;
    if (stripe->head < stripe->tail)
        return stripe->tail - stripe->head > len;
    if (stripe->size - stripe->head >= len)
        return true;
    *ret_at = 0;
    return stripe->tail > len;
}

/* Take what find() found. Returns the end of the stretch, for free(). */
static inline uint32_t
vdt_stripe_take(struct vdt_stripe *stripe, uint32_t at, uint32_t len)
{
    stripe->head = at + len;
    return stripe->head;
}

/* The oldest stretch, which ends at @end, is free; @last: nothing is taken any more. */
static inline void
vdt_stripe_free(struct vdt_stripe *stripe, uint32_t end, bool last)
{
    stripe->tail = end;
    if (last)
        stripe->head = stripe->tail = 0;
}
