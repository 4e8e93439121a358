/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/watch.h"

#include <string.h>
#include <time.h>

#include "tools/vdpa-tracker/metrics.h"
#include "tools/vdpa-tracker/status_look.h"

#define NICS_MAX 64u
#define AFTER_US (2 * G_USEC_PER_SEC) /* the tracker's last word on a migration is waited for */
#define SLACK_US G_USEC_PER_SEC       /* a tracker hears of a migration before libvirt tells */

struct nic {
    char *mac, *tracker; /* owned; @tracker NULL: it has no socket */
    char *phase;         /* owned: of its tracker, as last said */
};

struct watched {
    char *name, *uuid; /* owned */
    GPtrArray *nics;   /* owned: struct nic * */
    struct vdt_watch_state state;
    gint64 began_us; /* the last migration, realtime */
    bool seen;       /* in this sweep */
};

struct vdt_watch {
    FILE *out;
    bool json;
    bool connected;
    guint64 losses;
    GPtrArray *domains; /* owned: struct watched *, in the order in which they came */
};

/* --- domains --- */

static void
free_nic(gpointer data)
{
    struct nic *nic = data;

    g_free(nic->mac);
    g_free(nic->tracker);
    g_free(nic->phase);
    g_free(nic);
}

static void
free_watched(gpointer data)
{
    struct watched *d = data;

    g_free(d->name);
    g_free(d->uuid);
    g_ptr_array_unref(d->nics);
    g_free(d);
}

struct vdt_watch *
vdt_watch_new(FILE *out, bool json)
{
    struct vdt_watch *watch = g_new0(struct vdt_watch, 1);

    watch->out = out;
    watch->json = json;
    watch->domains = g_ptr_array_new_with_free_func(free_watched);
    return watch;
}

void
vdt_watch_free(struct vdt_watch *watch)
{
    if (!watch)
        return;
    g_ptr_array_unref(watch->domains);
    g_free(watch);
}

static struct watched *
find(const struct vdt_watch *watch, const char *uuid)
{
    for (guint i = 0; i < watch->domains->len; i++) {
        struct watched *d = watch->domains->pdata[i];
        if (g_str_equal(d->uuid, uuid))
            return d;
    }
    return NULL;
}

bool
vdt_watch_has(const struct vdt_watch *watch, const char *uuid)
{
    return find(watch, uuid) != NULL;
}

bool
vdt_watch_migrates(const struct vdt_watch *watch, const char *uuid)
{
    const struct watched *d = find(watch, uuid);

    return d && d->state.migrates;
}

static struct nic *
find_nic(const struct watched *d, const char *mac)
{
    for (guint i = 0; i < d->nics->len; i++) {
        struct nic *nic = d->nics->pdata[i];
        if (g_str_equal(nic->mac, mac))
            return nic;
    }
    return NULL;
}

/* The tracker that listens at a socket is named after it. */
static char *
tracker_of(const char *socket)
{
    g_autofree char *base = socket ? g_path_get_basename(socket) : NULL;

    return base && g_str_has_suffix(base, ".sock") ? g_strndup(base, strlen(base) - 5) : NULL;
}

/* --- lines --- */

static void
begin_object(JsonBuilder *b, const char *event, const struct watched *d, struct vdt_watch_time when)
{
    json_builder_begin_object(b);
    json_builder_set_member_name(b, "event");
    json_builder_add_string_value(b, event);
    json_builder_set_member_name(b, "time_us");
    json_builder_add_int_value(b, when.real_us);
    if (!d)
        return;
    json_builder_set_member_name(b, "domain");
    json_builder_add_string_value(b, d->name);
    json_builder_set_member_name(b, "uuid");
    json_builder_add_string_value(b, d->uuid);
}

static void
add_text(JsonBuilder *b, const char *name, const char *text)
{
    json_builder_set_member_name(b, name);
    json_builder_add_string_value(b, text); /* NULL: null */
}

/* Below 0: not known. */
static void
add_number(JsonBuilder *b, const char *name, gint64 number)
{
    json_builder_set_member_name(b, name);
    if (number >= 0)
        json_builder_add_int_value(b, number);
    else
        json_builder_add_null_value(b);
}

static void
end_object(struct vdt_watch *watch, JsonBuilder *b)
{
    json_builder_end_object(b);
    JsonNode *node = json_builder_get_root(b);
    g_autofree char *line = json_to_string(node, FALSE);
    fprintf(watch->out, "%s\n", line);
    fflush(watch->out);
    json_node_unref(node);
}

