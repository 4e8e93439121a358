/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "memory/dirty_log.h"

VDT_SUITE(dirty_log);

#define PAGES 256u
#define P ((uint64_t) VDT_LOG_PAGE)

static void
start(struct vdt_dirty_log *log)
{
    VDT_AUTO_FD fd = vdt_memfd("log", PAGES / 8, NULL);
    g_autoptr(GError) error = NULL;

    cr_assert(vdt_dirty_log_init(log, fd, 0, PAGES / 8, PAGES * P, &error), "%s",
              error ? error->message : "");
}

static bool
bit(const struct vdt_dirty_log *log, uint64_t page)
{
    return log->words[page / 64] >> (page % 64) & 1;
}

Test(dirty_log, mark_sets_exactly_the_pages_that_were_touched)
{
    const struct {
        uint64_t gpa, len;
        int first, last; /* pages, -1 for none */
        uint64_t dropped;
    } rows[] = {
        {0, 0, -1, -1, 0},
        {UINT64_MAX, 0, -1, -1, 0},
        {0, 1, 0, 0, 0},
        {P - 1, 1, 0, 0, 0},
        {P - 1, 2, 0, 1, 0},
        {P, P, 1, 1, 0},
        {P, P + 1, 1, 2, 0},
        {62 * P, 2 * P, 62, 63, 0}, /* up to a word's edge */
        {63 * P, P, 63, 63, 0},
        {63 * P, P + 1, 63, 64, 0}, /* over it */
        {64 * P, P, 64, 64, 0},
        {64 * P, 64 * P, 64, 127, 0}, /* a whole word */
        {63 * P, 66 * P, 63, 128, 0}, /* three words */
        {3 * P, 200 * P, 3, 202, 0},
        {0, PAGES * P, 0, PAGES - 1, 0},
        {PAGES * P - 1, 1, PAGES - 1, PAGES - 1, 0},
        {PAGES * P - 1, 2, PAGES - 1, PAGES - 1, 1},
        {PAGES * P, 1, -1, -1, 1},
        {(PAGES + 5) * P, 3 * P, -1, -1, 3},
        {0, (PAGES + 2) * P, 0, PAGES - 1, 2},
        {UINT64_MAX, 1, -1, -1, 1},
        {UINT64_MAX - P + 1, 2 * P, -1, -1, 1}, /* wraps; page 0 stays clean */
        {0, UINT64_MAX, 0, PAGES - 1, (1ull << 52) - PAGES},
        {100, UINT64_MAX - 49, 0, PAGES - 1, (1ull << 52) - PAGES}, /* wraps into its first page */
        {10 * P, UINT64_MAX - 4 * P, 10, PAGES - 1, (1ull << 52) - PAGES}, /* ... word */
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct vdt_dirty_log log;

        start(&log);
        vdt_dirty_log_mark(&log, rows[i].gpa, rows[i].len);
        for (int page = 0; page < (int) PAGES; page++)
            cr_expect_eq(bit(&log, (uint64_t) page), page >= rows[i].first && page <= rows[i].last,
                         "row %u, page %d", i, page);
        cr_expect_eq(log.dropped, rows[i].dropped, "row %u: %lu dropped", i,
                     (unsigned long) log.dropped);
        vdt_dirty_log_clear(&log);
    }
}

Test(dirty_log, random_ranges_match_a_page_by_page_log)
{
    g_autoptr(GRand) random = g_rand_new_with_seed(20240611);
    g_autofree bool *naive = g_new0(bool, PAGES);
    struct vdt_dirty_log log;

    start(&log);
    for (unsigned round = 0; round < 20000; round++) {
        uint64_t gpa = (uint64_t) g_rand_int_range(random, 0, (gint32) ((PAGES + 8) * P));
        uint64_t len = (uint64_t) g_rand_int_range(random, 0, round % 2 ? 20000 : 300000);

        if (round % 50 == 0) {
            memset(log.words, 0, PAGES / 8);
            memset(naive, 0, PAGES * sizeof(bool));
        }
        vdt_dirty_log_mark(&log, gpa, len);
        for (uint64_t at = gpa; at < gpa + len; at = (at / P + 1) * P) {
            if (at / P < PAGES)
                naive[at / P] = true;
        }

        uint64_t count = 0;
        for (uint64_t page = 0; page < PAGES; page++) {
            cr_assert_eq(bit(&log, page), naive[page], "round %u page %lu", round,
                         (unsigned long) page);
            count += naive[page];
        }
        cr_assert_eq(vdt_dirty_log_count(&log), count);
    }
    vdt_dirty_log_clear(&log);
}

