/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "tools/vdpa-tracker/verb.h"
#include "tools/vdpa-tracker/whole_device.h"

#include "migration/admit.h"
#include "migration/baseline.h"

/* What the user wrote is a device if it begins like one, else a file. */
static bool
is_device(const char *word)
{
    return g_str_has_prefix(word, "sim:") || g_str_has_prefix(word, "vhost-vdpa:");
}

static struct vdt_snapshot *
state_of(const char *from, GError **error)
{
    if (!is_device(from))
        return vdt_snapshot_load(from, error);
    VDT_AUTO(device) dev = vdt_device_open(from, error);
    return dev ? vdt_whole_device(dev, error) : NULL;
}

static void
add_lines(JsonBuilder *builder, const char *name, const GPtrArray *lines)
{
    json_builder_set_member_name(builder, name);
    json_builder_begin_array(builder);
    for (guint i = 0; i < lines->len; i++)
        json_builder_add_string_value(builder, lines->pdata[i]);
    json_builder_end_array(builder);
}

static JsonNode *
to_json(const GPtrArray *reasons, const GPtrArray *notes)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "possible");
    json_builder_add_boolean_value(builder, reasons->len == 0);
    add_lines(builder, "reasons", reasons);
    add_lines(builder, "notes", notes);
    json_builder_end_object(builder);
    return json_builder_get_root(builder);
}

/* A tracker there may be older: one more reason if it could not read what would be written. */
static bool
add_format(GPtrArray *reasons, const struct vdt_snapshot *snapshot, unsigned format, GError **error)
{
    g_autoptr(GError) reason = NULL;

    if (vdt_snapshot_fits_format(snapshot, format, &reason))
        return true;
    if (!g_error_matches(reason, VDT_ERROR, VDT_ERROR_REFUSED)) {
        g_propagate_error(error, g_steal_pointer(&reason));
        return false;
    }
    g_ptr_array_add(reasons, g_strdup(reason->message));
    return true;
}

/* What a file or a device asks for, compared with what @to has. */
static GPtrArray *
compare(const char *from, const char *to, unsigned format, struct vdt_device **ret_target,
        GError **error)
{
    struct vdt_baseline baseline, offer;
    bool limits = !is_device(from) && vdt_baseline_is_file(from);

    if (limits && !vdt_baseline_load(&baseline, from, error))
        return NULL;
    VDT_AUTO(snapshot) snapshot = limits ? NULL : state_of(from, error);
    if (!limits && !snapshot)
        return NULL;
    VDT_AUTO(device) target = vdt_device_open(to, error);
    if (!target)
        return NULL;
    g_autoptr(GPtrArray) reasons = !limits ? vdt_admit_reasons(snapshot, target, error)
                                   : vdt_baseline_of_device(&offer, target, error)
                                       ? vdt_baseline_reasons(&baseline, &offer)
                                       : NULL;
    if (!reasons || (snapshot && format > 0 && !add_format(reasons, snapshot, format, error)))
        return NULL;
    *ret_target = g_steal_pointer(&target);
    return g_steal_pointer(&reasons);
}

/* What a state does not know of itself: how much memory the guest has. */
static void
look_at_memory(struct vdt_device *target, uint64_t memory, GPtrArray *reasons, GPtrArray *notes)
{
    uint64_t pinned, limit;
    char *beyond = vdt_admit_memory(target, memory);

    if (beyond)
        g_ptr_array_add(reasons, beyond);
    if (!target->ops->memory_limit || !target->ops->memory_limit(target, &pinned, &limit))
        return;
    g_ptr_array_add(notes,
                    g_strdup_printf("guest memory is pinned, twice as much during a swap; "
                                    "RLIMIT_MEMLOCK is %" G_GUINT64_FORMAT " MiB here%s",
                                    limit >> 20,
                                    memory ? "" : ", and --memory tells how much the guest has"));
}

static bool
parse_size(const char *text, uint64_t *ret_size, GError **error)
{
    static const char units[] = "KMGT";
    char *end = NULL;
    uint64_t number = g_ascii_isdigit(text[0]) ? g_ascii_strtoull(text, &end, 10) : 0;
    const char *unit = end && end[0] ? strchr(units, end[0]) : NULL;
    unsigned shift = unit ? 10 * (unsigned) (unit - units + 1) : 0;

    if (number > 0 && number <= UINT64_MAX >> (shift + 1) && (!end[0] || (unit && !end[1]))) {
        *ret_size = number << shift;
        return true;
    }
    g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE,
                "--memory %s: a size like 4G is wanted (K, M, G, T)", text);
    return false;
}

static void
print_lines(const char *to, const GPtrArray *reasons, const GPtrArray *notes)
{
    printf(reasons->len ? "%s cannot take it:\n" : "%s can take it\n", to);
    for (guint i = 0; i < reasons->len; i++)
        printf("  %s\n", (const char *) reasons->pdata[i]);
    for (guint i = 0; i < notes->len; i++)
        printf("note: %s\n", (const char *) notes->pdata[i]);
}

int
vdt_verb_check(const struct vdt_verb *verb, int argc, char **argv)
{
    g_autofree char *from = NULL;
    g_autofree char *to = NULL;
    g_autofree char *size = NULL;
    gboolean json = FALSE;
    int format = VDT_ABSENT;
    const GOptionEntry entries[] = {
        {"from", 0, 0, G_OPTION_ARG_STRING, &from,
         "A snapshot, a baseline, or a device with all it can hold", "FILE|DEVICE"},
        {"to", 0, 0, G_OPTION_ARG_STRING, &to, "The device that is to take it", "DEVICE"},
        {"format", 0, 0, G_OPTION_ARG_INT, &format,
         "The newest format of states that the tracker there reads", "N"},
        {"memory", 0, 0, G_OPTION_ARG_STRING, &size, "How much memory the guest has", "SIZE"},
        {"json", 'j', 0, G_OPTION_ARG_NONE, &json, "As JSON", NULL},
        {NULL},
    };
    GError *error = NULL;
    uint64_t memory = 0;
    int exit_code;

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 0, 0, &exit_code))
        return exit_code;
    if (!from || !to)
        return vdt_verb_misused(json, "check needs --from FILE|DEVICE and --to DEVICE");
    if (!vdt_verb_positive(&format))
        return vdt_verb_misused(json, "--format: 1 or more is possible");
    if (size && !parse_size(size, &memory, &error))
        return vdt_verb_fail(json, error);
    VDT_AUTO(device) target = NULL;
    g_autoptr(GPtrArray) reasons = compare(from, to, (unsigned) format, &target, &error);
    if (!reasons)
        return vdt_verb_fail(json, error);
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    look_at_memory(target, memory, reasons, notes);
    if (json)
        vdt_print_json(to_json(reasons, notes));
    else
        print_lines(to, reasons, notes);
    return reasons->len == 0 ? VDT_EXIT_DONE : VDT_EXIT_REFUSED;
}
