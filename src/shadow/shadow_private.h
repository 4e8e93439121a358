/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The inside of struct vdt_shadow, shared by the files that make it up: shadow.c (life),
 * start.c (thaw), stop.c (freeze), exchange.c (another device), view.c.
 *
 * Thread: control; a relay belongs to its worker while @attached.
 */
#pragma once

#include "memory/dirty_log.h"
#include "shadow/placement.h"
#include "shadow/relay.h"
#include "shadow/shadow.h"
#include "shadow/worker.h"

#define VDT_CVQ_RING_SIZE 64u
#define VDT_CVQ_BUFFER_SIZE 65536u

/* A request that some device had and did not finish. */
struct vdt_held_request {
    uint16_t id, slots;
    uint32_t seg_count;
    struct vdt_seg *segs; /* owned; packed only */
    struct vdt_seg table; /* packed: where its table lies; len 0: none, or not known */
};

struct vdt_shadow_ring {
    /* As the frontend set it up. */
    uint16_t num;
    bool addr_set, started, enabled, disabled; /* @disabled: by an explicit ENABLE 0 */
    uint64_t desc, driver, device;             /* frontend addresses */
    int kick, call, err;                       /* owned, -1 */

    /* Where it stands while it does not run. @kept: @pos.used and @held come from us or from a
     * state carrier; else they are derived from guest memory when the ring starts. */
    struct vdt_ring_pos pos;
    bool kept;
    bool exact;
    GArray *held;                 /* owned, struct vdt_held_request in fetch order */
    struct vdt_ring_pos kept_pos; /* what @held belongs to; a base that differs voids it */
    bool base_told; /* the frontend knows @kept_pos as the base: it asked, or loaded it */

    /* While it is part of the running device. */
    bool active, attached, direct; /* @direct: the device works on the guest's own ring */
    uint16_t direct_from;          /* the used index at which the device took the ring over */
    bool relay_live;
    bool in_step; /* relay: the device's ring stands where the guest's does */
    struct vdt_relay relay;
    struct vdt_area_ring area; /* open while the relay is tracked */
    uint64_t ran_again;        /* requests that the area gave back after a crash */
    struct vdt_ring_addr gpa;
    struct vdt_ring_mem guest_mem;
    int device_kick, device_call; /* owned eventfds, -1 */
    GSource *call_source;         /* owned; direct ring whose call descriptor is a socket */
    const char *broken;
    enum vdt_ring_fault fault; /* of this run, or of the last one */
    bool by_reset;             /* a reset stopped it while the device had receive buffers */
};

struct vdt_shadow {
    struct vdt_device *dev; /* owned */
    struct vdt_shadow_options options;
    struct vdt_shadow_events events;
    void *ctx;
    struct vdt_negotiation negotiation;
    bool features_set, log_all, use_status;
    uint8_t status;

    struct vdt_guest_map *map;   /* owned reference */
    struct vdt_placement *place; /* owned, @dev's */
    struct vdt_placement *spare; /* owned, NULL: of a device that is prepared or was exchanged */
    struct vdt_dirty_log log;
    struct vdt_inflight_area *area;     /* owned, NULL: the frontend keeps none for us */
    struct vdt_inflight_area *own_area; /* owned, NULL: nor do we */

    struct vdt_shadow_ring rings[VDT_RINGS_MAX];
    uint32_t ring_count;
    struct vdt_worker **workers; /* owned, options.workers of them */

    enum vdt_mode mode;        /* of the rings that run, or FROZEN, STOPPED */
    enum vdt_mode thawed_mode; /* the mode before the freeze */
    const char *mode_reason;
    bool suspended;                            /* frozen by SUSPEND: may be resumed as it is */
    bool cold;                                 /* the next thaw has to bring the device up anew */
    bool cvq_running;                          /* cvq_start() was called and not cvq_stop() */
    int cvq_kick, cvq_call;                    /* owned eventfds of the device's control queue */
    int config_call, attention;                /* owned eventfds */
    GSource *config_source, *attention_source; /* owned */
    GSource *update_clock;                     /* owned: rings while an update is scheduled */
    unsigned retries;                          /* of an update that failed */
    bool looking_again;                        /* an update is to try passthrough after a start */
    int64_t frozen_at, frozen_us;
    int64_t thawed_from; /* beginning of the freeze that @frozen_us is the length of */
    char *unmigratable;   /* owned */
    uint8_t *first_frame; /* owned */
    uint32_t first_frame_len;
};

/* shadow.c */
void vdt_shadow_schedule_update(struct vdt_shadow *s);
/* The same, later: the other rings are about to be stopped as well. */
void vdt_shadow_schedule_update_after_stop(struct vdt_shadow *s);
void vdt_shadow_note_faults(struct vdt_shadow *s); /* of relays, to be told and remembered */

