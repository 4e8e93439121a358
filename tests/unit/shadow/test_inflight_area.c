/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The in-flight area: its geometry, what it says at each point where a tracker may end. */
#include <criterion/criterion.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "lib/leak.h"
#include "lib/ring_box.h"
#include "shadow/inflight_area.h"

VDT_SUITE(inflight_area);

#define NUM 16u

struct stand {
    int fd;
    uint64_t size;
    struct vdt_inflight_area *area;
    struct ring_box box;
    struct vdt_area_ring ring;
    struct vdt_area_history history;
};

static void
init(struct stand *stand, enum vdt_ring_kind kind)
{
    g_autoptr(GError) error = NULL;
    struct vdt_ring_format format = {.kind = kind, .num = NUM, .indirect = true};

    *stand = (struct stand){0};
    stand->fd = vdt_inflight_area_make(2, NUM, &stand->size, &error);
    cr_assert_geq(stand->fd, 0);
    stand->area = vdt_inflight_area_map(stand->fd, 0, stand->size, 2, NUM, &error);
    cr_assert(stand->area, "%s", error ? error->message : "");
    ring_box_init(&stand->box, format);
    cr_assert(vdt_area_ring_open(&stand->ring, stand->area, 1, &format, 0,
                                 vdt_ring_pos_initial(kind), NULL, 0));
}

static void
clear(struct stand *stand)
{
    vdt_area_history_clear(&stand->history);
    vdt_area_ring_close(&stand->ring);
    vdt_inflight_area_free(stand->area);
    ring_box_clear(&stand->box);
    vdt_close(stand->fd);
}

/* Chain @id of @slots descriptors; its first address tells which it is. */
static void
take(struct stand *stand, uint16_t id, uint16_t slots)
{
    struct vdt_kept kept[4];

    for (uint16_t i = 0; i < slots; i++)
        kept[i] = (struct vdt_kept){
            .addr = id * 0x1000u + i, .len = 100u + i, .posted.mark = VDT_KEPT_PART, .next = i + 1};
    vdt_area_ring_take(&stand->ring, id, 40 + id, slots, kept, 0);
}

static void
guest_ring(struct stand *stand, uint16_t avail, uint16_t used)
{
    vdt_store16((uint8_t *) stand->box.mem.driver + 2, avail);
    vdt_store16((uint8_t *) stand->box.mem.device + 2, used);
}

static bool
read_back(struct stand *stand)
{
    g_autoptr(GError) error = NULL;

    vdt_area_history_clear(&stand->history);
    bool ok = vdt_inflight_area_read(stand->area, 1, &stand->box.format, &stand->box.mem,
                                     &stand->history, &error);
    cr_assert_eq(ok, error == NULL);
    return ok;
}

static const struct vdt_area_request *
request(struct stand *stand, unsigned i)
{
    return &g_array_index(stand->history.requests, struct vdt_area_request, i);
}

/* The ids that were in flight, as "3 1 4"; split: heads, packed: the guest's, less 40. */
static void
expect(struct stand *stand, const char *ids)
{
    g_autoptr(GString) text = g_string_new(NULL);

    cr_assert(read_back(stand));
    cr_assert(stand->history.known);
    for (unsigned i = 0; i < stand->history.requests->len; i++)
        g_string_append_printf(text, "%s%d", i ? " " : "",
                               request(stand, i)->id -
                                   (stand->box.format.kind == VDT_RING_PACKED ? 40 : 0));
    cr_expect_str_eq(text->str, ids);
}

struct geometry {
    const char *name;
    uint16_t queues, size;
    uint64_t offset, bytes;
    bool ok;
};

