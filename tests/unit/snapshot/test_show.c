/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include <string.h>

#include "sample.h"

VDT_SUITE(show);

static struct vdt_snapshot *
named(const char *name)
{
    for (const struct sample *sample = samples; sample->name; sample++) {
        if (strcmp(sample->name, name) == 0)
            return sample->make();
    }
    cr_assert_fail("no sample %s", name);
    return NULL;
}

static void
expect_words(const char *sample, const char *const *words)
{
    VDT_AUTO(snapshot) s = named(sample);
    g_autofree char *text = vdt_snapshot_to_text(s);

    for (; *words; words++)
        cr_assert(strstr(text, *words), "\"%s\" is not in\n%s", *words, text);
}

Test(show, features_are_named_and_long_lists_folded)
{
    static const char *const words[] = {
        "CTRL_VQ CTRL_RX",    "1-100, 200, 4094",          "25000 Mbit/s", "52:54:00:00:00:02",
        "8 entries: 0 1 0 1", "promiscuous            on", NULL,
    };

    expect_words("v1-control", words);
}

Test(show, empty_is_shown_and_unset_is_not)
{
    static const char *const words[] = {
        "unicast table          0",
        "vlans                  none",
        "guest offloads         none",
        "promiscuous            off",
        NULL,
    };
    VDT_AUTO(snapshot) s = named("v1-empty");
    g_autofree char *text = vdt_snapshot_to_text(s);

    expect_words("v1-control-empty", words);
    cr_assert_null(strstr(text, "vlans"));
    cr_assert(strstr(text, "default)\n  nothing\n"));
}

Test(show, packed_positions_have_a_wrap_counter)
{
    static const char *const words[] = {"2/0", "297/1", "2: 48879, 3", NULL};

    expect_words("v1-packed", words);
}

Test(show, a_live_snapshot_and_its_guesses_say_so)
{
    static const char *const words[] = {"live (control state only)", "3 (guessed): 200, 7, 0",
                                        "no: the guest used command 9/1", "b\xc3\xbcro", NULL};

    expect_words("v1-live", words);
}

Test(show, no_line_is_wider_than_a_terminal)
{
    for (const struct sample *sample = samples; sample->name; sample++) {
        VDT_AUTO(snapshot) s = sample->make();
        g_autofree char *text = vdt_snapshot_to_text(s);
        g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
        for (char **line = lines; *line; line++)
            cr_assert_leq(strlen(*line), 140, "%s: %s", sample->name, *line);
    }
}

Test(show, json_tells_unset_from_empty)
{
    VDT_AUTO(snapshot) a = named("v1-control-empty");
    VDT_AUTO(snapshot) b = named("v1-empty");
    g_autoptr(JsonNode) empty = vdt_net_state_to_json(&a->net);
    g_autoptr(JsonNode) unset = vdt_net_state_to_json(&b->net);
    JsonObject *e = json_node_get_object(empty), *u = json_node_get_object(unset);

    cr_assert_eq(json_array_get_length(json_object_get_array_member(e, "vlans")), 0);
    cr_assert(json_object_get_null_member(u, "vlans"));
    cr_assert(json_object_get_null_member(u, "mac_table"));
    cr_assert(json_object_get_null_member(u, "queue_pairs"));
    cr_assert(json_object_get_null_member(json_object_get_object_member(u, "rx"), "promisc"));
}
