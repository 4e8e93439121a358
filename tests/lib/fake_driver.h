/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fake driver: a guest with 1 MiB of memory and one control queue, driven by the test.
 */
#pragma once

#include "memory/guest_map.h"
#include "virtio/device_ring.h"

#define FAKE_GPA 0x40000000ull
#define FAKE_MEMORY 0x100000u
#define FAKE_BUFFERS 0x10000u /* offset of the command buffers; the ring lies below */

struct fake_driver {
    struct vdt_guest_map *map;
    uint8_t *host; /* of FAKE_GPA */
    struct vdt_ring_format format;
    struct vdt_ring_addr gpa;
    struct vdt_ring_mem mem;
    struct vdt_device_ring ring;
    int kick_fd, call_fd;
    uint32_t cursor;  /* next buffer byte */
    uint32_t *in_off; /* by id: where its writable bytes start */
    uint32_t kicks_wanted;
};

struct fake_driver *fake_driver_new(const struct vdt_ring_format *format, struct vdt_ring_pos pos);
void fake_driver_free(struct fake_driver *driver);

/* A chain as it is, GPAs in @segs. Returns its id; visible and kicked after fake_driver_kick(). */
uint16_t fake_driver_post(struct fake_driver *driver, struct vdt_seg *segs, uint32_t count);

/* A command with descriptors of at most @cut bytes each (0: whole), and @room writable bytes preset
 * to 0xee. */
uint16_t fake_driver_send(struct fake_driver *driver, uint8_t class, uint8_t command,
                          const void *data, uint32_t len, uint32_t cut, uint32_t room);
void fake_driver_kick(struct fake_driver *driver);

/* The next answer, if there is one: its id and the bytes said to be written. */
bool fake_driver_collect(struct fake_driver *driver, struct vdt_used *ret_used);
/* The writable bytes of @id. */
const uint8_t *fake_driver_answer(const struct fake_driver *driver, uint16_t id);
