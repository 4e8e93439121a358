/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Footprint: what a process holds of the system, to be compared before and after: descriptors,
 * maps, locked memory, heap.
 *
 * Exact only for a process whose C library keeps no caches of its own: FOOTPRINT_TUNABLES in its
 * environment, and G_SLICE=always-malloc.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* No cache of freed chunks for each thread, one arena, no thread stacks kept, no moving threshold
 * between heap and maps. */
#define FOOTPRINT_TUNABLES                                                                         \
    "glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1:glibc.pthread.stack_cache_size=0:"       \
    "glibc.malloc.mmap_threshold=1048576"

struct footprint {
    unsigned fds, maps;
    size_t mapped; /* bytes of all maps, without the heap's */
    size_t locked; /* bytes: VmLck and VmPin */
    size_t heap;   /* bytes in use; only of this process */
};

/* Run this program again, in such an environment; returns when it has it already. */
void footprint_make_exact(char **argv);

/* Of this process, or of another one, whose heap is left 0. False: there is no such process. */
bool footprint_take(struct footprint *footprint);
bool footprint_take_of(pid_t pid, struct footprint *footprint);

/* NULL, or what @now has more or less of than @then; g_free(). */
char *footprint_differs(const struct footprint *then, const struct footprint *now);
