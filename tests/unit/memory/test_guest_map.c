/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "memory/guest_map.h"
#include "memory/sigbus.h"

VDT_SUITE(guest_map);

#define PAGE 4096ull
#define MIB (1ull << 20)
#define FRONTEND 0x7f0000000000ull

static int
file_of(size_t size)
{
    int fd = vdt_memfd("guest", size, NULL);

    cr_assert_geq(fd, 0);
    return fd;
}

/* 0 to 1 MiB, 1 MiB to 2 MiB (adjacent, the other way round in the file), 4 MiB to 5 MiB. */
static struct vdt_guest_map *
three_regions(int fd)
{
    const struct vdt_region_spec specs[] = {
        {4 * MIB, MIB, FRONTEND + 16 * MIB, 2 * MIB, fd},
        {0, MIB, FRONTEND, MIB, fd},
        {MIB, MIB, FRONTEND + 8 * MIB, 0, fd},
    };
    g_autoptr(GError) error = NULL;
    struct vdt_guest_map *map = vdt_guest_map_from_table(specs, 3, &error);

    cr_assert(map, "%s", error ? error->message : "");
    return map;
}

Test(guest_map, new_map_is_empty)
{
    VDT_AUTO(guest_map) map = vdt_guest_map_new();

    cr_assert_eq(vdt_guest_map_count(map), 0);
    cr_assert_eq(vdt_guest_map_generation(map), 0);
    cr_assert_eq(vdt_guest_map_end(map), 0);
    cr_assert_null(vdt_guest_map_at(map, 0, 1));
    cr_assert_not(vdt_guest_map_covers(map, 0, 1));
    cr_assert_not(vdt_guest_map_covers(map, UINT64_MAX, 1));
    cr_assert_not(vdt_guest_map_truncated(map));
}

Test(guest_map, regions_are_listed_by_guest_address)
{
    VDT_AUTO_FD fd = file_of(3 * MIB);
    VDT_AUTO(guest_map) map = three_regions(fd);

    cr_assert_eq(vdt_guest_map_count(map), 3);
    cr_assert_eq(vdt_guest_map_region(map, 0)->gpa, 0);
    cr_assert_eq(vdt_guest_map_region(map, 1)->gpa, MIB);
    cr_assert_eq(vdt_guest_map_region(map, 2)->gpa, 4 * MIB);
    cr_assert_eq(vdt_guest_map_end(map), 5 * MIB);
}

Test(guest_map, addresses_lead_to_the_right_bytes_of_the_file)
{
    VDT_AUTO_FD fd = file_of(3 * MIB);
    VDT_AUTO(guest_map) map = three_regions(fd);
    const struct {
        uint64_t gpa, frontend, file;
    } rows[] = {
        {0, FRONTEND, MIB},
        {MIB - 1, FRONTEND + MIB - 1, 2 * MIB - 1},
        {MIB, FRONTEND + 8 * MIB, 0},
        {5 * MIB - 1, FRONTEND + 17 * MIB - 1, 3 * MIB - 1},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        uint8_t mark = (uint8_t) (i + 1), seen = 0;
        uint64_t gpa = 0;

        cr_assert_eq(pwrite(fd, &mark, 1, (off_t) rows[i].file), 1);
        cr_assert_eq(*(uint8_t *) vdt_guest_map_at(map, rows[i].gpa, 1), mark, "row %u", i);
        cr_assert_eq(*(uint8_t *) vdt_guest_map_at_frontend(map, rows[i].frontend, 1), mark);
        cr_assert(vdt_guest_map_frontend_to_gpa(map, rows[i].frontend, 1, &gpa));
        cr_assert_eq(gpa, rows[i].gpa);
        cr_assert(vdt_guest_map_read(map, rows[i].gpa, &seen, 1));
        cr_assert_eq(seen, mark);
    }
}

