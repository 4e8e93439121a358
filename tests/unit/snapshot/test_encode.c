/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <string.h>

#include "sample.h"

VDT_SUITE(encode);

static void
expect_round_trip(const struct vdt_snapshot *s, const char *name)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) bytes = vdt_snapshot_encode(s, &error);
    cr_assert_not_null(bytes, "%s: %s", name, error ? error->message : "");

    gsize len;
    const uint8_t *data = g_bytes_get_data(bytes, &len);
    VDT_AUTO(snapshot) back = vdt_snapshot_decode(data, len, &error);
    cr_assert_not_null(back, "%s: %s", name, error ? error->message : "");
    g_autofree char *difference = sample_difference(s, back);
    cr_assert_null(difference, "%s: %s", name, difference);

    g_autoptr(GBytes) again = vdt_snapshot_encode(back, &error);
    cr_assert(again && g_bytes_equal(bytes, again), "%s: not canonical", name);
}

Test(encode, samples_survive)
{
    for (const struct sample *sample = samples; sample->name; sample++) {
        VDT_AUTO(snapshot) s = sample->make();
        expect_round_trip(s, sample->name);
    }
}

Test(encode, random_snapshots_survive_and_are_canonical)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(20240501);

    for (unsigned i = 0; i < 2500; i++) {
        g_autofree char *name = g_strdup_printf("random %u", i);
        VDT_AUTO(snapshot) s = sample_random(rand);
        expect_round_trip(s, name);
    }
}

Test(encode, leftovers_of_unset_groups_leave_no_trace)
{
    VDT_AUTO(snapshot) a = sample_split();
    VDT_AUTO(snapshot) b = sample_split();
    memset(b->net.vlan, 0xff, sizeof(b->net.vlan));
    b->net.unicast_count = 3;
    b->net.rss.key_len = 40;
    b->net.guest_offloads = 5;
    g_autoptr(GBytes) x = vdt_snapshot_encode(a, NULL);
    g_autoptr(GBytes) y = vdt_snapshot_encode(b, NULL);

    cr_assert(x && y && g_bytes_equal(x, y));
}

Test(encode, invalid_snapshot_is_not_encoded)
{
    g_autoptr(GError) error = NULL;
    VDT_AUTO(snapshot) s = sample_split();

    s->rings[0].requests[1].id = 256;
    g_autoptr(GBytes) bytes = vdt_snapshot_encode(s, &error);
    cr_assert_null(bytes);
    cr_assert(strstr(error->message, "head 256 of a ring of 256"), "%s", error->message);
}

Test(encode, more_in_flight_than_a_reader_accepts_is_refused)
{
    g_autoptr(GError) error = NULL;
    VDT_AUTO(snapshot) s = sample_packed();
    struct vdt_snapshot_ring *ring = &s->rings[0];
    uint32_t segs = 2 * VDT_RING_MAX, requests = 20;

    ring->num = VDT_RING_MAX;
    ring->exact = false;
    ring->request_count = requests;
    ring->requests = g_renew(struct vdt_snapshot_request, ring->requests, requests);
    for (uint32_t i = 0; i < requests; i++)
        ring->requests[i] = (struct vdt_snapshot_request){
            .id = (uint16_t) i, .slots = 1, .segs = segs, .seg = i * segs};
    g_free(ring->segs);
    ring->seg_count = segs * requests;
    ring->segs = g_new0(struct vdt_seg, ring->seg_count);
    g_autoptr(GBytes) bytes = vdt_snapshot_encode(s, &error);
    cr_assert_null(bytes);
    cr_assert(strstr(error->message, "too many requests"), "%s", error->message);
}
