/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "memory/guest_map.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <vdpa-tracker/error.h>

#include "memory/sigbus.h"

#define PAGE 4096u

/* One mmap(), shared by every generation that has the region. */
struct mapping {
    gint refs;
    struct vdt_region region;
    void *map; /* @region.host rounded down to the file's page size */
    size_t map_len;
    struct vdt_sigbus_guard *guard;
};

struct vdt_guest_map {
    struct vdt_span_table extents; /* GPA, adjacent regions joined; first, for covers() */
    gint refs;
    uint64_t generation;
    unsigned count;
    struct mapping **mappings;       /* sorted by GPA; one ref on each */
    struct vdt_span_table regions;   /* GPA to host, one span a region */
    struct vdt_span_table frontends; /* frontend address to GPA, one span a region */
};

G_STATIC_ASSERT(G_STRUCT_OFFSET(struct vdt_guest_map, extents) == 0);

static bool G_GNUC_PRINTF(3, 4)
    refuse(const struct vdt_region_spec *spec, GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *why = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                "the frontend's memory region of 0x%" PRIx64 " bytes at guest address 0x%" PRIx64
                " is refused, the memory table stays as it was: %s",
                spec->size, spec->gpa, why);
    return false;
}

static void
mapping_unref(gpointer data)
{
    struct mapping *mapping = data;

    if (!mapping || !g_atomic_int_dec_and_test(&mapping->refs))
        return;
    vdt_sigbus_guard_remove(mapping->guard);
    munmap(mapping->map, mapping->map_len);
    g_free(mapping);
}

static bool
check_spec(const struct vdt_region_spec *spec, GError **error)
{
    uint64_t end;
    struct stat st;

    if (spec->size == 0)
        return refuse(spec, error, "it has no size");
    if ((spec->gpa | spec->size) % PAGE != 0 || spec->offset % PAGE != 0)
        return refuse(spec, error,
                      "guest address, size and file offset 0x%" PRIx64
                      " have to be multiples of %u",
                      spec->offset, PAGE);
    if (__builtin_add_overflow(spec->gpa, spec->size, &end))
        return refuse(spec, error, "its end lies beyond 64 bits");
    if (__builtin_add_overflow(spec->frontend, spec->size, &end))
        return refuse(spec, error,
                      "its end in the frontend, from 0x%" PRIx64 " on, lies beyond 64 bits",
                      spec->frontend);
    if (__builtin_add_overflow(spec->offset, spec->size, &end) || end > INT64_MAX / 2)
        return refuse(spec, error, "file offset 0x%" PRIx64 " is beyond any file", spec->offset);
    if (fstat(spec->fd, &st) < 0)
        return refuse(spec, error, "no descriptor came with it: %s", g_strerror(errno));
    if (!S_ISREG(st.st_mode))
        return refuse(spec, error, "its descriptor is no file that can be shared");
    if (end > (uint64_t) st.st_size)
        return refuse(spec, error, "its file has 0x%" PRIx64 " bytes and 0x%" PRIx64 " are needed",
                      (uint64_t) st.st_size, end);
    return true;
}

/* @spec passed check_spec(). */
static struct mapping *
mapping_new(const struct vdt_region_spec *spec, GError **error)
{
    /* Regions of huge page files begin and end where the guest's layout wants it; mmap() and
     * munmap() want whole huge pages. */
    size_t page = vdt_fd_page_size(spec->fd);
    uint64_t skip = spec->offset % page;
    size_t len = (size_t) ((skip + spec->size + page - 1) / page * page);
    void *map = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, spec->fd,
                     (off_t) (spec->offset - skip));

    if (map == MAP_FAILED) {
        refuse(spec, error, "cannot map it for reading and writing: %s", g_strerror(errno));
        return NULL;
    }
    /* Core files are no place for guest memory. */
    madvise(map, len, MADV_DONTDUMP);

    struct vdt_sigbus_guard *guard = vdt_sigbus_guard_add(map, len, page, error);

    if (!guard) {
        munmap(map, len);
        return NULL;
    }
    struct mapping *mapping = g_new(struct mapping, 1);

    *mapping = (struct mapping){
        .refs = 1,
        .region = {spec->gpa, spec->size, spec->frontend, (uint8_t *) map + skip},
        .map = map,
        .map_len = len,
        .guard = guard,
    };
    return mapping;
}

static int
compare_mappings(gconstpointer a, gconstpointer b)
{
    uint64_t x = (*(struct mapping *const *) a)->region.gpa;
    uint64_t y = (*(struct mapping *const *) b)->region.gpa;

    return x < y ? -1 : x > y;
}

static bool
meets(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
    return a < b + b_len && b < a + a_len;
}

/* @mappings are sorted; @spec passed check_spec(). At most VDT_REGIONS_MAX of them, so a walk does.
 */
