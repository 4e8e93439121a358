/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/watch_link.h"

#include <gio/gio.h>
#include <libvirt-glib/libvirt-glib-event.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define KEEPALIVE_S 5
#define KEEPALIVE_TRIES 3u
#define EVENTS 4u

struct vdt_watch_link {
    struct vdt_watch_link_options options;
    char *uri; /* owned */
    struct vdt_watch *watch;
    void (*told)(void *ctx);
    void *ctx;

    virConnectPtr connection; /* NULL: none */
    int events[EVENTS];       /* callbacks' numbers, -1: not registered */
    unsigned wait_ms;         /* before the next try */
    guint retry, ask;         /* sources, 0: none */
    GCancellable *end;        /* of the questions about migrations on this connection */
    unsigned asking;
};

/* What libvirt says and we do not care about is nobody's news. */
static void
be_quiet(void *ctx, virErrorPtr error)
{
}

static const char *
reason(void)
{
    const virError *why = virGetLastError();

    return why && why->message ? why->message : "libvirt does not say why";
}

static struct vdt_watch_time
now(void)
{
    return (struct vdt_watch_time){g_get_real_time(), g_get_monotonic_time()};
}

static void
say_told(struct vdt_watch_link *link)
{
    if (link->told)
        link->told(link->ctx);
}

/* --- libvirt's words in ours --- */

static const struct {
    int event, detail; /* -1: every other */
    enum vdt_watch_event ours;
} lifecycle[] = {
    {VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED, VDT_WATCH_STARTED_INCOMING},
    {VIR_DOMAIN_EVENT_STARTED, -1, VDT_WATCH_STARTED},
    {VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED, VDT_WATCH_SUSPENDED_MIGRATED},
    {VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY, VDT_WATCH_SUSPENDED_MIGRATED},
    {VIR_DOMAIN_EVENT_SUSPENDED, -1, VDT_WATCH_SUSPENDED},
    {VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_MIGRATED, VDT_WATCH_RESUMED_MIGRATED},
    {VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_POSTCOPY, VDT_WATCH_RESUMED_MIGRATED},
    {VIR_DOMAIN_EVENT_RESUMED, -1, VDT_WATCH_RESUMED},
    {VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED, VDT_WATCH_STOPPED_MIGRATED},
    {VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_FAILED, VDT_WATCH_STOPPED_FAILED},
    {VIR_DOMAIN_EVENT_STOPPED, -1, VDT_WATCH_STOPPED},
    {VIR_DOMAIN_EVENT_CRASHED, -1, VDT_WATCH_STOPPED_FAILED},
};

static bool
uuid_of(virDomainPtr domain, char uuid[VIR_UUID_STRING_BUFLEN])
{
    return virDomainGetUUIDString(domain, uuid) == 0;
}

/* Operation of the domain's job, VIR_DOMAIN_JOB_OPERATION_UNKNOWN: none, or it cannot be asked.
 * @ret_none: there surely is none. */
static int
job_of(virDomainPtr domain, bool *ret_none)
{
    virTypedParameterPtr params = NULL;
    int count = 0, type = VIR_DOMAIN_JOB_NONE, operation = VIR_DOMAIN_JOB_OPERATION_UNKNOWN;
    bool asked = virDomainGetJobStats(domain, &type, &params, &count, 0) == 0;

    *ret_none = asked && type == VIR_DOMAIN_JOB_NONE;
    if (asked && type != VIR_DOMAIN_JOB_NONE)
        virTypedParamsGetInt(params, count, VIR_DOMAIN_JOB_OPERATION, &operation);
    virTypedParamsFree(params, count);
    return operation;
}

