/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * File descriptors: scoped closing, eventfds, and descriptors over unix sockets.
 *
 * Every descriptor that this project makes is close-on-exec. Thread: any.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Close @fd unless negative; errno is kept. Returns -1, so that "fd = vdt_close(fd)" reads well. */
int vdt_close(int fd);

/* Take the descriptor out of @fd and leave -1. */
static inline int
vdt_steal_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

static inline void
vdt_close_cleanup(int *fd)
{
    vdt_close(*fd);
}

/* int that closes itself at the end of its scope; start it at -1 or with a descriptor it owns. */
#define VDT_AUTO_FD __attribute__((cleanup(vdt_close_cleanup))) int

/* A non-blocking eventfd, counter 0. -1 with @error set when the process is out of descriptors. */
int vdt_eventfd(GError **error);

/* Add 1. Never blocks; works on the call "eventfds" that are unix sockets as well (UML sends those). */
void vdt_event_signal(int fd);

/* Take everything pending. True if there was something. Never blocks (the fd must be O_NONBLOCK). */
bool vdt_event_drain(int fd);

bool vdt_set_nonblocking(int fd, GError **error);

/* An anonymous, sealable shared memory file of @size bytes. -1 with @error set. */
int vdt_memfd(const char *name, size_t size, GError **error);
