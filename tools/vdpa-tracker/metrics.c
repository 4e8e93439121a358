/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/metrics.h"

#include <string.h>

#include "tools/vdpa-tracker/status_look.h"
#include "tools/vdpa-tracker/tracker_list.h"

#include "migration/phase.h"

#define PREFIX VDT_METRICS_PREFIX

enum type { GAUGE, COUNTER, STATES };
enum scope { TRACKER, RING, COUNTED, PHASE }; /* COUNTED: data rings whose chains we see */
enum value { NUMBER, MICROSECONDS, FLAG, PRESENT, ABSENT };

static const char *const modes[] = {"stopped", "passthrough", "shadow", "frozen", NULL};
static const char *const arrivals[] = {"new", "resumed", "recovered", "loaded", "stateless", NULL};
static const char *const handovers[] = {"off", "none", "held", "given", "failed", NULL};
static const char *const recoveries[] = {"off", "none", "waiting", "done", "dropped", NULL};

/* Where a unit is given, the name ends with it. */
static const struct metric {
    const char *name; /* without the prefix */
    enum type type;
    const char *unit; /* NULL: none */
    enum scope scope;
    const char *path; /* in the status, the ring, the phase */
    enum value value;
    const char *help;
    const char *const *states; /* of STATES, NULL: the phases */
} metrics[] = {
    {"_connected", GAUGE, NULL, TRACKER, "connected", FLAG, "Whether a VMM is connected."},
    {"_phase", STATES, NULL, TRACKER, "phase", NUMBER, "Where the NIC stands in a migration."},
    {"_phase_entries", COUNTER, NULL, PHASE, "count", NUMBER, "How often a phase was entered."},
    {"_phase_duration_seconds", COUNTER, "seconds", PHASE, "total_us", MICROSECONDS,
     "Time spent in a phase, the present stay included."},
    {"_phase_last_seconds", GAUGE, "seconds", PHASE, "last_us", MICROSECONDS,
     "Length of the last stay in a phase, which may still last."},
    {"_phase_entered_seconds", GAUGE, "seconds", PHASE, "since_us", MICROSECONDS,
     "When a phase was entered last, since 1970."},
    {"_mode", STATES, NULL, TRACKER, "mode", NUMBER, "Who works on the guest's rings.", modes},
    {"_arrival", STATES, NULL, TRACKER, "arrival", NUMBER,
     "Where the guest comes from whose rings run.", arrivals},
    {"_failed", GAUGE, NULL, TRACKER, "failure", PRESENT, "Whether something failed; see status."},
    {"_migratable", GAUGE, NULL, TRACKER, "unmigratable", ABSENT,
     "Whether the state can be carried, as far as is known now."},
    {"_dirty_logging", GAUGE, NULL, TRACKER, "logging", FLAG, "Whether dirty pages are logged."},
    {"_dirty_pages", GAUGE, NULL, TRACKER, "dirty_pages", NUMBER,
     "Pages that are marked in the log and not collected by the VMM yet."},
    {"_freeze_last_seconds", GAUGE, "seconds", TRACKER, "frozen_us", MICROSECONDS,
     "How long the device stood still the last time."},
    {"_ring_size", GAUGE, NULL, RING, "size", NUMBER, "Entries of a ring."},
    {"_ring_active", GAUGE, NULL, RING, "active", FLAG, "Whether a ring runs."},
    {"_ring_broken", GAUGE, NULL, RING, "broken", PRESENT,
     "Whether a ring is out of service since guest or device broke its rules."},
    {"_ring_counted", GAUGE, NULL, RING, "counted", FLAG,
     "Whether a ring's chains pass through the tracker; else the device works on it itself."},
    {"_ring_in_flight", GAUGE, NULL, COUNTED, "in_flight", NUMBER,
     "Chains that the device has and has not used."},
    {"_ring_chains", COUNTER, NULL, COUNTED, "chains", NUMBER, "Chains taken from the guest."},
    {"_ring_returned_chains", COUNTER, NULL, COUNTED, "returned", NUMBER,
     "Chains given back to the guest."},
    {"_ring_received_bytes", COUNTER, "bytes", COUNTED, "bytes_in", NUMBER,
     "Bytes that the device wrote to guest memory, by its own account."},
    {"_ring_sent_bytes", COUNTER, "bytes", COUNTED, "bytes_out", NUMBER,
     "Bytes of guest memory handed to the device for reading."},
    {"_ring_guest_kicks", COUNTER, NULL, COUNTED, "kicks_taken", NUMBER, "Kicks of the guest."},
    {"_ring_device_kicks", COUNTER, NULL, COUNTED, "kicks_sent", NUMBER,
     "Kicks passed on to the device."},
    {"_ring_device_calls", COUNTER, NULL, COUNTED, "calls_taken", NUMBER, "Calls of the device."},
    {"_ring_guest_calls", COUNTER, NULL, COUNTED, "calls_sent", NUMBER,
     "Calls passed on to the guest."},
    {"_ring_repeated_requests", COUNTER, NULL, RING, "ran_again", NUMBER,
     "Requests made available again after a crash."},
    {"_control_commands", COUNTER, NULL, TRACKER, "commands.captured", NUMBER,
     "Control commands that the device took."},
    {"_control_refused_commands", COUNTER, NULL, TRACKER, "commands.refused", NUMBER,
     "Control commands that were answered with an error."},
    {"_replay_last_commands", GAUGE, NULL, TRACKER, "commands.replayed", NUMBER,
     "Control commands of the last replay."},
    {"_replay_last_seconds", GAUGE, "seconds", TRACKER, "commands.replay_us", MICROSECONDS,
     "Duration of the last replay."},
    {"_saves", COUNTER, NULL, TRACKER, "carried.saves", NUMBER, "States handed to the VMM."},
    {"_loads", COUNTER, NULL, TRACKER, "carried.loads", NUMBER, "States taken from the VMM."},
    {"_restores", COUNTER, NULL, TRACKER, "carried.restores", NUMBER, "Snapshots taken."},
    {"_swaps", COUNTER, NULL, TRACKER, "carried.swaps", NUMBER, "Moves to another device."},
    {"_rehearsal_last_seconds", GAUGE, "seconds", TRACKER, "carried.rehearsed_us", MICROSECONDS,
     "How long the last state that came in was tried on the device."},
    {"_swap_open_last_seconds", GAUGE, "seconds", TRACKER, "carried.swap_opened_us", MICROSECONDS,
     "How long the last swap opened and mapped the other device, while the guest ran."},
    {"_swap_freeze_last_seconds", GAUGE, "seconds", TRACKER, "carried.swap_frozen_us", MICROSECONDS,
     "How long the NIC stood still in the last swap."},
    {"_handover", STATES, NULL, TRACKER, "handover.state", NUMBER,
     "What became of the last handover of a state by a command.", handovers},
    {"_handovers", COUNTER, NULL, TRACKER, "handover.given", NUMBER,
     "States that a command has brought to the destination."},
    {"_failed_handovers", COUNTER, NULL, TRACKER, "handover.failed", NUMBER,
     "States that a command has not brought to the destination."},
    {"_handover_last_seconds", GAUGE, "seconds", TRACKER, "handover.us", MICROSECONDS,
     "How long the VMM was held for the last handover, or is."},
    {"_awaits_state", GAUGE, NULL, TRACKER, "handover.awaits_state", FLAG,
     "Whether rings stand still since the state of their guest has not come."},
    {"_recovery", STATES, NULL, TRACKER, "recovery.state", NUMBER,
     "What became of the guest of the tracker before.", recoveries},
    {"_recovered_commands", GAUGE, NULL, TRACKER, "recovery.commands", NUMBER,
     "Control commands replayed for a guest that went on after a crash."},
    {"_recovered_requests", GAUGE, NULL, TRACKER, "recovery.requests", NUMBER,
     "Requests made available again for it."},
    {"_journal_records", COUNTER, NULL, TRACKER, "recovery.journal", NUMBER,
     "Records that the journal has seen."},
    {"_journal_write_last_seconds", GAUGE, "seconds", TRACKER, "recovery.write_us", MICROSECONDS,
     "Duration of the journal's last write."},
};

