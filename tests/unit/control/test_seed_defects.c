/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The patch that first let a shadow virtqueue copy control commands had nineteen defects. Here is
 * one test for each, in the order they were written down, of what this design answers it with.
 */
#include "lib/leak.h"

#include <vdpa-tracker/error.h>

#include "base/wire.h"
#include "lib/fake_control_path.h"

VDT_SUITE(seed_defects);

static const struct vdt_ring_format split = {.kind = VDT_RING_SPLIT, .num = 64};
static const uint8_t vlan_7[2] = {7, 0};
static const uint8_t ring_0[4];

static struct fake_control_path *path;

static void
set_up(void)
{
    path = fake_control_path_new(&(struct fake_control_options){.ring = split, .deadline_ms = 30});
}

static void
tear_down(void)
{
    fake_control_path_free(path);
}

/* What the device got, command by command. */
struct record {
    unsigned count;
    uint8_t class, command;
    uint8_t data[VDT_COMMAND_MAX];
    uint32_t len, room, out_at, in_at;
    uint8_t writable[16];
    bool mute, spoil;
    uint32_t used_len;
};

static void
note(void *ctx, struct fake_answer *answer)
{
    struct record *record = ctx;

    record->count++;
    record->class = answer->command.class;
    record->command = answer->command.command;
    record->len = answer->command.len;
    memcpy(record->data, answer->command.data, answer->command.len);
    record->room = answer->room;
    record->out_at = answer->out_at;
    record->in_at = answer->in_at;
    memcpy(record->writable, answer->writable, MIN(answer->room, sizeof(record->writable)));
    answer->mute = record->mute;
    if (record->spoil)
        answer->used_len = record->used_len;
}

static void
listen_to(struct record *record)
{
    path->fake->answer = note;
    path->fake->ctx = record;
}

Test(seed_defects, d01_length_from_the_guest_is_capped)
{
    static const uint8_t data[60000];
    struct record record = {0};

    set_up();
    listen_to(&record);
    cr_expect_eq(fake_control_path_do(path, 1, 0, data, sizeof(data)), VDT_ACK_ERR);
    cr_expect_eq(fake_control_path_do(path, 2, 0, data, 3), VDT_ACK_ERR);
    cr_expect_eq(record.count, 0, "neither forwarded whole nor cut");
    tear_down();
}

Test(seed_defects, d02_chain_of_no_bytes_is_refused)
{
    struct vdt_seg no_command[] = {{.addr = FAKE_GPA + FAKE_BUFFERS, .len = 0},
                                   {.addr = FAKE_GPA + FAKE_BUFFERS, .len = 1, .flags = 2}};
    struct vdt_seg nothing[] = {{.addr = FAKE_GPA + FAKE_BUFFERS, .len = 0},
                                {.addr = FAKE_GPA + FAKE_BUFFERS, .len = 0, .flags = 2}};
    struct record record = {0};
    struct vdt_used used;

    set_up();
    listen_to(&record);
    fake_driver_post(path->guest, no_command, 2);
    fake_driver_kick(path->guest);
    cr_assert(fake_control_path_wait(path, &used));
    cr_expect_eq(path->guest->host[FAKE_BUFFERS], VDT_ACK_ERR);
    fake_driver_post(path->guest, nothing, 2);
    fake_driver_kick(path->guest);
    fake_control_path_settle(path);
    cr_expect_eq(path->broken, 1);
    cr_expect_eq(record.count, 0);
    tear_down();
}

Test(seed_defects, d03_no_page_size_limits_a_command)
{
    static uint8_t table[8 + 12 * VDT_MAC_TABLE_MAX];
    struct record record = {0};

    vdt_put32(table, VDT_MAC_TABLE_MAX);
    vdt_put32(table + 4 + 6 * VDT_MAC_TABLE_MAX, VDT_MAC_TABLE_MAX);
    set_up();
    listen_to(&record);
    cr_expect_eq(fake_control_path_do(path, 1, 0, table, sizeof(table)), VDT_ACK_OK);
    cr_expect_eq(record.len, sizeof(table), "more than 4096, in one piece");
    tear_down();
}

Test(seed_defects, d04_device_sees_the_bytes_of_the_command_and_no_more)
{
    struct record record = {0};

    set_up();
    listen_to(&record);
    cr_expect_eq(fake_control_path_do(path, 2, 0, vlan_7, 2), VDT_ACK_OK);
    cr_expect_eq(record.len, 2);
    cr_expect_eq(record.room, 1);
    tear_down();
}

Test(seed_defects, d05_device_writable_bytes_hold_nothing_old)
{
    struct record record = {0};
    struct vdt_used used;

    set_up();
    listen_to(&record);
    for (unsigned i = 0; i < 2; i++) {
        fake_driver_send(path->guest, 6, 3, ring_0, 4, 0, 9);
        fake_driver_kick(path->guest);
        cr_assert(fake_control_path_wait(path, &used));
        cr_expect_eq(record.writable[0], VDT_ACK_ERR);
        for (unsigned b = 1; b < 9; b++)
            cr_expect_eq(record.writable[b], 0);
    }
    tear_down();
}

