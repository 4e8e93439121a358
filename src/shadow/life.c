/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Life: does the guest that sets its rings up go on, or has it begun anew? A frontend that comes
 * back after a crash of ours says nothing about it, and what it says of positions differs: QEMU the
 * used index or a position from long ago, DPDK 0 at all times. The rings themselves tell: a driver
 * that begins anew begins with zeroed rings, and what a device has given back stays visible until
 * then. So a ring that looks unused is of another life if ours had been used, and one that has been
 * used is the same if it lies where ours lay and stands where ours stood.
 */
#include <vdpa-tracker/error.h>

#include "base/wire.h"
#include "shadow/shadow_private.h"
#include "virtio/features.h"
#include "virtio/packed_layout.h"
#include "virtio/split_layout.h"

static bool
split_unused(uint16_t num, const struct vdt_ring_mem *mem)
{
    if (vdt_load16((uint8_t *) mem->device + VDT_SPLIT_IDX) != 0)
        return false;
    for (uint16_t i = 0; i < num; i++) {
        const uint8_t *entry = vdt_split_used_entry(mem->device, num, i);
        if (vdt_load32(entry) != 0 || vdt_load32(entry + 4) != 0)
            return false;
    }
    return true;
}

/* A driver's own beginnings count as unused: what it has made available in the first round, and
 * ids that it has put into slots it has not used. */
static bool
packed_unused(uint16_t num, const struct vdt_ring_mem *mem)
{
    bool behind = false;

    for (uint16_t i = 0; i < num; i++) {
        const uint8_t *desc = vdt_packed_desc(mem->desc, i);
        uint16_t bits = vdt_load16(desc + 14) & (VDT_PACKED_AVAIL | VDT_PACKED_USED);

        if (bits == VDT_PACKED_AVAIL && !behind)
            continue;
        behind = true;
        if (bits != 0 || vdt_load64(desc) != 0 || vdt_load32(desc + 8) != 0)
            return false;
    }
    return true;
}

bool
vdt_shadow_ring_unused(const struct vdt_ring_format *format, const struct vdt_ring_mem *mem)
{
    return format->kind == VDT_RING_SPLIT ? split_unused(format->num, mem)
                                          : packed_unused(format->num, mem);
}

enum vdt_life
vdt_shadow_ring_life(const struct vdt_shadow *s, uint32_t index,
                     const struct vdt_area_history *history, const char **ret_why)
{
    const struct vdt_shadow_ring *ring = &s->rings[index];
    struct vdt_ring_format format = vdt_features_ring_format(s->negotiation.device, ring->num);

    *ret_why = NULL;
    if (!history->requests)
        return VDT_LIFE_UNTOLD;
    if (!history->of_ring)
        *ret_why = "it lies elsewhere, or is of another size or kind";
    else if (!history->known)
        *ret_why = "its used index is not where it was left";
    else if (!vdt_shadow_ring_unused(&format, &ring->guest_mem))
        return VDT_LIFE_SAME;
    else if (history->noted == vdt_ring_pos_initial(format.kind).used)
        return VDT_LIFE_UNTOLD;
    else
        *ret_why = "no device has worked on it yet";
    return VDT_LIFE_OTHER;
}

static enum vdt_life
judge_ring(struct vdt_shadow *s, uint32_t index, const char **ret_why)
{
    g_autoptr(GError) error = NULL;
    struct vdt_area_history history;

    *ret_why = NULL;
    /* Damaged: the ring's start says so. */
    if (!vdt_shadow_ring_wanted(s, index) || !vdt_shadow_read_history(s, index, &history, &error))
        return VDT_LIFE_UNTOLD;
    enum vdt_life life = vdt_shadow_ring_life(s, index, &history, ret_why);
    vdt_area_history_clear(&history);
    return life;
}

enum vdt_life
vdt_shadow_life(struct vdt_shadow *s, char **ret_why)
{
    enum vdt_life life = VDT_LIFE_UNTOLD;

    *ret_why = NULL;
    for (uint32_t i = 0; i < s->ring_count; i++) {
        const char *why;
        enum vdt_life one = judge_ring(s, i, &why);

        if (one == VDT_LIFE_OTHER) {
            *ret_why = g_strdup_printf("ring %u: %s", i, why);
            return one;
        }
        if (one == VDT_LIFE_SAME)
            life = one;
    }
    return life;
}

/* A packed ring shows it only at rest: while its driver fills it, what is filled looks used. There
 * the position tells, as it was told; one ring alone may be back at its beginning. */
bool
vdt_shadow_used_before(const struct vdt_shadow *s)
{
    for (uint32_t i = 0; i < s->ring_count; i++) {
        const struct vdt_shadow_ring *ring = &s->rings[i];
        struct vdt_ring_format format = vdt_features_ring_format(s->negotiation.device, ring->num);
        struct vdt_ring_pos initial = vdt_ring_pos_initial(format.kind);

        if (!vdt_shadow_ring_wanted(s, i))
            continue;
        if (ring->pos.avail != initial.avail ||
            (format.kind == VDT_RING_SPLIT && !split_unused(format.num, &ring->guest_mem)))
            return true;
    }
    return false;
}