/* @into_us below 0: no migration is under way. */
static void G_GNUC_PRINTF(5, 6) say(struct vdt_watch *watch, struct vdt_watch_time when,
                                    gint64 into_us, const char *who, const char *format, ...)
{
    time_t seconds = (time_t) (when.real_us / G_USEC_PER_SEC);
    char clock[32];
    struct tm tm;
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    localtime_r(&seconds, &tm);
    strftime(clock, sizeof(clock), "%Y-%m-%d %H:%M:%S", &tm);
    g_autofree char *into =
        into_us >= 0 ? g_strdup_printf("+%.6f", (double) into_us / G_USEC_PER_SEC) : g_strdup("-");
    fprintf(watch->out, "%s.%06d %s %s: %s\n", clock, (int) (when.real_us % G_USEC_PER_SEC), into,
            who, text);
    fflush(watch->out);
}

static gint64
into(const struct watched *d, struct vdt_watch_time when)
{
    return d->state.began_us > 0 ? when.mono_us - d->state.began_us : -1;
}

static void
say_change(struct vdt_watch *watch, const struct watched *d, const struct vdt_watch_change *c,
           struct vdt_watch_time when)
{
    const char *now = vdt_watch_phase_name(c->to), *was = vdt_watch_phase_name(c->from);

    if (watch->json) {
        g_autoptr(JsonBuilder) b = json_builder_new();

        begin_object(b, "phase", d, when);
        add_text(b, "phase", now);
        add_text(b, "was", c->first ? NULL : was);
        add_number(b, "took_us", c->first ? -1 : c->took_us);
        add_number(b, "into_us", c->into_us);
        add_number(b, "passes", c->into_us >= 0 ? (gint64) d->state.passes : -1);
        add_text(b, "outcome", vdt_watch_outcome_name(c->outcome));
        add_text(b, "note", c->note);
        end_object(watch, b);
        return;
    }
    g_autoptr(GString) text = g_string_new(now);
    if (!c->first)
        g_string_append_printf(text, " after %.6f s of %s", (double) c->took_us / G_USEC_PER_SEC,
                               was);
    if (c->from == VDT_WATCH_PRECOPY)
        g_string_append_printf(text, ", %u passes", d->state.passes);
    if (c->note)
        g_string_append_printf(text, ": %s", c->note);
    say(watch, when, c->into_us, d->name, "%s", text->str);
}

static void
say_connection(struct vdt_watch *watch, const char *state, const char *text,
               struct vdt_watch_time when)
{
    if (watch->json) {
        g_autoptr(JsonBuilder) b = json_builder_new();

        begin_object(b, "connection", NULL, when);
        add_text(b, "state", state);
        add_text(b, "text", text);
        end_object(watch, b);
    } else {
        say(watch, when, -1, "libvirt", "%s: %s", state, text);
    }
}

/* --- what is told --- */

void
vdt_watch_connected(struct vdt_watch *watch, const char *text, struct vdt_watch_time when)
{
    watch->connected = true;
    say_connection(watch, "connected", text, when);
}

void
vdt_watch_lost(struct vdt_watch *watch, const char *text, struct vdt_watch_time when)
{
    watch->losses += watch->connected;
    watch->connected = false;
    say_connection(watch, "lost", text, when);
}

void
vdt_watch_sweep(struct vdt_watch *watch)
{
    for (guint i = 0; i < watch->domains->len; i++)
        ((struct watched *) watch->domains->pdata[i])->seen = false;
}

void
vdt_watch_swept(struct vdt_watch *watch, struct vdt_watch_time when)
{
    for (guint i = watch->domains->len; i-- > 0;) {
        struct watched *d = watch->domains->pdata[i];

        if (d->seen)
            continue;
        vdt_watch_event(watch, d->uuid, VDT_WATCH_FOUND_OFF, 0, when);
        g_ptr_array_remove_index(watch->domains, i);
    }
}

void
vdt_watch_domain(struct vdt_watch *watch, struct vdt_domain *domain, struct vdt_watch_time when)
{
    VDT_AUTO(domain) given = domain;
    struct watched *d = find(watch, given->uuid);

    if (given->nics->len == 0) {
        if (d)
            g_ptr_array_remove(watch->domains, d);
        return;
    }
    if (!d) {
        d = g_new0(struct watched, 1);
        d->uuid = g_strdup(given->uuid);
        d->nics = g_ptr_array_new_with_free_func(free_nic);
        g_ptr_array_add(watch->domains, d);
    }
    g_free(d->name);
    d->name = g_strdup(given->name);
    d->seen = true;
    GPtrArray *before = d->nics;
    d->nics = g_ptr_array_new_with_free_func(free_nic);
    for (guint i = 0; i < MIN(given->nics->len, NICS_MAX); i++) {
        const struct vdt_domain_nic *from = given->nics->pdata[i];
        struct nic *nic = g_new0(struct nic, 1);

        nic->mac = g_strdup(from->mac);
        nic->tracker = tracker_of(from->socket);
        for (guint k = 0; k < before->len; k++) {
            struct nic *old = before->pdata[k];
            if (g_str_equal(old->mac, nic->mac))
                nic->phase = g_steal_pointer(&old->phase);
        }
        g_ptr_array_add(d->nics, nic);
    }
    g_ptr_array_unref(before);
}

