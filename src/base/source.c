/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/source.h"

static guint
attach(GMainContext *context, GSource *source, GSourceFunc fn, gpointer data)
{
    g_source_set_callback(source, fn, data, NULL);
    guint id = g_source_attach(source, context);
    g_source_unref(source);
    return id;
}

guint
vdt_watch_fd(GMainContext *context, int fd, GUnixFDSourceFunc fn, gpointer data)
{
    return attach(context, g_unix_fd_source_new(fd, G_IO_IN), G_SOURCE_FUNC(fn), data);
}

guint
vdt_watch_time(GMainContext *context, unsigned ms, GSourceFunc fn, gpointer data)
{
    return attach(context, g_timeout_source_new(ms), fn, data);
}

void
vdt_unwatch(GMainContext *context, guint *id)
{
    if (*id) {
        GSource *source = g_main_context_find_source_by_id(context, *id);
        if (source)
            g_source_destroy(source);
    }
    *id = 0;
}
