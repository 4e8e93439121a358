/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "tools/vdpa-tracker/watch.h"

#include <string.h>
#include <time.h>

#include "lib/openmetrics.h"

VDT_SUITE(watch);

#define UUID "11111111-2222-3333-4444-555555555555"
#define OTHER "99999999-2222-3333-4444-555555555555"
#define MAC "52:54:00:00:00:01"
#define NOON G_GINT64_CONSTANT(1795564800) /* 2026-11-25 00:00:00 UTC */

/* What is written comes out as text. */
struct stand {
    struct vdt_watch *watch;
    char *text;
    size_t len;
    FILE *out;
};

static void
begin(struct stand *s, bool json)
{
    g_setenv("TZ", "UTC", TRUE);
    tzset();
    s->text = NULL;
    s->out = open_memstream(&s->text, &s->len);
    s->watch = vdt_watch_new(s->out, json);
}

static void
end(struct stand *s)
{
    vdt_watch_free(s->watch);
    fclose(s->out);
    free(s->text);
}

static struct vdt_watch_time
at(gint64 ms)
{
    return (struct vdt_watch_time){NOON * G_USEC_PER_SEC + ms * 1000, 1000000 + ms * 1000};
}

/* @ours: with our metadata. */
static void
add(struct stand *s, const char *name, const char *uuid, bool ours)
{
    g_autofree char *xml = g_strdup_printf(
        "<domain type='test'><name>%s</name><uuid>%s</uuid><metadata>%s</metadata>"
        "<devices><interface type='vhostuser'><mac address='" MAC "'/>"
        "<source type='unix' path='/run/vdpa-tracker/web-net0.sock' mode='client'/></interface>"
        "</devices></domain>",
        name, uuid,
        ours ? "<t:tracker xmlns:t='" VDT_LIBVIRT_NAMESPACE "'>"
               "<t:nic mac='" MAC "' device='vdpa:blue'/></t:tracker>"
             : "");
    GError *error = NULL;
    struct vdt_domain *domain = vdt_domain_parse(xml, strlen(xml), &error);

    cr_assert(domain, "%s", error ? error->message : "");
    vdt_watch_domain(s->watch, domain, at(0));
}

static void
status(struct stand *s, const char *json, gint64 ms)
{
    g_autoptr(JsonNode) node = json ? json_from_string(json, NULL) : NULL;

    cr_assert(!json || node);
    vdt_watch_tracker(s->watch, UUID, MAC, node, at(ms));
}

#define LOGGING                                                                                    \
    "{\"phase\": \"logging\", \"phases\": {"                                                       \
    "\"saved\": {\"since_us\": 1795550000000000, \"last_us\": 9},"                                 \
    "\"logging\": {\"since_us\": 1795564800996000, \"last_us\": 44000}}}"
#define SAVED                                                                                      \
    "{\"phase\": \"saved\", \"phases\": {"                                                         \
    "\"logging\": {\"since_us\": 1795564800996000, \"last_us\": 1500000},"                         \
    "\"stopped\": {\"since_us\": 1795564802496000, \"last_us\": 120000},"                          \
    "\"saved\": {\"since_us\": 1795564802616000, \"last_us\": 3000}}}"

/* A migration away, as it goes. */
static void
migrate(struct stand *s)
{
    const struct vdt_watch_job job = {.elapsed_ms = 1750, .downtime_ms = 95, .bytes = 123456789};

    vdt_watch_event(s->watch, UUID, VDT_WATCH_FOUND_RUNNING, 0, at(0));
    vdt_watch_event(s->watch, UUID, VDT_WATCH_PASS, 1, at(1000));
    status(s, LOGGING, 1040);
    status(s, LOGGING, 1240);
    vdt_watch_event(s->watch, UUID, VDT_WATCH_PASS, 2, at(2000));
    vdt_watch_event(s->watch, UUID, VDT_WATCH_SUSPENDED_MIGRATED, 0, at(2500));
    status(s, SAVED, 2620);
    vdt_watch_event(s->watch, UUID, VDT_WATCH_STOPPED_MIGRATED, 0, at(2800));
    vdt_watch_job(s->watch, UUID, &job, at(2801));
    status(s, NULL, 2900);
}

