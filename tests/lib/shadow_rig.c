/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/shadow_rig.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef VDT_PLAIN_TEST
#include "lib/plain_assert.h"
#else
#include <criterion/criterion.h>
#endif

#include "base/fd.h"
#include "base/wire.h"
#include "virtio/features.h"

/* Where things lie in guest memory, from RIG_GPA on. */
#define RINGS_AT 0x10000u    /* 64 KiB for each ring's areas */
#define BUFFERS_AT 0x100000u /* RIG_NUM * 2 buffers of 2 KiB */
#define BUFFER 2048u

__attribute__((weak)) struct vdt_device *
vdt_test_sim(struct vdt_device *dev)
{
    return dev;
}

/* By reference: the call that sets the error is an argument beside it. */
static void
check(bool ok, GError **error)
{
    cr_assert(ok, "%s", *error ? (*error)->message : "failed without a message");
}

static bool
restore(void *ctx, const struct vdt_cvq_port *port, GError **error)
{
    ((struct rig *) ctx)->restores++;
    return true;
}

static void
ring_broken(void *ctx, uint32_t ring, const char *reason)
{
    ((struct rig *) ctx)->broken++;
}

static void
failed(void *ctx, const GError *reason)
{
    ((struct rig *) ctx)->failed++;
}

struct vdt_shadow_options
rig_options(enum vdt_shadow_policy policy)
{
    return (struct vdt_shadow_options){
        .policy = policy, .workers = 1, .drain_ms = 500, .feature_mask = UINT64_MAX};
}

static struct vdt_ring_addr
ring_gpa(const struct rig *rig, unsigned i)
{
    uint64_t at = RIG_GPA + rig->rings_at + i * 0x10000u;

    return (struct vdt_ring_addr){.desc = at, .driver = at + 0x4000, .device = at + 0x8000};
}

static void *
host(struct rig *rig, uint64_t gpa)
{
    return rig->mem + (gpa - RIG_GPA);
}

void
rig_init(struct rig *rig, const char *spec, const struct vdt_shadow_options *options,
         uint64_t features)
{
    g_autofree char *name = g_strdup_printf("sim:%s", spec);
    GError *error = NULL;

    memset(rig, 0, sizeof(*rig));
    rig->context = g_main_context_new();
    rig->seen_size = 1u << 20;
    rig->seen = g_malloc0(rig->seen_size);
    rig->logfd = -1;

    struct vdt_device *dev = vdt_device_open(name, &error);
    check(dev != NULL, &error);
    struct vdt_shadow_events events = {
        .restore = restore, .ring_broken = ring_broken, .failed = failed};
    struct vdt_shadow_options own = *options;
    own.context = rig->context;
    check(VDT_DEVICE_CALL(dev, get_config, &error, 0, rig->mac, 6), &error);
    rig->shadow = vdt_shadow_new(dev, &own, &events, rig, &error);
    check(rig->shadow != NULL, &error);
    rig->features = features | VDT_BIT(VIRTIO_F_VERSION_1);

    rig->memfd = vdt_memfd("rig", RIG_SIZE, &error);
    check(rig->memfd >= 0, &error);
    rig->mem = mmap(NULL, RIG_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, rig->memfd, 0);
    struct vdt_region_spec region = {
        .gpa = RIG_GPA, .size = RIG_SIZE, .frontend = RIG_FRONTEND, .fd = rig->memfd};
    rig->map = vdt_guest_map_from_table(&region, 1, &error);
    check(rig->map != NULL, &error);

    rig_reboot(rig, RINGS_AT);
    for (unsigned i = 0; i < 2; i++) {
        rig->kick[i] = vdt_eventfd(NULL);
        rig->call[i] = vdt_eventfd(NULL);
    }
}

void
rig_reboot(struct rig *rig, uint32_t rings_at)
{
    struct vdt_ring_format format = vdt_features_ring_format(rig->features, RIG_NUM);

    rig->rings_at = rings_at;
    memset(rig->mem + rings_at, 0, 0x20000);
    for (unsigned i = 0; i < 2; i++) {
        struct vdt_ring_addr gpa = ring_gpa(rig, i);
        struct vdt_ring_mem mem = {host(rig, gpa.desc), host(rig, gpa.driver),
                                   host(rig, gpa.device)};
        vdt_device_ring_clear(&rig->ring[i]);
        vdt_device_ring_init(&rig->ring[i], &format, &mem, vdt_ring_pos_initial(format.kind));
    }
    rig->sent_done = rig->received = rig->next_send;
}