void
vdt_watch_event(struct vdt_watch *watch, const char *uuid, enum vdt_watch_event event,
                unsigned pass, struct vdt_watch_time when)
{
    struct watched *d = find(watch, uuid);
    struct vdt_watch_change change;

    if (!d || vdt_watch_step(&d->state, event, pass, when.mono_us, &change) != VDT_WATCH_CHANGED)
        return;
    if (change.outcome == VDT_WATCH_BEGINS) {
        d->began_us = when.real_us;
        for (guint i = 0; i < d->nics->len; i++)
            g_clear_pointer(&((struct nic *) d->nics->pdata[i])->phase, g_free);
    }
    say_change(watch, d, &change, when);
}

void
vdt_watch_job(struct vdt_watch *watch, const char *uuid, const struct vdt_watch_job *job,
              struct vdt_watch_time when)
{
    struct watched *d = find(watch, uuid);

    if (!d)
        return;
    if (watch->json) {
        g_autoptr(JsonBuilder) b = json_builder_new();

        begin_object(b, "job", d, when);
        add_number(b, "into_us", into(d, when));
        add_number(b, "elapsed_ms", job->elapsed_ms);
        add_number(b, "downtime_ms", job->downtime_ms);
        add_number(b, "bytes", job->bytes);
        end_object(watch, b);
        return;
    }
    g_autoptr(GString) text = g_string_new("libvirt's account of it:");
    if (job->elapsed_ms >= 0)
        g_string_append_printf(text, " %.3f s in all,", (double) job->elapsed_ms / 1000);
    if (job->downtime_ms >= 0)
        g_string_append_printf(text, " %.3f s of them without the guest,",
                               (double) job->downtime_ms / 1000);
    if (job->bytes >= 0)
        g_string_append_printf(text, " %.1f MB,", (double) job->bytes / 1e6);
    g_string_truncate(text, text->len - 1);
    say(watch, when, into(d, when), d->name, "%s", text->str);
}

/* --- what trackers say --- */

/* How long this migration's last stay in @phase is; -1: it was not in it. */
static gint64
stay(const struct watched *d, JsonNode *status, const char *phase)
{
    g_autofree char *since = g_strdup_printf("phases.%s.since_us", phase);
    g_autofree char *last = g_strdup_printf("phases.%s.last_us", phase);
    gint64 since_us, last_us;

    return vdt_look_number(status, since, &since_us) && since_us >= d->began_us - SLACK_US &&
                   vdt_look_number(status, last, &last_us)
               ? last_us
               : -1;
}

void
vdt_watch_tracker(struct vdt_watch *watch, const char *uuid, const char *mac, JsonNode *status,
                  struct vdt_watch_time when)
{
    static const char *const phases[] = {"logging", "stopped", "saved", "loaded"};
    struct watched *d = find(watch, uuid);
    struct nic *nic = d ? find_nic(d, mac) : NULL;
    const char *phase = status ? vdt_look_text(status, "phase") : "gone";
    const char *failure = vdt_look_text(status, "failure");

    if (!nic || !phase || g_strcmp0(phase, nic->phase) == 0)
        return;
    g_free(nic->phase);
    nic->phase = g_strdup(phase);
    g_autoptr(JsonBuilder) b = json_builder_new();
    g_autoptr(GString) text = g_string_new(NULL);
    begin_object(b, "tracker", d, when);
    add_text(b, "mac", nic->mac);
    add_text(b, "tracker", nic->tracker);
    add_number(b, "into_us", into(d, when));
    add_text(b, "phase", phase);
    g_string_append_printf(text, "tracker %s: %s", nic->tracker ? nic->tracker : "", phase);
    for (unsigned i = 0; i < G_N_ELEMENTS(phases); i++) {
        g_autofree char *name = g_strdup_printf("%s_us", phases[i]);
        gint64 us = stay(d, status, phases[i]);

        add_number(b, name, us);
        if (us >= 0)
            g_string_append_printf(text, ", %s for %.6f s", phases[i],
                                   (double) us / G_USEC_PER_SEC);
    }
    add_text(b, "failure", failure);
    if (failure)
        g_string_append_printf(text, ": %s", failure);
    if (watch->json)
        end_object(watch, b);
    else
        say(watch, when, into(d, when), d->name, "%s", text->str);
}

