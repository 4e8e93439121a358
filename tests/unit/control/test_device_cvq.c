/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <vdpa-tracker/error.h>

#include "base/wire.h"
#include "control/device_cvq.h"
#include "lib/fake_cvq_device.h"

VDT_SUITE(device_cvq);

#define DEADLINE_MS 5000
#define SHORT_MS 30
#define IN_SIZE 8192

static const struct vdt_ring_format formats[] = {
    {.kind = VDT_RING_SPLIT, .num = 64},
    {.kind = VDT_RING_SPLIT, .num = 2},
    {.kind = VDT_RING_SPLIT, .num = 16, .event_idx = true},
    {.kind = VDT_RING_SPLIT, .num = 16, .in_order = true},
    {.kind = VDT_RING_PACKED, .num = 64},
    {.kind = VDT_RING_PACKED, .num = 7, .event_idx = true},
    {.kind = VDT_RING_PACKED, .num = 16, .in_order = true},
};

static struct fake_cvq_device *fake;
static struct vdt_device_cvq *cvq;

static void
set_up(const struct vdt_ring_format *format)
{
    fake = fake_cvq_device_new(format, VDT_COMMAND_MAX, IN_SIZE);
    cvq = vdt_device_cvq_new(&fake->config);
}

static void
tear_down(void)
{
    cr_expect_eq(fake->strange, 0, "one out and one in descriptor, inside the mapped buffers");
    vdt_device_cvq_free(cvq);
    fake_cvq_device_free(fake);
}

/* VLAN_ADD 0, 1, 2, ... */
static struct vdt_command *
vlans(unsigned count)
{
    struct vdt_command *commands = g_malloc(count * (sizeof(struct vdt_command) + 2));
    uint8_t *data = (uint8_t *) &commands[count];

    for (unsigned i = 0; i < count; i++) {
        vdt_put16(data + 2 * i, (uint16_t) (i % 4096));
        commands[i] = (struct vdt_command){2, 0, data + 2 * i, 2};
    }
    return commands;
}

struct heard {
    unsigned count, ok;
    bool in_order;
    struct vdt_command_tally tally;
};

static void
hear(void *ctx, unsigned index, uint8_t ack)
{
    struct heard *heard = ctx;

    heard->in_order &= index == heard->count;
    heard->count++;
    heard->ok += ack == VDT_ACK_OK;
}

static bool
run_vlans(unsigned count, struct heard *heard, unsigned deadline_ms, GError **error)
{
    g_autofree struct vdt_command *commands = vlans(count);

    *heard = (struct heard){.in_order = true};
    return fake_cvq_run(cvq, commands, count, deadline_ms, &heard->tally, hear, heard, error);
}

Test(device_cvq, run_hears_every_answer_in_order_on_every_ring)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++) {
        struct heard heard = {0};
        g_autoptr(GError) error = NULL;

        set_up(&formats[i]);
        fake_cvq_device_start(fake);
        cr_expect(run_vlans(1000, &heard, DEADLINE_MS, &error), "format %u: %s", i,
                  error ? error->message : "");
        cr_expect_eq(heard.ok, 1000, "format %u: %u", i, heard.ok);
        cr_expect_eq(heard.tally.acked, 1000, "format %u", i);
        cr_expect_not(heard.tally.refused, "format %u", i);
        for (unsigned vid = 0; vid < 1000; vid++)
            cr_assert(vdt_vlan_test(fake->state.vlan, vid), "format %u: %u", i, vid);
        cr_expect(heard.in_order, "format %u", i);
        cr_expect(vdt_device_cvq_idle(cvq));
        tear_down();
    }
}

Test(device_cvq, out_of_order_completions_are_heard_in_order)
{
    struct heard heard = {0};

    set_up(&formats[0]);
    fake->reverse = true;
    fake_cvq_device_start(fake);
    cr_assert(run_vlans(500, &heard, DEADLINE_MS, NULL));
    cr_assert_eq(heard.ok, 500);
    cr_assert(heard.in_order);
    tear_down();
}

