/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "libvirt/watch_phase.h"

#include <glib.h>

#include <string.h>

VDT_SUITE(watch_phase);

#define E(event) VDT_WATCH_##event
#define END VDT_WATCH_EVENTS

/* A domain's life as its libvirt told it, and the phases and outcomes that it went through. */
static const struct {
    const char *name, *phases;
    enum vdt_watch_event events[12];
} lives[] = {
    {"a source that gives its guest away",
     "running precopy(begins) handover off(left)",
     {E(FOUND_RUNNING), E(PASS), E(PASS), E(SUSPENDED_MIGRATED), E(PASS), E(STOPPED_MIGRATED),
      END}},
    {"a destination that gets it",
     "incoming(begins) running(arrived)",
     {E(STARTED_INCOMING), E(RESUMED_MIGRATED), END}},
    {"the destination refuses the state",
     "running precopy(begins) handover running(stayed) precopy(begins)",
     {E(FOUND_RUNNING), E(PASS), E(SUSPENDED_MIGRATED), E(RESUMED), E(PASS), END}},
    {"the same as an older libvirt has it",
     "running precopy(begins) handover running(stayed)",
     {E(FOUND_RUNNING), E(PASS), E(SUSPENDED_MIGRATED), E(RESUMED_MIGRATED), END}},
    {"given up during pre-copy, of which nothing is told",
     "running precopy(begins) running(stayed)",
     {E(FOUND_RUNNING), E(PASS), E(PASS), E(JOB_GONE), E(FOUND_RUNNING), END}},
    {"the destination's guest does not come",
     "incoming(begins) off(not-arrived)",
     {E(STARTED_INCOMING), E(STOPPED_FAILED), END}},
    {"the guest ends while it migrates",
     "running precopy(begins) off(stayed)",
     {E(FOUND_RUNNING), E(PASS), E(STOPPED), END}},
    {"a paused guest, which never stands still",
     "paused precopy(begins) off(left)",
     {E(FOUND_PAUSED), E(PASS), E(STOPPED_MIGRATED), END}},
    {"and arrives paused",
     "incoming(begins) paused(arrived) running",
     {E(STARTED_INCOMING), E(SUSPENDED), E(RESUMED), END}},
    {"no migration at all",
     "running paused running off running",
     {E(STARTED), E(SUSPENDED), E(RESUMED), E(STOPPED), E(STARTED), END}},
    {"a libvirt that tells of no pass",
     "running handover(begins) off(left)",
     {E(FOUND_RUNNING), E(SUSPENDED_MIGRATED), E(STOPPED_MIGRATED), END}},
    {"the connection broke in pre-copy and came back after it",
     "running precopy(begins) off(unseen)",
     {E(FOUND_RUNNING), E(PASS), E(FOUND_OFF), END}},
    {"or while it goes on",
     "running precopy(begins) handover off(left)",
     {E(FOUND_RUNNING), E(PASS), E(FOUND_PRECOPY), E(FOUND_HANDOVER), E(FOUND_HANDOVER),
      E(STOPPED_MIGRATED), END}},
    {"the watcher starts in the middle, at the source",
     "precopy(begins) handover off(left)",
     {E(FOUND_PRECOPY), E(PASS), E(SUSPENDED_MIGRATED), E(STOPPED_MIGRATED), END}},
    {"and at the destination",
     "incoming(begins) running(arrived)",
     {E(FOUND_INCOMING), E(RESUMED_MIGRATED), END}},
    {"what comes twice or late tells nothing",
     "off running",
     {E(FOUND_OFF), E(FOUND_OFF), E(PASS), E(SUSPENDED_MIGRATED), E(RESUMED), E(JOB_GONE),
      E(STARTED), E(STARTED), E(RESUMED), E(JOB_GONE), END}},
};

