/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the relay costs: ns of thread CPU time for one chain, forward and back, with the two ends
 * (a driver and a device that do next to nothing) in it. The least of many repetitions: the machine
 * may be busy. Beside it yardsticks of the same run, since such numbers drift.
 */
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "base/fd.h"
#include "base/wire.h"
#include "shadow/relay.h"
#include "virtio/packed_layout.h"

#define NUM 256u
#define GPA 0x100000u
#define MEMORY (16u << 20)
#define TABLES_AT 0x20000u
#define BUFFERS_AT 0x100000u
#define BUFFER 2048u
#define REPEAT 60
#define CHAINS 65536u /* for each repetition */

struct way {
    const char *name;
    enum vdt_ring_kind kind;
    bool log, translated, indirect, events;
};

static const struct way ways[] = {
    {"split, plain", VDT_RING_SPLIT, false, false, false, false},
    {"split, logged", VDT_RING_SPLIT, true, false, false, false},
    {"split, translated", VDT_RING_SPLIT, false, true, false, false},
    {"split, indirect 2", VDT_RING_SPLIT, false, false, true, false},
    {"split, eventfds", VDT_RING_SPLIT, false, false, false, true},
    {"packed, plain", VDT_RING_PACKED, false, false, false, false},
    {"packed, logged", VDT_RING_PACKED, true, false, false, false},
    {"packed, translated", VDT_RING_PACKED, false, true, false, false},
    {"packed, indirect 2", VDT_RING_PACKED, false, false, true, false},
    {"packed, eventfds", VDT_RING_PACKED, false, false, false, true},
};

struct bench {
    struct way way;
    uint8_t *memory;
    struct vdt_guest_map *map;
    struct vdt_ring_mem shadow;
    struct vdt_seg *tables;
    struct vdt_iova_table *table;
    struct vdt_dirty_log log;
    struct vdt_relay relay;
    int kick, call, device_kick, device_call;
    uint16_t driver, device; /* positions of the two ends */
};

static double
now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double) t.tv_sec * 1e9 + (double) t.tv_nsec;
}

/* What descriptor @i stands for: one writable buffer, or a table of two. */
static struct vdt_seg
descriptor(const struct bench *b, uint32_t i)
{
    if (b->way.indirect)
        return (struct vdt_seg){
            .addr = GPA + TABLES_AT + i * 32, .len = 32, .flags = VDT_SEG_INDIRECT};
    return (struct vdt_seg){
        .addr = GPA + BUFFERS_AT + (uint64_t) i * BUFFER, .len = BUFFER, .flags = VDT_SEG_WRITE};
}

static void
fill_guest(struct bench *b)
{
    for (uint32_t i = 0; i < NUM; i++) {
        struct vdt_seg d = descriptor(b, i);
        uint8_t *at = b->memory + 16u * i, *table = b->memory + TABLES_AT + i * 32;

        vdt_put64(at, d.addr);
        vdt_put32(at + 8, d.len);
        vdt_put16(at + (b->way.kind == VDT_RING_SPLIT ? 12 : 14), d.flags);
        for (uint32_t half = 0; half < 2; half++) {
            uint16_t next = b->way.kind == VDT_RING_SPLIT && half == 0 ? VDT_SEG_NEXT : 0;
            vdt_put64(table + 16 * half, GPA + BUFFERS_AT + i * BUFFER + half * 1024);
            vdt_put32(table + 16 * half + 8, 1024);
            vdt_put16(table + 16 * half + (b->way.kind == VDT_RING_SPLIT ? 12 : 14),
                      (uint16_t) (VDT_SEG_WRITE | next));
            vdt_put16(table + 16 * half + (b->way.kind == VDT_RING_SPLIT ? 14 : 12), 1);
        }
    }
}

