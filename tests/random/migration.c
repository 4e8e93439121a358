/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "random/migration.h"

#include <sched.h>
#include <string.h>

#include <vdpa-tracker/error.h>

#include "control/replay.h"
#include "guest/traffic.h"
#include "random/inside.h"
#include "random/ledger.h"
#include "random/side.h"

#define QUIET_MS 4000 /* for what has to be answered */
#define LINGER_MS 2   /* for what may be */
#define LOOK_EVERY 8  /* steps */

struct run {
    struct plan *plan;
    struct vdt_ram *ram;
    struct side source, target;
    struct vdt_driver driver;
    struct vdt_script script;
    struct vdt_traffic traffic;
    struct ledger_order order;
    struct tally *tally;
    uint32_t bases[VDT_RINGS_MAX];
    uint64_t own_frames;        /* of the sides that were closed or started again */
    struct vdt_snapshot *state; /* owned: as it arrived at the other side */
    char *why;                  /* owned: the first thing wrong */
    bool driver_there;
};

/* Notes the first thing that went wrong; false for the caller to return. */
static bool G_GNUC_PRINTF(2, 3) wrong(struct run *run, const char *format, ...)
{
    va_list args;

    if (run->why)
        return false;
    va_start(args, format);
    run->why = g_strdup_vprintf(format, args);
    va_end(args);
    return false;
}

static bool
check(struct run *run, bool ok, const char *what, GError **error)
{
    if (!ok)
        wrong(run, "%s: %s", what, *error ? (*error)->message : "no reason given");
    g_clear_error(error);
    return ok;
}

static bool
look(struct run *run, struct side *side, const char *when)
{
    g_autofree char *why = inside_rings(side);

    run->tally->looks++;
    return !why || wrong(run, "%s: %s", when, why);
}

static bool
mapped(struct run *run, struct side *side, const char *when)
{
    g_autofree char *why = inside_maps(side);

    return !why || wrong(run, "%s: %s", when, why);
}

static void
step(struct run *run, struct side *side)
{
    vdt_traffic_step(&run->traffic);
    ledger_order_note(&run->order, &run->driver);
    side_run(side);
    if (plan_below(run->plan, 4) == 0)
        g_usleep(plan_below(run->plan, 60));
    else
        sched_yield();
}

static void
work(struct run *run, struct side *side, unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        run->traffic.next_command = i % run->plan->command_every ? G_MAXINT64 : 0;
        step(run, side);
        if (i % LOOK_EVERY == 0)
            look(run, side, "under traffic");
    }
    run->traffic.next_command = 0;
}

static bool
begin(struct run *run)
{
    struct plan *plan = run->plan;
    g_autoptr(GError) error = NULL;

    if (!check(run, side_open(&run->source, plan->source, plan->policy, &run->ram[0], &error),
               "source", &error))
        return false;
    struct vdt_driver_config config = {
        .features = vdt_driver_features(run->source.offered & ~plan->dropped, plan->packed),
        .pairs = (uint16_t) plan->pairs,
        .num = (uint16_t) plan->num,
        .net = run->source.config,
        .seed = plan->seed,
    };
    for (unsigned i = 0; i < 2; i++)
        memset(run->ram[i].cpu, 0, run->ram[i].words * sizeof(uint64_t));
    /* Rings want zeroed memory. */
    memset(run->ram[0].region[0].host, 0, run->ram[0].region[0].size);
    run->driver_there = vdt_driver_init(&run->driver, &config, &run->ram[0], &error);
    if (!check(run, run->driver_there, "driver", &error))
        return false;
    vdt_script_init(&run->script, &run->driver, (uint16_t) plan->vlans, plan->seed);
    /* What is stuck in a ring out of use, a device without suspend cannot get rid of. */
    run->script.patient = plan->no_suspend;
    if (!vdt_traffic_init(&run->traffic, &run->driver, &run->script, plan->seed))
        return wrong(run, "no thread for the guest");
    run->traffic.batch = plan->batch;
    return check(run, side_start(&run->source, &run->driver, NULL, &error), "start", &error);
}

static void
copy_page(void *ctx, uint64_t gpa)
{
    struct run *run = ctx;

    vdt_ram_copy_page(&run->ram[1], &run->ram[0], gpa);
    run->tally->pages++;
}

static void
copy_round(struct run *run)
{
    vdt_ram_take(&run->ram[0], run->source.log, copy_page, run);
    vdt_ram_take(&run->ram[0], run->ram[0].cpu, copy_page, run);
}