Test(inflight_area, geometry_that_does_not_hold_is_refused)
{
    static const struct geometry rows[] = {
        {"as it was made", 2, NUM, 0, 8192, true},
        {"fewer rings", 1, NUM, 0, 8192, true},
        {"at a whole page", 1, NUM, 4096, 4096, true},
        {"no ring", 0, NUM, 0, 8192, false},
        {"rings of nothing", 2, 0, 0, 8192, false},
        {"rings larger than any", 1, 0x8001, 0, 8192, false},
        {"more rings than it has", 3, NUM, 0, 8192, false},
        {"larger rings than it has", 2, 256, 0, 8192, false},
        {"too few bytes", 2, NUM, 0, 8191, false},
        {"more bytes than the file", 2, NUM, 0, 8193, false},
        {"beyond the file", 1, NUM, 8192, 4096, false},
        {"half a page off", 1, NUM, 2048, 4096, false},
        {"offset that wraps", 1, NUM, UINT64_MAX - 4095, 8192, false},
        {"size that wraps", 1, NUM, 4096, UINT64_MAX, false},
        {"offset of no file", 1, NUM, (uint64_t) INT64_MAX - 4095, 4096, false},
    };
    uint64_t size;
    int fd = vdt_inflight_area_make(2, NUM, &size, NULL);

    cr_assert_eq(size, 8192);
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        struct vdt_inflight_area *area = vdt_inflight_area_map(
            fd, rows[i].offset, rows[i].bytes, rows[i].queues, rows[i].size, &error);
        cr_expect_eq(area != NULL, rows[i].ok, "%s", rows[i].name);
        cr_expect_eq(error == NULL, rows[i].ok, "%s", rows[i].name);
        vdt_inflight_area_free(area);
    }
    vdt_close(fd);
    vdt_test_check_leaks();
}

Test(inflight_area, what_is_no_file_is_refused)
{
    g_autoptr(GError) error = NULL;
    int fd = vdt_eventfd(NULL);

    cr_expect_null(vdt_inflight_area_map(fd, 0, 8192, 2, NUM, &error));
    cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_INVALID));
    vdt_close(fd);
}

Test(inflight_area, its_size_is_nobodys_to_change)
{
    uint64_t size;
    int fd = vdt_inflight_area_make(2, NUM, &size, NULL);

    cr_expect_eq(ftruncate(fd, 0), -1);
    vdt_close(fd);
}

Test(inflight_area, file_that_is_shortened_reads_as_nothing)
{
    int fd = vdt_memfd("theirs", 8192, NULL);
    struct vdt_inflight_area *area = vdt_inflight_area_map(fd, 0, 8192, 2, NUM, NULL);
    struct stand stand;

    init(&stand, VDT_RING_SPLIT);
    cr_assert(area);
    cr_assert_eq(ftruncate(fd, 0), 0);
    cr_expect(vdt_area_ring_open(&stand.ring, area, 1, &stand.box.format, 0,
                                 (struct vdt_ring_pos){0}, NULL, 0));
    take(&stand, 3, 1);
    vdt_area_ring_close(&stand.ring);
    vdt_inflight_area_free(area);
    vdt_close(fd);
    clear(&stand);
}

Test(inflight_area, fresh_area_knows_nothing)
{
    struct stand stand;

    init(&stand, VDT_RING_SPLIT);
    vdt_inflight_area_forget(stand.area, 1);
    cr_assert(read_back(&stand));
    cr_expect_not(stand.history.known);
    clear(&stand);
}

Test(inflight_area, split_says_what_is_in_flight_at_each_point)
{
    struct stand stand;

    init(&stand, VDT_RING_SPLIT);
    guest_ring(&stand, 6, 0);
    take(&stand, 7, 1);
    take(&stand, 3, 1);
    take(&stand, 9, 1);
    take(&stand, 1, 1);
    expect(&stand, "7 3 9 1");
    cr_expect_eq(stand.history.pos.avail, 4);

    vdt_area_ring_give(&stand.ring, 9);
    vdt_area_ring_give(&stand.ring, 7);
    vdt_area_ring_publishing(&stand.ring, 2);
    expect(&stand, "7 3 9 1"); /* the guest does not see them used: again */
    guest_ring(&stand, 6, 2);
    expect(&stand, "3 1"); /* the guest sees them, nothing was cleared yet */
    cr_expect_eq(stand.history.pos.used, 2);
    cr_expect_eq(stand.history.pos.avail, 4);
    vdt_area_ring_published(&stand.ring, 2);
    expect(&stand, "3 1");

    take(&stand, 9, 1);
    expect(&stand, "3 1 9");
    vdt_area_ring_give(&stand.ring, 3);
    vdt_area_ring_publishing(&stand.ring, 3);
    guest_ring(&stand, 6, 3);
    expect(&stand, "1 9");
    clear(&stand);
    vdt_test_check_leaks();
}

