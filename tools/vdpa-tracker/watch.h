/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Watch: the domains of a libvirt whose NICs are ours, what is told of them, a line each time, and
 * what a collector wants of it. No libvirt here, and no clock: who calls says when it was.
 */
#pragma once

#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <stdio.h>

#include "libvirt/domain_xml.h"
#include "libvirt/watch_phase.h"

struct vdt_watch;

struct vdt_watch_time {
    gint64 real_us, mono_us;
};

/* libvirt's own account of a migration; -1 is what it did not tell. */
struct vdt_watch_job {
    gint64 elapsed_ms, downtime_ms, bytes;
};

/* @out is borrowed, and flushed after each line. */
struct vdt_watch *vdt_watch_new(FILE *out, bool json);
void vdt_watch_free(struct vdt_watch *watch); /* accepts NULL */

/* @text: to what, or why not. */
void vdt_watch_connected(struct vdt_watch *watch, const char *text, struct vdt_watch_time when);
void vdt_watch_lost(struct vdt_watch *watch, const char *text, struct vdt_watch_time when);

/* Everything that there is follows, by domain() and event(); what was not among it is gone. */
void vdt_watch_sweep(struct vdt_watch *watch);
void vdt_watch_swept(struct vdt_watch *watch, struct vdt_watch_time when);

/* @domain is owned from now on. One without a NIC of ours is not watched, and not any more. */
void vdt_watch_domain(struct vdt_watch *watch, struct vdt_domain *domain,
                      struct vdt_watch_time when);
/* The rest is ignored for domains that are not watched. */
void vdt_watch_event(struct vdt_watch *watch, const char *uuid, enum vdt_watch_event event,
                     unsigned pass, struct vdt_watch_time when);
void vdt_watch_job(struct vdt_watch *watch, const char *uuid, const struct vdt_watch_job *job,
                   struct vdt_watch_time when);
/* What NIC @mac's tracker says of itself, NULL: it does not run here. A line where its phase is
 * another one than before. */
void vdt_watch_tracker(struct vdt_watch *watch, const char *uuid, const char *mac, JsonNode *status,
                       struct vdt_watch_time when);
bool vdt_watch_has(const struct vdt_watch *watch, const char *uuid);
bool vdt_watch_migrates(const struct vdt_watch *watch, const char *uuid);

/* Those that migrate, or did until just now, and each of their NICs that has a tracker's name. */
typedef void (*vdt_watch_visit)(void *ctx, const char *uuid, enum vdt_watch_phase phase,
                                const char *mac, const char *tracker);
void vdt_watch_migrating(const struct vdt_watch *watch, struct vdt_watch_time when,
                         vdt_watch_visit visit, void *ctx);

/* In the text format of Prometheus, as node_exporter's textfile collector reads it. */
char *vdt_watch_metrics(const struct vdt_watch *watch);
