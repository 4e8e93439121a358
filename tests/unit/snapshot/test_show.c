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

Test(show, source_and_faults_are_told)
{
    static const char *const words[] = {
        "its device can         suspend resume ring_state",
        "its device's rings     5, of up to 1024 entries",
        "as far as the device said it wrote",
        "driven by the tracker",
        "300 followed, 2 answered ERR",
        "7 requests may have run twice",
        "broken: descriptor chain loops",
        "broken: fault 999",
        NULL,
    };

    expect_words("v2-unmigratable", words);
}

Test(show, control_state_survives_its_json)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(11);

    for (unsigned i = 0; i < 300; i++) {
        VDT_AUTO(snapshot) s = sample_random(rand);
        struct vdt_net_state back;
        /* In JSON RSS stands for the pairs as well. */
        if (s->net.set & VDT_NET_RSS)
            s->net.set &= ~(uint32_t) VDT_NET_PAIRS;
        g_autoptr(JsonNode) node = vdt_net_state_to_json(&s->net);
        vdt_net_state_from_json(node, &back);
        g_autoptr(GPtrArray) lines = vdt_net_state_diff(&s->net, &back);
        g_autofree char *text = vdt_net_state_to_text(&s->net);
        g_autofree char *text_back = vdt_net_state_to_text(&back);

        cr_assert_eq(lines->len, 0, "%u: %s", i, (char *) lines->pdata[0]);
        cr_assert_str_eq(text, text_back);
    }
}

Test(show, control_json_of_another_shape_is_unset)
{
    static const char *const texts[] = {
        "null",
        "[]",
        "{}",
        "{\"mac\":7,\"rx\":[],\"mac_table\":\"x\",\"vlans\":{},\"queue_pairs\":[],\"rss\":1}",
        "{\"hash\":[],\"guest_offloads\":5,\"coalescing\":[1],\"announce\":{}}",
        "{\"mac\":\"52:54\",\"rx\":{\"promisc\":null},\"coalescing\":{\"rings\":[{\"ring\":64}]}}",
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(JsonNode) node = json_from_string(texts[i], NULL);
        struct vdt_net_state state;

        vdt_net_state_from_json(node, &state);
        cr_assert_eq(state.set, 0, "%s: 0x%x", texts[i], state.set);
        cr_assert_not(state.announce);
    }
    struct vdt_net_state state;
    vdt_net_state_from_json(NULL, &state);
    cr_assert_eq(state.set, 0);
}
