/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bench/guest.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "control/replay.h"
#include "virtio/features.h"

#define RING_AT(i) ((i) *0x4000ull) /* descriptors, 4 KiB on the avail, 8 KiB on the used ring */
#define BUFFERS_AT (2ull << 20)
#define DEADLINE_MS 10000u

static void
check(bool ok, GError **error)
{
    if (!ok)
        g_error("%s", *error ? (*error)->message : "failed without a message");
}

static bool
restore(void *ctx, const struct vdt_cvq_port *port, GError **error)
{
    struct bench_guest *guest = ctx;
    struct vdt_replay_report report = {0};

    if (!port)
        return true;
    const struct vdt_device_cvq_config config = {.format = port->format,
                                                 .mem = port->mem,
                                                 .out = port->out,
                                                 .out_iova = port->out_iova,
                                                 .out_size = port->out_size,
                                                 .in = port->in,
                                                 .in_iova = port->in_iova,
                                                 .in_size = port->in_size,
                                                 .kick_fd = port->kick_fd,
                                                 .call_fd = port->call_fd,
                                                 .device_name = "bench"};
    struct vdt_device_cvq *cvq = vdt_device_cvq_new(&config);
    bool ok = vdt_replay(&guest->net, guest->features, cvq, DEADLINE_MS, &report, error);
    guest->replayed = report.acked;
    vdt_replay_report_clear(&report);
    vdt_device_cvq_free(cvq);
    return ok;
}

/* One region more each; all of the further ones are the same memory. */
static struct vdt_region_spec
region(const struct bench_guest *guest, unsigned i)
{
    uint64_t offset = i == 0 ? 0 : GUEST_MEMORY + (uint64_t) i * 2 * GUEST_REGION;

    return (struct vdt_region_spec){.gpa = GUEST_GPA + offset,
                                    .size = i == 0 ? GUEST_MEMORY : GUEST_REGION,
                                    .frontend = GUEST_FRONTEND + offset,
                                    .fd = guest->memfd};
}

struct vdt_guest_map *
guest_more_memory(const struct bench_guest *guest)
{
    struct vdt_region_spec spec = region(guest, vdt_guest_map_count(guest->map));
    GError *error = NULL;
    struct vdt_guest_map *more = vdt_guest_map_with(guest->map, &spec, &error);

    check(more != NULL, &error);
    return more;
}

static void
init_memory(struct bench_guest *guest, unsigned regions)
{
    g_autofree struct vdt_region_spec *specs = g_new(struct vdt_region_spec, regions);
    GError *error = NULL;

    guest->memfd = vdt_memfd("bench", GUEST_MEMORY, &error);
    check(guest->memfd >= 0, &error);
    guest->memory = mmap(NULL, GUEST_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, guest->memfd, 0);
    g_assert(guest->memory != MAP_FAILED);
    for (unsigned i = 0; i < regions; i++)
        specs[i] = region(guest, i);
    guest->map = vdt_guest_map_from_table(specs, regions, &error);
    check(guest->map != NULL, &error);
}

static void
init_ring(struct bench_guest *guest, uint32_t i)
{
    struct vdt_ring_format format = vdt_features_ring_format(guest->features, GUEST_NUM);
    uint8_t *at = guest->memory + RING_AT(i);
    struct vdt_ring_mem mem = {at, at + 0x1000, at + 0x2000};

    vdt_device_ring_init(&guest->ring[i], &format, &mem, vdt_ring_pos_initial(format.kind));
    guest->base[i] = vdt_ring_pos_to_base(&format, vdt_ring_pos_initial(format.kind));
    guest->kick[i] = vdt_eventfd(NULL);
    guest->call[i] = vdt_eventfd(NULL);
}

