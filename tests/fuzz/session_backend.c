/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session_backend.h"

#include <fcntl.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"

#define PACKED (1ull << 34)
#define LOG_ALL (1ull << 26)

static bool
verdict(const struct backend *backend, GError **error)
{
    FUZZ_CHECK(backend->disconnects == 0);
    if (backend->refuse)
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_FAILED, "the backend refuses");
    return !backend->refuse;
}

static bool
runs(const struct backend_ring *ring)
{
    return ring->started && ring->enabled;
}

static bool
any_runs(const struct backend *backend)
{
    for (unsigned i = 0; i < BACKEND_RINGS; i++) {
        if (runs(&backend->rings[i]))
            return true;
    }
    return false;
}

static struct backend_ring *
ring_of(struct backend *backend, uint32_t index)
{
    FUZZ_CHECK(index < BACKEND_RINGS);
    return &backend->rings[index];
}

static struct vdt_ring_format
format_of(const struct backend *backend, const struct backend_ring *ring)
{
    return (struct vdt_ring_format){
        .kind = backend->features & PACKED ? VDT_RING_PACKED : VDT_RING_SPLIT,
        .num = (uint16_t) ring->num,
    };
}

static void
areas_of(const struct backend *backend, const struct backend_ring *ring, uint64_t at[3],
         uint64_t len[3])
{
    const struct vdt_ring_format format = format_of(backend, ring);

    at[0] = ring->addr.desc;
    at[1] = ring->addr.avail;
    at[2] = ring->addr.used;
    len[0] = vdt_ring_desc_size(&format);
    len[1] = vdt_ring_driver_size(&format);
    len[2] = vdt_ring_device_size(&format);
}

/* From here on the device works on @ring. */
static void
check_running(const struct backend *backend, const struct backend_ring *ring)
{
    const struct vdt_ring_format format = format_of(backend, ring);
    const struct vdt_ring_addr addr = {ring->addr.desc, ring->addr.avail, ring->addr.used};
    uint64_t at[3], len[3], other_at[3], other_len[3];

    FUZZ_CHECK(ring->num > 0 && ring->num <= BACKEND_RING_MAX && ring->addr_set);
    FUZZ_CHECK(vdt_ring_num_valid(format.kind, ring->num));
    FUZZ_CHECK(vdt_ring_addr_aligned(&format, &addr));
    FUZZ_CHECK(!(backend->features & LOG_ALL) || backend->log);
    areas_of(backend, ring, at, len);
    for (unsigned i = 0; i < 3; i++)
        FUZZ_CHECK(backend->map && vdt_guest_map_at_frontend(backend->map, at[i], len[i]));
    for (unsigned r = 0; r < BACKEND_RINGS; r++) {
        const struct backend_ring *other = &backend->rings[r];

        if (other == ring || !runs(other))
            continue;
        areas_of(backend, other, other_at, other_len);
        for (unsigned i = 0; i < 9; i++)
            FUZZ_CHECK(at[i / 3] + len[i / 3] <= other_at[i % 3] ||
                       other_at[i % 3] + other_len[i % 3] <= at[i / 3]);
    }
}

/* Ours from now on; it has to be open and, for events, must not block. */
static void
take_fd(int fd, bool event)
{
    int flags = fcntl(fd, F_GETFL);

    FUZZ_CHECK(flags >= 0 && (!event || flags & O_NONBLOCK));
    close(fd);
}

static uint64_t
features(void *ctx)
{
    return BACKEND_FEATURES;
}

static bool
set_features(void *ctx, uint64_t acked, GError **error)
{
    struct backend *backend = ctx;

    FUZZ_CHECK(!(acked & ~(BACKEND_FEATURES | LOG_ALL)));
    if (any_runs(backend)) {
        FUZZ_CHECK(!((acked ^ backend->features) & ~LOG_ALL));
        FUZZ_CHECK(!(acked & LOG_ALL) || backend->was_logged);
    }
    if (!verdict(backend, error))
        return false;
    if (any_runs(backend) && (acked & LOG_ALL))
        backend->log = true;
    else if ((backend->features & LOG_ALL) && !(acked & LOG_ALL))
        backend->log = false;
    backend->features = acked;
    return true;
}

static void
set_protocol_features(void *ctx, uint64_t acked)
{
    FUZZ_CHECK(((struct backend *) ctx)->disconnects == 0);
}

