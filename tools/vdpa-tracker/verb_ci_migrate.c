/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/vdpa-tracker/ci.h"
#include "tools/vdpa-tracker/scratch.h"
#include "tools/vdpa-tracker/verb.h"

#define TITLE "vdpa-tracker.ci-migrate"
#define FILE_NAME "vdpa-tracker-ci.xml"

static const char *const verdicts[] = {
    [VDT_CASE_PLANNED] = "planned", [VDT_CASE_RUNNING] = "running", [VDT_CASE_PASSED] = "passed",
    [VDT_CASE_FAILED] = "failed",   [VDT_CASE_SKIPPED] = "skipped",
};

static bool json_wanted;

/* As it goes; what a device says of itself is not to write to a terminal. */
static void
tell(const struct vdt_case *one)
{
    FILE *to = json_wanted ? stderr : stdout;
    g_autofree char *said = one->said ? g_strescape(one->said, "\"") : NULL;

    fprintf(to, "%-8s%-8s %s", verdicts[one->verdict], one->group, one->name);
    if (one->verdict != VDT_CASE_SKIPPED)
        fprintf(to, ", %.3f s", (double) one->us / G_USEC_PER_SEC);
    fprintf(to, "%s%s\n", said ? "\n                   " : "", said ? said : "");
    fflush(to);
}

static void
add_text(JsonBuilder *builder, const char *name, const char *text)
{
    g_autofree char *valid = text ? g_utf8_make_valid(text, -1) : NULL;

    json_builder_set_member_name(builder, name);
    json_builder_add_string_value(builder, valid);
}

static void
add_case(JsonBuilder *builder, const struct vdt_case *one)
{
    json_builder_begin_object(builder);
    add_text(builder, "group", one->group);
    add_text(builder, "name", one->name);
    add_text(builder, "verdict", verdicts[one->verdict]);
    json_builder_set_member_name(builder, "us");
    json_builder_add_int_value(builder, one->us);
    if (one->said)
        add_text(builder, "said", one->said);
    json_builder_end_object(builder);
}

static void
print_json(const struct vdt_case_list *list, bool ok)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    add_text(builder, "verdict", ok ? "ok" : "failed");
    add_text(builder, "junit", list->path);
    json_builder_set_member_name(builder, "properties");
    json_builder_begin_object(builder);
    for (unsigned i = 0; i < list->properties->len; i += 2)
        add_text(builder, list->properties->pdata[i], list->properties->pdata[i + 1]);
    json_builder_end_object(builder);
    json_builder_set_member_name(builder, "cases");
    json_builder_begin_array(builder);
    for (unsigned i = 0; i < list->cases->len; i++)
        add_case(builder, list->cases->pdata[i]);
    json_builder_end_array(builder);
    json_builder_end_object(builder);
    vdt_print_json(json_builder_get_root(builder));
}

static void
cut_off(void *ctx)
{
    struct vdt_ci *ci = ctx;

    if (ci->guest && ci->kill_guest)
        ci->kill_guest(ci->guest);
    if (ci->scratch)
        vdt_scratch_remove(ci->scratch);
    if (json_wanted)
        print_json(ci->list, false);
}

static int
run(const struct vdt_ci_options *options, const char *path, unsigned seconds, bool keep,
    GError **error)
{
    struct vdt_ci ci = {.options = options};
    VDT_AUTO(case_list) list = vdt_case_list_new(TITLE, path, &ci);
    bool uml = options->uml;

    ci.list = list;
    list->told = tell;
    list->cut_off = cut_off;
    ci.scratch = vdt_scratch_make("vdpa-tracker-ci", error);
    if (!ci.scratch)
        return VDT_EXIT_FAILED;
    vdt_case_list_note(list, "version", "%s", VDT_VERSION);
    vdt_case_list_note(list, "guest", "%s", uml ? "uml" : "builtin");
    if (!uml)
        vdt_case_list_note(list, "rings", "%s", options->packed ? "packed" : "split");
    vdt_case_list_note(list, "source", "%s", options->device[0]);
    vdt_case_list_note(list, "destination", "%s", options->device[1]);
    vdt_ci_devices_add(&ci);
    if (uml)
        vdt_ci_uml_add(&ci);
    else
        vdt_ci_builtin_add(&ci);
    vdt_ci_end_add(&ci);
    bool ran = vdt_case_list_run(list, seconds, error);
    if (uml)
        vdt_ci_uml_end(&ci);
    else
        vdt_ci_builtin_end(&ci);
    bool ok = ran && vdt_case_list_count(list, VDT_CASE_FAILED) == 0;
    if (ran && json_wanted)
        print_json(list, ok);
    else if (ran)
        printf("%u passed, %u failed, %u skipped: %s\n", vdt_case_list_count(list, VDT_CASE_PASSED),
               vdt_case_list_count(list, VDT_CASE_FAILED),
               vdt_case_list_count(list, VDT_CASE_SKIPPED), path);
    if (keep)
        fprintf(stderr, "kept: %s\n", ci.scratch);
    else
        vdt_scratch_remove(ci.scratch);
    g_free(ci.scratch);
    g_free(ci.baseline);
    return ok ? VDT_EXIT_DONE : VDT_EXIT_FAILED;
}

/* It is written by a rename, which would take the place of a device or a pipe. */
static bool
is_file(const char *path, GError **error)
{
    struct stat at;

    return lstat(path, &at) != 0 || S_ISREG(at.st_mode) ||
           vdt_verb_misword(error, "--junit %s: this is no regular file", path);
}