void
rig_clear(struct rig *rig)
{
    vdt_shadow_free(rig->shadow);
    vdt_guest_map_unref(rig->map);
    munmap(rig->mem, RIG_SIZE);
    if (rig->log)
        munmap(rig->log, 4096);
    vdt_close(rig->memfd);
    vdt_close(rig->logfd);
    for (unsigned i = 0; i < 2; i++) {
        vdt_device_ring_clear(&rig->ring[i]);
        vdt_close(rig->kick[i]);
        vdt_close(rig->call[i]);
    }
    g_free(rig->seen);
    g_main_context_unref(rig->context);
}

void
rig_set_rings(struct rig *rig, const uint32_t base[2])
{
    GError *error = NULL;

    for (unsigned i = 0; i < 2; i++) {
        struct vdt_ring_addr gpa = ring_gpa(rig, i);
        uint64_t shift = RIG_FRONTEND - RIG_GPA;

        check(vdt_shadow_set_num(rig->shadow, i, RIG_NUM, &error), &error);
        check(vdt_shadow_set_base(rig->shadow, i, base[i], &error), &error);
        check(vdt_shadow_set_addr(rig->shadow, i, gpa.desc + shift, gpa.driver + shift,
                                  gpa.device + shift, &error),
              &error);
        check(vdt_shadow_set_call(rig->shadow, i, dup(rig->call[i]), &error), &error);
        check(vdt_shadow_set_kick(rig->shadow, i, dup(rig->kick[i]), &error), &error);
        check(vdt_shadow_set_enable(rig->shadow, i, true, &error), &error);
    }
    check(vdt_shadow_update(rig->shadow, &error), &error);
}

void
rig_start(struct rig *rig)
{
    uint32_t base[2] = {0, 0};
    GError *error = NULL;

    check(vdt_shadow_set_features(rig->shadow, rig->features, false, &error), &error);
    check(vdt_shadow_set_memory(rig->shadow, rig->map, &error), &error);
    rig_set_rings(rig, base);
}

void
rig_stop(struct rig *rig, uint32_t base[2])
{
    GError *error = NULL;

    for (unsigned i = 0; i < 2; i++)
        check(vdt_shadow_get_base(rig->shadow, i, &base[i], &error), &error);
}

/* Post one buffer; its address goes with the id, so that a completion finds it. */
static bool
post(struct rig *rig, unsigned i, uint32_t len, bool write, const uint8_t *fill)
{
    struct vdt_seg seg = {.len = len, .flags = write ? VDT_SEG_WRITE : 0};
    struct vdt_chain chain = {.seg = &seg, .capacity = 1, .count = 1, .direct = 1, .slots = 1};
    uint16_t id;

    if (!vdt_device_ring_lay(&rig->ring[i], &chain, &id))
        return false;
    seg.addr = RIG_GPA + BUFFERS_AT + (uint64_t) (i * RIG_NUM + id) * BUFFER;
    chain.writable = write ? len : 0;
    chain.readable = write ? 0 : len;
    if (fill)
        memcpy(host(rig, seg.addr), fill, len);
    vdt_device_ring_post(&rig->ring[i], &chain, id, 0, 0);
    return true;
}

static void
publish(struct rig *rig, unsigned i)
{
    if (vdt_device_ring_publish(&rig->ring[i]))
        vdt_event_signal(rig->kick[i]);
}

static void
fill_frame(const struct rig *rig, uint8_t frame[12 + RIG_FRAME], uint32_t sequence)
{
    memset(frame, 0, 12 + RIG_FRAME);
    memcpy(frame + 12, rig->mac, 6);
    memcpy(frame + 18, rig->mac, 6);
    vdt_put16(frame + 24, 0xb588); /* local experimental ethertype 0x88b5 */
    vdt_put32(frame + 26, sequence);
    for (unsigned i = 30; i < 12 + RIG_FRAME; i++)
        frame[i] = (uint8_t) (sequence * 31 + i);
}

unsigned
rig_send(struct rig *rig, unsigned n)
{
    uint8_t frame[12 + RIG_FRAME];
    unsigned done = 0;

    while (done < n) {
        fill_frame(rig, frame, rig->next_send);
        if (!post(rig, 1, sizeof(frame), false, frame))
            break;
        rig->next_send++;
        done++;
    }
    publish(rig, 1);
    return done;
}

static void
take_frame(struct rig *rig, const uint8_t *buffer, uint32_t len)
{
    uint8_t expected[12 + RIG_FRAME];
    uint32_t sequence = vdt_get32(buffer + 26);

    fill_frame(rig, expected, sequence);
    if (len != sizeof(expected) || sequence >= rig->seen_size ||
        memcmp(buffer + 12, expected + 12, RIG_FRAME) != 0) {
        rig->corrupt++;
        return;
    }
    if (rig->seen[sequence]++)
        rig->duplicated++;
    rig->received++;
}