static uint32_t
ring_count(void *ctx)
{
    return BACKEND_RINGS;
}

static uint16_t
ring_max(void *ctx)
{
    return BACKEND_RING_MAX;
}

static bool
log_covers(const struct backend *backend, uint64_t end)
{
    return backend->log_size >= (end + 32767) / 32768;
}

static bool
set_memory(void *ctx, struct vdt_guest_map *map, GError **error)
{
    struct backend *backend = ctx;

    FUZZ_CHECK(map != NULL);
    if ((backend->features & LOG_ALL) && backend->log)
        FUZZ_CHECK(log_covers(backend, vdt_guest_map_end(map)));
    if (!verdict(backend, error))
        return false;
    vdt_guest_map_unref(backend->map);
    backend->map = vdt_guest_map_ref(map);
    return true;
}

static bool
set_log(void *ctx, int fd, uint64_t offset, uint64_t size, GError **error)
{
    struct backend *backend = ctx;

    take_fd(fd, false);
    FUZZ_CHECK(size > 0 && offset <= UINT64_MAX - size);
    if (!verdict(backend, error))
        return false;
    backend->log_size = size;
    if (backend->map)
        FUZZ_CHECK(log_covers(backend, vdt_guest_map_end(backend->map)));
    backend->log = backend->was_logged = true;
    return true;
}

static bool
set_num(void *ctx, uint32_t index, uint32_t num, GError **error)
{
    struct backend *backend = ctx;
    struct backend_ring *ring = ring_of(backend, index);

    FUZZ_CHECK(num > 0 && num <= BACKEND_RING_MAX);
    FUZZ_CHECK(num == ring->num || !runs(ring));
    if (!verdict(backend, error))
        return false;
    ring->num = num;
    return true;
}

static bool
set_addr(void *ctx, const struct vdt_vring_addr *addr, GError **error)
{
    struct backend *backend = ctx;
    struct backend_ring *ring = ring_of(backend, addr->ring);

    FUZZ_CHECK(!runs(ring) || (addr->desc == ring->addr.desc && addr->avail == ring->addr.avail &&
                               addr->used == ring->addr.used));
    if (!verdict(backend, error))
        return false;
    ring->addr = *addr;
    ring->addr_set = true;
    return true;
}

static bool
set_base(void *ctx, uint32_t index, uint32_t base, GError **error)
{
    struct backend *backend = ctx;

    FUZZ_CHECK(!runs(ring_of(backend, index)));
    return verdict(backend, error);
}

static enum vdt_answer
get_base(void *ctx, uint32_t index, uint32_t *ret_base, GError **error)
{
    struct backend *backend = ctx;
    struct backend_ring *ring = ring_of(backend, index);

    FUZZ_CHECK(backend->pending < 0);
    if (!verdict(backend, error))
        return VDT_ANSWER_ERROR;
    ring->started = false;
    *ret_base = 7;
    if (backend->later)
        backend->pending = (int) index;
    return backend->later ? VDT_ANSWER_LATER : VDT_ANSWER_NOW;
}

static bool
set_kick(void *ctx, uint32_t index, int fd, GError **error)
{
    struct backend *backend = ctx;
    struct backend_ring *ring = ring_of(backend, index);

    if (fd >= 0)
        take_fd(fd, true);
    if (!verdict(backend, error))
        return false;
    /* With what it has; memory that went away meanwhile is another matter. */
    if (!ring->started && ring->enabled)
        check_running(backend, ring);
    ring->started = true;
    return true;
}

static bool
set_call(void *ctx, uint32_t index, int fd, GError **error)
{
    ring_of(ctx, index);
    if (fd >= 0)
        take_fd(fd, true);
    return verdict(ctx, error);
}

static bool
set_enable(void *ctx, uint32_t index, bool enable, GError **error)
{
    struct backend *backend = ctx;
    struct backend_ring *ring = ring_of(backend, index);

    if (!verdict(backend, error))
        return false;
    if (enable && !ring->enabled && ring->started)
        check_running(backend, ring);
    ring->enabled = enable;
    return true;
}

static bool
get_config(void *ctx, uint32_t offset, uint32_t len, uint8_t *buf, GError **error)
{
    FUZZ_CHECK(offset <= VHOST_USER_CONFIG_MAX && len <= VHOST_USER_CONFIG_MAX);
    memset(buf, 0x5a, len);
    return verdict(ctx, error);
}

