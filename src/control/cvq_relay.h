/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CVQ relay: the control path. Takes the guest's commands off its control queue, checks them,
 * passes them to the device, follows them in the model, acknowledges them to the guest:
 *
 *   guest ring take -> copy -> table check -> device post -> ack -> model apply -> done() ->
 *   guest ack byte -> dirty marks -> used ring -> dirty marks -> call
 *
 * One command at a time, in the guest's order. A command that the table refuses is answered with
 * VIRTIO_NET_ERR and never reaches the device. The model changes only on the device's OK. A chain
 * without a writable byte, or with a segment outside guest memory, breaks the guest's ring. When
 * the device's queue breaks, the model becomes unmigratable and the guest gets ERR from then on.
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
    uint16_t pos, next; /* where the guest's ring stands before and after it is given back */
};

struct vdt_cvq_relay_hooks {
    /* After the device's ack and the model, before the guest sees the ack: what a journal holds is
     * never behind what the guest knows. May be NULL. Must not free the relay, as no hook may. */
    void (*done)(void *ctx, const struct vdt_cvq_event *event);
    /* Bytes that we wrote into guest memory; called after the write. */
    void (*mark_dirty)(void *ctx, uint64_t gpa, uint64_t len);
    /* The guest broke its ring, or the device's queue broke: out of service; @reason is borrowed.
     * At most once for each of the two. */
    void (*broken)(void *ctx, const char *reason);
    void *ctx;
};

struct vdt_cvq_relay_config {
    struct vdt_ring_format format; /* of the guest's ring */
    struct vdt_ring_mem mem;       /* host addresses in @map */
    struct vdt_ring_addr gpa;      /* the same areas as GPA, for dirty marks */
    struct vdt_ring_pos pos;
    struct vdt_guest_map *map; /* a reference is taken */
    int kick_fd; /* borrowed; the guest's. -1: the ring is looked at every few milliseconds */
    int call_fd; /* borrowed; the guest's. -1: no call wanted */
    unsigned deadline_ms;
    bool allow_untracked; /* unknown classes go through and make the state unmigratable */
    GMainContext *context;
};

/* @model is borrowed. Commands wait until a device is set. */
struct vdt_cvq_relay *vdt_cvq_relay_new(const struct vdt_cvq_relay_config *config,
                                        const struct vdt_cvq_relay_hooks *hooks,
                                        struct vdt_control_model *model);
/* Accepts NULL. A pending command stays unanswered in the guest's ring, before vdt_cvq_relay_pos().
 */
void vdt_cvq_relay_free(struct vdt_cvq_relay *relay);

/* @device is borrowed until another one, or NULL, is set. A command that is pending at the old one
 * is sent again to the new one: to the guest it is still the same command. */
void vdt_cvq_relay_set_device(struct vdt_cvq_relay *relay, struct vdt_device_cvq *device);
void vdt_cvq_relay_set_call(struct vdt_cvq_relay *relay, int call_fd);

/* Take no more commands; those already taken still finish. release() takes the held ones. */
void vdt_cvq_relay_hold(struct vdt_cvq_relay *relay);
void vdt_cvq_relay_release(struct vdt_cvq_relay *relay);
/* hold(), then run the context until nothing is pending. False with @error after @deadline_ms. */
bool vdt_cvq_relay_drain(struct vdt_cvq_relay *relay, unsigned deadline_ms, GError **error);

/* Where the guest's ring stands; avail == used always: a pending command counts as not taken. */
struct vdt_ring_pos vdt_cvq_relay_pos(const struct vdt_cvq_relay *relay);

/* While set, ANNOUNCE_ACK is answered by us (we asked for the announcement, not the device). */
void vdt_cvq_relay_expect_announce(struct vdt_cvq_relay *relay, bool expected);