Test(guest_map, at_and_covers_know_the_edges)
{
    VDT_AUTO_FD fd = file_of(3 * MIB);
    VDT_AUTO(guest_map) map = three_regions(fd);
    const struct {
        uint64_t gpa, len;
        bool at, covers;
    } rows[] = {
        {0, 1, true, true},
        {0, MIB, true, true},
        {0, MIB + 1, false, true}, /* over an edge between neighbours */
        {MIB - 1, 2, false, true},
        {0, 2 * MIB, false, true},
        {0, 2 * MIB + 1, false, false},
        {2 * MIB - 1, 1, true, true},
        {2 * MIB, 1, false, false},
        {4 * MIB - 1, 1, false, false},
        {4 * MIB - 1, 2, false, false},
        {2 * MIB - 1, 2 * MIB + 2, false, false}, /* both ends mapped, the middle not */
        {4 * MIB, MIB, true, true},
        {5 * MIB - 1, 1, true, true},
        {5 * MIB - 1, 2, false, false},
        {5 * MIB, 1, false, false},
        {UINT64_MAX, 1, false, false},
        {UINT64_MAX, 2, false, false},           /* wraps to 0, which is mapped */
        {5 * MIB - 1, UINT64_MAX, false, false}, /* wraps */
        {MIB, UINT64_MAX, false, false},
        {0, 0, false, true},
        {3 * MIB, 0, false, true},
        {UINT64_MAX, 0, false, true},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        cr_expect_eq(vdt_guest_map_at(map, rows[i].gpa, rows[i].len) != NULL, rows[i].at,
                     "at, row %u", i);
        cr_expect_eq(vdt_guest_map_covers(map, rows[i].gpa, rows[i].len), rows[i].covers,
                     "covers, row %u", i);
    }
}

Test(guest_map, frontend_ranges_stay_within_one_region)
{
    VDT_AUTO_FD fd = file_of(3 * MIB);
    VDT_AUTO(guest_map) map = three_regions(fd);
    uint64_t gpa = 42;

    cr_assert(vdt_guest_map_at_frontend(map, FRONTEND, MIB));
    cr_assert_null(vdt_guest_map_at_frontend(map, FRONTEND, MIB + 1));
    cr_assert_null(vdt_guest_map_at_frontend(map, FRONTEND, 0));
    cr_assert_null(vdt_guest_map_at_frontend(map, FRONTEND - 1, 1));
    cr_assert_not(vdt_guest_map_frontend_to_gpa(map, UINT64_MAX, 2, &gpa));
    cr_assert_eq(gpa, 42);
}

Test(guest_map, copies_cross_neighbours_and_stop_at_holes)
{
    VDT_AUTO_FD fd = file_of(3 * MIB);
    VDT_AUTO(guest_map) map = three_regions(fd);
    uint8_t out[64], in[64] = {0};

    for (unsigned i = 0; i < sizeof(out); i++)
        out[i] = (uint8_t) (i + 1);
    cr_assert(vdt_guest_map_write(map, MIB - 20, out, sizeof(out)));
    cr_assert(vdt_guest_map_read(map, MIB - 20, in, sizeof(in)));
    cr_assert_eq(memcmp(in, out, sizeof(in)), 0);
    /* The first 20 bytes end the file's second MiB, the others begin its first. */
    cr_assert_eq(pread(fd, in, 44, 0), 44);
    cr_assert_eq(memcmp(in, out + 20, 44), 0);

    cr_assert_not(vdt_guest_map_write(map, 2 * MIB - 10, out, sizeof(out)));
    cr_assert_not(vdt_guest_map_read(map, 2 * MIB - 10, in, sizeof(in)));
    cr_assert_not(vdt_guest_map_read(map, UINT64_MAX - 10, in, sizeof(in)));
    cr_assert(vdt_guest_map_read(map, 3 * MIB, in, 0));
}

struct bad_row {
    const char *what;
    struct vdt_region_spec spec;
    const char *says; /* a part of the message */
};

enum { WRITABLE = -10, READ_ONLY = -11, DIRECTORY = -12, SOCKET = -13, DEVICE = -14 };

