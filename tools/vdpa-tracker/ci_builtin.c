/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The built-in guest's cases: the steps of a course, and what each has to leave behind. */
#include <signal.h>
#include <sys/wait.h>

#include <vdpa-tracker/error.h>

#include "tools/vdpa-tracker/ci_builtin.h"
#include "tools/vdpa-tracker/client.h"

#define RING_MAX 256u
#define CONFIGURE_S 30
#define ATTEMPT_S 1.0 /* how long a guest's frames are waited for */

struct vdt_builtin *
vdt_builtin_of(void *ctx)
{
    return ((struct vdt_ci *) ctx)->guest;
}

/* What a tracker said that fell over says more than the connection that it took along. */
int
vdt_builtin_broken(struct vdt_builtin *guest, GString *said, GError *error)
{
    g_autoptr(GError) why = NULL;

    vdt_ci_say(said, error);
    if (guest->course.side[0].process && guest->course.side[1].process &&
        !vdt_course_both_alive(&guest->course, &why))
        g_string_append_printf(said, "; %s", why->message);
    return VDT_CASE_BROKEN;
}

bool
vdt_builtin_blamed(struct vdt_builtin *guest, GString *said)
{
    unsigned first = guest->reasons_told;

    for (; guest->reasons_told < guest->report.reasons->len; guest->reasons_told++)
        g_string_append_printf(said, "%s%s", guest->reasons_told > first ? "; " : "",
                               (char *) guest->report.reasons->pdata[guest->reasons_told]);
    return guest->reasons_told > first;
}

static void
progress(const char *line, bool done)
{
}

/* ---- the guest ---- */

static int
trackers_start(void *ctx, unsigned arg, GString *said)
{
    struct vdt_ci *ci = ctx;
    struct vdt_builtin *guest = vdt_builtin_of(ctx);
    const struct vdt_ci_options *options = ci->options;
    GError *error = NULL;

    guest->options = (struct vdt_course_options){
        .device = {options->device[0], options->device[1]},
        .shadow = options->shadow,
        .features_from = ci->baseline,
        .pairs = VDT_PAIRS_MAX,
        .num =
            (uint16_t) MIN(RING_MAX, MIN(ci->device[0].info.ring_max, ci->device[1].info.ring_max)),
        .vlans = options->vlans,
        .memory_mib = options->memory_mib,
        .rounds = options->rounds,
        .commands = ci->device[0].info.features & VDT_BIT(VIRTIO_NET_F_CTRL_VQ) ? 20 : 0,
        .duration = options->duration,
        .seed = options->seed,
        .run = g_random_int() | 1, /* the network may have frames of an earlier test */
        .packed = options->packed,
        .modest = true,
        .progress = progress,
    };
    return vdt_course_start_trackers(&guest->course, &error)
               ? VDT_CASE_PASSED
               : vdt_builtin_broken(guest, said, error);
}

static int
guest_starts(void *ctx, unsigned arg, GString *said)
{
    struct vdt_builtin *guest = vdt_builtin_of(ctx);
    GError *error = NULL;

    if (!vdt_course_start_guest(&guest->course, &error))
        return vdt_builtin_broken(guest, said, error);
    g_string_printf(said, "%u queue pairs, %s rings of %u, %s control queue",
                    guest->course.driver.config.pairs, guest->options.packed ? "packed" : "split",
                    guest->course.driver.config.num, guest->course.driver.has_control ? "a" : "no");
    return VDT_CASE_PASSED;
}

/* One turn of the guest's, until each kind of command was answered. */
static int
configures(void *ctx, unsigned arg, GString *said)
{
    struct vdt_builtin *guest = vdt_builtin_of(ctx);
    int64_t end = g_get_monotonic_time() + (int64_t) CONFIGURE_S * G_USEC_PER_SEC;
    GError *error = NULL;

    do {
        struct vdt_course_look look;

        if (!vdt_course_run_for(&guest->course, 0.1, "source", &error))
            return vdt_builtin_broken(guest, said, error);
        look = vdt_course_look(&guest->course);
        if (look.sums.broken) {
            g_string_printf(said, "a ring went out of service: %s", look.sums.broken);
            return VDT_CASE_BROKEN;
        }
        if (look.complete)
            return VDT_CASE_PASSED;
    } while (g_get_monotonic_time() < end);
    g_string_printf(said, "after %d s not every kind of command was answered", CONFIGURE_S);
    return VDT_CASE_BROKEN;
}