void
guest_init(struct bench_guest *guest, struct vdt_device *dev, enum vdt_shadow_policy policy,
           unsigned workers, uint64_t features, uint32_t rings, unsigned regions)
{
    const struct vdt_shadow_events events = {.restore = restore};
    GError *error = NULL;

    *guest = (struct bench_guest){.context = g_main_context_new(),
                                  .features = features | VDT_BIT(VIRTIO_F_VERSION_1),
                                  .rings = rings};
    const struct vdt_shadow_options options = {.policy = policy,
                                               .workers = workers,
                                               .drain_ms = DEADLINE_MS,
                                               .feature_mask = UINT64_MAX,
                                               .context = guest->context};

    vdt_net_state_init(&guest->net);
    init_memory(guest, regions);
    guest->shadow = vdt_shadow_new(dev, &options, &events, guest, &error);
    check(guest->shadow != NULL, &error);
    for (uint32_t i = 0; i < rings; i++)
        init_ring(guest, i);
    check(vdt_shadow_set_features(guest->shadow, guest->features, false, &error), &error);
    check(vdt_shadow_set_memory(guest->shadow, guest->map, &error), &error);
}

void
guest_clear(struct bench_guest *guest)
{
    vdt_shadow_free(guest->shadow);
    vdt_guest_map_unref(guest->map);
    munmap(guest->memory, GUEST_MEMORY);
    vdt_close(guest->memfd);
    for (uint32_t i = 0; i < guest->rings; i++) {
        vdt_device_ring_clear(&guest->ring[i]);
        vdt_close(guest->kick[i]);
        vdt_close(guest->call[i]);
    }
    g_main_context_unref(guest->context);
}

void
guest_start(struct bench_guest *guest)
{
    struct vdt_shadow *shadow = guest->shadow;
    GError *error = NULL;

    for (uint32_t i = 0; i < guest->rings; i++) {
        uint64_t at = GUEST_FRONTEND + RING_AT(i);

        check(vdt_shadow_set_num(shadow, i, GUEST_NUM, &error) &&
                  vdt_shadow_set_base(shadow, i, guest->base[i], &error) &&
                  vdt_shadow_set_addr(shadow, i, at, at + 0x1000, at + 0x2000, &error) &&
                  vdt_shadow_set_call(shadow, i, dup(guest->call[i]), &error) &&
                  vdt_shadow_set_kick(shadow, i, dup(guest->kick[i]), &error) &&
                  vdt_shadow_set_enable(shadow, i, true, &error),
              &error);
    }
    check(vdt_shadow_update(shadow, &error), &error);
}

void
guest_stop(struct bench_guest *guest)
{
    GError *error = NULL;

    for (uint32_t i = 0; i < guest->rings; i++)
        check(vdt_shadow_get_base(guest->shadow, i, &guest->base[i], &error), &error);
    check(vdt_shadow_update(guest->shadow, &error), &error);
}

uint8_t *
guest_buffer(struct bench_guest *guest, uint32_t ring, uint16_t id)
{
    return guest->memory + BUFFERS_AT + ((uint64_t) ring * GUEST_NUM + id) * GUEST_BUFFER;
}

unsigned
guest_post(struct bench_guest *guest, uint32_t ring, unsigned n, uint32_t len, bool write)
{
    unsigned done = 0;

    for (; done < n; done++) {
        struct vdt_seg seg = {.len = len, .flags = write ? VDT_SEG_WRITE : 0};
        struct vdt_chain chain = {.seg = &seg,
                                  .capacity = 1,
                                  .count = 1,
                                  .direct = 1,
                                  .slots = 1,
                                  .writable = write ? len : 0,
                                  .readable = write ? 0 : len};
        uint16_t id;

        if (!vdt_device_ring_lay(&guest->ring[ring], &chain, &id))
            break;
        seg.addr = GUEST_GPA + (uint64_t) (guest_buffer(guest, ring, id) - guest->memory);
        vdt_device_ring_post(&guest->ring[ring], &chain, id, 0, 0);
    }
    return done;
}

void
guest_kick(struct bench_guest *guest, uint32_t ring)
{
    if (vdt_device_ring_publish(&guest->ring[ring]))
        vdt_event_signal(guest->kick[ring]);
}