static const struct bad_row bad_rows[] = {
    {"no size", {8 * MIB, 0, 0, 0, WRITABLE}, "no size"},
    {"guest address unaligned", {8 * MIB + 1, PAGE, 0, 0, WRITABLE}, "multiples"},
    {"size unaligned", {8 * MIB, PAGE + 8, 0, 0, WRITABLE}, "multiples"},
    {"offset unaligned", {8 * MIB, PAGE, 0, 512, WRITABLE}, "multiples"},
    {"guest address wraps", {UINT64_MAX - PAGE + 1, PAGE, 0, 0, WRITABLE}, "64 bits"},
    {"guest address wraps far", {UINT64_MAX - PAGE + 1, 4 * PAGE, 0, 0, WRITABLE}, "64 bits"},
    {"size wraps", {2 * PAGE, UINT64_MAX - PAGE + 1, 0, 0, WRITABLE}, "64 bits"},
    {"frontend address wraps", {8 * MIB, PAGE, UINT64_MAX - 10, 0, WRITABLE}, "64 bits"},
    {"offset wraps", {8 * MIB, PAGE, 0, UINT64_MAX - PAGE + 1, WRITABLE}, "beyond any file"},
    {"offset negative", {8 * MIB, PAGE, 0, 1ull << 63, WRITABLE}, "beyond any file"},
    {"past the end", {8 * MIB, 4 * MIB, 0, 0, WRITABLE}, "are needed"},
    {"past the end by offset", {8 * MIB, PAGE, 0, 3 * MIB, WRITABLE}, "are needed"},
    {"all of it, one page off", {8 * MIB, 3 * MIB, 0, PAGE, WRITABLE}, "are needed"},
    {"same guest address", {4 * MIB, PAGE, 0, 0, WRITABLE}, "overlaps"},
    {"around a region", {3 * MIB, 3 * MIB, 0, 0, WRITABLE}, "overlaps"},
    {"inside a region", {PAGE, PAGE, 0, 0, WRITABLE}, "overlaps"},
    {"the last page of one", {5 * MIB - PAGE, 2 * PAGE, 0, 0, WRITABLE}, "overlaps"},
    {"the first page of one", {4 * MIB - PAGE, 2 * PAGE, 0, 0, WRITABLE}, "overlaps"},
    {"same frontend address", {8 * MIB, PAGE, FRONTEND, 0, WRITABLE}, "in the frontend"},
    {"into one in the frontend", {8 * MIB, PAGE, FRONTEND - 1, 0, WRITABLE}, "in the frontend"},
    {"no descriptor", {8 * MIB, PAGE, 0, 0, -1}, "no descriptor"},
    {"read-only descriptor", {8 * MIB, PAGE, 0, 0, READ_ONLY}, "reading and writing"},
    {"a directory", {8 * MIB, PAGE, 0, 0, DIRECTORY}, "no file"},
    {"a socket", {8 * MIB, PAGE, 0, 0, SOCKET}, "no file"},
    {"a device", {8 * MIB, PAGE, 0, 0, DEVICE}, "no file"},
};

Test(guest_map, bad_regions_are_refused_and_change_nothing)
{
    VDT_AUTO_FD fd = file_of(3 * MIB);
    VDT_AUTO(guest_map) map = three_regions(fd);
    VDT_AUTO_FD directory = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    VDT_AUTO_FD device = open("/dev/zero", O_RDWR | O_CLOEXEC);
    VDT_AUTO_FD socket_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", fd);
    VDT_AUTO_FD read_only = open(path, O_RDONLY | O_CLOEXEC);

    cr_assert_geq(read_only, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad_rows); i++) {
        struct vdt_region_spec spec = bad_rows[i].spec;
        g_autoptr(GError) error = NULL;

        switch (spec.fd) {
        case WRITABLE:
            spec.fd = fd;
            break;
        case READ_ONLY:
            spec.fd = read_only;
            break;
        case DIRECTORY:
            spec.fd = directory;
            break;
        case SOCKET:
            spec.fd = socket_fd;
            break;
        case DEVICE:
            spec.fd = device;
            break;
        }
        cr_expect_null(vdt_guest_map_with(map, &spec, &error), "%s", bad_rows[i].what);
        cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_INVALID), "%s", bad_rows[i].what);
        cr_expect(error && strstr(error->message, bad_rows[i].says), "%s: %s", bad_rows[i].what,
                  error ? error->message : "no error");
    }
    cr_assert_eq(vdt_guest_map_count(map), 3);
}

