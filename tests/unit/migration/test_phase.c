/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "migration/phase.h"

#include <vdpa-tracker/error.h>

VDT_SUITE(phase);

/* Every path that a NIC takes, step by step. */
static const enum vdt_phase paths[][8] = {
    {VDT_PHASE_IDLE, VDT_PHASE_RUNNING, VDT_PHASE_LOGGING, VDT_PHASE_STOPPED, VDT_PHASE_SAVED,
     VDT_PHASE_IDLE, VDT_PHASE_COUNT},
    {VDT_PHASE_IDLE, VDT_PHASE_LOADED, VDT_PHASE_RUNNING, VDT_PHASE_COUNT},
    {VDT_PHASE_LOADED, VDT_PHASE_LOGGING, VDT_PHASE_COUNT},  /* and on to the next at once */
    {VDT_PHASE_IDLE, VDT_PHASE_LOGGING, VDT_PHASE_COUNT},    /* it still logs after a failure */
    {VDT_PHASE_LOGGING, VDT_PHASE_RUNNING, VDT_PHASE_COUNT}, /* a migration was cancelled */
    {VDT_PHASE_SAVED, VDT_PHASE_RUNNING, VDT_PHASE_COUNT},   /* or failed: the source goes on */
    {VDT_PHASE_RUNNING, VDT_PHASE_OPENING, VDT_PHASE_CHECKING, VDT_PHASE_FREEZING,
     VDT_PHASE_EXCHANGING, VDT_PHASE_THAWING, VDT_PHASE_RUNNING, VDT_PHASE_COUNT},
    {VDT_PHASE_FREEZING, VDT_PHASE_RETURNING, VDT_PHASE_RUNNING, VDT_PHASE_COUNT},
    {VDT_PHASE_EXCHANGING, VDT_PHASE_RETURNING, VDT_PHASE_STOPPED, VDT_PHASE_COUNT},
    {VDT_PHASE_THAWING, VDT_PHASE_RETURNING, VDT_PHASE_IDLE, VDT_PHASE_COUNT},
    {VDT_PHASE_CHECKING, VDT_PHASE_RUNNING, VDT_PHASE_COUNT}, /* refused before anything stopped */
};

static const enum vdt_phase illegal[][2] = {
    {VDT_PHASE_LOGGING, VDT_PHASE_OPENING}, /* no swap while a migration runs */
    {VDT_PHASE_LOADED, VDT_PHASE_OPENING},  /* nor with a state that waits for its guest */
    {VDT_PHASE_RUNNING, VDT_PHASE_LOADED},  /* a running guest takes no stopped state */
    {VDT_PHASE_RUNNING, VDT_PHASE_SAVED},   /* what still runs is not handed over */
    {VDT_PHASE_LOADED, VDT_PHASE_SAVED},       {VDT_PHASE_FREEZING, VDT_PHASE_RUNNING},
    {VDT_PHASE_EXCHANGING, VDT_PHASE_RUNNING}, {VDT_PHASE_OPENING, VDT_PHASE_FREEZING},
    {VDT_PHASE_RETURNING, VDT_PHASE_THAWING},  {VDT_PHASE_COUNT, VDT_PHASE_IDLE},
    {VDT_PHASE_IDLE, VDT_PHASE_COUNT},
};

Test(phase, every_path_of_a_nic_is_legal)
{
    for (size_t i = 0; i < G_N_ELEMENTS(paths); i++) {
        enum vdt_phase phase = paths[i][0];

        for (unsigned k = 1; paths[i][k] != VDT_PHASE_COUNT; k++)
            cr_expect(vdt_phase_move(&phase, paths[i][k], NULL), "path %zu, step %u: %s", i, k,
                      vdt_phase_name(phase));
    }
}

Test(phase, illegal_steps_are_refused_and_change_nothing)
{
    for (size_t i = 0; i < G_N_ELEMENTS(illegal); i++) {
        enum vdt_phase phase = illegal[i][0];
        g_autoptr(GError) error = NULL;

        cr_expect(!vdt_phase_move(&phase, illegal[i][1], &error), "row %zu", i);
        cr_expect_eq(phase, illegal[i][0]);
        cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_BUSY));
    }
}

Test(phase, every_phase_has_a_name_and_a_way_out)
{
    for (unsigned i = 0; i < VDT_PHASE_COUNT; i++) {
        bool out = false;

        cr_expect_str_neq(vdt_phase_name(i), "unknown");
        for (unsigned k = 0; k < VDT_PHASE_COUNT; k++)
            out |= i != k && vdt_phase_legal(i, k);
        cr_expect(out, "%s", vdt_phase_name(i));
    }
}

Test(phase, clock_knows_each_stay)
{
    struct vdt_phase_clock clock;
    struct vdt_phase_time time;

    vdt_phase_clock_start(&clock, VDT_PHASE_IDLE, 100, 1000);
    vdt_phase_clock_step(&clock, VDT_PHASE_RUNNING, 150, 1050);
    vdt_phase_clock_step(&clock, VDT_PHASE_RUNNING, 170, 1070);
    vdt_phase_clock_step(&clock, VDT_PHASE_LOGGING, 250, 1150);
    vdt_phase_clock_step(&clock, VDT_PHASE_RUNNING, 255, 1155);
    time = vdt_phase_clock_read(&clock, VDT_PHASE_RUNNING, 275);
    cr_expect_eq(time.count, 2);
    cr_expect_eq(time.since_us, 1155);
    cr_expect_eq(time.last_us, 20, "the stay that lasts");
    cr_expect_eq(time.total_us, 120);
    time = vdt_phase_clock_read(&clock, VDT_PHASE_LOGGING, 275);
    cr_expect_eq(time.count, 1);
    cr_expect_eq(time.since_us, 1150);
    cr_expect_eq(time.last_us, 5);
    cr_expect_eq(time.total_us, 5);
    time = vdt_phase_clock_read(&clock, VDT_PHASE_SAVED, 275);
    cr_expect_eq(time.count, 0);
    cr_expect_eq(time.total_us, 0);
}
