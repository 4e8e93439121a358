/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Watch trackers: what the trackers of this host say of the NICs whose domains migrate, asked again
 * and again while they do. Each is asked in a thread of its own, so that one that does not answer
 * delays no event.
 *
 * Thread: the default main context's.
 */
#pragma once

#include "tools/vdpa-tracker/watch.h"

struct vdt_watch_trackers;

struct vdt_watch_trackers *vdt_watch_trackers_new(struct vdt_watch *watch);
/* Waits for what was asked: a second at most. Accepts NULL. */
void vdt_watch_trackers_free(struct vdt_watch_trackers *trackers);
/* Now, beside the regular looks: something was told. */
void vdt_watch_trackers_look(struct vdt_watch_trackers *trackers);
