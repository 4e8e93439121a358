/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Device CVQ: the control queue of the device, driven by us. Its ring and its two buffers are
 * mapped once for the device's life; commands are packed into them, many in flight at a time.
 * Waiting is by the call eventfd and a deadline, never a spin.
 *
 * One command is one chain of two descriptors: class, command and data for the device to read; the
 * ack byte and behind it room for the result (virtio 1.3, 5.1.6.5) for the device to write. That
 * room is zeroed and the ack byte preset to VIRTIO_NET_ERR each time, so that a device which claims
 * to have written but has not cannot pass off an older answer.
 *
 * A device that claims more bytes than it was given room for (the ring calls that USED_LEN), or
 * that breaks its ring otherwise, is not believed in anything from then on: the queue is broken.
 * What is in flight in a broken queue belongs to the device until its reset; the buffers are the
 * config owner's, who frees them after that.
 *
 * Thread: control.
 */
#pragma once

#include <glib.h>

#include "control/command.h"
#include "virtio/device_ring.h"

struct vdt_device_cvq;

/* Memory and descriptors, all borrowed from the shadow device and zeroed by it. */
struct vdt_device_cvq_config {
    struct vdt_ring_format format; /* as negotiated with the device; num >= 2 */
    struct vdt_ring_mem mem;
    uint8_t *out; /* device-readable */
    uint64_t out_iova;
    uint32_t out_size; /* >= VDT_COMMAND_MAX */
    uint8_t *in;       /* device-writable */
    uint64_t in_iova;
    uint32_t in_size;        /* > VDT_COMMAND_REPLY_MAX for every command to fit */
    int kick_fd;             /* we signal */
    int call_fd;             /* the device signals */
    const char *device_name; /* for messages */
};

enum { VDT_ACK_OK = 0, VDT_ACK_ERR = 1 };

/* What became of one command. @reply is borrowed until the next post. */
struct vdt_command_result {
    uint8_t ack; /* VDT_ACK_OK or VDT_ACK_ERR; any other byte of the device's is the latter */
    const uint8_t *reply; /* private copy of the bytes behind the ack byte */
    uint32_t reply_len;   /* <= reply_max; 0 unless OK */
    int64_t us;           /* from post to answer */
};

struct vdt_device_cvq *vdt_device_cvq_new(const struct vdt_device_cvq_config *config);
void vdt_device_cvq_free(struct vdt_device_cvq *cvq); /* accepts NULL */

/* One command, answered later: @done is called from @context's loop, once, with the result or with
 * an error (deadline: the queue is broken from then on and takes no more commands). One at a time;
 * false with @error when one is pending or the queue is broken. */
typedef void (*vdt_command_done)(void *ctx, const struct vdt_command_result *result,
                                 const GError *error);
bool vdt_device_cvq_post(struct vdt_device_cvq *cvq, const struct vdt_command *command,
                         uint32_t reply_max, unsigned deadline_ms, GMainContext *context,
                         vdt_command_done done, void *ctx, GError **error);

/*
 * Many commands back to back: begin, put each, end. put() copies the command into the buffer that
 * the device reads; once ring and buffers are full the device is kicked, and put() blocks until
 * there is room again, up to @deadline_ms without progress. end() waits for all that is in flight,
 * also after a put() that returned false, unless the queue is broken.
 *
 * The first answer other than OK ends the batch: put() returns false without @error from then on,
 * and answers behind it count no more: @tally, which must live until end(), says that the command
 * after @acked was @refused. @each (may be NULL) hears of every answer that counts, in order. False
 * with @error: a broken queue, the deadline, a command that does not fit.
 */
struct vdt_command_tally {
    unsigned acked;
    bool refused;
};
typedef void (*vdt_command_each)(void *ctx, unsigned index, uint8_t ack);
bool vdt_device_cvq_begin(struct vdt_device_cvq *cvq, unsigned deadline_ms,
                          struct vdt_command_tally *tally, vdt_command_each each, void *ctx,
                          GError **error);
bool vdt_device_cvq_put(struct vdt_device_cvq *cvq, const struct vdt_command *command,
                        GError **error);
bool vdt_device_cvq_end(struct vdt_device_cvq *cvq, GError **error);

/* Nobody wants the pending answer of post() any more: it is dropped when it comes, and @done is not
 * called. The queue takes further commands. */
void vdt_device_cvq_forget(struct vdt_device_cvq *cvq);

bool vdt_device_cvq_idle(const struct vdt_device_cvq *cvq);
const char *vdt_device_cvq_name(const struct vdt_device_cvq *cvq); /* the device's, for messages */
/* The reason why the queue takes no more commands, NULL while it does. */
const char *vdt_device_cvq_broken(const struct vdt_device_cvq *cvq);
