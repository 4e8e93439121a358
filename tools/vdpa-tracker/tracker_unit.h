/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tracker unit: a tracker that somebody else's program brings up and takes down: it lives on when
 * that program has ended, in a session of its own or as an instance of the systemd template unit.
 *
 * Every wait is bounded. Nothing of the caller is inherited: no descriptor, no terminal, no group.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

enum vdt_unit_way {
    VDT_UNIT_FORK,
    VDT_UNIT_SYSTEMD, /* vdpa-tracker@NAME.service */
};

/* By what this host is: systemd(1), sd_booted(3). */
enum vdt_unit_way vdt_unit_way_of_host(void);

/* The process that listens at the control socket of @name; 0: none. */
pid_t vdt_unit_pid(const char *name);

/*
 * `run --name @name` with @options behind it, until it is ready. False with @error: what it said
 * itself where it has ended (its code for a refusal is VDT_ERROR_REFUSED), or that it took longer
 * than @wait_ms; it does not run then.
 */
bool vdt_unit_start(enum vdt_unit_way way, const char *name, const char *const *options,
                    unsigned wait_ms, GError **error);
/* It, and what it leaves in the runtime directory. True if there was none. */
bool vdt_unit_stop(enum vdt_unit_way way, const char *name, unsigned wait_ms, GError **error);
