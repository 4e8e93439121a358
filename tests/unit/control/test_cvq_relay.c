/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/wire.h"
#include "lib/fake_control_path.h"
#include "virtio/net_ctrl.h"

VDT_SUITE(cvq_relay);

static const struct vdt_ring_format split = {.kind = VDT_RING_SPLIT, .num = 64};
static const struct vdt_ring_format formats[] = {
    {.kind = VDT_RING_SPLIT, .num = 64},
    {.kind = VDT_RING_SPLIT, .num = 64, .event_idx = true},
    {.kind = VDT_RING_PACKED, .num = 64},
    {.kind = VDT_RING_PACKED, .num = 60, .event_idx = true},
};

static struct fake_control_path *path;

static void
set_up(void)
{
    path = fake_control_path_new(&(struct fake_control_options){.ring = split});
    path->keep_events = true;
}

static void
tear_down(void)
{
    cr_expect_eq(path->fake->strange, 0);
    fake_control_path_free(path);
}

static uint8_t
vlan_add(uint16_t vid)
{
    uint8_t data[2];

    vdt_put16(data, vid);
    return fake_control_path_do(path, 2, 0, data, 2);
}

Test(cvq_relay, a_command_reaches_device_model_and_guest_on_every_ring)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++) {
        path = fake_control_path_new(&(struct fake_control_options){.ring = formats[i]});
        for (uint16_t vid = 0; vid < 300; vid++) {
            vdt_device_ring_calls_on(&path->guest->ring);
            cr_assert_eq(vlan_add(vid), VDT_ACK_OK, "format %u vid %u", i, vid);
        }
        cr_expect_eq(path->fake->seen, 300);
        cr_expect(vdt_vlan_test(path->model.state.vlan, 299));
        cr_expect(vdt_net_state_equal(&path->model.state, &path->fake->state));
        cr_expect_eq(path->model.captured, 300);
        cr_expect_eq(path->calls, 300);
        tear_down();
    }
}

Test(cvq_relay, a_batch_of_commands_is_answered_in_order)
{
    uint16_t ids[20];
    struct vdt_used used;

    set_up();
    for (uint16_t i = 0; i < 20; i++) {
        uint8_t data[2] = {(uint8_t) i, 0};
        ids[i] = fake_driver_send(path->guest, 2, 0, data, 2, 0, 1);
    }
    fake_driver_kick(path->guest);
    for (unsigned i = 0; i < 20; i++) {
        cr_assert(fake_control_path_wait(path, &used));
        cr_assert_eq(used.id, ids[i]);
        cr_assert_eq(*fake_driver_answer(path->guest, used.id), VDT_ACK_OK);
    }
    cr_expect_eq(path->fake->most, 1, "one at a time");
    tear_down();
}

Test(cvq_relay, header_and_data_may_be_cut_anywhere)
{
    static const uint8_t mac[6] = {0x52, 0x54, 0, 1, 2, 3};
    const struct vdt_ring_format large[] = {
        {.kind = VDT_RING_SPLIT, .num = 64},
        {.kind = VDT_RING_PACKED, .num = 64},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(large); i++) {
        path = fake_control_path_new(&(struct fake_control_options){.ring = large[i]});
        for (uint32_t cut = 1; cut <= 9; cut++) {
            struct vdt_used used;
            uint16_t id;

            vdt_net_state_init(&path->model.state);
            fake_driver_send(path->guest, 1, 1, mac, 6, cut, 1);
            fake_driver_kick(path->guest);
            cr_assert(fake_control_path_wait(path, &used));
            cr_expect_eq(*fake_driver_answer(path->guest, used.id), VDT_ACK_OK, "cut %u", cut);
            cr_expect_arr_eq(path->model.state.mac, mac, 6);

            id = fake_driver_send(path->guest, 6, 3, "\0\0\0\0", 4, cut, 9);
            fake_driver_kick(path->guest);
            cr_assert(fake_control_path_wait(path, &used));
            cr_expect_eq(used.len, 9);
            cr_expect_eq(fake_driver_answer(path->guest, id)[0], VDT_ACK_OK);
            for (unsigned n = 0; n < 8; n++)
                cr_expect_eq(fake_driver_answer(path->guest, id)[1 + n], 0xa0 + n, "cut %u", cut);
        }
        tear_down();
    }
}

