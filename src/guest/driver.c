/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guest/driver.h"

#include <endian.h>
#include <string.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/wire.h"
#include "virtio/features.h"

#define RINGS_GPA 0x100000u /* the first megabyte is the firmware's */
#define REPLY_STRIDE VDT_RAM_PAGE
#define FRAME_ROOM 65536u
#define RX_SMALL 512u /* of a short receive buffer; the shortest frame fits with its header */

uint64_t
vdt_driver_features(uint64_t offered, bool packed)
{
    uint64_t speaks =
        VDT_BIT(VIRTIO_F_VERSION_1) | VDT_BIT(VIRTIO_F_IN_ORDER) |
        VDT_BIT(VIRTIO_RING_F_EVENT_IDX) | VDT_BIT(VIRTIO_RING_F_INDIRECT_DESC) |
        VDT_BIT(VIRTIO_NET_F_MAC) | VDT_BIT(VIRTIO_NET_F_MTU) | VDT_BIT(VIRTIO_NET_F_STATUS) |
        VDT_BIT(VIRTIO_NET_F_MRG_RXBUF) | VDT_BIT(VIRTIO_NET_F_SPEED_DUPLEX) |
        VDT_BIT(VIRTIO_NET_F_CSUM) | VDT_BIT(VIRTIO_NET_F_GUEST_CSUM) |
        VDT_BIT(VIRTIO_NET_F_GUEST_TSO4) | VDT_BIT(VIRTIO_NET_F_GUEST_TSO6) |
        VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_CTRL_RX) |
        VDT_BIT(VIRTIO_NET_F_CTRL_VLAN) | VDT_BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) |
        VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) | VDT_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE) |
        VDT_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | VDT_BIT(VIRTIO_NET_F_MQ) |
        VDT_BIT(VIRTIO_NET_F_RSS) | VDT_BIT(VIRTIO_NET_F_HASH_REPORT) |
        VDT_BIT(VIRTIO_NET_F_NOTF_COAL) | VDT_BIT(VIRTIO_NET_F_VQ_NOTF_COAL) |
        VDT_BIT(VIRTIO_NET_F_DEVICE_STATS) | (packed ? VDT_BIT(VIRTIO_F_RING_PACKED) : 0);
    uint64_t features = offered & speaks;

    if (!(features & VDT_BIT(VIRTIO_NET_F_CTRL_VQ)))
        features &= ~vdt_net_features_needing_ctrl_vq();
    return features;
}

/* Take @size bytes of the low region, from a page boundary on. */
static uint64_t
carve(uint64_t *at, uint64_t size)
{
    uint64_t gpa = *at;

    *at += (size + VDT_RAM_PAGE - 1) & ~(uint64_t) (VDT_RAM_PAGE - 1);
    return gpa;
}

static bool
lay_out(struct vdt_driver *driver, GError **error)
{
    const struct vdt_ram_region *low = &driver->ram->region[0], *high = &driver->ram->region[1];
    struct vdt_ring_format format =
        vdt_features_ring_format(driver->config.features, driver->config.num);
    unsigned rings = 2u * driver->config.pairs + 1u;
    uint64_t at = RINGS_GPA, end = low->gpa + low->size, left;

    if (at + rings * vdt_queue_size(&format) +
            VDT_DRIVER_COMMANDS * (VDT_DRIVER_COMMAND_MAX + REPLY_STRIDE) + 64 * VDT_RAM_PAGE >
        end) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE,
                    "%lu bytes of guest memory do not hold %u rings of %u",
                    (unsigned long) driver->ram->size, rings, driver->config.num);
        return false;
    }
    for (unsigned i = 0; i < driver->config.pairs; i++) {
        struct vdt_driver_pair *pair = &driver->pair[i];

        pair->frame = g_malloc(FRAME_ROOM);
        if (!vdt_queue_init(&pair->rx, 2 * i, &format, driver->ram,
                            carve(&at, vdt_queue_size(&format)), error) ||
            !vdt_queue_init(&pair->tx, 2 * i + 1, &format, driver->ram,
                            carve(&at, vdt_queue_size(&format)), error))
            return false;
    }
    if (driver->has_control &&
        !vdt_queue_init(&driver->control,
                        vdt_net_cvq_index(driver->config.features, driver->config.pairs), &format,
                        driver->ram, carve(&at, vdt_queue_size(&format)), error))
        return false;
    driver->command_gpa = carve(&at, VDT_DRIVER_COMMANDS * VDT_DRIVER_COMMAND_MAX);
    driver->reply_gpa = carve(&at, VDT_DRIVER_COMMANDS * REPLY_STRIDE);
    /* Both kinds of buffers from both regions. */
    left = (end - at) / 2 & ~(uint64_t) (VDT_RAM_PAGE - 1);
    vdt_pool_add(&driver->rx_pool, carve(&at, left), left);
    vdt_pool_add(&driver->tx_pool, at, end - at);
    vdt_pool_add(&driver->rx_pool, high->gpa, high->size / 2);
    vdt_pool_add(&driver->tx_pool, high->gpa + high->size / 2, high->size / 2);
    return true;
}

