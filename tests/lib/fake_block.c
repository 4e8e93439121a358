/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/fake_block.h"

#include <endian.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "virtio/features.h"
#include "virtio/guest_ring.h"
#include "virtio/net_ctrl.h"

#define RINGS 2u
#define MAPS 16u
#define NUM_MAX 256u

struct block_ring {
    uint16_t num;
    struct vdt_ring_addr addr;
    struct vdt_ring_pos pos;
    int kick, call;
    bool enabled, live;
    struct vdt_guest_ring ring;
};

struct block {
    struct vdt_device dev;
    struct fake_block_options options;
    pthread_mutex_t lock;
    pthread_t thread;
    int wake;
    bool quit, hang, suspended;
    uint8_t status;
    uint64_t features;
    struct block_map {
        uint64_t iova, size;
        uint8_t *host;
        bool used;
    } maps[MAPS];
    struct block_ring rings[RINGS];
    unsigned done;
};

static struct block *
lock(struct vdt_device *dev)
{
    struct block *b = (struct block *) dev;

    pthread_mutex_lock(&b->lock);
    return b;
}

static bool
leave(struct block *b, bool ok, GError **error, const char *why)
{
    pthread_mutex_unlock(&b->lock);
    if (!ok)
        g_set_error(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED, "block: %s", why);
    return ok;
}

static void *
at(struct block *b, uint64_t iova, uint64_t len)
{
    for (unsigned i = 0; i < MAPS; i++) {
        const struct block_map *m = &b->maps[i];
        if (m->used && iova >= m->iova && iova + len <= m->iova + m->size)
            return m->host + (iova - m->iova);
    }
    return NULL;
}

static bool
read_foreign(void *ctx, uint64_t addr, void *dst, uint32_t len)
{
    void *host = at(ctx, addr, len);

    if (host)
        memcpy(dst, host, len);
    return host != NULL;
}

/* Header, data, status byte; whatever is off is an I/O error. Returns the bytes written. */
static uint32_t
carry_out(struct block *b, const struct vdt_chain *chain)
{
    const struct vdt_seg *last = &chain->seg[chain->count - 1];
    struct virtio_blk_outhdr header;
    uint32_t written = 1;
    uint8_t *status = chain->count > 1 ? at(b, last->addr + last->len - 1, 1) : NULL;

    if (!status || !read_foreign(b, chain->seg[0].addr, &header, sizeof(header)))
        return 0;
    uint64_t offset = le64toh(header.sector) * FAKE_BLOCK_SECTOR;
    uint32_t type = le32toh(header.type);
    *status = VIRTIO_BLK_S_OK;
    for (uint32_t i = 1; i + 1 < chain->count; i++) {
        const struct vdt_seg *seg = &chain->seg[i];
        uint8_t *host = at(b, seg->addr, seg->len);
        bool in = seg->flags & VDT_SEG_WRITE;

        if (!host || offset + seg->len > FAKE_BLOCK_SECTORS * FAKE_BLOCK_SECTOR ||
            in != (type == VIRTIO_BLK_T_IN)) {
            *status = VIRTIO_BLK_S_IOERR;
            break;
        }
        if (in)
            memcpy(host, b->options.disk + offset, seg->len);
        else
            memcpy(b->options.disk + offset, host, seg->len);
        written += in ? seg->len : 0;
        offset += seg->len;
    }
    return b->options.lies ? 1 : written;
}

static void
work(struct block *b, struct block_ring *r)
{
    struct vdt_seg segs[3 * NUM_MAX];
    struct vdt_chain chain = {.seg = segs, .capacity = G_N_ELEMENTS(segs)};
    const struct vdt_reader reader = {.read = read_foreign, .ctx = b};

    while (r->live && !b->hang && !b->suspended && (b->status & VIRTIO_CONFIG_S_DRIVER_OK) &&
           vdt_guest_ring_take(&r->ring, &reader, &chain) == VDT_TAKE_CHAIN) {
        if (b->options.latency_us) {
            pthread_mutex_unlock(&b->lock);
            g_usleep(b->options.latency_us);
            pthread_mutex_lock(&b->lock);
            if (!r->live || b->suspended || b->hang) {
                vdt_guest_ring_untake(&r->ring, &chain);
                break;
            }
        }
        uint32_t len = carry_out(b, &chain);
        vdt_guest_ring_give(&r->ring, chain.id, chain.slots, len);
        vdt_guest_ring_publish(&r->ring);
        b->done++;
        if (r->call >= 0)
            vdt_event_signal(r->call);
    }
}

