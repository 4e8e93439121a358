/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Side: a tracker as a process, and the VMM's connection to it. */
#pragma once

#include "guest/vmm.h"
#include "supervise.h"

#define SIDE_WAIT_MS 5000u /* longer is a hang */

struct side {
    const char *exe, *dir, *name, *device;
    struct supervise *supervise; /* borrowed; NULL: not watched */
    struct vdt_ram *ram;         /* borrowed */
    struct vdt_vmm vmm;
    pid_t pid;
    int status;       /* wait status */
    bool running;     /* not reaped */
    bool connected;   /* the VMM knows what it offers */
    bool first;       /* the process that was started first has not been replaced */
    unsigned fds_max; /* descriptors that it may keep once the VMM has left; 0: any */
};

/* Starts "run --name @name --device @device"; its output is appended to NAME.log in the runtime
 * directory, which the environment names. */
bool side_start(struct side *side, GError **error);
/* Until the VMM's socket is there. */
bool side_ready(struct side *side, GError **error);
bool side_connect(struct side *side, GError **error);
void side_disconnect(struct side *side);
bool side_alive(struct side *side);
/* How many descriptors it has, with some patience for those beyond fds_max; what they are. */
unsigned side_fds(struct side *side, char **ret_list);
/* SIGTERM; false if it had to be killed. */
bool side_end(struct side *side);

/* Runs @argv to its end with its output to @log; false if it had to be killed. @supervise: NULL, or
 * whoever watches it. */
bool side_command(struct supervise *supervise, char **argv, const char *log, int *ret_status,
                  GError **error);
