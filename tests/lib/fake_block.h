/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fake block: a virtio-blk device (virtio 1.2, 5.2) on a thread of its own: reads, writes and
 * flushes of a disk in memory, which several of them may share as devices of one storage do. Split
 * rings.
 */
#pragma once

#include "device/device.h"

#define FAKE_BLOCK_SECTORS 2048u
#define FAKE_BLOCK_SECTOR 512u

struct fake_block_options {
    uint8_t *disk;       /* borrowed, FAKE_BLOCK_SECTORS sectors */
    bool no_suspend;     /* no SUSPEND, no ring state: like vp_vdpa */
    bool lies;           /* reports a used length of 1 whatever it wrote */
    uint32_t latency_us; /* each request takes that long */
    uint64_t capacity;   /* told in its config space; 0: as the disk is */
};

struct vdt_device *fake_block_new(const struct fake_block_options *options);
/* Requests carried out since it was made; and from now on none is finished any more. */
unsigned fake_block_done(struct vdt_device *dev);
void fake_block_hang(struct vdt_device *dev, bool hang);
