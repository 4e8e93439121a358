/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "tools/vdpa-tracker/metrics.h"

#include <string.h>

#include "lib/openmetrics.h"
#include "tools/vdpa-tracker/tracker_list.h"
#include "unit/snapshot/golden_dir.h"

VDT_SUITE(metrics);

/* @status NULL: one that does not answer. */
static void
add(GPtrArray *trackers, const char *name, const char *status)
{
    struct vdt_listed_tracker *tracker = g_new0(struct vdt_listed_tracker, 1);

    tracker->name = g_strdup(name);
    tracker->status = status ? json_from_string(status, NULL) : NULL;
    cr_assert(!status || tracker->status);
    if (!status)
        tracker->failure = g_strdup("it does not answer");
    g_ptr_array_add(trackers, tracker);
}

static GHashTable *
read_text(const char *text)
{
    char *why = NULL;
    GHashTable *samples = openmetrics_read(text, false, &why);

    cr_assert(samples, "%s\n%s", why, text);
    return samples;
}

static const char *
sample(GHashTable *samples, const char *key)
{
    const char *value = g_hash_table_lookup(samples, key);

    return value ? value : "none";
}

/* Names and labels are an interface: dashboards and alerts are written with them. */
Test(metrics, text_is_the_golden_one)
{
    g_autoptr(GPtrArray) trackers =
        g_ptr_array_new_with_free_func((GDestroyNotify) vdt_listed_tracker_free);
    g_autofree char *status = NULL;
    g_autofree char *golden = NULL;

    cr_assert(g_file_get_contents(VDT_GOLDEN_DIR "/status.json", &status, NULL, NULL));
    cr_assert(g_file_get_contents(VDT_GOLDEN_DIR "/status.metrics", &golden, NULL, NULL));
    add(trackers, "mail", NULL);
    add(trackers, "web", status);
    g_autofree char *text = vdt_metrics_text(trackers, VDT_METRICS_OPEN);
    g_autoptr(GHashTable) samples = read_text(text);

    cr_expect_gt(g_hash_table_size(samples), 0);
    g_auto(GStrv) is = g_strsplit(text, "\n", -1);
    g_auto(GStrv) was = g_strsplit(golden, "\n", -1);
    for (guint i = 0; is[i] && was[i]; i++)
        cr_assert_str_eq(is[i], was[i], "line %u", i + 1);
    cr_assert_eq(g_strv_length(is), g_strv_length(was));
}

/* Collectors refuse a whole file for one word that they do not know. */
Test(metrics, older_format_has_the_same_samples_and_no_newer_word)
{
    g_autoptr(GPtrArray) trackers =
        g_ptr_array_new_with_free_func((GDestroyNotify) vdt_listed_tracker_free);
    g_autofree char *status = NULL;
    char *why = NULL;

    cr_assert(g_file_get_contents(VDT_GOLDEN_DIR "/status.json", &status, NULL, NULL));
    add(trackers, "web", status);
    g_autofree char *text = vdt_metrics_text(trackers, VDT_METRICS_OPEN);
    g_autofree char *older = vdt_metrics_text(trackers, VDT_METRICS_PROMETHEUS);
    g_autoptr(GHashTable) samples = read_text(text);
    g_autoptr(GHashTable) same = openmetrics_read(older, true, &why);
    cr_assert(same, "%s\n%s", why, older);
    GHashTableIter iter;
    gpointer key, value;
    g_hash_table_iter_init(&iter, samples);
    while (g_hash_table_iter_next(&iter, &key, &value))
        cr_expect_str_eq(sample(same, key), value, "%s", (char *) key);
    cr_expect_eq(g_hash_table_size(same), g_hash_table_size(samples));
    cr_expect(!openmetrics_read(text, true, &why), "the newer one passes for the older");
    g_free(why);
}

Test(metrics, without_a_tracker_families_stand_without_samples)
{
    g_autoptr(GPtrArray) trackers = g_ptr_array_new();
    g_autofree char *text = vdt_metrics_text(trackers, VDT_METRICS_OPEN);
    g_autoptr(GHashTable) samples = read_text(text);

    cr_expect_eq(g_hash_table_size(samples), 0);
}

Test(metrics, names_with_quotes_and_line_ends_stay_labels)
{
    g_autoptr(GPtrArray) trackers =
        g_ptr_array_new_with_free_func((GDestroyNotify) vdt_listed_tracker_free);

    add(trackers, "web", "{\"device\": {\"name\": \"sim:tap=\\\"a\\\\b\\\"\\n# EOF\"}}");
    g_autofree char *text = vdt_metrics_text(trackers, VDT_METRICS_OPEN);
    g_autoptr(GHashTable) samples = read_text(text);
    cr_expect_str_eq(sample(samples, "vdpa_tracker_info{tracker=\"web\","
                                     "device=\"sim:tap=\\\"a\\\\b\\\"\\n# EOF\"}"),
                     "1", "%s", text);
}

