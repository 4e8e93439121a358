/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/course.h"

#include <endian.h>
#include <string.h>

#include <vdpa-tracker/error.h>

#include "snapshot/json.h"

#define CONNECT_MS 10000
#define ROUND_MS 50
#define PRECOPY_MS 120000 /* the longest that the rounds may last */
#define SETTLE_MS 20000   /* the longest wait for anything to come to rest */
#define DRAIN_MS 20000
#define STANDSTILL_MS 4000 /* how long draining goes on while nothing comes back */

static struct vdt_course_side *
source(struct vdt_course *course)
{
    return &course->side[course->from];
}

static struct vdt_course_side *
target(struct vdt_course *course)
{
    return &course->side[!course->from];
}

static void G_GNUC_PRINTF(3, 4)
    say(const struct vdt_course *course, bool done, const char *format, ...)
{
    g_autofree char *line = NULL;
    va_list args;

    va_start(args, format);
    line = g_strdup_vprintf(format, args);
    va_end(args);
    course->options->progress(line, done);
}

static void G_GNUC_PRINTF(2, 3) blame(struct vdt_course *course, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_ptr_array_add(course->report->reasons, g_strdup_vprintf(format, args));
    va_end(args);
}

static JsonNode *
member(JsonNode *node, const char *name)
{
    return node && JSON_NODE_HOLDS_OBJECT(node)
               ? json_object_get_member(json_node_get_object(node), name)
               : NULL;
}

/* What a device said of itself; NULL where it could not be asked. */
static JsonNode *
device_state(JsonNode *status)
{
    JsonNode *state = member(status, "device_state");

    return state && JSON_NODE_HOLDS_OBJECT(state) ? state : NULL;
}

static uint64_t
number(JsonNode *node, const char *group, const char *name)
{
    JsonNode *value = member(member(node, group), name);

    return value && JSON_NODE_HOLDS_VALUE(value) ? (uint64_t) json_node_get_int(value) : 0;
}

/* ---- bring-up ---- */

bool
vdt_course_start_trackers(struct vdt_course *course, GError **error)
{
    const struct vdt_course_options *options = course->options;
    uint64_t size = (uint64_t) options->memory_mib << 20;

    for (unsigned i = 0; i < 2; i++) {
        struct vdt_course_side *side = &course->side[i];

        side->process = vdt_tracker_process_start(i ? "destination" : "source", options->device[i],
                                                  options->shadow, options->features_from, error);
        if (!side->process || !vdt_ram_init(&side->ram, size, error))
            return false;
    }
    return vdt_vmm_connect(&course->side[0].vmm, course->side[0].process->socket,
                           &course->side[0].ram, CONNECT_MS, error) &&
           vdt_vmm_connect(&course->side[1].vmm, course->side[1].process->socket,
                           &course->side[1].ram, CONNECT_MS, error);
}

bool
vdt_course_start_guest(struct vdt_course *course, GError **error)
{
    const struct vdt_course_options *options = course->options;
    struct vdt_driver_config config = {
        .features = vdt_driver_features(source(course)->vmm.offered, options->packed),
        .num = options->num,
        .pairs = 1,
        .net = source(course)->vmm.config,
        .seed = options->seed,
    };

    if (options->packed && !(config.features & VDT_BIT(VIRTIO_F_RING_PACKED))) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                            "the source offers no packed rings");
        return false;
    }
    if (config.features & VDT_BIT(VIRTIO_NET_F_MQ))
        config.pairs = (uint16_t) CLAMP(le16toh(config.net.max_virtqueue_pairs), 1, options->pairs);
    if (!vdt_driver_init(&course->driver, &config, &source(course)->ram, error))
        return false;
    vdt_script_init(&course->script, &course->driver, (uint16_t) options->vlans, options->seed);
    course->script.modest = options->modest;
    course->driver.frames.run = options->run;
    if (!vdt_traffic_init(&course->traffic, &course->driver, &course->script, options->seed)) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot start the guest's thread");
        return false;
    }
    course->traffic.command_gap_us = options->vlans > 100 ? 100 : 1000;
    if (!vdt_vmm_start(&source(course)->vmm, &course->driver, NULL, error))
        return false;
    vdt_migrate_init(&course->migrate, &source(course)->vmm, &target(course)->vmm,
                     &course->traffic);
    vdt_traffic_resume(&course->traffic);
    return true;
}

