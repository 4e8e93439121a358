/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/watch_trackers.h"

#include <gio/gio.h>

#include "tools/vdpa-tracker/tracker_list.h"

#define WAIT_MS 1000u
#define LOOK_MS 200u

struct vdt_watch_trackers {
    struct vdt_watch *watch;
    GHashTable *asked; /* owned: names of trackers that have not answered yet */
    guint timer;
};

struct question {
    struct vdt_watch_trackers *trackers; /* borrowed: free() waits */
    char *uuid, *mac, *tracker;          /* owned */
};

static struct vdt_watch_time
now(void)
{
    return (struct vdt_watch_time){g_get_real_time(), g_get_monotonic_time()};
}

static void
free_question(gpointer data)
{
    struct question *q = data;

    g_free(q->uuid);
    g_free(q->mac);
    g_free(q->tracker);
    g_free(q);
}

static void
ask(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    struct question *q = data;

    g_task_return_pointer(task, vdt_tracker_list(q->tracker, WAIT_MS, NULL),
                          (GDestroyNotify) g_ptr_array_unref);
}

static void
on_answer(GObject *object, GAsyncResult *result, gpointer data)
{
    struct question *q = g_task_get_task_data(G_TASK(result));
    g_autoptr(GPtrArray) list = g_task_propagate_pointer(G_TASK(result), NULL);
    const struct vdt_listed_tracker *tracker = list && list->len > 0 ? list->pdata[0] : NULL;

    /* One that is there and does not answer in time may do so the next time. */
    if (!tracker || tracker->status)
        vdt_watch_tracker(q->trackers->watch, q->uuid, q->mac, tracker ? tracker->status : NULL,
                          now());
    g_hash_table_remove(q->trackers->asked, q->tracker);
}

static void
look_at(void *ctx, const char *uuid, enum vdt_watch_phase phase, const char *mac,
        const char *tracker)
{
    struct vdt_watch_trackers *trackers = ctx;

    if (!g_hash_table_add(trackers->asked, g_strdup(tracker)))
        return;
    struct question *q = g_new0(struct question, 1);
    *q = (struct question){trackers, g_strdup(uuid), g_strdup(mac), g_strdup(tracker)};
    GTask *task = g_task_new(NULL, NULL, on_answer, NULL);
    g_task_set_task_data(task, q, free_question);
    g_task_run_in_thread(task, ask);
    g_object_unref(task);
}

void
vdt_watch_trackers_look(struct vdt_watch_trackers *trackers)
{
    vdt_watch_migrating(trackers->watch, now(), look_at, trackers);
}

static gboolean
on_timer(gpointer data)
{
    vdt_watch_trackers_look(data);
    return G_SOURCE_CONTINUE;
}

struct vdt_watch_trackers *
vdt_watch_trackers_new(struct vdt_watch *watch)
{
    struct vdt_watch_trackers *trackers = g_new0(struct vdt_watch_trackers, 1);

    trackers->watch = watch;
    trackers->asked = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    trackers->timer = g_timeout_add(LOOK_MS, on_timer, trackers);
    return trackers;
}

void
vdt_watch_trackers_free(struct vdt_watch_trackers *trackers)
{
    if (!trackers)
        return;
    g_source_remove(trackers->timer);
    while (g_hash_table_size(trackers->asked) > 0)
        g_main_context_iteration(NULL, TRUE);
    g_hash_table_unref(trackers->asked);
    g_free(trackers);
}
