/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "tools/vdpa-tracker/rx_filter.h"

#include <string.h>

VDT_SUITE(rx_filter);

#define MAC "\"main-mac\": \"52:54:00:00:00:01\","
#define TABLES "\"unicast-table\": [\"52:54:00:00:00:02\"], \"multicast-table\": [],"
#define NORMAL "\"unicast\": \"normal\", \"multicast\": \"normal\""

/* What QEMU says, and what the device is to let through. */
static const struct {
    const char *nic;
    bool promisc, allmulti;
    unsigned unicast;
} answers[] = {
    {MAC TABLES NORMAL, false, false, 1},
    {MAC TABLES NORMAL ", \"promiscuous\": true", true, false, 1},
    {MAC TABLES "\"unicast\": \"all\", \"multicast\": \"all\"", true, true, 0},
    {MAC TABLES NORMAL ", \"unicast-overflow\": true, \"multicast-overflow\": true", true, true, 0},
    /* No table, no address in it, no list: more, not less. */
    {MAC NORMAL, true, true, 0},
    {MAC "\"unicast-table\": [\"52:54:00:00:00\"], \"multicast-table\": [],", true, false, 0},
    {MAC "\"unicast-table\": [7], \"multicast-table\": [null],", true, true, 0},
    {MAC "\"unicast-table\": {}, \"multicast-table\": \"\",", true, true, 0},
    {MAC "\"unicast-table\": [\"52:54:00:00:00:0g\"], \"multicast-table\": [],", true, false, 0},
};

Test(rx_filter, what_cannot_be_told_lets_more_through)
{
    struct vdt_rx_filter *filter = g_new0(struct vdt_rx_filter, 1);

    for (size_t i = 0; i < G_N_ELEMENTS(answers); i++) {
        g_autofree char *text = g_strdup_printf("[{%s, \"name\": \"net0\"}]", answers[i].nic);
        g_autoptr(GError) error = NULL;
        char *tail = strstr(text, ",, ");

        if (tail)
            memmove(tail, tail + 1, strlen(tail));
        g_autoptr(JsonNode) node = json_from_string(text, NULL);
        cr_assert(node, "%s", text);
        cr_assert(vdt_rx_filter_parse(node, "net0", filter, &error), "row %zu: %s", i,
                  error ? error->message : "");
        cr_expect_eq(filter->promisc, answers[i].promisc, "row %zu", i);
        cr_expect_eq(filter->allmulti, answers[i].allmulti, "row %zu", i);
        if (!filter->promisc)
            cr_expect_eq(filter->unicast_count, answers[i].unicast, "row %zu", i);
        cr_expect_eq(filter->mac[5], 1);
    }
    g_free(filter);
}

Test(rx_filter, table_that_does_not_fit_is_everything)
{
    g_autoptr(GString) text = g_string_new("[{" MAC NORMAL ", \"unicast-table\": [],"
                                           "\"multicast-table\": [");
    struct vdt_rx_filter *filter = g_new0(struct vdt_rx_filter, 1);

    for (unsigned i = 0; i <= VDT_MAC_TABLE_MAX; i++)
        g_string_append_printf(text, "%s\"01:00:5e:00:%02x:%02x\"", i ? "," : "", i >> 8, i & 255);
    g_string_append(text, "]}]");
    g_autoptr(JsonNode) node = json_from_string(text->str, NULL);
    cr_assert(vdt_rx_filter_parse(node, NULL, filter, NULL));
    cr_expect(filter->allmulti);
    cr_expect_eq(filter->multicast_count, 0);
    cr_expect(!filter->promisc);
    g_free(filter);
}

static const struct {
    const char *words;
    unsigned vlans;
} vlans[] = {
    {"\"vlan\": \"normal\", \"vlan-table\": [0, 5, 4095, 5]", 3},
    {"\"vlan\": \"none\", \"vlan-table\": []", 0},
    /* The guest has no say, or nobody understands it. */
    {"\"vlan\": \"all\", \"vlan-table\": [5]", 4096},
    {"\"vlan\": \"normal\"", 4096},
    {"\"vlan-table\": [5]", 4096},
    {"\"vlan\": \"normal\", \"vlan-table\": [5, 4096]", 4096},
    {"\"vlan\": \"normal\", \"vlan-table\": [-1]", 4096},
    {"\"vlan\": \"normal\", \"vlan-table\": [\"5\"]", 4096},
    {"\"vlan\": 1, \"vlan-table\": {}", 4096},
};

Test(rx_filter, vlans_that_are_not_told_all_pass)
{
    struct vdt_rx_filter *filter = g_new0(struct vdt_rx_filter, 1);

    for (size_t i = 0; i < G_N_ELEMENTS(vlans); i++) {
        g_autofree char *text = g_strdup_printf("[{" MAC TABLES NORMAL ", %s}]", vlans[i].words);
        g_autoptr(JsonNode) node = json_from_string(text, NULL);

        cr_assert(node && vdt_rx_filter_parse(node, NULL, filter, NULL), "row %zu", i);
        cr_expect_eq(filter->vlan_count, vlans[i].vlans, "row %zu: %u", i, filter->vlan_count);
        cr_expect(vlans[i].vlans == 0 || vdt_vlan_test(filter->vlan, 5), "row %zu", i);
    }
    g_free(filter);
}

static const struct {
    const char *text, *device;
} refused[] = {
    {"[]", NULL},
    {"{}", NULL},
    {"[{}]", NULL},
    {"[{\"main-mac\": 5}]", NULL},
    {"[{" MAC " \"name\": \"a\"}, {" MAC " \"name\": \"b\"}]", NULL},
    {"[{" MAC " \"name\": \"a\"}]", "b"},
};

Test(rx_filter, answer_without_that_nic_or_its_address_is_none)
{
    struct vdt_rx_filter *filter = g_new0(struct vdt_rx_filter, 1);

    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++) {
        g_autoptr(JsonNode) node = json_from_string(refused[i].text, NULL);
        g_autoptr(GError) error = NULL;

        cr_expect(!vdt_rx_filter_parse(node, refused[i].device, filter, &error), "row %zu", i);
        cr_expect(error != NULL);
    }
    cr_expect(!vdt_rx_filter_parse(NULL, NULL, filter, NULL));
    g_free(filter);
}