static bool
same_memory(struct run *run, const char *when)
{
    uint64_t first = 0, pages = vdt_ram_compare(&run->ram[0], &run->ram[1], &first);

    for (uint64_t i = 0; i < run->ram[0].words; i++) {
        if (run->source.log[i])
            return wrong(run, "%s: page %" G_GUINT64_FORMAT " was marked dirty", when, i * 64);
    }
    return pages == 0 ||
           wrong(run,
                 "%s: %" G_GUINT64_FORMAT " pages differ, the first at 0x%" G_GINT64_MODIFIER "x",
                 when, pages, first);
}

/* Decoded from what was encoded, and encoded once more to the same bytes. */
static bool
carry(struct run *run)
{
    g_autoptr(GError) error = NULL;
    VDT_AUTO(snapshot) snapshot = vdt_nic_snapshot(run->source.nic, &error);
    if (!check(run, snapshot != NULL, "state", &error))
        return false;
    g_autoptr(GBytes) bytes = vdt_snapshot_encode(snapshot, &error);
    if (!check(run, bytes != NULL, "encoding", &error))
        return false;
    run->state =
        vdt_snapshot_decode(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), &error);
    if (!check(run, run->state != NULL, "decoding", &error))
        return false;
    g_autoptr(GBytes) again = vdt_snapshot_encode(run->state, &error);
    if (!check(run, again != NULL, "encoding again", &error))
        return false;
    if (!g_bytes_equal(bytes, again))
        return wrong(run, "decode(encode(state)) is encoded to other bytes");
    g_autoptr(GPtrArray) differences = vdt_snapshot_diff(snapshot, run->state);
    return differences->len == 0 || wrong(run, "decode(encode(state)) is another state: %s",
                                          (char *) g_ptr_array_index(differences, 0));
}

static bool
books(struct run *run, const struct vdt_snapshot *snapshot, const char *when)
{
    struct vdt_driver_sums sums;
    g_autofree char *why = NULL;

    run->driver.refill = false;
    vdt_driver_poll(&run->driver);
    run->driver.refill = true;
    vdt_driver_sum(&run->driver, &sums);
    if (sums.broken)
        return wrong(run, "%s: a ring is broken: %s", when, sums.broken);
    if (sums.duplicated)
        return wrong(run, "%s: %" G_GUINT64_FORMAT " came back twice", when, sums.duplicated);
    if (run->driver.frames.corrupt)
        return wrong(run, "%s: a frame came back changed", when);
    /* The command that the source was to refuse, and what it left as it was: holds(). */
    if (run->script.refused > (run->plan->nak > 0) || run->script.wrong)
        return wrong(run, "%s: %s", when, run->script.trouble);
    why = ledger_check(&run->driver, snapshot);
    return !why || wrong(run, "%s: %s", when, why);
}

static bool
sound(struct run *run, struct side *side, const char *name)
{
    g_autofree char *fault = side_faults(side);

    return !fault || wrong(run, "the device of the %s complains: %s", name, fault);
}

/* What the device holds is what the guest has set, as the guest's own books have it. */
static bool
holds(struct run *run, struct side *side, const char *when)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) node = vdt_net_state_to_json(&run->script.expected);
    g_autofree char *want = json_to_string(node, FALSE);
    g_autofree char *have = NULL;

    if (!run->driver.has_control)
        return true;
    have = side_device_state(side, &error);
    if (!check(run, have != NULL, "device state", &error))
        return false;
    if (strcmp(have, want) == 0)
        return true;
    size_t same = 0;
    while (have[same] == want[same])
        same++;
    same -= MIN(same, 40);
    return wrong(run, "%s: the device holds .. %.80s .. where the guest has set .. %.80s", when,
                 have + same, want + same);
}

static void
count(struct run *run)
{
    struct tally *tally = run->tally;

    tally->migrations++;
    tally->packed += run->plan->packed;
    tally->no_suspend += run->plan->no_suspend;
    tally->nacked += run->script.refused;
    for (unsigned i = 0; i < 2 * run->plan->pairs; i++) {
        if (i % 2 && run->state->rings[i].request_count > 0) {
            tally->in_flight++;
            break;
        }
    }
    tally->out_of_order += ledger_order_gap(&run->order, &run->driver);
}

/* A region more, and gone again, under traffic. */
static bool
grow(struct run *run)
{
    static const enum side_memory how[][2] = {
        [PLAN_REGION] = {SIDE_ADD_REGION, SIDE_REMOVE_REGION},
        [PLAN_TABLE] = {SIDE_LONGER_TABLE, SIDE_TABLE},
    };
    g_autoptr(GError) error = NULL;

    if (run->plan->grows == PLAN_STAYS)
        return true;
    for (unsigned i = 0; i < 2; i++) {
        if (!check(run, side_memory(&run->source, how[run->plan->grows][i], &error), "memory",
                   &error) ||
            !mapped(run, &run->source, i ? "without it again" : "with a region more"))
            return false;
        work(run, &run->source, 1 + plan_below(run->plan, 4));
    }
    run->tally->grown++;
    return true;
}