int
vdt_verb_ci_migrate(const struct vdt_verb *verb, int argc, char **argv)
{
    g_autofree char *source = NULL, *target = NULL, *guest = NULL, *rings = NULL, *path = NULL;
    int pairs = VDT_ABSENT, vlans = 16, rounds = 5, repeat = 1, memory = 64, seconds = 300;
    struct vdt_ci_options options = {.duration = 0.5, .max_downtime_ms = -1, .shadow = "always"};
    gint64 seed = 1;
    gboolean json = FALSE, keep = FALSE, reflects = FALSE, common = FALSE;
    GError *error = NULL;
    int exit_code = VDT_EXIT_USAGE;
    const GOptionEntry entries[] = {
        {"source", 0, 0, G_OPTION_ARG_STRING, &source, "Where the guest starts", "DEVICE"},
        {"destination", 0, 0, G_OPTION_ARG_STRING, &target, "Where it goes, and comes back from",
         "DEVICE"},
        {"guest", 0, 0, G_OPTION_ARG_STRING, &guest,
         "builtin (default), or uml: Linux in User-Mode Linux", "GUEST"},
        {"junit", 0, 0, G_OPTION_ARG_FILENAME, &path,
         "Where the results go (" FILE_NAME " in the current directory)", "FILE"},
        {"json", 'j', 0, G_OPTION_ARG_NONE, &json, "The results as JSON, too", NULL},
        {"timeout", 0, 0, G_OPTION_ARG_INT, &seconds, "How long all of it may take (300)",
         "SECONDS"},
        {"max-downtime", 0, 0, G_OPTION_ARG_DOUBLE, &options.max_downtime_ms,
         "How long the guest may be without its NIC at each move", "MS"},
        {"reflects", 0, 0, G_OPTION_ARG_NONE, &reflects,
         "What the guest sends has to come back: a failure if it does not", NULL},
        {"common", 0, 0, G_OPTION_ARG_NONE, &common,
         "The guest is offered what both devices can give it, not all that the source can", NULL},
        {"rings", 0, 0, G_OPTION_ARG_STRING, &rings, "split (default) or packed", "KIND"},
        {"pairs", 0, 0, G_OPTION_ARG_INT, &pairs, "Queue pairs (those of the source)", "N"},
        {"vlans", 0, 0, G_OPTION_ARG_INT, &vlans, "VLAN filters that the guest sets (16)", "N"},
        {"rounds", 0, 0, G_OPTION_ARG_INT, &rounds, "Rounds of copying, at least (5)", "N"},
        {"repeat", 0, 0, G_OPTION_ARG_INT, &repeat, "How often there and back (1)", "N"},
        {"duration", 0, 0, G_OPTION_ARG_DOUBLE, &options.duration,
         "Seconds that the guest runs before and after a move, at least (0.5)", "S"},
        {"memory", 0, 0, G_OPTION_ARG_INT, &memory, "Guest memory (64)", "MIB"},
        {"seed", 0, 0, G_OPTION_ARG_INT64, &seed, "Of everything that is random (1)", "N"},
        {"keep", 0, 0, G_OPTION_ARG_NONE, &keep, "Keep the trackers' logs", NULL},
        {NULL},
    };

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 0, 0, &exit_code))
        return exit_code;
    json_wanted = json;
    if (!source || !target)
        vdt_verb_misword(&error, "ci-migrate needs --source DEVICE and --destination DEVICE");
    else if (guest && !g_str_equal(guest, "builtin") && !g_str_equal(guest, "uml"))
        vdt_verb_misword(&error, "--guest %s: builtin or uml is possible", guest);
    else if (rings && !g_str_equal(rings, "split") && !g_str_equal(rings, "packed"))
        vdt_verb_misword(&error, "--rings %s: split or packed is possible", rings);
    else if (!(options.duration >= 0 && options.duration <= 3600)) /* nor what is no number */
        vdt_verb_misword(&error, "--duration %g: 0 to 3600 is possible", options.duration);
    else if (!(options.max_downtime_ms == -1 || options.max_downtime_ms >= 0))
        vdt_verb_misword(&error, "--max-downtime %g: 0 or more is possible",
                         options.max_downtime_ms);
    else if ((pairs == VDT_ABSENT || vdt_verb_in_range("--pairs", pairs, 1, 32, &error)) &&
             vdt_verb_in_range("--vlans", vlans, 0, 4094, &error) &&
             vdt_verb_in_range("--rounds", rounds, 1, 10000, &error) &&
             vdt_verb_in_range("--repeat", repeat, 1, 1000, &error) &&
             vdt_verb_in_range("--memory", memory, 16, 4096, &error) &&
             vdt_verb_in_range("--timeout", seconds, 1, 86400, &error) &&
             is_file(path ? path : FILE_NAME, &error)) {
        options.uml = guest && g_str_equal(guest, "uml");
        options.device[0] = source;
        options.device[1] = target;
        options.packed = rings && g_str_equal(rings, "packed");
        options.reflects = reflects;
        options.common = common;
        options.pairs = pairs == VDT_ABSENT ? 0 : (unsigned) pairs;
        options.vlans = (unsigned) vlans;
        options.rounds = (unsigned) rounds;
        options.repeat = (unsigned) repeat;
        options.memory_mib = (unsigned) memory;
        options.seed = (uint64_t) seed;
        vdt_case_list_block_signals();
        exit_code = run(&options, path ? path : FILE_NAME, (unsigned) seconds, keep, &error);
    }
    return error ? vdt_verb_fail(json, error) : exit_code;
}
