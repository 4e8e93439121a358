/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/demo.h"

#include <endian.h>
#include <string.h>

#include <vdpa-tracker/error.h>

#include "guest/migrate.h"
#include "snapshot/json.h"
#include "tools/vdpa-tracker/tracker_process.h"

#define CONNECT_MS 10000
#define ROUND_MS 50
#define PRECOPY_MS 120000 /* the longest that the rounds may last */
#define SETTLE_MS 20000   /* the longest wait for anything to come to rest */
#define DRAIN_MS 20000

struct demo {
    const struct vdt_demo_options *options;
    struct vdt_demo_report *report;
    struct vdt_tracker_process *source_process, *target_process;
    struct vdt_ram ram[2];
    struct vdt_vmm source, target;
    struct vdt_driver driver;
    struct vdt_script script;
    struct vdt_traffic traffic;
    struct vdt_migrate migrate;
    JsonNode *source_state, *expected_state;
    const char *stage;
};

static void G_GNUC_PRINTF(3, 4) say(const struct demo *demo, bool done, const char *format, ...)
{
    g_autofree char *line = NULL;
    va_list args;

    va_start(args, format);
    line = g_strdup_vprintf(format, args);
    va_end(args);
    demo->options->progress(line, done);
}

static void G_GNUC_PRINTF(2, 3) blame(struct demo *demo, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_ptr_array_add(demo->report->reasons, g_strdup_vprintf(format, args));
    va_end(args);
}

static JsonNode *
member(JsonNode *node, const char *name)
{
    return node && JSON_NODE_HOLDS_OBJECT(node)
               ? json_object_get_member(json_node_get_object(node), name)
               : NULL;
}

static uint64_t
number(JsonNode *node, const char *group, const char *name)
{
    JsonNode *value = member(member(node, group), name);

    return value && JSON_NODE_HOLDS_VALUE(value) ? (uint64_t) json_node_get_int(value) : 0;
}

/* ---- bring-up ---- */

static char *
device_spec(const struct demo *demo, bool source)
{
    const struct vdt_demo_options *options = demo->options;
    const char *more = source ? options->source : options->target;

    /* The source keeps requests in hand, so that some are in flight at the switch, whenever that
     * comes. The target was made with another address, as a real one would be. */
    return g_strdup_printf("sim:pairs=%u,seed=%lu%s%s%s%s", options->pairs,
                           (unsigned long) (uint32_t) options->seed,
                           options->out_of_order ? ",ooo" : "",
                           source ? ",latency=500,hold=12" : ",mac=52:54:00:74:67:74",
                           more && *more ? "," : "", more ? more : "");
}

static bool
start_trackers(struct demo *demo, GError **error)
{
    g_autofree char *source = device_spec(demo, true), *target = device_spec(demo, false);

    demo->source_process =
        vdt_tracker_process_start("source", source, demo->options->shadow, error);
    demo->target_process =
        demo->source_process
            ? vdt_tracker_process_start("destination", target, demo->options->shadow, error)
            : NULL;
    return demo->target_process &&
           vdt_vmm_connect(&demo->source, demo->source_process->socket, &demo->ram[0], CONNECT_MS,
                           error) &&
           vdt_vmm_connect(&demo->target, demo->target_process->socket, &demo->ram[1], CONNECT_MS,
                           error);
}

static bool
start_guest(struct demo *demo, GError **error)
{
    const struct vdt_demo_options *options = demo->options;
    struct vdt_driver_config config = {
        .features = vdt_driver_features(demo->source.offered, options->packed),
        .num = 256,
        .pairs = 1,
        .net = demo->source.config,
        .seed = options->seed,
    };

    if (options->packed && !(config.features & VDT_BIT(VIRTIO_F_RING_PACKED))) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                            "the source offers no packed rings");
        return false;
    }
    if (config.features & VDT_BIT(VIRTIO_NET_F_MQ))
        config.pairs = (uint16_t) MIN(le16toh(config.net.max_virtqueue_pairs), options->pairs);
    if (!vdt_driver_init(&demo->driver, &config, &demo->ram[0], error))
        return false;
    vdt_script_init(&demo->script, &demo->driver, (uint16_t) options->vlans, options->seed);
    if (!vdt_traffic_init(&demo->traffic, &demo->driver, &demo->script, options->seed)) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot start the guest's thread");
        return false;
    }
    demo->traffic.command_gap_us = options->vlans > 100 ? 100 : 1000;
    vdt_migrate_init(&demo->migrate, &demo->source, &demo->target, &demo->traffic);
    if (!vdt_vmm_start(&demo->source, &demo->driver, NULL, error))
        return false;
    vdt_traffic_resume(&demo->traffic);
    return true;
}

