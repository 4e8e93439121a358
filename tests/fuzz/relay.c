/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Relay target: a guest's control queue, the relay, a device's control queue and its device. The
 * guest sends and scribbles what it likes, the device answers as it likes. The loop never waits.
 *
 * Stated: each byte of guest memory that changes is marked dirty, with what it changed to; guest
 * and model agree with a device that did not lie; a ring breaks once; nothing keeps the loop busy.
 */
#include "fuzz.h"

#include "base/fd.h"
#include "lib/fake_control_path.h"

#define STEPS_MAX 64u
#define TURNS_MAX 2000u
#define BUFFERS 0x2000u /* bytes of command buffers that are used */

/* Where guest memory is compared. */
static const struct {
    uint32_t at, len;
} windows[] = {{0, 0x400}, {0x8000, 0x100}, {0xc000, 0x400}, {FAKE_BUFFERS, BUFFERS}};

struct world {
    struct fuzz_input *in;
    struct fake_control_path *path;
    uint8_t before[FAKE_BUFFERS + BUFFERS];
    /* How the device answers; @lied once it said something else than it did. */
    uint8_t how;
    bool lied;
    unsigned answered;
};

static void
answer(void *ctx, struct fake_answer *answer)
{
    struct world *world = ctx;
    uint8_t how = world->how;

    FUZZ_CHECK(answer->room >= 1 && answer->writable[0] == VDT_ACK_ERR);
    for (uint32_t i = 1; i < answer->room; i++)
        FUZZ_CHECK(answer->writable[i] == 0);
    if (how & 1)
        answer->ack = (uint8_t) (how >> 4); /* 0 is OK to what it never understood */
    if (how & 2)
        answer->mute = true;
    if (how & 4)
        answer->used_len = how & 0x80 ? UINT32_MAX : (uint32_t) (how >> 4) * answer->room;
    if (how & 8)
        answer->written = how >> 4;
    if (how & 0xf)
        world->lied = true;
}

static void
check_dirty(const struct world *world, uint32_t at, uint32_t len)
{
    const struct fake_control_path *path = world->path;
    const uint8_t *now = path->guest->host;

    if (memcmp(world->before + at, now + at, len) == 0)
        return;
    for (uint32_t i = at; i < at + len; i++) {
        if (world->before[i] != now[i])
            FUZZ_CHECK(path->dirty[i] && path->shadow[i] == now[i]);
    }
}

/* Let the loop run, and look at what that did to guest memory. */
static void
run(struct world *world)
{
    struct fake_control_path *path = world->path;
    unsigned turns = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(windows); i++) {
        memcpy(world->before + windows[i].at, path->guest->host + windows[i].at, windows[i].len);
        memset(path->dirty + windows[i].at, 0, windows[i].len);
    }
    while (g_main_context_iteration(NULL, FALSE))
        FUZZ_CHECK(++turns < TURNS_MAX);
    for (unsigned i = 0; i < G_N_ELEMENTS(windows); i++)
        check_dirty(world, windows[i].at, windows[i].len);
    FUZZ_CHECK(path->broken <= 2);
    FUZZ_CHECK(vdt_net_state_valid(&path->model.state, NULL));
    FUZZ_CHECK(world->lied || path->fake->strange == 0);
    FUZZ_CHECK(path->fake->most_len <= VDT_COMMAND_MAX);
    if (!world->lied)
        FUZZ_CHECK(vdt_net_state_equal(&path->model.state, &path->fake->state));
}

