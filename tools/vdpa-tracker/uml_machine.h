/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * UML machine: Linux in User-Mode Linux, with this host's files to read and one virtio-net NIC, a
 * tracker's. Commands go in and answers come out as files, so they work whatever the NIC does.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

struct vdt_uml_machine {
    char *dir; /* owned: the machine's own, with its log */
    GPid pid;  /* leads a group of its own; 0: not running */
    int line;  /* owned: where it reads the names of commands */
    unsigned jobs;
};

/* In @dir, which start() makes: within a scratch directory. */
struct vdt_uml_machine *vdt_uml_machine_new(const char *dir);
/* False with @error: no linux.uml here, or it did not come up within @seconds. */
bool vdt_uml_machine_start(struct vdt_uml_machine *machine, const char *socket, unsigned seconds,
                           GError **error);
/* Powers off and frees it; false where it had to be killed. Accepts NULL. */
bool vdt_uml_machine_end(struct vdt_uml_machine *machine);

/* Kill it and wait: from any thread. */
void vdt_uml_machine_kill(struct vdt_uml_machine *machine);

/* Start a shell command; its number. */
unsigned vdt_uml_machine_begin(struct vdt_uml_machine *machine, const char *command);
/* Wait for it. What it wrote to standard output, caller frees; NULL with @error: it failed, with
 * what it wrote to standard error, or is not done within @seconds. */
char *vdt_uml_machine_finish(struct vdt_uml_machine *machine, unsigned job, unsigned seconds,
                             GError **error);
/* Both. */
char *vdt_uml_machine_run(struct vdt_uml_machine *machine, const char *command, GError **error);