Test(cvq_relay, empty_segments_are_no_matter)
{
    struct vdt_seg segs[] = {
        {.addr = 0, .len = 0},
        {.addr = FAKE_GPA + FAKE_BUFFERS, .len = 1},
        {.addr = ~0ull, .len = 0},
        {.addr = FAKE_GPA + FAKE_BUFFERS + 1, .len = 3},
        {.addr = 5, .len = 0, .flags = VDT_SEG_WRITE},
        {.addr = FAKE_GPA + FAKE_BUFFERS + 16, .len = 1, .flags = VDT_SEG_WRITE},
    };
    struct vdt_used used;

    set_up();
    memcpy(path->guest->host + FAKE_BUFFERS, "\2\0\7\0", 4);
    path->guest->host[FAKE_BUFFERS + 16] = 0xee;
    fake_driver_post(path->guest, segs, G_N_ELEMENTS(segs));
    fake_driver_kick(path->guest);
    cr_assert(fake_control_path_wait(path, &used));
    cr_expect_eq(path->guest->host[FAKE_BUFFERS + 16], VDT_ACK_OK);
    cr_expect(vdt_vlan_test(path->model.state.vlan, 7));
    tear_down();
}

Test(cvq_relay, a_refused_command_reaches_nobody)
{
    const struct {
        const char *what;
        uint8_t class, command;
        const char *data;
        uint32_t len;
    } rows[] = {
        {"vlan 4096", 2, 0, "\x00\x10", 2},
        {"vlan, a byte too long", 2, 0, "\0\0\0", 3},
        {"vlan, over the cap", 2, 0, "\0\0\0\0\0\0\0\0", 8},
        {"promisc 2", 0, 0, "\2", 1},
        {"class 9", 9, 1, "\0", 1},
        {"class 255", 255, 0, NULL, 0},
        {"table, second count missing", 1, 0, "\0\0\0\0", 4},
    };
    struct vdt_net_state fresh;

    set_up();
    vdt_net_state_init(&fresh);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        cr_expect_eq(
            fake_control_path_do(path, rows[i].class, rows[i].command, rows[i].data, rows[i].len),
            VDT_ACK_ERR, "%s", rows[i].what);
    cr_expect_eq(path->fake->seen, 0);
    cr_expect(vdt_net_state_equal(&path->model.state, &fresh));
    cr_expect_eq(path->model.refused, G_N_ELEMENTS(rows));
    cr_expect_null(path->model.unmigratable);
    tear_down();
}

Test(cvq_relay, less_than_a_header_is_refused)
{
    set_up();
    for (uint32_t len = 0; len <= 1; len++) {
        struct vdt_seg segs[] = {
            {.addr = FAKE_GPA + FAKE_BUFFERS, .len = len},
            {.addr = FAKE_GPA + FAKE_BUFFERS + 16, .len = 1, .flags = VDT_SEG_WRITE},
        };
        struct vdt_used used;

        fake_driver_post(path->guest, segs, 2);
        fake_driver_kick(path->guest);
        cr_assert(fake_control_path_wait(path, &used));
        cr_expect_eq(used.len, 1);
        cr_expect_eq(path->guest->host[FAKE_BUFFERS + 16], VDT_ACK_ERR);
    }
    cr_expect_eq(path->fake->seen, 0);
    tear_down();
}

Test(cvq_relay, a_command_longer_than_any_is_refused_unread)
{
    static uint8_t data[32768];
    uint16_t id;
    struct vdt_used used;

    set_up();
    id = fake_driver_send(path->guest, 1, 0, data, sizeof(data), 0, 1);
    fake_driver_kick(path->guest);
    cr_assert(fake_control_path_wait(path, &used));
    cr_expect_eq(*fake_driver_answer(path->guest, id), VDT_ACK_ERR);
    tear_down();
}

static void
refuse(void *ctx, struct fake_answer *answer)
{
    answer->ack = VDT_ACK_ERR;
}

