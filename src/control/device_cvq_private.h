/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inside of struct vdt_device_cvq: device_cvq.c (life, one command with post()) and
 * device_cvq_batch.c (many). Nobody else includes this. Thread: control.
 */
#pragma once

#include "control/device_cvq.h"
#include "control/stripe.h"

#define VDT_CVQ_HEADER 2u /* class, command */

/* One command of post() at the device. */
struct flight {
    uint8_t class, command;
    uint32_t reply_max;
    uint32_t in_at;
    uint32_t out_end, in_end; /* of its stretches */
    uint32_t used_len;
    bool used;
    bool forgotten;
    int64_t posted_at;
};

/* Of a command in a round: its answer. */
enum { PENDING, WRITTEN, UNWRITTEN };

/*
 * Commands back to back, from begin() to end(), in rounds: as many as ring and buffers hold, one
 * kick, all answers. A round begins with nothing in flight, so its commands lie one behind the
 * other in @out, and the ack of its n-th is byte n of @in.
 */
struct batch {
    unsigned posted, answered, heard; /* of this round; answered in any order, heard in order */
    unsigned before;                  /* commands of earlier rounds */
    uint32_t out_used;
    unsigned deadline_ms;
    int64_t deadline;      /* monotonic us */
    vdt_command_each each; /* NULL: nobody listens */
    void *ctx;
    struct vdt_command_tally *tally;
    bool refused;
};

struct vdt_device_cvq {
    struct vdt_device_cvq_config config;
    char *name; /* owned */
    struct vdt_device_ring ring;
    /* Owned, circular, oldest first, since answers are heard in order; @mask + 1 places, of which
     * @capacity are used at a time. */
    struct flight *flights;
    uint32_t first, count, capacity, mask;
    uint32_t *flight_of; /* owned, by ring id */
    struct vdt_stripe out, in;
    char *broken; /* owned */
    struct batch batch;
    bool pairs;       /* a split ring and not in order: the short ways of device_split.h */
    uint8_t *answers; /* owned: of the round, @capacity of them */
    uint8_t *sent;    /* owned: class and command of each */
    uint8_t reply[VDT_COMMAND_REPLY_MAX];

    /* The command of post(). */
    vdt_command_done done; /* NULL: none */
    void *done_ctx;
    int64_t deadline;
    unsigned deadline_ms;
    GSource *call, *clock;
};

/* What was posted goes to the device, with a kick if it wants one. */
void vdt_device_cvq_publish(struct vdt_device_cvq *cvq);
/* Until the device calls or @deadline (monotonic us) passes. */
void vdt_device_cvq_wait(struct vdt_device_cvq *cvq, int64_t now, int64_t deadline);

/* The queue takes no more commands: the device broke the ring, or was silent for @deadline_ms. */
void vdt_device_cvq_break_by_ring(struct vdt_device_cvq *cvq);
void vdt_device_cvq_miss_deadline(struct vdt_device_cvq *cvq, unsigned deadline_ms);
/* The reason as @error; false always. */
bool vdt_device_cvq_set_broken(const struct vdt_device_cvq *cvq, bool timeout, GError **error);

/* Neither broken nor waiting for an answer of post()? */
bool vdt_device_cvq_check_free(struct vdt_device_cvq *cvq, GError **error);
/* Would it fit into an empty queue? */
bool vdt_device_cvq_fits(const struct vdt_device_cvq *cvq, const struct vdt_command *command,
                         uint32_t reply_max, GError **error);
/* Answers that nobody wants any more are waited for, until @deadline. */
bool vdt_device_cvq_drain(struct vdt_device_cvq *cvq, unsigned deadline_ms, int64_t deadline,
                          GError **error);