/* What a tracker is, as labels of one sample. */
static const struct {
    const char *label, *path;
} facts[] = {
    {"version", "version"},      {"uuid", "uuid"}, {"mac", "mac"}, {"device", "device.name"},
    {"driver", "device.driver"},
};

void
vdt_metrics_escape(GString *text, const char *value)
{
    for (const char *c = value; *c; c++) {
        if (*c == '\n')
            g_string_append(text, "\\n");
        else if (*c == '"' || *c == '\\')
            g_string_append_printf(text, "\\%c", *c);
        else
            g_string_append_c(text, *c);
    }
}

static void
add_label(GString *labels, const char *name, const char *value)
{
    g_string_append_printf(labels, "%s%s=\"", labels->len ? "," : "", name);
    vdt_metrics_escape(labels, value);
    g_string_append_c(labels, '"');
}

/* The older format knows neither info nor state sets, and a counter by its samples' name. */
void
vdt_metrics_head(GString *text, enum vdt_metrics_format format, const char *name, const char *type,
                 const char *unit, const char *help)
{
    bool old = format == VDT_METRICS_PROMETHEUS, counts = g_str_equal(type, "counter");
    const char *end = old && counts ? "_total" : old && g_str_equal(type, "info") ? "_info" : "";

    g_string_append_printf(text, "# TYPE " PREFIX "%s%s %s\n", name, end,
                           old && !counts ? "gauge" : type);
    if (unit && !old)
        g_string_append_printf(text, "# UNIT " PREFIX "%s %s\n", name, unit);
    g_string_append_printf(text, "# HELP " PREFIX "%s%s %s\n", name, end, help);
}

