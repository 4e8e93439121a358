/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Traffic: the guest at work. One thread is its processor: it sends, receives, and follows the
 * script of control commands, until the VMM pauses it.
 *
 * Thread: everything that the driver and the script hold belongs to the guest's thread while it
 * runs, to the caller between pause() and resume().
 */
#pragma once

#include <pthread.h>

#include "guest/script.h"

struct vdt_traffic {
    struct vdt_driver *driver; /* borrowed */
    struct vdt_script *script; /* borrowed */
    GRand *rand;               /* owned */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool started, pause, paused, quit; /* by @lock */
    bool send;                         /* make frames */
    bool drain;       /* no more receive buffers; a short frame for each that is still posted */
    unsigned batch;   /* frames a pair and step */
    unsigned pace_us; /* between two steps that send, at least */
    int64_t next_send;
    unsigned command_gap_us; /* between commands */
    int64_t next_command;
    int64_t first_use;  /* when a chain came back for the first time since mark(); 0: none yet */
    uint64_t used_then; /* chains that had come back at mark() */
    uint64_t late;      /* completions that were found without a call, after a whole timeout */
};

bool vdt_traffic_init(struct vdt_traffic *traffic, struct vdt_driver *driver,
                      struct vdt_script *script, uint64_t seed);
void vdt_traffic_clear(struct vdt_traffic *traffic); /* ends the thread */

void vdt_traffic_pause(struct vdt_traffic *traffic); /* returns when the processor stands still */
void vdt_traffic_resume(struct vdt_traffic *traffic);

/* One turn; true if anything happened. For callers who run the guest on their own thread. */
bool vdt_traffic_step(struct vdt_traffic *traffic);

/* While paused: from here on first_use waits for the next completion. */
void vdt_traffic_mark(struct vdt_traffic *traffic);

/* The driver's sums at one moment, whoever works just now. */
void vdt_traffic_look(struct vdt_traffic *traffic, struct vdt_driver_sums *ret_sums);