Test(inflight_area, packed_says_what_is_in_flight_at_each_point)
{
    struct stand stand;

    init(&stand, VDT_RING_PACKED);
    for (unsigned i = 0; i < NUM; i++)
        vdt_store16((uint8_t *) stand.box.mem.desc + 16 * i + 14, 0x80);
    take(&stand, 7, 1);
    take(&stand, 3, 2);
    take(&stand, 9, 3);
    expect(&stand, "7 3 9");
    cr_expect_eq(stand.history.pos.used, 0x8000);
    cr_expect_eq(stand.history.pos.avail, 0x8006);
    cr_expect_eq(stand.history.segs[request(&stand, 1)->seg + 1].addr, 0x3001);
    cr_expect_eq(stand.history.segs[request(&stand, 2)->seg + 2].len, 102);

    vdt_area_ring_give(&stand.ring, 9);
    vdt_area_ring_give(&stand.ring, 7);
    vdt_area_ring_publishing(&stand.ring, 0x8004);
    expect(&stand, "7 3 9"); /* rolled back */
    cr_expect_eq(stand.history.pos.used, 0x8000);
    vdt_store16((uint8_t *) stand.box.mem.desc + 14, 0x8080);
    expect(&stand, "3"); /* committed */
    cr_expect_eq(stand.history.pos.used, 0x8004);
    cr_expect_eq(stand.history.pos.avail, 0x8006);
    vdt_area_ring_published(&stand.ring, 0x8004);
    expect(&stand, "3");

    take(&stand, 9, 4);
    take(&stand, 2, 1);
    expect(&stand, "3 9 2");
    cr_expect_eq(stand.history.segs[request(&stand, 1)->seg + 3].addr, 0x9003);
    cr_expect_eq(stand.history.pos.avail, 0x800b);
    clear(&stand);
    vdt_test_check_leaks();
}

Test(inflight_area, packed_ring_full_of_chains_goes_round)
{
    struct stand stand;
    uint16_t used = 0x8000;

    init(&stand, VDT_RING_PACKED);
    for (unsigned round = 0; round < 50; round++) {
        for (uint16_t id = 0; id < 8; id++)
            take(&stand, id, 2);
        cr_assert(read_back(&stand));
        cr_assert_eq(stand.history.requests->len, 8);
        for (uint16_t n = 0; n < 8; n++)
            vdt_area_ring_give(&stand.ring, (uint16_t) ((n * 5 + round) % 8));
        used = vdt_packed_advance(used, 16, NUM);
        vdt_area_ring_publishing(&stand.ring, used);
        vdt_area_ring_published(&stand.ring, used);
        expect(&stand, "");
    }
    clear(&stand);
}

Test(inflight_area, requests_that_are_resubmitted_stay_written_down)
{
    struct stand stand;
    const uint16_t heads[] = {5, 2};

    init(&stand, VDT_RING_SPLIT);
    guest_ring(&stand, 3, 0);
    take(&stand, 5, 1);
    take(&stand, 8, 1);
    take(&stand, 2, 1);
    vdt_area_ring_open(&stand.ring, stand.area, 1, &stand.box.format, 0, (struct vdt_ring_pos){0},
                       heads, 2);
    expect(&stand, "5 2");
    take(&stand, 5, 1);
    expect(&stand, "5 2");
    clear(&stand);
}