Test(seed_defects, d06_any_number_of_descriptors_is_counted)
{
    struct vdt_seg segs[63];
    struct vdt_used used;

    set_up();
    for (uint32_t count = 2; count <= 63; count++) {
        for (uint32_t i = 0; i + 1 < count; i++)
            segs[i] = (struct vdt_seg){.addr = FAKE_GPA + FAKE_BUFFERS, .len = i == 0 ? 2 : 0};
        segs[count - 1] =
            (struct vdt_seg){.addr = FAKE_GPA + FAKE_BUFFERS + 8, .len = 1, .flags = VDT_SEG_WRITE};
        memcpy(path->guest->host + FAKE_BUFFERS, "\3\0", 2);
        fake_driver_post(path->guest, segs, count);
        fake_driver_kick(path->guest);
        cr_assert(fake_control_path_wait(path, &used), "%u descriptors", count);
        cr_expect_eq(path->guest->host[FAKE_BUFFERS + 8], VDT_ACK_OK);
    }
    tear_down();
}

Test(seed_defects, d07_a_device_that_cannot_is_an_error_and_no_abort)
{
    struct record record = {.mute = true};

    set_up();
    listen_to(&record);
    cr_expect_eq(fake_control_path_do(path, 2, 0, vlan_7, 2), VDT_ACK_ERR);
    cr_expect_eq(fake_control_path_do(path, 2, 0, vlan_7, 2), VDT_ACK_ERR);
    cr_expect_not_null(path->model.unmigratable);
    tear_down();
}

static void
unexpected(void *ctx, const struct vdt_command_result *result, const GError *error)
{
    cr_assert_fail("a command that was not posted has no answer");
}

Test(seed_defects, d08_a_failed_post_leaks_nothing)
{
    static const uint8_t data[VDT_COMMAND_MAX];
    const struct vdt_command command = {1, 0, data, sizeof(data)};

    set_up();
    for (unsigned i = 0; i < 100; i++) {
        g_autoptr(GError) error = NULL;

        cr_expect_not(
            vdt_device_cvq_post(path->cvq, &command, 0, 30, NULL, unexpected, NULL, &error));
        cr_expect_not_null(error);
    }
    cr_expect(vdt_device_cvq_idle(path->cvq));
    tear_down(); /* the suite looks for leaks behind this */
}

Test(seed_defects, d09_what_does_not_fit_takes_no_descriptor)
{
    struct fake_cvq_device *fake = fake_cvq_device_new(&split, VDT_COMMAND_MAX, 3);
    struct vdt_device_cvq *cvq = vdt_device_cvq_new(&fake->config);
    struct vdt_command commands[500];

    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
        commands[i] = (struct vdt_command){2, 0, vlan_7, 2};
    fake_cvq_device_start(fake);
    cr_expect(fake_cvq_run(cvq, commands, 500, 2000, NULL, NULL, NULL, NULL));
    cr_expect_eq(fake->seen, 500);
    cr_expect_leq(fake->most, 3, "the room for acks is the bound, met at every fourth");
    vdt_device_cvq_free(cvq);
    fake_cvq_device_free(fake);
}

Test(seed_defects, d10_descriptors_are_counted_and_not_commands)
{
    const struct vdt_ring_format formats[] = {
        {.kind = VDT_RING_SPLIT, .num = 8},
        {.kind = VDT_RING_PACKED, .num = 9},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++) {
        struct fake_cvq_device *fake = fake_cvq_device_new(&formats[i], VDT_COMMAND_MAX, 4096);
        struct vdt_device_cvq *cvq = vdt_device_cvq_new(&fake->config);
        struct vdt_command commands[100];

        for (unsigned n = 0; n < G_N_ELEMENTS(commands); n++)
            commands[n] = (struct vdt_command){2, 0, vlan_7, 2};
        fake_cvq_device_start(fake);
        cr_expect(fake_cvq_run(cvq, commands, 100, 2000, NULL, NULL, NULL, NULL));
        cr_expect_eq(fake->seen, 100);
        cr_expect_leq(fake->most, 4);
        vdt_device_cvq_free(cvq);
        fake_cvq_device_free(fake);
    }
}

/* The device ring hands out no completion that is longer than its room, so there is nothing to
 * clamp: the device is out of service, and the guest gets its ERR, one byte. */
Test(seed_defects, d11_used_length_never_exceeds_what_the_guest_gave)
{
    struct record record = {.spoil = true, .used_len = 4000};
    struct vdt_used used;
    uint16_t id;

    set_up();
    listen_to(&record);
    id = fake_driver_send(path->guest, 6, 3, ring_0, 4, 0, 9);
    fake_driver_kick(path->guest);
    cr_assert(fake_control_path_wait(path, &used));
    cr_expect_eq(used.len, 1);
    cr_expect_eq(fake_driver_answer(path->guest, id)[0], VDT_ACK_ERR);
    for (unsigned i = 1; i < 9; i++)
        cr_expect_eq(fake_driver_answer(path->guest, id)[i], 0xee, "nothing of the device's");
    cr_expect_eq(path->broken, 1, "and it is said");
    cr_expect_not_null(path->model.unmigratable);
    tear_down();
}

