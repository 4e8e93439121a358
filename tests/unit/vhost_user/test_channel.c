/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The wire itself: pieces, ends, floods, lost descriptors, peers that do not read. */
#include "lib/leak.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "rig.h"

VDT_SUITE(channel);

struct table_message {
    struct vhost_user_header header;
    uint8_t payload[VHOST_USER_MEM_TABLE_SIZE(2)];
};

static struct table_message
table_message(void)
{
    struct vhost_user_mem_table table = {.count = 2, .regions = {rig_region(0), rig_region(1)}};
    struct table_message message = {
        .header = {VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION | VHOST_USER_NEED_REPLY,
                   sizeof(message.payload)},
    };

    memcpy(message.payload, &table, sizeof(message.payload));
    return message;
}

Test(channel, a_peer_that_leaves_at_any_byte_leaves_nothing_behind)
{
    struct table_message message = table_message();
    unsigned before = rig_open_fds();

    for (size_t len = 0; len < sizeof(message); len++) {
        VDT_AUTO_FD fd = vdt_memfd("guest", 4 * RIG_MIB, NULL);
        int fds[] = {fd, fd};
        struct rig rig;

        rig_init(&rig);
        if (len > 0)
            rig_send_bytes(&rig, &message, len, fds, 2);
        rig_pump(&rig);
        cr_assert_not_null(rig.session, "ended with the message incomplete at %zu", len);
        shutdown(rig.peer, SHUT_WR);
        rig_pump(&rig);
        cr_assert_null(rig.session, "the session outlives its peer at byte %zu", len);
        cr_assert_eq(rig.ends, 1);
        cr_assert_eq(len == 0, rig.reason == NULL, "byte %zu: %s", len, rig.reason);
        cr_assert_str_eq(rig.journal->str, "");
        rig_clear(&rig);
    }
    cr_assert_eq(rig_open_fds(), before);
}

Test(channel, a_message_may_come_in_two_pieces_cut_anywhere)
{
    struct table_message message = table_message();
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_NEGOTIATED);
    for (size_t cut = 1; cut < sizeof(message); cut++) {
        VDT_AUTO_FD fd = vdt_memfd("guest", 4 * RIG_MIB, NULL);
        int fds[] = {fd, fd};

        rig_send_bytes(&rig, &message, cut, fds, 2);
        rig_pump(&rig);
        cr_assert_null(rig_reply(&rig), "answered after %zu bytes", cut);
        rig_send_bytes(&rig, (uint8_t *) &message + cut, sizeof(message) - cut, NULL, 0);
        rig_pump(&rig);
        struct vdt_message *reply = rig_reply(&rig);
        cr_assert(reply && reply->payload.u64 == 0, "cut at byte %zu: refused", cut);
    }
    rig_clear(&rig);
}

Test(channel, messages_that_come_together_are_all_handled)
{
    struct vhost_user_header owner = {VHOST_USER_SET_OWNER,
                                      VHOST_USER_VERSION | VHOST_USER_NEED_REPLY, 0};
    struct vhost_user_header many[500];
    struct rig rig;
    unsigned replies = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(many); i++)
        many[i] = owner;
    rig_init(&rig);
    rig_reach(&rig, STAGE_NEGOTIATED);
    rig_send_bytes(&rig, many, sizeof(many), NULL, 0);
    for (unsigned i = 0; i < 100; i++) {
        rig_pump(&rig);
        while (rig_reply(&rig))
            replies++;
    }
    cr_assert_eq(replies, G_N_ELEMENTS(many));
    rig_clear(&rig);
}

/* The control thread has other work: one turn takes a bounded number of messages. */
Test(channel, one_turn_handles_a_bounded_number)
{
    struct vhost_user_header owner = {VHOST_USER_SET_OWNER, VHOST_USER_VERSION, 0};
    struct rig rig;
    unsigned n;

    rig_init(&rig);
    for (unsigned i = 0; i < 200; i++)
        rig_send_bytes(&rig, &owner, sizeof(owner), NULL, 0);
    g_main_context_iteration(rig.context, FALSE);
    cr_assert_leq(vdt_session_message_counts(rig.session, &n)[VHOST_USER_SET_OWNER], 64);
    rig_pump(&rig);
    cr_assert_eq(vdt_session_message_counts(rig.session, &n)[VHOST_USER_SET_OWNER], 200);
    cr_assert_eq(n, VHOST_USER_MAX + 1u);
    rig_clear(&rig);
}

