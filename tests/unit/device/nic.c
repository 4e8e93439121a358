/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nic.h"

#include <poll.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fd.h"
#include "virtio/features.h"

#define CALL(nic, op, ...)                                                                         \
    do {                                                                                           \
        g_autoptr(GError) failed = NULL;                                                           \
        if (!(nic)->dev->ops->op((nic)->dev, __VA_ARGS__, &failed))                                \
            g_error("%s: %s", #op, failed->message);                                               \
    } while (0)

size_t
nic_alloc(struct nic *nic, size_t size)
{
    size_t at = nic->next;

    nic->next = (at + size + 63) & ~(size_t) 63;
    g_assert_cmpuint(nic->next, <=, NIC_MEMORY);
    return at;
}

void
nic_negotiate(struct nic *nic, uint64_t mask)
{
    uint8_t status = 0;

    nic->features = nic->dev->info.features & mask;
    CALL(nic, set_status, 1);
    CALL(nic, set_status, 3);
    CALL(nic, set_features, nic->features);
    CALL(nic, set_status, 11);
    CALL(nic, get_status, &status);
    g_assert_cmpuint(status, ==, 11);
    nic->cvq = vdt_net_cvq_index(nic->features, (nic->dev->info.rings - 1) / 2);
    if (nic->dev->info.asids > 1)
        CALL(nic, set_group_asid, 1, 1);
}

void
nic_open(struct nic *nic, const char *spec, uint64_t mask)
{
    g_autoptr(GError) error = NULL;

    memset(nic, 0, sizeof *nic);
    nic->dev = vdt_device_open(spec, &error);
    g_assert_no_error(error);
    nic->memory = mmap(NULL, NIC_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert(nic->memory != MAP_FAILED);
    nic_negotiate(nic, mask);
    for (uint32_t asid = 0; asid < nic->dev->info.asids; asid++)
        CALL(nic, map, asid, NIC_IOVA, NIC_MEMORY, nic->memory, true);
}

void
nic_make_ring(struct nic *nic, uint32_t index)
{
    struct nic_ring *ring = &nic->rings[index];
    size_t desc, driver, device;

    ring->format = vdt_features_ring_format(nic->features, NIC_NUM);
    desc = nic_alloc(nic, vdt_ring_desc_size(&ring->format));
    driver = nic_alloc(nic, vdt_ring_driver_size(&ring->format));
    device = nic_alloc(nic, vdt_ring_device_size(&ring->format));
    ring->addr = (struct vdt_ring_addr){nic_iova(desc), nic_iova(driver), nic_iova(device)};
    ring->mem =
        (struct vdt_ring_mem){nic->memory + desc, nic->memory + driver, nic->memory + device};
    vdt_device_ring_init(&ring->ring, &ring->format, &ring->mem,
                         vdt_ring_pos_initial(ring->format.kind));
    ring->kick = vdt_eventfd(NULL);
    ring->call = vdt_eventfd(NULL);
    ring->made = true;
}

void
nic_tell_ring(struct nic *nic, uint32_t index, struct vdt_ring_pos pos)
{
    struct nic_ring *ring = &nic->rings[index];

    CALL(nic, set_num, index, NIC_NUM);
    CALL(nic, set_base, index, pos);
    CALL(nic, set_addr, index, &ring->addr);
    CALL(nic, set_kick, index, ring->kick);
    CALL(nic, set_call, index, ring->call);
}

void
nic_add_ring(struct nic *nic, uint32_t index)
{
    nic_make_ring(nic, index);
    nic_tell_ring(nic, index, vdt_ring_pos_initial(nic->rings[index].format.kind));
}

void
nic_start(struct nic *nic)
{
    uint32_t rings = MIN(nic->cvq + 1, nic->dev->info.rings);

    for (uint32_t i = 0; i < rings; i++) {
        nic_add_ring(nic, i);
        CALL(nic, set_enable, i, true);
    }
    CALL(nic, set_status, 15);
}

void
nic_run(struct nic *nic, const char *spec, uint64_t mask, unsigned rx)
{
    nic_open(nic, spec, mask);
    nic_start(nic);
    for (uint32_t i = 0; i < nic->cvq && rx; i += 2)
        nic_post_rx(nic, i, rx, 2048);
}

void
nic_drop_rings(struct nic *nic)
{
    for (unsigned i = 0; i < NIC_RINGS; i++) {
        if (!nic->rings[i].made)
            continue;
        vdt_device_ring_clear(&nic->rings[i].ring);
        vdt_close(nic->rings[i].kick);
        vdt_close(nic->rings[i].call);
        nic->rings[i].made = false;
    }
}

void
nic_close(struct nic *nic)
{
    vdt_device_close(nic->dev);
    nic_drop_rings(nic);
    munmap(nic->memory, NIC_MEMORY);
}

uint16_t
nic_post(struct nic *nic, uint32_t index, struct vdt_seg *segs, unsigned count)
{
    struct nic_ring *ring = &nic->rings[index];
    struct vdt_chain chain = {
        .seg = segs,
        .capacity = count,
        .count = count,
        .direct = count,
        .slots = (uint16_t) count,
    };
    uint16_t id;

    for (unsigned i = 0; i < count; i++) {
        if (segs[i].flags & VDT_SEG_WRITE)
            chain.writable += segs[i].len;
        else
            chain.readable += segs[i].len;
        if (i + 1 < count)
            segs[i].flags |= VDT_SEG_NEXT;
    }
    g_assert(vdt_device_ring_lay(&ring->ring, &chain, &id));
    vdt_device_ring_post(&ring->ring, &chain, id, 0, 0);
    ring->buffer[id] = (size_t) (segs[0].addr - NIC_IOVA);
    if (vdt_device_ring_publish(&ring->ring))
        vdt_event_signal(ring->kick);
    return id;
}

void
nic_post_rx(struct nic *nic, uint32_t ring, unsigned count, uint32_t size)
{
    for (unsigned i = 0; i < count; i++) {
        struct vdt_seg seg = {nic_iova(nic_alloc(nic, size)), size, VDT_SEG_WRITE, 0};

        nic_post(nic, ring, &seg, 1);
    }
}

uint16_t
nic_send_header(struct nic *nic, uint32_t pair, const struct virtio_net_hdr_v1 *hdr,
                const void *frame, uint32_t len)
{
    uint32_t size = nic->features & VDT_BIT(VIRTIO_NET_F_HASH_REPORT) ? 20 : 12;
    size_t at = nic_alloc(nic, size), body = nic_alloc(nic, len);
    struct vdt_seg segs[] = {{nic_iova(at), size, 0, 0}, {nic_iova(body), len, 0, 0}};

    memset(nic->memory + at, 0, size);
    if (hdr)
        memcpy(nic->memory + at, hdr, sizeof *hdr);
    memcpy(nic->memory + body, frame, len);
    return nic_post(nic, 2 * pair + 1, segs, 2);
}

uint16_t
nic_send(struct nic *nic, uint32_t pair, const void *frame, uint32_t len)
{
    return nic_send_header(nic, pair, NULL, frame, len);
}

bool
nic_wait(struct nic *nic, uint32_t index, int timeout_ms, struct vdt_used *ret_used)
{
    struct nic_ring *ring = &nic->rings[index];
    gint64 until = g_get_monotonic_time() + timeout_ms * 1000;

    for (;;) {
        struct pollfd wait = {.fd = ring->call, .events = POLLIN};
        gint64 left;

        switch (vdt_device_ring_reap(&ring->ring, ret_used)) {
        case VDT_REAP_USED:
            return true;
        case VDT_REAP_BROKEN:
            return false;
        case VDT_REAP_EMPTY:
            break;
        }
        if (vdt_device_ring_calls_on(&ring->ring))
            continue;
        left = until - g_get_monotonic_time();
        if (left <= 0)
            return false;
        poll(&wait, 1, (int) (left / 1000) + 1);
        vdt_event_drain(ring->call);
    }
}

int
nic_receive_header(struct nic *nic, uint32_t pair, int timeout_ms, uint8_t *frame,
                   struct virtio_net_hdr_v1_hash *ret_hdr)
{
    size_t header = nic->features & VDT_BIT(VIRTIO_NET_F_HASH_REPORT) ? 20 : 12;
    struct virtio_net_hdr_v1_hash hdr = {0};
    unsigned buffers = 1;
    size_t total = 0;

    for (unsigned i = 0; i < buffers; i++) {
        size_t skip = i == 0 ? header : 0;
        struct vdt_used used;
        const uint8_t *at;

        if (!nic_wait(nic, 2 * pair, timeout_ms, &used))
            return -1;
        at = nic->memory + nic->rings[2 * pair].buffer[used.id];
        if (i == 0) {
            g_assert_cmpuint(used.len, >=, header);
            memcpy(&hdr, at, header);
            buffers = hdr.hdr.num_buffers;
        }
        memcpy(frame + total, at + skip, used.len - skip);
        total += used.len - skip;
    }
    if (ret_hdr)
        *ret_hdr = hdr;
    return (int) total;
}

int
nic_receive(struct nic *nic, uint32_t pair, int timeout_ms, uint8_t *frame)
{
    return nic_receive_header(nic, pair, timeout_ms, frame, NULL);
}

uint8_t
nic_command_reply(struct nic *nic, uint8_t class, uint8_t command, const void *data, uint32_t len,
                  void *ret_reply, uint32_t reply_len)
{
    size_t out = nic_alloc(nic, 2 + len), in = nic_alloc(nic, 1 + reply_len);
    struct vdt_seg segs[] = {
        {nic_iova(out), 2 + len, 0, 0},
        {nic_iova(in), 1 + reply_len, VDT_SEG_WRITE, 0},
    };
    struct vdt_used used;

    nic->memory[out] = class;
    nic->memory[out + 1] = command;
    if (len)
        memcpy(nic->memory + out + 2, data, len);
    nic->memory[in] = NIC_SILENT;
    nic_post(nic, nic->cvq, segs, 2);
    if (!nic_wait(nic, nic->cvq, NIC_TIMEOUT_MS, &used))
        return NIC_SILENT;
    if (ret_reply)
        memcpy(ret_reply, nic->memory + in + 1, reply_len);
    return nic->memory[in];
}

uint8_t
nic_command(struct nic *nic, uint8_t class, uint8_t command, const void *data, uint32_t len)
{
    return nic_command_reply(nic, class, command, data, len, NULL, 0);
}

void
nic_frame(uint8_t *frame, uint32_t len, const uint8_t *to, uint16_t port)
{
    static const uint8_t from[6] = {2, 0, 0, 0, 0, 1};
    static const uint8_t ip[28] = {
        0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 7, 0, 26, 0, 0,
    };

    g_assert_cmpuint(len, >=, 60);
    for (uint32_t i = 0; i < len; i++)
        frame[i] = (uint8_t) (i * 7 + port);
    memcpy(frame, to, 6);
    memcpy(frame + 6, from, 6);
    frame[12] = 0x08;
    frame[13] = 0x00;
    memcpy(frame + 14, ip, sizeof ip);
    frame[34] = (uint8_t) (port >> 8);
    frame[35] = (uint8_t) port;
}

gint64
nic_counter(struct nic *nic, int ring, const char *name)
{
    g_autoptr(JsonNode) node = nic->dev->ops->describe(nic->dev);
    JsonObject *object = json_node_get_object(node);

    if (ring >= 0)
        object = json_array_get_object_element(json_object_get_array_member(object, "rings"),
                                               (guint) ring);
    return json_object_get_int_member(object, name);
}

bool
nic_has_fault(struct nic *nic, const char *part)
{
    g_autoptr(JsonNode) node = nic->dev->ops->describe(nic->dev);
    JsonArray *faults = json_object_get_array_member(json_node_get_object(node), "faults");

    for (guint i = 0; i < json_array_get_length(faults); i++) {
        if (strstr(json_array_get_string_element(faults, i), part))
            return true;
    }
    return false;
}

void
nic_state(struct nic *nic, struct vdt_net_state *ret_state)
{
    CALL(nic, read_net_state, ret_state);
}
