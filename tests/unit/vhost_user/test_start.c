/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A ring that starts is checked as it is then: between its addresses and its start the frontend may
 * have changed its size, the features, guest memory and the other rings.
 */
#include "lib/leak.h"

#include <string.h>

#include "base/fd.h"
#include "rig.h"

VDT_SUITE(start);

#define V1 (1ull << 32)
#define PROTO (1ull << 30)
#define LOGGING (1ull << 26)
#define PACKED (1ull << 34)

/* A request with NEED_REPLY: the answer, 0 for yes. */
static uint64_t
ask(struct rig *rig, uint32_t request, const void *payload, uint32_t size, int fd)
{
    rig_send(rig, request, VHOST_USER_NEED_REPLY, payload, size, &fd, fd >= 0);
    rig_pump(rig);
    cr_assert_not_null(rig->session, "request %u ended the session: %s", request, rig->reason);
    struct vdt_message *reply = rig_reply(rig);
    cr_assert_not_null(reply);
    return reply->payload.u64;
}

static uint64_t
kick(struct rig *rig, uint64_t ring)
{
    VDT_AUTO_FD fd = vdt_eventfd(NULL);

    return ask(rig, VHOST_USER_SET_VRING_KICK, &ring, 8, fd);
}

static uint64_t
enable(struct rig *rig, uint32_t ring)
{
    const struct vhost_user_vring_state state = {ring, 1};

    return ask(rig, VHOST_USER_SET_VRING_ENABLE, &state, sizeof(state), -1);
}

/* Ring 1's addresses are ring 0's. */
static void
put_on_ring_0(struct rig *rig)
{
    struct vhost_user_vring_addr addr = rig_addr_of(0, 0);

    addr.index = 1;
    cr_assert_eq(ask(rig, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), -1), 0);
}

static void
expect_no_start(struct rig *rig, const char *word)
{
    cr_expect_null(strstr(rig->journal->str, word), "the backend heard %s", rig->journal->str);
    rig_clear(rig);
}

Test(start, a_ring_that_grew_out_of_guest_memory_does_not_start)
{
    struct vhost_user_vring_addr addr = rig_addr_of(0, 0);
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_MEMORY);
    addr.desc = RIG_FRONTEND + 2 * RIG_MIB - 0x1000;
    rig_state(&rig, VHOST_USER_SET_VRING_NUM, 0, 256);
    cr_assert_eq(ask(&rig, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), -1), 0);
    rig_state(&rig, VHOST_USER_SET_VRING_NUM, 0, 512);
    cr_expect_neq(kick(&rig, 0), 0);
    expect_no_start(&rig, "kick0");
}

Test(start, a_ring_whose_size_a_split_ring_cannot_have_does_not_start)
{
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_MEMORY);
    rig_u64(&rig, VHOST_USER_SET_FEATURES, V1 | PROTO | PACKED);
    rig_state(&rig, VHOST_USER_SET_VRING_NUM, 0, 100);
    rig_addr(&rig, 0, 0);
    rig_u64(&rig, VHOST_USER_SET_FEATURES, V1 | PROTO);
    cr_expect_neq(kick(&rig, 0), 0);
    expect_no_start(&rig, "kick0");
}

Test(start, a_ring_whose_memory_went_away_is_not_enabled)
{
    const struct vhost_user_mem_table table = {.count = 1, .regions = {rig_region(1)}};
    VDT_AUTO_FD memory = vdt_memfd("guest", 4 * RIG_MIB, NULL);
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_SET_UP);
    rig_state(&rig, VHOST_USER_SET_VRING_ENABLE, 0, 0);
    cr_assert_eq(kick(&rig, 0), 0);
    g_string_truncate(rig.journal, 0);
    cr_assert_eq(ask(&rig, VHOST_USER_SET_MEM_TABLE, &table, VHOST_USER_MEM_TABLE_SIZE(1), memory),
                 0);
    cr_expect_neq(enable(&rig, 0), 0);
    expect_no_start(&rig, "on0");
}

Test(start, of_two_rings_in_one_place_that_wait_for_the_log_one_starts)
{
    const struct vhost_user_log log = {.size = 4096};
    VDT_AUTO_FD file = vdt_memfd("log", 4096, NULL);
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_SET_UP);
    put_on_ring_0(&rig);
    rig_u64(&rig, VHOST_USER_SET_FEATURES, V1 | PROTO | LOGGING);
    cr_assert_eq(kick(&rig, 0), 0);
    cr_assert_eq(kick(&rig, 1), 0);
    cr_expect_neq(ask(&rig, VHOST_USER_SET_LOG_BASE, &log, sizeof(log), file), 0);
    cr_expect_not_null(strstr(rig.journal->str, "kick0"));
    expect_no_start(&rig, "kick1");
}

Test(start, enabling_all_by_features_does_not_enable_two_rings_in_one_place)
{
    const uint64_t plain = V1;
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_SET_UP);
    for (uint32_t ring = 0; ring < 2; ring++)
        rig_state(&rig, VHOST_USER_SET_VRING_ENABLE, ring, 0);
    put_on_ring_0(&rig);
    cr_assert_eq(kick(&rig, 0), 0);
    cr_assert_eq(kick(&rig, 1), 0);
    g_string_truncate(rig.journal, 0);
    cr_expect_neq(ask(&rig, VHOST_USER_SET_FEATURES, &plain, 8, -1), 0);
    cr_expect_not_null(strstr(rig.journal->str, "on0"));
    expect_no_start(&rig, "on1");
}
