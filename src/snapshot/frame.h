/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frame: the 20 bytes before a snapshot's payload, and what the format's numbers mean.
 *
 *   0 "VDTS"   4 u16 version   6 u16 flags   8 u32 payload length   12 u64 checksum
 *
 * Little-endian. The checksum is XXH3-64 of the payload with bytes 4..11 as its seed (one number,
 * little-endian), so that it covers the header as well. It finds accidents, not forgery.
 */
#pragma once

#include <stdint.h>

#include "snapshot/snapshot.h"

#define VDT_FRAME_SIZE 20u
#define VDT_FRAME_MAGIC "VDTS"

/* must_understand: none is defined in formats 1 and 2, so each refuses. */
#define VDT_SNAPSHOT_UNDERSTOOD ((uint64_t) 0)

/* Rings.flags */
enum vdt_ring_flag {
    VDT_RING_STARTED = 1,
    VDT_RING_ENABLED = 2,
    VDT_RING_EXACT = 4,
    VDT_RING_FLAGS = 7,
};

/* XXH3 of @payload, seeded with @head, the frame's first 12 bytes. */
uint64_t vdt_frame_checksum(const uint8_t *head, const uint8_t *payload, uint32_t len);

/* Decode as a program does whose newest format is @newest, VDT_SNAPSHOT_FORMAT or an older one: it
 * reads that and the one before. */
struct vdt_snapshot *vdt_snapshot_decode_up_to(const uint8_t *bytes, size_t len, unsigned newest,
                                               GError **error);
