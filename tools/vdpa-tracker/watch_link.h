/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Watch link: the read-only connection to a libvirt. It is kept alive, opened again with growing
 * patience when it breaks, and after each opening everything is told anew. Built with libvirt only.
 *
 * Thread: the default main context's.
 */
#pragma once

#include "tools/vdpa-tracker/watch.h"

struct vdt_watch_link;

struct vdt_watch_link_options {
    const char *uri;   /* borrowed; NULL: libvirt's default */
    unsigned retry_ms; /* first wait before another try; doubled up to @retry_max_ms */
    unsigned retry_max_ms;
    unsigned ask_ms; /* how often a migration that is under way is asked whether it still is */
};

/* Tells @watch from the first turn of the main loop on. @told is called after whatever was told;
 * may be NULL. */
struct vdt_watch_link *vdt_watch_link_new(const struct vdt_watch_link_options *options,
                                          struct vdt_watch *watch, void (*told)(void *ctx),
                                          void *ctx);
void vdt_watch_link_free(struct vdt_watch_link *link); /* accepts NULL */