/* exchange.c */
/* Bring @place's device to FEATURES_OK with all memory mapped, @n negotiated; where it stands there
 * already (prepared), only what changed since then. */
bool vdt_shadow_stage(struct vdt_shadow *s, struct vdt_placement *place,
                      const struct vdt_negotiation *n, GError **error);
/* Guest memory changed: what is mapped into the device that is not in place follows. */
void vdt_shadow_spare_follows(struct vdt_shadow *s);

/* Is the ring wanted on the device now? */
bool vdt_shadow_ring_wanted(const struct vdt_shadow *s, uint32_t ring);
bool vdt_shadow_cvq_wanted(const struct vdt_shadow *s);
void vdt_shadow_ring_forget(struct vdt_shadow_ring *ring); /* held requests */
void vdt_shadow_ring_hold(struct vdt_shadow_ring *ring, uint16_t id, uint16_t slots,
                          const struct vdt_seg *segs, uint32_t seg_count);
void vdt_shadow_refuse_migration(struct vdt_shadow *s, const char *reason);
struct vdt_worker *vdt_shadow_worker(struct vdt_shadow *s, uint32_t ring);

/* stop.c */
bool vdt_shadow_attach_all(struct vdt_shadow *s, GError **error);
void vdt_shadow_detach_all(struct vdt_shadow *s);

/* ring_setup.c */
bool vdt_shadow_settle_position(struct vdt_shadow *s, uint32_t ring, GError **error);
bool vdt_shadow_point_call(struct vdt_shadow *s, uint32_t ring, GError **error);
bool vdt_shadow_start_direct(struct vdt_shadow *s, uint32_t ring, bool warm, GError **error);
bool vdt_shadow_start_relay(struct vdt_shadow *s, uint32_t ring, bool warm, GError **error);
bool vdt_shadow_start_port(struct vdt_shadow *s, struct vdt_cvq_port *port, GError **error);
/* Memory of ours that the wanted rings need with @n, by part. */
void vdt_shadow_measure(const struct vdt_shadow *s, const struct vdt_negotiation *n,
                        uint64_t need[VDT_ARENA_PARTS]);
void vdt_shadow_end_rings(struct vdt_shadow *s);
void vdt_shadow_end_ring(struct vdt_shadow *s, struct vdt_shadow_ring *ring);

/* recover.c */
/* Where a ring of which nothing is known stands by the in-flight area, and what it had in flight.
 */
bool vdt_shadow_recover_ring(struct vdt_shadow *s, uint32_t ring, bool *ret_recovered,
                             GError **error);
/* What the area says of the ring; nothing known where there is none. */
bool vdt_shadow_read_history(struct vdt_shadow *s, uint32_t ring, struct vdt_area_history *ret,
                             GError **error);
/* Is @history about the ring as it is now? OTHER: @ret_why, static. life.c */
enum vdt_life vdt_shadow_ring_life(const struct vdt_shadow *s, uint32_t ring,
                                   const struct vdt_area_history *history, const char **ret_why);
/* From here on the ring's relay, which is parked, writes down what is in flight; once all that is
 * resubmitted is written down, tracked(). */
void vdt_shadow_track_ring(struct vdt_shadow *s, uint32_t ring);
void vdt_shadow_tracked(struct vdt_shadow *s, uint32_t ring);
/* From here on a device works on the guest's ring itself. */
void vdt_shadow_untrack_ring(struct vdt_shadow *s, uint32_t ring);

/* start.c */
bool vdt_shadow_start_guest_cvq(struct vdt_shadow *s, GError **error);
void vdt_shadow_stop_guest_cvq(struct vdt_shadow *s);
void vdt_shadow_rest(struct vdt_shadow *s); /* frozen or stopped: the device goes back to reset */

/* passthrough.c */
/* @anew: for rings that start, not for those that run. */
enum vdt_mode vdt_shadow_choose_mode(struct vdt_shadow *s, bool anew, const char **ret_reason);
/* A suspended device's ring that it worked on itself: position and in-flight list from the device
 * and the guest's rings; not exact where they cannot tell. */
void vdt_shadow_read_direct(struct vdt_shadow *s, uint32_t ring);
/* Is what such a ring has in flight exactly what is available and not used? */
bool vdt_shadow_window_exact(struct vdt_shadow *s, const struct vdt_shadow_ring *ring,
                             uint16_t used_index);
/* The guest's ring as it stands, checked: host addresses, GPAs, position. ring_setup.c */
bool vdt_shadow_resolve_ring(struct vdt_shadow *s, uint32_t ring, GError **error);