bool
vdt_driver_init(struct vdt_driver *driver, const struct vdt_driver_config *config,
                struct vdt_ram *ram, GError **error)
{
    *driver = (struct vdt_driver){.config = *config, .ram = ram, .refill = true};
    driver->has_control = config->features & VDT_BIT(VIRTIO_NET_F_CTRL_VQ);
    driver->header = config->features & VDT_BIT(VIRTIO_NET_F_HASH_REPORT)
                         ? sizeof(struct virtio_net_hdr_v1_hash)
                         : sizeof(struct virtio_net_hdr_v1);
    driver->pair = g_new0(struct vdt_driver_pair, config->pairs);
    for (unsigned i = 0; i < config->pairs; i++) {
        driver->pair[i].rx.kick = driver->pair[i].rx.call = -1;
        driver->pair[i].tx.kick = driver->pair[i].tx.call = -1;
    }
    driver->control.kick = driver->control.call = -1;
    vdt_pool_init(&driver->rx_pool);
    vdt_pool_init(&driver->tx_pool);
    driver->rand = g_rand_new_with_seed((guint32) config->seed);
    vdt_frames_init(&driver->frames, config->seed);
    if (lay_out(driver, error))
        return true;
    vdt_driver_clear(driver);
    return false;
}

void
vdt_driver_clear(struct vdt_driver *driver)
{
    for (unsigned i = 0; driver->pair && i < driver->config.pairs; i++) {
        vdt_queue_clear(&driver->pair[i].rx);
        vdt_queue_clear(&driver->pair[i].tx);
        g_free(driver->pair[i].frame);
    }
    g_clear_pointer(&driver->pair, g_free);
    vdt_queue_clear(&driver->control);
    vdt_pool_clear(&driver->rx_pool);
    vdt_pool_clear(&driver->tx_pool);
    g_clear_pointer(&driver->rand, g_rand_free);
    vdt_frames_clear(&driver->frames);
}

unsigned
vdt_driver_queue_count(const struct vdt_driver *driver)
{
    return 2u * driver->config.pairs + driver->has_control;
}

struct vdt_queue *
vdt_driver_queue(struct vdt_driver *driver, unsigned i)
{
    if (i >= 2u * driver->config.pairs)
        return &driver->control;
    return i & 1 ? &driver->pair[i / 2].tx : &driver->pair[i / 2].rx;
}

bool
vdt_driver_move(struct vdt_driver *driver, struct vdt_ram *ram, GError **error)
{
    driver->ram = ram;
    for (unsigned i = 0; i < vdt_driver_queue_count(driver); i++) {
        if (!vdt_queue_move(vdt_driver_queue(driver, i), ram, error))
            return false;
    }
    return true;
}

static bool
chance(struct vdt_driver *driver, unsigned percent)
{
    return (unsigned) g_rand_int_range(driver->rand, 0, 100) < percent;
}

static struct vdt_pool *
pool_of(struct vdt_driver *driver, bool write)
{
    return write ? &driver->rx_pool : &driver->tx_pool;
}

static void
give_back(struct vdt_driver *driver, const struct vdt_queue_chain *chain)
{
    for (unsigned i = 0; i < chain->count; i++)
        vdt_pool_give(pool_of(driver, chain->part[i].write), chain->part[i].gpa);
    if (chain->table)
        vdt_pool_give(&driver->tx_pool, chain->table);
}

/* Buffers for @count parts, each as long as @len says, and a table where one is wanted. */
static bool
take_buffers(struct vdt_driver *driver, struct vdt_queue_chain *chain, unsigned count,
             const uint32_t *len, bool write, bool indirect)
{
    *chain = (struct vdt_queue_chain){0};
    for (unsigned i = 0; i < count; i++) {
        struct vdt_queue_part *part = &chain->part[i];

        if (!vdt_pool_take(pool_of(driver, write), driver->rand, &part->gpa)) {
            give_back(driver, chain);
            return false;
        }
        part->len = len[i];
        part->write = write;
        chain->count++;
    }
    if (indirect && !vdt_pool_take(&driver->tx_pool, driver->rand, &chain->table)) {
        chain->table = 0;
        give_back(driver, chain);
        return false;
    }
    return true;
}

static bool
has(const struct vdt_driver *driver, unsigned feature)
{
    return driver->config.features & VDT_BIT(feature);
}