Test(guest_map, tables_without_regions_or_with_too_many_are_refused)
{
    VDT_AUTO_FD fd = file_of(PAGE);
    g_autofree struct vdt_region_spec *specs = g_new0(struct vdt_region_spec, VDT_REGIONS_MAX + 1);
    g_autoptr(GError) none = NULL, many = NULL, one_more = NULL;

    for (unsigned i = 0; i <= VDT_REGIONS_MAX; i++)
        specs[i] = (struct vdt_region_spec){i * 2 * PAGE, PAGE, FRONTEND + i * PAGE, 0, fd};
    cr_assert_null(vdt_guest_map_from_table(specs, 0, &none));
    cr_assert(g_error_matches(none, VDT_ERROR, VDT_ERROR_INVALID));
    cr_assert_null(vdt_guest_map_from_table(specs, VDT_REGIONS_MAX + 1, &many));
    cr_assert(g_error_matches(many, VDT_ERROR, VDT_ERROR_INVALID));

    VDT_AUTO(guest_map) map = vdt_guest_map_from_table(specs, VDT_REGIONS_MAX, NULL);
    cr_assert(map);
    cr_assert_null(vdt_guest_map_with(map, &specs[VDT_REGIONS_MAX], &one_more));
    cr_assert(g_error_matches(one_more, VDT_ERROR, VDT_ERROR_INVALID));
    for (unsigned i = 0; i < VDT_REGIONS_MAX; i++) {
        cr_assert(vdt_guest_map_covers(map, i * 2 * PAGE, PAGE));
        cr_assert_not(vdt_guest_map_covers(map, i * 2 * PAGE + 1, PAGE));
    }
}

Test(guest_map, table_with_one_bad_row_leaves_no_mapping_behind)
{
    VDT_AUTO_FD fd = file_of(2 * PAGE);
    const struct vdt_region_spec specs[] = {
        {0, PAGE, FRONTEND, 0, fd},
        {0, PAGE, FRONTEND + PAGE, PAGE, fd},
    };
    g_autofree char *maps = NULL;

    cr_assert_null(vdt_guest_map_from_table(specs, 2, NULL));
    cr_assert(g_file_get_contents("/proc/self/maps", &maps, NULL, NULL));
    cr_assert_null(strstr(maps, "memfd:guest"));
}

Test(guest_map, unknown_regions_cannot_be_removed)
{
    VDT_AUTO_FD fd = file_of(3 * MIB);
    VDT_AUTO(guest_map) map = three_regions(fd);
    const uint64_t rows[][3] = {
        {PAGE, MIB, FRONTEND},          /* guest address */
        {0, MIB - PAGE, FRONTEND},      /* size */
        {0, MIB, FRONTEND + 8 * MIB},   /* another's frontend address */
        {2 * MIB, MIB, FRONTEND + MIB}, /* nothing there */
        {0, 0, 0},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;

        cr_expect_null(vdt_guest_map_without(map, rows[i][0], rows[i][1], rows[i][2], &error),
                       "row %u", i);
        cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_INVALID), "row %u", i);
    }
    cr_assert_eq(vdt_guest_map_count(map), 3);
}

