/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Schema: proto/snapshot.proto as structs, one a message, for wire_message.h. A unit test compares
 * the tables with what protoc makes of that file: whoever changes one changes the other.
 */
#pragma once

#include "snapshot/wire_message.h"

/* Vdt.v1.Snapshot and below, in the order of the file. Columns point to little-endian entries. */
struct vdt_wire_identity {
    bool present;
    uint32_t device_id;
    struct vdt_wire_bytes name, device, driver, uuid, tool_version;
    uint64_t created_us;
};

struct vdt_wire_features {
    bool present;
    uint64_t device, offered, guest, negotiated, protocol;
};

struct vdt_wire_rings {
    bool present;
    bool packed;
    uint32_t cvq;
    struct vdt_wire_bytes num, flags, avail, used, requests, segs;
    struct vdt_wire_bytes request, request_segs, seg_addr, seg_len, seg_flags;
    struct vdt_wire_bytes table_addr, table_len, fault;
};

struct vdt_wire_switch {
    bool present;
    bool on;
};

struct vdt_wire_mac {
    bool present;
    struct vdt_wire_bytes address;
};

struct vdt_wire_mac_table {
    bool present;
    struct vdt_wire_bytes unicast, multicast;
};

struct vdt_wire_vlans {
    bool present;
    struct vdt_wire_bytes bitmap;
};

struct vdt_wire_pairs {
    bool present;
};

struct vdt_wire_rss {
    bool present;
    uint32_t hash_types, unclassified, max_tx_vq;
    struct vdt_wire_bytes table, key;
};

struct vdt_wire_hash {
    bool present;
    uint32_t hash_types;
    struct vdt_wire_bytes key;
};

struct vdt_wire_offloads {
    bool present;
    uint64_t bits;
};

struct vdt_wire_coalescing {
    bool present;
    uint32_t max_packets, max_usecs;
};

struct vdt_wire_ring_coalescing {
    bool present;
    uint64_t rings;
    struct vdt_wire_bytes max_packets, max_usecs;
};

struct vdt_wire_control {
    bool present;
    struct vdt_wire_switch promisc, allmulti, alluni, nomulti, nouni, nobcast;
    struct vdt_wire_mac_table mac_table;
    struct vdt_wire_mac mac;
    struct vdt_wire_vlans vlans;
    struct vdt_wire_pairs pairs;
    struct vdt_wire_rss rss;
    struct vdt_wire_hash hash;
    struct vdt_wire_offloads guest_offloads;
    struct vdt_wire_coalescing coalescing_tx, coalescing_rx;
    struct vdt_wire_ring_coalescing coalescing_rings;
    uint32_t queue_pairs;
    bool announce;
};

struct vdt_wire_source {
    bool present;
    uint64_t abilities;
    uint32_t rings, ring_max;
    bool used_width, drives_control;
    uint64_t commands, refused, ran_again;
};

struct vdt_wire_snapshot {
    bool present; /* not looked at */
    uint64_t must_understand;
    struct vdt_wire_identity identity;
    struct vdt_wire_features features;
    struct vdt_wire_bytes config;
    struct vdt_wire_rings rings;
    struct vdt_wire_control control;
    bool live;
    struct vdt_wire_bytes unmigratable;
    bool resubmitted_rx_window;
    struct vdt_wire_source source;
};

#define VDT_WIRE_SNAPSHOT_FIELDS 128u /* of all messages together, rounded up */

extern const struct vdt_wire_schema vdt_wire_snapshot_schema;
