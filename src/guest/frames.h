/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frames: numbered Ethernet frames whose every byte follows from their number, and the books of
 * which were sent and which came back.
 *
 * UDP over IPv4 with addresses and ports that vary, so that receive-side scaling has something to
 * hash. A frame that comes back twice was sent twice: some transmit chain was executed by both
 * devices. One that never comes back may rest in the queue of a device that was stopped, or was
 * filtered out; that is a network's right.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#define VDT_FRAME_MIN 80u
#define VDT_FRAME_MAX 1514u

struct vdt_frames {
    uint64_t seed;
    uint32_t run;     /* goes into each: what an earlier run has left in a network is another
                       * station's; 0 unless set before the first */
    GByteArray *seen; /* owned: how often each number came back */
    uint64_t sent, received, duplicated, corrupt;
    uint64_t foreign; /* of @corrupt: by their looks another station's, as any network has them */
    uint8_t from[6];  /* of the last that was sent */
};

struct vdt_frame_plan {
    uint8_t to[6], from[6];
    int vlan; /* -1: untagged */
    uint32_t len;
};

void vdt_frames_init(struct vdt_frames *frames, uint64_t seed);
void vdt_frames_clear(struct vdt_frames *frames);

/* Write the next frame, @plan->len bytes; returns its number. */
uint64_t vdt_frames_make(struct vdt_frames *frames, const struct vdt_frame_plan *plan,
                         uint8_t *buffer);

enum vdt_frame_verdict { VDT_FRAME_NEW, VDT_FRAME_AGAIN, VDT_FRAME_CORRUPT };

/* Book a frame that came in. */
enum vdt_frame_verdict vdt_frames_take(struct vdt_frames *frames, const uint8_t *buffer,
                                       uint32_t len, uint64_t *ret_number);