void
vdt_watch_migrating(const struct vdt_watch *watch, struct vdt_watch_time when,
                    vdt_watch_visit visit, void *ctx)
{
    for (guint i = 0; i < watch->domains->len; i++) {
        const struct watched *d = watch->domains->pdata[i];
        bool just_now = d->state.began_us > 0 && when.mono_us - d->state.since_us < AFTER_US;

        for (guint k = 0; (d->state.migrates || just_now) && k < d->nics->len; k++) {
            const struct nic *nic = d->nics->pdata[k];
            if (nic->tracker)
                visit(ctx, d->uuid, d->state.phase, nic->mac, nic->tracker);
        }
    }
}

/* --- metrics --- */

static void
add_seconds(GString *text, gint64 us)
{
    g_string_append_printf(text, "%" G_GINT64_FORMAT ".%06d\n", us / G_USEC_PER_SEC,
                           (int) (us % G_USEC_PER_SEC));
}

static char *
labels_of(const struct watched *d)
{
    GString *text = g_string_new("domain=\"");

    vdt_metrics_escape(text, d->name);
    g_string_append(text, "\",uuid=\"");
    vdt_metrics_escape(text, d->uuid);
    g_string_append_c(text, '"');
    return g_string_free(text, FALSE);
}

#define PREFIX VDT_METRICS_PREFIX "_watch"

static void
add_domain(GString *phase, GString *last, GString *outcomes, GString *passes,
           const struct watched *d)
{
    g_autofree char *labels = labels_of(d);

    for (unsigned i = 0; i < VDT_WATCH_PHASES; i++) {
        const char *name = vdt_watch_phase_name((enum vdt_watch_phase) i);

        g_string_append_printf(phase, PREFIX "_phase{%s,phase=\"%s\"} %d\n", labels, name,
                               d->state.known && d->state.phase == i);
        g_string_append_printf(last, PREFIX "_phase_last_seconds{%s,phase=\"%s\"} ", labels, name);
        add_seconds(last, d->state.last_us[i]);
    }
    for (unsigned i = 0; i < VDT_WATCH_OUTCOMES; i++) {
        const char *name = vdt_watch_outcome_name((enum vdt_watch_outcome) i);
        if (name)
            g_string_append_printf(
                outcomes, PREFIX "_migrations_total{%s,outcome=\"%s\"} %" G_GUINT64_FORMAT "\n",
                labels, name, d->state.count[i]);
    }
    g_string_append_printf(passes, PREFIX "_passes{%s} %u\n", labels, d->state.passes);
}

char *
vdt_watch_metrics(const struct vdt_watch *watch)
{
    const enum vdt_metrics_format format = VDT_METRICS_PROMETHEUS;
    GString *text = g_string_new(NULL);
    g_autoptr(GString) last = g_string_new(NULL);
    g_autoptr(GString) outcomes = g_string_new(NULL);
    g_autoptr(GString) passes = g_string_new(NULL);

    vdt_metrics_head(text, format, "_watch_connected", "gauge", NULL,
                     "Whether libvirt is connected.");
    g_string_append_printf(text, PREFIX "_connected{} %d\n", watch->connected);
    vdt_metrics_head(text, format, "_watch_lost_connections", "counter", NULL,
                     "Connections to libvirt that were lost.");
    g_string_append_printf(text, PREFIX "_lost_connections_total{} %" G_GUINT64_FORMAT "\n",
                           watch->losses);
    vdt_metrics_head(text, format, "_watch_phase", "stateset", NULL,
                     "Where a domain stands in a migration.");
    vdt_metrics_head(last, format, "_watch_phase_last_seconds", "gauge", "seconds",
                     "Length of the last stay in a phase that ended.");
    vdt_metrics_head(outcomes, format, "_watch_migrations", "counter", NULL,
                     "Migrations of a domain by what became of them.");
    vdt_metrics_head(passes, format, "_watch_passes", "gauge", NULL,
                     "Passes over memory of the last migration.");
    for (guint i = 0; i < watch->domains->len; i++)
        add_domain(text, last, outcomes, passes, watch->domains->pdata[i]);
    g_string_append_printf(text, "%s%s%s", last->str, outcomes->str, passes->str);
    return g_string_free(text, FALSE);
}
