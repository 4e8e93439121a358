/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Swap: a running guest's NIC moves to another device of this host.
 *
 * Everything that can fail early does so before the guest notices: the other device is opened,
 * compared, negotiated with, and guest memory is mapped into it, first. Then: freeze, snapshot, exchange, thaw (which replays and reads back). Whatever
 * fails from there on: exchange back, thaw the first device, and the guest goes on where it was.
 *
 * Thread: control, blocks.
 */
#pragma once

#include <json-glib/json-glib.h>

#include "migration/phase.h"
#include "shadow/shadow.h"
#include "snapshot/snapshot.h"

struct vdt_swap_report {
    char *from, *to;                        /* owned, device names */
    int64_t opened_us;                      /* to open, check and map the other device, guest running */
    int64_t window_start_us, window_end_us; /* realtime: the guest's NIC stood still */
    int64_t frozen_us;                      /* length of that */
    unsigned commands;                      /* replayed */
    uint32_t resubmitted;                   /* requests in flight that the other device got */
    bool returned;                          /* it failed and the first device goes on */
};

void vdt_swap_report_clear(struct vdt_swap_report *report);
JsonNode *vdt_swap_report_to_json(const struct vdt_swap_report *report);

struct vdt_swap_hooks {
    struct vdt_snapshot *(*collect)(void *ctx); /* of the frozen NIC; the swap frees it */
    unsigned (*replayed)(void *ctx);            /* commands of the last replay */
    void *ctx;
};

/*
 * @spec as in vdt_device_open(). @phase goes through the steps and ends where it began, or with
 * @error: VDT_ERROR_REFUSED before anything was touched (all reasons, one a line), else the reason
 * of the failure and whether the first device goes on.
 */
bool vdt_swap(struct vdt_shadow *shadow, const char *spec, enum vdt_phase *phase,
              const struct vdt_swap_hooks *hooks, struct vdt_swap_report *report, GError **error);
