/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/vdpa-tracker/demo.h"
#include "tools/vdpa-tracker/scratch.h"
#include "tools/vdpa-tracker/verb.h"

#include "device/sim_options.h"

#define MEMORY_MAX_MIB 4096

static bool json_wanted, on_terminal;

/* On a terminal a step's line is written over until the step is done; elsewhere only its last one
 * is printed. With --json standard output is for the verdict alone. */
static void
progress(const char *line, bool done)
{
    FILE *to = json_wanted ? stderr : stdout;

    if (on_terminal)
        fprintf(to, "\r\033[K%s%s", line, done ? "\n" : "");
    else if (done)
        fprintf(to, "%s\n", line);
    fflush(to);
}

static void
add_number(JsonBuilder *builder, const char *name, uint64_t value)
{
    json_builder_set_member_name(builder, name);
    json_builder_add_int_value(builder, (gint64) value);
}

static void
begin(JsonBuilder *builder, const char *name)
{
    json_builder_set_member_name(builder, name);
    json_builder_begin_object(builder);
}

static void
print_json(const struct vdt_course_report *report)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "verdict");
    json_builder_add_string_value(builder, report->reasons->len ? "failed" : "ok");
    begin(builder, "chains");
    add_number(builder, "available", report->sums.available);
    add_number(builder, "used", report->sums.used);
    add_number(builder, "lost", report->lost);
    add_number(builder, "duplicated", report->sums.duplicated);
    json_builder_end_object(builder);
    begin(builder, "pages");
    add_number(builder, "written", report->pages_written);
    add_number(builder, "missed", report->pages_missed);
    add_number(builder, "total", report->memory_pages);
    add_number(builder, "copied", report->pages_copied);
    json_builder_end_object(builder);
    begin(builder, "commands");
    add_number(builder, "captured", report->captured);
    add_number(builder, "replayed", report->replayed);
    add_number(builder, "refused", report->refused);
    json_builder_end_object(builder);
    json_builder_set_member_name(builder, "state_equal");
    json_builder_add_boolean_value(builder, report->state_equal);
    add_number(builder, "downtime_us", (uint64_t) report->downtime_us);
    add_number(builder, "total_us", (uint64_t) report->total_us);
    add_number(builder, "first_copy_us", (uint64_t) report->first_copy_us);
    add_number(builder, "snapshot_bytes", report->snapshot_bytes);
    begin(builder, "in_flight");
    add_number(builder, "receive", report->in_flight_rx);
    add_number(builder, "transmit", report->in_flight_tx);
    json_builder_end_object(builder);
    begin(builder, "frames");
    add_number(builder, "sent", report->frames_sent);
    add_number(builder, "received", report->frames_received);
    add_number(builder, "corrupt", report->frames_corrupt);
    json_builder_end_object(builder);
    add_number(builder, "rounds", report->rounds);
    json_builder_set_member_name(builder, "reasons");
    json_builder_begin_array(builder);
    for (unsigned i = 0; i < report->reasons->len; i++)
        json_builder_add_string_value(builder, report->reasons->pdata[i]);
    json_builder_end_array(builder);
    json_builder_end_object(builder);
    vdt_print_json(json_builder_get_root(builder));
}

static void
print_kinds(const struct vdt_course_report *report)
{
    for (unsigned i = 0; i < VDT_SCRIPT_KINDS; i++) {
        if (report->of_kind[i])
            printf("    %-22s %8lu\n", vdt_script_kind_name(i), (unsigned long) report->of_kind[i]);
    }
}

static void
print_text(const struct vdt_course_report *report)
{
#define ROW(name, format, ...) printf("  %-24s " format "\n", name, __VA_ARGS__)
    printf("\nWhat the guest saw\n");
    ROW("chains available", "%8lu", (unsigned long) report->sums.available);
    ROW("chains used", "%8lu", (unsigned long) report->sums.used);
    ROW("  lost", "%8lu", (unsigned long) report->lost);
    ROW("  used twice", "%8lu", (unsigned long) report->sums.duplicated);
    ROW("in flight at the switch", "%8lu receive, %lu transmit",
        (unsigned long) report->in_flight_rx, (unsigned long) report->in_flight_tx);
    ROW("frames sent", "%8lu", (unsigned long) report->frames_sent);
    ROW("frames back", "%8lu  (filtered, or left in the stopped device: %lu)",
        (unsigned long) report->frames_received,
        (unsigned long) (report->frames_sent - report->frames_received));
    ROW("downtime", "%8.1f ms", (double) report->downtime_us / 1000);
    ROW("whole migration", "%8.1f ms", (double) report->total_us / 1000);
    printf("\nMemory\n");
    ROW("pages", "%8lu", (unsigned long) report->memory_pages);
    ROW("logged by the tracker", "%8lu", (unsigned long) report->pages_written);
    ROW("copied", "%8lu in %lu rounds", (unsigned long) report->pages_copied,
        (unsigned long) report->rounds);
    ROW("  missed", "%8lu", (unsigned long) report->pages_missed);
    printf("\nControl state\n");
    ROW("commands captured", "%8lu  (%lu while memory was copied)",
        (unsigned long) report->captured, (unsigned long) report->commands_before);
    ROW("commands replayed", "%8lu  in %.1f ms", (unsigned long) report->replayed,
        (double) report->replay_us / 1000);
    ROW("  refused", "%8lu", (unsigned long) report->refused);
    ROW("device state", "%s", report->state_equal ? "   equal" : "  DIFFERS");
    ROW("snapshot", "%8lu bytes", (unsigned long) report->snapshot_bytes);
    printf("\n  acknowledged on both sides\n");
    print_kinds(report);
#undef ROW
    printf("\nverdict: %s\n", report->reasons->len ? "FAILED" : "ok");
    for (unsigned i = 0; i < report->reasons->len; i++)
        printf("  %s\n", (char *) report->reasons->pdata[i]);
}