static bool
check_overlap(const GPtrArray *mappings, const struct vdt_region_spec *spec, GError **error)
{
    if (mappings->len >= VDT_REGIONS_MAX)
        return refuse(spec, error, "there are %u regions already", VDT_REGIONS_MAX);
    for (unsigned i = 0; i < mappings->len; i++) {
        const struct vdt_region *r = &((struct mapping *) g_ptr_array_index(mappings, i))->region;

        if (meets(spec->gpa, spec->size, r->gpa, r->size))
            return refuse(spec, error,
                          "it overlaps the region of 0x%" PRIx64
                          " bytes at guest address 0x%" PRIx64,
                          r->size, r->gpa);
        if (meets(spec->frontend, spec->size, r->frontend, r->size))
            return refuse(spec, error,
                          "in the frontend, at 0x%" PRIx64 ", it overlaps the region of 0x%" PRIx64
                          " bytes at 0x%" PRIx64,
                          spec->frontend, r->size, r->frontend);
    }
    return true;
}

static bool
add_spec(GPtrArray *mappings, const struct vdt_region_spec *spec, GError **error)
{
    struct mapping *mapping;

    if (!check_spec(spec, error) || !check_overlap(mappings, spec, error))
        return false;
    mapping = mapping_new(spec, error);
    if (mapping)
        g_ptr_array_add(mappings, mapping);
    return mapping != NULL;
}

/* Takes the mappings out of @mappings: checked, disjoint. */
static struct vdt_guest_map *
map_of(GPtrArray *mappings)
{
    static uint64_t generations;
    struct vdt_guest_map *map = g_new0(struct vdt_guest_map, 1);
    g_autofree struct vdt_span *by_gpa = g_new(struct vdt_span, mappings->len);
    g_autofree struct vdt_span *extents = g_new(struct vdt_span, mappings->len);
    g_autofree struct vdt_span *by_frontend = g_new(struct vdt_span, mappings->len);

    g_ptr_array_sort(mappings, compare_mappings);
    map->refs = 1;
    map->generation = __atomic_add_fetch(&generations, 1, __ATOMIC_RELAXED);
    map->count = mappings->len;
    map->mappings = g_new(struct mapping *, map->count);
    for (unsigned i = 0; i < map->count; i++) {
        struct mapping *mapping = g_ptr_array_index(mappings, i);
        const struct vdt_region *r = &mapping->region;

        map->mappings[i] = mapping;
        by_gpa[i] = (struct vdt_span){r->gpa, r->gpa + r->size - 1,
                                      (uint64_t) (uintptr_t) r->host - r->gpa};
        extents[i] = (struct vdt_span){r->gpa, r->gpa + r->size - 1, 0};
        by_frontend[i] =
            (struct vdt_span){r->frontend, r->frontend + r->size - 1, r->gpa - r->frontend};
    }
    g_ptr_array_set_free_func(mappings, NULL);
    g_ptr_array_set_size(mappings, 0);
    if (!vdt_span_table_init(&map->regions, by_gpa, map->count, false) ||
        !vdt_span_table_init(&map->extents, extents, map->count, true) ||
        !vdt_span_table_init(&map->frontends, by_frontend, map->count, false))
        g_assert_not_reached();
    return map;
}

/* Its mappings, one ref more on each. */
static GPtrArray *
mappings_of(const struct vdt_guest_map *map)
{
    GPtrArray *mappings = g_ptr_array_new_with_free_func(mapping_unref);

    for (unsigned i = 0; i < map->count; i++) {
        g_atomic_int_inc(&map->mappings[i]->refs);
        g_ptr_array_add(mappings, map->mappings[i]);
    }
    return mappings;
}

struct vdt_guest_map *
vdt_guest_map_new(void)
{
    struct vdt_guest_map *map = g_new0(struct vdt_guest_map, 1);

    map->refs = 1;
    return map;
}

struct vdt_guest_map *
vdt_guest_map_ref(struct vdt_guest_map *map)
{
    g_atomic_int_inc(&map->refs);
    return map;
}

void
vdt_guest_map_unref(struct vdt_guest_map *map)
{
    if (!map || !g_atomic_int_dec_and_test(&map->refs))
        return;
    for (unsigned i = 0; i < map->count; i++)
        mapping_unref(map->mappings[i]);
    g_free(map->mappings);
    vdt_span_table_clear(&map->regions);
    vdt_span_table_clear(&map->extents);
    vdt_span_table_clear(&map->frontends);
    g_free(map);
}

struct vdt_guest_map *
vdt_guest_map_from_table(const struct vdt_region_spec *specs, unsigned count, GError **error)
{
    g_autoptr(GPtrArray) mappings = g_ptr_array_new_with_free_func(mapping_unref);

    if (count == 0 || count > VDT_REGIONS_MAX) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "the frontend's memory table of %u regions (1 to %u) is refused, the one in "
                    "force stays",
                    count, VDT_REGIONS_MAX);
        return NULL;
    }
    for (unsigned i = 0; i < count; i++) {
        if (!add_spec(mappings, &specs[i], error))
            return NULL;
    }
    return map_of(mappings);
}

