/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "random/inside.h"

#include "daemon/nic_private.h"
#include "device/sim.h"
#include "shadow/shadow_private.h"
#include "virtio/device_posted.h"

struct look {
    const struct vdt_relay *relay;
    char *why; /* owned */
};

struct sums {
    uint32_t chains, slots, parts, posted, posted_slots, apart, long_tables;
};

static void
add_up(const struct vdt_relay *relay, struct sums *sums)
{
    const struct vdt_inflight *f = &relay->inflight;

    for (uint32_t at = 0; at < f->num; at++) {
        uint16_t id = (uint16_t) at, posted = vdt_posted_of(&relay->device, id)->slots;
        bool has = vdt_inflight_has(f, id);
        struct vdt_inflight_head head = {0};

        if (has)
            head = vdt_inflight_head(f, id);
        sums->chains += has;
        sums->slots += head.slots;
        sums->parts += (f->kept[id].posted.mark & VDT_KEPT_PART) != 0;
        sums->posted += posted > 0;
        sums->posted_slots += posted;
        sums->apart += head.slots != posted;
        sums->long_tables += head.long_table > 0;
    }
}

static void
look_at(void *arg)
{
    struct look *look = arg;
    const struct vdt_relay *relay = look->relay;
    const struct vdt_inflight *f = &relay->inflight;
    const struct vdt_guest_ring *guest = &relay->guest;
    uint16_t num = f->num;
    struct sums sums = {0};

    if (relay->fault)
        return;
    add_up(relay, &sums);
    bool split = f->kind == VDT_RING_SPLIT;
    uint32_t taken = split ? sums.chains : sums.slots;
    uint32_t between = split ? (uint16_t) (guest->pos.avail - guest->pos.used)
                             : vdt_packed_distance(guest->pos.used, guest->pos.avail, num);
    uint32_t long_free = (uint32_t) __builtin_popcount(f->long_free);
    const struct {
        const char *what;
        uint32_t have, want;
    } books[] = {
        {"chains counted in flight, kept", f->count, sums.chains},
        {"chains that the device has, kept", sums.posted, sums.chains},
        {"chains kept otherwise than posted", sums.apart, 0},
        {"slots that the device's ring counts, posted", relay->device.in_flight, sums.posted_slots},
        {"slots in flight, at most the ring's", MAX(sums.slots, num), num},
        {"what the guest's ring counts, kept", guest->in_flight, taken},
        {"what lies between its positions, kept", between, taken},
        {"places taken, slots in flight", sums.parts, sums.slots},
        {"free places and those taken, of the ring", split ? num : f->free_count + sums.parts, num},
        {"long tables, free and taken", f->table.host ? long_free + sums.long_tables : 0,
         f->table.host ? VDT_TABLES_LONG : 0},
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(books) && !look->why; i++) {
        if (books[i].have != books[i].want)
            look->why =
                g_strdup_printf("%s: %u of %u", books[i].what, books[i].have, books[i].want);
    }
}

char *
inside_rings(struct side *side)
{
    struct vdt_shadow *s = side->nic->shadow;

    for (uint32_t i = 0; i < s->ring_count; i++) {
        struct vdt_shadow_ring *ring = &s->rings[i];
        struct look look = {.relay = &ring->relay};

        if (!ring->relay_live)
            continue;
        if (ring->attached)
            vdt_worker_call(vdt_shadow_worker(s, i), look_at, &look);
        else
            look_at(&look);
        if (look.why) {
            g_autofree char *why = look.why;
            return g_strdup_printf("ring %u: %s", i, why);
        }
    }
    return NULL;
}

/* The bytes of [@gpa, @gpa + @size) are mapped at IOVA = GPA, each at its host address. */
static bool
identical(const GArray *space, const struct vdt_region *region)
{
    uint64_t at = 0;

    for (unsigned i = 0; i < space->len; i++) {
        const struct vdt_sim_map *map = &g_array_index(space, struct vdt_sim_map, i);

        if (map->iova != region->gpa + at)
            continue;
        if (map->host != region->host + at || !map->writable || map->size > region->size - at)
            return false;
        at += map->size;
    }
    return at == region->size;
}

char *
inside_maps(struct side *side)
{
    struct vdt_shadow *s = side->nic->shadow;
    uint64_t want = 0, have = side_mapped(side);
    VDT_SIM_LOCKED(side->dev);

    if (vdt_guest_map_count(s->map) != side->regions)
        return g_strdup_printf("%u regions of memory where the guest has %u",
                               vdt_guest_map_count(s->map), side->regions);
    for (unsigned i = 0; i < vdt_guest_map_count(s->map); i++) {
        const struct vdt_region *region = vdt_guest_map_region(s->map, i);

        if (!identical(sim->space[0], region))
            return g_strdup_printf("the region at 0x%" G_GINT64_MODIFIER "x is not mapped as it is",
                                   region->gpa);
        want += region->size;
    }
    for (unsigned part = 0; s->place->arena && part < VDT_ARENA_PARTS; part++)
        want += s->place->arena->mapped[part] ? s->place->arena->length[part] : 0;
    if (have == want)
        return NULL;
    return g_strdup_printf("%" G_GUINT64_FORMAT " bytes mapped where memory and our own are "
                           "%" G_GUINT64_FORMAT,
                           have, want);
}

bool
inside_passed_through(struct side *side)
{
    return vdt_shadow_mode(side->nic->shadow) == VDT_MODE_PASSTHROUGH;
}

unsigned
inside_own_frames(struct side *side)
{
    return side->nic->rarp_sent;
}