/* ---- watching ---- */

struct look {
    struct vdt_driver_sums sums;
    uint64_t acked, sent, received;
    bool quiet, complete;
};

static struct look
look(struct demo *demo)
{
    bool paused = demo->traffic.pause;
    struct look look = {0};

    vdt_traffic_pause(&demo->traffic);
    vdt_driver_sum(&demo->driver, &look.sums);
    look.acked = demo->script.acked;
    look.sent = demo->driver.frames.sent;
    look.received = demo->driver.frames.received;
    look.quiet = vdt_script_quiet(&demo->script);
    look.complete = vdt_script_complete(&demo->script);
    if (!paused)
        vdt_traffic_resume(&demo->traffic);
    return look;
}

static bool
both_alive(struct demo *demo, GError **error)
{
    return vdt_tracker_process_alive(demo->source_process, error) &&
           vdt_tracker_process_alive(demo->target_process, error);
}

/* Watch the guest for @seconds. */
static bool
run_for(struct demo *demo, double seconds, const char *where, GError **error)
{
    int64_t end = g_get_monotonic_time() + (int64_t) (seconds * 1e6);

    for (;;) {
        struct look now = look(demo);
        bool over = g_get_monotonic_time() >= end;

        say(demo, over, "%s: %lu frames back, %lu commands", where, (unsigned long) now.received,
            (unsigned long) now.acked);
        if (over)
            return true;
        if (now.sums.broken || !both_alive(demo, error))
            return now.sums.broken != NULL; /* a broken ring is for the verdict to name */
        g_usleep(ROUND_MS * 1000);
    }
}

static bool
wait_for_script(struct demo *demo, const char *what, GError **error)
{
    int64_t end = g_get_monotonic_time() + SETTLE_MS * 1000;

    while (!look(demo).quiet) {
        if (!both_alive(demo, error))
            return false;
        if (g_get_monotonic_time() > end) {
            blame(demo, "%s: control commands are not answered", what);
            return true;
        }
        g_usleep(2000);
    }
    return true;
}

/* ---- the migration ---- */

static bool
precopy(struct demo *demo, GError **error)
{
    const struct vdt_demo_options *options = demo->options;
    int64_t start = g_get_monotonic_time();
    uint64_t before = look(demo).acked;

    if (!vdt_migrate_begin(&demo->migrate, error))
        return false;
    say(demo, true, "migration: logging on, %lu pages copied",
        (unsigned long) demo->migrate.copied);
    for (;;) {
        g_usleep(ROUND_MS * 1000);
        uint64_t pages = vdt_migrate_round(&demo->migrate);
        struct look now = look(demo);
        int64_t spent = g_get_monotonic_time() - start;
        uint64_t commands = now.acked - before;
        bool over = demo->migrate.rounds >= options->rounds && commands >= options->commands &&
                    now.complete && spent >= (int64_t) (options->duration * 1e6);

        say(demo, over, "round %lu: %lu pages, %lu frames back, %lu commands",
            (unsigned long) demo->migrate.rounds, (unsigned long) pages,
            (unsigned long) now.received, (unsigned long) commands);
        if (!both_alive(demo, error))
            return false;
        if (!over && spent > (int64_t) PRECOPY_MS * 1000)
            blame(demo, "after %d s of rounds the guest had not sent all its commands",
                  PRECOPY_MS / 1000);
        if (over || now.sums.broken || spent > (int64_t) PRECOPY_MS * 1000) {
            demo->report->commands_before = commands;
            return true;
        }
    }
}