Test(dirty_log, log_at_an_offset_leaves_the_rest_of_the_file_alone)
{
    VDT_AUTO_FD fd = vdt_memfd("log", 3 * 4096, NULL);
    struct vdt_dirty_log log;
    uint8_t bytes[3 * 4096];

    cr_assert(vdt_dirty_log_init(&log, fd, 4096 + 8, 16, 128 * P, NULL));
    vdt_dirty_log_mark(&log, 0, 1000 * P);
    vdt_dirty_log_clear(&log);
    cr_assert_eq(pread(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
    for (unsigned i = 0; i < sizeof(bytes); i++)
        cr_assert_eq(bytes[i], i >= 4096 + 8 && i < 4096 + 24 ? 0xff : 0, "byte %u", i);
}

Test(dirty_log, bad_geometry_is_refused_before_anything_is_mapped)
{
    VDT_AUTO_FD fd = vdt_memfd("log", 8192, NULL);
    VDT_AUTO_FD directory = open("/", O_RDONLY | O_CLOEXEC);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    VDT_AUTO_FD read_only = open(path, O_RDONLY | O_CLOEXEC);
    const struct {
        const char *what;
        int fd;
        uint64_t offset, size, guest_end;
    } rows[] = {
        {"no descriptor", -1, 0, 4096, P},
        {"directory", directory, 0, 4096, P},
        {"read-only", read_only, 0, 4096, P},
        {"no size", fd, 0, 0, 0},
        {"size no multiple of 8", fd, 0, 4095, P},
        {"offset no multiple of 8", fd, 4, 4096, P},
        {"offset and size wrap", fd, UINT64_MAX - 7, 16, P},
        {"offset and size wrap to 0", fd, UINT64_MAX - 4095, 4096, P},
        {"offset negative", fd, 1ull << 63, 4096, P},
        {"size times eight wraps", fd, 0, 1ull << 61, P},
        {"file too small", fd, 0, 8200, P},
        {"file too small behind the offset", fd, 4096, 4104, P},
        {"one page short", fd, 0, 4096, 32768 * P + 1},
        {"far too short", fd, 0, 8192, UINT64_MAX},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct vdt_dirty_log log;
        g_autoptr(GError) error = NULL;

        cr_expect_not(vdt_dirty_log_init(&log, rows[i].fd, rows[i].offset, rows[i].size,
                                         rows[i].guest_end, &error),
                      "%s", rows[i].what);
        cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_INVALID), "%s", rows[i].what);
        cr_expect_null(log.words, "%s", rows[i].what);
        vdt_dirty_log_mark(&log, 0, 1);
        vdt_dirty_log_clear(&log);
    }

    struct vdt_dirty_log log;
    cr_assert(vdt_dirty_log_init(&log, fd, 0, 4096, 32768 * P, NULL), "just enough");
    vdt_dirty_log_clear(&log);
}

Test(dirty_log, mark_without_a_log_does_nothing)
{
    struct vdt_dirty_log log = {0};

    vdt_dirty_log_mark(&log, 0, 100 * P);
    cr_assert_eq(log.dropped, 0);
    cr_assert_eq(vdt_dirty_log_count(&log), 0);
    cr_assert_not(vdt_dirty_log_truncated(&log));
}

Test(dirty_log, file_shortened_by_the_vmm_is_survived_and_reported)
{
    VDT_AUTO_FD fd = vdt_memfd("log", 8192, NULL);
    struct vdt_dirty_log log;

    cr_assert(vdt_dirty_log_init(&log, fd, 0, 8192, 0, NULL));
    cr_assert_eq(ftruncate(fd, 0), 0);
    cr_assert_not(vdt_dirty_log_truncated(&log));
    vdt_dirty_log_mark(&log, 40000 * P, 10 * P);
    cr_assert(vdt_dirty_log_truncated(&log));
    cr_assert_eq(vdt_dirty_log_count(&log),
                 0); /* faults below, which starts afresh up to the end */
    vdt_dirty_log_mark(&log, 0, 100 * P);
    cr_assert_eq(vdt_dirty_log_count(&log), 100);
    vdt_dirty_log_clear(&log);
}