Test(cvq_relay, what_the_device_refuses_changes_nothing)
{
    set_up();
    path->fake->answer = refuse;
    cr_expect_eq(vlan_add(5), VDT_ACK_ERR);
    cr_expect_eq(path->model.state.set, 0);
    cr_expect_eq(path->model.refused, 1);
    cr_expect_str_eq(path->events->str, "VLAN_ADD 5 ERR forwarded\n");
    path->fake->answer = NULL;
    cr_expect_eq(vlan_add(6), VDT_ACK_OK);
    cr_expect_null(path->model.unmigratable);
    tear_down();
}

static void
expect_broken_ring(struct vdt_seg *segs, uint32_t count, const char *what)
{
    struct vdt_used used;

    set_up();
    fake_driver_post(path->guest, segs, count);
    fake_driver_kick(path->guest);
    fake_control_path_settle(path);
    cr_expect_eq(path->broken, 1, "%s", what);
    cr_expect_eq(path->fake->seen, 0, "%s", what);
    cr_expect_not(fake_driver_collect(path->guest, &used), "%s", what);
    cr_expect_null(path->model.unmigratable);
    vdt_cvq_relay_release(path->relay);
    fake_control_path_settle(path);
    cr_expect_eq(path->broken, 1, "said once");
    tear_down();
}

Test(cvq_relay, rings_that_break_a_rule_are_out_of_service)
{
    const uint64_t in = FAKE_GPA + FAKE_BUFFERS, outside = FAKE_GPA + FAKE_MEMORY;
    struct vdt_seg no_room[] = {{.addr = in, .len = 4}};
    struct vdt_seg empty_room[] = {{.addr = in, .len = 4},
                                   {.addr = in, .len = 0, .flags = VDT_SEG_WRITE}};
    struct vdt_seg unmapped_out[] = {{.addr = outside, .len = 4},
                                     {.addr = in, .len = 1, .flags = VDT_SEG_WRITE}};
    struct vdt_seg unmapped_in[] = {{.addr = in, .len = 4},
                                    {.addr = outside, .len = 1, .flags = VDT_SEG_WRITE}};
    struct vdt_seg over_the_end[] = {{.addr = in, .len = 4},
                                     {.addr = outside - 1, .len = 2, .flags = VDT_SEG_WRITE}};
    struct vdt_seg wrong_order[] = {{.addr = in, .len = 1, .flags = VDT_SEG_WRITE},
                                    {.addr = in, .len = 4}};

    expect_broken_ring(no_room, 1, "no writable descriptor");
    expect_broken_ring(empty_room, 2, "a writable descriptor of no bytes");
    expect_broken_ring(unmapped_out, 2, "command outside memory");
    expect_broken_ring(unmapped_in, 2, "ack outside memory");
    expect_broken_ring(over_the_end, 2, "ack room over the end of memory");
    expect_broken_ring(wrong_order, 2, "readable behind writable");
}

static void
mute(void *ctx, struct fake_answer *answer)
{
    answer->mute = true;
}

Test(cvq_relay, silence_of_the_device_is_an_err_and_ends_migration)
{
    path = fake_control_path_new(&(struct fake_control_options){.ring = split, .deadline_ms = 30});
    path->fake->answer = mute;
    cr_expect_eq(vlan_add(5), VDT_ACK_ERR);
    cr_expect_eq(path->broken, 1);
    cr_expect_not_null(path->model.unmigratable);
    cr_expect(strstr(path->model.unmigratable, "fake:0 did not answer VLAN_ADD"));
    cr_expect_eq(path->model.state.set, 0);
    path->fake->answer = NULL;
    cr_expect_eq(vlan_add(6), VDT_ACK_ERR, "and so do later ones, at once");
    cr_expect_eq(path->fake->seen, 1);
    cr_expect_eq(path->broken, 1);
    tear_down();
}