/* One more receive chain, of a random shape; any of them takes at least the shortest frame. */
static bool
post_receive(struct vdt_driver *driver, struct vdt_queue *queue)
{
    bool indirect = has(driver, VIRTIO_RING_F_INDIRECT_DESC) && chance(driver, 25);
    uint32_t len[3] = {VDT_POOL_BUFFER};
    struct vdt_queue_chain chain;
    unsigned count = 1;

    if (has(driver, VIRTIO_NET_F_MRG_RXBUF) && chance(driver, 30)) {
        len[0] = RX_SMALL;
    } else if (chance(driver, 30)) {
        len[0] = driver->header;
        len[1] = VDT_POOL_BUFFER;
        count = 2;
    } else if (indirect) {
        len[0] = len[1] = len[2] = 600;
        count = 3;
    }
    if (!vdt_queue_has_room(queue, count, indirect) ||
        !take_buffers(driver, &chain, count, len, true, indirect))
        return false;
    if (!vdt_queue_post(queue, chain.part, count, chain.table, 0)) {
        give_back(driver, &chain);
        return false;
    }
    return true;
}

/* A frame is whole: behind its header it must be one of ours. */
static void
take_frame(struct vdt_driver *driver, struct vdt_driver_pair *pair)
{
    uint64_t number;

    vdt_frames_take(&driver->frames, pair->frame + driver->header,
                    pair->frame_len < driver->header ? 0 : pair->frame_len - driver->header,
                    &number);
    pair->frame_len = 0;
}

static void
take_buffer(struct vdt_driver *driver, struct vdt_driver_pair *pair,
            const struct vdt_queue_chain *chain, uint32_t len)
{
    bool first = pair->missing == 0;

    for (unsigned i = 0; i < chain->count && len; i++) {
        uint32_t part = MIN(len, chain->part[i].len);

        if (pair->frame_len + part > FRAME_ROOM)
            break;
        memcpy(pair->frame + pair->frame_len, vdt_ram_at(driver->ram, chain->part[i].gpa, part),
               part);
        pair->frame_len += part;
        len -= part;
    }
    if (first) {
        const struct virtio_net_hdr_v1 *header = (const void *) pair->frame;
        uint32_t buffers = pair->frame_len >= driver->header ? le16toh(header->num_buffers) : 1;

        pair->missing = has(driver, VIRTIO_NET_F_MRG_RXBUF) ? MAX(buffers, 1) : 1;
    }
    if (--pair->missing == 0)
        take_frame(driver, pair);
}

static bool
poll_receive(struct vdt_driver *driver, struct vdt_driver_pair *pair)
{
    struct vdt_queue_chain chain;
    bool some = false;
    uint32_t len;

    while (vdt_queue_reap(&pair->rx, &chain, &len)) {
        take_buffer(driver, pair, &chain, len);
        give_back(driver, &chain);
        some = true;
    }
    while (driver->refill && post_receive(driver, &pair->rx))
        some = true;
    vdt_queue_kick(&pair->rx);
    return some;
}

static bool
poll_transmit(struct vdt_driver *driver, struct vdt_driver_pair *pair)
{
    struct vdt_queue_chain chain;
    bool some = false;
    uint32_t len;

    while (vdt_queue_reap(&pair->tx, &chain, &len)) {
        give_back(driver, &chain);
        some = true;
    }
    return some;
}

static bool
poll_control(struct vdt_driver *driver)
{
    struct vdt_queue_chain chain;
    bool some = false;
    uint32_t len;

    while (driver->has_control && vdt_queue_reap(&driver->control, &chain, &len)) {
        unsigned slot = (unsigned) (chain.cookie & 0xff);

        driver->answered(driver->answered_ctx, chain.cookie >> 8,
                         vdt_ram_at(driver->ram, driver->reply_gpa + slot * REPLY_STRIDE, 1), len);
        driver->slots_busy &= ~(1u << slot);
        some = true;
    }
    return some;
}

bool
vdt_driver_poll(struct vdt_driver *driver)
{
    bool some = poll_control(driver);

    for (unsigned i = 0; i < driver->config.pairs; i++) {
        some |= poll_transmit(driver, &driver->pair[i]);
        some |= poll_receive(driver, &driver->pair[i]);
    }
    return some;
}

bool
vdt_driver_sleep(struct vdt_driver *driver)
{
    bool more = false;

    for (unsigned i = 0; i < vdt_driver_queue_count(driver); i++) {
        struct vdt_queue *queue = vdt_driver_queue(driver, i);

        if (vdt_event_drain(queue->call))
            queue->calls++;
        more |= vdt_queue_sleep(queue);
    }
    return more;
}

