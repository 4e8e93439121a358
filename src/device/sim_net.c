/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Frames: from a transmit ring to the wire, from the wire to a receive ring. Device thread. */
#include "device/sim.h"

#include <string.h>

#include "base/wire.h"

#define BATCH 64u
#define ETHERNET_HEADER 14u

size_t
vdt_sim_header_size(const struct vdt_sim *sim)
{
    return sim->features & VDT_BIT(VIRTIO_NET_F_HASH_REPORT) ? sizeof(struct virtio_net_hdr_v1_hash)
                                                             : sizeof(struct virtio_net_hdr_v1);
}

uint64_t
vdt_sim_guest_offloads(const struct vdt_sim *sim)
{
    uint64_t all = VDT_BIT(VIRTIO_NET_F_GUEST_CSUM) | VDT_BIT(VIRTIO_NET_F_GUEST_TSO4) |
                   VDT_BIT(VIRTIO_NET_F_GUEST_TSO6) | VDT_BIT(VIRTIO_NET_F_GUEST_ECN) |
                   VDT_BIT(VIRTIO_NET_F_GUEST_UFO);

    return sim->net.set & VDT_NET_OFFLOADS ? sim->net.guest_offloads : sim->features & all;
}

struct vdt_sim_frame *
vdt_sim_frame_new(const void *data, uint32_t len)
{
    struct vdt_sim_frame *frame = g_malloc(sizeof *frame + len);

    memset(frame, 0, sizeof *frame);
    frame->len = len;
    if (data)
        memcpy(frame->data, data, len);
    return frame;
}

static bool
gso_allowed(uint8_t type, uint64_t features, unsigned tso4, unsigned tso6)
{
    switch (type & (uint8_t) ~VIRTIO_NET_HDR_GSO_ECN) {
    case VIRTIO_NET_HDR_GSO_NONE:
        return true;
    case VIRTIO_NET_HDR_GSO_TCPV4:
        return features & VDT_BIT(tso4);
    case VIRTIO_NET_HDR_GSO_TCPV6:
        return features & VDT_BIT(tso6);
    default:
        return false;
    }
}

/* What a driver may ask for, by what it negotiated (virtio 1.2, 5.1.6.2). */
static bool
header_valid(const struct vdt_sim *sim, const struct vdt_sim_frame *frame)
{
    const struct virtio_net_hdr_v1 *hdr = &frame->hdr;
    uint32_t start = le16toh(hdr->csum_start), offset = le16toh(hdr->csum_offset);

    if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
        if (!(sim->features & VDT_BIT(VIRTIO_NET_F_CSUM)) || start + offset + 2 > frame->len)
            return false;
    } else if (hdr->gso_type != VIRTIO_NET_HDR_GSO_NONE) {
        return false;
    }
    return gso_allowed(hdr->gso_type, sim->features, VIRTIO_NET_F_HOST_TSO4,
                       VIRTIO_NET_F_HOST_TSO6);
}

/* NULL: malformed (counted), or a DMA fault (the ring is broken then). */
static struct vdt_sim_frame *
read_frame(struct vdt_sim *sim, uint32_t index, const struct vdt_sim_request *request)
{
    uint32_t header = (uint32_t) vdt_sim_header_size(sim), total = request->chain.readable;
    g_autofree uint8_t *bytes = NULL;
    struct vdt_sim_frame *frame;

    if (total < header + ETHERNET_HEADER || total - header > VDT_SIM_FRAME_MAX) {
        sim->rings[index].malformed++;
        return NULL;
    }
    bytes = g_malloc(total);
    if (!vdt_sim_request_read(sim, index, request, bytes, total))
        return NULL;
    frame = vdt_sim_frame_new(bytes + header, total - header);
    memcpy(&frame->hdr, bytes, sizeof frame->hdr);
    frame->hdr.num_buffers = 0;
    frame->pair = (uint16_t) (index / 2);
    if (!header_valid(sim, frame)) {
        sim->rings[index].malformed++;
        g_free(frame);
        return NULL;
    }
    return frame;
}

static void
transmit_one(struct vdt_sim *sim, uint32_t index, struct vdt_sim_request *request)
{
    struct vdt_sim_ring *ring = &sim->rings[index];
    struct vdt_sim_frame *frame = read_frame(sim, index, request);

    if (ring->broken) {
        g_free(request);
        return;
    }
    if (frame) {
        ring->frames++;
        ring->bytes += frame->len;
        sim->frames_out++;
        vdt_sim_learn_flow(sim, frame);
        sim->backend->send(sim, frame);
    }
    vdt_sim_complete(sim, index, request, 0);
}

