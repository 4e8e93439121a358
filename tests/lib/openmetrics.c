/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/openmetrics.h"

#include <string.h>

#define NAME "[a-zA-Z_:][a-zA-Z0-9_:]*"
#define LABEL "([a-zA-Z_][a-zA-Z0-9_]*)=\"((?:[^\"\\\\\\n]|\\\\[\\\\\"n])*)\""

struct reader {
    bool old;
    GHashTable *families, *samples;
    char *family, *type;                 /* the present one's */
    bool has_unit, has_help, has_sample; /* seen of it */
};

/* The groups of @pattern in @line, or NULL. */
static GStrv
match(const char *pattern, const char *line)
{
    g_autoptr(GMatchInfo) info = NULL;
    g_autoptr(GRegex) regex =
        g_regex_new(pattern, G_REGEX_ANCHORED | G_REGEX_DOLLAR_ENDONLY, 0, NULL);

    g_assert(regex);
    return g_regex_match(regex, line, 0, &info) ? g_match_info_fetch_all(info) : NULL;
}

static const char *
read_type(struct reader *r, const GStrv words)
{
    if (r->old && !g_str_equal(words[2], "gauge") && !g_str_equal(words[2], "counter"))
        return "a type that the older format does not know";
    g_free(r->family);
    g_free(r->type);
    r->family = g_strdup(words[1]);
    r->type = g_strdup(words[2]);
    r->has_unit = r->has_help = r->has_sample = false;
    return g_hash_table_add(r->families, g_strdup(words[1])) ? NULL : "a family that was there";
}

static const char *
read_unit(struct reader *r, const GStrv words)
{
    g_autofree char *end = g_strdup_printf("_%s", words[2]);

    if (r->old || g_strcmp0(words[1], r->family) != 0 || r->has_unit || r->has_help ||
        r->has_sample)
        return "UNIT out of place";
    if (!g_str_has_suffix(words[1], end))
        return "a name that does not end with its unit";
    if (g_str_equal(r->type, "info") || g_str_equal(r->type, "stateset"))
        return "a unit of what has none";
    r->has_unit = true;
    return NULL;
}

static const char *
read_help(struct reader *r, const GStrv words)
{
    if (g_strcmp0(words[1], r->family) != 0 || r->has_help || r->has_sample)
        return "HELP out of place";
    r->has_help = true;
    return NULL;
}

/* @labels: what stands in the braces. */
static const char *
read_labels(struct reader *r, const char *labels)
{
    g_autoptr(GHashTable) names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    const char *at = labels;

    while (*at) {
        g_auto(GStrv) label = match(LABEL, at);
        if (!label)
            return "a label that is none";
        if (!g_hash_table_add(names, g_strdup(label[1])))
            return "a label twice";
        at += strlen(label[0]);
        if (*at && (*at++ != ',' || !*at))
            return "labels without a comma, or one too many";
    }
    if (g_str_equal(r->type, "stateset") && !g_hash_table_contains(names, r->family))
        return "a state set without its state";
    return NULL;
}

static const char *
read_sample(struct reader *r, const GStrv words)
{
    const char *suffix = !r->type || r->old                ? ""
                         : g_str_equal(r->type, "counter") ? "_total"
                         : g_str_equal(r->type, "info")    ? "_info"
                                                           : "";
    g_autofree char *wanted = g_strdup_printf("%s%s", r->family, suffix);
    g_autofree char *key = g_strdup_printf("%s{%s}", words[1], words[2]);

    if (!r->family || !r->has_help)
        return "a sample before TYPE and HELP";
    if (!g_str_equal(words[1], wanted))
        return "a sample of another name than its family";
    if (g_str_equal(r->type, "info") && !g_str_equal(words[3], "1"))
        return "an info that is not 1";
    if (g_str_equal(r->type, "stateset") && !g_str_equal(words[3], "0") &&
        !g_str_equal(words[3], "1"))
        return "a state that is neither 0 nor 1";
    if (r->old && g_str_equal(r->type, "counter") && !g_str_has_suffix(words[1], "_total"))
        return "a counter without _total";
    if (g_str_equal(r->type, "counter") && words[3][0] == '-')
        return "a counter below zero";
    r->has_sample = true;
    const char *why = read_labels(r, words[2]);
    if (why)
        return why;
    return g_hash_table_replace(r->samples, g_steal_pointer(&key), g_strdup(words[3]))
               ? NULL
               : "a sample twice";
}

static const struct {
    const char *pattern;
    const char *(*read)(struct reader *r, const GStrv words);
} kinds[] = {
    {"# TYPE (" NAME ") (gauge|counter|info|stateset)$", read_type},
    {"# UNIT (" NAME ") ([a-z]+)$", read_unit},
    {"# HELP (" NAME ") ([^\\\\]+)$", read_help},
    {"(" NAME ")\\{(.*)\\} (-?[0-9]+(?:\\.[0-9]+)?)$", read_sample},
};

static const char *
read_line(struct reader *r, const char *line)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_auto(GStrv) words = match(kinds[i].pattern, line);
        if (words)
            return kinds[i].read(r, words);
    }
    return "a line of no kind";
}

GHashTable *
openmetrics_read(const char *text, bool old, char **ret_why)
{
    struct reader r = {
        .old = old,
        .families = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
        .samples = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free),
    };
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    guint count = g_strv_length(lines);
    const char *why = NULL;
    guint i = 0;

    if (!g_utf8_validate(text, -1, NULL))
        why = "not UTF-8";
    else if (count < 2 || *lines[count - 1])
        why = "the last line is not whole";
    else if (!old && !g_str_equal(lines[count - 2], "# EOF"))
        why = "no # EOF as the last line";
    for (; !why && i < count - (old ? 1 : 2); i++)
        why = read_line(&r, lines[i]);
    *ret_why = why ? g_strdup_printf("line %u: %s: %s", i, why, i ? lines[i - 1] : "") : NULL;
    g_hash_table_unref(r.families);
    g_free(r.family);
    g_free(r.type);
    if (why)
        g_clear_pointer(&r.samples, g_hash_table_unref);
    return r.samples;
}
