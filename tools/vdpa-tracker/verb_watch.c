/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>

#include "tools/vdpa-tracker/verb.h"

#include "config.h"

#ifdef HAVE_LIBVIRT
#include "tools/vdpa-tracker/watch_link.h"
#include "tools/vdpa-tracker/watch_trackers.h"

#define RETRY_MS 1000u
#define RETRY_MAX_MS 30000u
#define ASK_MS 1000u

struct follower {
    GMainLoop *loop;
    struct vdt_watch *watch;
    struct vdt_watch_trackers *trackers;
    char *metrics_path; /* owned, NULL: none wanted */
    bool metrics_failed;
};

static void
on_told(void *ctx)
{
    struct follower *follower = ctx;
    g_autoptr(GError) error = NULL;

    vdt_watch_trackers_look(follower->trackers);
    if (ferror(stdout))
        g_main_loop_quit(follower->loop);
    if (!follower->metrics_path)
        return;
    g_autofree char *text = vdt_watch_metrics(follower->watch);
    bool failed = !g_file_set_contents_full(follower->metrics_path, text, -1,
                                            G_FILE_SET_CONTENTS_CONSISTENT, 0644, &error);
    if (failed && !follower->metrics_failed)
        fprintf(stderr, "vdpa-tracker: --metrics-file: %s\n", error->message);
    follower->metrics_failed = failed;
}

static gboolean
on_signal(gpointer data)
{
    g_main_loop_quit(data);
    return G_SOURCE_CONTINUE;
}

static void
run(struct follower *follower, const char *uri, bool json)
{
    const struct vdt_watch_link_options options = {uri, RETRY_MS, RETRY_MAX_MS, ASK_MS};

    follower->loop = g_main_loop_new(NULL, FALSE);
    follower->watch = vdt_watch_new(stdout, json);
    follower->trackers = vdt_watch_trackers_new(follower->watch);
    guint interrupt = g_unix_signal_add(SIGINT, on_signal, follower->loop);
    guint term = g_unix_signal_add(SIGTERM, on_signal, follower->loop);
    struct vdt_watch_link *link = vdt_watch_link_new(&options, follower->watch, on_told, follower);
    g_main_loop_run(follower->loop);
    vdt_watch_link_free(link);
    g_source_remove(term);
    g_source_remove(interrupt);
    vdt_watch_trackers_free(follower->trackers);
    vdt_watch_free(follower->watch);
    g_main_loop_unref(follower->loop);
}
#endif

int
vdt_verb_watch(const struct vdt_verb *verb, int argc, char **argv)
{
    gboolean json = FALSE;
    g_autofree char *uri = NULL;
    g_autofree char *metrics = NULL;
    const GOptionEntry entries[] = {
        {"connect", 'c', 0, G_OPTION_ARG_STRING, &uri, "libvirt's connection, else its default",
         "URI"},
        {"json", 'j', 0, G_OPTION_ARG_NONE, &json, "One JSON object a line", NULL},
        {"metrics-file", 'm', 0, G_OPTION_ARG_FILENAME, &metrics,
         "Keep metrics there for node_exporter's textfile collector", "FILE"},
        {NULL},
    };
    int exit_code;

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 0, 0, &exit_code))
        return exit_code;
#ifdef HAVE_LIBVIRT
    struct follower follower = {.metrics_path = metrics};
    run(&follower, uri, json);
    return VDT_EXIT_DONE;
#else
    return vdt_verb_fail(json, g_error_new_literal(VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                                                   "this build has no libvirt, so that there is "
                                                   "nothing to watch"));
#endif
}