Test(watch, migration_is_told_in_lines)
{
    struct stand s;

    begin(&s, false);
    add(&s, "web", UUID, true);
    migrate(&s);
    cr_expect_str_eq(
        s.text,
        "2026-11-25 00:00:00.000000 - web: running\n"
        "2026-11-25 00:00:01.000000 +0.000000 web: precopy after 1.000000 s of running\n"
        "2026-11-25 00:00:01.040000 +0.040000 web: tracker web-net0: logging, logging for 0.044000 "
        "s\n"
        "2026-11-25 00:00:02.500000 +1.500000 web: handover after 1.500000 s of precopy, 2 passes\n"
        "2026-11-25 00:00:02.620000 +1.620000 web: tracker web-net0: saved, logging for 1.500000 "
        "s, stopped for 0.120000 s, saved for 0.003000 s\n"
        "2026-11-25 00:00:02.800000 +1.800000 web: off after 0.300000 s of handover: the guest is "
        "at the destination\n"
        "2026-11-25 00:00:02.801000 +1.801000 web: libvirt's account of it: 1.750 s in all, 0.095 "
        "s of them without the guest, 123.5 MB\n"
        "2026-11-25 00:00:02.900000 +1.900000 web: tracker web-net0: gone\n",
        "%s", s.text);
    end(&s);
}

Test(watch, migration_is_told_in_json)
{
    static const char *const events[] = {"phase",   "phase", "tracker", "phase",
                                         "tracker", "phase", "job",     "tracker"};
    struct stand s;

    begin(&s, true);
    add(&s, "we\"b", UUID, true);
    migrate(&s);
    g_auto(GStrv) lines = g_strsplit(s.text, "\n", -1);
    cr_assert_eq(g_strv_length(lines), G_N_ELEMENTS(events) + 1, "%s", s.text);
    for (unsigned i = 0; i < G_N_ELEMENTS(events); i++) {
        g_autoptr(JsonNode) node = json_from_string(lines[i], NULL);
        cr_assert(node, "%s", lines[i]);
        JsonObject *object = json_node_get_object(node);
        cr_expect_str_eq(json_object_get_string_member(object, "event"), events[i], "%u", i);
        cr_expect_str_eq(json_object_get_string_member(object, "domain"), "we\"b");
        cr_expect_str_eq(json_object_get_string_member(object, "uuid"), UUID);
    }
    g_autoptr(JsonNode) node = json_from_string(lines[5], NULL);
    JsonObject *left = json_node_get_object(node);
    cr_expect_str_eq(json_object_get_string_member(left, "phase"), "off");
    cr_expect_str_eq(json_object_get_string_member(left, "was"), "handover");
    cr_expect_str_eq(json_object_get_string_member(left, "outcome"), "left");
    cr_expect_eq(json_object_get_int_member(left, "took_us"), 300000);
    cr_expect_eq(json_object_get_int_member(left, "into_us"), 1800000);
    cr_expect_eq(json_object_get_int_member(left, "passes"), 2);
    cr_expect_eq(json_object_get_int_member(left, "time_us"), NOON * G_USEC_PER_SEC + 2800000);
    end(&s);
}

Test(watch, domains_without_our_metadata_are_nobodys_business)
{
    struct stand s;

    begin(&s, false);
    add(&s, "web", UUID, true);
    add(&s, "other", OTHER, false);
    cr_expect(vdt_watch_has(s.watch, UUID));
    cr_expect(!vdt_watch_has(s.watch, OTHER));
    vdt_watch_event(s.watch, OTHER, VDT_WATCH_STARTED, 0, at(1));
    add(&s, "web", UUID, false);
    vdt_watch_event(s.watch, UUID, VDT_WATCH_STARTED, 0, at(2));
    fflush(s.out);
    cr_expect_str_eq(s.text, "");
    end(&s);
}

