/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every descriptor table of up to four entries, as far as a reader of it can tell: ring code and
 * reference have to agree on each. Usage: tables [--brief | --nightly] [SCOPE]. Prints TAP.
 *
 * The ring code sees the ring through a mapping that it cannot write, between stretches without
 * memory that are wider than any 16-bit index reaches; areas that a reader has no business in are
 * such a stretch. What no choice was made for holds a descriptor that is wrong in every way.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scope.h"
#include "virtio/guest_ring.h"

#define PAGE 4096u
#define VOID (2u << 20)  /* bytes on each side of what may be read */
#define JOB_SECONDS 300u /* a reader that goes round and round is ended */
#define PROCESSES_MAX 16u

/* Shared by all processes. */
struct tally {
    uint64_t next; /* job */
    uint64_t tables;
    uint32_t wrong;
};

struct bench {
    uint8_t *ring, *table, *avail; /* ours, to be written */
    struct vdt_ring_mem mem;       /* the same, as the reader gets it */
    struct vdt_seg *seg;
    const uint8_t *table_seen;
    unsigned reads;
    uint32_t ring_touched, table_touched; /* what is not poison */
};

static void
fail(const char *what)
{
    printf("Bail out! %s\n", what);
    exit(1);
}

/* One page in the middle of nothing; @ret_other: the same page, writable. */
static uint8_t *
map_page(int prot, uint8_t **ret_other)
{
    uint8_t *middle = mmap(NULL, 2 * VOID + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int fd = memfd_create("tables", MFD_CLOEXEC);

    if (middle == MAP_FAILED || fd < 0 || ftruncate(fd, PAGE) < 0)
        fail("no memory");
    middle += VOID;
    if (prot != PROT_NONE && mmap(middle, PAGE, prot, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
        fail("no memory");
    if (ret_other) {
        *ret_other = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (*ret_other == MAP_FAILED)
            fail("no memory");
    }
    close(fd);
    return middle;
}

static void
poison(uint8_t *at)
{
    /* Beyond every table, with all flags, as long and as high as can be. */
    memset(at, 0xff, 16);
}

/* Areas stand at the end of their pages, so that one byte more is too much. */
static void
bench_init(struct bench *bench, const struct scope *scope)
{
    const struct vdt_ring_format format = {.kind = scope->kind, .num = (uint16_t) scope->num};
    const size_t ring = PAGE - 16 * scope->num, avail = PAGE - vdt_ring_driver_size(&format);
    const size_t table = PAGE - 16 * scope->num;
    uint8_t *page = NULL;

    bench->mem.desc = map_page(PROT_READ, &bench->ring) + ring;
    bench->ring += ring;
    bench->mem.driver = map_page(scope->kind == VDT_RING_SPLIT ? PROT_READ : PROT_NONE, &page);
    bench->mem.driver = (uint8_t *) bench->mem.driver + avail;
    bench->avail = page + avail;
    bench->mem.device = map_page(PROT_NONE, NULL);
    bench->table_seen = map_page(PROT_READ, &bench->table) + table;
    bench->table += table;
    page = map_page(PROT_READ | PROT_WRITE, NULL);
    bench->seg = (struct vdt_seg *) (page + PAGE - 3 * scope->num * sizeof(struct vdt_seg));
    for (unsigned i = 0; i < scope->num; i++) {
        poison(bench->ring + 16 * i);
        poison(bench->table + 16 * i);
    }
    bench->ring_touched = bench->table_touched = 0;
}

static bool
read_table(void *ctx, uint64_t addr, void *dst, uint32_t len)
{
    struct bench *bench = ctx;

    bench->reads++;
    if (addr != REF_TABLE)
        return false;
    memcpy(dst, bench->table_seen, len); /* the void behind it ends a longer one */
    return true;
}

/* What this walk has not chosen, but an earlier one, is nobody's. */
static void
poison_rest(struct bench *bench, const struct ref_walk *walk)
{
    uint32_t ring = bench->ring_touched & ~walk->ring_touched;
    uint32_t table = bench->table_touched & ~walk->table_touched;

    for (; ring; ring &= ring - 1)
        poison(bench->ring + 16 * __builtin_ctz(ring));
    for (; table; table &= table - 1)
        poison(bench->table + 16 * __builtin_ctz(table));
    bench->ring_touched = walk->ring_touched;
    bench->table_touched = walk->table_touched;
}

/* NULL, or where reader and reference part. */
static const char *
differ_chain(const struct ref_verdict *verdict, enum vdt_ring_kind kind,
             const struct vdt_chain *chain)
{
    if (chain->count != verdict->count || chain->direct != verdict->direct)
        return "the number of segments";
    if (chain->slots != verdict->slots)
        return "the slots taken";
    if (chain->id != verdict->id)
        return "the id";
    if (chain->readable != verdict->readable || chain->writable != verdict->writable)
        return "the sums";
    if (chain->indirect != verdict->indirect ||
        (chain->indirect && chain->indirect_slot != verdict->indirect_slot))
        return "the place of the table";
    for (unsigned i = 0; i < verdict->count; i++) {
        const struct ref_seg *want = &verdict->seg[i];
        const struct vdt_seg *seg = &chain->seg[i];

        if (seg->addr != want->addr || seg->len != want->len)
            return "a segment's address or length";
        if (seg->flags != ((want->write ? VDT_SEG_WRITE : 0) | (want->more ? VDT_SEG_NEXT : 0)))
            return "a segment's flags";
        if (want->more && (kind == VDT_RING_SPLIT || i >= verdict->direct) &&
            seg->next != want->next)
            return "a segment's next";
    }
    return NULL;
}

static const char *
differ(const struct ref_verdict *verdict, const struct vdt_guest_ring *before,
       const struct vdt_guest_ring *ring, enum vdt_take got, const struct vdt_chain *chain,
       unsigned reads)
{
    const enum vdt_take want = verdict->empty    ? VDT_TAKE_EMPTY
                               : verdict->faults ? VDT_TAKE_BROKEN
                                                 : VDT_TAKE_CHAIN;
    uint16_t pos = before->pos.avail;

    if (got != want)
        return "the verdict";
    if (want == VDT_TAKE_BROKEN ? !(verdict->faults >> ring->fault & 1)
                                : ring->fault != VDT_FAULT_NONE)
        return "the fault";
    if (reads != (verdict->reads ? 1 : 0))
        return "how often the table was read";
    if (want == VDT_TAKE_CHAIN) {
        const bool split = before->format.kind == VDT_RING_SPLIT;

        pos = split ? (uint16_t) (pos + 1)
                    : vdt_packed_advance(pos, chain->slots, before->format.num);
        if (ring->in_flight != before->in_flight + (split ? 1 : verdict->slots))
            return "what is in flight";
    } else if (ring->in_flight != before->in_flight) {
        return "what is in flight";
    }
    if (ring->pos.avail != pos || ring->pos.used != before->pos.used)
        return "the position";
    return want == VDT_TAKE_CHAIN ? differ_chain(verdict, before->format.kind, chain) : NULL;
}

static void
print_table(const char *name, const uint8_t *at, unsigned num)
{
    for (unsigned i = 0; i < num; i++) {
        printf("# %s %u:", name, i);
        for (unsigned k = 0; k < 16; k++)
            printf("%s%02x", k == 8 || k == 12 || k == 14 ? " " : "", at[16 * i + k]);
        printf("\n");
    }
}

static void
report(const struct bench *bench, const struct scope *scope, const char *what,
       const struct vdt_guest_ring *before, const struct vdt_guest_ring *ring, enum vdt_take got,
       const struct ref_verdict *verdict)
{
    printf(
        "# %s differs; take %d, fault %d; reference: faults 0x%x, empty %d, count %u, slots %u\n",
        what, got, ring->fault, verdict->faults, verdict->empty, verdict->count, verdict->slots);
    printf("# position %04x, in flight %u, head %u\n", before->pos.avail, before->in_flight,
           verdict->id);
    print_table("ring", bench->ring, scope->num);
    print_table("table", bench->table, scope->num);
    fflush(stdout);
}

/* Where a walk starts: a head, or a position and what is in flight behind it. */
static unsigned
start_count(const struct scope *scope)
{
    return scope->kind == VDT_RING_SPLIT ? scope->num + 2 : 2 * scope->num * (scope->num + 1);
}

static void
start_at(const struct scope *scope, unsigned start, struct bench *bench,
         struct vdt_guest_ring *ring, unsigned *ret_head)
{
    const struct vdt_ring_format format = {
        .kind = scope->kind, .num = (uint16_t) scope->num, .indirect = scope->indirect};
    struct vdt_ring_pos pos = {0xffff, 0xffff};
    uint16_t head = 0, idx = 0;

    if (scope->kind == VDT_RING_SPLIT) {
        head = (uint16_t) (start <= scope->num ? start : 0xffff);
        memset(bench->avail, 0xff, vdt_ring_driver_size(&format));
        memcpy(bench->avail + 2, &idx, 2);
        memcpy(bench->avail + 4 + 2 * (pos.avail & (scope->num - 1)), &head, 2);
    } else {
        unsigned in_flight = start / (2 * scope->num);

        pos.used = (uint16_t) (start % scope->num | (start / scope->num % 2) << 15);
        pos.avail = vdt_packed_advance(pos.used, (uint16_t) in_flight, format.num);
    }
    *ret_head = head;
    vdt_guest_ring_init(ring, &format, &bench->mem, pos);
}

/* The next table, or false when the first @fixed choices have no more. */
static bool
advance(struct ref_choice *choice, unsigned fixed)
{
    choice->used = 0;
    while (choice->known > fixed &&
           ++choice->digit[choice->known - 1] == choice->radix[choice->known - 1])
        choice->known--;
    return choice->known > fixed;
}

/* All tables from one start whose first descriptor is of shape @first. */
static uint64_t
run_job(struct bench *bench, const struct scope *scope, struct ref_walk *walk, unsigned start,
        unsigned first, struct tally *tally)
{
    const struct vdt_reader reader = {read_table, bench};
    struct vdt_guest_ring fresh, ring;
    struct ref_verdict verdict;
    unsigned head;
    uint64_t tables = 0;

    start_at(scope, start, bench, &fresh, &head);
    walk->choice.used = 0;
    walk->choice.known = 1;
    walk->choice.digit[0] = (uint16_t) first;
    walk->choice.radix[0] = (uint16_t) walk->ring_count;
    do {
        struct vdt_chain chain = {.seg = bench->seg, .capacity = 3 * scope->num};
        enum vdt_take got;
        const char *what;

        if (scope->kind == VDT_RING_SPLIT)
            ref_split(walk, head, &verdict);
        else
            ref_packed(walk, fresh.pos.avail, scope->num - fresh.in_flight, &verdict);
        poison_rest(bench, walk);
        ring = fresh;
        bench->reads = 0;
        got = vdt_guest_ring_take(&ring, &reader, &chain);
        tables++;
        what = differ(&verdict, &fresh, &ring, got, &chain, bench->reads);
        if (__builtin_expect(what != NULL, 0)) {
            if (__atomic_add_fetch(&tally->wrong, 1, __ATOMIC_RELAXED) <= 3)
                report(bench, scope, what, &fresh, &ring, got, &verdict);
            break;
        }
    } while (advance(&walk->choice, 1));
    return tables;
}

/* One process's part: whatever job nobody has. A head beyond the ring is a job without a shape. */
static void
work(const struct scope *scope, enum scope_size size, struct tally *tally)
{
    static struct scope_shapes shapes;
    struct bench bench;
    struct ref_walk walk;
    uint64_t jobs, job;

    scope_fill(scope, size, &shapes);
    bench_init(&bench, scope);
    walk = (struct ref_walk){
        .kind = scope->kind,
        .num = scope->num,
        .indirect = scope->indirect,
        .ring_shapes = shapes.ring,
        .entry_shapes = shapes.entry,
        .ring_count = shapes.ring_count,
        .entry_count = shapes.entry_count,
        .ring = bench.ring,
        .table = bench.table,
    };
    jobs = (uint64_t) start_count(scope) * shapes.ring_count;
    while ((job = __atomic_fetch_add(&tally->next, 1, __ATOMIC_RELAXED)) < jobs) {
        unsigned start = (unsigned) (job / shapes.ring_count);
        unsigned first = (unsigned) (job % shapes.ring_count);
        uint64_t tables;

        if (scope->kind == VDT_RING_SPLIT && start >= scope->num && first > 0)
            continue;
        alarm(JOB_SECONDS);
        tables = run_job(&bench, scope, &walk, start, first, tally);
        __atomic_add_fetch(&tally->tables, tables, __ATOMIC_RELAXED);
        if (__atomic_load_n(&tally->wrong, __ATOMIC_RELAXED) > 0)
            break;
    }
}

static bool
run_scope(const struct scope *scope, enum scope_size size, unsigned processes, unsigned number,
          uint64_t *sum)
{
    struct tally *tally =
        mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t children[PROCESSES_MAX];
    bool good = tally != MAP_FAILED;
    int status;

    if (!good)
        fail("no memory");
    fflush(stdout);
    for (unsigned i = 0; i < processes; i++) {
        children[i] = fork();
        if (children[i] < 0)
            fail("no process");
        if (children[i] == 0) {
            work(scope, size, tally);
            fflush(stdout);
            _exit(0);
        }
    }
    for (unsigned i = 0; i < processes; i++) {
        if (waitpid(children[i], &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status)) {
            printf("# a reader %s\n", WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "failed");
            good = false;
        }
    }
    good = good && !tally->wrong && tally->tables >= scope->floor[size] && tally->tables > 0;
    printf("%s %u - %s: %llu tables, at least %llu\n", good ? "ok" : "not ok", number, scope->name,
           (unsigned long long) tally->tables, (unsigned long long) scope->floor[size]);
    fflush(stdout);
    *sum += tally->tables;
    munmap(tally, sizeof(*tally));
    return good;
}

int
main(int argc, char **argv)
{
    const char *nightly = getenv("VDT_NIGHTLY");
    enum scope_size size = nightly && *nightly ? SCOPE_NIGHTLY : SCOPE_USUAL;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned processes = processors < 1 ? 1 : processors > 16 ? 16 : (unsigned) processors;
    const char *only = NULL;
    unsigned run = 0;
    uint64_t sum = 0;
    bool good = true;

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--brief") == 0)
            size = SCOPE_BRIEF;
        else if (strcmp(argv[i], "--nightly") == 0)
            size = SCOPE_NIGHTLY;
        else
            only = argv[i];
    }
    for (unsigned i = 0; i < scope_count; i++) {
        if (!only || strcmp(only, scopes[i].name) == 0)
            good &= run_scope(&scopes[i], size, processes, ++run, &sum);
    }
    printf("# %llu tables\n1..%u\n", (unsigned long long) sum, run);
    return good && run > 0 ? 0 : 1;
}