Test(device_cvq, a_batch_takes_one_kick)
{
    struct heard heard = {0};

    set_up(&formats[0]);
    fake_cvq_device_start(fake);
    cr_assert(run_vlans(32, &heard, DEADLINE_MS, NULL));
    cr_expect_eq(fake->kicks, 1);
    cr_expect_eq(fake->most, 32, "as many as the ring holds were in flight");
    tear_down();
}

Test(device_cvq, buffers_are_filled_round_and_round)
{
    uint8_t table[8 + 6 * 300] = {0};
    struct vdt_command commands[40];

    vdt_put32(table, 300);
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
        commands[i] = (struct vdt_command){1, 0, table, sizeof(table)};
    set_up(&formats[0]);
    fake_cvq_device_start(fake);
    cr_assert(
        fake_cvq_run(cvq, commands, G_N_ELEMENTS(commands), DEADLINE_MS, NULL, NULL, NULL, NULL));
    cr_expect_eq(fake->seen, G_N_ELEMENTS(commands));
    cr_expect_eq(fake->most, 3, "three of 1810 bytes fit 6154");
    tear_down();
}

Test(device_cvq, longest_command_fits)
{
    uint8_t table[VDT_COMMAND_MAX - 2] = {0};
    const struct vdt_command command = {1, 0, table, sizeof(table)};
    const struct vdt_command commands[2] = {command, command};

    vdt_put32(table, VDT_MAC_TABLE_MAX);
    vdt_put32(table + 4 + 6 * VDT_MAC_TABLE_MAX, VDT_MAC_TABLE_MAX);
    set_up(&formats[0]);
    fake_cvq_device_start(fake);
    cr_assert(fake_cvq_run(cvq, commands, 2, DEADLINE_MS, NULL, NULL, NULL, NULL));
    cr_expect_eq(fake->state.unicast_count, VDT_MAC_TABLE_MAX);
    tear_down();
}

Test(device_cvq, longer_command_is_refused_and_the_queue_goes_on)
{
    uint8_t data[VDT_COMMAND_MAX] = {0};
    const struct vdt_command commands[2] = {{3, 0, NULL, 0}, {1, 0, data, VDT_COMMAND_MAX - 1}};
    g_autoptr(GError) error = NULL;

    set_up(&formats[0]);
    fake_cvq_device_start(fake);
    cr_assert_not(fake_cvq_run(cvq, commands, 2, DEADLINE_MS, NULL, NULL, NULL, &error));
    cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED));
    cr_expect(vdt_device_cvq_idle(cvq));
    cr_expect_null(vdt_device_cvq_broken(cvq));
    cr_expect_eq(fake->seen, 1, "nothing of it");
    struct heard heard;
    cr_expect(run_vlans(10, &heard, DEADLINE_MS, NULL));
    tear_down();
}

static void
refuse_fifth(void *ctx, struct fake_answer *answer)
{
    if (answer->index >= 4)
        answer->ack = answer->index == 4 ? VDT_ACK_ERR : VDT_ACK_OK;
}

Test(device_cvq, a_refusal_stops_and_leaves_nothing_in_flight)
{
    static const bool reverse[] = {false, true};

    for (unsigned i = 0; i < 2 * G_N_ELEMENTS(formats); i++) {
        struct heard heard;
        g_autoptr(GError) error = NULL;

        set_up(&formats[i / 2]);
        if (reverse[i % 2] && formats[i / 2].in_order) {
            tear_down();
            continue;
        }
        fake->reverse = reverse[i % 2];
        fake->answer = refuse_fifth;
        fake_cvq_device_start(fake);
        cr_assert(run_vlans(1000, &heard, DEADLINE_MS, &error), "%u: %s", i,
                  error ? error->message : "");
        cr_expect_eq(heard.count, 5, "%u: %u", i, heard.count);
        cr_expect_eq(heard.tally.acked, 4, "%u", i);
        cr_expect(heard.tally.refused, "%u", i);
        cr_expect_lt(fake->seen, 100, "no more than were in flight");
        cr_expect(vdt_device_cvq_idle(cvq));
        tear_down();
    }
}

static void
nobody(void *ctx, const struct vdt_command_result *result, const GError *error)
{
    cr_assert_fail("it was forgotten");
}