/* The source device's own state, and what the guest thinks it is. */
static bool
note_state(struct demo *demo, GError **error)
{
    vdt_traffic_pause(&demo->traffic);
    vdt_script_settle(&demo->script);
    vdt_traffic_resume(&demo->traffic);
    if (!wait_for_script(demo, "before the switch", error))
        return false;

    g_autoptr(JsonNode) status = vdt_tracker_process_status(demo->source_process, error);
    if (!status)
        return false;
    demo->report->captured = number(status, "commands", "captured");
    demo->report->refused = number(status, "commands", "refused");
    if (member(status, "device_state"))
        demo->source_state = json_node_copy(member(status, "device_state"));
    demo->expected_state = vdt_net_state_to_json(&demo->script.expected);
    return true;
}

static void
count_in_flight(struct demo *demo, JsonNode *status)
{
    JsonNode *rings = member(status, "rings");
    JsonArray *array = rings && JSON_NODE_HOLDS_ARRAY(rings) ? json_node_get_array(rings) : NULL;

    for (unsigned i = 0; array && i < json_array_get_length(array); i++) {
        JsonNode *ring = json_array_get_element(array, i);
        JsonNode *kind = member(ring, "kind"), *count = member(ring, "in_flight");
        const char *name = kind ? json_node_get_string(kind) : "";
        uint64_t n = count ? (uint64_t) json_node_get_int(count) : 0;

        *(g_str_equal(name, "cvq")  ? &demo->report->in_flight_control
          : g_str_equal(name, "tx") ? &demo->report->in_flight_tx
                                    : &demo->report->in_flight_rx) += n;
    }
}

/* What of @want the destination's device does not hold, a reason each. */
static void
blame_state(struct demo *demo, JsonNode *have, JsonNode *want, const char *whose)
{
    JsonObjectIter iter;
    const char *name;
    JsonNode *node;

    json_object_iter_init(&iter, json_node_get_object(want));
    while (json_object_iter_next(&iter, &name, &node)) {
        JsonNode *other = member(have, name);
        g_autofree char *held = other ? json_to_string(other, FALSE) : g_strdup("nothing");
        g_autofree char *wanted = json_to_string(node, FALSE);

        if (!g_str_equal(held, wanted))
            blame(demo, "%s: the destination device holds %.500s where %s %.500s", name, held,
                  whose, wanted);
    }
}

static void
compare_states(struct demo *demo, JsonNode *status)
{
    JsonNode *target = member(status, "device_state");
    bool same_device = target && demo->source_state && json_node_equal(target, demo->source_state);
    bool same_guest = target && json_node_equal(target, demo->expected_state);

    demo->report->state_equal = same_device && same_guest;
    if (demo->report->state_equal)
        return;
    if (!target)
        blame(demo, "the destination's tracker does not say what its device holds");
    else if (demo->source_state && !same_device)
        blame_state(demo, target, demo->source_state, "the source device held");
    else
        blame_state(demo, target, demo->expected_state, "the guest has set");
}

/* The source's state as it stopped, and the destination's as it started. */
static bool
judge_switch(struct demo *demo, GError **error)
{
    g_autoptr(JsonNode) source = vdt_tracker_process_status(demo->source_process, error);
    g_autoptr(JsonNode) target =
        source ? vdt_tracker_process_status(demo->target_process, error) : NULL;

    if (!target)
        return false;
    count_in_flight(demo, source);
    demo->report->replayed = number(target, "commands", "replayed");
    demo->report->replay_us = (int64_t) number(target, "commands", "replay_us");
    compare_states(demo, target);
    return true;
}

/* Why the destination does not run, in its own words. */
static char *
target_failure(struct demo *demo)
{
    g_autoptr(JsonNode) status = vdt_tracker_process_status(demo->target_process, NULL);
    JsonNode *failure = member(status, "failure");

    return failure && JSON_NODE_HOLDS_VALUE(failure) ? json_node_dup_string(failure) : NULL;
}

