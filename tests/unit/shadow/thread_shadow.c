/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The whole shadow device over sim: with frames under way: logs come, grow and go, memory comes and
 * goes, rings freeze, thaw, stop and start. A plain program: it also runs under ThreadSanitizer.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "lib/plain_assert.h"
#include "lib/shadow_rig.h"
#include "virtio/features.h"

#define ROUNDS 40u

static void
check(bool ok, const char *what, GError *error)
{
    cr_assert(ok, "%s: %s", what, error ? error->message : "no reason");
}

#define OK(call)                                                                                   \
    do {                                                                                           \
        GError *error = NULL;                                                                      \
        check(call, #call, error);                                                                 \
    } while (0)

static void
one_round(struct rig *rig, unsigned round, struct vdt_guest_map *more)
{
    uint32_t base[2];
    int log;

    rig_traffic(rig, 50);
    switch (round % 5) {
    case 0:
        /* A log in the place of a log, both marked in by the data threads. */
        log = vdt_memfd("log", 8192 + 4096 * (round % 3), NULL);
        OK(vdt_shadow_set_log(rig->shadow, log, 0, 4096 + 4096 * (round % 3), &error));
        break;
    case 1:
        OK(vdt_shadow_set_features(rig->shadow, rig->features, round % 10 == 1, &error));
        break;
    case 2:
        OK(vdt_shadow_set_memory(rig->shadow, more, &error));
        rig_traffic(rig, 20);
        OK(vdt_shadow_set_memory(rig->shadow, rig->map, &error));
        break;
    case 3:
        OK(vdt_shadow_freeze(rig->shadow, &error));
        OK(vdt_shadow_thaw(rig->shadow, &error));
        OK(vdt_shadow_set_call(rig->shadow, 0, dup(rig->call[0]), &error));
        OK(vdt_shadow_set_kick(rig->shadow, 1, dup(rig->kick[1]), &error));
        break;
    default:
        rig_stop(rig, base);
        rig_set_rings(rig, base);
        break;
    }
}

static bool
run(const char *spec, uint64_t features)
{
    struct vdt_shadow_options options = rig_options(VDT_SHADOW_ALWAYS);
    VDT_AUTO_FD fd = vdt_memfd("more", 1 << 20, NULL);
    struct vdt_region_spec region = {
        .gpa = 0x2000000, .size = 1 << 20, .frontend = 0x7f5500000000, .fd = fd};
    struct vdt_shadow_ring_view view;
    struct rig rig;

    options.workers = 2;
    rig_init(&rig, spec, &options, features);
    VDT_AUTO(guest_map) more = vdt_guest_map_with(rig.map, &region, NULL);
    rig_start(&rig);
    for (unsigned round = 0; round < ROUNDS; round++) {
        one_round(&rig, round, more);
        vdt_shadow_view_ring(rig.shadow, round % 2, &view);
        g_free(view.requests);
    }
    /* Frames that the device had not delivered when it was reset are gone; requests are not. */
    rig_drain(&rig, 5000);
    bool ok = rig.sent_done == rig.next_send && rig.received > 0 &&
              rig.duplicated + rig.corrupt + rig.broken == 0;
    printf("# %s: %u sent, %u done, %u received, %u doubled, %u corrupt\n", spec, rig.next_send,
           rig.sent_done, rig.received, rig.duplicated, rig.corrupt);
    rig_clear(&rig);
    return ok;
}

int
main(void)
{
    static const struct {
        const char *spec;
        uint64_t features;
    } ways[] = {
        {"", VDT_BIT(VIRTIO_RING_F_EVENT_IDX)},
        {"ooo,latency=200", VDT_BIT(VIRTIO_F_RING_PACKED)},
    };
    unsigned failed = 0;

    printf("1..%u\n", (unsigned) G_N_ELEMENTS(ways));
    for (unsigned i = 0; i < G_N_ELEMENTS(ways); i++) {
        bool ok = run(ways[i].spec, ways[i].features);
        printf("%sok %u - nothing is lost or doubled: sim:%s\n", ok ? "" : "not ", i + 1,
               ways[i].spec);
        failed += !ok;
    }
    return failed != 0;
}