/* Spread @len bytes behind a header over the parts of a chain. */
static void
write_parts(struct vdt_driver *driver, const struct vdt_queue_chain *chain, const uint8_t *bytes)
{
    for (unsigned i = 0; i < chain->count; i++) {
        const struct vdt_queue_part *part = &chain->part[i];

        memcpy(vdt_ram_at(driver->ram, part->gpa, part->len), bytes, part->len);
        vdt_ram_wrote(driver->ram, part->gpa, part->len);
        bytes += part->len;
    }
}

bool
vdt_driver_send(struct vdt_driver *driver, unsigned index, const struct vdt_frame_plan *plan)
{
    struct vdt_driver_pair *pair = &driver->pair[index];
    uint8_t bytes[sizeof(struct virtio_net_hdr_v1_hash) + VDT_FRAME_MAX + 4] = {0};
    bool indirect = has(driver, VIRTIO_RING_F_INDIRECT_DESC) && chance(driver, 25);
    uint32_t total = driver->header + plan->len, len[3] = {total};
    struct vdt_queue_chain chain;
    unsigned count = 1;

    if (chance(driver, 40)) {
        len[0] = driver->header;
        len[1] = plan->len;
        count = 2;
    }
    if (indirect) {
        len[0] = driver->header;
        len[1] = plan->len / 3;
        len[2] = plan->len - len[1];
        count = 3;
    }
    if (!vdt_queue_has_room(&pair->tx, count, indirect) ||
        !take_buffers(driver, &chain, count, len, false, indirect))
        return false;
    uint64_t number = vdt_frames_make(&driver->frames, plan, bytes + driver->header);
    write_parts(driver, &chain, bytes);
    /* There is room, so there is a chain. */
    return vdt_queue_post(&pair->tx, chain.part, count, chain.table, number);
}

void
vdt_driver_kick(struct vdt_driver *driver)
{
    for (unsigned i = 0; i < vdt_driver_queue_count(driver); i++)
        vdt_queue_kick(vdt_driver_queue(driver, i));
}

bool
vdt_driver_command(struct vdt_driver *driver, const uint8_t *bytes, uint32_t len,
                   uint32_t reply_room, uint64_t cookie)
{
    unsigned slot = (unsigned) __builtin_ctz(~driver->slots_busy), count = 0;
    uint64_t out = driver->command_gpa + slot * VDT_DRIVER_COMMAND_MAX;
    uint64_t in = driver->reply_gpa + slot * REPLY_STRIDE;
    struct vdt_queue_part part[4];

    g_assert(driver->has_control && len >= 2 && len <= VDT_DRIVER_COMMAND_MAX &&
             reply_room <= VDT_DRIVER_REPLY_MAX);
    if (slot >= VDT_DRIVER_COMMANDS ||
        !vdt_queue_has_room(&driver->control, G_N_ELEMENTS(part), false))
        return false;
    memcpy(vdt_ram_at(driver->ram, out, len), bytes, len);
    vdt_ram_wrote(driver->ram, out, len);
    /* Some drivers give header, data and ack apart, some together. */
    if (len > 2 && chance(driver, 70)) {
        part[count++] = (struct vdt_queue_part){out, 2, false};
        part[count++] = (struct vdt_queue_part){out + 2, len - 2, false};
    } else {
        part[count++] = (struct vdt_queue_part){out, len, false};
    }
    if (reply_room && chance(driver, 50)) {
        part[count++] = (struct vdt_queue_part){in, 1, true};
        part[count++] = (struct vdt_queue_part){in + 1, reply_room, true};
    } else {
        part[count++] = (struct vdt_queue_part){in, 1 + reply_room, true};
    }
    if (!vdt_queue_post(&driver->control, part, count, 0, cookie << 8 | slot))
        return false;
    driver->slots_busy |= 1u << slot;
    vdt_queue_kick(&driver->control);
    return true;
}

void
vdt_driver_sum(struct vdt_driver *driver, struct vdt_driver_sums *ret_sums)
{
    *ret_sums = (struct vdt_driver_sums){0};
    for (unsigned i = 0; i < vdt_driver_queue_count(driver); i++) {
        const struct vdt_queue *queue = vdt_driver_queue(driver, i);
        uint64_t *in_flight = queue == &driver->control ? &ret_sums->commands_in_flight
                              : i & 1                   ? &ret_sums->tx_in_flight
                                                        : &ret_sums->rx_in_flight;

        ret_sums->available += queue->available;
        ret_sums->used += queue->used;
        ret_sums->duplicated += queue->duplicated;
        *in_flight += vdt_queue_in_flight(queue);
        ret_sums->kicks += queue->kicks;
        ret_sums->calls += queue->calls;
        if (!ret_sums->broken)
            ret_sums->broken = vdt_queue_broken(queue);
    }
    ret_sums->duplicated += driver->frames.duplicated;
}