/* Until the first chain comes back, or the destination says that none will. */
static bool
wait_for_first_use(struct demo *demo, GError **error)
{
    int64_t start = g_get_monotonic_time(), now = start, asked = start;
    g_autofree char *failure = NULL;

    for (;;) {
        demo->report->downtime_us = vdt_migrate_downtime_us(&demo->migrate);
        if (demo->report->downtime_us >= 0)
            return true;
        g_usleep(500);
        now = g_get_monotonic_time();
        if (now - asked > 200000) {
            asked = now;
            failure = target_failure(demo);
        }
        if (!both_alive(demo, error))
            return false;
        if (failure || now - start > SETTLE_MS * 1000) {
            blame(demo, "nothing comes back at the destination: %s",
                  failure ? failure : "it gives no reason");
            return true;
        }
    }
}

static bool
switch_over(struct demo *demo, GError **error)
{
    struct vdt_migrate *migrate = &demo->migrate;

    if (!vdt_migrate_stop(migrate, error))
        return false;
    say(demo, true, "stopped: %u bytes of state, %lu pages differ", migrate->state->len,
        (unsigned long) migrate->missed);
    if (!vdt_migrate_land(migrate, error) || !wait_for_first_use(demo, error))
        return false;
    if (demo->report->downtime_us >= 0)
        say(demo, true, "running at the destination after %.1f ms",
            (double) demo->report->downtime_us / 1000);
    return judge_switch(demo, error);
}

/* At the destination the guest sees that it should announce itself, and does. */
static bool
answer_announce(struct demo *demo, GError **error)
{
    if (!(demo->driver.config.features & VDT_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE)))
        return true;
    if (!vdt_vmm_read_config(&demo->target, error))
        return false;
    vdt_traffic_pause(&demo->traffic);
    if (le16toh(demo->target.config.status) & VIRTIO_NET_S_ANNOUNCE)
        vdt_script_announce(&demo->script);
    demo->script.idle = !demo->driver.has_control;
    vdt_traffic_resume(&demo->traffic);
    return true;
}

/* Let everything that is in flight come back: transmit and control first, then each receive buffer
 * by a short frame of its own. */
static bool
drain(struct demo *demo, GError **error)
{
    int64_t end = g_get_monotonic_time() + DRAIN_MS * 1000;
    struct look now;

    vdt_traffic_pause(&demo->traffic);
    vdt_script_settle(&demo->script);
    vdt_script_spread(&demo->script);
    vdt_traffic_resume(&demo->traffic);
    if (!wait_for_script(demo, "at the destination", error))
        return false;
    vdt_traffic_pause(&demo->traffic);
    demo->traffic.send = false;
    vdt_traffic_resume(&demo->traffic);
    g_usleep(100000);
    vdt_traffic_pause(&demo->traffic);
    demo->traffic.drain = true;
    vdt_traffic_resume(&demo->traffic);
    do {
        g_usleep(5000);
        now = look(demo);
        say(demo, false, "draining: %lu chains in flight",
            (unsigned long) (now.sums.available - now.sums.used));
    } while (now.sums.available != now.sums.used && !now.sums.broken &&
             g_get_monotonic_time() < end && both_alive(demo, error));
    vdt_traffic_pause(&demo->traffic);
    return both_alive(demo, error);
}

/* ---- the verdict ---- */

