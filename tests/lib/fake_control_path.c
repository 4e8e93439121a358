/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/fake_control_path.h"

#include <string.h>

#include "base/fd.h"
#include "base/source.h"

static void
hear_done(void *ctx, const struct vdt_cvq_event *event)
{
    struct fake_control_path *path = ctx;

    path->done++;
    if (!path->keep_events)
        return;
    g_autofree char *text = vdt_command_describe(&event->command);
    g_string_append_printf(path->events, "%s %s%s\n", text, event->ack == VDT_ACK_OK ? "OK" : "ERR",
                           event->forwarded ? " forwarded" : "");
}

static void
hear_dirty(void *ctx, uint64_t gpa, uint64_t len)
{
    struct fake_control_path *path = ctx;

    if (!path->watch_dirty)
        return;
    g_assert(gpa >= FAKE_GPA && gpa + len <= FAKE_GPA + FAKE_MEMORY);
    memset(path->dirty + (gpa - FAKE_GPA), 1, len);
    memcpy(path->shadow + (gpa - FAKE_GPA), path->guest->host + (gpa - FAKE_GPA), len);
}

static void
hear_broken(void *ctx, const char *reason)
{
    struct fake_control_path *path = ctx;

    path->broken++;
    g_free(path->reason);
    path->reason = g_strdup(reason);
}

struct fake_control_path *
fake_control_path_new(const struct fake_control_options *options)
{
    static const struct vdt_ring_format device_format = {.kind = VDT_RING_SPLIT, .num = 64};
    struct fake_control_path *path = g_new0(struct fake_control_path, 1);
    struct vdt_ring_pos pos = options->pos;

    if (pos.avail == 0 && pos.used == 0)
        pos = vdt_ring_pos_initial(options->ring.kind);
    path->guest = fake_driver_new(&options->ring, pos);
    path->fake = fake_cvq_device_new(&device_format, VDT_COMMAND_MAX, 8192);
    fake_cvq_device_attach(path->fake, NULL);
    path->cvq = vdt_device_cvq_new(&path->fake->config);
    vdt_control_model_init(&path->model);
    path->model.features = ~0ull;
    path->model.limits = (struct vdt_control_limits){32, 512, 255, ~0u};
    path->events = g_string_new(NULL);
    path->dirty = g_malloc0(FAKE_MEMORY);
    path->shadow = g_malloc0(FAKE_MEMORY);

    const struct vdt_cvq_relay_config config = {
        .format = options->ring,
        .mem = path->guest->mem,
        .gpa = path->guest->gpa,
        .pos = pos,
        .map = path->guest->map,
        .kick_fd = options->polled ? -1 : path->guest->kick_fd,
        .call_fd = path->guest->call_fd,
        .deadline_ms = options->deadline_ms ? options->deadline_ms : 5000,
        .allow_untracked = options->allow_untracked,
    };
    const struct vdt_cvq_relay_hooks hooks = {hear_done, hear_dirty, hear_broken, path};
    path->relay = vdt_cvq_relay_new(&config, &hooks, &path->model);
    if (!options->no_device)
        vdt_cvq_relay_set_device(path->relay, path->cvq);
    return path;
}

void
fake_control_path_free(struct fake_control_path *path)
{
    vdt_cvq_relay_free(path->relay);
    vdt_device_cvq_free(path->cvq);
    fake_cvq_device_free(path->fake);
    fake_driver_free(path->guest);
    vdt_control_model_clear(&path->model);
    g_string_free(path->events, TRUE);
    g_free(path->reason);
    g_free(path->dirty);
    g_free(path->shadow);
    g_free(path);
}

static void
set_flag(void *ctx)
{
    *(bool *) ctx = true;
}

bool
fake_control_path_wait(struct fake_control_path *path, struct vdt_used *ret_used)
{
    bool late = false;
    GSource *clock = NULL;
    bool got;

    while (!(got = fake_driver_collect(path->guest, ret_used)) && !late) {
        if (!clock) {
            clock = vdt_clock_source_new(NULL, set_flag, &late);
            g_source_set_ready_time(clock, g_get_monotonic_time() + 2000000);
        }
        g_main_context_iteration(NULL, TRUE);
    }
    vdt_source_clear(&clock);
    if (vdt_event_drain(path->guest->call_fd))
        path->calls++;
    return got;
}

void
fake_control_path_settle(struct fake_control_path *path)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
}

uint8_t
fake_control_path_do(struct fake_control_path *path, uint8_t class, uint8_t command,
                     const void *data, uint32_t len)
{
    uint16_t id = fake_driver_send(path->guest, class, command, data, len, 0, 1);
    struct vdt_used used;

    fake_driver_kick(path->guest);
    if (!fake_control_path_wait(path, &used) || used.id != id || used.len != 1)
        return 0xfd;
    return *fake_driver_answer(path->guest, id);
}