/* A batch begins with nothing in flight: what is not wanted any more is waited for. */
Test(device_cvq, a_batch_behind_a_forgotten_command_hears_its_own_answers)
{
    const uint8_t on[1] = {1};
    const struct vdt_command command = {0, 0, on, 1};
    struct heard heard;

    set_up(&formats[0]);
    cr_assert(vdt_device_cvq_post(cvq, &command, 0, DEADLINE_MS, NULL, nobody, NULL, NULL));
    vdt_device_cvq_forget(cvq);
    fake_cvq_device_start(fake);
    cr_assert(run_vlans(40, &heard, DEADLINE_MS, NULL));
    cr_expect_eq(heard.ok, 40);
    cr_expect(heard.in_order);
    cr_expect_eq(fake->seen, 41);
    tear_down();
}

static void
never(void *ctx, struct fake_answer *answer)
{
    answer->mute = answer->index >= 3;
}

Test(device_cvq, silence_ends_at_the_deadline_with_the_command_named)
{
    struct heard heard = {0};
    g_autoptr(GError) error = NULL, again = NULL;

    set_up(&formats[0]);
    fake->answer = never;
    fake_cvq_device_start(fake);
    cr_assert_not(run_vlans(10, &heard, SHORT_MS, &error));
    cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_TIMEOUT));
    cr_expect(strstr(error->message, "fake:0 did not answer VLAN_ADD"), "%s", error->message);
    cr_expect_eq(heard.ok, 3);
    cr_expect_not_null(vdt_device_cvq_broken(cvq));
    cr_expect_not(run_vlans(1, &heard, SHORT_MS, &again), "out of service");
    cr_expect_not_null(again);
    tear_down();
}

static void
lie_once(void *ctx, struct fake_answer *answer)
{
    if (answer->index == 5)
        answer->used_len = answer->room + 1;
}

Test(device_cvq, over_reporting_breaks_a_batch_behind_what_was_honest)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++) {
        struct heard heard;
        g_autoptr(GError) error = NULL;

        if (formats[i].num < 16 || formats[i].in_order)
            continue;
        set_up(&formats[i]);
        fake->answer = lie_once;
        fake_cvq_device_start(fake);
        cr_assert_not(run_vlans(40, &heard, DEADLINE_MS, &error), "%u", i);
        cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_FAILED));
        cr_expect(strstr(error->message, "broke its control queue"), "%s", error->message);
        cr_expect_eq(heard.ok, 5, "%u: %u", i, heard.ok);
        cr_expect_not(vdt_device_cvq_idle(cvq));
        tear_down();
    }
}

static void
write_nothing(void *ctx, struct fake_answer *answer)
{
    if (answer->index == 2)
        answer->written = answer->used_len = 0;
}

Test(device_cvq, an_answer_without_a_byte_is_a_refusal_in_a_batch_too)
{
    struct heard heard;

    set_up(&formats[0]);
    fake->answer = write_nothing;
    fake_cvq_device_start(fake);
    cr_assert(run_vlans(10, &heard, DEADLINE_MS, NULL));
    cr_expect_eq(heard.tally.acked, 2);
    cr_expect(heard.tally.refused);
    tear_down();
}

/* One command through post(), from a loop that device and queue share. */
struct outcome {
    unsigned calls;
    uint8_t ack;
    uint8_t reply[64];
    uint32_t reply_len;
    int code; /* of the error, -1 without */
};

static void
done(void *ctx, const struct vdt_command_result *result, const GError *error)
{
    struct outcome *outcome = ctx;

    outcome->calls++;
    outcome->code = error ? error->code : -1;
    cr_assert_neq(!result, !error);
    if (!result)
        return;
    outcome->ack = result->ack;
    outcome->reply_len = result->reply_len;
    memcpy(outcome->reply, result->reply, MIN(result->reply_len, sizeof(outcome->reply)));
}

static bool
post(const struct vdt_command *command, uint32_t reply_max, unsigned deadline_ms,
     struct outcome *outcome, GError **error)
{
    *outcome = (struct outcome){0};
    if (!vdt_device_cvq_post(cvq, command, reply_max, deadline_ms, NULL, done, outcome, error))
        return false;
    cr_assert_eq(outcome->calls, 0, "never from within post()");
    return true;
}

