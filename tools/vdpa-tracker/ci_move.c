/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The cases of one move of the built-in guest, from either device to the other. */
#include "tools/vdpa-tracker/ci_builtin.h"

/* Where the guest is, or goes. */
static const char *
tracker_name(const struct vdt_builtin *guest, bool target)
{
    return (guest->course.from != 0) != target ? "destination" : "source";
}

static int
verdict(struct vdt_builtin *guest, GString *said)
{
    return vdt_builtin_blamed(guest, said) ? VDT_CASE_FAILED : VDT_CASE_PASSED;
}

static int
needs_frames(GString *said)
{
    g_string_append(said, "no frame of the guest comes back on these devices");
    return VDT_CASE_SKIPPED;
}

static int
copies(void *ctx, unsigned leg, GString *said)
{
    struct vdt_builtin *guest = vdt_builtin_of(ctx);
    GError *error = NULL;

    if (leg > 0 && !vdt_course_turn(&guest->course, &error))
        return vdt_builtin_broken(guest, said, error);
    guest->legs = leg + 1;
    guest->received_before = vdt_course_look(&guest->course).received;
    if (!vdt_course_precopy(&guest->course, &error))
        return vdt_builtin_broken(guest, said, error);
    return verdict(guest, said);
}

static int
source_stops(void *ctx, unsigned leg, GString *said)
{
    struct vdt_builtin *guest = vdt_builtin_of(ctx);
    GError *error = NULL;

    if (!vdt_course_note_state(&guest->course, &error) || !vdt_course_stop(&guest->course, &error))
        return vdt_builtin_broken(guest, said, error);
    vdt_course_sum(&guest->course);
    g_string_printf(said, "%lu bytes of state", (unsigned long) guest->report.snapshot_bytes);
    return verdict(guest, said);
}

static int
pages_logged(void *ctx, unsigned leg, GString *said)
{
    struct vdt_builtin *guest = vdt_builtin_of(ctx);

    vdt_course_judge_pages(&guest->course);
    if (vdt_builtin_blamed(guest, said))
        return VDT_CASE_FAILED;
    g_string_printf(said, "%lu pages logged in %lu rounds; the memories are equal, byte for byte",
                    (unsigned long) guest->report.pages_written,
                    (unsigned long) guest->report.rounds);
    return guest->report.pages_written > 0 ? VDT_CASE_PASSED : VDT_CASE_FAILED;
}

/* The memories are compared as a whole; this case is whether the device had written frames. */
static int
frames_logged(void *ctx, unsigned leg, GString *said)
{
    struct vdt_builtin *guest = vdt_builtin_of(ctx);
    uint64_t n = guest->report.frames_received - guest->received_before;

    if (!guest->course.loops)
        return needs_frames(said);
    g_string_printf(said, "%lu frames came in while memory was copied, %lu pages differ",
                    (unsigned long) n, (unsigned long) guest->report.pages_missed);
    return n > 0 && guest->report.pages_missed == 0 ? VDT_CASE_PASSED : VDT_CASE_FAILED;
}

static int
takes_state(void *ctx, unsigned leg, GString *said)
{
    struct vdt_builtin *guest = vdt_builtin_of(ctx);
    GError *error = NULL;

    if (vdt_migrate_land(&guest->course.migrate, &error))
        return VDT_CASE_PASSED;
    vdt_builtin_broken(guest, said, error);
    g_autofree char *log = vdt_tracker_process_log(guest->course.side[!guest->course.from].process);
    g_string_append_printf(said, ":\n%s", log);
    return VDT_CASE_BROKEN;
}

static int
goes_on(void *ctx, unsigned leg, GString *said)
{
    struct vdt_ci *ci = ctx;
    struct vdt_builtin *guest = vdt_builtin_of(ctx);
    GError *error = NULL;
    g_autofree char *name = g_strdup_printf("downtime_us.%s.%u", vdt_ci_leg(leg), leg / 2 + 1);

    if (!vdt_course_arrive(&guest->course, &error))
        return vdt_builtin_broken(guest, said, error);
    if (vdt_builtin_blamed(guest, said))
        return VDT_CASE_BROKEN;
    vdt_case_list_note(ci->list, name, "%ld", (long) guest->report.downtime_us);
    g_string_printf(said, "downtime %.3f ms", (double) guest->report.downtime_us / 1000);
    return VDT_CASE_PASSED;
}

static int
state_told(void *ctx, unsigned leg, GString *said)
{
    struct vdt_builtin *guest = vdt_builtin_of(ctx);

    vdt_traffic_pause(&guest->course.traffic);
    int result = vdt_builtin_compare(guest, tracker_name(guest, true), said);
    vdt_traffic_resume(&guest->course.traffic);
    return result;
}

static int
state_held(void *ctx, unsigned leg, GString *said)
{
    struct vdt_builtin *guest = vdt_builtin_of(ctx);
    GError *error = NULL;

    if (!vdt_course_judge_switch(&guest->course, &error))
        return vdt_builtin_broken(guest, said, error);
    if (vdt_builtin_blamed(guest, said))
        return VDT_CASE_FAILED;
    if (!guest->report.state_read) {
        g_string_printf(said,
                        "this device cannot be read back; it answered OK to each of %lu commands",
                        (unsigned long) guest->report.replayed);
        return VDT_CASE_SKIPPED;
    }
    return VDT_CASE_PASSED;
}

