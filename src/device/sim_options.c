/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/sim_options.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vdpa-tracker/error.h>

#include "virtio/features.h"

enum kind { FLAG, NUMBER, MASK, TEXT, MAC, RANGE, COMMAND, FEATURE };

struct option {
    const char *name;
    enum kind kind;
    size_t offset;
    uint32_t min, max;
    const char *value; /* as --help shows it */
    const char *help;
};

#define AT(field) offsetof(struct vdt_sim_options, field)
#define FLAG_ROW(name, field, help)                                                                \
    {                                                                                              \
        name, FLAG, AT(field), 0, 0, NULL, help                                                    \
    }

static const struct option table[] = {
    {"pairs", NUMBER, AT(pairs), 1, VDT_SIM_PAIRS_MAX, "N", "queue pairs (default 1)"},
    {"num", NUMBER, AT(num), 2, 32768, "N", "largest ring size (default 256)"},
    {"mac", MAC, AT(mac), 0, 0, "MAC", "address it is made with (default 52:54:00:73:69:6d)"},
    {"mtu", NUMBER, AT(mtu), 68, 65535, "N", "MTU that it advises (default 1500)"},
    {"speed", NUMBER, AT(speed), 0, INT32_MAX, "MBIT", "link speed (default 10000)"},
    {"features", MASK, AT(features_and), 0, 0, "HEX", "offer only these of its features"},
    {"+NAME", FEATURE, 0, 0, 0, NULL, "offer this feature, for example +IN_ORDER"},
    {"-NAME", FEATURE, 0, 0, 0, NULL, "do not offer this feature, for example -RING_PACKED"},
    {"iova", RANGE, AT(iova_first), 0, 0, "FIRST-LAST", "IOVA range, inclusive"},
    FLAG_ROW("in-order", in_order, "uses chains in order, and offers IN_ORDER"),
    FLAG_ROW("no-packed", no_packed, "offers split rings only"),
    FLAG_ROW("no-event-idx", no_event_idx, "does not offer EVENT_IDX"),
    FLAG_ROW("no-indirect", no_indirect, "does not offer INDIRECT_DESC"),
    FLAG_ROW("no-cvq", no_cvq, "has no control queue"),
    FLAG_ROW("no-rss", no_rss, "offers neither RSS nor HASH_REPORT"),

    FLAG_ROW("loop", loop, "what it sends comes back on the same pair (the default back end)"),
    FLAG_ROW("null", null, "what it sends is gone"),
    {"tap", TEXT, AT(tap), 0, 0, "NAME", "the wire is this tap interface"},
    {"pair", TEXT, AT(pair), 0, 0, "NAME", "the wire ends at the other sim with this name"},
    {"backlog", NUMBER, AT(backlog), 1, 1u << 20, "N",
     "frames kept for want of receive buffers (default 1024)"},

    {"latency", NUMBER, AT(latency), 0, 10000000, "USEC", "each request takes at least that long"},
    {"hold", NUMBER, AT(hold), 0, 32768, "N", "keeps up to N requests of a ring in flight"},
    FLAG_ROW("ooo", out_of_order, "uses chains out of order"),
    {"seed", NUMBER, AT(seed), 0, UINT32_MAX, "N", "of what is random (default 1)"},
    FLAG_ROW("kick-only", kick_only, "looks at a ring only after a kick"),

    FLAG_ROW("no-asid", no_asid, "one group and one address space"),
    FLAG_ROW("no-suspend", no_suspend, "cannot suspend nor tell ring state, like vp_vdpa"),
    FLAG_ROW("no-resume", no_resume, "cannot resume"),
    FLAG_ROW("no-base", no_base, "rings start at the initial position only"),
    FLAG_ROW("no-readdress", no_readdress, "rings cannot be moved while suspended"),
    FLAG_ROW("no-enable-after-driver-ok", no_enable_after_driver_ok,
             "rings are enabled before DRIVER_OK or never"),
    FLAG_ROW("no-disable", no_disable, "disabling a ring is an error"),
    FLAG_ROW("reset-drops", reset_drops, "a reset drops all mappings"),
    FLAG_ROW("mac-sticky", mac_sticky, "the MAC address survives a reset"),

    FLAG_ROW("refetch", refetch,
             "a suspend gives up what is in flight, and the base is the used one"),
    FLAG_ROW("coal-any-ring", coal_any_ring, "takes VQ_SET for rings that are not enabled, too"),
    FLAG_ROW("announce", announce, "asks the guest to announce itself at each start"),

    {"nak", NUMBER, AT(nak), 1, UINT32_MAX, "K", "answers ERR to the K-th control command"},
    {"nak-class", COMMAND, AT(nak_class), 0, 0, "C.c", "answers ERR to this class and command"},
    {"forget-class", COMMAND, AT(forget_class), 0, 0, "C.c",
     "bad: answers OK to this class and command, and does nothing"},
    FLAG_ROW("cvq-silent", cvq_silent, "bad: takes control commands and never answers"),
    FLAG_ROW("cvq-stale-ack", cvq_stale_ack, "bad: uses control commands without writing the ack"),
    FLAG_ROW("used-len-lies", used_len_lies, "bad: used lengths beyond the buffer"),
    FLAG_ROW("used-id-lies", used_id_lies, "bad: used ids that are not in flight"),
    FLAG_ROW("used-twice", used_twice, "bad: uses each chain twice"),
    FLAG_ROW("dma-after-suspend", dma_after_suspend, "bad: goes on after a suspend"),
    FLAG_ROW("features-change", features_change, "bad: refuses features that it offered before"),
    FLAG_ROW("config-garbage", config_garbage, "bad: nonsense in the config space"),
};

