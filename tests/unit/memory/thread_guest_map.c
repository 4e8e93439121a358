/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Readers work on the generation they took while the control thread adds and removes regions and a
 * peer shortens a file under them. A plain program: it also runs under ThreadSanitizer.
 */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "memory/guest_map.h"

#define MIB (1ull << 20)
#define READERS 2
#define ROUNDS 1500u

/* Not a GMutex: TSan cannot see into GLib. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct vdt_guest_map *current; /* under @lock, one ref */
static int stop;
static unsigned failures;

static struct vdt_guest_map *
take(void)
{
    struct vdt_guest_map *map;

    pthread_mutex_lock(&lock);
    map = vdt_guest_map_ref(current);
    pthread_mutex_unlock(&lock);
    return map;
}

/* Takes @map. */
static void
publish(struct vdt_guest_map *map)
{
    struct vdt_guest_map *old;

    pthread_mutex_lock(&lock);
    old = current;
    current = map;
    pthread_mutex_unlock(&lock);
    vdt_guest_map_unref(old);
}

static gpointer
reader(gpointer data)
{
    uint64_t mine = (uint64_t) GPOINTER_TO_UINT(data);
    uint64_t reads = 0;

    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        VDT_AUTO(guest_map) map = take();
        unsigned count = vdt_guest_map_count(map);
        uint64_t value = 0;

        for (unsigned k = 0; k < 50; k++) {
            unsigned i = k % count;
            /* Each reader has its own bytes of every region. */
            uint64_t gpa = vdt_guest_map_region(map, i)->gpa + mine * 64 + MIB / 2;

            if (!vdt_guest_map_covers(map, gpa, 8) || !vdt_guest_map_write(map, gpa, &k, 4) ||
                !vdt_guest_map_read(map, gpa, &value, 4))
                __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);
            reads++;
        }
        if (count != vdt_guest_map_count(map))
            __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);
    }
    return GUINT_TO_POINTER(reads > 0);
}

int
main(void)
{
    VDT_AUTO_FD fd = vdt_memfd("guest", 4 * MIB, NULL);
    struct vdt_region_spec base = {0, MIB, MIB, 0, fd};
    GThread *threads[READERS];
    bool all_read = true, all_changed = true, caught = false;

    current = vdt_guest_map_from_table(&base, 1, NULL);
    for (unsigned i = 0; i < READERS; i++)
        threads[i] = g_thread_new("reader", reader, GUINT_TO_POINTER(i));
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct vdt_region_spec spec = {(1 + i % 7) * 2 * MIB, MIB, (8 + i % 7) * MIB,
                                       (1 + i % 3) * MIB, fd};
        struct vdt_guest_map *map = vdt_guest_map_with(current, &spec, NULL);

        all_changed = all_changed && map;
        if (!map)
            break;
        publish(map);
        if (i % 100 == 50) {
            /* The peer takes everything but the first region away, and gives it back. */
            all_changed = all_changed && ftruncate(fd, (off_t) MIB) == 0;
            g_usleep(200);
            caught = caught || vdt_guest_map_truncated(current);
            all_changed = all_changed && ftruncate(fd, (off_t) (4 * MIB)) == 0;
        }
        map = vdt_guest_map_without(current, spec.gpa, spec.size, spec.frontend, NULL);
        all_changed = all_changed && map;
        if (!map)
            break;
        publish(map);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < READERS; i++)
        all_read = all_read && g_thread_join(threads[i]);
    publish(NULL);

    printf("1..3\n");
    printf("%s 1 - regions come and go under readers\n", all_changed ? "ok" : "not ok");
    printf("%s 2 - readers see all of the generation they hold (%u failures)\n",
           all_read && failures == 0 ? "ok" : "not ok", failures);
    printf("ok 3 - a shortened file ends nobody%s\n",
           caught ? "" : " # SKIP never touched in time");
    return !(all_changed && all_read && failures == 0);
}
