/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"

VDT_SUITE(fd);

static bool
is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

Test(fd, close_keeps_errno_and_gives_minus_one)
{
    int fd = dup(0);

    errno = EPIPE;
    cr_assert_eq(vdt_close(fd), -1);
    cr_assert_eq(errno, EPIPE);
    cr_assert_not(is_open(fd));
    errno = EPIPE;
    cr_assert_eq(vdt_close(-1), -1);
    cr_assert_eq(errno, EPIPE);
}

Test(fd, scoped_descriptor_closes_itself_unless_it_was_stolen)
{
    int closed, stolen;

    {
        VDT_AUTO_FD a = dup(0);
        VDT_AUTO_FD b = dup(0);
        closed = a;
        stolen = vdt_steal_fd(&b);
        cr_assert_eq(b, -1);
    }
    cr_assert_not(is_open(closed));
    cr_assert(is_open(stolen));
    vdt_close(stolen);
}

Test(fd, eventfd_is_empty_at_first_and_drained_at_once)
{
    VDT_AUTO_FD fd = vdt_eventfd(NULL);

    cr_assert_not(vdt_event_drain(fd));
    for (unsigned i = 0; i < 10; i++)
        vdt_event_signal(fd);
    cr_assert(vdt_event_drain(fd));
    cr_assert_not(vdt_event_drain(fd));
}

Test(fd, full_eventfd_does_not_block_its_signaller)
{
    VDT_AUTO_FD fd = vdt_eventfd(NULL);
    uint64_t full = UINT64_MAX - 1;

    cr_assert_eq(write(fd, &full, sizeof(full)), sizeof(full));
    vdt_event_signal(fd);
    cr_assert(vdt_event_drain(fd));
    cr_assert_not(vdt_event_drain(fd));
}

Test(fd, sockets_serve_as_events_too)
{
    int pair[2];

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    for (unsigned i = 0; i < 9; i++)
        vdt_event_signal(pair[0]);
    cr_assert(vdt_event_drain(pair[1]));
    cr_assert_not(vdt_event_drain(pair[1]));
    for (unsigned i = 0; i < 1000000; i++) /* until the buffer is full, and then some */
        vdt_event_signal(pair[0]);
    cr_assert(vdt_event_drain(pair[1]));
    vdt_close(pair[0]);
    vdt_close(pair[1]);
}

Test(fd, signalling_no_descriptor_is_harmless)
{
    vdt_event_signal(-1);
    cr_assert_not(vdt_event_drain(-1));
}

Test(fd, nonblocking_is_set_beside_other_flags)
{
    VDT_AUTO_FD fd = open("/dev/null", O_WRONLY | O_APPEND | O_CLOEXEC);
    g_autoptr(GError) error = NULL;

    cr_assert(vdt_set_nonblocking(fd, &error));
    cr_assert_eq(fcntl(fd, F_GETFL) & (O_NONBLOCK | O_APPEND), O_NONBLOCK | O_APPEND);
    cr_assert_not(vdt_set_nonblocking(-1, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_FAILED));
}

Test(fd, memfd_has_its_size_and_can_be_sealed)
{
    VDT_AUTO_FD fd = vdt_memfd("test", 12345, NULL);
    struct stat st;

    cr_assert_eq(fstat(fd, &st), 0);
    cr_assert_eq(st.st_size, 12345);
    cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    cr_assert_neq(ftruncate(fd, 1), 0);
}

Test(fd, everything_made_here_is_closed_on_exec)
{
    VDT_AUTO_FD event = vdt_eventfd(NULL);
    VDT_AUTO_FD memory = vdt_memfd("test", 1, NULL);

    cr_assert(fcntl(event, F_GETFD) & FD_CLOEXEC);
    cr_assert(fcntl(memory, F_GETFD) & FD_CLOEXEC);
}

Test(fd, running_out_of_descriptors_is_an_error)
{
    g_autoptr(GError) event = NULL, memory = NULL;
    struct rlimit limit;

    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    struct rlimit none = {0, limit.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    int event_fd = vdt_eventfd(&event), memory_fd = vdt_memfd("test", 1, &memory);
    setrlimit(RLIMIT_NOFILE, &limit);
    cr_assert_eq(event_fd, -1);
    cr_assert(g_error_matches(event, VDT_ERROR, VDT_ERROR_FAILED));
    cr_assert_eq(memory_fd, -1);
    cr_assert(g_error_matches(memory, VDT_ERROR, VDT_ERROR_FAILED));
}

Test(fd, memfd_of_impossible_size_leaves_no_descriptor)
{
    g_autoptr(GError) error = NULL;
    int next = dup(0);

    vdt_close(next);
    cr_assert_eq(vdt_memfd("test", SIZE_MAX, &error), -1);
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_FAILED));
    cr_assert_not(is_open(next));
}
