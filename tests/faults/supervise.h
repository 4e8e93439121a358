/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Supervise: a process whose system calls are seen one by one and one of which fails, or is the
 * process's last. Seccomp's user notification stops each call before it is made; no debugger, and
 * no call more than there would be without us.
 *
 * A call has a name that holds from run to run: "THREAD CALL KIND N", the N-th of this thread, this
 * call and this kind: of descriptor (eventfd, socket, pipe, file, ...), or the number of the
 * operation of calls that are many in one; "-" where there is none. Counting begins with the first
 * call that main() makes: the loader's are nobody's business here.
 */
#pragma once

#include <glib.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

struct supervise_fault {
    const char *point; /* name of a call, as above; NULL: none */
    int code;          /* errno that it fails with; 0: SIGKILL to the process instead */
};

struct supervise {
    struct supervise_fault fault;
    const char *marker;        /* path that main() opens first, for reading and writing */
    FILE *record;              /* where names of calls go, with a detail behind; NULL: nowhere */
    char **argv;               /* of the process */
    int log;                   /* borrowed: its standard output and error */
    GArray *calls;             /* owned: what is watched */
    GHashTable *counts;        /* owned: calls so far, by "THREAD CALL KIND" */
    void *filter;              /* owned: libseccomp's */
    int listener;              /* the filter's */
    struct seccomp_notif *req; /* owned */
    struct seccomp_notif_resp *resp; /* owned */
    pid_t pid;
    bool counting, failed;
    bool reached; /* the point was met */
    pthread_t spawner, watcher;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool spawned, over;
};

/* @calls: a file with a line "NAME fd|op|path0|path1|none" for each call to be watched: whether its
 * first argument is a descriptor, its second an operation, or which one is a path. Calls unknown on
 * this machine are left out. */
bool supervise_init(struct supervise *s, const char *calls, GError **error);

/* Starts s->argv; the pid is the caller's to reap. */
bool supervise_start(struct supervise *s, GError **error);

/* After the process has ended. */
void supervise_clear(struct supervise *s);