Test(inflight_area, ring_of_another_life_is_not_taken_for_this_one)
{
    struct stand stand;

    init(&stand, VDT_RING_SPLIT);
    guest_ring(&stand, 3, 0);
    take(&stand, 5, 1);
    vdt_area_ring_give(&stand.ring, 5);
    vdt_area_ring_publishing(&stand.ring, 1);
    vdt_area_ring_published(&stand.ring, 1);
    take(&stand, 6, 1);
    guest_ring(&stand, 0, 0); /* used index went back */
    cr_assert(read_back(&stand));
    cr_expect_not(stand.history.known);
    guest_ring(&stand, 1, 1); /* fewer available than are said to be in flight */
    cr_assert(read_back(&stand));
    cr_expect_not(stand.history.known);
    clear(&stand);
}

/* Offsets from the start of the region; one byte of an otherwise good area is changed. */
struct lie {
    enum vdt_ring_kind kind;
    const char *name;
    unsigned at;
    uint8_t value;
};

Test(inflight_area, area_that_no_backend_wrote_is_refused)
{
    static const struct lie lies[] = {
        {VDT_RING_SPLIT, "version", 8, 2},
        {VDT_RING_SPLIT, "entries", 10, NUM + 1},
        {VDT_RING_SPLIT, "last batch beyond the ring", 13, 0x40},
        {VDT_RING_PACKED, "version", 8, 0xff},
        {VDT_RING_PACKED, "entries", 10, NUM - 1},
        {VDT_RING_PACKED, "used beyond the ring", 16, NUM},
        {VDT_RING_PACKED, "old used beyond the ring", 18, NUM + 3},
        {VDT_RING_PACKED, "no slots", 32 + 6, 0},
        {VDT_RING_PACKED, "more slots than there are", 32 + 7, 1},
        {VDT_RING_PACKED, "chain that meets another", 32 + 2, 2},
        {VDT_RING_PACKED, "chain beyond the area", 32 + 3, 1},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(lies); i++) {
        struct stand stand;

        init(&stand, lies[i].kind);
        for (unsigned n = 0; n < NUM; n++)
            vdt_store16((uint8_t *) stand.box.mem.desc + 16 * n + 14, 0x80);
        if (lies[i].kind == VDT_RING_SPLIT)
            guest_ring(&stand, 3, 1);
        take(&stand, 0, lies[i].kind == VDT_RING_PACKED ? 2 : 1);
        take(&stand, 1, 1);
        if (lies[i].kind == VDT_RING_SPLIT) {
            vdt_area_ring_give(&stand.ring, 0);
            vdt_area_ring_publishing(&stand.ring, 1);
        }
        cr_assert(read_back(&stand), "%s: good before", lies[i].name);
        cr_assert(stand.history.known);
        cr_assert_eq(pwrite(stand.fd, &lies[i].value, 1, 4096 + lies[i].at), 1);
        cr_expect_not(read_back(&stand), "%s", lies[i].name);
        clear(&stand);
    }
    vdt_test_check_leaks();
}

/* --- an area of our own --- */

static void
init_own(struct stand *stand, enum vdt_ring_kind kind)
{
    struct vdt_ring_format format = {.kind = kind, .num = NUM, .indirect = true};
    g_autoptr(GError) error = NULL;

    *stand = (struct stand){0};
    stand->size = vdt_inflight_area_own_size(2, NUM);
    stand->fd = vdt_memfd("own", stand->size, NULL);
    stand->area = vdt_inflight_area_map_own(stand->fd, 2, NUM, &error);
    cr_assert(stand->area, "%s", error ? error->message : "");
    ring_box_init(&stand->box, format);
}

