/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <string.h>

#include "sample.h"
#include "virtio/features.h"

VDT_SUITE(validate);

static void
replace(char **text, const char *with)
{
    g_free(*text);
    *text = g_strdup(with);
}

#define SPOIL(name, code)                                                                          \
    static void name(struct vdt_snapshot *s)                                                       \
    {                                                                                              \
        code;                                                                                      \
    }

SPOIL(unknown_part, s->must_understand = 1)
SPOIL(device_type, s->device_id = 3)
SPOIL(before_1970, s->created_us = -1)
SPOIL(after_9999, s->created_us = INT64_MAX)
SPOIL(no_reason, s->unmigratable = g_strdup(""))
SPOIL(escape, replace(&s->name, "a\033[2J"))
SPOIL(newline, replace(&s->driver, "a\nb"))
SPOIL(latin1, replace(&s->device, "b\xfcro"))
SPOIL(direction, replace(&s->uuid, "\xe2\x80\xae"))
SPOIL(long_name, g_free(s->name); s->name = g_strnfill(256, 'x'))
SPOIL(long_config, s->config_len = VDT_CONFIG_MAX + 1)
SPOIL(not_offered, s->guest_features |= VDT_BIT(VIRTIO_NET_F_RSS))
SPOIL(legacy, s->guest_features &= ~VDT_BIT(VIRTIO_F_VERSION_1))
SPOIL(nothing_taken, s->guest_features = 0)
SPOIL(legacy_device, s->negotiated_features &= ~VDT_BIT(VIRTIO_F_VERSION_1))
SPOIL(too_many_rings, s->ring_count = VDT_RINGS_MAX + 1)
SPOIL(control_beyond, s->cvq_index = 5)
SPOIL(control_negative, s->cvq_index = -2)
SPOIL(control_odd, s->cvq_index = 3)
SPOIL(control_first, s->cvq_index = 0)
SPOIL(odd_size, s->rings[1].num = 100)
SPOIL(large_size, s->rings[1].num = 65535)
SPOIL(no_size, s->rings[1].num = 0)
SPOIL(far_ahead, s->rings[1].pos.avail = (uint16_t) (s->rings[1].pos.used + 257))
SPOIL(head, s->rings[0].requests[2].id = 256)
SPOIL(head_twice, s->rings[0].requests[2].id = 200)
SPOIL(no_slots, s->rings[0].requests[2].slots = 0)
SPOIL(many_slots, s->rings[0].requests[2].slots = 254)
SPOIL(split_segs, s->rings[0].requests[2].segs = 1)
SPOIL(not_listed, s->rings[0].request_count = 2)
SPOIL(listed_too_much, s->rings[0].pos.used = 0)
SPOIL(no_pairs, s->net.queue_pairs = 0)
SPOIL(pairs, s->net.queue_pairs = 3)
SPOIL(coal, s->net.set |= VDT_NET_COAL_VQ; s->net.vq_coal_set[0] = 1u << 4)
SPOIL(groups, s->net.set |= 1u << 20)
SPOIL(net_of_block, s->device_id = 2; s->cvq_index = -1)
SPOIL(control_of_block, s->device_id = 2)
SPOIL(rss, s->net.set |= VDT_NET_RSS; s->net.rss.table_len = 2; s->net.rss.max_tx_vq = 1;
      s->net.rss.table[1] = 2)
SPOIL(rss_rest, s->net.set |= VDT_NET_RSS; s->net.rss.table_len = 1; s->net.rss.max_tx_vq = 1;
      s->net.rss.unclassified = 2)

struct row {
    const char *name;
    void (*spoil)(struct vdt_snapshot *s);
    const char *reason;
};

static void
expect_rows(const struct row *rows, unsigned count, struct vdt_snapshot *(*make)(void) )
{
    for (unsigned i = 0; i < count; i++) {
        g_autoptr(GError) error = NULL;
        VDT_AUTO(snapshot) s = make();
        cr_assert(vdt_snapshot_validate(s, &error), "%s", error ? error->message : "");
        rows[i].spoil(s);
        cr_assert_not(vdt_snapshot_validate(s, &error), "%s: accepted", rows[i].name);
        cr_assert(strstr(error->message, rows[i].reason), "%s: %s", rows[i].name, error->message);
    }
}

Test(validate, what_is_out_of_range_is_refused_by_name)
{
    static const struct row rows[] = {
        {"unknown part", unknown_part, "must_understand 0x1"},
        {"device type", device_type, "device type 3"},
        {"before 1970", before_1970, "creation time of -1"},
        {"after 9999", after_9999, "creation time"},
        {"no reason", no_reason, "without a reason"},
        {"escape", escape, "tracker's name has an unprintable character at byte 1"},
        {"newline", newline, "driver's name has an unprintable"},
        {"latin1", latin1, "device's name is not UTF-8"},
        {"direction", direction, "UUID has an unprintable"},
        {"long name", long_name, "longer than 255"},
        {"long config", long_config, "257 bytes of config space"},
        {"not offered", not_offered, "not offered: RSS"},
        {"legacy", legacy, "guest did not negotiate VERSION_1"},
        {"nothing taken", nothing_taken, "guest did not negotiate VERSION_1"},
        {"legacy device", legacy_device, "not negotiated with the device"},
        {"too many rings", too_many_rings, "66 rings"},
        {"control beyond", control_beyond, "control queue 5 of 5"},
        {"control negative", control_negative, "control queue -2"},
        {"control odd", control_odd, "ring 3 as control queue"},
        {"control first", control_first, "ring 0 as control queue"},
        {"odd size", odd_size, "ring 1 has the size 100"},
        {"large size", large_size, "ring 1 has the size 65535"},
        {"no size", no_size, "ring 1 has no size"},
        {"far ahead", far_ahead, "ring 1 of 256 stands at the impossible"},
        {"head", head, "head 256 of a ring of 256"},
        {"head twice", head_twice, "head 200 is in flight twice"},
        {"no slots", no_slots, "takes no descriptor"},
        {"many slots", many_slots, "of 257 descriptors are in flight"},
        {"split segs", split_segs, "segments with a split ring"},
        {"not listed", not_listed, "lists 2 requests in flight, its positions say 3"},
        {"listed too much", listed_too_much, "lists 3 requests in flight, its positions say 2"},
        {"no pairs", no_pairs, "0 queue pairs"},
        {"pairs", pairs, "3 queue pairs with 4 data rings"},
        {"coalescing", coal, "coalescing of ring 4 with 4 data rings"},
        {"groups", groups, "unknown groups"},
        {"net of block", net_of_block, "network control state of a device that is none"},
        {"control of block", control_of_block, "only network devices have"},
        {"rss", rss, "names receive queue 2"},
        {"rss rest", rss_rest, "sends the rest to receive queue 2"},
    };

    expect_rows(rows, G_N_ELEMENTS(rows), sample_split);
}

