/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "tools/vdpa-tracker/verb.h"

#include "control/command.h"
#include "migration/admit.h"
#include "shadow/negotiate.h"
#include "virtio/features.h"

/* What the user wrote is a device if it begins like one, else a file. */
static bool
is_device(const char *word)
{
    return g_str_has_prefix(word, "sim:") || g_str_has_prefix(word, "vhost-vdpa:");
}

/* The most that a guest of @dev could need: all features, all rings at full size. */
static struct vdt_snapshot *
whole_device(struct vdt_device *dev, GError **error)
{
    VDT_AUTO(snapshot) snapshot = vdt_snapshot_new();
    struct vdt_negotiation n = {0};

    if (!vdt_negotiation_init(&n, dev, vdt_command_features_known(dev->info.features), error) ||
        !vdt_admit_read_config(dev, snapshot->config, &snapshot->config_len, error))
        return NULL;
    snapshot->device_id = dev->info.device_id;
    g_free(snapshot->device);
    snapshot->device = g_strdup(dev->info.name);
    g_free(snapshot->driver);
    snapshot->driver = g_strdup(dev->info.driver);
    snapshot->device_features = dev->info.features;
    snapshot->offered_features = n.offered;
    snapshot->guest_features = n.offered;
    snapshot->negotiated_features = n.offered;
    snapshot->packed = n.offered & VDT_BIT(VIRTIO_F_RING_PACKED);
    snapshot->ring_count = MIN(dev->info.rings, VDT_RINGS_MAX);
    snapshot->cvq_index = n.offered & VDT_BIT(VIRTIO_NET_F_CTRL_VQ)
                              ? (int32_t) vdt_net_cvq_index(n.offered, n.device_max_pairs)
                              : -1;
    for (uint32_t i = 0; i < snapshot->ring_count; i++)
        snapshot->rings[i].num = dev->info.ring_max;
    return g_steal_pointer(&snapshot);
}

static struct vdt_snapshot *
state_of(const char *from, GError **error)
{
    if (!is_device(from))
        return vdt_snapshot_load(from, error);
    VDT_AUTO(device) dev = vdt_device_open(from, error);
    return dev ? whole_device(dev, error) : NULL;
}

static JsonNode *
to_json(const GPtrArray *reasons)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();

    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "possible");
    json_builder_add_boolean_value(builder, reasons->len == 0);
    json_builder_set_member_name(builder, "reasons");
    json_builder_begin_array(builder);
    for (guint i = 0; i < reasons->len; i++)
        json_builder_add_string_value(builder, reasons->pdata[i]);
    json_builder_end_array(builder);
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

static GPtrArray *
reasons_against(const char *from, const char *to, unsigned format, GError **error)
{
    VDT_AUTO(snapshot) snapshot = state_of(from, error);
    VDT_AUTO(device) target = snapshot ? vdt_device_open(to, error) : NULL;
    g_autoptr(GPtrArray) reasons = target ? vdt_admit_reasons(snapshot, target, error) : NULL;

    if (!reasons || (format > 0 && !add_format(reasons, snapshot, format, error)))
        return NULL;
    return g_steal_pointer(&reasons);
}

int
vdt_verb_check(const struct vdt_verb *verb, int argc, char **argv)
{
    g_autofree char *from = NULL;
    g_autofree char *to = NULL;
    gboolean json = FALSE;
    int format = 0;
    const GOptionEntry entries[] = {
        {"from", 0, 0, G_OPTION_ARG_STRING, &from, "A snapshot, or a device with all it can hold",
         "FILE|DEVICE"},
        {"to", 0, 0, G_OPTION_ARG_STRING, &to, "The device that is to take it", "DEVICE"},
        {"format", 0, 0, G_OPTION_ARG_INT, &format,
         "The newest format of states that the tracker there reads", "N"},
        {"json", 'j', 0, G_OPTION_ARG_NONE, &json, "As JSON", NULL},
        {NULL},
    };
    GError *error = NULL;
    int exit_code;

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 0, 0, &exit_code))
        return exit_code;
    if (!from || !to)
        return vdt_verb_misused(json, "check needs --from FILE|DEVICE and --to DEVICE");
    if (format < 0)
        return vdt_verb_misused(json, "--format: 1 or more is possible");
    g_autoptr(GPtrArray) reasons = reasons_against(from, to, (unsigned) format, &error);
    if (!reasons)
        return vdt_verb_fail(json, error);
    if (json) {
        vdt_print_json(to_json(reasons));
    } else if (reasons->len == 0) {
        printf("%s can take it\n", to);
    } else {
        printf("%s cannot take it:\n", to);
        for (guint i = 0; i < reasons->len; i++)
            printf("  %s\n", (const char *) reasons->pdata[i]);
    }
    return reasons->len == 0 ? VDT_EXIT_DONE : VDT_EXIT_REFUSED;
}