static void
send(struct world *world)
{
    struct fuzz_input *in = world->in;
    unsigned count;
    const struct vdt_command_rule *rules = vdt_command_rules(&count);
    uint8_t which = fuzz_u8(in), cut = fuzz_u8(in), room = fuzz_u8(in);
    uint16_t len = fuzz_u16(in) & 0x7ff;
    struct fake_driver *guest = world->path->guest;
    g_autofree uint8_t *data = g_malloc0(MAX(len, 1));
    unsigned needed = 2;

    for (unsigned i = 0; i < len && in->left > 0; i++)
        data[i] = fuzz_u8(in);
    if (cut > 0)
        needed = (2u + len + cut - 1) / cut + (room + cut - 1u) / cut;
    if (guest->ring.in_flight + needed > guest->format.num || guest->ring.free_count < needed)
        return;
    if (guest->cursor + 2u + len + room > FAKE_BUFFERS + BUFFERS)
        guest->cursor = FAKE_BUFFERS;
    fake_driver_send(guest, which & 0x80 ? which & 15 : rules[which % count].class,
                     which & 0x80 ? which >> 4 & 7 : rules[which % count].command, data, len, cut,
                     room);
    fake_driver_kick(guest);
}

/* Any bytes in the descriptors or in what only the driver writes. */
static void
scribble(struct world *world)
{
    struct fake_driver *guest = world->path->guest;
    uint8_t where = fuzz_u8(world->in);
    uint8_t *area = where & 0x80 ? guest->mem.driver : guest->mem.desc;

    for (unsigned n = fuzz_u8(world->in) % 17; n > 0; n--)
        area[(where++ & 0x7f)] = fuzz_u8(world->in);
    vdt_event_signal(guest->kick_fd);
}

static void
collect(struct world *world)
{
    struct fake_driver *guest = world->path->guest;
    struct vdt_used used;
    unsigned rounds = 0;

    while (vdt_device_ring_reap(&guest->ring, &used) == VDT_REAP_USED) {
        FUZZ_CHECK(++rounds <= guest->format.num);
        world->answered++;
    }
    /* Commands that the hooks heard of, and none twice. */
    FUZZ_CHECK(world->answered <= world->path->done);
    vdt_event_drain(guest->call_fd);
}

static void
step(struct world *world)
{
    uint8_t op = fuzz_u8(world->in);

    switch (op & 7) {
    case 0:
    case 1:
    case 2:
        send(world);
        break;
    case 3:
        world->how = fuzz_u8(world->in);
        break;
    case 4:
        scribble(world);
        break;
    case 5:
        if (op & 8)
            vdt_cvq_relay_hold(world->path->relay);
        else
            vdt_cvq_relay_release(world->path->relay);
        break;
    case 6:
        /* Another device would get the pending command again; this one has it already. */
        if (op & 8) {
            vdt_cvq_relay_set_device(world->path->relay, NULL);
            world->lied = true;
        } else {
            vdt_cvq_relay_set_device(world->path->relay, world->path->cvq);
        }
        break;
    case 7:
        vdt_cvq_relay_expect_announce(world->path->relay, op & 8);
        break;
    }
    if (op & 0x40)
        run(world);
    if (op & 0x80)
        collect(world);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    uint8_t shape = fuzz_u8(&in);
    const struct fake_control_options options = {
        .ring = {.kind = shape & 1 ? VDT_RING_PACKED : VDT_RING_SPLIT,
                 .num = (uint16_t) (8u << (shape >> 1 & 3)),
                 .event_idx = shape & 8,
                 .indirect = shape & 16},
        .allow_untracked = shape & 32,
        .deadline_ms = 3600 * 1000,
    };
    static struct world world;
    uint64_t features = fuzz_take(&in, 8);

    world.in = &in;
    world.path = fake_control_path_new(&options);
    world.how = 0;
    world.lied = false;
    world.answered = 0;
    world.path->watch_dirty = true;
    world.path->fake->answer = answer;
    world.path->fake->ctx = &world;
    world.path->model.features = features;
    if (shape & 64)
        world.path->model.limits =
            (struct vdt_control_limits){fuzz_u8(&in), fuzz_u8(&in), 40, 0x1ff};
    for (unsigned i = 0; i < STEPS_MAX && in.left > 0; i++)
        step(&world);
    run(&world);
    collect(&world);
    fake_control_path_free(world.path);
    return 0;
}