/* printf() would write a decimal point as the locale has it. */
static bool
add_value(GString *text, const struct metric *metric, JsonNode *node)
{
    gint64 number = 0;

    switch (metric->value) {
    case FLAG:
        g_string_append_printf(text, "%d", vdt_look_bool(node, metric->path));
        return true;
    case PRESENT:
    case ABSENT:
        g_string_append_printf(
            text, "%d", (vdt_look(node, metric->path) != NULL) == (metric->value == PRESENT));
        return true;
    case NUMBER:
    case MICROSECONDS:
        break;
    }
    if (!vdt_look_number(node, metric->path, &number))
        return false;
    if (metric->value == NUMBER)
        g_string_append_printf(text, "%" G_GUINT64_FORMAT, (guint64) number);
    else
        g_string_append_printf(text, "%" G_GUINT64_FORMAT ".%06u",
                               (guint64) number / G_USEC_PER_SEC,
                               (unsigned) ((guint64) number % G_USEC_PER_SEC));
    return true;
}

static void
add_sample(GString *text, const struct metric *metric, const char *labels, JsonNode *node)
{
    g_autoptr(GString) line = g_string_new(NULL);

    g_string_append_printf(line, PREFIX "%s%s{%s} ", metric->name,
                           metric->type == COUNTER ? "_total" : "", labels);
    if (add_value(line, metric, node))
        g_string_append_printf(text, "%s\n", line->str);
}

static const char *
state_name(const struct metric *metric, unsigned i)
{
    if (metric->states)
        return metric->states[i];
    return i < VDT_PHASE_COUNT ? vdt_phase_name((enum vdt_phase) i) : NULL;
}

static void
add_states(GString *text, const struct metric *metric, const char *labels, JsonNode *node)
{
    const char *now = vdt_look_text(node, metric->path);

    const char *state;

    for (unsigned i = 0; (state = state_name(metric, i)); i++)
        g_string_append_printf(text, PREFIX "%s{%s," PREFIX "%s=\"%s\"} %d\n", metric->name, labels,
                               metric->name, state, g_strcmp0(now, state) == 0);
}