/* @kind is the case's. */
static int
sets(void *ctx, unsigned kind, GString *said)
{
    struct vdt_builtin *guest = vdt_builtin_of(ctx);
    struct vdt_script *script = &guest->course.script;
    int result = VDT_CASE_FAILED;

    vdt_traffic_pause(&guest->course.traffic);
    if (!vdt_script_can(script, kind)) {
        g_string_append(said, "the guest is not offered it");
        result = VDT_CASE_SKIPPED;
    } else if (script->refused_of[kind]) {
        g_string_printf(said, "%lu commands were refused; the first that was: %s",
                        (unsigned long) script->refused_of[kind],
                        script->trouble ? script->trouble : "not known");
    } else if (script->of_kind[kind] == 0) {
        g_string_append(said, "the device has not asked for it");
        result = VDT_CASE_SKIPPED;
    } else {
        g_string_printf(said, "%lu commands acknowledged", (unsigned long) script->of_kind[kind]);
        result = VDT_CASE_PASSED;
    }
    vdt_traffic_resume(&guest->course.traffic);
    return result;
}

static int
frames_return(void *ctx, unsigned arg, GString *said)
{
    struct vdt_ci *ci = ctx;
    struct vdt_builtin *guest = vdt_builtin_of(ctx);
    GError *error = NULL;
    struct vdt_course_look look = vdt_course_look(&guest->course);

    if (look.received == 0 && !vdt_course_run_for(&guest->course, ATTEMPT_S, "source", &error))
        return vdt_builtin_broken(guest, said, error);
    look = vdt_course_look(&guest->course);
    guest->course.loops = look.received > 0;
    g_string_printf(said, "%lu of %lu frames came back", (unsigned long) look.received,
                    (unsigned long) look.sent);
    if (guest->course.loops)
        return VDT_CASE_PASSED;
    if (ci->options->reflects)
        return VDT_CASE_FAILED;
    g_string_append(said, ": nothing behind this device returns them, so that what needs received "
                          "frames cannot be checked (--reflects demands that it is)");
    return VDT_CASE_SKIPPED;
}

/* What the tracker there says of the control state, and what the guest has set: lines that differ
 * go to @said. The guest is quiet. */
int
vdt_builtin_compare(struct vdt_builtin *guest, const char *name, GString *said)
{
    g_autofree struct vdt_net_state *want =
        g_memdup2(&guest->course.script.expected, sizeof(*want));
    GError *error = NULL;
    VDT_AUTO(snapshot) snapshot = vdt_ci_snapshot(name, &error);

    if (!snapshot) {
        vdt_ci_say(said, error);
        return VDT_CASE_FAILED;
    }
    want->announce = snapshot->net.announce; /* asked by the tracker, not set by the guest */
    g_autoptr(GPtrArray) lines = vdt_net_state_diff(want, &snapshot->net);
    if (lines->len == 0)
        return VDT_CASE_PASSED;
    g_string_append(said, "A is what the guest has set, B the snapshot: ");
    for (unsigned i = 0; i < lines->len; i++)
        g_string_append_printf(said, "%s%s", i ? "; " : "", (char *) lines->pdata[i]);
    return VDT_CASE_FAILED;
}

static int
snapshot_at_source(void *ctx, unsigned arg, GString *said)
{
    struct vdt_builtin *guest = vdt_builtin_of(ctx);
    struct vdt_course *course = &guest->course;
    GError *error = NULL;

    vdt_traffic_pause(&course->traffic);
    course->script.idle = true;
    vdt_traffic_resume(&course->traffic);
    if (!vdt_course_wait_for_script(course, "at the source", &error))
        return vdt_builtin_broken(guest, said, error);
    if (vdt_builtin_blamed(guest, said))
        return VDT_CASE_FAILED;
    vdt_traffic_pause(&course->traffic);
    int result = vdt_builtin_compare(guest, "source", said);
    course->script.idle = !course->driver.has_control;
    vdt_traffic_resume(&course->traffic);
    return result;
}

