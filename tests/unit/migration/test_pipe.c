/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "migration/pipe.h"

#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"

VDT_SUITE(pipe);

/* Longer than a pipe holds at once. */
#define LONG (300u * 1024u)

static GBytes *
pattern(size_t len)
{
    uint8_t *bytes = g_malloc(len);

    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t) (i * 7 + i / 251);
    return g_bytes_new_take(bytes, len);
}

Test(pipe, long_state_goes_through_whole)
{
    g_autoptr(GBytes) state = pattern(LONG);
    int ends[2];

    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    VDT_AUTO(pipe) source = vdt_pipe_source(ends[1], state, 2000, NULL);
    VDT_AUTO(pipe) target = vdt_pipe_target(ends[0], LONG, 2000, NULL);
    cr_assert(vdt_pipe_is_source(source) && !vdt_pipe_is_source(target));
    cr_assert(vdt_pipe_finish(target, NULL));
    cr_assert(vdt_pipe_finish(source, NULL));
    cr_assert(g_bytes_equal(vdt_pipe_bytes(target), state));
    cr_assert_null(vdt_pipe_bytes(source));
}

Test(pipe, state_over_the_cap_is_refused)
{
    g_autoptr(GBytes) state = pattern(1001);
    g_autoptr(GError) error = NULL;
    int ends[2];

    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    VDT_AUTO(pipe) source = vdt_pipe_source(ends[1], state, 2000, NULL);
    VDT_AUTO(pipe) target = vdt_pipe_target(ends[0], 1000, 2000, NULL);
    cr_assert(!vdt_pipe_finish(target, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_INVALID));
    vdt_pipe_finish(source, NULL);
}

Test(pipe, peer_that_does_not_read_is_given_up)
{
    g_autoptr(GBytes) state = pattern(LONG);
    g_autoptr(GError) error = NULL;
    int ends[2];

    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    VDT_AUTO(pipe) source = vdt_pipe_source(ends[1], state, 50, NULL);
    cr_assert(!vdt_pipe_finish(source, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_TIMEOUT));
    vdt_close(ends[0]);
}

Test(pipe, peer_that_does_not_write_is_given_up)
{
    g_autoptr(GError) error = NULL;
    int ends[2];

    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    VDT_AUTO(pipe) target = vdt_pipe_target(ends[0], 100, 50, NULL);
    cr_assert(!vdt_pipe_finish(target, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_TIMEOUT));
    vdt_close(ends[1]);
}

/* Bytes that come one by one, each within the deadline, are no way to keep the control thread. */
Test(pipe, peer_that_asks_for_the_result_and_goes_on_is_given_up)
{
    int64_t began = g_get_monotonic_time();
    g_autoptr(GError) error = NULL;
    int ends[2];

    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    VDT_AUTO(pipe) target = vdt_pipe_target(ends[0], 100, 30000, NULL);
    cr_assert_eq(write(ends[1], "x", 1), 1);
    cr_assert(!vdt_pipe_finish(target, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_TIMEOUT));
    cr_assert_lt(g_get_monotonic_time() - began, 4 * G_USEC_PER_SEC);
    vdt_close(ends[1]);
}

Test(pipe, freeing_an_unfinished_transfer_does_not_wait_for_it)
{
    int64_t began = g_get_monotonic_time();
    int ends[2];

    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    vdt_pipe_free(vdt_pipe_target(ends[0], 100, 30000, NULL));
    cr_assert_lt(g_get_monotonic_time() - began, G_USEC_PER_SEC);
    vdt_close(ends[1]);
    vdt_pipe_free(NULL);
}

Test(pipe, bad_descriptor_is_an_error)
{
    g_autoptr(GError) error = NULL;

    cr_assert_null(vdt_pipe_target(-1, 100, 100, &error));
    cr_assert_not_null(error);
}
