/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A block device under the tracker: a disk that two devices share, on the fake kernel, and a guest
 * that reads and writes it over one ring.
 */
#include <criterion/criterion.h>
#include <linux/virtio_blk.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/wire.h"
#include "daemon/nic.h"
#include "lib/fake_block.h"
#include "lib/fake_vhost_vdpa.h"
#include "lib/leak.h"
#include "snapshot/snapshot.h"
#include "virtio/device_ring.h"
#include "virtio/features.h"
#include "virtio/net_ctrl.h"

VDT_SUITE(block);

#define GPA 0x100000u
#define FRONTEND 0x7f1200000000u
#define SIZE (1u << 20)
#define NUM 16u
#define DATA 8192u /* bytes of a request */
#define SLOT 0x4000u
#define BUFFERS 0x40000u

static uint8_t disk[FAKE_BLOCK_SECTORS * FAKE_BLOCK_SECTOR];

struct stand {
    struct vdt_device *device[2]; /* behind vhost-vdpa:/dev/vhost-vdpa-0 and -1 */
    struct vdt_nic *nic;
    GMainContext *context;
    struct vdt_guest_map *map;
    uint8_t *mem, *log;
    int memfd, logfd, kick, call;
    struct vdt_device_ring ring;
    unsigned posted, used, wrong;
    uint8_t expected[NUM]; /* by slot: what a read finds */
    bool is_read[NUM];
};

static const struct vdt_backend_ops *
backend(void)
{
    return vdt_nic_backend();
}

static void
must(bool ok, GError **error)
{
    cr_assert(ok, "%s", *error ? (*error)->message : "failed without a message");
}

/* By reference: the call that sets the error is an argument beside it. */
#define MUST(op, ...)                                                                              \
    do {                                                                                           \
        GError *must_error = NULL;                                                                 \
        bool must_ok = backend()->op(s->nic, __VA_ARGS__, &must_error);                            \
        must(must_ok, &must_error);                                                                \
    } while (0)

static void
stand_init(struct stand *s, const struct fake_block_options *first,
           const struct fake_block_options *second, enum vdt_shadow_policy policy)
{
    const struct fake_block_options *const options[] = {first, second};
    GError *error = NULL;

    memset(s, 0, sizeof(*s));
    fake_vhost_install();
    fake_vhost.driver = "vdpasim_blk";
    fake_vhost.strict = true;
    for (unsigned i = 0; i < 2; i++) {
        g_autofree char *path = g_strdup_printf("/dev/vhost-vdpa-%u", i);
        struct fake_block_options own = *options[i];

        own.disk = disk;
        s->device[i] = fake_block_new(&own);
        fake_vhost_put(path, s->device[i]);
    }
    s->context = g_main_context_new();
    struct vdt_nic_options nic = {.name = "disk",
                                  .policy = policy,
                                  .workers = 1,
                                  .deadline_ms = 300,
                                  .dirty_used_width = true,
                                  .context = s->context};
    struct vdt_device *dev = vdt_device_open("vhost-vdpa:/dev/vhost-vdpa-0", &error);
    must(dev != NULL, &error);
    s->nic = vdt_nic_new(dev, &nic, &error);
    must(s->nic != NULL, &error);

    s->memfd = vdt_memfd("block", SIZE, &error);
    s->logfd = vdt_memfd("log", 4096, &error);
    s->mem = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, s->memfd, 0);
    s->log = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, s->logfd, 0);
    struct vdt_region_spec region = {
        .gpa = GPA, .size = SIZE, .frontend = FRONTEND, .fd = s->memfd};
    s->map = vdt_guest_map_from_table(&region, 1, &error);
    must(s->map != NULL, &error);
    s->kick = vdt_eventfd(NULL);
    s->call = vdt_eventfd(NULL);
}

static void
stand_start(struct stand *s)
{
    uint64_t features = VDT_BIT(VIRTIO_F_VERSION_1) | VDT_BIT(VIRTIO_BLK_F_SEG_MAX);
    struct vdt_ring_format format = vdt_features_ring_format(features, NUM);
    struct vdt_ring_mem mem = {s->mem, s->mem + 0x4000, s->mem + 0x8000};
    struct vdt_vring_addr addr = {
        .ring = 0, .desc = FRONTEND, .avail = FRONTEND + 0x4000, .used = FRONTEND + 0x8000};

    vdt_device_ring_init(&s->ring, &format, &mem, vdt_ring_pos_initial(VDT_RING_SPLIT));
    MUST(set_features, features);
    MUST(set_memory, s->map);
    MUST(set_num, 0, NUM);
    MUST(set_base, 0, 0);
    MUST(set_addr, &addr);
    MUST(set_call, 0, dup(s->call));
    MUST(set_kick, 0, dup(s->kick));
    MUST(set_enable, 0, true);
}

