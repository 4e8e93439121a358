/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <limits.h>
#include <stdio.h>

#include "tools/vdpa-tracker/verb.h"

#include "migration/baseline.h"
#include "virtio/features.h"

/* What the user wrote is a device if it begins like one, else a file. */
static bool
offer_of(const char *word, struct vdt_baseline *offer, GError **error)
{
    if (g_str_has_prefix(word, "sim:") || g_str_has_prefix(word, "vhost-vdpa:")) {
        VDT_AUTO(device) dev = vdt_device_open(word, error);
        return dev && vdt_baseline_of_device(offer, dev, error);
    }
    if (vdt_baseline_is_file(word))
        return vdt_baseline_load(offer, word, error);
    VDT_AUTO(snapshot) snapshot = vdt_snapshot_load(word, error);
    return snapshot && vdt_baseline_of_snapshot(offer, snapshot, error);
}

/* A comment stays one whatever a file is called. */
static void
print_word(const char *word)
{
    for (; *word; word++)
        putchar(g_ascii_iscntrl(*word) ? '?' : *word);
}

/* What some of them have beyond what all have, and who lacks it. */
static void
print_left_out(const struct vdt_baseline *all, const struct vdt_baseline *offers, char **words,
               int count)
{
    uint64_t any = 0;

    for (int i = 0; i < count; i++)
        any |= offers[i].features;
    for (unsigned bit = 0; bit < 64; bit++) {
        g_autofree char *name = vdt_features_to_string(VIRTIO_ID_NET, VDT_BIT(bit));
        bool lacks = false;

        if (!((any & ~all->features) >> bit & 1))
            continue;
        printf("# without %s:", name);
        for (int i = 0; i < count; i++) {
            if (offers[i].features >> bit & 1)
                continue;
            printf("%s", lacks ? ", " : " ");
            print_word(words[i]);
            lacks = true;
        }
        puts(lacks ? "" : " what it builds on differs");
    }
}

static void
print_baseline(const struct vdt_baseline *all, const struct vdt_baseline *offers, char **words,
               int count)
{
    g_autofree char *text = vdt_baseline_to_text(all);
    uint64_t mac = VDT_BIT(VIRTIO_NET_F_MAC), set_mac = VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR);

    puts("# What each of these devices can give a guest (vdpa-tracker-baseline(5)):");
    for (int i = 0; i < count; i++) {
        fputs("#   ", stdout);
        print_word(words[i]);
        putchar('\n');
    }
    print_left_out(all, offers, words, count);
    if (all->features & mac && !(all->features & set_mac))
        puts("# A guest goes only to devices with its MAC address: not all can be told another.");
    fputs(text, stdout);
}

int
vdt_verb_baseline(const struct vdt_verb *verb, int argc, char **argv)
{
    GError *error = NULL;
    int exit_code;

    if (!vdt_verb_parse(verb, NULL, &argc, &argv, 1, INT_MAX, &exit_code))
        return exit_code;
    int count = argc - 1;
    g_autofree struct vdt_baseline *offers = g_new0(struct vdt_baseline, count);
    struct vdt_baseline all = {0};
    for (int i = 0; i < count; i++) {
        if (!offer_of(argv[i + 1], &offers[i], &error))
            return vdt_verb_fail(false, error);
        if (i == 0)
            all = offers[0];
        else
            vdt_baseline_narrow(&all, &offers[i]);
    }
    print_baseline(&all, offers, argv + 1, count);
    return VDT_EXIT_DONE;
}
