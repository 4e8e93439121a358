/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/source.h"

#include "base/fd.h"

struct clock_source {
    GSource source;
    vdt_source_run run;
    void *ctx;
};

static gboolean
run_clock(GSource *source, GSourceFunc callback, gpointer user_data)
{
    struct clock_source *clock = (struct clock_source *) source;

    g_source_set_ready_time(source, -1);
    clock->run(clock->ctx);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs clock_funcs = {.dispatch = run_clock};

GSource *
vdt_clock_source_new(GMainContext *context, vdt_source_run run, void *ctx)
{
    GSource *source = g_source_new(&clock_funcs, sizeof(struct clock_source));
    struct clock_source *clock = (struct clock_source *) source;

    clock->run = run;
    clock->ctx = ctx;
    g_source_set_static_name(source, "vdt clock");
    g_source_attach(source, context);
    return source;
}

struct event_source {
    GSource source;
    vdt_source_run run;
    void *ctx;
    int fd;
    gpointer tag;
};

static gboolean
run_event(GSource *source, GSourceFunc callback, gpointer user_data)
{
    struct event_source *event = (struct event_source *) source;
    GIOCondition condition = g_source_query_unix_fd(source, event->tag);

    if (!vdt_event_drain(event->fd) && condition & (G_IO_HUP | G_IO_ERR | G_IO_NVAL))
        return G_SOURCE_REMOVE;
    event->run(event->ctx);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs event_funcs = {.dispatch = run_event};

GSource *
vdt_event_source_new(GMainContext *context, int fd, vdt_source_run run, void *ctx)
{
    GSource *source = g_source_new(&event_funcs, sizeof(struct event_source));
    struct event_source *event = (struct event_source *) source;

    event->run = run;
    event->ctx = ctx;
    event->fd = fd;
    event->tag = g_source_add_unix_fd(source, fd, G_IO_IN);
    g_source_set_static_name(source, "vdt event");
    g_source_attach(source, context);
    return source;
}

void
vdt_source_clear(GSource **source)
{
    if (!*source)
        return;
    g_source_destroy(*source);
    g_source_unref(*source);
    *source = NULL;
}