struct vdt_guest_map *
vdt_guest_map_with(const struct vdt_guest_map *map, const struct vdt_region_spec *spec,
                   GError **error)
{
    g_autoptr(GPtrArray) mappings = mappings_of(map);

    return add_spec(mappings, spec, error) ? map_of(mappings) : NULL;
}

struct vdt_guest_map *
vdt_guest_map_without(const struct vdt_guest_map *map, uint64_t gpa, uint64_t size,
                      uint64_t frontend, GError **error)
{
    g_autoptr(GPtrArray) mappings = mappings_of(map);

    for (unsigned i = 0; i < map->count; i++) {
        const struct vdt_region *r = &map->mappings[i]->region;

        if (r->gpa == gpa && r->size == size && r->frontend == frontend) {
            g_ptr_array_remove_index(mappings, i);
            return map_of(mappings);
        }
    }
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                "the frontend wants to remove a memory region of 0x%" PRIx64
                " bytes at guest address 0x%" PRIx64 " (its own address 0x%" PRIx64
                ") that it never gave us; the memory table stays as it was",
                size, gpa, frontend);
    return NULL;
}

unsigned
vdt_guest_map_count(const struct vdt_guest_map *map)
{
    return map->count;
}

const struct vdt_region *
vdt_guest_map_region(const struct vdt_guest_map *map, unsigned i)
{
    return &map->mappings[i]->region;
}

uint64_t
vdt_guest_map_generation(const struct vdt_guest_map *map)
{
    return map->generation;
}

uint64_t
vdt_guest_map_end(const struct vdt_guest_map *map)
{
    if (map->count == 0)
        return 0;
    return map->mappings[map->count - 1]->region.gpa + map->mappings[map->count - 1]->region.size;
}

void *
vdt_guest_map_at(const struct vdt_guest_map *map, uint64_t gpa, uint64_t len)
{
    const struct vdt_span *span = len ? vdt_span_table_find(&map->regions, gpa, len) : NULL;

    return span ? (void *) (uintptr_t) (gpa + span->delta) : NULL;
}

bool
vdt_guest_map_frontend_to_gpa(const struct vdt_guest_map *map, uint64_t addr, uint64_t len,
                              uint64_t *ret_gpa)
{
    const struct vdt_span *span = len ? vdt_span_table_find(&map->frontends, addr, len) : NULL;

    if (span)
        *ret_gpa = addr + span->delta;
    return span != NULL;
}

void *
vdt_guest_map_at_frontend(const struct vdt_guest_map *map, uint64_t addr, uint64_t len)
{
    uint64_t gpa;

    return vdt_guest_map_frontend_to_gpa(map, addr, len, &gpa) ? vdt_guest_map_at(map, gpa, len)
                                                               : NULL;
}

/* The longest part of [@gpa, @gpa + @len) that one region has; @len is 1 or more and covered. */
static uint8_t *
part_at(const struct vdt_guest_map *map, uint64_t gpa, uint64_t len, uint64_t *ret_part)
{
    const struct vdt_span *span = vdt_span_table_find(&map->regions, gpa, 1);

    *ret_part = MIN(len, span->last - gpa + 1);
    return (uint8_t *) (uintptr_t) (gpa + span->delta);
}

bool
vdt_guest_map_read(const struct vdt_guest_map *map, uint64_t gpa, void *buf, uint64_t len)
{
    uint8_t *to = buf;
    uint64_t part;
    const void *whole = vdt_guest_map_at(map, gpa, len);

    if (G_LIKELY(whole)) {
        memcpy(buf, whole, len);
        return true;
    }
    if (!vdt_guest_map_covers(map, gpa, len))
        return false;
    for (; len > 0; gpa += part, to += part, len -= part) {
        const uint8_t *host = part_at(map, gpa, len, &part);
        memcpy(to, host, part);
    }
    return true;
}

bool
vdt_guest_map_write(const struct vdt_guest_map *map, uint64_t gpa, const void *buf, uint64_t len)
{
    const uint8_t *from = buf;
    uint64_t part;

    if (!vdt_guest_map_covers(map, gpa, len))
        return false;
    for (; len > 0; gpa += part, from += part, len -= part) {
        uint8_t *host = part_at(map, gpa, len, &part);
        memcpy(host, from, part);
    }
    return true;
}

bool
vdt_guest_map_truncated(const struct vdt_guest_map *map)
{
    for (unsigned i = 0; i < map->count; i++) {
        if (vdt_sigbus_guard_hit(map->mappings[i]->guard))
            return true;
    }
    return false;
}
