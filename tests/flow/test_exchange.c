/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Another device takes the place of the one that runs: what is mapped when, into which, and what
 * happens when the other one fails at any step. Both are sim: behind a table that writes down what
 * is asked of it.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "device/sim.h"
#include "lib/leak.h"
#include "lib/shadow_rig.h"
#include "migration/swap.h"
#include "snapshot/collect.h"
#include "virtio/net_ctrl.h"

VDT_SUITE(exchange);

#define PACKED VDT_BIT(VIRTIO_F_RING_PACKED)
#define EVENT VDT_BIT(VIRTIO_RING_F_EVENT_IDX)

/* --- a device that keeps a diary --- */

static struct {
    char text[256]; /* M map, U unmap, S suspend, R reset, F features, D driver ok; a run once */
    int maps_left;  /* maps that succeed from now on; -1: all */
    bool no_driver_ok;
} diary;

static const struct vdt_device_ops *sim_ops;
static struct vdt_device_ops told_ops;

static void
note(char what)
{
    size_t n = strlen(diary.text);

    if ((n == 0 || diary.text[n - 1] != what) && n + 1 < sizeof(diary.text))
        diary.text[n] = what;
}

static bool
told_map(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size, void *host,
         bool writable, GError **error)
{
    note('M');
    if (diary.maps_left == 0) {
        g_set_error_literal(error, g_quark_from_static_string("test"), 1, "no memory to pin");
        return false;
    }
    diary.maps_left -= diary.maps_left > 0;
    return sim_ops->map(dev, asid, iova, size, host, writable, error);
}

static bool
told_unmap(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size, GError **error)
{
    bool ok = sim_ops->unmap(dev, asid, iova, size, error);

    note('U');
    cr_expect(ok || !dev->info.maps_survive_reset, "what is unmapped was mapped");
    return ok;
}

static bool
told_suspend(struct vdt_device *dev, GError **error)
{
    note('S');
    return sim_ops->suspend(dev, error);
}

static bool
told_status(struct vdt_device *dev, uint8_t status, GError **error)
{
    bool ok = status & VIRTIO_CONFIG_S_DRIVER_OK;

    note(status == 0 ? 'R' : ok ? 'D' : 'F');
    if (ok && diary.no_driver_ok) {
        g_set_error_literal(error, g_quark_from_static_string("test"), 1, "will not start");
        return false;
    }
    return sim_ops->set_status(dev, status, error);
}

static struct vdt_device *
told(struct vdt_device *dev)
{
    sim_ops = dev->ops;
    told_ops = *dev->ops;
    told_ops.map = told_map;
    told_ops.unmap = told_unmap;
    told_ops.suspend = told_suspend;
    told_ops.set_status = told_status;
    dev->ops = &told_ops;
    return dev;
}

static struct vdt_device *
open_told(const char *spec)
{
    g_autoptr(GError) error = NULL;
    struct vdt_device *dev = vdt_device_open(spec, &error);

    cr_assert(dev, "%s", error ? error->message : "");
    return told(dev);
}

static void
new_page(void)
{
    memset(diary.text, 0, sizeof(diary.text));
    diary.maps_left = -1;
    diary.no_driver_ok = false;
}

static unsigned
mappings(struct vdt_device *dev)
{
    VDT_SIM_LOCKED(vdt_test_sim(dev));

    return sim->space[0]->len + sim->space[1]->len;
}

/* Guest memory is mapped, whole, at @iova or anywhere (0). */
static bool
maps_guest(struct vdt_device *dev, struct rig *rig, uint64_t iova)
{
    const struct vdt_region *region = vdt_guest_map_region(rig->map, 0);
    VDT_SIM_LOCKED(vdt_test_sim(dev));

    for (unsigned i = 0; i < sim->space[0]->len; i++) {
        const struct vdt_sim_map *map = &g_array_index(sim->space[0], struct vdt_sim_map, i);
        if (map->host == region->host)
            return map->size == region->size && (iova == 0 || map->iova == iova);
    }
    return false;
}

static void
check(bool ok, GError **error)
{
    cr_assert(ok, "%s", *error ? (*error)->message : "");
}

static void
begin(struct rig *rig, const char *spec, uint64_t features, enum vdt_shadow_policy policy)
{
    struct vdt_shadow_options options = rig_options(policy);

    new_page();
    rig_init(rig, spec, &options, features);
    told(vdt_shadow_device(rig->shadow));
    rig_start(rig);
    rig_traffic(rig, 300);
    new_page();
}

static void
finish(struct rig *rig)
{
    rig_traffic(rig, 300);
    rig_drain(rig, 5000);
    cr_expect_eq(rig->sent_done, rig->next_send, "%u of %u sent", rig->sent_done, rig->next_send);
    cr_expect_eq(rig->duplicated + rig->corrupt + rig->broken, 0, "%u doubled, %u corrupt",
                 rig->duplicated, rig->corrupt);
    rig_clear(rig);
    vdt_test_check_leaks();
}

