/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "control/replay.h"

#include <vdpa-tracker/error.h>

#include "virtio/net_ctrl.h"

struct run {
    struct vdt_device_cvq *cvq;
    struct vdt_replay_report *report;
    int64_t began;
    GPtrArray *texts; /* owned, char *; NULL unless steps are kept */
    GError *error;    /* owned: of put() */
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

void
vdt_replay_insist(struct vdt_net_state *state, uint64_t features)
{
    if (state->set & (VDT_NET_PAIRS | VDT_NET_RSS | VDT_NET_HASH))
        return;
    if (features & (VDT_BIT(VIRTIO_NET_F_MQ) | VDT_BIT(VIRTIO_NET_F_RSS))) {
        state->queue_pairs = 1;
        state->set |= VDT_NET_PAIRS;
    } else if (features & VDT_BIT(VIRTIO_NET_F_HASH_REPORT)) {
        state->hash = (struct vdt_net_rss){0};
        state->set |= VDT_NET_HASH;
    }
}

static bool
note_text(void *ctx, const struct vdt_command *command)
{
    g_ptr_array_add(ctx, vdt_command_describe(command));
    return true;
}

static GPtrArray *
all_texts(const struct vdt_net_state *state, uint64_t features)
{
    GPtrArray *texts = g_ptr_array_new_with_free_func(g_free);
    const struct vdt_command_sink sink = {note_text, texts};

    vdt_command_emit(state, features, &sink);
    return texts;
}

static bool
put_command(void *ctx, const struct vdt_command *command)
{
    struct run *run = ctx;

    return vdt_device_cvq_put(run->cvq, command, &run->error);
}

static void
keep_step(void *ctx, unsigned index, uint8_t ack)
{
    struct run *run = ctx;
    struct vdt_replay_step *step = g_new0(struct vdt_replay_step, 1);

    step->text = g_steal_pointer(&run->texts->pdata[index]);
    step->ack = ack;
    step->us = g_get_monotonic_time() - run->began;
    g_ptr_array_add(run->report->steps, step);
}

/* Which it was is looked up only now: emitting the state again says the same again. */
static void
set_refused(const struct run *run, const struct vdt_net_state *state, uint64_t features,
            GError **error)
{
    const unsigned index = run->report->acked;
    g_autoptr(GPtrArray) texts = all_texts(state, features);

    g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                "replaying command %u of %u (%s) onto %s: the device answered ERR; it must not be "
                "started",
                index + 1, texts->len, (const char *) g_ptr_array_index(texts, index),
                vdt_device_cvq_name(run->cvq));
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

/* From the state straight into the buffers that the device reads. */
static bool
send_all(struct run *run, const struct vdt_net_state *state, uint64_t features,
         unsigned deadline_ms, GError **error)
{
    const struct vdt_command_sink sink = {put_command, run};
    struct vdt_command_tally tally;
    bool ok;

    if (!vdt_device_cvq_begin(run->cvq, deadline_ms, &tally, run->texts ? keep_step : NULL, run,
                              error))
        return false;
    vdt_command_emit(state, features, &sink);
    ok = !run->error && vdt_device_cvq_end(run->cvq, &run->error);
    run->report->commands = tally.acked + tally.refused;
    run->report->acked = tally.acked;
    run->report->us = g_get_monotonic_time() - run->began;
    /* Which command was refused says more than a silence behind it. */
    if (tally.refused) {
        g_clear_error(&run->error);
        set_refused(run, state, features, error);
        return false;
    }
    if (ok)
        return true;
    g_propagate_prefixed_error(error, g_steal_pointer(&run->error),
                               "replaying command %u of %u onto %s: ", tally.acked + 1,
                               vdt_replay_count(state, features), vdt_device_cvq_name(run->cvq));
    return false;
}

/* The @groups of @state. The state is checked whole, so that no part is sent of what cannot be
 * carried. */
static bool
replay(const struct vdt_net_state *state, uint32_t groups, uint64_t features,
       struct vdt_device_cvq *cvq, unsigned deadline_ms, struct vdt_replay_report *report,
       GError **error)
{
    struct run run = {.cvq = cvq, .report = report};
    struct vdt_net_state part = *state;

    vdt_replay_report_clear(report);
    if (!vdt_net_state_valid(state, error) || !check_covered(state, features, cvq, error))
        return false;
    part.set &= groups;
    if (report->keep_steps) {
        report->steps = g_ptr_array_new_with_free_func(free_step);
        run.texts = all_texts(&part, features);
    }
    run.began = g_get_monotonic_time();
    bool ok = send_all(&run, &part, features, deadline_ms, error);
    g_clear_pointer(&run.texts, g_ptr_array_unref);
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