static void
post_and_wait(const struct vdt_command *command, uint32_t reply_max, unsigned deadline_ms,
              struct outcome *outcome)
{
    cr_assert(post(command, reply_max, deadline_ms, outcome, NULL));
    while (outcome->calls == 0)
        g_main_context_iteration(NULL, TRUE);
    cr_assert_eq(outcome->calls, 1);
}

static const uint8_t ring_0[4];
static const struct vdt_command vq_get = {6, 3, ring_0, 4};
static const struct vdt_command announce_ack = {3, 0, NULL, 0};

static void
set_up_loop(const struct vdt_ring_format *format)
{
    set_up(format);
    fake_cvq_device_attach(fake, NULL);
}

Test(device_cvq, post_brings_ack_and_reply_on_every_ring)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(formats); i++) {
        struct outcome outcome;

        set_up_loop(&formats[i]);
        for (unsigned n = 0; n < 100; n++) {
            post_and_wait(&vq_get, 8, DEADLINE_MS, &outcome);
            cr_assert_eq(outcome.ack, VDT_ACK_OK);
            cr_assert_eq(outcome.reply_len, 8);
            cr_assert_eq(outcome.reply[7], 0xa7);
        }
        tear_down();
    }
}

Test(device_cvq, post_takes_one_command_at_a_time)
{
    struct outcome first, second;
    g_autoptr(GError) error = NULL;

    set_up_loop(&formats[0]);
    cr_assert(post(&announce_ack, 0, DEADLINE_MS, &first, NULL));
    cr_assert_not(post(&announce_ack, 0, DEADLINE_MS, &second, &error));
    cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_BUSY));
    tear_down();
}

static void
spoil(void *ctx, struct fake_answer *answer)
{
    const struct fake_answer *wish = ctx;

    if (answer->index == 0)
        return;
    answer->ack = wish->ack;
    answer->written = wish->written;
    answer->used_len = wish->used_len;
}

Test(device_cvq, only_a_written_ok_is_an_ok)
{
    const struct {
        const char *what;
        struct fake_answer answer;
        uint8_t ack;
        uint32_t reply_len;
    } rows[] = {
        {"good", {.ack = 0, .written = 9, .used_len = 9}, VDT_ACK_OK, 8},
        {"ERR", {.ack = 1, .written = 1, .used_len = 1}, VDT_ACK_ERR, 0},
        {"ERR with a reply", {.ack = 1, .written = 9, .used_len = 9}, VDT_ACK_ERR, 0},
        {"7", {.ack = 7, .written = 1, .used_len = 1}, VDT_ACK_ERR, 0},
        {"0xff", {.ack = 0xff, .written = 1, .used_len = 1}, VDT_ACK_ERR, 0},
        {"nothing written", {.ack = 0, .written = 0, .used_len = 1}, VDT_ACK_ERR, 0},
        {"nothing written, all claimed", {.ack = 0, .written = 0, .used_len = 9}, VDT_ACK_ERR, 0},
        {"written, nothing claimed", {.ack = 0, .written = 1, .used_len = 0}, VDT_ACK_ERR, 0},
        {"half a reply", {.ack = 0, .written = 5, .used_len = 5}, VDT_ACK_OK, 4},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        struct fake_answer wish = rows[i].answer;
        struct outcome outcome;

        set_up_loop(&formats[0]);
        fake->answer = spoil;
        fake->ctx = &wish;
        post_and_wait(&vq_get, 8, DEADLINE_MS, &outcome);
        cr_assert_eq(outcome.ack, VDT_ACK_OK, "an OK that could be stale goes before");
        post_and_wait(&vq_get, 8, DEADLINE_MS, &outcome);
        cr_expect_eq(outcome.ack, rows[i].ack, "%s", rows[i].what);
        cr_expect_eq(outcome.reply_len, rows[i].reply_len, "%s", rows[i].what);
        tear_down();
    }
}

Test(device_cvq, a_reply_claimed_but_not_written_is_zero)
{
    struct fake_answer wish = {.ack = 0, .written = 1, .used_len = 9};
    struct outcome outcome;

    set_up_loop(&formats[0]);
    fake->answer = spoil;
    fake->ctx = &wish;
    post_and_wait(&vq_get, 8, DEADLINE_MS, &outcome);
    cr_assert_eq(outcome.reply[0], 0xa0);
    post_and_wait(&vq_get, 8, DEADLINE_MS, &outcome);
    for (unsigned i = 0; i < 8; i++)
        cr_expect_eq(outcome.reply[i], 0, "nothing of the reply before");
    tear_down();
}

