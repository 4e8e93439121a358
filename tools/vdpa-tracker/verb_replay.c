/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <unistd.h>

#include "tools/vdpa-tracker/verb.h"

#include "migration/rehearse.h"

#define DEADLINE_MS 5000u

static JsonNode *
report_to_json(const struct vdt_replay_report *report, const GError *error)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "took");
    json_builder_add_boolean_value(builder, error == NULL);
    json_builder_set_member_name(builder, "error");
    json_builder_add_value(builder, vdt_error_json(error));
    json_builder_set_member_name(builder, "commands");
    json_builder_add_int_value(builder, report->commands);
    json_builder_set_member_name(builder, "acked");
    json_builder_add_int_value(builder, report->acked);
    json_builder_set_member_name(builder, "us");
    json_builder_add_int_value(builder, report->us);
    json_builder_set_member_name(builder, "steps");
    json_builder_begin_array(builder);
    for (guint i = 0; report->steps && i < report->steps->len; i++) {
        const struct vdt_replay_step *step = report->steps->pdata[i];

        json_builder_begin_object(builder);
        json_builder_set_member_name(builder, "command");
        json_builder_add_string_value(builder, step->text);
        json_builder_set_member_name(builder, "ack");
        json_builder_add_int_value(builder, step->ack);
        json_builder_set_member_name(builder, "us");
        json_builder_add_int_value(builder, step->us);
        json_builder_end_object(builder);
    }
    json_builder_end_array(builder);
    json_builder_end_object(builder);
    return json_builder_get_root(builder);
}

static void
print_report(const struct vdt_replay_report *report, const struct vdt_device *dev, bool took)
{
    for (guint i = 0; report->steps && i < report->steps->len; i++) {
        const struct vdt_replay_step *step = report->steps->pdata[i];

        printf("%8" G_GINT64_FORMAT " us  %-3s  %s\n", step->us,
               step->ack == VDT_ACK_OK ? "OK" : "ERR", step->text);
    }
    printf("%u of %u commands acknowledged in %" G_GINT64_FORMAT " us", report->acked,
           report->commands, report->us);
    if (took)
        printf(dev->ops->read_net_state ? ", read back: the same"
                                        : "; this device cannot be read back");
    puts("");
}

int
vdt_verb_replay(const struct vdt_verb *verb, int argc, char **argv)
{
    g_autofree char *device = NULL;
    gboolean json = FALSE;
    const GOptionEntry entries[] = {
        {"device", 'd', 0, G_OPTION_ARG_STRING, &device, "The device to replay into", "DEVICE"},
        {"json", 'j', 0, G_OPTION_ARG_NONE, &json, "The report as JSON", NULL},
        {NULL},
    };
    GError *error = NULL;
    int exit_code;

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 1, 1, &exit_code))
        return exit_code;
    if (!device)
        return vdt_verb_misused(json, "replay needs --device DEVICE");
    VDT_AUTO(snapshot) snapshot = vdt_snapshot_load(argv[1], &error);
    VDT_AUTO(device) dev = snapshot ? vdt_device_open(device, &error) : NULL;
    if (!dev)
        return vdt_verb_fail(json, error);

    struct vdt_replay_report report = {.keep_steps = true};
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "%u commands into %s ...\r",
                vdt_replay_count(&snapshot->net, snapshot->guest_features), dev->info.name);
    bool took = vdt_rehearse(dev, snapshot, &snapshot->net, DEADLINE_MS, &report, &error);
    if (isatty(STDERR_FILENO))
        fputs("\033[K", stderr);
    if (json)
        vdt_print_json(report_to_json(&report, error));
    else
        print_report(&report, dev, took);
    vdt_replay_report_clear(&report);
    /* The JSON has it already, beside what was answered. */
    return took ? VDT_EXIT_DONE : vdt_verb_fail(false, error);
}