/* ---- watching ---- */

struct vdt_course_look
vdt_course_look(struct vdt_course *course)
{
    bool paused = course->traffic.pause;
    struct vdt_course_look look = {0};

    vdt_traffic_pause(&course->traffic);
    vdt_driver_sum(&course->driver, &look.sums);
    look.acked = course->script.acked;
    look.sent = course->driver.frames.sent;
    look.received = course->driver.frames.received;
    look.quiet = vdt_script_quiet(&course->script);
    look.complete = vdt_script_complete(&course->script);
    if (!paused)
        vdt_traffic_resume(&course->traffic);
    return look;
}

bool
vdt_course_both_alive(struct vdt_course *course, GError **error)
{
    return vdt_tracker_process_alive(source(course)->process, error) &&
           vdt_tracker_process_alive(target(course)->process, error);
}

/* Watch the guest for @seconds. */
bool
vdt_course_run_for(struct vdt_course *course, double seconds, const char *where, GError **error)
{
    int64_t end = g_get_monotonic_time() + (int64_t) (seconds * 1e6);

    for (;;) {
        struct vdt_course_look now = vdt_course_look(course);
        bool over = g_get_monotonic_time() >= end;

        say(course, over, "%s: %lu frames back, %lu commands", where, (unsigned long) now.received,
            (unsigned long) now.acked);
        if (over)
            return true;
        if (now.sums.broken || !vdt_course_both_alive(course, error))
            return now.sums.broken != NULL; /* a broken ring is for the verdict to name */
        g_usleep(ROUND_MS * 1000);
    }
}

bool
vdt_course_wait_for_script(struct vdt_course *course, const char *what, GError **error)
{
    int64_t end = g_get_monotonic_time() + SETTLE_MS * 1000;

    while (!vdt_course_look(course).quiet) {
        if (!vdt_course_both_alive(course, error))
            return false;
        if (g_get_monotonic_time() > end) {
            blame(course, "%s: control commands are not answered", what);
            return true;
        }
        g_usleep(2000);
    }
    return true;
}

/* ---- the migration ---- */

bool
vdt_course_precopy(struct vdt_course *course, GError **error)
{
    const struct vdt_course_options *options = course->options;
    int64_t start = g_get_monotonic_time();
    uint64_t before = vdt_course_look(course).acked;

    if (!vdt_migrate_begin(&course->migrate, error))
        return false;
    say(course, true, "migration: logging on, %lu pages copied",
        (unsigned long) course->migrate.copied);
    for (;;) {
        g_usleep(ROUND_MS * 1000);
        uint64_t pages = vdt_migrate_round(&course->migrate);
        struct vdt_course_look now = vdt_course_look(course);
        int64_t spent = g_get_monotonic_time() - start;
        uint64_t commands = now.acked - before;
        bool over = course->migrate.rounds >= options->rounds && commands >= options->commands &&
                    now.complete && spent >= (int64_t) (options->duration * 1e6);

        say(course, over, "round %lu: %lu pages, %lu frames back, %lu commands",
            (unsigned long) course->migrate.rounds, (unsigned long) pages,
            (unsigned long) now.received, (unsigned long) commands);
        if (!vdt_course_both_alive(course, error))
            return false;
        if (!over && spent > (int64_t) PRECOPY_MS * 1000)
            blame(course, "after %d s of rounds the guest had not sent all its commands",
                  PRECOPY_MS / 1000);
        if (over || now.sums.broken || spent > (int64_t) PRECOPY_MS * 1000) {
            course->report->commands_before = commands;
            return true;
        }
    }
}

