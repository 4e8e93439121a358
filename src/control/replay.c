/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "control/replay.h"

#include <vdpa-tracker/error.h>

/* The commands of one replay: their bytes stand in one block, addressed once it has stopped
 * growing. */
struct script {
    GArray *commands; /* struct vdt_command, @data not set until finish_script() */
    GByteArray *bytes;
};

struct run {
    struct vdt_device_cvq *cvq;
    struct vdt_replay_report *report;
    unsigned count;
    int64_t began;
    GError *refused; /* owned */
};

static void
free_step(gpointer data)
{
    struct vdt_replay_step *step = data;

    g_free(step->text);
    g_free(step);
}

void
vdt_replay_report_clear(struct vdt_replay_report *report)
{
    g_clear_pointer(&report->steps, g_ptr_array_unref);
    report->commands = report->acked = 0;
    report->us = 0;
}

static bool
count_command(void *ctx, const struct vdt_command *command)
{
    ++*(unsigned *) ctx;
    return true;
}

unsigned
vdt_replay_count(const struct vdt_net_state *state, uint64_t features)
{
    unsigned count = 0;
    const struct vdt_command_sink sink = {count_command, &count};

    vdt_command_emit(state, features, &sink);
    return count;
}

static bool
note_command(void *ctx, const struct vdt_command *command)
{
    struct script *script = ctx;

    g_array_append_vals(script->commands, command, 1);
    g_byte_array_append(script->bytes, command->data, command->len);
    return true;
}

static void
write_script(struct script *script, const struct vdt_net_state *state, uint32_t groups,
             uint64_t features)
{
    const struct vdt_command_sink sink = {note_command, script};
    struct vdt_net_state part = *state;
    const uint8_t *data;

    script->commands = g_array_new(FALSE, FALSE, sizeof(struct vdt_command));
    script->bytes = g_byte_array_new();
    part.set &= groups;
    vdt_command_emit(&part, features, &sink);
    data = script->bytes->data;
    for (guint i = 0; i < script->commands->len; i++) {
        struct vdt_command *command = &g_array_index(script->commands, struct vdt_command, i);

        command->data = data;
        data += command->len;
    }
}

static void
clear_script(struct script *script)
{
    g_array_unref(script->commands);
    g_byte_array_unref(script->bytes);
}

static void
keep_step(struct run *run, const struct vdt_command *command, uint8_t ack)
{
    struct vdt_replay_step *step = g_new0(struct vdt_replay_step, 1);

    step->text = vdt_command_describe(command);
    step->ack = ack;
    step->us = g_get_monotonic_time() - run->began;
    g_ptr_array_add(run->report->steps, step);
}

static bool
hear_answer(void *ctx, unsigned index, const struct vdt_command *command,
            const struct vdt_command_result *result)
{
    struct run *run = ctx;

    run->report->commands++;
    if (run->report->steps)
        keep_step(run, command, result->ack);
    if (result->ack == VDT_ACK_OK) {
        run->report->acked++;
        return true;
    }
    g_autofree char *text = vdt_command_describe(command);
    run->refused = g_error_new(
        VDT_ERROR, VDT_ERROR_REFUSED,
        "replaying command %u of %u (%s) onto %s: the device answered ERR; it must not be started",
        index + 1, run->count, text, vdt_device_cvq_name(run->cvq));
    return false;
}

/* A set group that no negotiated command covers would be lost without a word. */
static bool
check_covered(const struct vdt_net_state *state, uint64_t features,
              const struct vdt_device_cvq *cvq, GError **error)
{
    const uint32_t lacking = vdt_command_groups_lacking(state, features);
    const struct vdt_command_rule *rules;
    unsigned count;

    if (lacking == 0)
        return true;
    rules = vdt_command_rules(&count);
    for (unsigned i = 0; i < count; i++) {
        if (!(rules[i].groups & lacking))
            continue;
        g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                    "the state cannot be replayed onto %s: it needs %s, whose feature is not "
                    "negotiated; nothing was sent",
                    vdt_device_cvq_name(cvq), rules[i].name);
        break;
    }
    return false;
}

/* The @groups of @state. The state is checked whole, so that no part is sent of what cannot be
 * carried. */
static bool
replay(const struct vdt_net_state *state, uint32_t groups, uint64_t features,
       struct vdt_device_cvq *cvq, unsigned deadline_ms, struct vdt_replay_report *report,
       GError **error)
{
    struct run run = {.cvq = cvq, .report = report, .began = g_get_monotonic_time()};
    struct script script;
    bool ok;

    vdt_replay_report_clear(report);
    if (!vdt_net_state_valid(state, error) || !check_covered(state, features, cvq, error))
        return false;
    if (report->keep_steps)
        report->steps = g_ptr_array_new_with_free_func(free_step);
    write_script(&script, state, groups, features);
    run.count = script.commands->len;
    ok = vdt_device_cvq_run(cvq, (const struct vdt_command *) script.commands->data, run.count,
                            deadline_ms, hear_answer, &run, error);
    report->us = g_get_monotonic_time() - run.began;
    clear_script(&script);
    if (run.refused) {
        /* Which command was refused says more than a silence behind it. */
        if (!ok)
            g_clear_error(error);
        g_propagate_error(error, run.refused);
        return false;
    }
    if (!ok)
        g_prefix_error(error, "replaying command %u of %u onto %s: ", report->commands + 1,
                       run.count, vdt_device_cvq_name(cvq));
    return ok;
}

static uint32_t
late_groups(void)
{
    const struct vdt_command_rule *rules;
    uint32_t groups = 0;
    unsigned count;

    rules = vdt_command_rules(&count);
    for (unsigned i = 0; i < count; i++) {
        if (rules[i].late)
            groups |= rules[i].groups;
    }
    return groups;
}

bool
vdt_replay(const struct vdt_net_state *state, uint64_t features, struct vdt_device_cvq *cvq,
           unsigned deadline_ms, struct vdt_replay_report *report, GError **error)
{
    return replay(state, ~0u, features, cvq, deadline_ms, report, error);
}

bool
vdt_replay_early(const struct vdt_net_state *state, uint64_t features, struct vdt_device_cvq *cvq,
                 unsigned deadline_ms, struct vdt_replay_report *report, GError **error)
{
    return replay(state, ~late_groups(), features, cvq, deadline_ms, report, error);
}

bool
vdt_replay_late(const struct vdt_net_state *state, uint64_t features, struct vdt_device_cvq *cvq,
                unsigned deadline_ms, struct vdt_replay_report *report, GError **error)
{
    return replay(state, late_groups(), features, cvq, deadline_ms, report, error);
}