static enum vdt_watch_event
found(virDomainPtr domain)
{
    int state, why;
    bool none;

    if (virDomainGetState(domain, &state, &why, 0) < 0)
        return VDT_WATCH_FOUND_OFF;
    switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
        return job_of(domain, &none) == VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT
                   ? VDT_WATCH_FOUND_PRECOPY
                   : VDT_WATCH_FOUND_RUNNING;
    case VIR_DOMAIN_PAUSED:
        if (job_of(domain, &none) == VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN)
            return VDT_WATCH_FOUND_INCOMING;
        return why == VIR_DOMAIN_PAUSED_MIGRATION ? VDT_WATCH_FOUND_HANDOVER
                                                  : VDT_WATCH_FOUND_PAUSED;
    case VIR_DOMAIN_SHUTDOWN:
    case VIR_DOMAIN_PMSUSPENDED:
        return VDT_WATCH_FOUND_PAUSED;
    default:
        return VDT_WATCH_FOUND_OFF;
    }
}

/* Its NICs, as they are now. False: it has none of ours, or is not there any more. */
static bool
read_domain(struct vdt_watch_link *link, virDomainPtr domain, const char *uuid)
{
    g_autoptr(GError) error = NULL;
    char *xml = virDomainGetXMLDesc(domain, 0);
    struct vdt_domain *read = xml ? vdt_domain_parse(xml, strlen(xml), &error) : NULL;

    if (error)
        vdt_warning("%s: %s", virDomainGetName(domain), error->message);
    if (read)
        vdt_watch_domain(link->watch, read, now());
    free(xml);
    return vdt_watch_has(link->watch, uuid);
}

/* --- what it tells --- */

static int
on_lifecycle(virConnectPtr connection, virDomainPtr domain, int event, int detail, void *opaque)
{
    struct vdt_watch_link *link = opaque;
    struct vdt_watch_time when = now(); /* before anything is asked */
    char uuid[VIR_UUID_STRING_BUFLEN];

    if (!uuid_of(domain, uuid))
        return 0;
    /* Not in the middle of a migration: what is asked then delays what is told next. */
    if ((event == VIR_DOMAIN_EVENT_DEFINED || event == VIR_DOMAIN_EVENT_STARTED) &&
        !vdt_watch_migrates(link->watch, uuid))
        read_domain(link, domain, uuid);
    for (unsigned i = 0; i < G_N_ELEMENTS(lifecycle); i++) {
        if (lifecycle[i].event == event &&
            (lifecycle[i].detail == detail || lifecycle[i].detail == -1)) {
            vdt_watch_event(link->watch, uuid, lifecycle[i].ours, 0, when);
            break;
        }
    }
    say_told(link);
    return 0;
}

static void
on_pass(virConnectPtr connection, virDomainPtr domain, int iteration, void *opaque)
{
    struct vdt_watch_link *link = opaque;
    char uuid[VIR_UUID_STRING_BUFLEN];

    if (uuid_of(domain, uuid))
        vdt_watch_event(link->watch, uuid, VDT_WATCH_PASS, (unsigned) MAX(iteration, 0), now());
    say_told(link);
}

static gint64
number_of(virTypedParameterPtr params, int count, const char *name)
{
    unsigned long long value;

    return virTypedParamsGetULLong(params, count, name, &value) == 1 ? (gint64) value : -1;
}

static void
on_job(virConnectPtr connection, virDomainPtr domain, virTypedParameterPtr params, int count,
       void *opaque)
{
    struct vdt_watch_link *link = opaque;
    int operation = VIR_DOMAIN_JOB_OPERATION_UNKNOWN;
    char uuid[VIR_UUID_STRING_BUFLEN];

    virTypedParamsGetInt(params, count, VIR_DOMAIN_JOB_OPERATION, &operation);
    if (!uuid_of(domain, uuid) || (operation != VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT &&
                                   operation != VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN))
        return;
    const struct vdt_watch_job job = {
        .elapsed_ms = number_of(params, count, VIR_DOMAIN_JOB_TIME_ELAPSED),
        .downtime_ms = number_of(params, count, VIR_DOMAIN_JOB_DOWNTIME),
        .bytes = number_of(params, count, VIR_DOMAIN_JOB_DATA_PROCESSED),
    };
    vdt_watch_job(link->watch, uuid, &job, now());
    say_told(link);
}

