/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shadow: one device, the rings as the frontend set them up, and who works on them.
 *
 * The one mechanism: freeze() brings the device to a stop with the exact state of each ring known;
 * thaw() starts whatever set of rings, mode and device is wanted now. Starting, stopping a ring,
 * switching between passthrough and shadow, exchanging the device, adding a ring late: each is
 * freeze, change, thaw. Frontend calls record what is wanted and schedule an update, so that a
 * burst of messages costs one thaw.
 *
 * The control queue is not relayed here: its ring is handed to whoever follows it
 * (cvq_start/cvq_stop), and the device's own control queue is handed out as a port before any data
 * ring runs (restore).
 *
 * Thread: control. Data threads touch struct vdt_relay only.
 */
#pragma once

#include <glib.h>

#include "device/device.h"
#include "memory/guest_map.h"
#include "shadow/inflight_area.h"
#include "shadow/negotiate.h"
#include "virtio/chain.h"

struct vdt_shadow;

enum vdt_shadow_policy { VDT_SHADOW_AUTO, VDT_SHADOW_ALWAYS, VDT_SHADOW_NEVER };

enum vdt_mode { VDT_MODE_STOPPED, VDT_MODE_PASSTHROUGH, VDT_MODE_SHADOW, VDT_MODE_FROZEN };

const char *vdt_mode_name(enum vdt_mode mode);

/* The device's control queue, for whoever drives it; valid until the next freeze. */
struct vdt_cvq_port {
    struct vdt_ring_format format;
    struct vdt_ring_mem mem;
    uint8_t *out, *in;
    uint64_t out_iova, in_iova;
    uint32_t out_size, in_size;
    int kick_fd, call_fd;
};

/* The guest's control queue as set up by the frontend. */
struct vdt_guest_cvq {
    struct vdt_ring_format format;
    struct vdt_ring_mem mem;
    struct vdt_ring_addr gpa;
    struct vdt_ring_pos pos;
    struct vdt_guest_map *map; /* borrowed */
    int kick_fd, call_fd;      /* borrowed */
};

/* Whose rings they are: see vdt_shadow_life(). */
enum vdt_life { VDT_LIFE_UNTOLD, VDT_LIFE_SAME, VDT_LIFE_OTHER };

struct vdt_shadow_events {
    /* The wanted rings are about to be brought up, nothing is settled or at the device yet. @cvq:
     * the guest's control queue where that starts with them, else NULL. False: not now; the next
     * update asks again. May be NULL. */
    bool (*starting)(void *ctx, const struct vdt_guest_cvq *cvq, GError **error);
    /* The device is at DRIVER_OK, its control queue works, no data ring runs: bring its control
     * state back. @port is NULL where the device has no control queue. False: the start fails. */
    bool (*restore)(void *ctx, const struct vdt_cvq_port *port, GError **error);
    /* After restore(): the data rings are enabled and still empty, for the commands that a device
     * takes only then. May be NULL. */
    bool (*enabled)(void *ctx, GError **error);
    /* Will enabled() have commands to send? Then the rings have to start empty. May be NULL. */
    bool (*late)(void *ctx);
    /* The device is about to be frozen: finish the command at the device, take no more. */
    bool (*quiesce)(void *ctx, GError **error);
    /* Everything runs (again). */
    void (*running)(void *ctx);
    /* The guest's control queue is there / goes away; stop returns where it stood. */
    bool (*cvq_start)(void *ctx, const struct vdt_guest_cvq *cvq, GError **error);
    struct vdt_ring_pos (*cvq_stop)(void *ctx);
    void (*cvq_call_changed)(void *ctx, int call_fd); /* borrowed */
    /* A ring is out of service; @ring by the guest's index. */
    void (*ring_broken)(void *ctx, uint32_t ring, const char *reason);
    /* A scheduled start failed: nothing runs. */
    void (*failed)(void *ctx, const GError *reason);
    /* The device raised its config interrupt. */
    void (*config_changed)(void *ctx);
};

struct vdt_shadow_options {
    enum vdt_shadow_policy policy;
    unsigned workers;      /* data threads, >= 1 */
    bool dirty_used_width; /* --dirty-width used */
    unsigned drain_ms;     /* bound of every wait for the device */
    uint64_t feature_mask; /* offer nothing outside (control table, --features-from) */
    uint32_t pairs_max;    /* of the guest's queue pairs (--features-from); 0 is no limit */
    uint64_t drive;        /* vdt_negotiation_ack() */
    GMainContext *context;
};

/* @dev is owned from now on, also on error. */
struct vdt_shadow *vdt_shadow_new(struct vdt_device *dev, const struct vdt_shadow_options *options,
                                  const struct vdt_shadow_events *events, void *ctx,
                                  GError **error);
