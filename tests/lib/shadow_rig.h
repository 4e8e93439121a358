/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shadow rig: a shadow device over sim:, and a guest with one receive and one transmit ring that
 * sends numbered frames to itself (back end loop) and counts what comes back.
 *
 * Guest memory lies at GPA 1 MiB and, for the "frontend", at another address, so that a mix-up of
 * the two spaces shows.
 */
#pragma once

#include <glib.h>

#include "memory/guest_map.h"
#include "shadow/shadow.h"
#include "virtio/device_ring.h"

#define RIG_GPA 0x100000u
#define RIG_FRONTEND 0x7f1200000000u
#define RIG_SIZE (8u << 20)
#define RIG_NUM 64u
#define RIG_FRAME 128u

struct rig {
    GMainContext *context;
    struct vdt_shadow *shadow;
    struct vdt_guest_map *map;
    uint8_t *mem; /* the guest's view */
    int memfd;
    uint8_t *log; /* bitmap as the VMM sees it, NULL while off */
    int logfd;
    uint64_t features;
    struct vdt_device_ring ring[2]; /* 0 receive, 1 transmit: the driver's side */
    int kick[2], call[2];
    uint32_t rings_at; /* offset of the rings in guest memory */
    uint32_t next_send, sent_done; /* sequence numbers */
    uint32_t received, duplicated, corrupt;
    uint8_t *seen; /* a byte per sequence number */
    uint32_t seen_size;
    unsigned restores, broken, failed;
    uint8_t mac[6];
};

/* @spec after "sim:", e.g. "latency=200,ooo". Fails the test on error. */
void rig_init(struct rig *rig, const char *spec, const struct vdt_shadow_options *options,
              uint64_t features);
void rig_clear(struct rig *rig);

/* Set up and start both rings at the driver's positions; memory, features included. */
void rig_start(struct rig *rig);
/* GET_VRING_BASE of both rings; returns the base of each. */
void rig_stop(struct rig *rig, uint32_t base[2]);
void rig_set_rings(struct rig *rig, const uint32_t base[2]);

/* The guest starts anew: fresh rings at @rings_at; what was in flight counts as done. */
void rig_reboot(struct rig *rig, uint32_t rings_at);

/* Put up to @n numbered frames on the transmit ring; as many as fit. Returns how many. */
unsigned rig_send(struct rig *rig, unsigned n);
/* Take completions, refill the receive ring, run the loop. */
void rig_poll(struct rig *rig);
/* Until all that was sent is done and came back, or @ms passed; true if so. */
bool rig_settle(struct rig *rig, unsigned ms);
/* Until all that was sent is done, at most @ms, and then nothing more comes back for a moment: where
 * a device that is taken away may have frames that nobody gets. True if all is done. */
bool rig_drain(struct rig *rig, unsigned ms);
/* Send @n frames in all, polling. */
void rig_traffic(struct rig *rig, unsigned n);

struct vdt_shadow_options rig_options(enum vdt_shadow_policy policy);

void rig_log_start(struct rig *rig);
bool rig_log_test(const struct rig *rig, uint64_t gpa);

/* The simulator that is @dev, or that stands behind it (fake_vhost_wrap.c). */
struct vdt_device *vdt_test_sim(struct vdt_device *dev);