/* Fetch up to what is held back and a batch more; true when the ring may hold still more. */
static bool
fetch_batch(struct vdt_sim *sim, uint32_t index, unsigned want, int64_t due)
{
    struct vdt_sim_ring *ring = &sim->rings[index];

    while (ring->stock.length < want) {
        if (!vdt_sim_fetch(sim, index, due) &&
            (ring->broken || !vdt_guest_ring_kicks_on(&ring->ring)))
            return false;
    }
    return true;
}

bool
vdt_sim_transmit(struct vdt_sim *sim, uint32_t index, int64_t now, int64_t *ret_due)
{
    struct vdt_sim_ring *ring = &sim->rings[index];
    unsigned hold = sim->options.hold;
    bool more = fetch_batch(sim, index, hold + BATCH, now + sim->options.latency);

    for (unsigned i = 0; i < BATCH && ring->stock.length > hold && !ring->broken; i++) {
        unsigned at = vdt_sim_pick(sim, ring);
        struct vdt_sim_request *request = g_queue_peek_nth(&ring->stock, at);

        if (request->due > now) {
            *ret_due = MIN(*ret_due, request->due);
            more = false;
            break;
        }
        transmit_one(sim, index, g_queue_pop_nth(&ring->stock, at));
    }
    if (!ring->broken)
        vdt_sim_ring_flush(sim, index);
    return more && !ring->broken;
}

