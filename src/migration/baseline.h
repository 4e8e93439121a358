/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Baseline: what several network devices can all give a guest, through a tracker. A guest that was
 * offered no more than that can go to each of them and back.
 *
 * As a file: docs/man/vdpa-tracker-baseline.5, read and written by baseline_file.c. A file is
 * untrusted until it is loaded.
 */
#pragma once

#include <glib.h>

#include "snapshot/snapshot.h"

struct vdt_baseline {
    uint64_t features; /* offered, without vhost-user's own bits */
    uint16_t pairs;
    uint16_t ring_max;
    uint16_t mtu;        /* 0 without MTU */
    uint8_t rss_key_max; /* these three: 0 without RSS and HASH_REPORT */
    uint16_t rss_table_max;
    uint32_t hash_types;
};

/* What a tracker can offer on @dev; what one did offer on the device that @snapshot is of. */
bool vdt_baseline_of_device(struct vdt_baseline *baseline, struct vdt_device *dev, GError **error);
bool vdt_baseline_of_snapshot(struct vdt_baseline *baseline, const struct vdt_snapshot *snapshot,
                              GError **error);

/* What both can. */
void vdt_baseline_narrow(struct vdt_baseline *baseline, const struct vdt_baseline *other);

/* Every reason why @offer is less than @baseline; empty when it is not. GPtrArray of char *. */
GPtrArray *vdt_baseline_reasons(const struct vdt_baseline *baseline,
                                const struct vdt_baseline *offer);

/* @config as a guest of @baseline reads it. */
void vdt_baseline_clamp(const struct vdt_baseline *baseline, uint8_t *config, uint32_t len);

/* --- baseline_file.c --- */

char *vdt_baseline_to_text(const struct vdt_baseline *baseline);
bool vdt_baseline_from_text(struct vdt_baseline *baseline, const char *text, size_t len,
                            GError **error);
bool vdt_baseline_load(struct vdt_baseline *baseline, const char *path, GError **error);
/* A regular file that begins like a baseline; not that it is a good one. */
bool vdt_baseline_is_file(const char *path);