/* --- --- */

struct pair {
    char from[48], to[48];
    uint64_t features;
    enum vdt_shadow_policy policy;
    bool translated;
};

static struct pair pairs[] = {
    {"latency=300,ooo", "sim:ooo", EVENT, VDT_SHADOW_ALWAYS, false},
    {"latency=300,ooo", "sim:ooo", PACKED | EVENT, VDT_SHADOW_ALWAYS, false},
    {"", "sim:", EVENT, VDT_SHADOW_AUTO, false},
    {"reset-drops", "sim:reset-drops", EVENT, VDT_SHADOW_ALWAYS, false},
    {"no-asid", "sim:no-asid", EVENT, VDT_SHADOW_ALWAYS, false},
    {"", "sim:iova=0x10000000-0x1fffffff", EVENT, VDT_SHADOW_ALWAYS, true},
    {"iova=0x10000000-0x1fffffff", "sim:", EVENT, VDT_SHADOW_ALWAYS, false},
};

ParameterizedTestParameters(exchange, nothing_is_mapped_while_the_nic_stands_still)
{
    return cr_make_param_array(struct pair, pairs, sizeof(pairs) / sizeof(pairs[0]));
}

ParameterizedTest(struct pair *pair, exchange, nothing_is_mapped_while_the_nic_stands_still)
{
    GError *error = NULL;
    struct vdt_device *old;
    struct rig rig;

    begin(&rig, pair->from, pair->features, pair->policy);
    struct vdt_device *fresh = open_told(pair->to);
    check(vdt_shadow_prepare(rig.shadow, fresh, &error), &error);
    cr_expect_str_eq(diary.text, "RFM");
    unsigned prepared = mappings(fresh);
    rig_traffic(&rig, 100);
    cr_expect(maps_guest(fresh, &rig, pair->translated ? 0 : RIG_GPA));

    new_page();
    check(vdt_shadow_freeze(rig.shadow, &error), &error);
    check(vdt_shadow_exchange(rig.shadow, fresh, &old, &error), &error);
    check(vdt_shadow_thaw(rig.shadow, &error), &error);
    cr_expect_str_eq(diary.text, "SD", "suspend, driver ok and nothing else: %s", diary.text);
    cr_expect_eq(mappings(fresh), prepared);
    cr_expect(maps_guest(old, &rig, 0), "it can go back as it is");

    vdt_shadow_discard(rig.shadow, old);
    cr_expect_eq(mappings(old), 0, "nothing of the guest's stays in the device that left");
    vdt_device_close(old);
    finish(&rig);
}

ParameterizedTestParameters(exchange, going_back_maps_nothing)
{
    return cr_make_param_array(struct pair, pairs, sizeof(pairs) / sizeof(pairs[0]));
}

ParameterizedTest(struct pair *pair, exchange, going_back_maps_nothing)
{
    GError *error = NULL;
    struct vdt_device *old, *failed;
    bool drops = strstr(pair->from, "reset-drops") != NULL;
    struct rig rig;

    begin(&rig, pair->from, pair->features, pair->policy);
    struct vdt_device *fresh = open_told(pair->to);
    unsigned before = mappings(vdt_shadow_device(rig.shadow));
    check(vdt_shadow_prepare(rig.shadow, fresh, &error), &error);
    check(vdt_shadow_freeze(rig.shadow, &error), &error);
    check(vdt_shadow_exchange(rig.shadow, fresh, &old, &error), &error);
    diary.no_driver_ok = true;
    cr_assert_not(vdt_shadow_thaw(rig.shadow, &error));
    g_clear_error(&error);

    new_page();
    check(vdt_shadow_exchange(rig.shadow, old, &failed, &error), &error);
    cr_expect_eq(failed, fresh);
    check(vdt_shadow_thaw(rig.shadow, &error), &error);
    cr_expect_str_eq(diary.text, drops ? "RUFMD" : "RFD", "%s", diary.text);
    cr_expect_eq(mappings(old), before);
    vdt_shadow_discard(rig.shadow, failed);
    cr_expect_eq(mappings(failed), 0);
    vdt_device_close(failed);
    finish(&rig);
}

Test(exchange, device_that_cannot_be_mapped_into_is_refused_while_the_guest_runs)
{
    /* Every map in turn: guest memory, the three parts of our own. */
    for (int fails = 0; fails < 4; fails++) {
        GError *error = NULL;
        struct rig rig;

        begin(&rig, "", EVENT, VDT_SHADOW_ALWAYS);
        struct vdt_device *fresh = open_told("sim:");
        diary.maps_left = fails;
        cr_expect_not(vdt_shadow_prepare(rig.shadow, fresh, &error));
        cr_assert_not_null(error);
        cr_expect(strstr(error->message, "no memory to pin"), "%s", error->message);
        cr_expect_null(strchr(diary.text, 'S'), "nothing was suspended: %s", diary.text);
        cr_expect_eq(mappings(fresh), 0);
        cr_expect_eq(vdt_shadow_mode(rig.shadow), VDT_MODE_SHADOW);
        g_clear_error(&error);
        vdt_device_close(fresh);
        new_page();
        finish(&rig);
    }
}