/* The source device's own state, and what the guest thinks it is. */
bool
vdt_course_note_state(struct vdt_course *course, GError **error)
{
    vdt_traffic_pause(&course->traffic);
    vdt_script_settle(&course->script);
    vdt_traffic_resume(&course->traffic);
    if (!vdt_course_wait_for_script(course, "before the switch", error))
        return false;

    g_autoptr(JsonNode) status = vdt_tracker_process_status(source(course)->process, error);
    if (!status)
        return false;
    course->report->captured = number(status, "commands", "captured");
    course->report->refused = number(status, "commands", "refused");
    if (device_state(status))
        course->source_state = json_node_copy(device_state(status));
    course->expected_state = vdt_net_state_to_json(&course->script.expected);
    return true;
}

static void
count_in_flight(struct vdt_course *course, JsonNode *status)
{
    JsonNode *rings = member(status, "rings");
    JsonArray *array = rings && JSON_NODE_HOLDS_ARRAY(rings) ? json_node_get_array(rings) : NULL;

    for (unsigned i = 0; array && i < json_array_get_length(array); i++) {
        JsonNode *ring = json_array_get_element(array, i);
        JsonNode *kind = member(ring, "kind"), *count = member(ring, "in_flight");
        const char *name = kind ? json_node_get_string(kind) : "";
        uint64_t n = count ? (uint64_t) json_node_get_int(count) : 0;

        *(g_str_equal(name, "cvq")  ? &course->report->in_flight_control
          : g_str_equal(name, "tx") ? &course->report->in_flight_tx
                                    : &course->report->in_flight_rx) += n;
    }
}

/* What of @want the destination's device does not hold, a reason each. */
static void
blame_state(struct vdt_course *course, JsonNode *have, JsonNode *want, const char *whose)
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
            blame(course, "%s: the destination device holds %.500s where %s %.500s", name, held,
                  whose, wanted);
    }
}

static void
compare_states(struct vdt_course *course, JsonNode *status)
{
    JsonNode *held = device_state(status);
    bool same_device =
        held && (!course->source_state || json_node_equal(held, course->source_state));
    bool same_guest = held && json_node_equal(held, course->expected_state);

    course->report->state_read = held != NULL;
    course->report->state_equal = same_device && same_guest;
    if (course->report->state_equal || !held)
        return;
    if (course->source_state && !same_device)
        blame_state(course, held, course->source_state, "the source device held");
    else
        blame_state(course, held, course->expected_state, "the guest has set");
}

/* The source's state as it stopped, and the destination's as it started. */
bool
vdt_course_judge_switch(struct vdt_course *course, GError **error)
{
    g_autoptr(JsonNode) before = vdt_tracker_process_status(source(course)->process, error);
    g_autoptr(JsonNode) after =
        before ? vdt_tracker_process_status(target(course)->process, error) : NULL;

    if (!after)
        return false;
    count_in_flight(course, before);
    course->report->replayed = number(after, "commands", "replayed");
    course->report->replay_us = (int64_t) number(after, "commands", "replay_us");
    compare_states(course, after);
    return true;
}

/* Why the destination does not run, in its own words. */
static char *
target_failure(struct vdt_course *course)
{
    g_autoptr(JsonNode) status = vdt_tracker_process_status(target(course)->process, NULL);
    JsonNode *failure = member(status, "failure");

    return failure && JSON_NODE_HOLDS_VALUE(failure) ? json_node_dup_string(failure) : NULL;
}

/* Until the first chain comes back, or the destination says that none will. */
bool
vdt_course_arrive(struct vdt_course *course, GError **error)
{
    int64_t start = g_get_monotonic_time(), now = start, asked = start;
    g_autofree char *failure = NULL;

    for (;;) {
        course->report->downtime_us = vdt_migrate_downtime_us(&course->migrate);
        if (course->report->downtime_us >= 0) {
            say(course, true, "running at the destination after %.1f ms",
                (double) course->report->downtime_us / 1000);
            return true;
        }
        g_usleep(500);
        now = g_get_monotonic_time();
        if (now - asked > 200000) {
            asked = now;
            failure = target_failure(course);
        }
        if (!vdt_course_both_alive(course, error))
            return false;
        if (failure || now - start > SETTLE_MS * 1000) {
            blame(course, "nothing comes back at the destination: %s",
                  failure ? failure : "it gives no reason");
            return true;
        }
    }
}