/* The checksum that a sender left to us, for a receiver that did not take GUEST_CSUM. */
static void
fill_checksum(struct vdt_sim_frame *frame)
{
    uint32_t start = le16toh(frame->hdr.csum_start), at = start + le16toh(frame->hdr.csum_offset);
    uint64_t sum = 0;

    for (uint32_t i = start; i < frame->len; i++)
        sum += (i - start) & 1 ? frame->data[i] : (uint32_t) frame->data[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    sum = ~sum & 0xffff;
    if (!sum)
        sum = 0xffff; /* zero means "none" in UDP, and both are zero elsewhere */
    frame->data[at] = (uint8_t) (sum >> 8);
    frame->data[at + 1] = (uint8_t) sum;
    memset(&frame->hdr, 0, sizeof frame->hdr);
}

static bool
fit_offloads(struct vdt_sim *sim, struct vdt_sim_frame *frame)
{
    uint64_t offloads = vdt_sim_guest_offloads(sim);

    if (!gso_allowed(frame->hdr.gso_type, offloads, VIRTIO_NET_F_GUEST_TSO4,
                     VIRTIO_NET_F_GUEST_TSO6))
        return false;
    if (offloads & VDT_BIT(VIRTIO_NET_F_GUEST_CSUM))
        return true;
    if (frame->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
        fill_checksum(frame);
    frame->hdr.flags = 0;
    return true;
}

void
vdt_sim_frame_arrive(struct vdt_sim *sim, struct vdt_sim_frame *frame)
{
    struct vdt_sim_ring *ring;
    uint32_t hash, index;
    uint16_t report;

    if (frame->len < ETHERNET_HEADER || !vdt_sim_filter(sim, frame)) {
        sim->frames_filtered++;
        g_free(frame);
        return;
    }
    index = 2u * vdt_sim_steer(sim, frame, &hash, &report);
    ring = &sim->rings[index];
    if (!ring->live || ring->broken || ring->backlog.length >= sim->options.backlog ||
        !fit_offloads(sim, frame)) {
        ring->drops++;
        sim->frames_dropped++;
        g_free(frame);
        return;
    }
    frame->due = g_get_monotonic_time() + sim->options.latency;
    g_queue_push_tail(&ring->backlog, frame);
}

bool
vdt_sim_poll_wire(struct vdt_sim *sim)
{
    struct vdt_sim_frame *frame;

    if (!sim->backend->receive)
        return false;
    for (unsigned i = 0; i < BATCH; i++) {
        frame = sim->backend->receive(sim);
        if (!frame)
            return false;
        vdt_sim_frame_arrive(sim, frame);
    }
    return true;
}

/* Buffers for @total bytes, taken out of the stock into @taken; the ring may lack them. */
static bool
gather(struct vdt_sim *sim, uint32_t index, uint32_t total, GQueue *taken)
{
    struct vdt_sim_ring *ring = &sim->rings[index];
    bool merge = sim->features & VDT_BIT(VIRTIO_NET_F_MRG_RXBUF);
    uint32_t room = 0;

    while (room < total && (merge || !taken->length)) {
        struct vdt_sim_request *request;

        if (!ring->stock.length && !fetch_batch(sim, index, 1, 0))
            return false;
        request = g_queue_pop_nth(&ring->stock, vdt_sim_pick(sim, ring));
        g_queue_push_tail(taken, request);
        room += MIN(request->chain.writable, total);
        if (taken->length > ring->num)
            return false;
    }
    return true;
}

/* The bytes that go into the buffers: header, then frame. Caller frees. */
static uint8_t *
flatten(struct vdt_sim *sim, const struct vdt_sim_frame *frame, uint16_t buffers, uint32_t *ret_len)
{
    size_t size = vdt_sim_header_size(sim);
    struct virtio_net_hdr_v1_hash header = {.hdr = frame->hdr};
    uint32_t hash = 0;
    uint16_t report = VIRTIO_NET_HASH_REPORT_NONE;
    uint8_t *bytes = g_malloc(size + frame->len);

    header.hdr.num_buffers = htole16(buffers);
    if (size == sizeof header) {
        vdt_sim_steer(sim, frame, &hash, &report);
        header.hash_value = htole32(hash);
        header.hash_report = htole16(report);
    }
    memcpy(bytes, &header, size);
    memcpy(bytes + size, frame->data, frame->len);
    *ret_len = (uint32_t) size + frame->len;
    return bytes;
}

/* Write @bytes into the gathered buffers, and give them back. */
static void
scatter(struct vdt_sim *sim, uint32_t index, GQueue *taken, const uint8_t *bytes, uint32_t total)
{
    struct vdt_sim_ring *ring = &sim->rings[index];
    struct vdt_sim_request *request;
    uint32_t done = 0;

    while ((request = g_queue_pop_head(taken))) {
        uint32_t part = MIN(request->chain.writable, total - done);

        if (ring->broken || !vdt_sim_request_write(sim, index, request, bytes + done, part)) {
            g_free(request);
            continue;
        }
        done += part;
        vdt_sim_complete(sim, index, request, part);
    }
}

/* False: no buffers now. */
static bool
deliver(struct vdt_sim *sim, uint32_t index, const struct vdt_sim_frame *frame)
{
    struct vdt_sim_ring *ring = &sim->rings[index];
    uint32_t total = (uint32_t) vdt_sim_header_size(sim) + frame->len, room = 0;
    g_autofree uint8_t *bytes = NULL;
    GQueue taken = G_QUEUE_INIT;
    bool enough = gather(sim, index, total, &taken);

    for (const GList *l = taken.head; l; l = l->next)
        room += MIN(((const struct vdt_sim_request *) l->data)->chain.writable, total);
    if (!enough || room < total) {
        bool lost = taken.length > ring->num || enough;

        while (taken.length)
            g_queue_push_head(&ring->stock, g_queue_pop_tail(&taken));
        ring->overruns += lost;
        sim->frames_dropped += lost;
        return lost;
    }
    bytes = flatten(sim, frame, (uint16_t) taken.length, &total);
    scatter(sim, index, &taken, bytes, total);
    ring->frames++;
    ring->bytes += frame->len;
    sim->frames_in++;
    return true;
}

bool
vdt_sim_receive(struct vdt_sim *sim, uint32_t index, int64_t now, int64_t *ret_due)
{
    struct vdt_sim_ring *ring = &sim->rings[index];
    bool more = false;

    /* Buffers in hand, as hardware has them. */
    if (sim->options.hold)
        fetch_batch(sim, index, sim->options.hold, 0);
    for (unsigned i = 0; ring->backlog.length && !ring->broken; i++) {
        const struct vdt_sim_frame *frame = g_queue_peek_head(&ring->backlog);

        if (frame->due > now) {
            *ret_due = MIN(*ret_due, frame->due);
            break;
        }
        if (i == BATCH) {
            more = true;
            break;
        }
        if (!deliver(sim, index, frame))
            break;
        g_free(g_queue_pop_head(&ring->backlog));
    }
    if (!ring->broken)
        vdt_sim_ring_flush(sim, index);
    return more;
}

void
vdt_sim_net_reset(struct vdt_sim *sim)
{
    vdt_net_state_init(&sim->net);
    memset(sim->flows, 0, sizeof sim->flows);
    sim->unicast_overflow = sim->multicast_overflow = false;
}
