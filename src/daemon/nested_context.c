/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/nested_context.h"

#include <stdbool.h>
#include <string.h>

#define FDS_MAX 16u

struct nested {
    GSource source;
    GMainContext *inner; /* owned reference */
    GPollFD fds[FDS_MAX];
    guint count;
    gint priority; /* of what is ready inside, by prepare() */
};

/* The inner context's descriptors become ours; most times they are the same as before. */
static void
take_fds(struct nested *nested, const GPollFD *fds, guint count)
{
    bool same = count == nested->count;

    for (guint i = 0; same && i < count; i++)
        same = fds[i].fd == nested->fds[i].fd && fds[i].events == nested->fds[i].events;
    if (same)
        return;
    for (guint i = 0; i < nested->count; i++)
        g_source_remove_poll(&nested->source, &nested->fds[i]);
    memcpy(nested->fds, fds, count * sizeof(*fds));
    nested->count = count;
    for (guint i = 0; i < count; i++)
        g_source_add_poll(&nested->source, &nested->fds[i]);
}

static gboolean
nested_prepare(GSource *source, gint *ret_timeout)
{
    struct nested *nested = (struct nested *) source;
    GPollFD fds[FDS_MAX];

    if (!g_main_context_acquire(nested->inner))
        return FALSE;
    gboolean ready = g_main_context_prepare(nested->inner, &nested->priority);
    gint n = g_main_context_query(nested->inner, G_MAXINT, ret_timeout, fds, FDS_MAX);
    g_main_context_release(nested->inner);
    g_assert(n <= (gint) FDS_MAX); /* only the control queue's few sources live in there */
    take_fds(nested, fds, (guint) n);
    return ready;
}

static gboolean
nested_check(GSource *source)
{
    struct nested *nested = (struct nested *) source;

    if (!g_main_context_acquire(nested->inner))
        return FALSE;
    gboolean ready =
        g_main_context_check(nested->inner, G_MAXINT, nested->fds, (gint) nested->count);
    g_main_context_release(nested->inner);
    return ready;
}

static gboolean
nested_dispatch(GSource *source, GSourceFunc callback, gpointer data)
{
    struct nested *nested = (struct nested *) source;

    /* A whole turn of its own rather than the one prepared: anything may have run the inner context
     * since then. */
    g_main_context_iteration(nested->inner, FALSE);
    return G_SOURCE_CONTINUE;
}

static void
nested_finalize(GSource *source)
{
    struct nested *nested = (struct nested *) source;

    g_main_context_unref(nested->inner);
}

static GSourceFuncs nested_funcs = {
    .prepare = nested_prepare,
    .check = nested_check,
    .dispatch = nested_dispatch,
    .finalize = nested_finalize,
};

GSource *
vdt_nested_context_source(GMainContext *inner)
{
    GSource *source = g_source_new(&nested_funcs, sizeof(struct nested));
    struct nested *nested = (struct nested *) source;

    nested->inner = g_main_context_ref(inner);
    g_source_set_static_name(source, "nested context");
    return source;
}
