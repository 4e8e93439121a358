/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest memory at the device. Identity (IOVA = GPA) wherever the device's range allows it: data
 * then needs no translation, and nothing is mapped or unmapped when shadowing starts or stops.
 */
#include "shadow/shadow_private.h"

#include <unistd.h>

#include <vdpa-tracker/error.h>

bool
vdt_shadow_meets_arena(const struct vdt_shadow *s, const struct vdt_guest_map *map)
{
    for (unsigned i = 0; s->arena && i < vdt_guest_map_count(map); i++) {
        const struct vdt_region *region = vdt_guest_map_region(map, i);
        if (region->gpa < s->arena->iova + s->arena->size &&
            region->gpa + region->size > s->arena->iova)
            return true;
    }
    return false;
}

static bool
fits_identity(const struct vdt_shadow *s, const struct vdt_guest_map *map)
{
    for (unsigned i = 0; i < vdt_guest_map_count(map); i++) {
        const struct vdt_region *region = vdt_guest_map_region(map, i);

        if (region->gpa < s->dev->info.iova_first ||
            region->gpa + region->size - 1 > s->dev->info.iova_last)
            return false;
    }
    return !vdt_shadow_meets_arena(s, map);
}

/* Can regions come and go while rings run? What is translated moves with each change. */
bool
vdt_shadow_fits_as_placed(const struct vdt_shadow *s, const struct vdt_guest_map *map)
{
    return !s->translated && fits_identity(s, map);
}

static bool
is_mapped(const struct vdt_shadow *s, const struct vdt_region *region, uint64_t *ret_iova)
{
    for (unsigned i = 0; i < s->mapped->len; i++) {
        const struct vdt_mapped *m = &g_array_index(s->mapped, struct vdt_mapped, i);
        if (m->gpa == region->gpa && m->size == region->size && m->host == region->host) {
            *ret_iova = m->iova;
            return true;
        }
    }
    return false;
}

static bool
in_map(const struct vdt_guest_map *map, const struct vdt_mapped *m)
{
    for (unsigned i = 0; i < vdt_guest_map_count(map); i++) {
        const struct vdt_region *region = vdt_guest_map_region(map, i);
        if (region->gpa == m->gpa && region->size == m->size && region->host == m->host)
            return true;
    }
    return false;
}

bool
vdt_shadow_place_memory(struct vdt_shadow *s, GError **error)
{
    bool translated = !fits_identity(s, s->map);

    if (translated != s->translated && s->mapped->len > 0)
        vdt_shadow_forget_memory(s, s->dev);
    s->translated = translated;
    return vdt_shadow_sync_memory(s, error);
}

static void
unmap_at(struct vdt_shadow *s, unsigned i)
{
    struct vdt_mapped m = g_array_index(s->mapped, struct vdt_mapped, i);

    VDT_DEVICE_CALL(s->dev, unmap, NULL, 0, m.iova, m.size);
    vdt_iova_space_release(s->space, m.iova, m.size);
    g_array_remove_index_fast(s->mapped, i);
}

static bool
map_region(struct vdt_shadow *s, const struct vdt_region *region, GError **error)
{
    struct vdt_mapped m = {
        .gpa = region->gpa, .iova = region->gpa, .size = region->size, .host = region->host};
    bool placed = s->translated
                      ? vdt_iova_space_alloc(s->space, m.size, 2u << 20, false, &m.iova, error)
                      : vdt_iova_space_reserve(s->space, m.iova, m.size, error);

    if (!placed)
        return false;
    if (!VDT_DEVICE_CALL(s->dev, map, error, 0, m.iova, m.size, m.host, true)) {
        g_prefix_error(error, "%s: cannot map guest memory at 0x%" G_GINT64_MODIFIER "x: ",
                       s->dev->info.name, m.gpa);
        vdt_iova_space_release(s->space, m.iova, m.size);
        return false;
    }
    g_array_append_val(s->mapped, m);
    return true;
}

/* The translation that goes with what is mapped; none for identity. */
static void
build_table(struct vdt_shadow *s)
{
    g_clear_pointer(&s->table, vdt_iova_table_free);
    if (!s->translated)
        return;

    g_autofree struct vdt_iova_stretch *stretches = g_new(struct vdt_iova_stretch, s->mapped->len);
    for (unsigned i = 0; i < s->mapped->len; i++) {
        const struct vdt_mapped *m = &g_array_index(s->mapped, struct vdt_mapped, i);
        stretches[i] = (struct vdt_iova_stretch){.from = m->gpa, .to = m->iova, .len = m->size};
    }
    s->table = vdt_iova_table_new(stretches, s->mapped->len);
}

bool
vdt_shadow_sync_memory(struct vdt_shadow *s, GError **error)
{
    uint64_t iova;
    bool ok = true;

    for (unsigned i = s->mapped->len; i-- > 0;) {
        if (!in_map(s->map, &g_array_index(s->mapped, struct vdt_mapped, i)))
            unmap_at(s, i);
    }
    if (s->dev->ops->batch)
        s->dev->ops->batch(s->dev, 0, true, NULL);
    for (unsigned i = 0; ok && i < vdt_guest_map_count(s->map); i++) {
        const struct vdt_region *region = vdt_guest_map_region(s->map, i);
        if (!is_mapped(s, region, &iova))
            ok = map_region(s, region, error);
    }
    if (s->dev->ops->batch && !s->dev->ops->batch(s->dev, 0, false, ok ? error : NULL)) {
        /* Which of them took effect is not known. */
        vdt_shadow_forget_memory(s, s->dev);
        ok = false;
    }
    build_table(s);
    return ok;
}

/* Also where a reset dropped the maps: the kernel's own list of them still has to be told. */
void
vdt_shadow_forget_memory(struct vdt_shadow *s, struct vdt_device *dev)
{
    for (unsigned i = 0; i < s->mapped->len; i++) {
        const struct vdt_mapped *m = &g_array_index(s->mapped, struct vdt_mapped, i);
        VDT_DEVICE_CALL(dev, unmap, NULL, 0, m->iova, m->size);
        vdt_iova_space_release(s->space, m->iova, m->size);
    }
    g_array_set_size(s->mapped, 0);
    g_clear_pointer(&s->table, vdt_iova_table_free);
}
