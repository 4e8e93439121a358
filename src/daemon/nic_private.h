/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of the NIC share; nobody else includes this. */
#pragma once

#include "control/replay.h"
#include "daemon/handover.h"
#include "daemon/journal.h"
#include "daemon/nic.h"
#include "migration/pipe.h"
#include "snapshot/collect.h"
#include "snapshot/snapshot.h"

enum vdt_recovery {
    VDT_RECOVERY_OFF,
    VDT_RECOVERY_NONE,     /* no guest was left behind, or what was left is unusable */
    VDT_RECOVERY_WAITING,  /* for the guest that was */
    VDT_RECOVERY_DONE,     /* it goes on */
    VDT_RECOVERY_OUTDATED, /* another guest came, or another state was loaded */
};

/* Where the guest comes from whose rings run. */
enum vdt_arrival {
    VDT_ARRIVAL_NONE,      /* none has started since SET_FEATURES */
    VDT_ARRIVAL_NEW,       /* its rings begin here */
    VDT_ARRIVAL_RESUMED,   /* it was stopped here */
    VDT_ARRIVAL_RECOVERED, /* from a tracker before this one */
    VDT_ARRIVAL_LOADED,    /* from another tracker, with its state */
    VDT_ARRIVAL_STATELESS, /* from elsewhere, without */
};

/* The answer to the VMM that waits for a handover, and what became of the last one. */
struct vdt_nic_hold {
    char *command; /* owned, NULL: none */
    unsigned timeout_ms;
    struct vdt_handover *running; /* owned, NULL: nobody is held */
    bool tried;                   /* at this stop */
    uint32_t ring, base;          /* the answer */
    int64_t began, us;
    uint64_t bytes, given, failed;
    char *error; /* owned: of the last, NULL where it went well */
};

struct vdt_nic {
    char *name, *uuid;  /* owned */
    uint32_t device_id; /* of all its devices; 2, block: no control queue, no address, no link */
    GMainContext *context;
    struct vdt_nic_watch watch;
    unsigned deadline_ms;
    bool allow_untracked;
    bool dirty_used_width;
    unsigned format; /* of states that are given away */
    bool limited;    /* by @baseline */
    struct vdt_baseline baseline;
    bool mac_given;
    uint8_t mac[6];

    struct vdt_shadow *shadow;   /* owned */
    struct vdt_session *session; /* owned, NULL without a frontend */
    void (*ended)(void *ctx, const GError *reason);
    void *ended_ctx;
    enum vdt_phase phase;
    struct vdt_phase_clock clock; /* a swap's steps are no phases of it */

    /* as the frontend negotiated */
    bool negotiated; /* SET_FEATURES came */
    bool logging;
    uint64_t acked;
    uint64_t protocol_features;
    bool base_set[VDT_RINGS_MAX];
    uint32_t base[VDT_RINGS_MAX];

    /* control path */
    struct vdt_control_model model;
    GMainContext *cvq_context;         /* owned: draining the queue must not run anything else */
    GSource *cvq_source;               /* owned: lets the main loop drive that context */
    struct vdt_device_cvq *device_cvq; /* owned, of the last start; stays good over a resume */
    bool device_ready;                 /* the device runs, so that @device_cvq may be used */
    struct vdt_cvq_relay *relay;       /* owned, NULL while the guest has no control queue */
    int cvq_call_fd;                   /* owned: the relay's, outlives a change of the shadow's */
    char *cvq_broken;                  /* owned: why the guest's control queue is out of service */
    struct vdt_replay_report replayed; /* the last replay */
    bool driven;                   /* the frontend has no control queue: we drive the device's */
    struct vdt_nic_filter *filter; /* owned: what its guest wants then, NULL: not told */

    /* config space */
    uint8_t config[VDT_CONFIG_MAX]; /* of the first device, frozen at open */
    uint32_t config_len;
    uint16_t link_status; /* of the device now: the one field that passes through */
    bool announce;        /* we ask the guest to announce itself */
    bool moved;           /* the next start is on another device: announce then */
    bool rarp_sent;       /* our frame went out with this start */

