/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "memory/dirty_log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <vdpa-tracker/error.h>

#include "memory/sigbus.h"

#define WORD_BITS 64u

static bool G_GNUC_PRINTF(2, 3) refuse(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *why = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                "the frontend's dirty log is refused, so nothing is logged: %s", why);
    return false;
}

static bool
check_geometry(int fd, uint64_t offset, uint64_t size, uint64_t guest_end, GError **error)
{
    uint64_t pages = guest_end / VDT_LOG_PAGE + (guest_end % VDT_LOG_PAGE != 0);
    uint64_t end;
    struct stat st;

    if (size == 0 || size % sizeof(uint64_t) != 0 || offset % sizeof(uint64_t) != 0)
        return refuse(error,
                      "0x%" PRIx64 " bytes at offset 0x%" PRIx64 " of its file (8-byte words)",
                      size, offset);
    /* Also keeps size * 8 and the rounding to pages below within 64 bits. */
    if (__builtin_add_overflow(offset, size, &end) || end > INT64_MAX / 16)
        return refuse(error, "0x%" PRIx64 " bytes at offset 0x%" PRIx64 " lie beyond any file",
                      size, offset);
    if (pages > size * 8)
        return refuse(
            error, "it has bits for %" PRIu64 " pages and the guest's memory ends at page %" PRIu64,
            size * 8, pages);
    if (fstat(fd, &st) < 0)
        return refuse(error, "no descriptor: %s", g_strerror(errno));
    if (!S_ISREG(st.st_mode))
        return refuse(error, "its descriptor is no file that can be shared");
    if (end > (uint64_t) st.st_size)
        return refuse(error,
                      "its file has 0x%" PRIx64 " bytes, less than offset 0x%" PRIx64
                      " and size 0x%" PRIx64,
                      (uint64_t) st.st_size, offset, size);
    return true;
}

bool
vdt_dirty_log_init(struct vdt_dirty_log *log, int fd, uint64_t offset, uint64_t size,
                   uint64_t guest_end, GError **error)
{
    memset(log, 0, sizeof(*log));
    if (!check_geometry(fd, offset, size, guest_end, error))
        return false;

    size_t page = vdt_fd_page_size(fd);
    uint64_t skip = offset % page;
    uint64_t map_len = (skip + size + page - 1) / page * page;
    void *map =
        mmap(NULL, map_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t) (offset - skip));

    if (map == MAP_FAILED)
        return refuse(error, "cannot map 0x%" PRIx64 " bytes of it: %s", map_len,
                      g_strerror(errno));

    struct vdt_sigbus_guard *guard = vdt_sigbus_guard_add(map, map_len, page, error);

    if (!guard) {
        munmap(map, map_len);
        return false;
    }
    *log = (struct vdt_dirty_log){
        .words = (uint64_t *) ((uint8_t *) map + skip),
        .pages = size * 8,
        .map = map,
        .map_len = map_len,
        .guard = guard,
    };
    return true;
}

void
vdt_dirty_log_clear(struct vdt_dirty_log *log)
{
    vdt_sigbus_guard_remove(log->guard);
    if (log->map)
        munmap(log->map, log->map_len);
    memset(log, 0, sizeof(*log));
}

bool
vdt_dirty_log_truncated(const struct vdt_dirty_log *log)
{
    return log->guard && vdt_sigbus_guard_hit(log->guard);
}

static inline void
set_bits(uint64_t *word, uint64_t mask)
{
    if ((__atomic_load_n(word, __ATOMIC_RELAXED) & mask) != mask)
        __atomic_fetch_or(word, mask, __ATOMIC_RELEASE);
}

/* False when nothing of [@first, *@last] is in the log. */
static bool
drop_excess(struct vdt_dirty_log *log, uint64_t first, uint64_t *last)
{
    if (!log->words)
        return false;
    __atomic_fetch_add(&log->dropped, *last - MAX(first, log->pages) + 1, __ATOMIC_RELAXED);
    *last = log->pages - 1;
    return first < log->pages;
}

void
vdt_dirty_log_mark_range(struct vdt_dirty_log *log, uint64_t gpa, uint64_t len)
{
    uint64_t last_byte, first, last;

    if (len == 0)
        return;
    if (__builtin_add_overflow(gpa, len - 1, &last_byte))
        last_byte = UINT64_MAX;
    first = gpa / VDT_LOG_PAGE;
    last = last_byte / VDT_LOG_PAGE;
    if (G_UNLIKELY(last >= log->pages) && !drop_excess(log, first, &last))
        return;

    uint64_t *word = &log->words[first / WORD_BITS], *end = &log->words[last / WORD_BITS];
    uint64_t head = UINT64_MAX << first % WORD_BITS;
    uint64_t tail = UINT64_MAX >> (WORD_BITS - 1 - last % WORD_BITS);

    if (word == end) {
        set_bits(word, head & tail);
        return;
    }
    set_bits(word++, head);
    while (word < end)
        set_bits(word++, UINT64_MAX);
    set_bits(end, tail);
}

uint64_t
vdt_dirty_log_count(const struct vdt_dirty_log *log)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < log->pages / WORD_BITS; i++)
        n += (uint64_t) __builtin_popcountll(__atomic_load_n(&log->words[i], __ATOMIC_RELAXED));
    return n;
}