static int
show(const struct vdt_demo_options *options, bool keep, GError **error)
{
    g_autofree char *dir = vdt_scratch_make("vdpa-tracker-demo", error);
    struct vdt_course_report report;

    if (!dir)
        return VDT_EXIT_FAILED;
    bool ok = vdt_demo_run(options, &report, error);
    int exit_code = ok && report.reasons->len == 0 ? VDT_EXIT_DONE : VDT_EXIT_FAILED;

    if (ok && json_wanted)
        print_json(&report);
    else if (ok)
        print_text(&report);
    vdt_course_report_clear(&report);
    if (keep)
        fprintf(stderr, "kept: %s\n", dir);
    else
        vdt_scratch_remove(dir);
    return exit_code;
}

/* Said here, a tracker that does not come up would say it in its log. */
static bool
sim_options(const char *text, GError **error)
{
    struct vdt_sim_options options;
    bool ok = !text || vdt_sim_options_parse(&options, text, error);

    if (text)
        vdt_sim_options_clear(&options);
    return ok;
}

int
vdt_verb_demo(const struct vdt_verb *verb, int argc, char **argv)
{
    struct vdt_demo_options options = {
        .course = {.num = 256, .duration = 1.0, .progress = progress}};
    int pairs = 4, vlans = 16, memory = 64, rounds = 5, commands = 100;
    gint64 seed = 1;
    gboolean json = FALSE, ooo = FALSE, keep = FALSE;
    static const char *const policies[] = {"always", "never", "auto", NULL};
    g_autofree char *rings = NULL, *source = NULL, *target = NULL, *shadow = NULL;
    g_autoptr(GError) error = NULL;
    int exit_code;
    const GOptionEntry entries[] = {
        {"json", 'j', 0, G_OPTION_ARG_NONE, &json, "The verdict as JSON", NULL},
        {"seed", 0, 0, G_OPTION_ARG_INT64, &seed, "Of everything that is random (1)", "N"},
        {"rings", 0, 0, G_OPTION_ARG_STRING, &rings, "split (default) or packed", "KIND"},
        {"out-of-order", 0, 0, G_OPTION_ARG_NONE, &ooo, "Devices use chains out of order", NULL},
        {"pairs", 0, 0, G_OPTION_ARG_INT, &pairs, "Queue pairs (4)", "N"},
        {"vlans", 0, 0, G_OPTION_ARG_INT, &vlans, "VLAN filters that the guest sets (16)", "N"},
        {"rounds", 0, 0, G_OPTION_ARG_INT, &rounds, "Rounds of copying, at least (5)", "N"},
        {"commands", 0, 0, G_OPTION_ARG_INT, &commands,
         "Control commands while rounds run, at least (100)", "N"},
        {"duration", 0, 0, G_OPTION_ARG_DOUBLE, &options.course.duration,
         "Seconds that the guest runs on each side, at least (1)", "S"},
        {"memory", 0, 0, G_OPTION_ARG_INT, &memory, "Guest memory (64)", "MIB"},
        {"shadow", 0, 0, G_OPTION_ARG_STRING, &shadow, "As for run (always)", "POLICY"},
        {"source", 0, 0, G_OPTION_ARG_STRING, &source, "More sim: options of the source", "OPTS"},
        {"destination", 0, 0, G_OPTION_ARG_STRING, &target, "More sim: options of the destination",
         "OPTS"},
        {"keep", 0, 0, G_OPTION_ARG_NONE, &keep, "Keep the trackers' logs", NULL},
        {NULL},
    };

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 0, 0, &exit_code))
        return exit_code;
    json_wanted = json;
    on_terminal = isatty(json ? STDERR_FILENO : STDOUT_FILENO);
    if (rings && !g_str_equal(rings, "split") && !g_str_equal(rings, "packed"))
        vdt_verb_misword(&error, "--rings %s: split or packed is possible", rings);
    else if (shadow && !g_strv_contains(policies, shadow))
        vdt_verb_misword(&error, "--shadow %s: always, never or auto is possible", shadow);
    else if (!(options.course.duration >= 0 &&
               options.course.duration <= 3600)) /* nor what is no number */
        vdt_verb_misword(&error, "--duration %g: 0 to 3600 is possible", options.course.duration);
    else if (sim_options(source, &error) && sim_options(target, &error) &&
             vdt_verb_in_range("--pairs", pairs, 1, 16, &error) &&
             vdt_verb_in_range("--vlans", vlans, 0, 4094, &error) &&
             vdt_verb_in_range("--rounds", rounds, 1, 10000, &error) &&
             vdt_verb_in_range("--commands", commands, 0, 1000000, &error) &&
             vdt_verb_in_range("--memory", memory, 16, MEMORY_MAX_MIB, &error)) {
        options.course.pairs = (unsigned) pairs;
        options.course.vlans = (unsigned) vlans;
        options.course.rounds = (unsigned) rounds;
        options.course.commands = (unsigned) commands;
        options.course.memory_mib = (unsigned) memory;
        options.course.seed = (uint64_t) seed;
        options.course.packed = rings && g_str_equal(rings, "packed");
        options.out_of_order = ooo;
        options.source = source;
        options.target = target;
        options.course.shadow = shadow ? shadow : "always";
        exit_code = show(&options, keep, &error);
    }
    return error ? vdt_verb_fail(json, g_steal_pointer(&error)) : exit_code;
}