static void *
run(void *ctx)
{
    struct block *b = ctx;

    pthread_mutex_lock(&b->lock);
    while (!b->quit) {
        struct pollfd fds[RINGS + 1] = {{.fd = b->wake, .events = POLLIN}};

        for (unsigned i = 0; i < RINGS; i++) {
            work(b, &b->rings[i]);
            fds[i + 1] = (struct pollfd){.fd = b->rings[i].kick, .events = POLLIN};
        }
        pthread_mutex_unlock(&b->lock);
        poll(fds, RINGS + 1, 5);
        pthread_mutex_lock(&b->lock);
        vdt_event_drain(b->wake);
        for (unsigned i = 0; i < RINGS; i++) {
            if (b->rings[i].kick >= 0)
                vdt_event_drain(b->rings[i].kick);
        }
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

static bool
latch(struct block *b, struct block_ring *r)
{
    struct vdt_ring_format format = vdt_features_ring_format(b->features, r->num);
    struct vdt_ring_mem mem = {
        .desc = at(b, r->addr.desc, vdt_ring_desc_size(&format)),
        .driver = at(b, r->addr.driver, vdt_ring_driver_size(&format)),
        .device = at(b, r->addr.device, vdt_ring_device_size(&format)),
    };

    if (!mem.desc || !mem.driver || !mem.device)
        return false;
    vdt_guest_ring_init(&r->ring, &format, &mem, r->pos);
    r->live = true;
    return true;
}

static void
reset(struct block *b)
{
    b->status = 0;
    b->features = 0;
    b->suspended = false;
    for (unsigned i = 0; i < RINGS; i++) {
        vdt_close(b->rings[i].kick);
        vdt_close(b->rings[i].call);
        b->rings[i] = (struct block_ring){.kick = -1, .call = -1};
    }
}

static bool
set_features(struct vdt_device *dev, uint64_t features, GError **error)
{
    struct block *b = lock(dev);
    bool ok = !(features & ~dev->info.features);

    b->features = features;
    return leave(b, ok, error, "does not offer that");
}

static bool
set_status(struct vdt_device *dev, uint8_t status, GError **error)
{
    struct block *b = lock(dev);
    bool ok = true;

    if (status == 0)
        reset(b);
    if ((status & ~b->status) & VIRTIO_CONFIG_S_DRIVER_OK) {
        for (unsigned i = 0; i < RINGS; i++)
            ok = ok && (!b->rings[i].enabled || latch(b, &b->rings[i]));
    }
    b->status = ok ? status : b->status;
    vdt_event_signal(b->wake);
    return leave(b, ok, error, "a ring is not mapped");
}

static bool
get_status(struct vdt_device *dev, uint8_t *ret_status, GError **error)
{
    struct block *b = lock(dev);

    *ret_status = b->status;
    return leave(b, true, error, NULL);
}

static bool
map(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size, void *host, bool writable,
    GError **error)
{
    struct block *b = lock(dev);
    bool ok = false;

    for (unsigned i = 0; !ok && i < MAPS; i++) {
        if (!b->maps[i].used) {
            b->maps[i] = (struct block_map){iova, size, host, true};
            ok = true;
        }
    }
    return leave(b, ok, error, "no more maps");
}

static bool
unmap(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size, GError **error)
{
    struct block *b = lock(dev);
    bool ok = false;

    for (unsigned i = 0; i < MAPS; i++) {
        if (b->maps[i].used && b->maps[i].iova == iova && b->maps[i].size == size) {
            b->maps[i].used = false;
            ok = true;
        }
    }
    return leave(b, ok, error, "not mapped so");
}

static bool
set_num(struct vdt_device *dev, uint32_t ring, uint16_t num, GError **error)
{
    struct block *b = lock(dev);

    b->rings[ring].num = num;
    return leave(b, num <= NUM_MAX, error, "too large");
}

static bool
set_base(struct vdt_device *dev, uint32_t ring, struct vdt_ring_pos pos, GError **error)
{
    struct block *b = lock(dev);

    b->rings[ring].pos = (struct vdt_ring_pos){pos.avail, pos.avail};
    return leave(b, true, error, NULL);
}

static bool
get_base(struct vdt_device *dev, uint32_t ring, struct vdt_ring_pos *ret_pos, GError **error)
{
    struct block *b = lock(dev);

    *ret_pos = b->rings[ring].live ? b->rings[ring].ring.pos : b->rings[ring].pos;
    ret_pos->used = ret_pos->avail;
    return leave(b, !b->options.no_suspend, error, "cannot tell");
}

static bool
set_addr(struct vdt_device *dev, uint32_t ring, const struct vdt_ring_addr *addr, GError **error)
{
    struct block *b = lock(dev);

    b->rings[ring].addr = *addr;
    return leave(b, true, error, NULL);
}

static bool
set_fd(struct block *b, int *slot, int fd, GError **error)
{
    vdt_close(*slot);
    *slot = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
    vdt_event_signal(b->wake);
    return leave(b, true, error, NULL);
}

static bool
set_kick(struct vdt_device *dev, uint32_t ring, int fd, GError **error)
{
    struct block *b = lock(dev);

    return set_fd(b, &b->rings[ring].kick, fd, error);
}

static bool
set_call(struct vdt_device *dev, uint32_t ring, int fd, GError **error)
{
    struct block *b = lock(dev);

    return set_fd(b, &b->rings[ring].call, fd, error);
}

static bool
set_enable(struct vdt_device *dev, uint32_t ring, bool enable, GError **error)
{
    struct block *b = lock(dev);
    struct block_ring *r = &b->rings[ring];
    bool ok = true;

    if (!enable && r->live)
        r->pos = r->ring.pos;
    r->enabled = enable;
    r->live = false;
    if (enable && (b->status & VIRTIO_CONFIG_S_DRIVER_OK))
        ok = latch(b, r);
    vdt_event_signal(b->wake);
    return leave(b, ok, error, "the ring is not mapped");
}

static bool
set_suspended(struct vdt_device *dev, bool suspended, GError **error)
{
    struct block *b = lock(dev);

    b->suspended = suspended;
    vdt_event_signal(b->wake);
    return leave(b, !b->options.no_suspend, error, "cannot be suspended");
}

static bool
suspend(struct vdt_device *dev, GError **error)
{
    return set_suspended(dev, true, error);
}

static bool
resume(struct vdt_device *dev, GError **error)
{
    return set_suspended(dev, false, error);
}

static bool
get_config(struct vdt_device *dev, uint32_t offset, void *buf, uint32_t len, GError **error)
{
    struct block *b = lock(dev);
    struct virtio_blk_config config = {
        .capacity = htole64(b->options.capacity ? b->options.capacity : FAKE_BLOCK_SECTORS),
        .seg_max = htole32(126),
        .blk_size = htole32(FAKE_BLOCK_SECTOR),
        .num_queues = htole16(RINGS),
    };
    bool ok = offset <= sizeof(config) && len <= sizeof(config) - offset;

    if (ok)
        memcpy(buf, (uint8_t *) &config + offset, len);
    return leave(b, ok, error, "config space ends there");
}

static bool
set_config_call(struct vdt_device *dev, int fd, GError **error)
{
    return true;
}

static void
close_block(struct vdt_device *dev)
{
    struct block *b = lock(dev);

    b->quit = true;
    vdt_event_signal(b->wake);
    pthread_mutex_unlock(&b->lock);
    pthread_join(b->thread, NULL);
    reset(b);
    vdt_close(b->wake);
    pthread_mutex_destroy(&b->lock);
    g_free(b);
}

static JsonNode *
describe(struct vdt_device *dev)
{
    return json_node_new(JSON_NODE_NULL);
}

static const struct vdt_device_ops ops = {
    .kind = "block",
    .close = close_block,
    .set_features = set_features,
    .set_status = set_status,
    .get_status = get_status,
    .map = map,
    .unmap = unmap,
    .set_num = set_num,
    .set_base = set_base,
    .get_base = get_base,
    .set_addr = set_addr,
    .set_kick = set_kick,
    .set_call = set_call,
    .set_enable = set_enable,
    .suspend = suspend,
    .resume = resume,
    .get_config = get_config,
    .set_config_call = set_config_call,
    .describe = describe,
};

struct vdt_device *
fake_block_new(const struct fake_block_options *options)
{
    struct block *b = g_new0(struct block, 1);
    struct vdt_device_info *info = &b->dev.info;

    b->dev.ops = &ops;
    b->options = *options;
    *info = (struct vdt_device_info){
        .name = "block",
        .driver = "block",
        .device_id = VIRTIO_ID_BLOCK,
        .features = VDT_BIT(VIRTIO_F_VERSION_1) | VDT_BIT(VIRTIO_F_ACCESS_PLATFORM) |
                    VDT_BIT(VIRTIO_BLK_F_SEG_MAX) | VDT_BIT(VIRTIO_BLK_F_BLK_SIZE) |
                    VDT_BIT(VIRTIO_BLK_F_FLUSH) | VDT_BIT(VIRTIO_BLK_F_MQ) |
                    VDT_BIT(VIRTIO_BLK_F_CONFIG_WCE),
        .rings = RINGS,
        .ring_max = NUM_MAX,
        .config_size = sizeof(struct virtio_blk_config),
        .iova_last = UINT64_MAX,
        .groups = 1,
        .asids = 1,
        .suspend = !options->no_suspend,
        .resume = !options->no_suspend,
        .ring_state = !options->no_suspend,
        .set_base = true,
        .enable_after_driver_ok = true,
        .readdress = true,
        .disable = true,
        .maps_survive_reset = true,
    };
    pthread_mutex_init(&b->lock, NULL);
    b->wake = vdt_eventfd(NULL);
    reset(b);
    pthread_create(&b->thread, NULL, run, b);
    return &b->dev;
}

unsigned
fake_block_done(struct vdt_device *dev)
{
    struct block *b = lock(dev);
    unsigned done = b->done;

    pthread_mutex_unlock(&b->lock);
    return done;
}

void
fake_block_hang(struct vdt_device *dev, bool hang)
{
    struct block *b = lock(dev);

    b->hang = hang;
    vdt_event_signal(b->wake);
    pthread_mutex_unlock(&b->lock);
}