static void
stand_clear(struct stand *s)
{
    vdt_nic_free(s->nic);
    fake_vhost_remove_all();
    vdt_guest_map_unref(s->map);
    vdt_device_ring_clear(&s->ring);
    munmap(s->mem, SIZE);
    munmap(s->log, 4096);
    vdt_close(s->memfd);
    vdt_close(s->logfd);
    vdt_close(s->kick);
    vdt_close(s->call);
    g_main_context_unref(s->context);
}

/* A request on DATA bytes at the @block-th of them; a write of @value, or a read that finds it. */
static bool
post(struct stand *s, bool read, unsigned block, uint8_t value)
{
    struct vdt_seg segs[3] = {{.len = 16},
                              {.len = DATA, .flags = read ? VDT_SEG_WRITE : 0},
                              {.len = 1, .flags = VDT_SEG_WRITE}};
    struct vdt_chain chain = {.seg = segs, .capacity = 3, .count = 3, .direct = 3, .slots = 3};
    uint16_t id;

    if (!vdt_device_ring_lay(&s->ring, &chain, &id))
        return false;
    uint8_t *at = s->mem + BUFFERS + id * SLOT;
    segs[1].addr = GPA + BUFFERS + id * SLOT; /* page aligned */
    segs[0].addr = segs[1].addr + DATA;
    segs[2].addr = segs[0].addr + 16;
    chain.readable = 16 + (read ? 0 : DATA);
    chain.writable = 1 + (read ? DATA : 0);
    memset(at, read ? 0xee : value, DATA);
    vdt_put32(at + DATA, read ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT);
    vdt_put32(at + DATA + 4, 0);
    vdt_put64(at + DATA + 8, block * (DATA / FAKE_BLOCK_SECTOR));
    at[DATA + 16] = 0xff;
    s->is_read[id] = read;
    s->expected[id] = value;
    vdt_device_ring_post(&s->ring, &chain, id, 0, 0);
    s->posted++;
    vdt_device_ring_publish(&s->ring);
    vdt_event_signal(s->kick);
    return true;
}

static void
reap(struct stand *s)
{
    struct vdt_used used;

    while (g_main_context_iteration(s->context, FALSE))
        ;
    while (vdt_device_ring_reap(&s->ring, &used) == VDT_REAP_USED) {
        const uint8_t *at = s->mem + BUFFERS + used.id * SLOT;

        s->used++;
        s->wrong += at[DATA + 16] != VIRTIO_BLK_S_OK;
        for (unsigned i = 0; i < DATA && s->is_read[used.id]; i += 511)
            s->wrong += at[i] != s->expected[used.id];
    }
    cr_assert_eq(s->ring.fault, 0, "%s", vdt_ring_fault_name(s->ring.fault));
}

/* Until everything that was posted is used. */
static void
settle(struct stand *s)
{
    int64_t end = g_get_monotonic_time() + 8 * G_USEC_PER_SEC;

    while (s->used < s->posted && g_get_monotonic_time() < end) {
        reap(s);
        g_usleep(200);
    }
    cr_assert_eq(s->used, s->posted, "%u of %u requests used", s->used, s->posted);
    cr_assert_eq(s->wrong, 0, "%u wrong", s->wrong);
}

static void
write_and_read(struct stand *s, uint8_t seed)
{
    for (unsigned n = 0; n < 8; n++) {
        while (!post(s, false, n, (uint8_t) (seed + n)))
            reap(s);
    }
    settle(s);
    for (unsigned n = 0; n < 8; n++) {
        while (!post(s, true, n, (uint8_t) (seed + n)))
            reap(s);
    }
    settle(s);
}

static const struct fake_block_options plain;

Test(block, config_space_and_features_are_the_disks)
{
    const struct fake_block_options large = {.capacity = 0x0102030405060708};
    struct stand stand, *s = &stand;
    uint8_t config[8];

    stand_init(s, &large, &plain, VDT_SHADOW_AUTO);
    MUST(get_config, 0, 8, config);
    cr_expect_eq(vdt_get64(config), large.capacity, "no address or link lies over the capacity");
    uint64_t offered = vdt_nic_offered(s->nic);
    cr_expect(offered & VDT_BIT(VIRTIO_BLK_F_SEG_MAX));
    cr_expect_not(offered & VDT_BIT(VIRTIO_BLK_F_CONFIG_WCE), "the guest's setting is not carried");
    stand_clear(s);
}

Test(block, requests_go_through_in_either_mode)
{
    static const enum vdt_shadow_policy policies[] = {VDT_SHADOW_AUTO, VDT_SHADOW_ALWAYS};
    static const char *const modes[] = {"passthrough", "shadow"};

    for (unsigned i = 0; i < 2; i++) {
        struct stand stand, *s = &stand;

        stand_init(s, &plain, &plain, policies[i]);
        stand_start(s);
        write_and_read(s, (uint8_t) (1 + 100 * i));
        g_autoptr(JsonNode) status = vdt_nic_status(s->nic);
        cr_expect_str_eq(json_object_get_string_member(json_node_get_object(status), "mode"),
                         modes[i]);
        cr_expect_eq(fake_block_done(s->device[0]), 16);
        stand_clear(s);
    }
}

