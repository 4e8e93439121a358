/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whether a frontend's base is where a ring of the state stopped. */
#include "lib/leak.h"

#include "snapshot/collect.h"
#include "virtio/features.h"

VDT_SUITE(snapshot_base);

static const struct {
    const char *name;
    bool packed;
    struct vdt_ring_pos pos; /* of the state */
    uint32_t base;
    bool at;
} rows[] = {
    {"split", false, {7, 5}, 7, true},
    {"split, elsewhere", false, {7, 5}, 8, false},
    {"packed, both halves", true, {0x8003, 0x8001}, 0x80018003, true},
    {"packed, another used half", true, {0x8003, 0x8001}, 0x80028003, false},
    {"packed, avail alone", true, {0x8003, 0x8001}, 0x8003, true},
    {"packed, another avail alone", true, {0x8003, 0x8001}, 0x8004, false},
    {"packed, a new guest where nothing is in flight", true, {0x8000, 0x8000}, 0x80008000, true},
    {"packed, a new guest where avail has come round", true, {0x8000, 0x000c}, 0x80008000, false},
    {"packed, UML's new guest there", true, {0x8000, 0x000c}, 0, false},
    {"packed, UML's new guest", true, {0x8000, 0x8000}, 0, true},
    {"packed, stopped at a base of 0", true, {0, 0}, 0, true},
};

Test(snapshot_base, is_the_rings_position_in_all_that_it_tells)
{
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        VDT_AUTO(snapshot) snapshot = vdt_snapshot_new();

        snapshot->guest_features = rows[i].packed ? VDT_BIT(VIRTIO_F_RING_PACKED) : 0;
        snapshot->packed = rows[i].packed;
        snapshot->ring_count = 1;
        snapshot->rings[0] = (struct vdt_snapshot_ring){.num = 16, .pos = rows[i].pos};
        cr_expect_eq(vdt_snapshot_at_base(snapshot, 0, rows[i].base), rows[i].at, "%s",
                     rows[i].name);
    }
}
