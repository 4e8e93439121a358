/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/sim.h"

static bool
open_nothing(struct vdt_sim *sim, const char *arg, GError **error)
{
    return true;
}

static void
close_nothing(struct vdt_sim *sim)
{
}

static void
run_nothing(struct vdt_sim *sim, bool running)
{
}

static void
send_loop(struct vdt_sim *sim, struct vdt_sim_frame *frame)
{
    vdt_sim_frame_arrive(sim, frame);
}

static void
send_null(struct vdt_sim *sim, struct vdt_sim_frame *frame)
{
    g_free(frame);
}

static const struct vdt_sim_backend_ops loop = {
    .name = "loop",
    .open = open_nothing,
    .close = close_nothing,
    .send = send_loop,
    .run = run_nothing,
    .offloads = close_nothing,
};

static const struct vdt_sim_backend_ops null = {
    .name = "null",
    .open = open_nothing,
    .close = close_nothing,
    .send = send_null,
    .run = run_nothing,
    .offloads = close_nothing,
};

const struct vdt_sim_backend_ops *
vdt_sim_backend_find(const char *name)
{
    static const struct vdt_sim_backend_ops *const all[] = {
        &loop,
        &null,
        &vdt_sim_backend_pair,
        &vdt_sim_backend_tap,
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++) {
        if (g_str_equal(all[i]->name, name))
            return all[i];
    }
    return NULL;
}