static void
bench_init(struct bench *b, const struct way *way)
{
    *b = (struct bench){.way = *way};
    VDT_AUTO_FD fd = vdt_memfd("bench", MEMORY, NULL);
    b->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    struct vdt_region_spec spec = {
        .gpa = GPA, .size = MEMORY, .frontend = 0x7f0000000000, .fd = fd};
    b->map = vdt_guest_map_from_table(&spec, 1, NULL);
    b->shadow = (struct vdt_ring_mem){g_malloc0(NUM * 16), g_malloc0(NUM * 8), g_malloc0(NUM * 16)};
    b->tables = g_malloc0(vdt_inflight_table_size(NUM));
    struct vdt_iova_stretch stretch = {.from = GPA, .to = 0x40000000, .len = MEMORY};
    b->table = vdt_iova_table_new(&stretch, 1);

    struct vdt_relay_config config = {
        .format = {.kind = way->kind, .num = NUM, .indirect = way->indirect},
        .guest_mem = {b->memory, b->memory + 0x8000, b->memory + 0xc000},
        .device_mem = b->shadow,
        .gpa = {GPA, GPA + 0x8000, GPA + 0xc000},
        .guest_pos = vdt_ring_pos_initial(way->kind),
        .device_pos = vdt_ring_pos_initial(way->kind),
        .table_memory = {b->tables, 0x70000000},
        .map = b->map};
    fill_guest(b);
    vdt_relay_init(&b->relay, &config);
    b->driver = b->device = config.guest_pos.avail;
    b->relay.table = way->translated ? b->table : NULL;
    VDT_AUTO_FD log = vdt_memfd("bench-log", 4096, NULL);
    if (way->log && vdt_dirty_log_init(&b->log, log, 0, 4096, GPA + MEMORY, NULL))
        b->relay.log = &b->log;
    b->kick = b->call = b->device_kick = b->device_call = -1;
    if (way->events) {
        b->kick = vdt_eventfd(NULL);
        b->call = b->relay.guest_call = vdt_eventfd(NULL);
        b->device_kick = b->relay.device_kick = vdt_eventfd(NULL);
        b->device_call = vdt_eventfd(NULL);
    }
}

static void
bench_clear(struct bench *b)
{
    vdt_relay_clear(&b->relay);
    vdt_dirty_log_clear(&b->log);
    vdt_iova_table_free(b->table);
    vdt_guest_map_unref(b->map);
    munmap(b->memory, MEMORY);
    g_free(b->shadow.desc);
    g_free(b->shadow.driver);
    g_free(b->shadow.device);
    g_free(b->tables);
    vdt_close(b->kick);
    vdt_close(b->call);
    vdt_close(b->device_kick);
    vdt_close(b->device_call);
}

/* The ends keep what they need in locals: they are to cost as little as can be. */
static void
driver_split(struct bench *b, unsigned n)
{
    uint16_t *avail = (uint16_t *) (b->memory + 0x8000), at = b->driver;

    for (unsigned i = 0; i < n; i++, at++)
        avail[2 + at % NUM] = at % NUM;
    b->driver = at;
    vdt_store16_release(avail + 1, at);
}

static void
device_split(struct bench *b, unsigned n)
{
    const uint16_t *avail = b->shadow.driver;
    uint32_t *used = b->shadow.device;
    uint16_t at = b->device;

    for (unsigned i = 0; i < n; i++, at++) {
        used[1 + 2 * (at % NUM)] = avail[2 + at % NUM];
        used[2 + 2 * (at % NUM)] = 64;
    }
    b->device = at;
    vdt_store16_release((uint16_t *) used + 1, at);
}

static void
driver_packed(struct bench *b, unsigned n)
{
    uint16_t at = b->driver;

    for (unsigned i = 0; i < n; i++) {
        uint16_t slot = at & 0x7fff;
        struct vdt_seg d = descriptor(b, slot);
        uint8_t *desc = b->memory + 16u * slot;

        vdt_store64(desc, d.addr);
        vdt_store64(desc + 8, vdt_packed_rest(d.len, slot, d.flags | vdt_packed_avail_bits(at)));
        at = vdt_packed_advance(at, 1, NUM);
    }
    b->driver = at;
}

static void
device_packed(struct bench *b, unsigned n)
{
    uint16_t at = b->device;

    for (unsigned i = 0; i < n; i++) {
        uint8_t *desc = (uint8_t *) b->shadow.desc + 16u * (at & 0x7fff);
        uint16_t id = vdt_load16(desc + 12);

        vdt_store64(desc + 8, vdt_packed_rest(64, id, vdt_packed_used_bits(at) | VDT_SEG_WRITE));
        at = vdt_packed_advance(at, 1, NUM);
    }
    b->device = at;
}