Test(guest_map, generations_share_what_stays_and_unmap_what_goes)
{
    VDT_AUTO_FD fd = file_of(3 * MIB);
    VDT_AUTO_FD more_fd = vdt_memfd("more", MIB, NULL);
    struct vdt_guest_map *first = three_regions(fd);
    const struct vdt_region_spec spec = {8 * MIB, MIB, 0, 0, more_fd};
    VDT_AUTO(guest_map) second = vdt_guest_map_with(first, &spec, NULL);
    void *host = vdt_guest_map_at(first, 0, 1);

    cr_assert(second);
    cr_assert_gt(vdt_guest_map_generation(second), vdt_guest_map_generation(first));
    cr_assert_eq(vdt_guest_map_at(second, 0, 1), host);
    cr_assert_not(vdt_guest_map_covers(first, 8 * MIB, 1));
    cr_assert(vdt_guest_map_covers(second, 8 * MIB, MIB));

    struct vdt_guest_map *third = vdt_guest_map_without(second, 0, MIB, FRONTEND, NULL);
    cr_assert(third);
    cr_assert_null(vdt_guest_map_at(third, 0, 1));
    vdt_guest_map_unref(first);
    memset(host, 1, MIB); /* the second generation holds it */
    vdt_guest_map_unref(second);
    second = NULL;
    cr_assert_eq(msync(host, MIB, MS_ASYNC), -1);
    cr_assert_eq(errno, ENOMEM);
    vdt_guest_map_unref(third);

    g_autofree char *maps = NULL;
    cr_assert(g_file_get_contents("/proc/self/maps", &maps, NULL, NULL));
    cr_assert_null(strstr(maps, "memfd:"));
}

static void
truncate_in_child(int fd, off_t size)
{
    pid_t child = fork();
    int status = -1;

    if (child == 0)
        _exit(ftruncate(fd, size) == 0 ? 0 : 1);
    cr_assert_gt(child, 0);
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
}

Test(guest_map, file_shortened_by_its_owner_is_survived_and_reported)
{
    VDT_AUTO_FD fd = file_of(3 * MIB);
    VDT_AUTO(guest_map) map = three_regions(fd);
    uint8_t out[8192], in[8192];

    memset(out, 0x5a, sizeof(out));
    cr_assert(vdt_guest_map_write(map, 0, out, sizeof(out)));
    cr_assert(vdt_guest_map_write(map, MIB, out, sizeof(out)));
    truncate_in_child(fd, (off_t) (MIB + PAGE)); /* one page of the region at 0 is left */
    cr_assert_not(vdt_guest_map_truncated(map));

    cr_assert(vdt_guest_map_read(map, 0, in, sizeof(in)));
    cr_assert_eq(memcmp(in, out, PAGE), 0, "what is left of the file is still seen");
    for (unsigned i = PAGE; i < sizeof(in); i++)
        cr_assert_eq(in[i], 0);
    cr_assert(vdt_guest_map_truncated(map));

    cr_assert(vdt_guest_map_write(map, 4 * MIB, out, sizeof(out)));
    cr_assert(vdt_guest_map_read(map, MIB, in, sizeof(in)));
    cr_assert_eq(memcmp(in, out, sizeof(in)), 0, "another region lost nothing");
}

Test(guest_map, hit_of_a_dropped_region_does_not_stick)
{
    VDT_AUTO_FD fd = file_of(MIB);
    const struct vdt_region_spec spec = {0, MIB, FRONTEND, 0, fd};
    VDT_AUTO(guest_map) map = vdt_guest_map_from_table(&spec, 1, NULL);
    uint8_t byte;

    truncate_in_child(fd, 0);
    cr_assert(vdt_guest_map_read(map, 0, &byte, 1));
    cr_assert(vdt_guest_map_truncated(map));
    vdt_guest_map_unref(map);
    cr_assert_eq(ftruncate(fd, (off_t) MIB), 0);
    map = vdt_guest_map_from_table(&spec, 1, NULL);
    cr_assert_not(vdt_guest_map_truncated(map));
}

Test(guest_map, regions_come_and_go_without_end)
{
    VDT_AUTO_FD fd = file_of(PAGE);
    const struct vdt_region_spec spec = {0, PAGE, FRONTEND, 0, fd};
    VDT_AUTO(guest_map) empty = vdt_guest_map_new();

    for (unsigned i = 0; i < 2 * VDT_GUARDS_MAX; i++) {
        g_autoptr(GError) error = NULL;
        VDT_AUTO(guest_map) map = vdt_guest_map_with(empty, &spec, &error);

        cr_assert(map, "round %u: %s", i, error ? error->message : "");
    }
}
