/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Relay rig: one relay between the two ends of a ring, a driver and a device that do next to
 * nothing, all on the calling thread.
 */
#pragma once

#include "shadow/relay.h"

/* What is measured: one-descriptor chains with a writable buffer, but for @indirect. */
struct relay_way {
    const char *name;
    enum vdt_ring_kind kind;
    bool log, translated;
    bool indirect;  /* each chain is a table of two */
    bool event_idx; /* both ends ask for the next event, each batch */
    bool in_order;
    bool area;   /* what is in flight is written down for the next tracker */
    bool events; /* with eventfds: kick, call, and the device's; else memory alone */
};

struct relay_rig {
    struct relay_way way;
    uint16_t num;
    uint8_t *memory;
    struct vdt_guest_map *map;
    struct vdt_ring_mem shadow;
    struct vdt_seg *tables;
    struct vdt_iova_table *table;
    struct vdt_dirty_log log;
    struct vdt_relay relay;
    struct vdt_inflight_area *area;
    struct vdt_area_ring area_ring;
    int kick, call, device_kick, device_call;
    uint16_t driver, device; /* positions of the two ends */
    unsigned batch;          /* of relay_rig_run() */
};

void relay_rig_init(struct relay_rig *rig, const struct relay_way *way, uint16_t num);
void relay_rig_clear(struct relay_rig *rig);

/* @chains chains there and back, @batch at a time; each of them is accounted for. */
void relay_rig_run(void *rig, uint64_t chains);
/* What the two ends of a split ring cost without a relay between them. */
void relay_rig_ends_alone(void *rig, uint64_t chains);
