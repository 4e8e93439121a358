/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Swap on its own: a shadow without a guest, and one whose device refuses at every step. */
#include "lib/leak.h"

#include "migration/swap.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "lib/fake_vhost_vdpa.h"
#include "snapshot/collect.h"
#include "virtio/net_ctrl.h"

VDT_SUITE(swap);

struct stand {
    struct vdt_shadow *shadow;
    struct vdt_control_model model;
    enum vdt_phase phase;
    unsigned collected;
    uint64_t guest_features; /* said to be the guest's */
};

static struct vdt_snapshot *
collect(void *ctx)
{
    struct stand *stand = ctx;
    const struct vdt_snapshot_identity identity = {.name = "t"};
    struct vdt_snapshot *snapshot = vdt_snapshot_collect(stand->shadow, &stand->model, &identity);

    stand->collected++;
    snapshot->guest_features |= stand->guest_features;
    return snapshot;
}

static unsigned
replayed(void *ctx)
{
    return 7;
}

static void
init(struct stand *stand, const char *device)
{
    const struct vdt_shadow_options options = {
        .policy = VDT_SHADOW_AUTO, .workers = 1, .drain_ms = 200, .feature_mask = UINT64_MAX};
    const struct vdt_shadow_events events = {0};
    GError *error = NULL;
    struct vdt_device *dev = vdt_device_open(device, &error);

    *stand = (struct stand){0};
    cr_assert(dev, "%s", error ? error->message : "");
    stand->shadow = vdt_shadow_new(dev, &options, &events, stand, &error);
    cr_assert(stand->shadow, "%s", error ? error->message : "");
    vdt_control_model_init(&stand->model);
}

static void
clear(struct stand *stand)
{
    vdt_shadow_free(stand->shadow);
    vdt_control_model_clear(&stand->model);
}

static bool
swap(struct stand *stand, const char *to, struct vdt_swap_report *report, GError **error)
{
    const struct vdt_swap_hooks hooks = {collect, replayed, stand};

    return vdt_swap(stand->shadow, to, &stand->phase, &hooks, report, error);
}

Test(swap, idle_nic_gets_the_other_device)
{
    struct stand stand;
    struct vdt_swap_report report = {0};
    g_autoptr(GError) error = NULL;

    init(&stand, "sim:");
    cr_assert(swap(&stand, "sim:latency=5", &report, &error), "%s", error ? error->message : "");
    cr_assert_str_eq(vdt_shadow_device(stand.shadow)->info.name, "sim:latency=5");
    cr_assert_str_eq(report.from, "sim:");
    cr_assert_str_eq(report.to, "sim:latency=5");
    cr_assert_eq(report.commands, 7);
    cr_assert_eq(stand.phase, VDT_PHASE_IDLE);
    g_autoptr(JsonNode) node = vdt_swap_report_to_json(&report);
    cr_assert_str_eq(json_object_get_string_member(json_node_get_object(node), "to"),
                     "sim:latency=5");
    vdt_swap_report_clear(&report);
    clear(&stand);
}

Test(swap, device_that_is_not_there_changes_nothing)
{
    struct stand stand;
    struct vdt_swap_report report = {0};
    g_autoptr(GError) error = NULL;

    init(&stand, "sim:");
    cr_assert(!swap(&stand, "sim:pears=2", &report, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_USAGE));
    cr_assert_str_eq(vdt_shadow_device(stand.shadow)->info.name, "sim:");
    cr_assert_eq(stand.phase, VDT_PHASE_IDLE);
    cr_assert_eq(stand.collected, 0);
    vdt_swap_report_clear(&report);
    clear(&stand);
}

Test(swap, device_without_a_feature_of_the_guest_is_refused_by_name)
{
    struct stand stand;
    struct vdt_swap_report report = {0};
    g_autoptr(GError) error = NULL;

    init(&stand, "sim:");
    stand.guest_features = VDT_BIT(VIRTIO_F_VERSION_1) | VDT_BIT(VIRTIO_F_RING_PACKED);
    cr_assert(!swap(&stand, "sim:no-packed", &report, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_REFUSED));
    cr_assert(strstr(error->message, "RING_PACKED"), "%s", error->message);
    cr_assert(!report.returned);
    cr_assert_str_eq(vdt_shadow_device(stand.shadow)->info.name, "sim:");
    vdt_swap_report_clear(&report);
    clear(&stand);
}

/* Both at once: whoever raises the limit is not to find the other one afterwards. */
Test(swap, memory_that_may_not_be_pinned_is_named_with_the_other_reasons)
{
    const uint64_t size = 4 << 20;
    struct stand stand;
    struct vdt_swap_report report = {0};
    g_autoptr(GError) error = NULL;
    int fd = memfd_create("guest", MFD_CLOEXEC);
    const struct vdt_region_spec spec = {.size = size, .frontend = 0x10000, .fd = fd};

    cr_assert_eq(ftruncate(fd, size), 0);
    init(&stand, "sim:");
    struct vdt_guest_map *map = vdt_guest_map_from_table(&spec, 1, &error);
    cr_assert(map, "%s", error ? error->message : "");
    cr_assert(vdt_shadow_set_memory(stand.shadow, map, &error), "%s", error ? error->message : "");
    vdt_guest_map_unref(map);
    close(fd);
    fake_vhost_install();
    fake_vhost.driver = "mlx5_core";
    fake_vhost.memlock = 1 << 20;
    stand.guest_features = VDT_BIT(VIRTIO_F_VERSION_1) | VDT_BIT(VIRTIO_F_RING_PACKED);
    cr_assert(!swap(&stand, "vhost-vdpa:sim:no-packed", &report, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_REFUSED));
    cr_expect(strstr(error->message, "RING_PACKED"), "%s", error->message);
    cr_expect(strstr(error->message, "RLIMIT_MEMLOCK is 1 MiB"), "%s", error->message);
    cr_assert_str_eq(vdt_shadow_device(stand.shadow)->info.name, "sim:");
    vdt_swap_report_clear(&report);
    clear(&stand);
}

Test(swap, wrong_phase_is_refused)
{
    struct stand stand;
    struct vdt_swap_report report = {0};
    g_autoptr(GError) error = NULL;

    init(&stand, "sim:");
    stand.phase = VDT_PHASE_LOGGING;
    cr_assert(!swap(&stand, "sim:", &report, &error));
    cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_BUSY));
    cr_assert_eq(stand.phase, VDT_PHASE_LOGGING);
    clear(&stand);
}
