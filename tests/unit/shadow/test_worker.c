/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "shadow/worker.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/wire.h"
#include "lib/leak.h"
#include "relay_box.h"

VDT_SUITE(worker);

static const struct vdt_ring_format format = {.kind = VDT_RING_SPLIT, .num = 64, .event_idx = true};

static uint64_t
look(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static bool
wait_for(const uint64_t *counter, uint64_t value)
{
    for (unsigned i = 0; i < 2000 && look(counter) < value; i++)
        g_usleep(1000);
    return look(counter) >= value;
}

static void
note_thread(void *arg)
{
    *(GThread **) arg = g_thread_self();
}

Test(worker, a_call_runs_on_the_worker_and_is_over_when_it_returns)
{
    struct vdt_worker *worker = vdt_worker_new(0, NULL);
    GThread *ran = NULL, *again = NULL;

    vdt_worker_call(worker, note_thread, &ran);
    vdt_worker_call(worker, note_thread, &again);
    cr_expect_not_null(ran);
    cr_expect_neq(ran, g_thread_self());
    cr_expect_eq(ran, again);
    vdt_worker_free(worker);
    vdt_worker_free(NULL);
}

Test(worker, attaching_looks_at_the_ring_once)
{
    struct vdt_worker *worker = vdt_worker_new(0, NULL);
    struct relay_box box;

    relay_box_init(&box, format);
    relay_box_post_one(&box, BOX_BUFFERS, 64, true);
    vdt_device_ring_publish(&box.driver); /* no kick */
    cr_assert(vdt_worker_attach(worker, &box.relay, NULL));
    cr_expect(wait_for(&box.relay.counters.chains, 1));
    vdt_worker_detach(worker, &box.relay);
    vdt_worker_free(worker);
    relay_box_clear(&box);
    vdt_test_check_leaks();
}

Test(worker, kicks_and_calls_move_chains_until_it_is_detached)
{
    struct vdt_worker *worker = vdt_worker_new(0, NULL);
    struct relay_box box;

    relay_box_init(&box, format);
    cr_assert(vdt_worker_attach(worker, &box.relay, NULL));
    for (unsigned i = 1; i <= 100; i++) {
        struct vdt_used used;
        relay_box_post_one(&box, BOX_BUFFERS, 64, true);
        relay_box_publish(&box);
        cr_assert(wait_for(&box.relay.counters.chains, i));
        cr_assert(relay_box_take(&box));
        vdt_guest_ring_kicks_on(&box.device);
        relay_box_use(&box, box.chain.id, 1, 64);
        cr_assert(wait_for(&box.relay.counters.returned, i));
        while (vdt_device_ring_reap(&box.driver, &used) != VDT_REAP_USED)
            g_usleep(100);
    }
    vdt_worker_detach(worker, &box.relay);
    relay_box_post_one(&box, BOX_BUFFERS, 64, true);
    relay_box_publish(&box);
    vdt_event_signal(box.kick);
    g_usleep(20000);
    cr_expect_eq(look(&box.relay.counters.chains), 100);
    vdt_worker_free(worker);
    relay_box_clear(&box);
}

Test(worker, a_broken_ring_does_not_stop_its_neighbour)
{
    struct vdt_worker *worker = vdt_worker_new(0, NULL);
    struct relay_box bad, good;

    relay_box_init(&bad, format);
    relay_box_init(&good, format);
    cr_assert(vdt_worker_attach(worker, &bad.relay, NULL));
    cr_assert(vdt_worker_attach(worker, &good.relay, NULL));
    vdt_put16((uint8_t *) bad.guest_mem.driver + 2, 0x8000);
    vdt_event_signal(bad.kick);
    relay_box_post_one(&good, BOX_BUFFERS, 64, true);
    relay_box_publish(&good);
    cr_expect(wait_for(&good.relay.counters.chains, 1));
    vdt_worker_detach(worker, &bad.relay);
    vdt_worker_detach(worker, &good.relay);
    cr_expect_eq(bad.relay.fault, VDT_FAULT_AVAIL_INDEX);
    cr_expect_eq(relay_box_events(bad.attention), 1, "told once");
    vdt_worker_free(worker);
    relay_box_clear(&bad);
    relay_box_clear(&good);
}

/* What a frontend may give for a kick, and close: it stays readable for ever. */
static void
check_closed_kick(int ours, int theirs)
{
    struct vdt_worker *worker = vdt_worker_new(0, NULL);
    struct relay_box box;

    cr_assert(vdt_set_nonblocking(ours, NULL));
    relay_box_init(&box, format);
    box.relay.guest_kick = ours;
    cr_assert(vdt_worker_attach(worker, &box.relay, NULL));
    relay_box_post_one(&box, BOX_BUFFERS, 64, true);
    relay_box_publish(&box);
    cr_assert_eq(write(theirs, "12345678", 8), 8);
    cr_expect(wait_for(&box.relay.counters.chains, 1));
    vdt_close(theirs);
    g_usleep(20000);
    cr_expect_leq(look(&box.relay.counters.kicks_taken), 4, "it spins");
    vdt_worker_detach(worker, &box.relay);
    vdt_worker_free(worker);
    relay_box_clear(&box);
    vdt_close(ours);
}

Test(worker, a_kick_whose_other_end_is_closed_does_not_spin)
{
    int ends[2];

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    check_closed_kick(ends[0], ends[1]);
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    check_closed_kick(ends[0], ends[1]);
}

Test(worker, a_descriptor_that_cannot_be_waited_on_is_refused_and_forgotten)
{
    struct vdt_worker *worker = vdt_worker_new(0, NULL);
    g_autoptr(GError) error = NULL;
    VDT_AUTO_FD file = vdt_memfd("no-kick", 4096, NULL);
    struct relay_box box;

    relay_box_init(&box, format);
    box.relay.guest_kick = file;
    cr_expect_not(vdt_worker_attach(worker, &box.relay, &error));
    cr_expect_not_null(error);
    box.relay.guest_kick = box.kick;
    cr_expect(vdt_worker_attach(worker, &box.relay, NULL));
    vdt_worker_detach(worker, &box.relay);
    vdt_worker_free(worker);
    relay_box_clear(&box);
}