/* A migration that is given up before the stop, then. */
static bool
waver(struct run *run)
{
    g_autoptr(GError) error = NULL;

    if (!run->plan->wavers)
        return true;
    if (!check(run, side_log(&run->source, &run->driver, &error), "first dirty log", &error))
        return false;
    work(run, &run->source, 1 + plan_below(run->plan, 8));
    if (!check(run, side_log_off(&run->source, &run->driver, &error), "end of the log", &error))
        return false;
    work(run, &run->source, 1 + plan_below(run->plan, 8));
    run->tally->wavered++;
    return true;
}

/* Dirty pages, the stop, and what the state says about it. */
static bool
leave(struct run *run)
{
    g_autoptr(GError) error = NULL;
    int64_t end;

    run->tally->passed_through += inside_passed_through(&run->source);
    run->tally->packed_through += inside_passed_through(&run->source) && run->plan->packed;
    if (!check(run, side_log(&run->source, &run->driver, &error), "dirty log", &error))
        return false;
    if (inside_passed_through(&run->source))
        return wrong(run, "the log is on and the device still has the guest's own rings");
    vdt_ram_copy(&run->ram[1], &run->ram[0]);
    work(run, &run->source, run->plan->steps_logging);
    copy_round(run);
    step(run, &run->source);
    copy_round(run);
    /* From here on the processor stands still, and only the log can tell. */
    end = g_get_monotonic_time() + plan_below(run->plan, 150);
    while (g_get_monotonic_time() < end)
        side_run(&run->source);
    if (!check(run, side_stop(&run->source, &run->driver, run->bases, &error), "stop", &error) ||
        !look(run, &run->source, "at the stop"))
        return false;
    vdt_ram_take(&run->ram[0], run->source.log, copy_page, run);
    if (!same_memory(run, "at the stop") ||
        !check(run, side_reset(&run->source, &error), "reset", &error) || !carry(run))
        return false;
    g_usleep(plan_below(run->plan, 100));
    side_run(&run->source);
    if (!same_memory(run, "after the stop"))
        return false;
    bool fine = books(run, run->state, "at the stop") && sound(run, &run->source, "source");
    /* Taking what came back, the processor has written to its rings. */
    vdt_ram_take(&run->ram[0], run->ram[0].cpu, copy_page, run);
    count(run);
    return fine;
}

static bool
enter(struct run *run, const char *spec, enum vdt_shadow_policy policy, GError **error)
{
    unsigned commands;

    side_close(&run->target);
    return side_open(&run->target, spec, policy, &run->ram[1], error) &&
           vdt_driver_move(&run->driver, &run->ram[1], error) &&
           vdt_nic_restore(run->target.nic, run->state, &commands, error) &&
           side_start(&run->target, &run->driver, run->bases, error);
}

/* A destination whose device refuses command k. */
static bool
refused(struct run *run)
{
    unsigned commands = vdt_replay_count(&run->state->net, run->driver.config.features);
    g_autoptr(GError) error = NULL;

    if (commands == 0)
        return true;
    unsigned k = 1 + plan_below(run->plan, commands);
    g_autofree char *spec = g_strdup_printf("%s,nak=%u", run->plan->target, k);
    g_autofree char *word = g_strdup_printf("command %u of %u", k, commands);
    /* In passthrough the device has the guest's rings already when it refuses one of the commands
     * that it takes only for enabled rings; memory is compared where nothing is given to it. */
    if (enter(run, spec, VDT_SHADOW_ALWAYS, &error))
        return wrong(run, "command %u of %u was refused, and the destination has started", k,
                     commands);
    if (!error || !strstr(error->message, "answered ERR") || !strstr(error->message, "command "))
        return wrong(run, "%s was refused, but the error is: %s", word,
                     error ? error->message : "none");
    g_usleep(plan_below(run->plan, 100));
    side_run(&run->target);
    if (!same_memory(run, "after a refused command"))
        return false;
    if (side_frames_out(&run->target))
        return wrong(run, "the refusing destination has sent frames");
    run->tally->refused++;
    return sound(run, &run->target, "refusing destination");
}

static bool
resume(struct run *run, struct side **ret_side)
{
    g_autoptr(GError) error = NULL;

    *ret_side = &run->source;
    run->own_frames = inside_own_frames(&run->source);
    if (!check(run, vdt_driver_move(&run->driver, &run->ram[0], &error), "back", &error) ||
        !check(run, side_start(&run->source, &run->driver, run->bases, &error),
               "going on at the source", &error))
        return false;
    run->tally->resumed += run->plan->end == PLAN_REFUSE;
    run->tally->cancelled += run->plan->end == PLAN_CANCEL;
    return true;
}