Test(seed_defects, d12_nothing_is_mapped_or_unmapped_for_a_command)
{
    set_up();
    for (unsigned i = 0; i < 1000; i++)
        cr_assert_eq(fake_control_path_do(path, 2, 0, vlan_7, 2), VDT_ACK_OK);
    cr_expect_eq(path->fake->strange, 0, "every address lay in the two mappings made at the start");
    tear_down();
}

Test(seed_defects, d13_the_guest_is_answered_whatever_fails)
{
    struct record record = {.mute = true};

    set_up();
    listen_to(&record);
    cr_expect_eq(fake_control_path_do(path, 2, 0, vlan_7, 2), VDT_ACK_ERR);
    for (unsigned i = 0; i < 200; i++)
        cr_expect_eq(fake_control_path_do(path, 2, 0, vlan_7, 2), VDT_ACK_ERR,
                     "kicks are still heard, chains still come back");
    cr_expect_eq(path->calls, 201);
    tear_down();
}

Test(seed_defects, d14_stop_with_nothing_in_flight_undoes_nothing)
{
    set_up();
    cr_expect(vdt_cvq_relay_drain(path->relay, 30, NULL));
    cr_expect_eq(vdt_cvq_relay_pos(path->relay).used, 0);
    cr_expect_eq(path->fake->seen, 0);
    tear_down();
}

Test(seed_defects, d15_buffers_outlive_a_stop_with_a_command_at_the_device)
{
    set_up();
    fake_driver_send(path->guest, 2, 0, vlan_7, 2, 0, 1);
    fake_driver_kick(path->guest);
    while (vdt_device_cvq_idle(path->cvq))
        g_main_context_iteration(NULL, TRUE);
    vdt_cvq_relay_free(path->relay);
    path->relay = NULL;
    fake_control_path_settle(path);
    cr_expect_eq(path->fake->seen, 1, "the device answered into memory that is still there");
    cr_expect_eq(path->done, 0);
    cr_expect_eq(path->model.state.set, 0, "what the guest saw no ack of is not captured");
    tear_down();
}

static void
scribble(void *ctx, struct fake_answer *answer)
{
    struct fake_cvq_device *fake = ctx;

    memset(fake->config.mem.desc, 0x5a, vdt_ring_desc_size(&fake->config.format));
}

Test(seed_defects, d16_bookkeeping_is_private_and_in_host_order)
{
    set_up();
    path->fake->answer = scribble;
    path->fake->ctx = path->fake;
    for (unsigned i = 0; i < 200; i++)
        cr_assert_eq(fake_control_path_do(path, 2, 0, vlan_7, 2), VDT_ACK_OK,
                     "nothing is ever read back from the descriptor table");
    cr_expect_eq(path->fake->strange, 0);
    tear_down();
}

Test(seed_defects, d17_the_device_gets_one_out_and_one_in_whatever_the_guest_sends)
{
    struct vdt_used used;

    set_up();
    for (uint32_t cut = 1; cut < 8; cut++) {
        fake_driver_send(path->guest, 6, 3, ring_0, 4, cut, 9);
        fake_driver_kick(path->guest);
        cr_assert(fake_control_path_wait(path, &used));
        cr_expect_eq(used.len, 9);
    }
    cr_expect_eq(path->fake->seen, 7);
    cr_expect_eq(path->fake->strange, 0);
    tear_down();
}

Test(seed_defects, d18_the_control_path_works_on_its_own_copy)
{
    struct record record = {0};
    struct vdt_used used;

    set_up();
    listen_to(&record);
    fake_driver_send(path->guest, 2, 0, vlan_7, 2, 0, 1);
    fake_driver_kick(path->guest);
    while (vdt_device_cvq_idle(path->cvq))
        g_main_context_iteration(NULL, TRUE);
    memset(path->guest->host + FAKE_BUFFERS, 0xff, 4);
    cr_assert(fake_control_path_wait(path, &used));
    cr_expect_eq(vdt_get16(record.data), 7, "the device got what was checked");
    cr_expect(vdt_vlan_test(path->model.state.vlan, 7), "and the model what the device got");
    tear_down();
}

Test(seed_defects, d19_one_pair_of_buffers_serves_every_command)
{
    struct record record = {0};

    set_up();
    listen_to(&record);
    for (unsigned i = 0; i < 1000; i++) {
        cr_assert_eq(fake_control_path_do(path, 2, 0, vlan_7, 2), VDT_ACK_OK);
        cr_assert_eq(record.out_at, 0);
        cr_assert_eq(record.in_at, 0);
    }
    tear_down();
}