Test(channel, a_flood_of_descriptors_leaves_none)
{
    VDT_AUTO_FD event = vdt_eventfd(NULL);
    int fds[60];
    struct rig rig;

    for (unsigned i = 0; i < G_N_ELEMENTS(fds); i++)
        fds[i] = event;
    rig_init(&rig);
    rig_reach(&rig, STAGE_SET_UP);
    unsigned before = rig_open_fds();
    for (unsigned i = 0; i < 10000; i++) {
        uint64_t value = 0;
        rig_send(&rig, i % 3 ? VHOST_USER_SET_VRING_CALL : VHOST_USER_GET_FEATURES + i % 2,
                 VHOST_USER_NEED_REPLY, &value, i % 3 || i % 2 ? 8 : 0, fds,
                 2 + i % (G_N_ELEMENTS(fds) - 1));
        rig_pump(&rig);
        if (!rig.session)
            break;
        while (rig_reply(&rig))
            ;
    }
    /* GET_FEATURES has no form for a refusal, so the very first one ends the connection. */
    cr_assert_null(rig.session);
    rig_clear(&rig);

    rig_init(&rig);
    rig_reach(&rig, STAGE_SET_UP);
    for (unsigned i = 0; i < 10000; i++) {
        uint64_t value = 0;
        rig_send(&rig, VHOST_USER_SET_VRING_CALL, VHOST_USER_NEED_REPLY, &value, 8, fds,
                 2 + i % 59);
        rig_pump(&rig);
        struct vdt_message *reply = rig_reply(&rig);
        cr_assert(reply && reply->payload.u64 != 0);
    }
    cr_assert_eq(rig_open_fds(), before);
    rig_clear(&rig);
}

Test(channel, repeated_good_messages_leave_no_descriptor)
{
    VDT_AUTO_FD event = vdt_eventfd(NULL);
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_RUNNING);
    rig_fd(&rig, VHOST_USER_SET_VRING_CALL, 0, event);
    unsigned before = rig_open_fds();
    for (unsigned i = 0; i < 1000; i++) {
        rig_fd(&rig, VHOST_USER_SET_VRING_CALL, 0, event);
        rig_fd(&rig, VHOST_USER_SET_VRING_KICK, 0, event);
        rig_memory(&rig);
    }
    cr_assert_eq(rig_open_fds(), before);
    rig_clear(&rig);
}

/* Out of descriptors: what the kernel could not hand over is an error, never a message without. */
Test(channel, lost_descriptors_end_the_connection)
{
    VDT_AUTO_FD event = vdt_eventfd(NULL);
    struct rlimit old, tight;
    uint64_t value = 0;
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_SET_UP);
    rig_send(&rig, VHOST_USER_SET_VRING_CALL, VHOST_USER_NEED_REPLY, &value, 8, &event, 1);
    getrlimit(RLIMIT_NOFILE, &old);
    tight = old;
    tight.rlim_cur = 3;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
    /* poll() refuses more descriptors than the limit, so two at most: the wake-up and ours. */
    rig_pump(&rig);
    setrlimit(RLIMIT_NOFILE, &old);
    cr_assert_null(rig.session);
    cr_assert_not_null(strstr(rig.reason, "lost"), "%s", rig.reason);
    rig_clear(&rig);
}

Test(channel, a_peer_that_reads_no_answers_is_dropped)
{
    struct vhost_user_header ask = {VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0};
    struct rig rig;
    unsigned sent = 0;

    rig_init(&rig);
    while (rig.session && sent < 200000) {
        ssize_t n = send(rig.peer, &ask, sizeof(ask), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0)
            break;
        sent++;
        if (sent % 50 == 0)
            rig_pump(&rig);
    }
    rig_pump(&rig);
    cr_assert_null(rig.session, "%u answers are waiting", sent);
    cr_assert_not_null(strstr(rig.reason, "unread"), "%s", rig.reason);
    rig_clear(&rig);
}

Test(channel, answers_wait_for_a_slow_reader)
{
    struct vhost_user_header ask = {VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0};
    struct rig rig;
    int small = 1;
    unsigned replies = 0;

    rig_init(&rig);
    setsockopt(rig.own, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    for (unsigned i = 0; i < 1000; i++) {
        cr_assert_eq(send(rig.peer, &ask, sizeof(ask), MSG_DONTWAIT), sizeof(ask));
        rig_pump(&rig);
    }
    for (unsigned i = 0; i < 1000; i++) {
        while (rig_reply(&rig))
            replies++;
        rig_pump(&rig);
    }
    cr_assert_eq(replies, 1000);
    rig_clear(&rig);
}

/* The answer finds a closed socket: an end like any other, not a SIGPIPE. */
Test(channel, a_peer_that_leaves_before_its_answer_is_no_signal)
{
    struct vhost_user_header ask = {VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0};
    struct rig rig;

    rig_init(&rig);
    rig_send_bytes(&rig, &ask, sizeof(ask), NULL, 0);
    rig.replies.fd = vdt_close(rig.replies.fd);
    rig_pump(&rig);
    cr_assert_null(rig.session);
    cr_assert_eq(rig.disconnects, 1);
    rig_clear(&rig);
}

Test(channel, a_session_freed_early_still_says_goodbye)
{
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_RUNNING);
    vdt_session_free(rig.session);
    rig.session = NULL;
    cr_assert_eq(rig.disconnects, 1);
    cr_assert_eq(rig.ends, 0);
    rig_clear(&rig);
}