static bool
usage(GError **error, const char *word, const char *why)
{
    g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE, "sim: option '%s' %s", word, why);
    return false;
}

static bool
parse_number(const char *text, int base, uint64_t max, uint64_t *ret_value)
{
    char *end = NULL;
    uint64_t value;

    if (!g_ascii_isxdigit(text[0]))
        return false;
    errno = 0;
    value = g_ascii_strtoull(text, &end, base);
    if (errno || *end || value > max)
        return false;
    *ret_value = value;
    return true;
}

static bool
parse_mac(const char *text, uint8_t mac[6])
{
    unsigned b[6];
    int used = 0;

    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
               &used) != 6 ||
        text[used] != '\0' || b[0] & 1)
        return false;
    for (unsigned i = 0; i < 6; i++)
        mac[i] = (uint8_t) b[i];
    return true;
}

static bool
parse_range(const char *text, uint64_t *ret_first, uint64_t *ret_last)
{
    g_auto(GStrv) part = g_strsplit(text, "-", 2);

    return part[0] && part[1] && parse_number(part[0], 0, UINT64_MAX, ret_first) &&
           parse_number(part[1], 0, UINT64_MAX, ret_last) && *ret_first < *ret_last;
}

static bool
parse_command(const char *text, uint32_t *ret_code)
{
    g_auto(GStrv) part = g_strsplit(text, ".", 2);
    uint64_t class, command;

    if (!part[0] || !part[1] || !parse_number(part[0], 0, 255, &class) ||
        !parse_number(part[1], 0, 255, &command))
        return false;
    *ret_code = (uint32_t) (class << 8 | command) + 1;
    return true;
}

static bool
parse_feature(struct vdt_sim_options *options, const char *word, GError **error)
{
    int bit = vdt_feature_from_name(VIRTIO_ID_NET, word + 1);

    if (bit < 0)
        return usage(error, word, "names no feature");
    if (word[0] == '+')
        options->features_add |= VDT_BIT(bit);
    else
        options->features_drop |= VDT_BIT(bit);
    return true;
}

static bool
parse_value(struct vdt_sim_options *options, const struct option *row, const char *value,
            GError **error)
{
    void *field = (char *) options + row->offset;
    uint64_t number;

    switch (row->kind) {
    case FLAG:
        *(bool *) field = true;
        return true;
    case NUMBER:
        if (!parse_number(value, 10, row->max, &number) || number < row->min) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE,
                        "sim: option '%s' wants a number from %u to %u, not '%s'", row->name,
                        row->min, row->max, value);
            return false;
        }
        *(uint32_t *) field = (uint32_t) number;
        return true;
    case MASK:
        return parse_number(value, 16, UINT64_MAX, field) ||
               usage(error, row->name, "wants a hexadecimal mask");
    case TEXT:
        if (!*value || strlen(value) > 15)
            return usage(error, row->name, "wants a name of 1 to 15 characters");
        g_free(*(char **) field);
        *(char **) field = g_strdup(value);
        return true;
    case MAC:
        return parse_mac(value, field) || usage(error, row->name, "wants a unicast MAC address");
    case RANGE:
        return parse_range(value, &options->iova_first, &options->iova_last) ||
               usage(error, row->name, "wants FIRST-LAST");
    case COMMAND:
        return parse_command(value, field) || usage(error, row->name, "wants CLASS.COMMAND");
    case FEATURE:
        break;
    }
    return false;
}

static bool
parse_word(struct vdt_sim_options *options, const char *word, GError **error)
{
    const char *equals = strchr(word, '=');
    size_t len = equals ? (size_t) (equals - word) : strlen(word);

    if (word[0] == '+' || word[0] == '-')
        return parse_feature(options, word, error);
    for (unsigned i = 0; i < G_N_ELEMENTS(table); i++) {
        const struct option *row = &table[i];

        if (strlen(row->name) != len || strncmp(row->name, word, len) != 0)
            continue;
        if ((row->kind == FLAG) != !equals)
            return usage(error, word, equals ? "takes no value" : "wants a value");
        return parse_value(options, row, equals ? equals + 1 : NULL, error);
    }
    return usage(error, word, "is unknown");
}

bool
vdt_sim_options_parse(struct vdt_sim_options *options, const char *text, GError **error)
{
    g_auto(GStrv) words = g_strsplit(text, ",", 0);

    *options = (struct vdt_sim_options){
        .pairs = 1,
        .num = 256,
        .mtu = 1500,
        .speed = 10000,
        .mac = {0x52, 0x54, 0x00, 0x73, 0x69, 0x6d},
        .features_and = UINT64_MAX,
        .iova_last = (1ull << 48) - 1,
        .backlog = 1024,
        .seed = 1,
    };
    for (unsigned i = 0; words[i]; i++) {
        if (*words[i] && !parse_word(options, words[i], error))
            return false;
    }
    if ((options->tap != NULL) + (options->pair != NULL) + options->null + options->loop > 1)
        return usage(error, text, "names more than one of loop, null, tap and pair");
    return true;
}

void
vdt_sim_options_clear(struct vdt_sim_options *options)
{
    g_clear_pointer(&options->tap, g_free);
    g_clear_pointer(&options->pair, g_free);
}

char *
vdt_sim_options_help(void)
{
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < G_N_ELEMENTS(table); i++) {
        const struct option *row = &table[i];
        g_autofree char *word =
            row->value ? g_strconcat(row->name, "=", row->value, NULL) : g_strdup(row->name);

        g_string_append_printf(text, "  %-26s %s\n", word, row->help);
    }
    return g_string_free(text, FALSE);
}
