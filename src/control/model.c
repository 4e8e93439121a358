/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "control/model.h"

#include <string.h>

void
vdt_control_model_init(struct vdt_control_model *model)
{
    memset(model, 0, sizeof(*model));
    vdt_net_state_init(&model->state);
}

void
vdt_control_model_clear(struct vdt_control_model *model)
{
    g_clear_pointer(&model->unmigratable, g_free);
}

void
vdt_control_model_reset(struct vdt_control_model *model, uint64_t features)
{
    const struct vdt_control_limits limits = model->limits;

    vdt_control_model_clear(model);
    vdt_control_model_init(model);
    model->features = features;
    model->limits = limits;
}

void
vdt_control_model_set_unmigratable(struct vdt_control_model *model, const char *reason)
{
    if (!model->unmigratable)
        model->unmigratable = g_strdup(reason);
}
