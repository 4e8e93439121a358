/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <endian.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/stat.h>

#include <vdpa-tracker/error.h>

#include "guest/driver.h"
#include "migration/admit.h"
#include "migration/baseline.h"
#include "tools/vdpa-tracker/ci.h"
#include "tools/vdpa-tracker/client.h"
#include "tools/vdpa-tracker/whole_device.h"

#define NODE "vhost-vdpa:"
#define RING_MAX 256u /* of the built-in guest */

const char *
vdt_ci_side(unsigned side)
{
    return side ? "destination" : "source";
}

const char *
vdt_ci_leg(unsigned leg)
{
    return leg % 2 ? "back" : "there";
}

char *
vdt_ci_again(unsigned leg)
{
    return leg < 2 ? g_strdup("") : g_strdup_printf(" (%u)", leg / 2 + 1);
}

void
vdt_ci_say(GString *said, GError *error)
{
    g_string_append(said, error ? error->message : "no reason was given");
    g_clear_error(&error);
}

struct vdt_snapshot *
vdt_ci_snapshot(const char *name, GError **error)
{
    g_autoptr(VdtTracker1) tracker = vdt_client_new(name, error);
    g_autoptr(GVariant) state = NULL;
    gsize len;

    if (!tracker || !vdt_tracker1_call_snapshot_sync(tracker, &state, NULL, error)) {
        if (error && *error)
            vdt_client_strip(*error);
        return NULL;
    }
    const uint8_t *bytes = g_variant_get_fixed_array(state, &len, 1);
    return vdt_snapshot_decode(bytes, len, error);
}

/* Two names of one node are one device. Two sim: are two. */
static bool
same_device(const char *a, const char *b)
{
    struct stat at[2];

    return g_str_has_prefix(a, NODE) && g_str_has_prefix(b, NODE) &&
           (g_str_equal(a, b) ||
            (stat(a + strlen(NODE), &at[0]) == 0 && stat(b + strlen(NODE), &at[1]) == 0 &&
             S_ISCHR(at[0].st_mode) && at[0].st_rdev == at[1].st_rdev));
}

static bool
look_at(struct vdt_ci_device *device, struct vdt_device *dev, GError **error)
{
    uint8_t bytes[VDT_CONFIG_MAX] = {0};
    struct vdt_net_config config;
    uint32_t len;

    device->info = dev->info;
    if (dev->info.device_id != VIRTIO_ID_NET) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                    "%s is no network device (its virtio device type is %u, that of a network "
                    "device is %u)",
                    dev->info.name, dev->info.device_id, VIRTIO_ID_NET);
        return false;
    }
    if (!vdt_admit_read_config(dev, bytes, &len, error))
        return false;
    vdt_net_config_parse(&config, bytes, len);
    device->pairs = dev->info.features & VDT_BIT(VIRTIO_NET_F_MQ) ? MAX(config.max_pairs, 1u) : 1;
    return true;
}

static int
opens(void *ctx, unsigned side, GString *said)
{
    struct vdt_ci *ci = ctx;
    struct vdt_ci_device *device = &ci->device[side];
    const char *spec = ci->options->device[side];
    GError *error = NULL;

    if (side == 1 && same_device(ci->options->device[0], spec)) {
        g_string_printf(said,
                        "%s is the source as well: a migration needs two devices, as each has one "
                        "owner",
                        spec);
        return VDT_CASE_BROKEN;
    }
    VDT_AUTO(device) dev = vdt_device_open(spec, &error);
    device->opened = dev != NULL;
    if (!dev || !look_at(device, dev, &error)) {
        vdt_ci_say(said, error);
        return VDT_CASE_BROKEN;
    }
    vdt_case_list_note(ci->list, vdt_ci_side(side), "%s", spec);
    g_autofree char *driver = g_strdup_printf("%s.driver", vdt_ci_side(side));
    vdt_case_list_note(ci->list, driver, "%s", device->info.driver);
    g_string_printf(said, "%s: driver %s, %u queue pairs, rings of up to %u, features 0x%lx", spec,
                    device->info.driver, device->pairs, device->info.ring_max,
                    (unsigned long) device->info.features);
    return VDT_CASE_PASSED;
}

/* What the built-in guest would take of what the source offers. */
static void
limit_to_guest(struct vdt_snapshot *state, const struct vdt_ci_options *options)
{
    uint64_t features = vdt_driver_features(state->offered_features, options->packed);

    state->guest_features &= features;
    state->negotiated_features &= features;
    state->packed = features & VDT_BIT(VIRTIO_F_RING_PACKED);
    for (uint32_t i = 0; i < state->ring_count; i++)
        state->rings[i].num = (uint16_t) MIN(state->rings[i].num, RING_MAX);
}

