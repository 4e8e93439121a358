/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest/traffic.h"

#include <poll.h>
#include <string.h>

#define IDLE_MS 2

/* To ourselves, by the address that the device was last told. */
static void
plan_frame(struct vdt_traffic *traffic, struct vdt_frame_plan *plan)
{
    uint32_t run = traffic->driver->frames.run;
    const uint8_t from[6] = {0x52,
                             0x54,
                             0x00,
                             (uint8_t) (0xaa ^ run >> 16),
                             (uint8_t) (0xbb ^ run >> 8),
                             (uint8_t) (0xcc ^ run)};
    const struct vdt_net_state *state = &traffic->script->expected;
    const struct vdt_driver_config *config = &traffic->driver->config;

    *plan = (struct vdt_frame_plan){.vlan = -1};
    memcpy(plan->to, state->set & VDT_NET_MAC ? state->mac : config->net.mac, 6);
    memcpy(plan->from, from, 6);
    if (traffic->script->vlan_at && g_rand_int_range(traffic->rand, 0, 4) == 0)
        plan->vlan = g_rand_int_range(traffic->rand, 1, traffic->script->vlan_at + 1);
    plan->len = (uint32_t) g_rand_int_range(traffic->rand, VDT_FRAME_MIN, VDT_FRAME_MAX + 1);
    if (!(config->features & VDT_BIT(VIRTIO_NET_F_MRG_RXBUF)))
        plan->len = MIN(plan->len, 1400);
}

static bool
send_some(struct vdt_traffic *traffic)
{
    struct vdt_driver *driver = traffic->driver;
    struct vdt_frame_plan plan;
    bool some = false;

    for (unsigned i = 0; i < MIN(driver->config.pairs, traffic->script->pairs); i++) {
        /* Half a ring in flight is enough, and leaves receiving its share of the time. */
        for (unsigned n = 0; n < traffic->batch; n++) {
            if (driver->pair[i].tx.ring.in_flight > driver->config.num / 2u)
                break;
            plan_frame(traffic, &plan);
            if (!vdt_driver_send(driver, i, &plan))
                break;
            some = true;
        }
    }
    return some;
}

/* As many frames as buffers, each short enough for any of them, while none is on its way. */
static bool
send_draining(struct vdt_traffic *traffic)
{
    struct vdt_driver *driver = traffic->driver;
    struct vdt_frame_plan plan;
    bool some = false;

    driver->refill = false;
    for (unsigned i = 0; i < driver->config.pairs; i++) {
        uint64_t left = vdt_queue_in_flight(&driver->pair[i].rx);

        if (vdt_queue_in_flight(&driver->pair[i].tx))
            continue;
        for (uint64_t n = 0; n < MIN(left, 16); n++) {
            plan_frame(traffic, &plan);
            plan.vlan = -1;
            plan.len = VDT_FRAME_MIN;
            some |= vdt_driver_send(driver, i, &plan);
        }
    }
    return some;
}

bool
vdt_traffic_step(struct vdt_traffic *traffic)
{
    struct vdt_driver_sums sums;
    bool some = vdt_driver_poll(traffic->driver);
    int64_t now = g_get_monotonic_time();

    if (some && !traffic->first_use) {
        vdt_driver_sum(traffic->driver, &sums);
        if (sums.used > traffic->used_then)
            traffic->first_use = now;
    }
    if (traffic->send && now >= traffic->next_send) {
        some |= send_some(traffic);
        traffic->next_send = now + traffic->pace_us;
    } else if (traffic->drain && !traffic->send)
        some |= send_draining(traffic);
    if (now >= traffic->next_command && vdt_script_step(traffic->script)) {
        traffic->next_command = now + traffic->command_gap_us;
        some = true;
    }
    vdt_driver_kick(traffic->driver);
    return some;
}

/* Sleep until a ring calls, as an idle processor does. */
static void
doze(struct vdt_traffic *traffic)
{
    struct pollfd p[VDT_RINGS_MAX];
    unsigned n = vdt_driver_queue_count(traffic->driver);

    if (vdt_driver_sleep(traffic->driver))
        return;
    for (unsigned i = 0; i < n; i++)
        p[i] = (struct pollfd){.fd = vdt_driver_queue(traffic->driver, i)->call, .events = POLLIN};
    if (poll(p, n, IDLE_MS) == 0 && vdt_driver_poll(traffic->driver))
        traffic->late++;
}

/* True: go on. */
static bool
obey(struct vdt_traffic *traffic)
{
    pthread_mutex_lock(&traffic->lock);
    while (traffic->pause && !traffic->quit) {
        traffic->paused = true;
        pthread_cond_broadcast(&traffic->changed);
        pthread_cond_wait(&traffic->changed, &traffic->lock);
    }
    traffic->paused = false;
    bool quit = traffic->quit;
    pthread_mutex_unlock(&traffic->lock);
    return !quit;
}

static void *
run(void *ctx)
{
    struct vdt_traffic *traffic = ctx;

    while (obey(traffic)) {
        if (!vdt_traffic_step(traffic))
            doze(traffic);
    }
    return NULL;
}

bool
vdt_traffic_init(struct vdt_traffic *traffic, struct vdt_driver *driver, struct vdt_script *script,
                 uint64_t seed)
{
    *traffic = (struct vdt_traffic){
        .driver = driver,
        .script = script,
        .rand = g_rand_new_with_seed((guint32) (seed * 40503u + 7)),
        .send = true,
        .batch = 8,
        .pause = true,
    };
    pthread_mutex_init(&traffic->lock, NULL);
    pthread_cond_init(&traffic->changed, NULL);
    traffic->started = pthread_create(&traffic->thread, NULL, run, traffic) == 0;
    return traffic->started;
}

void
vdt_traffic_clear(struct vdt_traffic *traffic)
{
    if (!traffic->rand)
        return;
    if (traffic->started) {
        pthread_mutex_lock(&traffic->lock);
        traffic->quit = true;
        pthread_cond_broadcast(&traffic->changed);
        pthread_mutex_unlock(&traffic->lock);
        pthread_join(traffic->thread, NULL);
    }
    pthread_cond_destroy(&traffic->changed);
    pthread_mutex_destroy(&traffic->lock);
    g_clear_pointer(&traffic->rand, g_rand_free);
}

void
vdt_traffic_pause(struct vdt_traffic *traffic)
{
    pthread_mutex_lock(&traffic->lock);
    traffic->pause = true;
    while (!traffic->paused)
        pthread_cond_wait(&traffic->changed, &traffic->lock);
    pthread_mutex_unlock(&traffic->lock);
}

void
vdt_traffic_resume(struct vdt_traffic *traffic)
{
    pthread_mutex_lock(&traffic->lock);
    traffic->pause = false;
    pthread_cond_broadcast(&traffic->changed);
    pthread_mutex_unlock(&traffic->lock);
}

void
vdt_traffic_mark(struct vdt_traffic *traffic)
{
    struct vdt_driver_sums sums;

    vdt_driver_sum(traffic->driver, &sums);
    traffic->used_then = sums.used;
    traffic->first_use = 0;
}

void
vdt_traffic_look(struct vdt_traffic *traffic, struct vdt_driver_sums *ret_sums)
{
    bool paused = traffic->pause;

    vdt_traffic_pause(traffic);
    vdt_driver_sum(traffic->driver, ret_sums);
    if (!paused)
        vdt_traffic_resume(traffic);
}