static void
on_metadata(virConnectPtr connection, virDomainPtr domain, int type, const char *ns, void *opaque)
{
    struct vdt_watch_link *link = opaque;
    char uuid[VIR_UUID_STRING_BUFLEN];

    if (type != VIR_DOMAIN_METADATA_ELEMENT || g_strcmp0(ns, VDT_LIBVIRT_NAMESPACE) != 0 ||
        !uuid_of(domain, uuid))
        return;
    bool before = vdt_watch_has(link->watch, uuid);
    if (read_domain(link, domain, uuid) && !before)
        vdt_watch_event(link->watch, uuid, found(domain), 0, now());
    say_told(link);
}

/* --- the connection --- */

static gboolean on_retry(gpointer data);
static gboolean on_lost(gpointer data);

static void
on_close(virConnectPtr connection, int why, void *opaque)
{
    struct vdt_watch_link *link = opaque;

    /* Called from within libvirt, which goes on with the connection afterwards. */
    if (why != VIR_CONNECT_CLOSE_REASON_CLIENT && !link->retry)
        link->retry = g_idle_add(on_lost, link);
}

static void
drop(struct vdt_watch_link *link)
{
    g_clear_handle_id(&link->ask, g_source_remove);
    g_cancellable_cancel(link->end);
    g_object_unref(link->end);
    link->end = g_cancellable_new();
    link->asking = 0;
    if (!link->connection)
        return;
    for (unsigned i = 0; i < EVENTS; i++) {
        if (link->events[i] >= 0)
            virConnectDomainEventDeregisterAny(link->connection, link->events[i]);
    }
    virConnectUnregisterCloseCallback(link->connection, on_close);
    virConnectClose(link->connection);
    link->connection = NULL;
}

static void
try_later(struct vdt_watch_link *link, const char *why)
{
    g_clear_handle_id(&link->retry, g_source_remove); /* the same, told from within libvirt */
    g_autofree char *text =
        g_strdup_printf("%s; the next try is in %.1f s", why, (double) link->wait_ms / 1000);

    vdt_watch_lost(link->watch, text, now());
    drop(link);
    link->retry = g_timeout_add(link->wait_ms, on_retry, link);
    link->wait_ms = MIN(link->wait_ms * 2, link->options.retry_max_ms);
    say_told(link);
}

static gboolean
on_lost(gpointer data)
{
    struct vdt_watch_link *link = data;

    link->retry = 0;
    try_later(link, "the connection broke");
    return G_SOURCE_REMOVE;
}

/* A migration that is given up before the guest stood still: no event tells. Asked in a thread of
 * its own, since a QEMU that is busy with its backends does not answer for a while. */
struct question {
    struct vdt_watch_link *link; /* borrowed; not to be looked at once cancelled */
    virDomainPtr domain;         /* owned */
    bool none;
};

static void
free_question(gpointer data)
{
    struct question *q = data;

    virDomainFree(q->domain);
    g_free(q);
}

static void
ask(GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
    struct question *q = data;

    job_of(q->domain, &q->none);
    g_task_return_boolean(task, TRUE);
}

static void
on_answer(GObject *object, GAsyncResult *result, gpointer data)
{
    struct question *q = g_task_get_task_data(G_TASK(result));
    char uuid[VIR_UUID_STRING_BUFLEN];

    if (!g_task_propagate_boolean(G_TASK(result), NULL)) /* cancelled */
        return;
    q->link->asking--;
    if (!q->none || !uuid_of(q->domain, uuid))
        return;
    vdt_watch_event(q->link->watch, uuid, VDT_WATCH_JOB_GONE, 0, now());
    vdt_watch_event(q->link->watch, uuid, found(q->domain), 0, now());
    say_told(q->link);
}

static void
ask_one(void *ctx, const char *uuid, enum vdt_watch_phase phase, const char *mac,
        const char *tracker)
{
    struct vdt_watch_link *link = ctx;

    if (phase != VDT_WATCH_PRECOPY)
        return;
    virDomainPtr domain = virDomainLookupByUUIDString(link->connection, uuid);
    if (!domain)
        return;
    struct question *q = g_new0(struct question, 1);
    *q = (struct question){.link = link, .domain = domain};
    GTask *task = g_task_new(NULL, link->end, on_answer, NULL);
    g_task_set_task_data(task, q, free_question);
    link->asking++;
    g_task_run_in_thread(task, ask);
    g_object_unref(task);
}