/* Of another version, or not what it seems. */
static const char *const odd[] = {
    "{}",
    "{\"phase\": 7, \"mode\": null, \"rings\": {}, \"commands\": []}",
    "{\"phase\": \"sideways\", \"rings\": [1, null, [], {}, {\"index\": \"0\"}]}",
    "{\"rings\": [{\"index\": 0, \"kind\": 5, \"counted\": 1, \"chains\": true}]}",
    "{\"phases\": {\"idle\": 3, \"running\": {\"count\": \"many\"}}, \"frozen_us\": -1}",
    "{\"device\": \"sim:\", \"carried\": {\"saves\": 1.5}}",
};

Test(metrics, what_is_missing_or_odd_in_a_status_leaves_the_text_valid)
{
    for (size_t i = 0; i < G_N_ELEMENTS(odd); i++) {
        g_autoptr(GPtrArray) trackers =
            g_ptr_array_new_with_free_func((GDestroyNotify) vdt_listed_tracker_free);

        add(trackers, "web", odd[i]);
        g_autofree char *text = vdt_metrics_text(trackers, VDT_METRICS_OPEN);
        g_autoptr(GHashTable) samples = read_text(text);
        cr_expect_str_eq(sample(samples, "vdpa_tracker_up{tracker=\"web\"}"), "1");
        cr_expect_str_eq(
            sample(samples, "vdpa_tracker_phase{tracker=\"web\",vdpa_tracker_phase=\"idle\"}"),
            "0");
    }
}

/* Where the device works on the guest's ring nobody counts, and 0 would be a lie. */
Test(metrics, ring_that_is_not_counted_has_no_counters)
{
    g_autoptr(GPtrArray) trackers =
        g_ptr_array_new_with_free_func((GDestroyNotify) vdt_listed_tracker_free);

    add(trackers, "web",
        "{\"rings\": [{\"index\": 0, \"kind\": \"rx\", \"counted\": false, \"chains\": 5},"
        "{\"index\": 1, \"kind\": \"tx\", \"counted\": true, \"chains\": 6}]}");
    g_autofree char *text = vdt_metrics_text(trackers, VDT_METRICS_OPEN);
    g_autoptr(GHashTable) samples = read_text(text);
    const char *rx = "vdpa_tracker_ring_chains_total{tracker=\"web\",ring=\"0\",kind=\"rx\"}";
    const char *tx = "vdpa_tracker_ring_chains_total{tracker=\"web\",ring=\"1\",kind=\"tx\"}";
    const char *is = "vdpa_tracker_ring_counted{tracker=\"web\",ring=\"0\",kind=\"rx\"}";
    cr_expect_str_eq(sample(samples, rx), "none");
    cr_expect_str_eq(sample(samples, tx), "6");
    cr_expect_str_eq(sample(samples, is), "0");
}

#define HEAD "# TYPE a_seconds counter\n# UNIT a_seconds seconds\n# HELP a_seconds Of a.\n"

/* The reader that these tests and others trust. */
static const struct {
    const char *text;
    bool ok;
} texts[] = {
    {HEAD "a_seconds_total{b=\"c\"} 1.5\n# EOF\n", true},
    {HEAD "a_seconds_total{b=\"c\"} 1.5\na_seconds_total{b=\"d\"} 1\n# EOF\n", true},
    {"# TYPE s stateset\n# HELP s Of s.\ns{b=\"c\",s=\"d\"} 1\n# EOF\n", true},
    {"# EOF\n", true},
    {"# EOF", false},
    {"", false},
    {HEAD, false},
    {"# EOF\n# EOF\n", false},
    {HEAD HEAD "# EOF\n", false},
    {HEAD "a_seconds{b=\"c\"} 1.5\n# EOF\n", false},
    {HEAD "a_seconds_total{b=\"c\"} -1\n# EOF\n", false},
    {HEAD "a_seconds_total{b=\"c\"} 1,5\n# EOF\n", false},
    {HEAD "a_seconds_total{b=\"c\"} 1\na_seconds_total{b=\"c\"} 2\n# EOF\n", false},
    {HEAD "a_seconds_total{b=\"c\",b=\"d\"} 1\n# EOF\n", false},
    {HEAD "a_seconds_total{b=\"c\",} 1\n# EOF\n", false},
    {HEAD "a_seconds_total{b=\"c\"d\"} 1\n# EOF\n", false},
    {HEAD "\na_seconds_total{b=\"c\"} 1\n# EOF\n", false},
    {"# TYPE a counter\n# UNIT a seconds\n# HELP a Of a.\n# EOF\n", false},
    {"# TYPE s stateset\n# HELP s Of s.\ns{b=\"c\"} 1\n# EOF\n", false},
    {"# TYPE s stateset\n# HELP s Of s.\ns{s=\"c\"} 2\n# EOF\n", false},
    {"a_total{b=\"c\"} 1\n# EOF\n", false},
};

Test(metrics, reader_refuses_what_no_scraper_would_take)
{
    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autofree char *why = NULL;
        GHashTable *samples = openmetrics_read(texts[i].text, false, &why);

        cr_expect_eq(samples != NULL, texts[i].ok, "row %zu: %s", i, why ? why : "accepted");
        g_clear_pointer(&samples, g_hash_table_unref);
    }
}