/* It goes on for a while: commands are acknowledged, no ring breaks. */
static int
works_there(void *ctx, unsigned leg, GString *said)
{
    struct vdt_builtin *guest = vdt_builtin_of(ctx);
    struct vdt_course_look before = vdt_course_look(&guest->course), after;
    GError *error = NULL;

    if (!vdt_course_answer_announce(&guest->course, &error) ||
        !vdt_course_run_for(&guest->course, guest->options.duration, "destination", &error))
        return vdt_builtin_broken(guest, said, error);
    after = vdt_course_look(&guest->course);
    vdt_course_judge_commands(&guest->course);
    if (vdt_builtin_blamed(guest, said))
        return VDT_CASE_FAILED;
    g_string_printf(said, "%lu frames sent, %lu came back, %lu commands acknowledged",
                    (unsigned long) (after.sent - before.sent),
                    (unsigned long) (after.received - before.received),
                    (unsigned long) (after.acked - before.acked));
    if (after.sums.broken)
        g_string_append_printf(said, "; a ring went out of service: %s", after.sums.broken);
    return !after.sums.broken && after.sent > before.sent &&
                   (!guest->course.driver.has_control || after.acked > before.acked) &&
                   (!guest->course.loops || after.received > before.received)
               ? VDT_CASE_PASSED
               : VDT_CASE_FAILED;
}

static int
none_lost(void *ctx, unsigned leg, GString *said)
{
    struct vdt_builtin *guest = vdt_builtin_of(ctx);
    const struct vdt_driver_sums *sums = &guest->report.sums;
    GError *error = NULL;

    if (!vdt_course_drain(&guest->course, &error))
        return vdt_builtin_broken(guest, said, error);
    vdt_course_sum(&guest->course);
    if (vdt_builtin_blamed(guest, said))
        return VDT_CASE_FAILED;
    g_string_printf(said,
                    "%lu chains were made available, %lu came back; missing: %lu to send, %lu "
                    "commands; at the switch %lu to receive, %lu to send and %lu commands were in "
                    "flight",
                    (unsigned long) sums->available, (unsigned long) sums->used,
                    (unsigned long) sums->tx_in_flight, (unsigned long) sums->commands_in_flight,
                    (unsigned long) guest->report.in_flight_rx,
                    (unsigned long) guest->report.in_flight_tx,
                    (unsigned long) guest->report.in_flight_control);
    if (sums->broken)
        g_string_append_printf(said, "; a ring went out of service: %s", sums->broken);
    return sums->tx_in_flight || sums->commands_in_flight || sums->broken ? VDT_CASE_FAILED
                                                                          : VDT_CASE_PASSED;
}

static int
no_buffer_lost(void *ctx, unsigned leg, GString *said)
{
    struct vdt_builtin *guest = vdt_builtin_of(ctx);

    if (!guest->course.loops)
        return needs_frames(said);
    g_string_printf(said, "%lu receive buffers never came back",
                    (unsigned long) guest->report.sums.rx_in_flight);
    return guest->report.sums.rx_in_flight ? VDT_CASE_FAILED : VDT_CASE_PASSED;
}

static int
none_twice(void *ctx, unsigned leg, GString *said)
{
    struct vdt_builtin *guest = vdt_builtin_of(ctx);

    g_string_printf(said, "%lu requests came back twice, or were carried out twice",
                    (unsigned long) guest->report.sums.duplicated);
    return guest->report.sums.duplicated ? VDT_CASE_FAILED : VDT_CASE_PASSED;
}

static int
frames_whole(void *ctx, unsigned leg, GString *said)
{
    struct vdt_builtin *guest = vdt_builtin_of(ctx);

    if (!guest->course.loops)
        return needs_frames(said);
    /* A network has other stations, and the tracker announces a guest that cannot itself. */
    uint64_t damaged = guest->report.frames_corrupt - guest->report.frames_foreign;
    g_string_printf(said, "%lu frames came in as they were sent, %lu damaged, %lu of other senders",
                    (unsigned long) guest->report.frames_received, (unsigned long) damaged,
                    (unsigned long) guest->report.frames_foreign);
    return damaged ? VDT_CASE_FAILED : VDT_CASE_PASSED;
}

static int
in_time(void *ctx, unsigned leg, GString *said)
{
    struct vdt_ci *ci = ctx;
    double ms = (double) vdt_builtin_of(ctx)->report.downtime_us / 1000;

    g_string_printf(said, "downtime %.3f ms, %g ms are allowed", ms, ci->options->max_downtime_ms);
    return ms > ci->options->max_downtime_ms ? VDT_CASE_FAILED : VDT_CASE_PASSED;
}

static const struct {
    vdt_case_run run;
    const char *name;
} moves[] = {
    {copies, "memory is copied in rounds while the guest works"},
    {source_stops, "the guest's device stops and its state is saved"},
    {pages_logged, "every page that was written is in the dirty log"},
    {frames_logged, "the dirty log has the frames that came in"},
    {takes_state, "the other device takes the state"},
    {goes_on, "the guest goes on there"},
    {state_told, "its snapshot there is what the guest has set"},
    {state_held, "the device there holds what the first one held"},
    {works_there, "the guest works there"},
    {none_lost, "no frame to send and no command is lost"},
    {no_buffer_lost, "no receive buffer is lost"},
    {none_twice, "no request is carried out twice"},
    {frames_whole, "frames come in whole"},
};

void
vdt_builtin_add_move(struct vdt_ci *ci, unsigned leg)
{
    const char *group = vdt_ci_leg(leg);
    g_autofree char *again = vdt_ci_again(leg);

    for (unsigned i = 0; i < G_N_ELEMENTS(moves); i++)
        vdt_case_list_add(ci->list, group, moves[i].run, leg, "%s%s", moves[i].name, again);
    if (ci->options->max_downtime_ms >= 0)
        vdt_case_list_add(ci->list, group, in_time, leg, "the downtime is at most %g ms%s",
                          ci->options->max_downtime_ms, again);
}
