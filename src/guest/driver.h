/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Driver: virtio-net as a guest runs it: queue pairs with buffers of many shapes (direct, indirect,
 * split over descriptors, mergeable), and the control queue.
 *
 * All that the driver knows lies in this struct, as it lies in guest memory in a real guest, and
 * goes to the destination with it: move() is the whole of a migration as the guest sees it.
 *
 * Thread: the guest's.
 */
#pragma once

#include "guest/frames.h"
#include "guest/pool.h"
#include "guest/queue.h"
#include "virtio/net_ctrl.h"
#include "virtio/net_state.h"

#define VDT_DRIVER_COMMANDS 4u       /* control commands in flight */
#define VDT_DRIVER_COMMAND_MAX 8192u /* bytes of one, class and command included */
#define VDT_DRIVER_REPLY_MAX 2048u

struct vdt_driver_config {
    uint64_t features;
    uint16_t pairs, num;
    struct virtio_net_config net; /* as read from the device */
    uint64_t seed;
};

struct vdt_driver_pair {
    struct vdt_queue rx, tx;
    /* Receive: buffers of a frame that is not whole yet. */
    uint8_t *frame; /* owned */
    uint32_t frame_len, missing;
};

struct vdt_driver {
    struct vdt_driver_config config;
    struct vdt_ram *ram;          /* borrowed */
    struct vdt_driver_pair *pair; /* owned */
    bool has_control;
    struct vdt_queue control;
    uint32_t header;                  /* of a frame in a ring */
    struct vdt_pool rx_pool, tx_pool; /* apart: the processor never writes where the device does */
    uint64_t command_gpa, reply_gpa;  /* VDT_DRIVER_COMMANDS of each */
    uint32_t slots_busy;              /* of those, a bit each */
    GRand *rand;                      /* owned */
    struct vdt_frames frames;
    bool refill; /* keep receive rings full */
    /* A command came back: @reply is its ack byte and what follows. */
    void (*answered)(void *ctx, uint64_t cookie, const uint8_t *reply, uint32_t len);
    void *answered_ctx;
};

/* The features of @offered that this driver speaks. */
uint64_t vdt_driver_features(uint64_t offered, bool packed);

/* Lays out rings and buffers in @ram. False with @error where it is too small. */
bool vdt_driver_init(struct vdt_driver *driver, const struct vdt_driver_config *config,
                     struct vdt_ram *ram, GError **error);
void vdt_driver_clear(struct vdt_driver *driver);
bool vdt_driver_move(struct vdt_driver *driver, struct vdt_ram *ram, GError **error);

/* Rings by the device's index: 2 * pair, 2 * pair + 1, the control queue last. */
unsigned vdt_driver_queue_count(const struct vdt_driver *driver);
struct vdt_queue *vdt_driver_queue(struct vdt_driver *driver, unsigned i);

/* Take what came back, fill receive rings. True if there was something. */
bool vdt_driver_poll(struct vdt_driver *driver);
/* Ask for calls on every ring; true when something is there already. */
bool vdt_driver_sleep(struct vdt_driver *driver);

/* Send a frame on @pair, seen by the device after kick(). False: no room. */
bool vdt_driver_send(struct vdt_driver *driver, unsigned pair, const struct vdt_frame_plan *plan);
void vdt_driver_kick(struct vdt_driver *driver);

/* Send a control command (class, command, data). False: VDT_DRIVER_COMMANDS are in flight. */
bool vdt_driver_command(struct vdt_driver *driver, const uint8_t *bytes, uint32_t len,
                        uint32_t reply_room, uint64_t cookie);

/* Sums over all rings. */
struct vdt_driver_sums {
    uint64_t available, used, duplicated;
    uint64_t rx_in_flight, tx_in_flight, commands_in_flight;
    uint64_t kicks, calls;
    const char *broken; /* NULL: all work */
};
void vdt_driver_sum(struct vdt_driver *driver, struct vdt_driver_sums *ret_sums);
