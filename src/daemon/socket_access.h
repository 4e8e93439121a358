/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Socket access: whose VMM may connect. A VMM that a management layer starts runs as a user of its
 * own (libvirt-qemu, qemu), and connecting wants write permission to the socket.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

struct vdt_socket_access {
    uid_t uid;   /* (uid_t) -1: as it is */
    gid_t gid;   /* (gid_t) -1: as it is */
    mode_t mode; /* 0: as it is */
};

/* @owner: "USER", "USER:GROUP" or ":GROUP", names or numbers; @mode: octal, as of chmod(1). Either
 * may be NULL. VDT_ERROR_USAGE. */
bool vdt_socket_access_parse(struct vdt_socket_access *access, const char *owner, const char *mode,
                             GError **error);
/* To the socket at @path, which is ours. */
bool vdt_socket_access_apply(const struct vdt_socket_access *access, const char *path,
                             GError **error);
