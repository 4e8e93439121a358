/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <sys/socket.h>

#include "base/fd.h"
#include "base/source.h"

VDT_SUITE(source);

struct counter {
    unsigned runs;
    GSource *source; /* to be given back in the callback */
};

static void
count(void *ctx)
{
    struct counter *counter = ctx;

    counter->runs++;
    if (counter->source)
        vdt_source_clear(&counter->source);
}

static void
turn(GMainContext *context)
{
    for (unsigned i = 0; i < 3; i++)
        g_main_context_iteration(context, FALSE);
}

Test(source, an_event_runs_once_for_all_that_was_pending)
{
    g_autoptr(GMainContext) context = g_main_context_new();
    VDT_AUTO_FD fd = vdt_eventfd(NULL);
    struct counter counter = {0};
    GSource *source = vdt_event_source_new(context, fd, count, &counter);

    vdt_event_signal(fd);
    vdt_event_signal(fd);
    turn(context);
    cr_assert_eq(counter.runs, 1);
    vdt_source_clear(&source);
    vdt_event_signal(fd);
    turn(context);
    cr_assert_eq(counter.runs, 1);
    cr_assert_null(source);
}

Test(source, a_peer_that_hangs_up_is_not_listened_to_any_more)
{
    g_autoptr(GMainContext) context = g_main_context_new();
    struct counter counter = {0};
    int ends[2];

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    GSource *source = vdt_event_source_new(context, ends[0], count, &counter);
    vdt_event_signal(ends[1]);
    vdt_close(ends[1]);
    turn(context);
    cr_assert_eq(counter.runs, 1);
    cr_assert(g_source_is_destroyed(source));
    vdt_source_clear(&source);
    vdt_close(ends[0]);
}

Test(source, a_clock_runs_once_for_each_time_it_was_set)
{
    g_autoptr(GMainContext) context = g_main_context_new();
    struct counter counter = {0};
    GSource *clock = vdt_clock_source_new(context, count, &counter);

    turn(context);
    cr_assert_eq(counter.runs, 0);
    g_source_set_ready_time(clock, g_get_monotonic_time() - 1);
    turn(context);
    cr_assert_eq(counter.runs, 1);
    g_source_set_ready_time(clock, g_get_monotonic_time() + G_TIME_SPAN_HOUR);
    turn(context);
    cr_assert_eq(counter.runs, 1);
    vdt_source_clear(&clock);
}

Test(source, a_source_may_be_given_back_in_its_own_callback)
{
    g_autoptr(GMainContext) context = g_main_context_new();
    VDT_AUTO_FD fd = vdt_eventfd(NULL);
    struct counter event = {0}, clock = {0};

    event.source = vdt_event_source_new(context, fd, count, &event);
    clock.source = vdt_clock_source_new(context, count, &clock);
    vdt_event_signal(fd);
    g_source_set_ready_time(clock.source, 0);
    turn(context);
    cr_assert_eq(event.runs, 1);
    cr_assert_eq(clock.runs, 1);
}