bool
vdt_course_stop(struct vdt_course *course, GError **error)
{
    struct vdt_migrate *migrate = &course->migrate;

    if (!vdt_migrate_stop(migrate, error))
        return false;
    say(course, true, "stopped: %u bytes of state, %lu pages differ", migrate->state->len,
        (unsigned long) migrate->missed);
    return true;
}

/* At the destination the guest sees that it should announce itself, and does. */
bool
vdt_course_answer_announce(struct vdt_course *course, GError **error)
{
    bool asked = course->driver.config.features & VDT_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE);

    if (asked && !vdt_vmm_read_config(&target(course)->vmm, error))
        return false;
    vdt_traffic_pause(&course->traffic);
    if (asked && le16toh(target(course)->vmm.config.status) & VIRTIO_NET_S_ANNOUNCE)
        vdt_script_announce(&course->script);
    course->script.idle = !course->driver.has_control;
    vdt_traffic_resume(&course->traffic);
    return true;
}

/* What has to come back yet. Receive buffers do so only where the guest's frames come back. */
static uint64_t
outstanding(const struct vdt_course *course, const struct vdt_driver_sums *sums)
{
    return sums->available - sums->used - (course->loops ? 0 : sums->rx_in_flight);
}

/* Let everything that is in flight come back: transmit and control first, then each receive buffer
 * by a short frame of its own. */
bool
vdt_course_drain(struct vdt_course *course, GError **error)
{
    int64_t end = g_get_monotonic_time() + DRAIN_MS * 1000, moved;
    struct vdt_course_look now;
    uint64_t left, used = 0;

    vdt_traffic_pause(&course->traffic);
    vdt_script_settle(&course->script);
    vdt_script_spread(&course->script);
    vdt_traffic_resume(&course->traffic);
    if (!vdt_course_wait_for_script(course, "at the destination", error))
        return false;
    vdt_traffic_pause(&course->traffic);
    course->traffic.send = false;
    vdt_traffic_resume(&course->traffic);
    g_usleep(100000);
    vdt_traffic_pause(&course->traffic);
    course->traffic.drain = course->loops;
    vdt_traffic_resume(&course->traffic);
    moved = g_get_monotonic_time();
    do {
        g_usleep(5000);
        now = vdt_course_look(course);
        left = outstanding(course, &now.sums);
        if (now.sums.used != used)
            moved = g_get_monotonic_time();
        used = now.sums.used;
        say(course, false, "draining: %lu chains in flight", (unsigned long) left);
    } while (left > 0 && !now.sums.broken &&
             g_get_monotonic_time() - moved < STANDSTILL_MS * 1000 &&
             g_get_monotonic_time() < end && vdt_course_both_alive(course, error));
    /* Where that was in vain, the last frames may be on their way out still. */
    vdt_traffic_pause(&course->traffic);
    course->traffic.drain = false;
    vdt_traffic_resume(&course->traffic);
    for (unsigned ms = 0; ms < 1000 && vdt_course_look(course).sums.tx_in_flight > 0; ms += 5)
        g_usleep(5000);
    vdt_traffic_pause(&course->traffic);
    return vdt_course_both_alive(course, error);
}

/* ---- the verdict ---- */

void
vdt_course_sum(struct vdt_course *course)
{
    struct vdt_course_report *report = course->report;
    const struct vdt_script *script = &course->script;
    struct vdt_driver_sums *sums = &report->sums;

    vdt_driver_sum(&course->driver, sums);
    report->lost = outstanding(course, sums);
    report->pages_written = course->migrate.distinct;
    report->pages_missed = course->migrate.missed;
    report->first_missed = course->migrate.first_missed;
    report->pages_copied = course->migrate.copied;
    report->pages_by_processor = course->migrate.by_processor;
    report->memory_pages = course->side[0].ram.size / VDT_RAM_PAGE;
    report->rounds = course->migrate.rounds;
    report->first_copy_us = course->migrate.first_copy_us;
    report->total_us = report->downtime_us >= 0 ? course->migrate.stopped_at -
                                                      course->migrate.began_at + report->downtime_us
                                                : -1;
    report->snapshot_bytes = course->migrate.state ? course->migrate.state->len : 0;
    report->frames_sent = course->driver.frames.sent;
    report->frames_received = course->driver.frames.received;
    report->frames_corrupt = course->driver.frames.corrupt;
    report->frames_foreign = course->driver.frames.foreign;
    memcpy(report->of_kind, script->of_kind, sizeof(report->of_kind));
    report->refused = MAX(report->refused, script->refused);
}