static bool
arrive(struct run *run, struct side **ret_side)
{
    g_autoptr(GError) error = NULL;

    *ret_side = &run->target;
    return check(run, enter(run, run->plan->target, run->plan->policy, &error), "destination",
                 &error);
}

/* The same state once more into the device that has it already. */
static bool
replay_twice(struct run *run, struct side *side)
{
    g_autoptr(GError) error = NULL;
    unsigned commands;

    if (!run->plan->twice || !run->driver.has_control)
        return true;
    VDT_AUTO(snapshot) live = vdt_nic_snapshot(side->nic, &error);
    if (!check(run, live != NULL, "live state", &error) ||
        !check(run, vdt_nic_restore(side->nic, live, &commands, &error), "second replay", &error))
        return false;
    run->tally->twice++;
    return holds(run, side, "after a second replay");
}

/* What came back on the transmit rings is what the devices have sent, all of them together: none
 * was given back unsent or sent twice. */
static bool
sent_once(struct run *run)
{
    uint64_t came_back = 0, sent = side_frames_out(&run->source), own = run->own_frames;

    own += inside_own_frames(&run->source);
    if (run->target.context) {
        sent += side_frames_out(&run->target);
        own += inside_own_frames(&run->target);
    }
    for (unsigned i = 0; i < run->driver.config.pairs; i++)
        came_back += run->driver.pair[i].tx.used;
    return (sent >= came_back && sent <= came_back + own) ||
           wrong(run,
                 "the devices have sent %" G_GUINT64_FORMAT
                 " frames, the guest has %" G_GUINT64_FORMAT " back, and %" G_GUINT64_FORMAT
                 " were our own",
                 sent, came_back, own);
}

static bool
finish(struct run *run, struct side *side)
{
    g_autoptr(GError) error = NULL;
    uint32_t bases[VDT_RINGS_MAX];
    struct vdt_driver_sums sums;
    int64_t start = g_get_monotonic_time();

    work(run, side, 4 + plan_below(run->plan, 12));
    run->script.idle = true;
    run->traffic.send = false;
    do {
        step(run, side);
        vdt_driver_sum(&run->driver, &sums);
    } while (
        (!vdt_script_quiet(&run->script) && g_get_monotonic_time() < start + QUIET_MS * 1000) ||
        (sums.tx_in_flight && g_get_monotonic_time() < start + LINGER_MS * 1000));
    if (!vdt_script_quiet(&run->script))
        return wrong(run, "%u control commands were not answered", run->script.in_flight.length);
    if (!holds(run, side, "in the end") ||
        !check(run, side_stop(side, &run->driver, bases, &error), "last stop", &error))
        return false;
    VDT_AUTO(snapshot) last = vdt_nic_snapshot(side->nic, &error);
    if (!check(run, last != NULL, "last state", &error) || !books(run, last, "in the end"))
        return false;
    vdt_driver_sum(&run->driver, &sums);
    run->tally->chains += sums.used;
    run->tally->commands += run->script.acked;
    return sent_once(run) && sound(run, side, "side that went on");
}

static bool
migrate(struct run *run)
{
    struct side *side = NULL;

    if (!begin(run))
        return false;
    work(run, &run->source, run->plan->steps_before);
    if (!mapped(run, &run->source, "before the move") || !grow(run) || !waver(run) || !leave(run))
        return false;
    bool refuse = run->plan->end == PLAN_REFUSE || run->plan->end == PLAN_AGAIN;
    if (refuse && !refused(run))
        return false;
    bool back = run->plan->end == PLAN_REFUSE || run->plan->end == PLAN_CANCEL;
    if (!(back ? resume(run, &side) : arrive(run, &side)))
        return false;
    return mapped(run, side, "after the switch") && holds(run, side, "after the switch") &&
           replay_twice(run, side) && finish(run, side) && mapped(run, side, "in the end");
}

static void
unmapped(struct run *run, struct side *side, const char *name)
{
    if (!side->nic || run->why)
        return;
    vdt_nic_backend()->disconnected(side->nic);
    uint64_t left = side_mapped(side);
    if (left > 0)
        wrong(run, "the %s has %" G_GUINT64_FORMAT " bytes mapped after the end", name, left);
}

char *
migration_run(struct plan *plan, struct vdt_ram ram[2], struct tally *tally)
{
    struct run run = {.plan = plan, .ram = ram, .tally = tally};

    migrate(&run);
    unmapped(&run, &run.source, "source");
    unmapped(&run, &run.target, "destination");
    side_close(&run.source);
    side_close(&run.target);
    if (run.driver_there) {
        vdt_traffic_clear(&run.traffic);
        vdt_script_clear(&run.script);
        vdt_driver_clear(&run.driver);
    }
    if (run.order.pair)
        g_byte_array_unref(run.order.pair);
    vdt_snapshot_free(run.state);
    return run.why;
}
