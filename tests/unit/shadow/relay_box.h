/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Relay box: a relay between two ends in memory. A driver (the device ring of our own) on the
 * guest's ring, a device (the guest ring of our own) on the shadow ring. IOVA = GPA.
 */
#pragma once

#include "shadow/relay.h"

#define BOX_GPA 0x100000u
#define BOX_SIZE (1u << 20)
#define BOX_TABLES 0x20000u  /* offset: the guest's indirect tables, 64 entries for each id */
#define BOX_BUFFERS 0x80000u /* offset: anything may be here */
#define BOX_IOVA 0x7000000000u

struct relay_box {
    struct vdt_ring_format format;
    int memfd;
    uint8_t *memory; /* guest memory, of BOX_GPA */
    struct vdt_guest_map *map;
    struct vdt_ring_mem guest_mem, shadow_mem;
    struct vdt_seg *tables; /* device-visible, at BOX_IOVA */
    struct vdt_device_ring driver;
    struct vdt_guest_ring device;
    struct vdt_reader reader; /* what the device reads tables with */
    struct vdt_chain chain;   /* of the device's last take */
    struct vdt_relay relay;
    int logfd;
    struct vdt_dirty_log log;
    int kick, call, device_kick, device_call, attention;
};

void relay_box_init(struct relay_box *box, struct vdt_ring_format format);
/* The guest's ring is at @at already; the device's always begins. */
void relay_box_init_at(struct relay_box *box, struct vdt_ring_format format,
                       struct vdt_ring_pos at);
void relay_box_clear(struct relay_box *box);
void relay_box_log_start(struct relay_box *box);
bool relay_box_dirty(const struct relay_box *box, uint64_t offset);

/* The driver makes a chain available: @count segments (GPAs), in a table if @indirect. False when
 * its ring is full. Not published. */
bool relay_box_post(struct relay_box *box, const struct vdt_seg *segs, uint32_t count,
                    bool indirect, uint16_t *ret_id);
/* One buffer of @len at @offset. */
uint16_t relay_box_post_one(struct relay_box *box, uint64_t offset, uint32_t len, bool write);
void relay_box_publish(struct relay_box *box);

/* The device takes a chain into @chain, false when there is none; uses one; tells. */
bool relay_box_take(struct relay_box *box);
void relay_box_use(struct relay_box *box, uint16_t id, uint16_t slots, uint32_t len);

/* Events counted and taken. */
unsigned relay_box_events(int fd);