static bool
set_config(void *ctx, uint32_t offset, uint32_t len, const uint8_t *buf, uint32_t flags,
           GError **error)
{
    volatile uint8_t sum = 0;

    FUZZ_CHECK(len <= VHOST_USER_CONFIG_MAX);
    for (uint32_t i = 0; i < len; i++)
        sum = (uint8_t) (sum + buf[i]);
    return verdict(ctx, error);
}

static uint8_t
get_status(void *ctx)
{
    return 7;
}

static bool
set_status(void *ctx, uint8_t status, GError **error)
{
    struct backend *backend = ctx;

    if (!verdict(backend, error))
        return false;
    for (unsigned i = 0; status == 0 && i < BACKEND_RINGS; i++)
        backend->rings[i].started = false;
    return true;
}

static bool
reset_device(void *ctx, GError **error)
{
    struct backend *backend = ctx;

    if (!verdict(backend, error))
        return false;
    memset(backend->rings, 0, sizeof(backend->rings));
    backend->features = 0;
    backend->log = false;
    return true;
}

static bool
send_rarp(void *ctx, const uint8_t mac[6], GError **error)
{
    return verdict(ctx, error);
}

static bool
set_mtu(void *ctx, uint16_t mtu, GError **error)
{
    return verdict(ctx, error);
}

static bool
get_inflight(void *ctx, uint16_t queues, uint16_t size, int *ret_fd, uint64_t *ret_size,
             uint64_t *ret_offset, GError **error)
{
    if (!verdict(ctx, error))
        return false;
    *ret_fd = vdt_eventfd(error);
    *ret_size = 4096;
    *ret_offset = 0;
    return *ret_fd >= 0;
}

static bool
set_inflight(void *ctx, uint16_t queues, uint16_t size, int fd, uint64_t mmap_size,
             uint64_t mmap_offset, GError **error)
{
    take_fd(fd, false);
    return verdict(ctx, error);
}

static bool
state_begin(void *ctx, bool save, int fd, GError **error)
{
    take_fd(fd, false);
    return verdict(ctx, error);
}

static bool
state_check(void *ctx, GError **error)
{
    return verdict(ctx, error);
}

static void
disconnected(void *ctx)
{
    struct backend *backend = ctx;

    FUZZ_CHECK(backend->disconnects++ == 0);
}

static const struct vdt_backend_ops ops = {
    .features = features,
    .set_features = set_features,
    .set_protocol_features = set_protocol_features,
    .queue_num = ring_count,
    .ring_count = ring_count,
    .ring_max = ring_max,
    .set_memory = set_memory,
    .set_log = set_log,
    .set_num = set_num,
    .set_addr = set_addr,
    .set_base = set_base,
    .get_base = get_base,
    .set_kick = set_kick,
    .set_call = set_call,
    .set_err = set_call,
    .set_enable = set_enable,
    .get_config = get_config,
    .set_config = set_config,
    .get_status = get_status,
    .set_status = set_status,
    .reset_device = reset_device,
    .send_rarp = send_rarp,
    .set_mtu = set_mtu,
    .get_inflight = get_inflight,
    .set_inflight = set_inflight,
    .state_begin = state_begin,
    .state_check = state_check,
    .disconnected = disconnected,
};

static void
ended(void *ctx, const GError *reason)
{
    struct backend *backend = ctx;

    FUZZ_CHECK(backend->disconnects == 1 && backend->ends++ == 0);
    vdt_session_free(g_steal_pointer(&backend->session));
}

void
backend_init(struct backend *backend, int fd)
{
    *backend = (struct backend){.context = g_main_context_new(), .pending = -1};
    backend->session = vdt_session_new(fd, &ops, backend, backend->context, ended);
}

void
backend_answer_later(struct backend *backend, unsigned how)
{
    g_autoptr(GError) error = NULL;
    int ring = backend->pending;

    if (!backend->session)
        return;
    if (how & 2)
        g_set_error_literal(&error, VDT_ERROR, VDT_ERROR_FAILED, "no position");
    if (how & 1)
        ring++;
    else
        backend->pending = -1;
    if (ring >= 0)
        vdt_session_answer_base(backend->session, (uint32_t) ring, 9, error);
}

void
backend_clear(struct backend *backend)
{
    vdt_session_free(backend->session);
    FUZZ_CHECK(backend->disconnects == 1);
    vdt_guest_map_unref(backend->map);
    g_main_context_unref(backend->context);
}