static void
judge(struct demo *demo)
{
    struct vdt_demo_report *report = demo->report;
    const struct vdt_script *script = &demo->script;
    struct vdt_driver_sums sums;

    vdt_driver_sum(&demo->driver, &sums);
    report->available = sums.available;
    report->used = sums.used;
    report->lost = sums.available - sums.used;
    report->duplicated = sums.duplicated;
    report->pages_written = demo->migrate.distinct;
    report->pages_missed = demo->migrate.missed;
    report->first_missed = demo->migrate.first_missed;
    report->pages_copied = demo->migrate.copied;
    report->pages_by_processor = demo->migrate.by_processor;
    report->memory_pages = demo->ram[0].size / VDT_RAM_PAGE;
    report->rounds = demo->migrate.rounds;
    report->first_copy_us = demo->migrate.first_copy_us;
    report->total_us = report->downtime_us >= 0
                           ? demo->migrate.stopped_at - demo->migrate.began_at + report->downtime_us
                           : -1;
    report->snapshot_bytes = demo->migrate.state->len;
    report->frames_sent = demo->driver.frames.sent;
    report->frames_received = demo->driver.frames.received;
    report->frames_corrupt = demo->driver.frames.corrupt;
    memcpy(report->of_kind, script->of_kind, sizeof(report->of_kind));
    report->refused = MAX(report->refused, script->refused);

    if (sums.broken)
        blame(demo, "a ring went out of service: %s", sums.broken);
    if (report->lost)
        blame(demo, "%lu chains never came back: %lu receive, %lu transmit, %lu control",
              (unsigned long) report->lost, (unsigned long) sums.rx_in_flight,
              (unsigned long) sums.tx_in_flight, (unsigned long) sums.commands_in_flight);
    if (report->duplicated)
        blame(demo, "%lu requests were carried out twice", (unsigned long) report->duplicated);
    if (report->pages_missed)
        blame(demo, "%lu pages differ after the last round, the first at 0x%lx",
              (unsigned long) report->pages_missed, (unsigned long) report->first_missed);
    if (report->frames_corrupt)
        blame(demo, "%lu frames came in damaged", (unsigned long) report->frames_corrupt);
    if (script->refused || script->wrong)
        blame(demo, "%lu commands were refused, %lu answered wrongly; %s",
              (unsigned long) script->refused, (unsigned long) script->wrong, script->trouble);
}

static bool
run(struct demo *demo, GError **error)
{
    const struct vdt_demo_options *options = demo->options;
    uint64_t size = (uint64_t) options->memory_mib << 20;

    if (!vdt_ram_init(&demo->ram[0], size, error) || !vdt_ram_init(&demo->ram[1], size, error) ||
        !start_trackers(demo, error) || !start_guest(demo, error) ||
        !run_for(demo, options->duration / 2, "source", error) || !precopy(demo, error) ||
        !note_state(demo, error) || !switch_over(demo, error))
        return false;
    /* A guest that stands still has been judged enough. */
    if (demo->report->downtime_us >= 0 &&
        (!answer_announce(demo, error) || !run_for(demo, options->duration, "destination", error) ||
         !drain(demo, error)))
        return false;
    vdt_traffic_pause(&demo->traffic);
    judge(demo);
    return true;
}

bool
vdt_demo_run(const struct vdt_demo_options *options, struct vdt_demo_report *ret_report,
             GError **error)
{
    struct demo demo = {
        .options = options,
        .report = ret_report,
        .ram = {{.fd = -1}, {.fd = -1}},
        .driver.control = {.kick = -1, .call = -1},
    };

    *ret_report = (struct vdt_demo_report){.downtime_us = -1,
                                           .reasons = g_ptr_array_new_with_free_func(g_free)};
    bool ok = run(&demo, error);
    if (!ok && demo.source_process && demo.target_process) {
        /* A tracker that fell over says more than the connection that it took along. */
        g_autoptr(GError) why = NULL;

        if (!both_alive(&demo, &why) && error && *error) {
            g_prefix_error(error, "%s; ", why->message);
        }
    }
    vdt_traffic_clear(&demo.traffic);
    if (demo.script.driver)
        vdt_script_clear(&demo.script);
    vdt_migrate_clear(&demo.migrate);
    vdt_vmm_clear(&demo.source);
    vdt_vmm_clear(&demo.target);
    vdt_driver_clear(&demo.driver);
    vdt_tracker_process_free(demo.source_process);
    vdt_tracker_process_free(demo.target_process);
    vdt_ram_clear(&demo.ram[0]);
    vdt_ram_clear(&demo.ram[1]);
    g_clear_pointer(&demo.source_state, json_node_unref);
    g_clear_pointer(&demo.expected_state, json_node_unref);
    return ok;
}

void
vdt_demo_report_clear(struct vdt_demo_report *report)
{
    g_clear_pointer(&report->reasons, g_ptr_array_unref);
}
