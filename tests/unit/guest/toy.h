/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Toy device: takes chains from the built-in guest's queues and gives them back, well or badly, one
 * at a time, on the test's own thread.
 */
#pragma once

#include "guest/queue.h"
#include "virtio/guest_ring.h"

#define TOY_SEGS 768u

struct toy {
    struct vdt_queue *queue;
    struct vdt_guest_ring ring;
    struct vdt_reader reader;
    struct vdt_seg seg[TOY_SEGS];
    struct vdt_chain chain; /* as taken last */
};

/* Where the queue stands now, whatever memory it lies in. */
void toy_attach(struct toy *toy, struct vdt_queue *queue, struct vdt_ring_pos pos);
bool toy_take(struct toy *toy); /* false: nothing available; a broken ring fails the test */
uint32_t toy_read(const struct toy *toy, uint8_t *bytes, uint32_t room); /* the readable part */
void toy_write(const struct toy *toy, const uint8_t *bytes, uint32_t len);
void toy_give(struct toy *toy, uint32_t len);
/* What was given back last, once more. */
void toy_give_again(struct toy *toy);
