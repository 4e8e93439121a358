/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "daemon/nested_context.h"

#include <glib-unix.h>

#include "base/fd.h"

VDT_SUITE(nested_context);

struct pair {
    GMainContext *outer, *inner;
    GSource *source;
};

static void
init(struct pair *pair)
{
    pair->outer = g_main_context_new();
    pair->inner = g_main_context_new();
    pair->source = vdt_nested_context_source(pair->inner);
    g_source_attach(pair->source, pair->outer);
}

static void
clear(struct pair *pair)
{
    g_source_destroy(pair->source);
    g_source_unref(pair->source);
    g_main_context_unref(pair->inner);
    g_main_context_unref(pair->outer);
}

static gboolean
count(gpointer data)
{
    ++*(int *) data;
    return G_SOURCE_REMOVE;
}

static gboolean
drain(gint fd, GIOCondition condition, gpointer data)
{
    ++*(int *) data;
    vdt_event_drain(fd);
    return G_SOURCE_CONTINUE;
}

static void
add(GSource *source, GMainContext *context, GSourceFunc f, int *counter)
{
    g_source_set_callback(source, f, counter, NULL);
    g_source_attach(source, context);
    g_source_unref(source);
}

Test(nested_context, outer_loop_drives_timers_and_descriptors_within)
{
    struct pair pair;
    int idles = 0, timers = 0, events = 0;
    VDT_AUTO_FD fd = vdt_eventfd(NULL);

    init(&pair);
    add(g_idle_source_new(), pair.inner, count, &idles);
    add(g_timeout_source_new(5), pair.inner, count, &timers);
    GSource *watch = g_unix_fd_source_new(fd, G_IO_IN);
    g_source_set_callback(watch, G_SOURCE_FUNC(drain), &events, NULL);
    g_source_attach(watch, pair.inner);
    for (int i = 0; i < 3; i++) {
        vdt_event_signal(fd);
        while (events == i)
            g_main_context_iteration(pair.outer, TRUE);
    }
    while (timers == 0)
        g_main_context_iteration(pair.outer, TRUE);
    cr_assert_eq(idles, 1);
    cr_assert_eq(events, 3);
    g_source_destroy(watch);
    g_source_unref(watch);
    clear(&pair);
}

Test(nested_context, running_the_inner_one_runs_nothing_of_the_outer)
{
    struct pair pair;
    int outer = 0, inner = 0;

    init(&pair);
    add(g_idle_source_new(), pair.outer, count, &outer);
    add(g_idle_source_new(), pair.inner, count, &inner);
    while (g_main_context_iteration(pair.inner, FALSE))
        ;
    cr_assert_eq(inner, 1);
    cr_assert_eq(outer, 0);
    while (g_main_context_iteration(pair.outer, FALSE))
        ;
    cr_assert_eq(outer, 1);
    cr_assert_eq(inner, 1);
    clear(&pair);
}