Test(cvq_relay, room_too_small_for_a_fixed_reply_is_refused)
{
    struct vdt_used used;
    uint16_t id;

    set_up();
    for (uint32_t room = 1; room <= 8; room++) {
        id = fake_driver_send(path->guest, 6, 3, "\0\0\0\0", 4, 0, room);
        fake_driver_kick(path->guest);
        cr_assert(fake_control_path_wait(path, &used));
        cr_expect_eq(fake_driver_answer(path->guest, id)[0], VDT_ACK_ERR);
        cr_expect_eq(used.len, 1);
    }
    cr_expect_eq(path->fake->seen, 0);
    tear_down();
}

static void
short_reply(void *ctx, struct fake_answer *answer)
{
    answer->written = answer->used_len = 5;
}

Test(cvq_relay, an_ok_with_half_a_fixed_reply_is_an_err)
{
    struct vdt_used used;
    uint16_t id;

    set_up();
    path->fake->answer = short_reply;
    id = fake_driver_send(path->guest, 6, 3, "\0\0\0\0", 4, 0, 9);
    fake_driver_kick(path->guest);
    cr_assert(fake_control_path_wait(path, &used));
    cr_expect_eq(fake_driver_answer(path->guest, id)[0], VDT_ACK_ERR);
    cr_expect_eq(fake_driver_answer(path->guest, id)[1], 0xee, "nothing behind the ack");
    cr_expect_eq(used.len, 1);
    tear_down();
}

static void
long_statistics(void *ctx, struct fake_answer *answer)
{
    answer->ack = VDT_ACK_OK;
    answer->reply_len = answer->room - 1;
    memset(answer->reply, 0x77, answer->reply_len);
    answer->written = answer->used_len = answer->room;
}

Test(cvq_relay, statistics_fill_the_guests_room_and_leave_no_state)
{
    static const uint8_t request[16];
    struct vdt_used used;
    uint16_t id;

    set_up();
    path->fake->answer = long_statistics;
    id = fake_driver_send(path->guest, 8, 1, request, 16, 0, 200);
    fake_driver_kick(path->guest);
    cr_assert(fake_control_path_wait(path, &used));
    cr_expect_eq(used.len, 200);
    cr_expect_eq(fake_driver_answer(path->guest, id)[0], VDT_ACK_OK);
    cr_expect_eq(fake_driver_answer(path->guest, id)[199], 0x77);
    cr_expect_eq(path->model.state.set, 0);
    id = fake_driver_send(path->guest, 8, 1, request, 16, 0, 20000);
    fake_driver_kick(path->guest);
    cr_assert(fake_control_path_wait(path, &used));
    cr_expect_eq(used.len, 1 + VDT_COMMAND_REPLY_MAX);
    tear_down();
}

static void
accept_anything(void *ctx, struct fake_answer *answer)
{
    answer->ack = VDT_ACK_OK;
    answer->written = answer->used_len = 1;
}

Test(cvq_relay, untracked_command_goes_through_on_request_and_ends_migration)
{
    path = fake_control_path_new(
        &(struct fake_control_options){.ring = split, .allow_untracked = true});
    path->keep_events = true;
    path->fake->answer = accept_anything;
    cr_expect_eq(vlan_add(4096), VDT_ACK_ERR, "what is known must be well formed");
    cr_expect_null(path->model.unmigratable);
    cr_expect_eq(fake_control_path_do(path, 9, 1, "abc", 3), VDT_ACK_OK);
    cr_expect_str_eq(path->model.unmigratable,
                     "the guest sent control class 9 command 1, which cannot be replayed");
    cr_expect_eq(path->fake->most_len, 5);
    static const uint8_t longer[4095];
    cr_expect_eq(fake_control_path_do(path, 9, 1, longer, 4094), VDT_ACK_OK);
    cr_expect_eq(fake_control_path_do(path, 9, 1, longer, 4095), VDT_ACK_ERR, "over the cap");
    cr_expect_eq(path->model.state.set, 0);
    tear_down();
}

Test(cvq_relay, held_commands_wait_for_release)
{
    struct vdt_used used;
    uint8_t data[2] = {1, 0};

    set_up();
    vdt_cvq_relay_hold(path->relay);
    fake_driver_send(path->guest, 2, 0, data, 2, 0, 1);
    fake_driver_kick(path->guest);
    fake_control_path_settle(path);
    cr_expect_eq(path->fake->seen, 0);
    cr_expect_not(fake_driver_collect(path->guest, &used));
    vdt_cvq_relay_release(path->relay);
    cr_assert(fake_control_path_wait(path, &used), "its kick was heard long ago");
    cr_expect_eq(path->fake->seen, 1);
    tear_down();
}