static void
signal_and_drain(int fd)
{
    if (fd >= 0) {
        vdt_event_signal(fd);
        vdt_event_drain(fd);
    }
}

static void
one_batch(struct bench *b, unsigned n)
{
    bool split = b->way.kind == VDT_RING_SPLIT;

    (split ? driver_split : driver_packed)(b, n);
    signal_and_drain(b->kick);
    unsigned there = vdt_relay_forward(&b->relay);
    if (b->device_kick >= 0)
        vdt_event_drain(b->device_kick);
    (split ? device_split : device_packed)(b, n);
    signal_and_drain(b->device_call);
    unsigned returned = vdt_relay_back(&b->relay);
    if (b->call >= 0)
        vdt_event_drain(b->call);
    g_assert(there == n && returned == n && !b->relay.fault);
}

static double
measure(struct bench *b, unsigned batch)
{
    double best = 1e18;

    for (unsigned r = 0; r < REPEAT; r++) {
        unsigned chains = b->way.events ? CHAINS / 16 : CHAINS;
        double start = now_ns();
        for (unsigned done = 0; done < chains; done += batch)
            one_batch(b, batch);
        best = MIN(best, (now_ns() - start) / chains);
    }
    return best;
}

/* What the two ends of a split ring cost without a relay between them. */
static void
ends_alone(void *arg)
{
    for (unsigned done = 0; done < CHAINS; done += 32) {
        driver_split(arg, 32);
        device_split(arg, 32);
    }
}

static double
yardstick(void (*fn)(void *arg), void *arg, unsigned times)
{
    double best = 1e18;

    for (unsigned r = 0; r < REPEAT; r++) {
        double start = now_ns();
        fn(arg);
        best = MIN(best, (now_ns() - start) / times);
    }
    return best;
}

static void
copy_16(void *arg)
{
    struct vdt_seg *segs = arg;

    for (unsigned i = 0; i < CHAINS; i++) {
        segs[NUM + i % NUM] = segs[i % NUM];
        __asm__ volatile("" ::: "memory");
    }
}

static void
locked_or(void *arg)
{
    for (unsigned i = 0; i < CHAINS; i++)
        __atomic_fetch_or((uint64_t *) arg, 1ull << i % 64, __ATOMIC_RELEASE);
}

static void
eventfd_round(void *arg)
{
    for (unsigned i = 0; i < CHAINS / 16; i++)
        signal_and_drain(*(int *) arg);
}

/* With an argument: only the ways whose names begin so. */
int
main(int argc, char **argv)
{
    static const unsigned batches[] = {1, 32, NUM};
    g_autofree struct vdt_seg *segs = g_new0(struct vdt_seg, 2 * NUM);
    VDT_AUTO_FD event = vdt_eventfd(NULL);
    uint64_t word = 0;

    printf("%-24s %8s %8s %8s   ns a chain, batches of 1, 32, 256\n", "", "1", "32", "256");
    for (unsigned i = 0; i < G_N_ELEMENTS(ways); i++) {
        if (argc > 1 && !g_str_has_prefix(ways[i].name, argv[1]))
            continue;
        printf("%-24s", ways[i].name);
        for (unsigned k = 0; k < G_N_ELEMENTS(batches); k++) {
            struct bench b;
            bench_init(&b, &ways[i]);
            printf(" %8.2f", measure(&b, batches[k]));
            bench_clear(&b);
        }
        printf("\n");
    }
    struct bench ends;
    bench_init(&ends, &ways[0]);
    printf("the two ends alone: %.2f\n", yardstick(ends_alone, &ends, CHAINS));
    bench_clear(&ends);
    printf("yardsticks: 16-byte copy %.2f, locked OR %.2f, eventfd write and read %.0f ns\n",
           yardstick(copy_16, segs, CHAINS), yardstick(locked_or, &word, CHAINS),
           yardstick(eventfd_round, &event, CHAINS / 16));
    return 0;
}
