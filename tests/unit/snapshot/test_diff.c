/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <string.h>

#include "sample.h"
#include "virtio/features.h"

VDT_SUITE(diff);

static void
expect_line(GPtrArray *lines, const char *line)
{
    g_autoptr(GString) all = g_string_new(NULL);

    for (guint i = 0; i < lines->len; i++) {
        g_string_append_printf(all, "%s\n", (char *) lines->pdata[i]);
        if (strcmp(lines->pdata[i], line) == 0)
            return;
    }
    cr_assert_fail("\"%s\" is not in\n%s", line, all->str);
}

Test(diff, equal_snapshots_have_none)
{
    for (const struct sample *sample = samples; sample->name; sample++) {
        VDT_AUTO(snapshot) a = sample->make();
        VDT_AUTO(snapshot) b = sample->make();
        g_autoptr(GPtrArray) lines = vdt_snapshot_diff(a, b);
        cr_assert_eq(lines->len, 0, "%s: %s", sample->name, (char *) lines->pdata[0]);
    }
}

Test(diff, each_difference_is_one_line_with_its_path)
{
    VDT_AUTO(snapshot) a = sample_split();
    VDT_AUTO(snapshot) b = sample_split();
    b->live = true;
    b->rings[3].num = 512;
    b->rings[0].requests[1].id = 8;
    b->guest_features |= VDT_BIT(VIRTIO_NET_F_CSUM);
    b->guest_features &= ~VDT_BIT(VIRTIO_NET_F_MTU);
    b->unmigratable = g_strdup("why");
    b->created_us++;
    b->net.rx[0] = true;
    b->config[10] = 0x28;
    b->config[11] = 0x23;
    g_autoptr(GPtrArray) lines = vdt_snapshot_diff(a, b);

    expect_line(lines, "live: false -> true");
    expect_line(lines, "rings[3].num: 256 -> 512");
    expect_line(lines, "rings[0].in_flight[1].id: 7 -> 8");
    expect_line(lines,
                "features.guest: 0x100cf0028 -> 0x100cf0021; only in A: MTU; only in B: CSUM");
    expect_line(lines, "unmigratable: null -> \"why\"");
    expect_line(lines, "config.mtu: 1500 -> 9000");
    expect_line(lines, "control: promiscuous: off in A, on in B");
    cr_assert_eq(lines->len, 8); /* config.hex too */
}

Test(diff, who_wrote_it_when_and_how_is_shown_and_does_not_count)
{
    VDT_AUTO(snapshot) a = sample_split();
    VDT_AUTO(snapshot) b = sample_split();
    g_autoptr(GPtrArray) by_nature = NULL;
    a->format = 1;
    b->created_us++;
    g_free(b->tool_version);
    b->tool_version = g_strdup("0.2.0");
    b->source = (struct vdt_snapshot_source){.known = true, .rings = 3};
    g_autoptr(GPtrArray) lines = vdt_snapshot_diff_all(a, b, &by_nature);
    g_autoptr(GPtrArray) counted = vdt_snapshot_diff(a, b);

    cr_assert_eq(lines->len, 0, "%s", (char *) lines->pdata[0]);
    cr_assert_eq(counted->len, 0);
    expect_line(by_nature, "format: 1 -> 2");
    expect_line(by_nature, "identity.created: \"2023-11-14T22:13:20.123456Z\" -> "
                           "\"2023-11-14T22:13:20.123457Z\"");
    expect_line(by_nature, "identity.tool_version: \"0.1.0\" -> \"0.2.0\"");
    cr_assert_eq(by_nature->len, 4); /* source too */
}

Test(diff, who_and_where_it_is_counts)
{
    VDT_AUTO(snapshot) a = sample_split();
    VDT_AUTO(snapshot) b = sample_split();
    g_free(b->name);
    b->name = g_strdup("web2-net0");
    b->rings[1].fault = VDT_FAULT_LOOP;
    g_autoptr(GPtrArray) lines = vdt_snapshot_diff(a, b);

    expect_line(lines, "identity.name: \"web1-net0\" -> \"web2-net0\"");
    expect_line(lines,
                "rings[1].fault: null -> {\"number\":4,\"text\":\"descriptor chain loops\"}");
    cr_assert_eq(lines->len, 2);
}

Test(diff, what_only_one_has_is_absent_in_the_other)
{
    VDT_AUTO(snapshot) a = sample_split();
    VDT_AUTO(snapshot) b = sample_split();
    b->rings[0].request_count = 2;
    g_autoptr(GPtrArray) lines = vdt_snapshot_diff(a, b);

    expect_line(lines, "rings[0].in_flight[2]: {\"id\":0,\"slots\":1} -> absent");
    cr_assert_eq(lines->len, 1);
}
