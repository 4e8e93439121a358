/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest map: the guest's memory regions, as the frontend gave them to us.
 *
 * A map is immutable and refcounted: each change of the memory table makes a new generation, and
 * whoever works on a ring keeps the generation that the work started with. A region stays mapped
 * as long as some generation holds it. Regions are MAP_SHARED mappings of descriptors that a peer
 * owns: the peer may truncate them, so a SIGBUS inside one is caught, an anonymous page is put in
 * its place and the region is marked truncated (vdt_guest_map_truncated()).
 *
 * Thread: build and drop on the control thread; look up, ref and unref from any.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/auto.h"
#include "memory/span_table.h"

#define VDT_REGIONS_MAX 512u

struct vdt_guest_map;

/* One row of a memory table. */
struct vdt_region_spec {
    uint64_t gpa;      /* guest physical address, page aligned */
    uint64_t size;     /* bytes, > 0, page multiple */
    uint64_t frontend; /* address of the region in the frontend's process */
    uint64_t offset;   /* of the region in @fd, page multiple */
    int fd;            /* borrowed; duplicated as needed by the mapping */
};

/* A mapped region as lookers see it. */
struct vdt_region {
    uint64_t gpa, size, frontend;
    uint8_t *host; /* MAP_SHARED, read and write */
};

struct vdt_guest_map *vdt_guest_map_new(void); /* no region, generation 0 */
struct vdt_guest_map *vdt_guest_map_ref(struct vdt_guest_map *map);
void vdt_guest_map_unref(struct vdt_guest_map *map); /* accepts NULL */
VDT_DEFINE_AUTO(guest_map, vdt_guest_map_unref)

/*
 * A new generation: a whole table, one region more, one less. NULL with @error (VDT_ERROR_INVALID:
 * zero size, wrap, misalignment, overlap in GPA or frontend space, beyond the end of @fd, more
 * than VDT_REGIONS_MAX, unknown region), and @map unchanged in every case.
 */
struct vdt_guest_map *vdt_guest_map_from_table(const struct vdt_region_spec *specs, unsigned count,
                                               GError **error);
struct vdt_guest_map *vdt_guest_map_with(const struct vdt_guest_map *map,
                                         const struct vdt_region_spec *spec, GError **error);
struct vdt_guest_map *vdt_guest_map_without(const struct vdt_guest_map *map, uint64_t gpa,
                                            uint64_t size, uint64_t frontend, GError **error);

unsigned vdt_guest_map_count(const struct vdt_guest_map *map);
const struct vdt_region *vdt_guest_map_region(const struct vdt_guest_map *map,
                                              unsigned i); /* by GPA */
uint64_t vdt_guest_map_generation(const struct vdt_guest_map *map);
uint64_t vdt_guest_map_end(const struct vdt_guest_map *map); /* highest GPA + 1; 0 when empty */

/* Host address of [@gpa, @gpa + @len), NULL unless it lies in one region. len 0 is never mapped. */
void *vdt_guest_map_at(const struct vdt_guest_map *map, uint64_t gpa, uint64_t len);
/* The same for an address of the frontend's process, and that address as GPA. */
void *vdt_guest_map_at_frontend(const struct vdt_guest_map *map, uint64_t addr, uint64_t len);
bool vdt_guest_map_frontend_to_gpa(const struct vdt_guest_map *map, uint64_t addr, uint64_t len,
                                   uint64_t *ret_gpa);

/* The stretch of guest memory, adjacent regions counted as one, that holds every byte of [@gpa,
 * @gpa + @len); NULL when none does. @len > 0. A few ns at any number of regions. */
static inline const struct vdt_span *
vdt_guest_map_extent(const struct vdt_guest_map *map, uint64_t gpa, uint64_t len)
{
    /* The extents come first in every map. */
    return vdt_span_table_find((const struct vdt_span_table *) map, gpa, len);
}

/* Whether there is one. @len 0: @gpa is ignored. */
static inline bool
vdt_guest_map_covers(const struct vdt_guest_map *map, uint64_t gpa, uint64_t len)
{
    return len == 0 || vdt_guest_map_extent(map, gpa, len) != NULL;
}

/* Copies that may cross adjacent regions. False (nothing promised about @buf) where unmapped. */
bool vdt_guest_map_read(const struct vdt_guest_map *map, uint64_t gpa, void *buf, uint64_t len);
bool vdt_guest_map_write(const struct vdt_guest_map *map, uint64_t gpa, const void *buf,
                         uint64_t len);

/* True once a peer has shortened a file under one of the regions. */
bool vdt_guest_map_truncated(const struct vdt_guest_map *map);