void
rig_poll(struct rig *rig)
{
    struct vdt_used used;

    while (g_main_context_iteration(rig->context, FALSE))
        ;
    while (vdt_device_ring_reap(&rig->ring[1], &used) == VDT_REAP_USED)
        rig->sent_done++;
    while (vdt_device_ring_reap(&rig->ring[0], &used) == VDT_REAP_USED)
        take_frame(rig, host(rig, RIG_GPA + BUFFERS_AT + (uint64_t) used.id * BUFFER), used.len);
    cr_assert_eq(rig->ring[0].fault, 0, "receive ring: %s",
                 vdt_ring_fault_name(rig->ring[0].fault));
    cr_assert_eq(rig->ring[1].fault, 0, "transmit ring: %s",
                 vdt_ring_fault_name(rig->ring[1].fault));
    while (post(rig, 0, BUFFER, true, NULL))
        ;
    publish(rig, 0);
    vdt_device_ring_calls_on(&rig->ring[0]);
    vdt_device_ring_calls_on(&rig->ring[1]);
}

bool
rig_settle(struct rig *rig, unsigned ms)
{
    int64_t end = g_get_monotonic_time() + (int64_t) ms * 1000;

    while (rig->sent_done < rig->next_send || rig->received < rig->next_send) {
        if (g_get_monotonic_time() > end)
            return false;
        rig_poll(rig);
        g_usleep(50);
    }
    return true;
}

#define QUIET_MS 30 /* longer than any device of these tests takes its time */

bool
rig_drain(struct rig *rig, unsigned ms)
{
    int64_t now = g_get_monotonic_time(), end = now + (int64_t) ms * 1000;
    int64_t last = now;
    uint32_t received = rig->received;

    while (rig->sent_done < rig->next_send ||
           (rig->received < rig->next_send && now < last + QUIET_MS * 1000)) {
        if (now > end)
            break;
        rig_poll(rig);
        g_usleep(50);
        now = g_get_monotonic_time();
        if (rig->sent_done < rig->next_send || rig->received != received)
            last = now;
        received = rig->received;
    }
    return rig->sent_done == rig->next_send;
}

/* Where everything stands, for a failure's message. */
static char *
describe(struct rig *rig)
{
    GString *text = g_string_new(NULL);
    struct vdt_device *dev = vdt_shadow_device(rig->shadow);

    g_string_printf(text, "%s (%s)", vdt_mode_name(vdt_shadow_mode(rig->shadow)),
                    vdt_shadow_mode_reason(rig->shadow));
    for (uint32_t i = 0; i < 2; i++) {
        struct vdt_shadow_ring_view v;
        vdt_shadow_view_ring(rig->shadow, i, &v);
        g_free(v.requests);
        g_string_append_printf(text,
                               "\nring %u: %s at %u/%u, chains %" G_GUINT64_FORMAT
                               " returned %" G_GUINT64_FORMAT "; driver at %u/%u",
                               i,
                               v.broken   ? v.broken
                               : v.active ? "runs"
                                          : "stands",
                               v.pos.avail, v.pos.used, v.chains, v.returned,
                               rig->ring[i].pos.avail, rig->ring[i].pos.used);
    }
    JsonNode *node = dev->ops->describe(dev);
    g_autofree char *json = json_to_string(node, TRUE);
    g_string_append_printf(text, "\n%s", json);
    json_node_unref(node);
    return g_string_free(text, FALSE);
}

void
rig_traffic(struct rig *rig, unsigned n)
{
    uint32_t goal = rig->next_send + n;
    int64_t end = g_get_monotonic_time() + 8 * G_USEC_PER_SEC;

    while (rig->next_send < goal) {
        if (g_get_monotonic_time() > end)
            cr_assert_fail("traffic stands still at frame %u of %u: %u done, %u received, %s",
                           rig->next_send, goal, rig->sent_done, rig->received, describe(rig));
        rig_poll(rig);
        if (rig_send(rig, MIN(16, goal - rig->next_send)) == 0)
            g_usleep(20);
    }
}

void
rig_log_start(struct rig *rig)
{
    GError *error = NULL;

    if (!rig->log) {
        rig->logfd = vdt_memfd("log", 4096, &error);
        check(rig->logfd >= 0, &error);
        rig->log = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, rig->logfd, 0);
    }
    check(vdt_shadow_set_log(rig->shadow, dup(rig->logfd), 0, 4096, &error), &error);
    check(vdt_shadow_set_features(rig->shadow, rig->features, true, &error), &error);
}

bool
rig_log_test(const struct rig *rig, uint64_t gpa)
{
    return rig->log[gpa / 4096 / 8] >> (gpa / 4096 % 8) & 1;
}