/* What the guest is to be offered, less than the source could. */
static bool
write_baseline(struct vdt_ci *ci, const struct vdt_baseline *source,
               const struct vdt_baseline *target, GError **error)
{
    const struct vdt_ci_options *options = ci->options;
    struct vdt_baseline offer = *source;

    if (!options->common && !options->pairs)
        return true;
    if (options->common)
        vdt_baseline_narrow(&offer, target);
    if (options->pairs)
        offer.pairs = (uint16_t) MIN(offer.pairs, options->pairs);
    g_autofree char *text = vdt_baseline_to_text(&offer);
    ci->baseline = g_build_filename(ci->scratch, "offer.conf", NULL);
    return g_file_set_contents(ci->baseline, text, -1, error);
}

/* The one after the other, as a wire may be for one of them alone. Without a baseline the states
 * are compared, else the baselines. */
static GPtrArray *
compare(struct vdt_ci *ci, GError **error)
{
    const struct vdt_ci_options *options = ci->options;
    struct vdt_baseline offer[2], wanted;
    VDT_AUTO(device) source = vdt_device_open(options->device[0], error);
    VDT_AUTO(snapshot) state = source ? vdt_whole_device(source, error) : NULL;

    if (!state || !vdt_baseline_of_device(&offer[0], source, error))
        return NULL;
    g_clear_pointer(&source, vdt_device_close);
    if (!options->uml)
        limit_to_guest(state, options);
    VDT_AUTO(device) target = vdt_device_open(options->device[1], error);
    if (!target || !vdt_baseline_of_device(&offer[1], target, error) ||
        !write_baseline(ci, &offer[0], &offer[1], error))
        return NULL;
    if (!ci->baseline)
        return vdt_admit_reasons(state, target, error);
    return vdt_baseline_load(&wanted, ci->baseline, error)
               ? vdt_baseline_reasons(&wanted, &offer[1])
               : NULL;
}

static int
fits(void *ctx, unsigned arg, GString *said)
{
    struct vdt_ci *ci = ctx;
    GError *error = NULL;
    g_autoptr(GPtrArray) reasons = compare(ci, &error);

    if (!reasons) {
        vdt_ci_say(said, error);
        return VDT_CASE_BROKEN;
    }
    if (reasons->len == 0)
        return VDT_CASE_PASSED;
    g_string_append_printf(
        said, "%s cannot take what a guest of the source may use: ", ci->options->device[1]);
    for (unsigned i = 0; i < reasons->len; i++)
        g_string_append_printf(said, "%s%s", i ? "; " : "", (const char *) reasons->pdata[i]);
    return VDT_CASE_BROKEN;
}

static int
pairs(void *ctx, unsigned arg, GString *said)
{
    struct vdt_ci *ci = ctx;

    for (unsigned i = 0; i < 2; i++) {
        if (ci->device[i].pairs >= ci->options->pairs)
            continue;
        g_string_printf(said, "the %s %s has %u queue pairs, --pairs asks for %u", vdt_ci_side(i),
                        ci->options->device[i], ci->device[i].pairs, ci->options->pairs);
        return VDT_CASE_BROKEN;
    }
    return VDT_CASE_PASSED;
}

static int
free_again(void *ctx, unsigned side, GString *said)
{
    struct vdt_ci *ci = ctx;
    GError *error = NULL;

    if (!ci->device[side].opened) {
        g_string_append(said, "the test never had it");
        return VDT_CASE_SKIPPED;
    }
    VDT_AUTO(device) dev = vdt_device_open(ci->options->device[side], &error);
    if (dev)
        return VDT_CASE_PASSED;
    vdt_ci_say(said, error);
    return VDT_CASE_FAILED;
}

void
vdt_ci_devices_add(struct vdt_ci *ci)
{
    for (unsigned i = 0; i < 2; i++)
        vdt_case_list_add(ci->list, "devices", opens, i, "the %s opens", vdt_ci_side(i));
    if (ci->options->pairs)
        vdt_case_list_add(ci->list, "devices", pairs, 0, "both have %u queue pairs",
                          ci->options->pairs);
    vdt_case_list_add(ci->list, "devices", fits, 0,
                      "the destination can take what a guest of the source may use");
}

void
vdt_ci_end_add(struct vdt_ci *ci)
{
    for (unsigned i = 0; i < 2; i++) {
        vdt_case_list_add(ci->list, "end", free_again, i, "the %s is free again", vdt_ci_side(i));
        ((struct vdt_case *) g_ptr_array_index(ci->list->cases, ci->list->cases->len - 1))->always =
            true;
    }
}
