/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Daemon: one tracker's process: a device, a NIC, the socket for the VMM, the control interface,
 * and a main loop until SIGTERM or SIGINT.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "daemon/nic.h"
#include "daemon/socket_access.h"

struct vdt_daemon_options {
    const char *name;
    const char *device;              /* vdt_device_open() */
    const char *socket_path;         /* NULL: NAME.sock in the runtime directory */
    int fd;                          /* >= 0: this socket instead, owned */
    const char *connect;             /* the VMM listens here, we connect; NULL */
    struct vdt_socket_access access; /* of the socket that it makes */
    const char *restore;             /* a file to start from, NULL */
    bool daemonize;                  /* go to the background once ready */
    bool no_recovery;           /* keep nothing for the next tracker, take nothing of the last */
    struct vdt_nic_options nic; /* name and context are filled in */
};

/* Runs until told to end. False with @error when it could not start or the NIC is lost. */
bool vdt_daemon_run(const struct vdt_daemon_options *options, GError **error);