/* The source's state, with a ring that is larger than any of the destination's. */
static int
refuses(void *ctx, unsigned arg, GString *said)
{
    struct vdt_ci *ci = ctx;
    GError *error = NULL;
    unsigned most = ci->device[1].info.ring_max;
    VDT_AUTO(snapshot) snapshot = NULL;
    g_autoptr(GBytes) bytes = NULL;
    g_autofree char *answer = NULL;

    if (most >= 32768) {
        g_string_append(said, "the destination takes rings of any size");
        return VDT_CASE_SKIPPED;
    }
    snapshot = vdt_ci_snapshot("source", &error);
    if (snapshot && snapshot->ring_count > 0)
        snapshot->rings[0].num = (uint16_t) (most * 2);
    if (snapshot)
        bytes = vdt_snapshot_encode(snapshot, &error);
    g_autoptr(VdtTracker1) tracker = bytes ? vdt_client_new("destination", &error) : NULL;
    if (!tracker) {
        vdt_ci_say(said, error);
        return VDT_CASE_FAILED;
    }
    GVariant *state = g_variant_new_from_bytes(G_VARIANT_TYPE("ay"), bytes, TRUE);
    if (vdt_tracker1_call_restore_sync(tracker, state, &answer, NULL, &error)) {
        g_string_printf(said, "it took a state with a ring of %u, and has rings of up to %u",
                        most * 2, most);
        return VDT_CASE_FAILED;
    }
    bool refused = g_error_matches(error, VDT_ERROR, VDT_ERROR_REFUSED);
    vdt_client_strip(error);
    g_string_append(said, refused ? "" : "it fails in another way: ");
    vdt_ci_say(said, error);
    return refused ? VDT_CASE_PASSED : VDT_CASE_FAILED;
}

static int
ends(void *ctx, unsigned arg, GString *said)
{
    struct vdt_ci *ci = ctx;
    struct vdt_builtin *guest = vdt_builtin_of(ctx);
    GError *error = NULL;

    int result = VDT_CASE_PASSED;
    if (!guest->course.side[0].process || !guest->course.side[1].process) {
        g_string_append(said, "they were not started");
        result = VDT_CASE_SKIPPED;
    } else if (!vdt_course_both_alive(&guest->course, &error)) {
        vdt_ci_say(said, error);
        result = VDT_CASE_FAILED;
    }
    vdt_ci_builtin_end(ci);
    return result;
}

/* From the watcher, while the guest's thread may be anywhere. */
static void
kill_trackers(void *ctx)
{
    struct vdt_builtin *guest = ctx;

    for (unsigned i = 0; i < 2; i++) {
        const struct vdt_tracker_process *process = guest->course.side[i].process;

        if (process && process->pid > 0 && kill(process->pid, SIGKILL) == 0)
            waitpid(process->pid, NULL, 0);
    }
}

void
vdt_ci_builtin_add(struct vdt_ci *ci)
{
    struct vdt_builtin *guest = g_new0(struct vdt_builtin, 1);
    struct vdt_case_list *list = ci->list;

    guest->ci = ci;
    vdt_course_init(&guest->course, &guest->options, &guest->report);
    ci->guest = guest;
    ci->kill_guest = kill_trackers;
    vdt_case_list_add(list, "guest", trackers_start, 0, "both trackers start");
    vdt_case_list_add(list, "guest", guest_starts, 0, "the guest starts");
    vdt_case_list_add(list, "guest", configures, 0, "the guest configures its device");
    for (unsigned kind = 0; kind < VDT_SCRIPT_KINDS; kind++)
        vdt_case_list_add(list, "guest", sets, kind, "it sets: %s", vdt_script_kind_name(kind));
    vdt_case_list_add(list, "guest", frames_return, 0, "its frames come back");
    vdt_case_list_add(list, "guest", snapshot_at_source, 0,
                      "the source's snapshot is what the guest has set");
    vdt_case_list_add(list, "guest", refuses, 0,
                      "the destination refuses a state that is beyond it");
    for (unsigned leg = 0; leg < 2 * ci->options->repeat; leg++)
        vdt_builtin_add_move(ci, leg);
    vdt_case_list_add(list, "end", ends, 0, "both trackers run until they are asked to end");
    ((struct vdt_case *) g_ptr_array_index(list->cases, list->cases->len - 1))->always = true;
}

void
vdt_ci_builtin_end(struct vdt_ci *ci)
{
    /* From here on nothing is the watcher's to kill: it would end with us. */
    g_mutex_lock(&ci->list->lock);
    struct vdt_builtin *guest = g_steal_pointer(&ci->guest);
    g_mutex_unlock(&ci->list->lock);

    if (!guest)
        return;
    vdt_course_clear(&guest->course);
    vdt_course_report_clear(&guest->report);
    g_free(guest);
}