Test(exchange, device_without_room_for_guest_memory_is_refused_while_the_guest_runs)
{
    GError *error = NULL;
    struct rig rig;

    begin(&rig, "", EVENT, VDT_SHADOW_ALWAYS);
    struct vdt_device *fresh = open_told("sim:iova=0x10000000-0x103fffff");
    cr_expect_not(vdt_shadow_prepare(rig.shadow, fresh, &error));
    cr_expect_null(strchr(diary.text, 'S'));
    cr_expect_eq(mappings(fresh), 0);
    g_clear_error(&error);
    vdt_device_close(fresh);
    finish(&rig);
}

/* --- the whole swap --- */

struct stand {
    struct rig rig;
    struct vdt_control_model model;
};

static struct vdt_snapshot *
collect(void *ctx)
{
    struct stand *stand = ctx;
    const struct vdt_snapshot_identity identity = {.name = "t"};

    return vdt_snapshot_collect(stand->rig.shadow, &stand->model, &identity);
}

static unsigned
replayed(void *ctx)
{
    return 0;
}

Test(exchange, swap_that_cannot_prepare_stops_nothing)
{
    enum vdt_phase phase = VDT_PHASE_RUNNING;
    struct vdt_swap_report report = {0};
    g_autoptr(GError) error = NULL;
    struct stand stand;

    begin(&stand.rig, "", EVENT, VDT_SHADOW_ALWAYS);
    vdt_control_model_init(&stand.model);
    const struct vdt_swap_hooks hooks = {collect, replayed, &stand};
    cr_expect_not(vdt_swap(stand.rig.shadow, "sim:iova=0x10000000-0x103fffff", &phase, &hooks,
                           &report, &error));
    cr_expect(strstr(error->message, "made ready"), "%s", error->message);
    cr_expect_str_eq(diary.text, "", "the first device heard nothing: %s", diary.text);
    cr_expect_eq(phase, VDT_PHASE_RUNNING);
    cr_expect_not(report.returned);
    vdt_swap_report_clear(&report);
    vdt_control_model_clear(&stand.model);
    finish(&stand.rig);
}

Test(exchange, memory_that_changes_meanwhile_changes_in_both)
{
    GError *error = NULL;
    struct vdt_device *old;
    struct rig rig;
    int fd = vdt_memfd("hot", 1u << 20, NULL);

    begin(&rig, "", EVENT, VDT_SHADOW_ALWAYS);
    struct vdt_device *fresh = open_told("sim:");
    check(vdt_shadow_prepare(rig.shadow, fresh, &error), &error);
    unsigned first = mappings(vdt_shadow_device(rig.shadow)), second = mappings(fresh);

    struct vdt_region_spec spec = {
        .gpa = 1u << 30, .size = 1u << 20, .frontend = 0x7f0000000000, .fd = fd};
    struct vdt_guest_map *more = vdt_guest_map_with(rig.map, &spec, &error);
    check(more != NULL, &error);
    check(vdt_shadow_set_memory(rig.shadow, more, &error), &error);
    cr_expect_eq(mappings(vdt_shadow_device(rig.shadow)), first + 1);
    cr_expect_eq(mappings(fresh), second + 1);
    check(vdt_shadow_set_memory(rig.shadow, rig.map, &error), &error);
    cr_expect_eq(mappings(fresh), second);
    vdt_guest_map_unref(more);
    vdt_close(fd);

    check(vdt_shadow_freeze(rig.shadow, &error), &error);
    check(vdt_shadow_exchange(rig.shadow, fresh, &old, &error), &error);
    check(vdt_shadow_thaw(rig.shadow, &error), &error);
    vdt_shadow_discard(rig.shadow, old);
    vdt_device_close(old);
    finish(&rig);
}

Test(exchange, device_that_drops_its_maps_at_reset_gets_them_again)
{
    struct rig rig;
    GError *error = NULL;
    struct vdt_region_spec spec = {.gpa = RIG_GPA, .size = RIG_SIZE, .frontend = RIG_FRONTEND};

    begin(&rig, "reset-drops", EVENT, VDT_SHADOW_ALWAYS);
    spec.fd = rig.memfd;
    /* The same memory as a table of its own: the rings move, the device is brought up anew. */
    struct vdt_guest_map *other = vdt_guest_map_from_table(&spec, 1, &error);
    check(other != NULL, &error);
    check(vdt_shadow_set_memory(rig.shadow, other, &error), &error);
    vdt_guest_map_unref(rig.map);
    rig.map = other;
    cr_expect(maps_guest(vdt_shadow_device(rig.shadow), &rig, RIG_GPA));
    finish(&rig);
}
