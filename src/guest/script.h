/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Script: the control commands of the built-in guest, of every class that it negotiated and in an
 * order that follows from the seed, and the state that a device has to be in after them.
 *
 * The expected state is kept here, apart from the tracker's model and from the simulator, so that
 * neither of them is judged by its own words. A command counts once the device has acknowledged it.
 *
 * Thread: the guest's.
 */
#pragma once

#include "guest/driver.h"

enum vdt_script_kind {
    VDT_SCRIPT_MAC,
    VDT_SCRIPT_RX,
    VDT_SCRIPT_TABLE,
    VDT_SCRIPT_RX_EXTRA,
    VDT_SCRIPT_VLAN,
    VDT_SCRIPT_PAIRS,
    VDT_SCRIPT_RSS,
    VDT_SCRIPT_HASH,
    VDT_SCRIPT_OFFLOADS,
    VDT_SCRIPT_COAL,
    VDT_SCRIPT_COAL_RING,
    VDT_SCRIPT_COAL_READ,
    VDT_SCRIPT_STATS,
    VDT_SCRIPT_ANNOUNCE,
    VDT_SCRIPT_KINDS
};

const char *vdt_script_kind_name(enum vdt_script_kind kind);

struct vdt_script_pending {
    enum vdt_script_kind kind;
    uint8_t bytes[VDT_DRIVER_COMMAND_MAX];
    uint32_t len, reply_room;
    uint16_t pairs; /* that carry traffic afterwards; 0: as before */
};

struct vdt_script {
    struct vdt_driver *driver; /* borrowed */
    GRand *rand;               /* owned */
    struct vdt_net_state expected;
    GQueue queue;     /* of struct vdt_script_pending: to be sent, in order */
    GQueue in_flight; /* the same: at the device, in order */
    unsigned next;    /* kind whose turn it is */
    uint16_t vlans;   /* filters that are to be set in the end: 1 .. @vlans */
    uint16_t vlan_at; /* the last of them that was asked for */
    uint16_t pairs;   /* on which the guest may send: what is in force, and what it asked for */
    bool modest;      /* acknowledges an announcement only where one was asked for */
    bool patient;     /* the device sends all that it is given: no giving up */
    int64_t give_up;  /* when to stop waiting for a transmit ring that is going out of use */
    uint64_t sent, acked, refused, wrong; /* wrong: an answer that contradicts what was set */
    uint64_t of_kind[VDT_SCRIPT_KINDS];   /* acknowledged */
    uint64_t refused_of[VDT_SCRIPT_KINDS];
    bool idle;     /* make up no more commands */
    char *trouble; /* owned: the first refusal or wrong answer, in words */
};

void vdt_script_init(struct vdt_script *script, struct vdt_driver *driver, uint16_t vlans,
                     uint64_t seed);
void vdt_script_clear(struct vdt_script *script);

/* Send what fits now. True if something was sent. */
bool vdt_script_step(struct vdt_script *script);

/* The guest has negotiated commands of that kind. */
bool vdt_script_can(const struct vdt_script *script, enum vdt_script_kind kind);

/* Every kind that the guest can send was answered at least once, and all VLANs are asked for. */
bool vdt_script_complete(const struct vdt_script *script);

/* Leave a state in which the guest's own frames come in whatever else is set, then fall idle. */
void vdt_script_settle(struct vdt_script *script);
/* All rings carry traffic again: plain steering over every pair. */
void vdt_script_spread(struct vdt_script *script);
void vdt_script_announce(struct vdt_script *script);
bool vdt_script_quiet(const struct vdt_script *script); /* nothing to send, nothing in flight */