/* What the device says that it wrote does not count, whatever --dirty-width says. */
Test(block, whole_chains_are_logged)
{
    const struct fake_block_options lies = {.lies = true};
    struct stand stand, *s = &stand;

    stand_init(s, &lies, &plain, VDT_SHADOW_ALWAYS);
    stand_start(s);
    MUST(set_log, dup(s->logfd), 0, 4096);
    MUST(set_features, VDT_BIT(VIRTIO_F_VERSION_1) | VDT_BIT(VIRTIO_BLK_F_SEG_MAX) | VDT_BIT(26));
    memset(s->log, 0, 4096);
    cr_assert(post(s, true, 0, disk[0]));
    settle(s);
    for (unsigned page = 0; page < 3; page++) {
        unsigned bit = (GPA + BUFFERS) / 4096 + page;
        cr_expect(s->log[bit / 8] >> (bit % 8) & 1, "page %u of the buffer", page);
    }
    stand_clear(s);
}

Test(block, a_swap_loses_and_doubles_no_request)
{
    const struct fake_block_options slow = {.latency_us = 2000};
    struct stand stand, *s = &stand;
    struct vdt_swap_report report = {0};
    GError *error = NULL;

    stand_init(s, &slow, &plain, VDT_SHADOW_ALWAYS);
    stand_start(s);
    write_and_read(s, 10);
    while (post(s, false, s->posted % 8, 77))
        ;
    must(vdt_nic_swap(s->nic, "vhost-vdpa:/dev/vhost-vdpa-1", &report, &error), &error);
    settle(s);
    cr_expect_gt(fake_block_done(s->device[1]), 0);
    write_and_read(s, 20);
    vdt_swap_report_clear(&report);
    stand_clear(s);
}

/* A request that the device may or may not have carried out is not to be done again: no SUSPEND, no
 * stop before the last one is done. */
Test(block, without_suspend_it_is_drained_or_stays)
{
    const struct fake_block_options poor = {.no_suspend = true};
    struct stand stand, *s = &stand;
    struct vdt_swap_report report = {0};
    GError *error = NULL;

    stand_init(s, &poor, &plain, VDT_SHADOW_AUTO);
    stand_start(s);
    write_and_read(s, 30);
    fake_block_hang(s->device[0], true);
    cr_assert(post(s, false, 0, 1));
    g_usleep(20000);
    cr_assert_not(vdt_nic_swap(s->nic, "vhost-vdpa:/dev/vhost-vdpa-1", &report, &error));
    cr_expect(strstr(error->message, "did not finish 1"), "%s", error->message);
    g_clear_error(&error);
    vdt_swap_report_clear(&report);
    fake_block_hang(s->device[0], false);
    settle(s);
    cr_expect_eq(fake_block_done(s->device[1]), 0);
    must(vdt_nic_swap(s->nic, "vhost-vdpa:/dev/vhost-vdpa-1", &report, &error), &error);
    write_and_read(s, 40);
    cr_expect_eq(fake_block_done(s->device[1]), 16);
    vdt_swap_report_clear(&report);
    stand_clear(s);
}

Test(block, another_disk_is_refused)
{
    const struct fake_block_options larger = {.capacity = 4096};
    struct stand stand, *s = &stand;
    struct vdt_swap_report report = {0};
    g_autoptr(GError) error = NULL;

    stand_init(s, &plain, &larger, VDT_SHADOW_AUTO);
    stand_start(s);
    write_and_read(s, 50);
    cr_assert_not(vdt_nic_swap(s->nic, "vhost-vdpa:/dev/vhost-vdpa-1", &report, &error));
    cr_expect(strstr(error->message, "device has 4096 sectors, the state needs 2048"), "%s",
              error->message);
    vdt_swap_report_clear(&report);
    cr_assert_not(vdt_nic_swap(s->nic, "sim:", &report, NULL), "nor is a network device");
    write_and_read(s, 60);
    vdt_swap_report_clear(&report);
    stand_clear(s);
}

Test(block, its_snapshot_is_one_of_a_block_device)
{
    struct stand stand, *s = &stand;
    GError *error = NULL;

    stand_init(s, &plain, &plain, VDT_SHADOW_ALWAYS);
    stand_start(s);
    write_and_read(s, 70);
    VDT_AUTO(snapshot) snapshot = vdt_nic_snapshot(s->nic, &error);
    must(snapshot != NULL, &error);
    cr_expect_eq(snapshot->device_id, VIRTIO_ID_BLOCK);
    cr_expect_eq(snapshot->cvq_index, -1);
    cr_expect_eq(vdt_get64(snapshot->config), FAKE_BLOCK_SECTORS);
    g_autoptr(GBytes) bytes = vdt_snapshot_encode(snapshot, &error);
    must(bytes != NULL, &error);
    VDT_AUTO(snapshot)
    again = vdt_snapshot_decode(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), &error);
    must(again != NULL, &error);
    stand_clear(s);
}
