/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shadow/placement.h"

/* One region as it is mapped into the device. */
struct vdt_mapped {
    uint64_t gpa, iova, size;
    uint8_t *host;
};

static struct vdt_mapped *
mapped_at(const struct vdt_placement *p, unsigned i)
{
    return &g_array_index(p->mapped, struct vdt_mapped, i);
}

struct vdt_placement *
vdt_placement_new(struct vdt_device *dev)
{
    struct vdt_placement *p = g_new0(struct vdt_placement, 1);

    p->dev = dev;
    p->space = vdt_iova_space_new(dev->info.iova_first, dev->info.iova_last);
    p->mapped = g_array_new(FALSE, FALSE, sizeof(struct vdt_mapped));
    return p;
}

void
vdt_placement_free(struct vdt_placement *p)
{
    if (!p)
        return;
    vdt_placement_unmap(p);
    vdt_arena_free(p->arena, p->space);
    vdt_iova_space_free(p->space);
    g_array_unref(p->mapped);
    g_free(p);
}

static bool
meets_arena(const struct vdt_placement *p, const struct vdt_guest_map *map)
{
    for (unsigned i = 0; p->arena && i < vdt_guest_map_count(map); i++) {
        const struct vdt_region *region = vdt_guest_map_region(map, i);
        if (region->gpa < p->arena->iova + p->arena->size &&
            region->gpa + region->size > p->arena->iova)
            return true;
    }
    return false;
}

static bool
fits_identity(const struct vdt_placement *p, const struct vdt_guest_map *map)
{
    for (unsigned i = 0; i < vdt_guest_map_count(map); i++) {
        const struct vdt_region *region = vdt_guest_map_region(map, i);

        if (region->gpa < p->dev->info.iova_first ||
            region->gpa + region->size - 1 > p->dev->info.iova_last)
            return false;
    }
    return !meets_arena(p, map);
}

bool
vdt_placement_fits_as_placed(const struct vdt_placement *p, const struct vdt_guest_map *map)
{
    return !p->translated && fits_identity(p, map);
}

static bool
is_region(const struct vdt_mapped *m, const struct vdt_region *region)
{
    return m->gpa == region->gpa && m->size == region->size && m->host == region->host;
}

