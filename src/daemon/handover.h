/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Handover: a command of the operator's, run by the shell, that carries a state to the peer. Its
 * standard input is the state (a file in memory: to be read or not, and never waited for), its exit
 * status the peer's word. It has a process group of its own, which ends with it, at the latest
 * after the time that it was given.
 *
 * Thread: the one that runs the context.
 */
#pragma once

#include <glib.h>

#include "base/auto.h"

struct vdt_handover;

struct vdt_handover_options {
    const char *command;   /* for /bin/sh -c */
    const char *name;      /* VDPA_TRACKER_NAME in its environment */
    unsigned timeout_ms;   /* of the whole */
    GMainContext *context; /* NULL: the default one */
    /* Once, from the context; @error NULL: the command ended with 0. May free the handover. */
    void (*done)(void *ctx, const GError *error);
    void *ctx;
};

struct vdt_handover *vdt_handover_new(const struct vdt_handover_options *options, GBytes *state,
                                      GError **error);
/* Accepts NULL. Whatever still runs is killed; done() does not come any more. */
void vdt_handover_free(struct vdt_handover *handover);
VDT_DEFINE_AUTO(handover, vdt_handover_free)
