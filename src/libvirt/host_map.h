/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Host map: which device of this host a name in a domain's metadata means, for a path differs from
 * host to host and a domain's XML does not. /etc/vdpa-tracker/devices.conf: vdpa-tracker-devices(5).
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "base/auto.h"

#define VDT_HOST_MAP_FILE "/etc/vdpa-tracker/devices.conf"

struct vdt_host_device {
    char *device;  /* owned: what `run --device` takes */
    char *options; /* owned: more words for `run`, NULL without */
};

struct vdt_host_map {
    GKeyFile *file;
    char *path;                       /* owned, of all these: of the file */
    char *socket_owner, *socket_mode; /* NULL: as run has it */
    char *moved_from, *moved_to;      /* sockets of incoming domains; NULL: not moved */
    char *start_with;                 /* "systemd" or "fork"; NULL: by what this host is */
};

/* VDT_ERROR_INVALID for a word that is not understood: it would be a rule that is not kept. */
struct vdt_host_map *vdt_host_map_load(const char *path, GError **error);
void vdt_host_map_free(struct vdt_host_map *map); /* accepts NULL */
VDT_DEFINE_AUTO(host_map, vdt_host_map_free)

/* @name: "vdpa:blue". VDT_ERROR_REFUSED where this host has no such device. */
bool vdt_host_map_find(const struct vdt_host_map *map, const char *name,
                       struct vdt_host_device *ret, GError **error);
void vdt_host_device_clear(struct vdt_host_device *device);