Test(watch_phase, lives_are_told_as_they_were)
{
    for (size_t i = 0; i < G_N_ELEMENTS(lives); i++) {
        struct vdt_watch_state state = {0};
        g_autoptr(GString) phases = g_string_new(NULL);
        struct vdt_watch_change change;

        for (unsigned k = 0; lives[i].events[k] != END; k++) {
            if (vdt_watch_step(&state, lives[i].events[k], 1, k, &change) != VDT_WATCH_CHANGED)
                continue;
            const char *outcome = vdt_watch_outcome_name(change.outcome);
            g_string_append_printf(phases, "%s%s", phases->len ? " " : "",
                                   vdt_watch_phase_name(change.to));
            if (outcome)
                g_string_append_printf(phases, "(%s)", outcome);
        }
        cr_expect_str_eq(phases->str, lives[i].phases, "%s: %s", lives[i].name, phases->str);
    }
}

Test(watch_phase, times_are_those_of_stays_and_of_the_migration)
{
    struct vdt_watch_state state = {0};
    struct vdt_watch_change change;

    cr_assert_eq(vdt_watch_step(&state, E(FOUND_RUNNING), 0, 1000, &change), VDT_WATCH_CHANGED);
    cr_expect(change.first);
    cr_expect_eq(change.into_us, -1);
    cr_assert_eq(vdt_watch_step(&state, E(PASS), 1, 5000, &change), VDT_WATCH_CHANGED);
    cr_expect(!change.first);
    cr_expect_eq(change.took_us, 4000);
    cr_expect_eq(change.into_us, 0);
    cr_assert_eq(vdt_watch_step(&state, E(PASS), 2, 6000, &change), VDT_WATCH_COUNTED);
    cr_expect_eq(state.passes, 2);
    cr_assert_eq(vdt_watch_step(&state, E(SUSPENDED_MIGRATED), 0, 7500, &change),
                 VDT_WATCH_CHANGED);
    cr_expect_eq(change.took_us, 2500);
    cr_expect_eq(change.into_us, 2500);
    cr_assert_eq(vdt_watch_step(&state, E(STOPPED_MIGRATED), 0, 7900, &change), VDT_WATCH_CHANGED);
    cr_expect_eq(change.took_us, 400);
    cr_expect_eq(change.into_us, 2900);
    cr_expect_eq(state.last_us[VDT_WATCH_PRECOPY], 2500);
    cr_expect_eq(state.last_us[VDT_WATCH_HANDOVER], 400);
    cr_expect_eq(state.count[VDT_WATCH_LEFT], 1);
    cr_assert_eq(vdt_watch_step(&state, E(STARTED), 0, 9000, &change), VDT_WATCH_CHANGED);
    cr_expect_eq(change.into_us, -1, "that migration is over");
}

/* Whatever comes, in whatever order: a phase that is one, and no change that is none. */
Test(watch_phase, any_sequence_of_events_leaves_a_valid_state)
{
    GRand *rand = g_rand_new_with_seed(1);

    for (unsigned life = 0; life < 2000; life++) {
        struct vdt_watch_state state = {0};
        struct vdt_watch_change change;
        uint64_t begun = 0, ended = 0;

        for (unsigned k = 0; k < 40; k++) {
            enum vdt_watch_phase before = state.phase;
            bool known = state.known;
            enum vdt_watch_event event =
                (enum vdt_watch_event) g_rand_int_range(rand, 0, VDT_WATCH_EVENTS);
            enum vdt_watch_step step = vdt_watch_step(&state, event, k, k, &change);

            cr_assert_lt(state.phase, VDT_WATCH_PHASES);
            if (step != VDT_WATCH_CHANGED) {
                cr_assert_eq(state.phase, before);
                continue;
            }
            cr_assert(state.phase != before || !known);
            cr_assert_geq(change.took_us, 0);
            cr_assert_eq(state.migrates, state.phase >= VDT_WATCH_PRECOPY);
        }
        begun = state.count[VDT_WATCH_BEGINS];
        ended = state.count[VDT_WATCH_LEFT] + state.count[VDT_WATCH_STAYED] +
                state.count[VDT_WATCH_ARRIVED] + state.count[VDT_WATCH_NOT_ARRIVED] +
                state.count[VDT_WATCH_UNSEEN];
        cr_assert_leq(begun, ended + state.migrates, "a migration without an end");
    }
    g_rand_free(rand);
}
