/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Dirty log: one bit per 4 KiB guest page, shared with the VMM (vhost-user SET_LOG_BASE).
 *
 * The bitmap belongs to the VMM; we only set bits. A bit is set after the bytes it stands for are
 * written, never before: the VMM clears the bit first and copies the page second.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct vdt_sigbus_guard;

#define VDT_LOG_PAGE 4096u

struct vdt_dirty_log {
    uint64_t *words;  /* owned mapping of the VMM's file, NULL while there is none */
    uint64_t pages;   /* bits in @words */
    uint64_t dropped; /* pages asked for past the end; a fault of the guest or VMM (atomic) */
    void *map;        /* owned: what to unmap */
    uint64_t map_len;
    struct vdt_sigbus_guard *guard; /* owned: the VMM may shorten its file */
};

/* Map [@offset, @offset + @size) of @fd (borrowed). False with @error: wrap, misaligned size or
 * offset, file too small, fewer bits than @guest_end needs (refused before logging starts). */
bool vdt_dirty_log_init(struct vdt_dirty_log *log, int fd, uint64_t offset, uint64_t size,
                        uint64_t guest_end, GError **error);
void vdt_dirty_log_clear(struct vdt_dirty_log *log);

/* The VMM has shortened the file under us: bits set since then may have reached nobody. */
bool vdt_dirty_log_truncated(const struct vdt_dirty_log *log);

/* Any range; the rest of vdt_dirty_log_mark(). */
void vdt_dirty_log_mark_range(struct vdt_dirty_log *log, uint64_t gpa, uint64_t len);

/*
 * Mark [@gpa, @gpa + @len) dirty. Whole words at once, a locked OR only where a bit is still clear.
 * Any thread; never blocks. @len 0 marks nothing. The test before the OR may skip the fence that a
 * locked OR implies: for our own stores (not the device's) the caller fences first.
 */
static inline void
vdt_dirty_log_mark(struct vdt_dirty_log *log, uint64_t gpa, uint64_t len)
{
    uint64_t end = gpa + len - 1;
    uint64_t first = gpa / VDT_LOG_PAGE, last = end / VDT_LOG_PAGE;

    /* What wraps has its end below @gpa; so has @len 0, or else its end lies beyond every page. */
    if (G_UNLIKELY(end < gpa || last >= log->pages || first / 64 != last / 64)) {
        vdt_dirty_log_mark_range(log, gpa, len);
        return;
    }

    uint64_t *word = &log->words[first / 64];
    uint64_t mask = ((2ull << (last - first)) - 1) << first % 64;

    /* Most pages are dirty already once a round has run for a while: a plain load keeps the cache
     * line shared then. */
    if ((__atomic_load_n(word, __ATOMIC_RELAXED) & mask) != mask)
        __atomic_fetch_or(word, mask, __ATOMIC_RELEASE);
}

/* Pages set; for status and tests (linear in the log's size). */
uint64_t vdt_dirty_log_count(const struct vdt_dirty_log *log);