/* The first that is mapped at @gpa or above; mapped->len when there is none. */
static unsigned
mapped_from(const struct vdt_placement *p, uint64_t gpa)
{
    unsigned low = 0, high = p->mapped->len;

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (mapped_at(p, middle)->gpa < gpa)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool
is_mapped(const struct vdt_placement *p, const struct vdt_region *region)
{
    unsigned i = mapped_from(p, region->gpa);

    return i < p->mapped->len && is_region(mapped_at(p, i), region);
}

static void
unmap_at(struct vdt_placement *p, unsigned i)
{
    const struct vdt_mapped *m = mapped_at(p, i);

    VDT_DEVICE_CALL(p->dev, unmap, NULL, 0, m->iova, m->size);
    vdt_iova_space_release(p->space, m->iova, m->size);
    g_array_remove_index(p->mapped, i);
}

/* Unmap what is no region of @map. Both are sorted by GPA. */
static void
unmap_strays(struct vdt_placement *p, const struct vdt_guest_map *map)
{
    unsigned r = vdt_guest_map_count(map);

    for (unsigned i = p->mapped->len; i-- > 0;) {
        while (r > 0 && vdt_guest_map_region(map, r - 1)->gpa > mapped_at(p, i)->gpa)
            r--;
        if (r == 0 || !is_region(mapped_at(p, i), vdt_guest_map_region(map, r - 1)))
            unmap_at(p, i);
    }
}

static void
forget_memory(struct vdt_placement *p)
{
    while (p->mapped->len > 0)
        unmap_at(p, p->mapped->len - 1);
    g_clear_pointer(&p->table, vdt_iova_table_free);
}

static bool
map_region(struct vdt_placement *p, const struct vdt_region *region, GError **error)
{
    struct vdt_mapped m = {
        .gpa = region->gpa, .iova = region->gpa, .size = region->size, .host = region->host};
    bool placed = p->translated
                      ? vdt_iova_space_alloc(p->space, m.size, 2u << 20, false, &m.iova, error)
                      : vdt_iova_space_reserve(p->space, m.iova, m.size, error);

    if (!placed)
        return false;
    if (!VDT_DEVICE_CALL(p->dev, map, error, 0, m.iova, m.size, m.host, true)) {
        g_prefix_error(error, "%s: cannot map guest memory at 0x%" G_GINT64_MODIFIER "x: ",
                       p->dev->info.name, m.gpa);
        vdt_iova_space_release(p->space, m.iova, m.size);
        return false;
    }
    g_array_insert_val(p->mapped, mapped_from(p, m.gpa), m);
    return true;
}

/* The translation that goes with what is mapped; none for identity. */
static void
build_table(struct vdt_placement *p)
{
    g_clear_pointer(&p->table, vdt_iova_table_free);
    if (!p->translated)
        return;

    g_autofree struct vdt_iova_stretch *stretches = g_new(struct vdt_iova_stretch, p->mapped->len);
    for (unsigned i = 0; i < p->mapped->len; i++) {
        const struct vdt_mapped *m = mapped_at(p, i);
        stretches[i] = (struct vdt_iova_stretch){.from = m->gpa, .to = m->iova, .len = m->size};
    }
    p->table = vdt_iova_table_new(stretches, p->mapped->len);
}

bool
vdt_placement_sync(struct vdt_placement *p, const struct vdt_guest_map *map, GError **error)
{
    bool translated = !fits_identity(p, map), ok = true;

    if (translated != p->translated)
        forget_memory(p);
    p->translated = translated;
    unmap_strays(p, map);
    if (p->dev->ops->batch)
        p->dev->ops->batch(p->dev, 0, true, NULL);
    for (unsigned i = 0; ok && i < vdt_guest_map_count(map); i++) {
        const struct vdt_region *region = vdt_guest_map_region(map, i);
        if (!is_mapped(p, region))
            ok = map_region(p, region, error);
    }
    if (p->dev->ops->batch && !p->dev->ops->batch(p->dev, 0, false, ok ? error : NULL)) {
        /* Which of them took effect is not known. */
        forget_memory(p);
        ok = false;
    }
    build_table(p);
    return ok;
}

static bool
big_enough(const struct vdt_arena *arena, const uint64_t need[VDT_ARENA_PARTS], uint32_t cvq_asid)
{
    if (!arena)
        return false;
    for (unsigned i = 0; i < VDT_ARENA_PARTS; i++) {
        if (arena->length[i] < need[i] ||
            (i == VDT_ARENA_CVQ && arena->mapped[i] && arena->asid[i] != cvq_asid))
            return false;
    }
    return true;
}

/* Beside all guest memory, also where none of it is mapped yet, so that IOVA = GPA stays possible.
 */
static bool
new_arena(struct vdt_placement *p, const struct vdt_guest_map *map,
          const uint64_t need[VDT_ARENA_PARTS], GError **error)
{
    unsigned count = vdt_guest_map_count(map);
    g_autofree bool *mine = g_new0(bool, count + 1);

    for (unsigned i = 0; i < count; i++) {
        const struct vdt_region *region = vdt_guest_map_region(map, i);
        mine[i] = vdt_iova_space_reserve(p->space, region->gpa, region->size, NULL);
    }
    p->arena = vdt_arena_new(need, p->space, NULL);
    for (unsigned i = 0; i < count; i++) {
        const struct vdt_region *region = vdt_guest_map_region(map, i);
        if (mine[i])
            vdt_iova_space_release(p->space, region->gpa, region->size);
    }
    /* No room beside it: guest memory is to be translated then. */
    if (!p->arena)
        p->arena = vdt_arena_new(need, p->space, error);
    return p->arena != NULL;
}

bool
vdt_placement_provide(struct vdt_placement *p, const struct vdt_guest_map *map,
                      const uint64_t need[VDT_ARENA_PARTS], uint32_t cvq_asid, GError **error)
{
    if (!big_enough(p->arena, need, cvq_asid) || (!p->translated && meets_arena(p, map))) {
        if (p->arena)
            vdt_arena_unmap(p->arena, p->dev);
        vdt_arena_free(g_steal_pointer(&p->arena), p->space);
        if (!new_arena(p, map, need, error))
            return false;
    }
    for (unsigned i = 0; i < VDT_ARENA_PARTS; i++)
        vdt_arena_rewind(p->arena, i);
    return vdt_placement_sync(p, map, error) && vdt_arena_map(p->arena, p->dev, cvq_asid, error);
}

void
vdt_placement_unmap(struct vdt_placement *p)
{
    forget_memory(p);
    if (p->arena)
        vdt_arena_unmap(p->arena, p->dev);
}

bool
vdt_placement_reset(struct vdt_placement *p, GError **error)
{
    p->negotiated = false;
    if (!VDT_DEVICE_CALL(p->dev, set_status, error, 0))
        return false;
    /* Also where the reset dropped them: the kernel's own list of them still has to be told. */
    if (!p->dev->info.maps_survive_reset)
        vdt_placement_unmap(p);
    return true;
}