void vdt_shadow_free(struct vdt_shadow *shadow); /* accepts NULL; the device is closed */
/* Waits for the device are no longer than @drain_ms from now on. */
void vdt_shadow_hurry(struct vdt_shadow *shadow, unsigned drain_ms);

struct vdt_device *vdt_shadow_device(struct vdt_shadow *shadow);
const struct vdt_negotiation *vdt_shadow_negotiation(const struct vdt_shadow *shadow);
struct vdt_guest_map *vdt_shadow_map(const struct vdt_shadow *shadow); /* borrowed */

/* What the frontend asks (see vhost_user/backend.h; same meaning, host-order values). Descriptors
 * are owned by the shadow from then on, also on error. */
bool vdt_shadow_set_features(struct vdt_shadow *shadow, uint64_t acked, bool log_all,
                             GError **error);
bool vdt_shadow_set_memory(struct vdt_shadow *shadow, struct vdt_guest_map *map, GError **error);
bool vdt_shadow_set_log(struct vdt_shadow *shadow, int fd, uint64_t offset, uint64_t size,
                        GError **error);
/* The in-flight area (inflight_area.h): a fresh one; the one that is kept from here on, until
 * disconnect(). What it says counts for rings of which nothing else is known. */
bool vdt_shadow_get_inflight(struct vdt_shadow *shadow, uint16_t queues, uint16_t size, int *ret_fd,
                             uint64_t *ret_size, GError **error);
bool vdt_shadow_set_inflight(struct vdt_shadow *shadow, uint16_t queues, uint16_t size, int fd,
                             uint64_t mmap_size, uint64_t mmap_offset, GError **error);
/* An area of our own, for frontends that keep none; @area is owned from now on. It is about rings
 * by their place in guest memory, outlives a disconnect and, in its file, this process. forget():
 * nothing that it says counts any more. */
void vdt_shadow_keep_inflight(struct vdt_shadow *shadow, struct vdt_inflight_area *area);
void vdt_shadow_forget_inflight(struct vdt_shadow *shadow);
/* Are the rings that are about to start those that the area is about, or of another life of the
 * guest? UNTOLD: no device has given anything back on them, or nothing is known. OTHER: @ret_why,
 * the caller's. Only from starting(). */
enum vdt_life vdt_shadow_life(struct vdt_shadow *shadow, char **ret_why);
/* A device has worked on rings that are about to start, since their driver began. Only from
 * starting(). */
bool vdt_shadow_used_before(const struct vdt_shadow *shadow);
/* No device has given anything back on it since the driver began. */
bool vdt_shadow_ring_unused(const struct vdt_ring_format *format, const struct vdt_ring_mem *mem);
bool vdt_shadow_set_num(struct vdt_shadow *shadow, uint32_t ring, uint32_t num, GError **error);
/* Addresses in the frontend's space; translated when the ring starts. */
bool vdt_shadow_set_addr(struct vdt_shadow *shadow, uint32_t ring, uint64_t desc, uint64_t driver,
                         uint64_t device, GError **error);
bool vdt_shadow_set_base(struct vdt_shadow *shadow, uint32_t ring, uint32_t base, GError **error);
/* Stops the ring: nothing of it is touched or logged after this returned. */
bool vdt_shadow_get_base(struct vdt_shadow *shadow, uint32_t ring, uint32_t *ret_base,
                         GError **error);
bool vdt_shadow_set_kick(struct vdt_shadow *shadow, uint32_t ring, int fd, GError **error);
bool vdt_shadow_set_call(struct vdt_shadow *shadow, uint32_t ring, int fd, GError **error);
bool vdt_shadow_set_err(struct vdt_shadow *shadow, uint32_t ring, int fd, GError **error);
bool vdt_shadow_set_enable(struct vdt_shadow *shadow, uint32_t ring, bool enable, GError **error);
/* With the STATUS protocol feature rings run only at DRIVER_OK; without it as they are kicked. */
void vdt_shadow_use_status(struct vdt_shadow *shadow, bool used);
bool vdt_shadow_set_status(struct vdt_shadow *shadow, uint8_t status, GError **error);
uint8_t vdt_shadow_status(const struct vdt_shadow *shadow);
/* Back to the state of a new connection: rings, memory, log; the device is reset. */
void vdt_shadow_disconnect(struct vdt_shadow *shadow);
/* Device reset as the guest sees it: rings stop, their setup is forgotten; memory stays. */
void vdt_shadow_reset(struct vdt_shadow *shadow);

/* Do now what is scheduled. False with @error when a start failed. */
bool vdt_shadow_update(struct vdt_shadow *shadow, GError **error);

