/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CVQ relay: the control path. Takes the guest's commands off its control queue, checks them,
 * passes them to the device, follows them in the model, acknowledges them to the guest:
 *
 *   guest ring take -> copy -> table check -> device post -> ack -> model apply -> guest ack byte
 *   -> dirty log -> used ring -> call
 *
 * One command at a time, in the guest's order. A command that the table refuses is answered with
 * VIRTIO_NET_ERR and never reaches the device. The model changes only on the device's OK.
 *
 * Thread: control.
 */
#pragma once

#include "control/device_cvq.h"
#include "control/model.h"
#include "memory/guest_map.h"
#include "virtio/guest_ring.h"

struct vdt_cvq_relay;

/* One finished command, for trace, journal and metrics. */
struct vdt_cvq_event {
    struct vdt_command command;
    uint8_t ack;
    bool forwarded; /* it reached the device */
    int64_t us;     /* from take to ack */
};

struct vdt_cvq_relay_hooks {
    void (*done)(void *ctx, const struct vdt_cvq_event *event); /* after the ack; may be NULL */
    /* Bytes that we wrote into guest memory; called after the write. */
    void (*mark_dirty)(void *ctx, uint64_t gpa, uint64_t len);
    /* The guest broke its ring, or the device's queue broke: out of service; @reason is borrowed. */
    void (*broken)(void *ctx, const char *reason);
    void *ctx;
};

struct vdt_cvq_relay_config {
    struct vdt_ring_format format; /* of the guest's ring */
    struct vdt_ring_mem mem;       /* host addresses in @map */
    struct vdt_ring_addr gpa;      /* the same areas as GPA, for dirty marks */
    struct vdt_ring_pos pos;
    struct vdt_guest_map *map; /* a reference is taken */
    int kick_fd, call_fd;      /* borrowed; the guest's. -1: no call wanted / polled by run() */
    unsigned deadline_ms;
    bool allow_untracked; /* unknown classes go through and make the state unmigratable */
    GMainContext *context;
};

/* @model and @device are borrowed; @device may be NULL and given later (commands wait). */
struct vdt_cvq_relay *vdt_cvq_relay_new(const struct vdt_cvq_relay_config *config,
                                        const struct vdt_cvq_relay_hooks *hooks,
                                        struct vdt_control_model *model);
void vdt_cvq_relay_free(struct vdt_cvq_relay *relay); /* accepts NULL; a pending command is dropped */

void vdt_cvq_relay_set_device(struct vdt_cvq_relay *relay, struct vdt_device_cvq *device);
void vdt_cvq_relay_set_call(struct vdt_cvq_relay *relay, int call_fd);

/* Take no more commands; those already taken still finish. release() takes the held ones. */
void vdt_cvq_relay_hold(struct vdt_cvq_relay *relay);
void vdt_cvq_relay_release(struct vdt_cvq_relay *relay);
/* hold(), then run the context until nothing is pending. False with @error after @deadline_ms. */
bool vdt_cvq_relay_drain(struct vdt_cvq_relay *relay, unsigned deadline_ms, GError **error);

/* Where the guest's ring stands; nothing is ever in flight in a drained relay: avail == used. */
struct vdt_ring_pos vdt_cvq_relay_pos(const struct vdt_cvq_relay *relay);

/* While set, ANNOUNCE_ACK is answered by us (we asked for the announcement, not the device). */
void vdt_cvq_relay_expect_announce(struct vdt_cvq_relay *relay, bool expected);