static void
add_rings(GString *text, const struct metric *metric, const char *labels, JsonNode *status)
{
    JsonArray *rings = vdt_look_array(status, "rings");

    for (guint i = 0; rings && i < json_array_get_length(rings); i++) {
        JsonNode *ring = json_array_get_element(rings, i);
        const char *kind = vdt_look_text(ring, "kind");
        g_autoptr(GString) of_ring = g_string_new(labels);
        gint64 index;

        if (!vdt_look_number(ring, "index", &index) ||
            (metric->scope == COUNTED &&
             (!vdt_look_bool(ring, "counted") || g_strcmp0(kind, "cvq") == 0)))
            continue;
        g_autofree char *number = g_strdup_printf("%" G_GINT64_FORMAT, index);
        add_label(of_ring, "ring", number);
        add_label(of_ring, "kind", kind ? kind : "");
        add_sample(text, metric, of_ring->str, ring);
    }
}

static void
add_phases(GString *text, const struct metric *metric, const char *labels, JsonNode *status)
{
    for (unsigned i = 0; i < VDT_PHASE_COUNT; i++) {
        const char *name = vdt_phase_name((enum vdt_phase) i);
        g_autofree char *path = g_strdup_printf("phases.%s", name);
        JsonNode *phase = vdt_look(status, path);
        g_autoptr(GString) of_phase = g_string_new(labels);

        add_label(of_phase, "phase", name);
        if (phase)
            add_sample(text, metric, of_phase->str, phase);
    }
}

static void
add_family(GString *text, enum vdt_metrics_format format, const struct metric *metric,
           const GPtrArray *trackers)
{
    static const char *const types[] = {
        [GAUGE] = "gauge", [COUNTER] = "counter", [STATES] = "stateset"};

    vdt_metrics_head(text, format, metric->name, types[metric->type], metric->unit, metric->help);
    for (guint i = 0; i < trackers->len; i++) {
        const struct vdt_listed_tracker *tracker = trackers->pdata[i];
        g_autoptr(GString) labels = g_string_new(NULL);

        if (!tracker->status)
            continue;
        add_label(labels, "tracker", tracker->name);
        if (metric->type == STATES)
            add_states(text, metric, labels->str, tracker->status);
        else if (metric->scope == RING || metric->scope == COUNTED)
            add_rings(text, metric, labels->str, tracker->status);
        else if (metric->scope == PHASE)
            add_phases(text, metric, labels->str, tracker->status);
        else
            add_sample(text, metric, labels->str, tracker->status);
    }
}

char *
vdt_metrics_text(const GPtrArray *trackers, enum vdt_metrics_format format)
{
    GString *text = g_string_new(NULL);

    vdt_metrics_head(text, format, "_up", "gauge", NULL, "Whether a tracker answers.");
    for (guint i = 0; i < trackers->len; i++) {
        const struct vdt_listed_tracker *tracker = trackers->pdata[i];
        g_autoptr(GString) labels = g_string_new(NULL);

        add_label(labels, "tracker", tracker->name);
        g_string_append_printf(text, PREFIX "_up{%s} %d\n", labels->str, tracker->status != NULL);
    }
    vdt_metrics_head(text, format, "", "info", NULL, "What a tracker is.");
    for (guint i = 0; i < trackers->len; i++) {
        const struct vdt_listed_tracker *tracker = trackers->pdata[i];
        g_autoptr(GString) labels = g_string_new(NULL);

        add_label(labels, "tracker", tracker->name);
        for (unsigned k = 0; k < G_N_ELEMENTS(facts); k++) {
            const char *value = vdt_look_text(tracker->status, facts[k].path);
            if (value)
                add_label(labels, facts[k].label, value);
        }
        if (tracker->status)
            g_string_append_printf(text, PREFIX "_info{%s} 1\n", labels->str);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(metrics); i++)
        add_family(text, format, &metrics[i], trackers);
    if (format == VDT_METRICS_OPEN)
        g_string_append(text, "# EOF\n");
    return g_string_free(text, FALSE);
}
