/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

int
vdt_close(int fd)
{
    int saved = errno;

    if (fd >= 0)
        close(fd);
    errno = saved;
    return -1;
}

int
vdt_eventfd(GError **error)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    if (fd < 0)
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot make an eventfd: %s",
                    g_strerror(errno));
    return fd;
}

void
vdt_event_signal(int fd)
{
    uint64_t one = 1;

    if (fd < 0)
        return;
    /* EAGAIN: the counter is full or the socket's buffer is, so the peer has a wake-up pending. */
    while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

bool
vdt_event_drain(int fd)
{
    uint64_t value[8];
    bool any = false;
    ssize_t n;

    while ((n = read(fd, value, sizeof(value))) > 0 || (n < 0 && errno == EINTR)) {
        if (n < 0)
            continue;
        any = true;
        /* An eventfd gives everything in one read of 8 bytes; a socket may hold more. */
        if (n == sizeof(uint64_t))
            break;
    }
    return any;
}

bool
vdt_set_nonblocking(int fd, GError **error)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED,
                    "cannot make descriptor %d non-blocking: %s", fd, g_strerror(errno));
        return false;
    }
    return true;
}

int
vdt_memfd(const char *name, size_t size, GError **error)
{
    VDT_AUTO_FD fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, (off_t) size) < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED,
                    "cannot make %zu bytes of shared memory (%s): %s", size, name,
                    g_strerror(errno));
        return -1;
    }
    return vdt_steal_fd(&fd);
}
