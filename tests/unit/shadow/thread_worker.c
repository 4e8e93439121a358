/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Guests and devices in threads of their own drive relays, while the control thread attaches,
 * detaches, moves them between workers, switches their log and their memory map. A plain program:
 * it also runs under ThreadSanitizer.
 */
#include <pthread.h>
#include <stdio.h>

#include "base/fd.h"
#include "relay_box.h"
#include "shadow/worker.h"

#define BOXES 3
#define WORKERS 2
#define ROUNDS 400u

struct side {
    struct relay_box box;
    pthread_t guest, device;
    unsigned made, done, bad; /* the guest's */
    unsigned refused;         /* the control thread's */
};

static struct side sides[BOXES];
static int stop;

static bool
stopped(void)
{
    return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

static void
reap(struct side *side)
{
    struct vdt_used used;

    while (vdt_device_ring_reap(&side->box.driver, &used) == VDT_REAP_USED) {
        side->bad += used.len != 64;
        side->done++;
    }
    side->bad += side->box.driver.fault != VDT_FAULT_NONE;
    vdt_device_ring_calls_on(&side->box.driver);
}

static void *
guest(void *arg)
{
    struct side *side = arg;
    struct vdt_seg seg = {.addr = BOX_GPA + BOX_BUFFERS, .len = 64, .flags = VDT_SEG_WRITE};
    uint16_t id;

    while (!stopped() && !side->bad) {
        for (unsigned i = 0; i < 8 && relay_box_post(&side->box, &seg, 1, i % 4 == 3, &id); i++)
            side->made++;
        relay_box_publish(&side->box);
        reap(side);
        g_usleep(20);
    }
    /* What is under way comes back. */
    for (unsigned i = 0; i < 5000 && side->done < side->made && !side->bad; i++) {
        reap(side);
        g_usleep(1000);
    }
    return NULL;
}

static void *
device(void *arg)
{
    struct side *side = arg;

    while (__atomic_load_n(&stop, __ATOMIC_RELAXED) < 2) {
        while (relay_box_take(&side->box))
            relay_box_use(&side->box, side->box.chain.id, side->box.chain.slots, 64);
        vdt_guest_ring_kicks_on(&side->box.device);
        g_usleep(20);
    }
    return NULL;
}

struct change {
    struct vdt_relay *relay;
    struct vdt_guest_map *map;
    struct vdt_dirty_log *log;
};

static void
switch_over(void *arg)
{
    struct change *change = arg;
    struct vdt_guest_map *old = change->relay->map;

    change->relay->map = change->map;
    change->map = old;
    change->relay->log = change->log;
}

static void
control(struct vdt_worker *workers[WORKERS])
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct side *side = &sides[round % BOXES];
        struct vdt_relay *relay = &side->box.relay;
        struct vdt_worker *worker = workers[(round / BOXES) % WORKERS];
        struct vdt_region_spec spec = {.gpa = 0x40000000 + (uint64_t) round * 4096,
                                       .size = 4096,
                                       .frontend = 0x7f8000000000,
                                       .fd = side->box.memfd};
        struct change change = {.relay = relay, .log = round % 5 ? &side->box.log : NULL};

        side->refused += !vdt_worker_attach(worker, relay, NULL);
        change.map = vdt_guest_map_with(side->box.map, &spec, NULL);
        vdt_worker_call(worker, switch_over, &change);
        vdt_guest_map_unref(change.map);
        g_usleep(500);
        vdt_worker_detach(worker, relay);
        vdt_relay_park(relay);
    }
    for (unsigned i = 0; i < BOXES; i++)
        sides[i].refused += !vdt_worker_attach(workers[i % WORKERS], &sides[i].box.relay, NULL);
}

int
main(void)
{
    static const struct vdt_ring_format formats[BOXES] = {
        {.kind = VDT_RING_SPLIT, .num = 64, .indirect = true, .event_idx = true},
        {.kind = VDT_RING_PACKED, .num = 64, .indirect = true, .event_idx = true},
        {.kind = VDT_RING_SPLIT, .num = 32, .indirect = true},
    };
    struct vdt_worker *workers[WORKERS];
    bool ok = true;

    printf("1..1\n");
    for (unsigned i = 0; i < WORKERS; i++)
        workers[i] = vdt_worker_new(i, NULL);
    for (unsigned i = 0; i < BOXES; i++) {
        relay_box_init(&sides[i].box, formats[i]);
        relay_box_log_start(&sides[i].box);
        pthread_create(&sides[i].guest, NULL, guest, &sides[i]);
        pthread_create(&sides[i].device, NULL, device, &sides[i]);
    }
    control(workers);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < BOXES; i++)
        pthread_join(sides[i].guest, NULL);
    __atomic_store_n(&stop, 2, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < BOXES; i++) {
        struct side *side = &sides[i];
        pthread_join(side->device, NULL);
        vdt_worker_detach(workers[i % WORKERS], &side->box.relay);
        bool good = !side->bad && !side->refused && side->made > 0 && side->made == side->done &&
                    side->box.relay.counters.returned == side->made &&
                    side->box.relay.inflight.count == 0 && !side->box.relay.fault;
        printf("# ring %u: %u made, %u done, %u bad\n", i, side->made, side->done, side->bad);
        ok = ok && good;
        relay_box_clear(&side->box);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        vdt_worker_free(workers[i]);
    printf("%sok 1 - every chain is used once whatever the control thread does\n",
           ok ? "" : "not ");
    return !ok;
}