static gboolean
on_ask(gpointer data)
{
    struct vdt_watch_link *link = data;

    if (link->asking == 0)
        vdt_watch_migrating(link->watch, now(), ask_one, link);
    return G_SOURCE_CONTINUE;
}

static bool
listen_to_events(struct vdt_watch_link *link)
{
    const struct {
        int id;
        virConnectDomainEventGenericCallback callback;
    } wanted[EVENTS] = {
        {VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle)},
        {VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, VIR_DOMAIN_EVENT_CALLBACK(on_pass)},
        {VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, VIR_DOMAIN_EVENT_CALLBACK(on_job)},
        {VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(on_metadata)},
    };

    for (unsigned i = 0; i < EVENTS; i++)
        link->events[i] = virConnectDomainEventRegisterAny(link->connection, NULL, wanted[i].id,
                                                           wanted[i].callback, link, NULL);
    return link->events[0] >= 0;
}

/* Events come from before this on, so that nothing falls in between; what comes twice is told
 * once. */
static bool
resync(struct vdt_watch_link *link)
{
    virDomainPtr *domains = NULL;
    int count = virConnectListAllDomains(link->connection, &domains, 0);
    char uuid[VIR_UUID_STRING_BUFLEN];

    vdt_watch_sweep(link->watch);
    for (int i = 0; i < count; i++) {
        if (uuid_of(domains[i], uuid) && read_domain(link, domains[i], uuid))
            vdt_watch_event(link->watch, uuid, found(domains[i]), 0, now());
        virDomainFree(domains[i]);
    }
    free(domains);
    if (count >= 0)
        vdt_watch_swept(link->watch, now());
    return count >= 0;
}

static gboolean
on_retry(gpointer data)
{
    struct vdt_watch_link *link = data;

    link->retry = 0;
    link->connection = virConnectOpenReadOnly(link->uri);
    if (!link->connection) {
        try_later(link, reason());
        return G_SOURCE_REMOVE;
    }
    for (unsigned i = 0; i < EVENTS; i++)
        link->events[i] = -1;
    /* Connections within the process are not kept alive, and never break. */
    virConnectSetKeepAlive(link->connection, KEEPALIVE_S, KEEPALIVE_TRIES);
    virConnectRegisterCloseCallback(link->connection, on_close, link, NULL);
    if (!listen_to_events(link)) {
        try_later(link, reason());
        return G_SOURCE_REMOVE;
    }
    char *uri = virConnectGetURI(link->connection);
    vdt_watch_connected(link->watch, uri ? uri : "", now());
    free(uri);
    if (!resync(link)) {
        try_later(link, reason());
        return G_SOURCE_REMOVE;
    }
    link->wait_ms = link->options.retry_ms;
    link->ask = g_timeout_add(link->options.ask_ms, on_ask, link);
    say_told(link);
    return G_SOURCE_REMOVE;
}

struct vdt_watch_link *
vdt_watch_link_new(const struct vdt_watch_link_options *options, struct vdt_watch *watch,
                   void (*told)(void *ctx), void *ctx)
{
    static bool registered;
    struct vdt_watch_link *link = g_new0(struct vdt_watch_link, 1);

    if (!registered) {
        virSetErrorFunc(NULL, be_quiet);
        gvir_event_register();
        registered = true;
    }
    link->options = *options;
    link->uri = g_strdup(options->uri);
    link->watch = watch;
    link->told = told;
    link->ctx = ctx;
    link->wait_ms = options->retry_ms;
    link->end = g_cancellable_new();
    link->retry = g_idle_add(on_retry, link);
    return link;
}

void
vdt_watch_link_free(struct vdt_watch_link *link)
{
    if (!link)
        return;
    g_clear_handle_id(&link->retry, g_source_remove);
    drop(link);
    g_object_unref(link->end);
    g_free(link->uri);
    g_free(link);
}