SPOIL(
    not_packed, s->packed = false; for (unsigned i = 0; i < 3; i++) {
        s->rings[i].num = 256;
        s->rings[i].pos.avail = s->rings[i].pos.used = 0;
        s->rings[i].request_count = s->rings[i].seg_count = 0;
    })
SPOIL(slot_beyond, s->rings[0].pos.avail = 300)
SPOIL(large_packed, s->rings[0].num = 32769)
SPOIL(seg_gap, s->rings[0].requests[1].seg = 3)
SPOIL(seg_many, s->rings[0].requests[1].segs = 4)
SPOIL(seg_few, s->rings[0].requests[1].segs = 2)
SPOIL(seg_wrap, s->rings[0].requests[1].segs = UINT32_MAX)
SPOIL(seg_flags, s->rings[0].segs[0].flags = VDT_SEG_INDIRECT)
SPOIL(seg_end, s->rings[0].segs[0].addr = UINT64_MAX)
SPOIL(seg_order, s->rings[0].segs[0].flags = VDT_SEG_WRITE; s->rings[0].segs[1].flags = 0)
SPOIL(seg_bytes, s->rings[0].segs[0].len = s->rings[0].segs[1].len = 1u << 31)
SPOIL(packed_distance, s->rings[1].pos.used = 0x8000 | 253)
SPOIL(packed_lap, s->rings[1].pos.used = 254)

Test(validate, packed_requests_out_of_range_are_refused_by_name)
{
    static const struct row rows[] = {
        {"other kind", not_packed, "the guest negotiated the other kind"},
        {"slot", slot_beyond, "impossible position 0x12c"},
        {"size", large_packed, "ring 0 has the size 32769"},
        {"gap", seg_gap, "segments 3..6 instead of 2.."},
        {"many segments", seg_many, "segments 2..6"},
        {"few segments", seg_few, "ring 0 has 5 segments, its requests have 4"},
        {"segments wrap", seg_wrap, "segments 2..4294967297"},
        {"flags", seg_flags, "with the flags 0x4"},
        {"past the end", seg_end, "past the last address"},
        {"order", seg_order, "readable segment behind a writable one"},
        {"bytes", seg_bytes, "has 4294967296 bytes"},
        {"distance", packed_distance, "lists 1 descriptors in flight, its positions say 2"},
        {"lap", packed_lap, "impossible position"},
    };

    expect_rows(rows, G_N_ELEMENTS(rows), sample_packed);
}

SPOIL(table_short, s->rings[1].requests[0].table_len = 32)
SPOIL(table_nowhere, s->rings[1].requests[0].table_len = 0)
SPOIL(table_end, s->rings[1].requests[0].table_addr = UINT64_MAX - 40)
SPOIL(table_of_two, s->rings[1].requests[1].table_addr = 64; s->rings[1].requests[1].table_len = 32)

Test(validate, tables_that_are_not_those_of_their_request_are_refused_by_name)
{
    static const struct row rows[] = {
        {"short", table_short, "a table of 32 bytes for 3 segments in 1 descriptors"},
        {"nowhere", table_nowhere, "a table of 0 bytes"},
        {"end", table_end, "a table that reaches past the last address"},
        {"of two descriptors", table_of_two, "for 2 segments in 2 descriptors"},
    };

    expect_rows(rows, G_N_ELEMENTS(rows), sample_indirect);
}

Test(validate, a_table_of_a_split_ring_is_refused)
{
    VDT_AUTO(snapshot) s = sample_split();
    g_autoptr(GError) error = NULL;

    s->rings[0].requests[0].table_len = 16;
    cr_assert_not(vdt_snapshot_validate(s, &error));
    cr_assert(strstr(error->message, "with a split ring"), "%s", error->message);
}

Test(validate, live_and_guessed_rings_need_not_agree_with_their_positions)
{
    g_autoptr(GError) error = NULL;
    VDT_AUTO(snapshot) live = sample_split();
    VDT_AUTO(snapshot) guessed = sample_split();

    live->live = true;
    live->rings[1].pos.avail++;
    cr_assert(vdt_snapshot_validate(live, &error), "%s", error ? error->message : "");
    guessed->rings[1].exact = false;
    guessed->rings[1].pos.avail++;
    cr_assert(vdt_snapshot_validate(guessed, &error), "%s", error ? error->message : "");
}