Test(cvq_relay, drain_finishes_what_is_taken_and_takes_no_more)
{
    struct vdt_used used;
    uint8_t data[2] = {1, 0};
    g_autoptr(GError) error = NULL;

    set_up();
    for (unsigned i = 0; i < 5; i++)
        fake_driver_send(path->guest, 2, 0, data, 2, 0, 1);
    fake_driver_kick(path->guest);
    while (path->cvq && vdt_device_cvq_idle(path->cvq))
        g_main_context_iteration(NULL, TRUE);
    cr_assert(vdt_cvq_relay_drain(path->relay, 2000, &error));
    cr_expect_eq(path->done, 1);
    fake_control_path_settle(path);
    cr_expect_eq(path->done, 1);
    cr_expect_eq(vdt_cvq_relay_pos(path->relay).avail, 1);
    cr_expect_eq(vdt_cvq_relay_pos(path->relay).used, 1);
    vdt_cvq_relay_release(path->relay);
    for (unsigned i = 0; i < 5; i++)
        cr_expect(fake_control_path_wait(path, &used));
    tear_down();
}

Test(cvq_relay, drain_gives_up_at_its_deadline)
{
    uint8_t data[2] = {1, 0};
    g_autoptr(GError) error = NULL;

    set_up();
    path->fake->answer = mute;
    fake_driver_send(path->guest, 2, 0, data, 2, 0, 1);
    fake_driver_kick(path->guest);
    while (vdt_device_cvq_idle(path->cvq))
        g_main_context_iteration(NULL, TRUE);
    cr_assert_not(vdt_cvq_relay_drain(path->relay, 30, &error));
    cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_TIMEOUT));
    cr_expect(strstr(error->message, "VLAN_ADD 1"), "%s", error->message);
    cr_expect_eq(vdt_cvq_relay_pos(path->relay).avail, 0, "the command counts as not taken");
    tear_down();
}

Test(cvq_relay, commands_wait_for_a_device)
{
    struct vdt_used used;
    uint8_t data[2] = {1, 0};

    path = fake_control_path_new(&(struct fake_control_options){.ring = split, .no_device = true});
    fake_driver_send(path->guest, 2, 0, data, 2, 0, 1);
    fake_driver_kick(path->guest);
    fake_control_path_settle(path);
    cr_expect_not(fake_driver_collect(path->guest, &used));
    vdt_cvq_relay_set_device(path->relay, path->cvq);
    cr_assert(fake_control_path_wait(path, &used));
    tear_down();
}

Test(cvq_relay, a_pending_command_moves_to_the_next_device)
{
    struct fake_cvq_device *other = fake_cvq_device_new(&split, VDT_COMMAND_MAX, 8192);
    struct vdt_device_cvq *other_cvq = vdt_device_cvq_new(&other->config);
    struct vdt_used used;
    uint8_t data[2] = {1, 0};

    set_up();
    fake_cvq_device_attach(other, NULL);
    path->fake->answer = mute;
    fake_driver_send(path->guest, 2, 0, data, 2, 0, 1);
    fake_driver_kick(path->guest);
    while (vdt_device_cvq_idle(path->cvq))
        g_main_context_iteration(NULL, TRUE);
    vdt_cvq_relay_set_device(path->relay, NULL);
    fake_control_path_settle(path);
    cr_expect_not(fake_driver_collect(path->guest, &used));
    vdt_cvq_relay_set_device(path->relay, other_cvq);
    cr_assert(fake_control_path_wait(path, &used));
    cr_expect_eq(*fake_driver_answer(path->guest, used.id), VDT_ACK_OK);
    cr_expect_eq(path->done, 1, "to the guest it is one command");
    cr_expect_eq(other->seen, 1);
    vdt_cvq_relay_set_device(path->relay, path->cvq);
    vdt_device_cvq_free(other_cvq);
    fake_cvq_device_free(other);
    tear_down();
}

