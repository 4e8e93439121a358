/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a session remembers from one message to the next. */
#include "lib/leak.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "rig.h"

VDT_SUITE(session);

static void
ask_base(struct rig *rig, uint32_t ring)
{
    struct vhost_user_vring_state state = {ring, 0};

    rig_send(rig, VHOST_USER_GET_VRING_BASE, 0, &state, sizeof(state), NULL, 0);
    rig_pump(rig);
}

Test(session, nothing_is_handled_behind_a_late_position)
{
    struct vhost_user_header ask = {VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0};
    struct rig rig;
    unsigned n;

    rig_init(&rig);
    rig_reach(&rig, STAGE_RUNNING);
    rig.base_answer = VDT_ANSWER_LATER;
    ask_base(&rig, 0);
    rig_send_bytes(&rig, &ask, sizeof(ask), NULL, 0);
    rig_pump(&rig);
    cr_assert_null(rig_reply(&rig));
    cr_assert_eq(vdt_session_message_counts(rig.session, &n)[VHOST_USER_GET_FEATURES], 0);

    vdt_session_answer_base(rig.session, 1, 99, NULL); /* nobody asked */
    rig_pump(&rig);
    cr_assert_null(rig_reply(&rig));

    vdt_session_answer_base(rig.session, 0, 77, NULL);
    rig_pump(&rig);
    struct vdt_message *reply = rig_reply(&rig);
    cr_assert(reply && reply->header.request == VHOST_USER_GET_VRING_BASE);
    cr_assert_eq(reply->payload.state.num, 77);
    reply = rig_reply(&rig);
    cr_assert(reply && reply->header.request == VHOST_USER_GET_FEATURES);
    cr_assert_null(rig_reply(&rig));
    rig_clear(&rig);
}

Test(session, a_late_position_may_be_answered_at_once)
{
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_RUNNING);
    rig.base_answer = VDT_ANSWER_LATER;
    rig.answer_inside = true;
    ask_base(&rig, 0);
    struct vdt_message *reply = rig_reply(&rig);
    cr_assert(reply && reply->payload.state.num == 100);
    cr_assert_null(rig_reply(&rig));
    rig_u64(&rig, VHOST_USER_SET_STATUS, 0);
    rig_clear(&rig);
}

Test(session, a_late_error_ends_the_connection)
{
    g_autoptr(GError) error = g_error_new_literal(VDT_ERROR, VDT_ERROR_TIMEOUT, "no answer");
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_RUNNING);
    rig.base_answer = VDT_ANSWER_LATER;
    ask_base(&rig, 0);
    vdt_session_answer_base(rig.session, 0, 0, error);
    cr_assert_eq(rig.ends, 0, "the caller's session is gone under it");
    rig_pump(&rig);
    cr_assert_eq(rig.ends, 1);
    cr_assert_str_eq(rig.reason, "no answer");
    rig_clear(&rig);
}

Test(session, a_peer_that_leaves_before_a_late_position_is_noticed)
{
    struct vhost_user_header ask = {VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0};
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_RUNNING);
    rig.base_answer = VDT_ANSWER_LATER;
    ask_base(&rig, 0);
    rig_send_bytes(&rig, &ask, sizeof(ask), NULL, 0);
    rig.replies.fd = vdt_close(rig.replies.fd);
    rig_pump(&rig);
    cr_assert_null(rig.session);
    cr_assert_not_null(rig.reason);
    rig_clear(&rig);
}

Test(session, a_stopped_ring_tells_its_position_again)
{
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_RUNNING);
    for (unsigned i = 0; i < 2; i++) {
        ask_base(&rig, 0);
        struct vdt_message *reply = rig_reply(&rig);
        cr_assert(reply && reply->payload.state.num == 100);
    }
    ask_base(&rig, 4); /* never set up */
    cr_assert_eq(rig_reply(&rig)->payload.state.num, 104);
    rig_clear(&rig);
}

Test(session, a_stopped_ring_may_be_set_up_anew)
{
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_RUNNING);
    ask_base(&rig, 0);
    rig_reply(&rig);
    rig_state(&rig, VHOST_USER_SET_VRING_NUM, 0, 512);
    rig_u64(&rig, VHOST_USER_SET_FEATURES, 1ull << 32 | 1ull << 30 | 1ull << 17);
    rig_clear(&rig);
}

Test(session, a_device_reset_forgets_rings_and_keeps_memory)
{
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_RUNNING);
    rig_send(&rig, VHOST_USER_RESET_DEVICE, VHOST_USER_NEED_REPLY, NULL, 0, NULL, 0);
    rig_pump(&rig);
    cr_assert_eq(rig_reply(&rig)->payload.u64, 0);
    cr_assert_eq(vdt_guest_map_count(vdt_session_map(rig.session)), 2);
    cr_assert_eq(vdt_session_protocol_features(rig.session), RIG_PROTOCOL);
    rig_u64(&rig, VHOST_USER_SET_FEATURES, 1ull << 32 | 1ull << 30 | 1ull << 17);
    rig_clear(&rig);
}