Test(watch, what_is_gone_after_a_break_is_told_so)
{
    struct stand s;

    begin(&s, false);
    add(&s, "web", UUID, true);
    add(&s, "mail", OTHER, true);
    vdt_watch_event(s.watch, UUID, VDT_WATCH_FOUND_RUNNING, 0, at(0));
    vdt_watch_event(s.watch, OTHER, VDT_WATCH_FOUND_RUNNING, 0, at(0));
    vdt_watch_event(s.watch, UUID, VDT_WATCH_PASS, 1, at(500));
    fflush(s.out);
    size_t before = s.len;
    vdt_watch_sweep(s.watch);
    add(&s, "mail", OTHER, true);
    vdt_watch_event(s.watch, OTHER, VDT_WATCH_FOUND_RUNNING, 0, at(1000));
    vdt_watch_swept(s.watch, at(1000));
    cr_expect_str_eq(s.text + before,
                     "2026-11-25 00:00:01.000000 +0.500000 web: off after 0.500000 s of precopy, "
                     "1 passes: how the migration ended was not seen\n");
    cr_expect(!vdt_watch_has(s.watch, UUID));
    cr_expect(vdt_watch_has(s.watch, OTHER));
    end(&s);
}

static void
count_visit(void *ctx, const char *uuid, enum vdt_watch_phase phase, const char *mac,
            const char *tracker)
{
    cr_expect_str_eq(uuid, UUID);
    cr_expect_str_eq(mac, MAC);
    cr_expect_str_eq(tracker, "web-net0");
    (*(unsigned *) ctx)++;
}

static unsigned
visits(struct stand *s, gint64 ms)
{
    unsigned count = 0;

    vdt_watch_migrating(s->watch, at(ms), count_visit, &count);
    return count;
}

Test(watch, trackers_are_looked_at_while_a_domain_migrates_and_a_moment_longer)
{
    struct stand s;

    begin(&s, false);
    add(&s, "web", UUID, true);
    vdt_watch_event(s.watch, UUID, VDT_WATCH_FOUND_RUNNING, 0, at(0));
    cr_expect_eq(visits(&s, 1), 0);
    vdt_watch_event(s.watch, UUID, VDT_WATCH_PASS, 1, at(1000));
    cr_expect_eq(visits(&s, 100000), 1);
    vdt_watch_event(s.watch, UUID, VDT_WATCH_STOPPED_MIGRATED, 0, at(100000));
    cr_expect_eq(visits(&s, 101000), 1);
    cr_expect_eq(visits(&s, 103000), 0);
    end(&s);
}

Test(watch, metrics_are_what_was_told)
{
    struct stand s;
    char *why = NULL;

    begin(&s, false);
    add(&s, "we\"b", UUID, true);
    vdt_watch_connected(s.watch, "test", at(0));
    vdt_watch_lost(s.watch, "gone", at(0));
    vdt_watch_lost(s.watch, "still", at(0));
    vdt_watch_connected(s.watch, "test", at(0));
    migrate(&s);
    g_autofree char *text = vdt_watch_metrics(s.watch);
    g_autoptr(GHashTable) samples = openmetrics_read(text, true, &why);
    cr_assert(samples, "%s\n%s", why, text);
    static const struct {
        const char *key, *value;
    } wanted[] = {
#define DOMAIN "domain=\"we\\\"b\",uuid=\"" UUID "\""
        {"vdpa_tracker_watch_connected{}", "1"},
        {"vdpa_tracker_watch_lost_connections_total{}", "1"},
        {"vdpa_tracker_watch_phase{" DOMAIN ",phase=\"off\"}", "1"},
        {"vdpa_tracker_watch_phase{" DOMAIN ",phase=\"precopy\"}", "0"},
        {"vdpa_tracker_watch_phase_last_seconds{" DOMAIN ",phase=\"precopy\"}", "1.500000"},
        {"vdpa_tracker_watch_phase_last_seconds{" DOMAIN ",phase=\"handover\"}", "0.300000"},
        {"vdpa_tracker_watch_migrations_total{" DOMAIN ",outcome=\"left\"}", "1"},
        {"vdpa_tracker_watch_migrations_total{" DOMAIN ",outcome=\"stayed\"}", "0"},
        {"vdpa_tracker_watch_passes{" DOMAIN "}", "2"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(wanted); i++) {
        const char *value = g_hash_table_lookup(samples, wanted[i].key);
        cr_expect_str_eq(value ? value : "none", wanted[i].value, "%s", wanted[i].key);
    }
    end(&s);
}