void
vdt_course_judge_requests(struct vdt_course *course)
{
    const struct vdt_course_report *report = course->report;
    const struct vdt_driver_sums *sums = &report->sums;

    if (sums->broken)
        blame(course, "a ring went out of service: %s", sums->broken);
    if (report->lost)
        blame(course, "%lu chains never came back: %lu receive, %lu transmit, %lu control",
              (unsigned long) report->lost, (unsigned long) sums->rx_in_flight,
              (unsigned long) sums->tx_in_flight, (unsigned long) sums->commands_in_flight);
    if (sums->duplicated)
        blame(course, "%lu requests were carried out twice", (unsigned long) sums->duplicated);
}

void
vdt_course_judge_pages(struct vdt_course *course)
{
    if (course->report->pages_missed)
        blame(course, "%lu pages differ after the last round, the first at 0x%lx",
              (unsigned long) course->report->pages_missed,
              (unsigned long) course->report->first_missed);
}

void
vdt_course_judge_frames(struct vdt_course *course)
{
    if (course->report->frames_corrupt)
        blame(course, "%lu frames came in damaged", (unsigned long) course->report->frames_corrupt);
}

void
vdt_course_judge_commands(struct vdt_course *course)
{
    const struct vdt_script *script = &course->script;

    if (script->refused || script->wrong)
        blame(course, "%lu commands were refused, %lu answered wrongly; %s",
              (unsigned long) script->refused, (unsigned long) script->wrong, script->trouble);
}

bool
vdt_course_turn(struct vdt_course *course, GError **error)
{
    struct vdt_course_side *left = source(course);
    GPtrArray *reasons = course->report->reasons;

    vdt_vmm_clear(&left->vmm);
    if (!vdt_vmm_connect(&left->vmm, left->process->socket, &left->ram, CONNECT_MS, error))
        return false;
    course->from = !course->from;
    vdt_migrate_clear(&course->migrate);
    vdt_migrate_init(&course->migrate, &source(course)->vmm, &target(course)->vmm,
                     &course->traffic);
    *course->report = (struct vdt_course_report){.downtime_us = -1, .reasons = reasons};
    g_clear_pointer(&course->source_state, json_node_unref);
    g_clear_pointer(&course->expected_state, json_node_unref);
    vdt_traffic_pause(&course->traffic);
    course->driver.refill = true;
    course->traffic.drain = false;
    course->traffic.send = true;
    course->script.idle = !course->driver.has_control;
    vdt_traffic_resume(&course->traffic);
    return true;
}

void
vdt_course_init(struct vdt_course *course, const struct vdt_course_options *options,
                struct vdt_course_report *report)
{
    *course = (struct vdt_course){
        .options = options,
        .report = report,
        .side = {{.ram.fd = -1}, {.ram.fd = -1}},
        .driver.control = {.kick = -1, .call = -1},
        .loops = true,
    };
    *report = (struct vdt_course_report){.downtime_us = -1,
                                         .reasons = g_ptr_array_new_with_free_func(g_free)};
}

void
vdt_course_clear(struct vdt_course *course)
{
    vdt_traffic_clear(&course->traffic);
    if (course->script.driver)
        vdt_script_clear(&course->script);
    vdt_migrate_clear(&course->migrate);
    for (unsigned i = 0; i < 2; i++)
        vdt_vmm_clear(&course->side[i].vmm);
    vdt_driver_clear(&course->driver);
    for (unsigned i = 0; i < 2; i++) {
        vdt_tracker_process_free(course->side[i].process);
        vdt_ram_clear(&course->side[i].ram);
    }
    g_clear_pointer(&course->source_state, json_node_unref);
    g_clear_pointer(&course->expected_state, json_node_unref);
}

void
vdt_course_report_clear(struct vdt_course_report *report)
{
    g_clear_pointer(&report->reasons, g_ptr_array_unref);
}