static void
change_region(struct rig *rig, uint32_t request, unsigned i, int fd, bool ok)
{
    struct vhost_user_single_region single = {0, rig_region(i)};

    rig_send(rig, request, VHOST_USER_NEED_REPLY, &single, sizeof(single), &fd, 1);
    rig_pump(rig);
    struct vdt_message *reply = rig_reply(rig);
    cr_assert_not_null(reply);
    cr_assert_eq(reply->payload.u64 == 0, ok);
}

/* QEMU 7.2 adds and removes each region once for each of its queue pairs. */
Test(session, a_region_leaves_with_its_last_removal)
{
    VDT_AUTO_FD fd = vdt_memfd("guest", 4 * RIG_MIB, NULL);
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_NEGOTIATED);
    change_region(&rig, VHOST_USER_ADD_MEM_REG, 0, fd, true);
    change_region(&rig, VHOST_USER_ADD_MEM_REG, 0, fd, true);
    change_region(&rig, VHOST_USER_ADD_MEM_REG, 1, fd, true);
    cr_assert_eq(vdt_guest_map_count(vdt_session_map(rig.session)), 2);
    change_region(&rig, VHOST_USER_REM_MEM_REG, 0, fd, true);
    cr_assert_eq(vdt_guest_map_count(vdt_session_map(rig.session)), 2);
    change_region(&rig, VHOST_USER_REM_MEM_REG, 0, fd, true);
    cr_assert_eq(vdt_guest_map_count(vdt_session_map(rig.session)), 1);
    change_region(&rig, VHOST_USER_REM_MEM_REG, 0, fd, false);
    change_region(&rig, VHOST_USER_REM_MEM_REG, 1, fd, true);
    cr_assert_eq(vdt_guest_map_count(vdt_session_map(rig.session)), 0);
    cr_assert_str_eq(rig.journal->str, "memory=1 memory=2 memory=1 memory=0");
    rig_clear(&rig);
}

Test(session, as_many_regions_as_announced_can_be_added)
{
    VDT_AUTO_FD fd = vdt_memfd("guest", 4096, NULL);
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_NEGOTIATED);
    rig_send(&rig, VHOST_USER_GET_MAX_MEM_SLOTS, 0, NULL, 0, NULL, 0);
    rig_pump(&rig);
    cr_assert_eq(rig_reply(&rig)->payload.u64, VDT_REGIONS_MAX);
    for (unsigned i = 0; i <= VDT_REGIONS_MAX; i++) {
        uint64_t at = (uint64_t) i * 8192;
        struct vhost_user_single_region single = {0, {at, 4096, RIG_FRONTEND + at, 0}};
        rig_send(&rig, VHOST_USER_ADD_MEM_REG, VHOST_USER_NEED_REPLY, &single, sizeof(single), &fd,
                 1);
        rig_pump(&rig);
        struct vdt_message *reply = rig_reply(&rig);
        cr_assert(reply && (reply->payload.u64 == 0) == (i < VDT_REGIONS_MAX), "region %u", i);
    }
    rig_clear(&rig);
}

/* A blocking kick would stop a data thread for good. */
Test(session, kicks_are_made_non_blocking)
{
    VDT_AUTO_FD kick = eventfd(0, EFD_CLOEXEC);
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_SET_UP);
    rig_fd(&rig, VHOST_USER_SET_VRING_KICK, 0, kick);
    cr_assert(fcntl(rig.fds[0][0], F_GETFL) & O_NONBLOCK);
    cr_assert(fcntl(rig.fds[0][0], F_GETFD) & FD_CLOEXEC);
    rig_clear(&rig);
}

Test(session, a_ring_without_kick_is_polled)
{
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_SET_UP);
    g_string_truncate(rig.journal, 0);
    rig_u64(&rig, VHOST_USER_SET_VRING_KICK, VHOST_USER_NO_FD | 1);
    cr_assert_str_eq(rig.journal->str, "kick1");
    cr_assert_eq(rig.fds[0][1], -1);
    rig_clear(&rig);
}

/* Restarted in the middle of a migration: stopped again before the log came. */
Test(session, a_ring_that_waits_for_the_log_can_be_stopped)
{
    VDT_AUTO_FD kick = vdt_eventfd(NULL);
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_SET_UP);
    rig_u64(&rig, VHOST_USER_SET_FEATURES, 1ull << 32 | 1ull << 30 | 1ull << 26);
    g_string_truncate(rig.journal, 0);
    unsigned before = rig_open_fds();
    rig_fd(&rig, VHOST_USER_SET_VRING_KICK, 0, kick);
    cr_assert_str_eq(rig.journal->str, "");
    cr_assert_eq(rig_open_fds(), before + 1);
    ask_base(&rig, 0);
    rig_reply(&rig);
    cr_assert_str_eq(rig.journal->str, "stop0");
    cr_assert_eq(rig_open_fds(), before);
    rig_fd(&rig, VHOST_USER_SET_VRING_KICK, 0, kick);
    rig_u64(&rig, VHOST_USER_SET_FEATURES, 1ull << 32 | 1ull << 30); /* no log needed any more */
    cr_assert_str_eq(rig.journal->str, "stop0 features=split kick0");
    rig_clear(&rig);
}

