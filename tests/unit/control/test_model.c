/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "control/model.h"

VDT_SUITE(model);

Test(model, starts_with_a_fresh_device)
{
    struct vdt_control_model model;
    struct vdt_net_state fresh;

    vdt_control_model_init(&model);
    vdt_net_state_init(&fresh);
    cr_assert(vdt_net_state_equal(&model.state, &fresh));
    cr_assert_null(model.unmigratable);
    vdt_control_model_clear(&model);
}

Test(model, first_reason_against_migration_wins)
{
    struct vdt_control_model model;

    vdt_control_model_init(&model);
    vdt_control_model_set_unmigratable(&model, "one");
    vdt_control_model_set_unmigratable(&model, "two");
    cr_assert_str_eq(model.unmigratable, "one");
    vdt_control_model_clear(&model);
    cr_assert_null(model.unmigratable);
}

Test(model, reset_forgets_all_but_the_limits)
{
    struct vdt_control_model model;

    vdt_control_model_init(&model);
    model.limits.max_pairs = 8;
    model.state.set = VDT_NET_PAIRS;
    model.state.queue_pairs = 4;
    model.captured = 3;
    model.refused = 2;
    vdt_control_model_set_unmigratable(&model, "one");
    vdt_control_model_reset(&model, 0x42);
    cr_assert_eq(model.limits.max_pairs, 8);
    cr_assert_eq(model.features, 0x42);
    cr_assert_eq(model.state.set, 0);
    cr_assert_eq(model.state.queue_pairs, 1);
    cr_assert_eq(model.captured + model.refused, 0);
    cr_assert_null(model.unmigratable);
    vdt_control_model_clear(&model);
}
