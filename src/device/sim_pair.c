/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pair: a wire between the sims of this process that name it. Usually two; a third one, opened
 * while a NIC is swapped, hears the wire as soon as it runs, and only then.
 *
 * One lock for all wires, a leaf: it is taken on a device thread that holds its device's lock, and
 * nothing is locked under it.
 */
#include "device/sim.h"

#include "base/fd.h"

#define TAG_WIRE 0x10002u

struct member {
    char *wire; /* owned */
    int event;  /* owned: frames wait */
    bool running;
    GQueue inbox; /* of struct vdt_sim_frame */
    uint64_t lost;
};

static pthread_mutex_t wires_lock = PTHREAD_MUTEX_INITIALIZER;
static GSList *members;

static bool
open_pair(struct vdt_sim *sim, const char *arg, GError **error)
{
    struct member *member = g_new0(struct member, 1);

    member->event = vdt_eventfd(error);
    if (member->event < 0 || !vdt_sim_worker_watch(sim, member->event, TAG_WIRE, error)) {
        vdt_close(member->event);
        g_free(member);
        return false;
    }
    member->wire = g_strdup(arg);
    sim->backend_state = member;
    pthread_mutex_lock(&wires_lock);
    members = g_slist_prepend(members, member);
    pthread_mutex_unlock(&wires_lock);
    return true;
}

static void
close_pair(struct vdt_sim *sim)
{
    struct member *member = sim->backend_state;

    pthread_mutex_lock(&wires_lock);
    members = g_slist_remove(members, member);
    pthread_mutex_unlock(&wires_lock);
    g_queue_clear_full(&member->inbox, g_free);
    vdt_close(member->event);
    g_free(member->wire);
    g_free(member);
}

static void
send_pair(struct vdt_sim *sim, struct vdt_sim_frame *frame)
{
    const struct member *from = sim->backend_state;

    pthread_mutex_lock(&wires_lock);
    for (GSList *l = members; l; l = l->next) {
        struct member *to = l->data;

        if (to == from || !to->running || !g_str_equal(to->wire, from->wire))
            continue;
        if (to->inbox.length >= sim->options.backlog) {
            to->lost++;
            continue;
        }
        g_queue_push_tail(&to->inbox, g_memdup2(frame, sizeof *frame + frame->len));
        vdt_event_signal(to->event);
    }
    pthread_mutex_unlock(&wires_lock);
    g_free(frame);
}

static struct vdt_sim_frame *
receive_pair(struct vdt_sim *sim)
{
    struct member *member = sim->backend_state;
    struct vdt_sim_frame *frame;

    pthread_mutex_lock(&wires_lock);
    frame = g_queue_pop_head(&member->inbox);
    if (!frame)
        vdt_event_drain(member->event);
    pthread_mutex_unlock(&wires_lock);
    return frame;
}

static void
run_pair(struct vdt_sim *sim, bool running)
{
    struct member *member = sim->backend_state;

    pthread_mutex_lock(&wires_lock);
    member->running = running;
    if (!running) {
        g_queue_clear_full(&member->inbox, g_free);
        vdt_event_drain(member->event);
    }
    pthread_mutex_unlock(&wires_lock);
}

static void
offloads_pair(struct vdt_sim *sim)
{
}

const struct vdt_sim_backend_ops vdt_sim_backend_pair = {
    .name = "pair",
    .open = open_pair,
    .close = close_pair,
    .send = send_pair,
    .receive = receive_pair,
    .run = run_pair,
    .offloads = offloads_pair,
};