Test(session, config_changes_reach_the_frontend)
{
    struct vhost_user_header got;
    int pair[2];
    struct rig rig;

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    rig_init(&rig);
    vdt_session_config_changed(rig.session); /* no channel: nothing */
    rig_reach(&rig, STAGE_NEGOTIATED);
    rig_send(&rig, VHOST_USER_SET_BACKEND_REQ_FD, VHOST_USER_NEED_REPLY, NULL, 0, &pair[1], 1);
    rig_pump(&rig);
    cr_assert_eq(rig_reply(&rig)->payload.u64, 0);
    pair[1] = vdt_close(pair[1]);

    vdt_session_config_changed(rig.session);
    cr_assert_eq(recv(pair[0], &got, sizeof(got), MSG_DONTWAIT), sizeof(got));
    cr_assert_eq(got.request, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
    cr_assert_eq(got.flags, VHOST_USER_VERSION);
    cr_assert_eq(got.size, 0);

    /* Never read, it fills up and nothing blocks; answers nobody asked for are thrown away. */
    for (unsigned i = 0; i < 100000; i++)
        vdt_session_config_changed(rig.session);
    for (unsigned i = 0; i < 100; i++) {
        char bytes[100] = "";
        cr_assert_eq(send(pair[0], bytes, sizeof(bytes), MSG_DONTWAIT), sizeof(bytes));
        rig_pump(&rig);
    }
    vdt_close(pair[0]);
    rig_pump(&rig);
    cr_assert_not_null(rig.session, "the connection ended with the backend channel");
    vdt_session_config_changed(rig.session);
    rig_clear(&rig);
}

Test(session, config_reads_fit_the_request)
{
    struct vhost_user_config config = {.offset = 4, .size = 20};
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_NEGOTIATED);
    rig_send(&rig, VHOST_USER_GET_CONFIG, 0, &config, 12, NULL, 0);
    rig_pump(&rig);
    struct vdt_message *reply = rig_reply(&rig);
    cr_assert(reply && reply->header.size == 32);
    cr_assert_eq(reply->payload.config.data[0], 4);
    cr_assert_eq(reply->payload.config.data[19], 23);
    rig_clear(&rig);
}

Test(session, an_inflight_area_comes_with_its_descriptor)
{
    struct vhost_user_inflight want = {.queues = 2, .queue_size = 256};
    struct rig rig;

    for (uint32_t size = 20; size <= 24; size += 4) {
        rig_init(&rig);
        rig_reach(&rig, STAGE_NEGOTIATED);
        unsigned before = rig_open_fds();
        rig_send(&rig, VHOST_USER_GET_INFLIGHT_FD, 0, &want, size, NULL, 0);
        rig_pump(&rig);
        struct vdt_message *reply = rig_reply(&rig);
        cr_assert(reply && reply->header.size == size && reply->fd_count == 1);
        cr_assert_eq(reply->payload.inflight.mmap_size, 8192);
        vdt_close(vdt_message_take_fd(reply));
        cr_assert_eq(rig_open_fds(), before);
        rig_clear(&rig);
    }
}

Test(session, a_state_channel_closed_midway_is_reported)
{
    struct vhost_user_transfer_params load = {VHOST_USER_TRANSFER_LOAD, 0};
    struct rig rig;
    int ends[2];

    rig_init(&rig);
    rig_reach(&rig, STAGE_NEGOTIATED);
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    rig_send(&rig, VHOST_USER_SET_DEVICE_STATE_FD, 0, &load, sizeof(load), &ends[0], 1);
    rig_pump(&rig);
    cr_assert_eq(rig_reply(&rig)->payload.u64, VHOST_USER_NO_FD);
    cr_assert_eq(write(ends[1], "st", 2), 2);
    vdt_close(ends[0]);
    vdt_close(ends[1]);
    rig_send(&rig, VHOST_USER_CHECK_DEVICE_STATE, 0, NULL, 0, NULL, 0);
    rig_pump(&rig);
    cr_assert_neq(rig_reply(&rig)->payload.u64, 0);
    cr_assert_not_null(rig.session);
    rig_clear(&rig);
}

/* Without REPLY_ACK the bit means nothing; RESET_OWNER is taken and ignored. */
Test(session, answers_nobody_negotiated_do_not_come)
{
    uint64_t protocol = VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_MQ);
    struct rig rig;

    rig_init(&rig);
    rig_send(&rig, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_NEED_REPLY, &protocol, 8, NULL, 0);
    rig_send(&rig, VHOST_USER_SET_OWNER, VHOST_USER_NEED_REPLY, NULL, 0, NULL, 0);
    rig_send(&rig, VHOST_USER_RESET_OWNER, VHOST_USER_NEED_REPLY, NULL, 0, NULL, 0);
    rig_pump(&rig);
    cr_assert_null(rig_reply(&rig));
    cr_assert_not_null(rig.session);
    rig_clear(&rig);
}
