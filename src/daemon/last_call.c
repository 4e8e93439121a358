/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/last_call.h"

#include <glib-unix.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

#include "base/log.h"

struct vdt_last_call {
    unsigned patience_ms;
    char **paths; /* owned */
    GMainContext *context;
    GMainLoop *loop;
    GThread *thread;
    bool heard; /* the thread's */
};

static gboolean
on_late(gpointer data)
{
    struct vdt_last_call *call = data;

    vdt_warning("asked to end %u ms ago and still waiting for the device or the VMM: ending "
                "without them",
                call->patience_ms);
    for (char **path = call->paths; *path; path++)
        unlink(*path);
    _exit(1);
}

static void
add(struct vdt_last_call *call, GSource *source, GSourceFunc callback)
{
    g_source_set_callback(source, callback, call, NULL);
    g_source_attach(source, call->context);
    g_source_unref(source);
}

static gboolean
on_signal(gpointer data)
{
    struct vdt_last_call *call = data;

    if (!call->heard)
        add(call, g_timeout_source_new(call->patience_ms), on_late);
    call->heard = true;
    return G_SOURCE_CONTINUE;
}

static gpointer
run(gpointer data)
{
    struct vdt_last_call *call = data;

    g_main_loop_run(call->loop);
    return NULL;
}

struct vdt_last_call *
vdt_last_call_new(unsigned patience_ms, const char *const *paths)
{
    VDT_AUTO(last_call) call = g_new0(struct vdt_last_call, 1);

    call->patience_ms = patience_ms;
    call->paths = g_strdupv((char **) paths);
    call->context = g_main_context_new();
    call->loop = g_main_loop_new(call->context, FALSE);
    add(call, g_unix_signal_source_new(SIGTERM), on_signal);
    add(call, g_unix_signal_source_new(SIGINT), on_signal);
    add(call, g_unix_signal_source_new(SIGHUP), on_signal);
    call->thread = g_thread_try_new("last-call", run, call, NULL);
    return call->thread ? g_steal_pointer(&call) : NULL;
}

static gboolean
quit(gpointer data)
{
    struct vdt_last_call *call = data;

    g_main_loop_quit(call->loop);
    return G_SOURCE_REMOVE;
}

void
vdt_last_call_free(struct vdt_last_call *call)
{
    if (!call)
        return;
    if (call->thread) {
        /* From within the loop, which may not have begun to run. */
        add(call, g_idle_source_new(), quit);
        g_thread_join(call->thread);
    }
    g_main_loop_unref(call->loop);
    g_main_context_unref(call->context);
    g_strfreev(call->paths);
    g_free(call);
}