static void
open_own(struct stand *stand, uint64_t tag, const uint16_t *heads, uint32_t count)
{
    struct vdt_ring_pos pos = vdt_ring_pos_initial(stand->box.format.kind);

    vdt_inflight_area_save(stand->area, 1);
    cr_assert(vdt_area_ring_open(&stand->ring, stand->area, 1, &stand->box.format, tag, pos, heads,
                                 count));
}

/* Whatever is killed between save() and settled() leaves what was there before. */
Test(inflight_area, region_of_our_own_is_whole_while_it_is_written_anew)
{
    for (unsigned kind = 0; kind < 2; kind++) {
        struct stand stand;
        const uint16_t heads[] = {5, 3};

        init_own(&stand, kind ? VDT_RING_PACKED : VDT_RING_SPLIT);
        guest_ring(&stand, 2, 0);
        cr_assert(read_back(&stand));
        cr_expect_null(stand.history.requests, "nothing was written");
        open_own(&stand, 7, NULL, 0);
        cr_assert(read_back(&stand));
        cr_expect_null(stand.history.requests, "nor counts what is not settled");
        take(&stand, 5, 1);
        take(&stand, 3, 1);
        vdt_inflight_area_settled(stand.area, 1);
        for (unsigned step = 0; step < 4; step++) {
            /* A tracker after a crash: opened anew, and killed after @step of its takes. */
            if (step > 0)
                open_own(&stand, 8, heads, 2);
            if (step > 1)
                take(&stand, 5, 1);
            if (step > 2)
                take(&stand, 3, 1);
            cr_assert(read_back(&stand));
            cr_assert(stand.history.known);
            cr_expect_eq(stand.history.tag, 7, "step %u", step);
            cr_assert_eq(stand.history.requests->len, 2, "step %u", step);
            for (unsigned i = 0; i < 2; i++)
                cr_expect_eq(g_array_index(stand.history.requests, struct vdt_area_request, i).id,
                             heads[i] + (kind ? 40 : 0));
        }
        vdt_inflight_area_settled(stand.area, 1);
        cr_assert(read_back(&stand));
        cr_expect_eq(stand.history.tag, 8);
        cr_expect_eq(stand.history.requests->len, 2);
        vdt_inflight_area_forget(stand.area, 1);
        cr_assert(read_back(&stand));
        cr_expect_null(stand.history.requests);
        clear(&stand);
    }
}

Test(inflight_area, ring_that_a_device_works_on_says_so_and_since_when)
{
    struct stand stand;

    init_own(&stand, VDT_RING_SPLIT);
    open_own(&stand, 7, NULL, 0);
    take(&stand, 5, 1);
    vdt_inflight_area_settled(stand.area, 1);
    vdt_inflight_area_set_direct(stand.area, 1, 9, 300);
    guest_ring(&stand, 310, 305);
    cr_assert(read_back(&stand));
    cr_expect(stand.history.known && stand.history.direct);
    cr_expect_eq(stand.history.pos.used, 300);
    cr_expect_eq(stand.history.tag, 9);
    cr_expect_eq(stand.history.requests->len, 0);
    open_own(&stand, 10, NULL, 0);
    cr_assert(read_back(&stand));
    cr_expect(stand.history.direct, "until the ring is followed again");
    vdt_inflight_area_settled(stand.area, 1);
    cr_assert(read_back(&stand));
    cr_expect_not(stand.history.direct);
    clear(&stand);
}

Test(inflight_area, frontend_has_no_word_for_what_is_ours)
{
    struct stand stand;

    init(&stand, VDT_RING_SPLIT);
    guest_ring(&stand, 1, 0);
    take(&stand, 5, 1);
    vdt_inflight_area_save(stand.area, 1);
    vdt_inflight_area_settled(stand.area, 1);
    cr_assert(read_back(&stand));
    cr_expect_eq(stand.history.requests->len, 1);
    vdt_inflight_area_set_direct(stand.area, 1, 9, 300);
    cr_assert(read_back(&stand));
    cr_expect_not(stand.history.known);
    clear(&stand);
}