    /* state carrier */
    struct vdt_snapshot *frozen; /* owned: what get_base and reset stopped, NULL if nothing */
    bool frozen_has[VDT_RINGS_MAX];
    struct vdt_snapshot *previous; /* owned: frozen of the last run; for VMM stop and cont */
    struct vdt_snapshot *loaded;   /* owned: came in, waits for the guest */
    bool loaded_ran;               /* the guest has run with loaded */
    bool loaded_for_vmm;           /* loaded is for the guest of the VMM that is connected */
    bool adopted;                  /* loaded or previous is in the model already */
    enum vdt_arrival arrival;
    int64_t rehearsed_us; /* of the last state that came in: its commands, tried before the guest */
    struct vdt_pipe *pipe; /* owned: a DEVICE_STATE transfer */
    char *failure;         /* owned: why nothing runs, NULL if all is well */
    struct vdt_nic_hold hold;
    bool await_state; /* a guest that ran elsewhere does not start here without its state */
    bool awaiting;    /* one is there, and its state is not */

    /* recovery */
    struct vdt_journal *journal;     /* owned, NULL: off */
    struct vdt_journal_record *left; /* owned: of the tracker before, until its guest runs */
    enum vdt_recovery recovery;
    char *recovery_note; /* owned: what there is to be said about it */
    bool same_life;      /* @left is of the guest that starts */
    bool journaled;      /* the last record has a guest */
    bool journal_failed; /* and this was said */
    char *inflight_path; /* owned, NULL: no area of our own */
    bool ending;         /* this process is told to end: its guest may go on with the next */
    bool cvq_known,
        cvq_lookup; /* @cvq_lookup: which of the two it is, the guest's ring has to tell */
    uint16_t cvq_before, cvq_after; /* the guest's control queue around its last command */
    unsigned recovered_commands;
    int64_t journal_us; /* of the last write */
    /* for status */
    uint64_t loads, saves, restores, swaps;
    int64_t swap_opened_us, swap_frozen_us; /* of the last swap */
    /* Real time, of the guest's last stop (its first ring) and start: two hosts' make a downtime.
     */
    int64_t stopped_us, started_us;
};

/* nic.c */
void vdt_nic_enter(struct vdt_nic *nic, enum vdt_phase phase);

/* nic_control.c */
extern const struct vdt_shadow_events vdt_nic_shadow_events;
bool vdt_nic_control_init(struct vdt_nic *nic, GError **error);
void vdt_nic_control_clear(struct vdt_nic *nic);
/* What the tracker itself asks of a device whose guest's control queue ends in the VMM; and less,
 * for a device that refuses it: false where there is nothing less. */
void vdt_nic_drive_state(struct vdt_net_state *state, uint64_t negotiated, const uint8_t mac[6],
                         uint16_t pairs);
bool vdt_nic_drive_less(struct vdt_net_state *state);

/* nic_filter.c */
/* As far as the commands that are negotiated go. */
void vdt_nic_filter_state(struct vdt_net_state *state, uint64_t negotiated,
                          const struct vdt_nic_filter *filter);
void vdt_nic_filter_forget(struct vdt_nic *nic);

/* nic_control.c */
/* A device with another address than @mac gets that one, where the guest set none. */
void vdt_nic_insist_on_mac(struct vdt_device *dev, uint64_t negotiated, const uint8_t mac[6],
                           struct vdt_net_state *state);

/* nic_config.c */
bool vdt_nic_config_init(struct vdt_nic *nic, GError **error);
/* The guest knows another device's config space. */
void vdt_nic_config_take(struct vdt_nic *nic, const uint8_t config[VDT_CONFIG_MAX], uint32_t len);
void vdt_nic_config_read(struct vdt_nic *nic, uint8_t config[VDT_CONFIG_MAX]);
bool vdt_nic_config_refresh(struct vdt_nic *nic); /* link status from the device; true: changed */
/* The guest of @state read its address where it comes from, and goes on with that. */
void vdt_nic_config_follow(struct vdt_nic *nic, const struct vdt_snapshot *state);
void vdt_nic_config_mac(struct vdt_nic *nic, uint8_t mac[6]);
/* As it is for a guest that comes with @state (may be NULL). */
void vdt_nic_config_mac_with(const struct vdt_nic *nic, const struct vdt_snapshot *state,
                             uint8_t mac[6]);
/* The guest shall tell the network where it is now: by the status bit, else by a frame of ours at
 * the next start. */