Test(cvq_relay, an_announcement_of_ours_is_acknowledged_by_us)
{
    set_up();
    vdt_cvq_relay_expect_announce(path->relay, true);
    path->model.state.announce = true;
    cr_expect_eq(fake_control_path_do(path, 3, 0, NULL, 0), VDT_ACK_OK);
    cr_expect_eq(path->fake->seen, 0);
    cr_expect_not(path->model.state.announce);
    cr_expect_eq(fake_control_path_do(path, 3, 0, NULL, 0), VDT_ACK_OK);
    cr_expect_eq(path->fake->seen, 1, "the next one is the device's");
    tear_down();
}

Test(cvq_relay, a_ring_without_kicks_is_polled)
{
    path = fake_control_path_new(&(struct fake_control_options){.ring = split, .polled = true});
    cr_expect_eq(vlan_add(1), VDT_ACK_OK);
    cr_expect_eq(vlan_add(2), VDT_ACK_OK);
    tear_down();
}

Test(cvq_relay, the_guests_wish_for_no_calls_is_kept)
{
    set_up();
    vdt_device_ring_calls_off(&path->guest->ring);
    cr_expect_eq(vlan_add(1), VDT_ACK_OK);
    cr_expect_eq(path->calls, 0);
    vdt_device_ring_calls_on(&path->guest->ring);
    cr_expect_eq(vlan_add(2), VDT_ACK_OK);
    cr_expect_eq(path->calls, 1);
    tear_down();
}

Test(cvq_relay, call_descriptor_can_be_replaced)
{
    VDT_AUTO_FD fd = vdt_eventfd(NULL);

    set_up();
    vdt_cvq_relay_set_call(path->relay, fd);
    cr_expect_eq(vlan_add(1), VDT_ACK_OK);
    cr_expect_eq(path->calls, 0);
    cr_expect(vdt_event_drain(fd));
    tear_down();
}

/* Every byte that differs from before and was not the guest's own doing is marked, and it held its
 * final value when it was. */
Test(cvq_relay, every_written_byte_is_marked_after_the_write)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++) {
        g_autofree uint8_t *before = g_malloc(FAKE_MEMORY);
        struct vdt_used used;

        path = fake_control_path_new(&(struct fake_control_options){.ring = formats[i]});
        path->watch_dirty = true;
        for (unsigned n = 0; n < 200; n++) {
            fake_driver_send(path->guest, 6, 3, "\0\0\0\0", 4, n % 4, 9);
            memset(path->dirty, 0, FAKE_MEMORY);
            memcpy(before, path->guest->host, FAKE_MEMORY);
            fake_driver_kick(path->guest);
            /* The driver's own writes of this moment. */
            for (uint32_t b = 0; b < FAKE_BUFFERS; b++) {
                if (before[b] != path->guest->host[b])
                    before[b] = path->guest->host[b];
            }
            cr_assert(fake_control_path_wait(path, &used));
            for (uint32_t b = 0; b < FAKE_MEMORY; b++) {
                if (before[b] == path->guest->host[b])
                    continue;
                cr_assert(path->dirty[b], "format %u: byte 0x%x is not marked", i, b);
                cr_assert_eq(path->shadow[b], path->guest->host[b],
                             "format %u: byte 0x%x was marked before it was written", i, b);
            }
        }
        tear_down();
    }
}

Test(cvq_relay, seventy_thousand_commands_wrap_every_index)
{
    const struct fake_control_options options[] = {
        {.ring = {.kind = VDT_RING_SPLIT, .num = 64, .event_idx = true}, .pos = {65530, 65530}},
        {.ring = {.kind = VDT_RING_PACKED, .num = 60}},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(options); i++) {
        path = fake_control_path_new(&options[i]);
        for (unsigned n = 0; n < 70000; n++)
            cr_assert_eq(vlan_add((uint16_t) (n % 4096)), VDT_ACK_OK, "command %u", n);
        cr_expect_eq(path->fake->seen, 70000);
        cr_expect_eq(path->model.captured, 70000);
        cr_expect_eq(path->broken, 0);
        tear_down();
    }
}
