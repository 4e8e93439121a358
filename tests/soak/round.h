/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Round: a frontend's visit: it connects, asks, sets up, lets a guest send and command, logs,
 * stops, leaves; each seed in a way of its own, and half of them in the middle, some with nonsense
 * as their last word.
 */
#pragma once

#include "guest/ram.h"
#include "vhost_user/frontend.h"

struct round_tally {
    unsigned long rounds, whole, cut, nonsense; /* how they ended */
    unsigned long started, packed, added, logged, inflight, stopped;
    unsigned long frames, commands;
};

/* @frontend: just connected, freed here. False: something was refused that had to work; why is in
 * @ret_why, g_free(). */
bool round_run(struct vdt_frontend *frontend, struct vdt_ram *ram, uint64_t seed,
               struct round_tally *tally, char **ret_why);

/* A visit of one who has nothing to do with those before: the tracker lets go of the last guest's
 * state, which it keeps for one who comes back. Frees @frontend. */
bool round_sweep(struct vdt_frontend *frontend);