Test(device_cvq, over_reporting_breaks_the_queue)
{
    struct fake_answer wish = {.ack = 0, .written = 9, .used_len = 10};
    struct outcome outcome;
    g_autoptr(GError) error = NULL;

    set_up_loop(&formats[0]);
    fake->answer = spoil;
    fake->ctx = &wish;
    post_and_wait(&vq_get, 8, DEADLINE_MS, &outcome);
    post_and_wait(&vq_get, 8, DEADLINE_MS, &outcome);
    cr_expect_eq(outcome.code, VDT_ERROR_FAILED);
    cr_expect_not_null(vdt_device_cvq_broken(cvq));
    cr_expect_not(post(&vq_get, 8, DEADLINE_MS, &outcome, &error));
    cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_FAILED));
    tear_down();
}

static void
mute(void *ctx, struct fake_answer *answer)
{
    answer->mute = true;
}

Test(device_cvq, posted_silence_ends_at_the_deadline)
{
    struct outcome outcome;

    set_up_loop(&formats[0]);
    fake->answer = mute;
    post_and_wait(&announce_ack, 0, SHORT_MS, &outcome);
    cr_expect_eq(outcome.code, VDT_ERROR_TIMEOUT);
    cr_expect_str_eq(vdt_device_cvq_broken(cvq), "fake:0 did not answer ANNOUNCE_ACK within 30 ms; "
                                                 "its control queue is out of service");
    tear_down();
}

Test(device_cvq, answer_without_a_call_is_found_at_the_deadline)
{
    struct outcome outcome;
    struct heard heard = {0};

    set_up_loop(&formats[0]);
    fake->no_calls = true;
    post_and_wait(&announce_ack, 0, SHORT_MS, &outcome);
    cr_expect_eq(outcome.ack, VDT_ACK_OK);
    tear_down();

    set_up(&formats[0]);
    fake->no_calls = true;
    fake_cvq_device_start(fake);
    cr_expect(run_vlans(3, &heard, SHORT_MS, NULL));
    cr_expect_eq(heard.ok, 3);
    tear_down();
}

Test(device_cvq, forgotten_answer_is_dropped_and_the_queue_goes_on)
{
    struct outcome first, second;

    set_up_loop(&formats[0]);
    cr_assert(post(&vq_get, 8, DEADLINE_MS, &first, NULL));
    vdt_device_cvq_forget(cvq);
    post_and_wait(&announce_ack, 0, DEADLINE_MS, &second);
    cr_expect_eq(first.calls, 0);
    cr_expect_eq(second.ack, VDT_ACK_OK);
    cr_expect_eq(second.reply_len, 0, "its own answer, not the forgotten one's");
    cr_expect(vdt_device_cvq_idle(cvq));
    tear_down();
}

Test(device_cvq, forgotten_silence_fills_a_small_ring)
{
    struct outcome outcome;
    g_autoptr(GError) error = NULL;

    set_up_loop(&formats[1]);
    fake->answer = mute;
    cr_assert(post(&announce_ack, 0, DEADLINE_MS, &outcome, NULL));
    vdt_device_cvq_forget(cvq);
    cr_assert_not(post(&announce_ack, 0, DEADLINE_MS, &outcome, &error));
    cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_BUSY));
    tear_down();
}

Test(device_cvq, reply_beyond_the_buffer_is_refused)
{
    struct outcome outcome;
    g_autoptr(GError) error = NULL;

    set_up(&formats[0]);
    cr_assert_not(post(&vq_get, IN_SIZE, DEADLINE_MS, &outcome, &error));
    cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED));
    tear_down();
}

Test(device_cvq, freed_while_waiting_calls_nobody)
{
    struct outcome outcome;

    set_up_loop(&formats[0]);
    cr_assert(post(&vq_get, 8, DEADLINE_MS, &outcome, NULL));
    vdt_device_cvq_free(cvq);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    cr_expect_eq(outcome.calls, 0);
    fake_cvq_device_free(fake);
}
