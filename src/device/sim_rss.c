/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Receive hashes of virtio 1.2, 5.1.6.4.3 and 5.1.6.4.4. */
#include "device/sim.h"

#include <netinet/in.h>
#include <string.h>

struct packet {
    unsigned version; /* 4, 6; 0: no IP */
    uint8_t protocol; /* IPPROTO_TCP, _UDP with ports; 0 otherwise */
    uint8_t address_len;
    uint8_t input[36]; /* source address, destination address, source port, destination port */
};

/* First bit of the key that is left of the window, bits beyond the key are zero. */
uint32_t
vdt_sim_toeplitz(const uint8_t *key, size_t key_len, const uint8_t *data, size_t len)
{
    uint64_t window = 0;
    uint32_t hash = 0;

    for (size_t i = 0; i < 8; i++)
        window = window << 8 | (i < key_len ? key[i] : 0);
    for (size_t i = 0; i < len; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            if (data[i] & (0x80u >> bit))
                hash ^= (uint32_t) (window >> 32);
            window <<= 1;
        }
        window |= i + 8 < key_len ? key[i + 8] : 0;
    }
    return hash;
}

static void
parse_ports(struct packet *packet, uint8_t protocol, const uint8_t *at, size_t left)
{
    if ((protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) || left < 4)
        return;
    packet->protocol = protocol;
    memcpy(packet->input + 2 * packet->address_len, at, 4);
}

static void
parse_v4(struct packet *packet, const uint8_t *ip, size_t left)
{
    size_t header = (ip[0] & 0xfu) * 4u;
    bool fragment;

    if (left < 20 || ip[0] >> 4 != 4 || header < 20 || header > left)
        return;
    fragment = ((ip[6] & 0x3f) | ip[7]) != 0;
    packet->version = 4;
    packet->address_len = 4;
    memcpy(packet->input, ip + 12, 8);
    if (!fragment)
        parse_ports(packet, ip[9], ip + header, left - header);
}

static void
parse_v6(struct packet *packet, const uint8_t *ip, size_t left)
{
    if (left < 40 || ip[0] >> 4 != 6)
        return;
    packet->version = 6;
    packet->address_len = 16;
    memcpy(packet->input, ip + 8, 32);
    parse_ports(packet, ip[6], ip + 40, left - 40);
}

static struct packet
parse(const uint8_t *frame, size_t len)
{
    struct packet packet = {0};
    size_t at = 12;

    while (at + 6 <= len && frame[at] == 0x81 && frame[at + 1] == 0x00)
        at += 4;
    if (at + 3 > len)
        return packet;
    if (frame[at] == 0x08 && frame[at + 1] == 0x00)
        parse_v4(&packet, frame + at + 2, len - at - 2);
    else if (frame[at] == 0x86 && frame[at + 1] == 0xdd)
        parse_v6(&packet, frame + at + 2, len - at - 2);
    return packet;
}

/* The most specific type wins, as the spec orders them. */
static const struct {
    uint8_t version, protocol;
    uint32_t type;
    uint16_t report;
} types[] = {
    {4, IPPROTO_TCP, VIRTIO_NET_RSS_HASH_TYPE_TCPv4, VIRTIO_NET_HASH_REPORT_TCPv4},
    {4, IPPROTO_UDP, VIRTIO_NET_RSS_HASH_TYPE_UDPv4, VIRTIO_NET_HASH_REPORT_UDPv4},
    {4, 0, VIRTIO_NET_RSS_HASH_TYPE_IPv4, VIRTIO_NET_HASH_REPORT_IPv4},
    {6, IPPROTO_TCP, VIRTIO_NET_RSS_HASH_TYPE_TCPv6, VIRTIO_NET_HASH_REPORT_TCPv6},
    {6, IPPROTO_UDP, VIRTIO_NET_RSS_HASH_TYPE_UDPv6, VIRTIO_NET_HASH_REPORT_UDPv6},
    {6, 0, VIRTIO_NET_RSS_HASH_TYPE_IPv6, VIRTIO_NET_HASH_REPORT_IPv6},
};

bool
vdt_sim_rss_hash(const struct vdt_net_rss *rss, const uint8_t *frame, size_t len,
                 uint32_t *ret_hash, uint16_t *ret_report)
{
    struct packet packet = parse(frame, len);

    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++) {
        size_t input = 2u * packet.address_len + (types[i].protocol ? 4u : 0u);

        if (types[i].version != packet.version || !(rss->hash_types & types[i].type) ||
            (types[i].protocol && types[i].protocol != packet.protocol))
            continue;
        *ret_hash = vdt_sim_toeplitz(rss->key, rss->key_len, packet.input, input);
        *ret_report = types[i].report;
        return true;
    }
    return false;
}

uint32_t
vdt_sim_flow_hash(const uint8_t *frame, size_t len)
{
    struct packet packet = parse(frame, len);
    uint32_t hash = packet.protocol;

    /* A sum does not know which side is the source. */
    for (unsigned i = 0; i < packet.address_len; i++)
        hash +=
            (uint32_t) (packet.input[i] + packet.input[packet.address_len + i]) * (i + 1u) * 31u;
    if (packet.protocol) {
        const uint8_t *port = packet.input + 2 * packet.address_len;

        hash += (uint32_t) (port[0] + port[2]) * 256u + port[1] + port[3];
    }
    return hash;
}
