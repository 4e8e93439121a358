/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fake CVQ device: the device's end of a control queue. Follows the commands it gets in a net state
 * of its own and answers as told, or as a good device does.
 */
#pragma once

#include "control/device_cvq.h"
#include "virtio/guest_ring.h"

#define FAKE_OUT_IOVA 0x100000000ull
#define FAKE_IN_IOVA 0x200000000ull

/* One answer, filled as a good device would give it; the test changes it. */
struct fake_answer {
    unsigned index; /* commands seen before this one */
    struct vdt_command command;
    uint32_t room;           /* writable bytes */
    const uint8_t *writable; /* as the device got them */
    uint32_t out_at, in_at;  /* offsets in the two buffers */
    uint8_t ack;
    uint8_t reply[VDT_COMMAND_REPLY_MAX];
    uint32_t reply_len;
    uint32_t written;  /* bytes really written, of ack and reply */
    uint32_t used_len; /* what the device says it wrote */
    bool mute;         /* never answered */
};

struct fake_cvq_device {
    struct vdt_device_cvq_config config; /* for the queue under test */
    struct vdt_guest_ring ring;
    struct vdt_chain chain;
    struct vdt_net_state state;
    struct vdt_control_limits limits;
    uint64_t features;
    void (*answer)(void *ctx, struct fake_answer *answer); /* NULL: a good device */
    void *ctx;
    bool reverse;     /* completes each batch in reverse */
    bool no_calls;    /* never signals */
    unsigned seen;    /* commands */
    unsigned kicks;   /* heard */
    unsigned strange; /* chains other than one out, one in, inside the two buffers */
    unsigned most;    /* most commands found at one kick */
    uint32_t most_len;
    GSource *source;
    GThread *thread;
    int stop_fd;
};

/* Buffers of @out_size and @in_size bytes. */
struct fake_cvq_device *fake_cvq_device_new(const struct vdt_ring_format *format, uint32_t out_size,
                                            uint32_t in_size);
void fake_cvq_device_free(struct fake_cvq_device *fake);

/* begin(), put() each, end(), until one of them fails or the device refuses a command. False with
 * @error. @tally may be NULL. */
bool fake_cvq_run(struct vdt_device_cvq *cvq, const struct vdt_command *commands, unsigned count,
                  unsigned deadline_ms, struct vdt_command_tally *tally, vdt_command_each each,
                  void *ctx, GError **error);

/* Answer everything that is there. */
void fake_cvq_device_step(struct fake_cvq_device *fake);
/* step() at each kick: from @context's loop, or from a thread of its own until free(). */
void fake_cvq_device_attach(struct fake_cvq_device *fake, GMainContext *context);
void fake_cvq_device_start(struct fake_cvq_device *fake);
