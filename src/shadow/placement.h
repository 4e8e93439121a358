/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Placement: what one device sees of this process's memory: where guest memory lies in its address
 * space, where our own stretch lies, and what of both is mapped now.
 *
 * One belongs to the device in place, another one to a device that is about to take that place (or
 * has just lost it), so that mapping, which pins all of guest memory, is never done while the
 * guest's NIC stands still.
 *
 * Identity (IOVA = GPA) wherever the device's range allows it: data then needs no translation, and
 * nothing is mapped or unmapped when shadowing starts or stops.
 *
 * Thread: control. @table and arena memory are read by the data threads.
 */
#pragma once

#include "device/device.h"
#include "memory/guest_map.h"
#include "memory/iova_space.h"
#include "shadow/arena.h"

struct vdt_placement {
    struct vdt_device *dev; /* borrowed */
    struct vdt_iova_space *space;
    struct vdt_arena *arena;      /* NULL until the first provide() */
    GArray *mapped;               /* struct vdt_mapped, by GPA */
    struct vdt_iova_table *table; /* NULL while IOVA = GPA */
    bool translated;

    /* The device stands at FEATURES_OK with @features since its reset: see stage(). */
    bool negotiated;
    uint64_t features;
    uint32_t cvq_asid;
};

/* Nothing is mapped yet. */
struct vdt_placement *vdt_placement_new(struct vdt_device *dev);
/* Unmaps what is mapped; accepts NULL. */
void vdt_placement_free(struct vdt_placement *placement);
VDT_DEFINE_AUTO(placement, vdt_placement_free)

/* Can regions come and go while rings run? What is translated moves with each change. */
bool vdt_placement_fits_as_placed(const struct vdt_placement *placement,
                                  const struct vdt_guest_map *map);

/* Make the device's maps those of @map; identity or translated is decided anew. False leaves what
 * could be mapped mapped; the next sync() goes on from there. */
bool vdt_placement_sync(struct vdt_placement *placement, const struct vdt_guest_map *map,
                        GError **error);

/* sync(), and our own stretch with at least @need bytes of each part, all of them free again. */
bool vdt_placement_provide(struct vdt_placement *placement, const struct vdt_guest_map *map,
                           const uint64_t need[VDT_ARENA_PARTS], uint32_t cvq_asid, GError **error);

void vdt_placement_unmap(struct vdt_placement *placement);

/* Reset the device, and know what it forgot. */
bool vdt_placement_reset(struct vdt_placement *placement, GError **error);
