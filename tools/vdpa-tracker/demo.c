/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/demo.h"

static char *
device_spec(const struct vdt_demo_options *options, bool source)
{
    const char *more = source ? options->source : options->target;

    /* The source keeps requests in hand, so that some are in flight at the switch, whenever that
     * comes. The target was made with another address, as a real one would be. */
    return g_strdup_printf("sim:pairs=%u,seed=%lu%s%s%s%s", options->course.pairs,
                           (unsigned long) (uint32_t) options->course.seed,
                           options->out_of_order ? ",ooo" : "",
                           source ? ",latency=500,hold=12" : ",mac=52:54:00:74:67:74",
                           more && *more ? "," : "", more ? more : "");
}

static bool
go(struct vdt_course *course, GError **error)
{
    double duration = course->options->duration;

    if (!vdt_course_start_trackers(course, error) || !vdt_course_start_guest(course, error) ||
        !vdt_course_run_for(course, duration / 2, "source", error) ||
        !vdt_course_precopy(course, error) || !vdt_course_note_state(course, error) ||
        !vdt_course_stop(course, error) || !vdt_migrate_land(&course->migrate, error) ||
        !vdt_course_arrive(course, error) || !vdt_course_judge_switch(course, error))
        return false;
    if (!course->report->state_read)
        g_ptr_array_add(course->report->reasons,
                        g_strdup("the destination's tracker does not say what its device holds"));
    /* A guest that stands still has been judged enough. */
    if (course->report->downtime_us >= 0 &&
        (!vdt_course_answer_announce(course, error) ||
         !vdt_course_run_for(course, duration, "destination", error) ||
         !vdt_course_drain(course, error)))
        return false;
    vdt_traffic_pause(&course->traffic);
    vdt_course_sum(course);
    vdt_course_judge_requests(course);
    vdt_course_judge_pages(course);
    vdt_course_judge_frames(course);
    vdt_course_judge_commands(course);
    return true;
}

bool
vdt_demo_run(const struct vdt_demo_options *options, struct vdt_course_report *ret_report,
             GError **error)
{
    g_autofree char *source = device_spec(options, true), *target = device_spec(options, false);
    struct vdt_course_options course_options = options->course;
    struct vdt_course course;

    course_options.device[0] = source;
    course_options.device[1] = target;
    vdt_course_init(&course, &course_options, ret_report);
    bool ok = go(&course, error);
    if (!ok && course.side[0].process && course.side[1].process) {
        /* A tracker that fell over says more than the connection that it took along. */
        g_autoptr(GError) why = NULL;

        if (!vdt_course_both_alive(&course, &why) && error && *error)
            g_prefix_error(error, "%s; ", why->message);
    }
    vdt_course_clear(&course);
    return ok;
}