void vdt_nic_announce_ask(struct vdt_nic *nic);
void vdt_nic_announce_done(struct vdt_nic *nic);
bool vdt_nic_guest_announces(const struct vdt_nic *nic);
void vdt_nic_rarp(struct vdt_nic *nic, const uint8_t mac[6]);

/* nic_state.c */
void vdt_nic_state_clear(struct vdt_nic *nic);
struct vdt_snapshot *vdt_nic_collect(struct vdt_nic *nic);
/* Ring @ring was live and stands still now: keep its state. */
void vdt_nic_freeze_ring(struct vdt_nic *nic, uint32_t ring);
/* The device is about to be reset: freeze whatever still runs and keep it. */
void vdt_nic_freeze_all(struct vdt_nic *nic);
bool vdt_nic_frozen_base(struct vdt_nic *nic, uint32_t ring, uint32_t *ret_base);
/* The frontend negotiates anew: frozen becomes previous. False where loaded does not fit. */
bool vdt_nic_state_negotiated(struct vdt_nic *nic, uint64_t acked, GError **error);
/* Is @snapshot of a guest with these features, whose ring starts there? */
bool vdt_nic_state_features(const struct vdt_snapshot *snapshot, uint64_t acked, GError **error);
bool vdt_nic_state_stands(const struct vdt_snapshot *snapshot, uint32_t ring, uint32_t base,
                          GError **error);
/* What was in flight goes to the shadow, which does not run yet. */
bool vdt_nic_state_apply(struct vdt_nic *nic, GError **error);
bool vdt_nic_state_based(struct vdt_nic *nic, uint32_t ring, uint32_t base, GError **error);
/* Put loaded or previous into the model, once. True if it did so now. */
bool vdt_nic_adopt(struct vdt_nic *nic);
void vdt_nic_state_running(struct vdt_nic *nic);
bool vdt_nic_state_begin(void *ctx, bool save, int fd, GError **error);
bool vdt_nic_state_check(void *ctx, GError **error);
bool vdt_nic_carriable(const struct vdt_snapshot *snapshot, GError **error);

/* nic_load.c */
bool vdt_nic_load(struct vdt_nic *nic, const uint8_t *bytes, size_t len, GError **error);
/* Rings start: once a guest, before anything is settled. False: not without its state. */
bool vdt_nic_arrive(struct vdt_nic *nic, GError **error);
/* The frontend is gone, and the guest that a state was brought for did not come. */
void vdt_nic_load_disconnected(struct vdt_nic *nic);
const char *vdt_nic_arrival_name(const struct vdt_nic *nic); /* NULL: none */

/* nic_handover.c */
void vdt_nic_hold_init(struct vdt_nic *nic, const struct vdt_nic_options *options);
void vdt_nic_hold_clear(struct vdt_nic *nic);
/* @ring's position is asked for and would be @base: true where the answer comes later. */
bool vdt_nic_hold(struct vdt_nic *nic, uint32_t ring, uint32_t base);
void vdt_nic_hold_running(struct vdt_nic *nic); /* rings run again */
/* Whoever is held gets the answer now; nothing where nobody is. */
void vdt_nic_hold_let_go(struct vdt_nic *nic, const char *why);
const char *vdt_nic_hold_state(const struct vdt_nic *nic);

/* nic_recover.c */
void vdt_nic_recover_init(struct vdt_nic *nic, const struct vdt_nic_options *options);
void vdt_nic_recover_clear(struct vdt_nic *nic);
/* Rings start: is it the guest that the tracker before served? */
void vdt_nic_recover_judge(struct vdt_nic *nic, const struct vdt_guest_cvq *cvq);
void vdt_nic_recover_running(struct vdt_nic *nic);
/* The guest's control queue starts: judge by it what could not be told yet, and where it stands. */
void vdt_nic_recover_cvq(struct vdt_nic *nic, struct vdt_guest_cvq *cvq);
/* What was left is of no use any more. */
void vdt_nic_recover_drop(struct vdt_nic *nic, const char *why);
/* The state changed: write it down, before anybody is told. */
void vdt_nic_journal(struct vdt_nic *nic);
void vdt_nic_journal_stopped(struct vdt_nic *nic);      /* the frozen state */
void vdt_nic_recover_disconnected(struct vdt_nic *nic); /* the frontend is gone */
void vdt_nic_recover_status(struct vdt_nic *nic, JsonBuilder *builder);

/* nic_backend.c */
void vdt_nic_disconnected(void *ctx);
