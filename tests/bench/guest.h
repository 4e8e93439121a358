/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guest: memory and rings of a guest, and the shadow device that they are given to; the frontend's
 * calls without a frontend. For what a whole device costs.
 */
#pragma once

#include "shadow/shadow.h"
#include "virtio/device_ring.h"
#include "virtio/net_state.h"

#define GUEST_GPA 0x100000ull
#define GUEST_FRONTEND 0x7f1200000000ull
#define GUEST_MEMORY (64u << 20) /* of the first region, where the rings and buffers are */
#define GUEST_REGION (2u << 20)  /* of each further one */
#define GUEST_NUM 256u
#define GUEST_BUFFER 2048u

struct bench_guest {
    GMainContext *context;
    struct vdt_shadow *shadow;
    struct vdt_guest_map *map;
    uint8_t *memory; /* of the first region */
    int memfd;
    uint64_t features;
    uint32_t rings; /* that are used */
    struct vdt_device_ring ring[VDT_RINGS_MAX];
    int kick[VDT_RINGS_MAX], call[VDT_RINGS_MAX];
    uint32_t base[VDT_RINGS_MAX];
    struct vdt_net_state net; /* given to the device at each start, where it has a control queue */
    unsigned replayed;        /* commands, at the last start */
};

/* @dev is owned from now on. Rings do not run yet. */
void guest_init(struct bench_guest *guest, struct vdt_device *dev, enum vdt_shadow_policy policy,
                unsigned workers, uint64_t features, uint32_t rings, unsigned regions);
void guest_clear(struct bench_guest *guest);

/* One region more than @guest has, for set_memory(). */
struct vdt_guest_map *guest_more_memory(const struct bench_guest *guest);

void guest_start(struct bench_guest *guest);
void guest_stop(struct bench_guest *guest);

/* As many one-descriptor chains of @len bytes as fit, at most @n; not kicked. */
unsigned guest_post(struct bench_guest *guest, uint32_t ring, unsigned n, uint32_t len, bool write);
uint8_t *guest_buffer(struct bench_guest *guest, uint32_t ring, uint16_t id);
void guest_kick(struct bench_guest *guest, uint32_t ring);