/*
 * freeze: the device does no more DMA, every ring's position and in-flight list is exact (or the
 * ring says that it is not). thaw: go on with what is wanted now; false leaves it frozen.
 * prepare: while everything runs, bring another device, fresh and the caller's, as far as it can be
 * brought: features negotiated, guest memory mapped. False: refused, nothing changed. One at a
 * time. exchange: while frozen, another device takes the place, prepared or not; the old one is
 * returned through @ret_old, still frozen and with its memory mapped, for going back (exchange()
 * with it). discard: @dev, which was prepared or has been exchanged, is no longer wanted: what is
 * mapped into it is unmapped. Comes before it is closed; nothing happens where nothing is kept of
 * @dev. renew: while frozen, the device that thaws is to begin from reset, with nothing in it of
 * what it was told before.
 */
bool vdt_shadow_freeze(struct vdt_shadow *shadow, GError **error);
bool vdt_shadow_thaw(struct vdt_shadow *shadow, GError **error);
bool vdt_shadow_prepare(struct vdt_shadow *shadow, struct vdt_device *dev, GError **error);
bool vdt_shadow_exchange(struct vdt_shadow *shadow, struct vdt_device *dev,
                         struct vdt_device **ret_old, GError **error);
void vdt_shadow_discard(struct vdt_shadow *shadow, struct vdt_device *dev);
void vdt_shadow_renew(struct vdt_shadow *shadow);

/* A frame to send before anything else at the next start (RARP, gratuitous ARP); <= 1514 bytes. */
void vdt_shadow_send_first(struct vdt_shadow *shadow, const uint8_t *frame, uint32_t len);

/* Mark bytes that the control path wrote. No-op while no log is on. */
void vdt_shadow_mark_dirty(struct vdt_shadow *shadow, uint64_t gpa, uint64_t len);

/* One ring, for status and snapshots. Exact while frozen or stopped, a moment's look otherwise. */
struct vdt_shadow_request {
    uint16_t id; /* split: head; packed: the guest's buffer id */
    uint16_t slots;
    uint32_t seg_count;         /* packed: descriptors */
    const struct vdt_seg *segs; /* borrowed until the next call on the shadow */
    uint64_t table_addr;        /* packed: its indirect table in guest memory */
    uint32_t table_len;         /* 0: none, or not known */
};

struct vdt_shadow_ring_view {
    uint16_t num;
    bool configured, started, enabled, active;
    bool is_cvq;
    bool exact;
    const char *broken; /* reason, NULL */
    uint16_t fault;     /* enum vdt_ring_fault of the last run, 0 */
    bool by_reset; /* stopped by a reset while it had receive buffers: what came in may be lost */
    struct vdt_ring_pos pos;
    struct vdt_shadow_request
        *requests; /* in fetch order; free with g_free(); only when not running */
    uint32_t request_count;
    bool counted;       /* false: the device works on the guest's ring, nobody counts */
    uint32_t in_flight; /* requests the device has, a moment's look */
    uint64_t chains, returned, bytes_in, bytes_out, kicks_taken, kicks_sent, calls_taken,
        calls_sent;
    uint64_t ran_again; /* requests made available again after a crash: at least once */
};

uint32_t vdt_shadow_ring_count(const struct vdt_shadow *shadow); /* by the guest's index */
int vdt_shadow_guest_cvq_index(const struct vdt_shadow *shadow); /* -1: none */
void vdt_shadow_view_ring(struct vdt_shadow *shadow, uint32_t ring,
                          struct vdt_shadow_ring_view *ret_view);

/* What a state carrier brought for a ring that has not started: taken at its start, where the base
 * has to match @pos. @requests are copied. */
bool vdt_shadow_load_ring(struct vdt_shadow *shadow, uint32_t ring, struct vdt_ring_pos pos,
                          const struct vdt_shadow_request *requests, uint32_t count,
                          GError **error);

enum vdt_mode vdt_shadow_mode(const struct vdt_shadow *shadow);
const char *vdt_shadow_mode_reason(const struct vdt_shadow *shadow); /* why this mode */
/* The address space of the control queue's buffers; 0: that of the data rings. */
uint32_t vdt_shadow_cvq_asid(const struct vdt_shadow *shadow);
bool vdt_shadow_logging(const struct vdt_shadow *shadow);
/* Why a migration would have to be refused now (device misbehaved, in-flight unknown), or NULL. */
const char *vdt_shadow_unmigratable(const struct vdt_shadow *shadow);
uint64_t vdt_shadow_dirty_pages(const struct vdt_shadow *shadow);
/* Length and beginning (monotonic) of the last freeze..thaw; beginning of the last freeze. */
int64_t vdt_shadow_frozen_us(const struct vdt_shadow *shadow);
int64_t vdt_shadow_thawed_from(const struct vdt_shadow *shadow);
int64_t vdt_shadow_frozen_at(const struct vdt_shadow *shadow);
