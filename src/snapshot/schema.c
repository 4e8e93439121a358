/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snapshot/schema.h"

#define FIELD(number, kind, member)                                                                \
    {                                                                                              \
        (number) << 3 | VDT_WIRE_TYPE(VDT_WIRE_##kind), VDT_WIRE_##kind,                           \
            offsetof(struct MESSAGE_OF, member), #member, NULL                                     \
    }
#define SUB(number, type, member)                                                                  \
    {                                                                                              \
        (number) << 3 | VDT_WIRE_TYPE(VDT_WIRE_MESSAGE), VDT_WIRE_MESSAGE,                         \
            offsetof(struct MESSAGE_OF, member), #member, &type##_schema                           \
    }
#define SCHEMA(type, message)                                                                      \
    static const struct vdt_wire_schema type##_schema = {                                          \
        .name = message, .fields = type##_fields, .count = G_N_ELEMENTS(type##_fields)}

#define MESSAGE_OF vdt_wire_identity
static const struct vdt_wire_field identity_fields[] = {
    FIELD(1, UINT32, device_id),  FIELD(2, TEXT, name), FIELD(3, TEXT, device),
    FIELD(4, TEXT, driver),       FIELD(5, TEXT, uuid), FIELD(6, TEXT, tool_version),
    FIELD(7, UINT64, created_us),
};
SCHEMA(identity, "Identity");
#undef MESSAGE_OF

#define MESSAGE_OF vdt_wire_features
static const struct vdt_wire_field features_fields[] = {
    FIELD(1, FIXED64, device),     FIELD(2, FIXED64, offered),  FIELD(3, FIXED64, guest),
    FIELD(4, FIXED64, negotiated), FIELD(5, FIXED64, protocol),
};
SCHEMA(features, "Features");
#undef MESSAGE_OF

#define MESSAGE_OF vdt_wire_rings
static const struct vdt_wire_field rings_fields[] = {
    FIELD(1, BOOL, packed),         FIELD(2, UINT32, cvq),
    FIELD(3, COLUMN32, num),        FIELD(4, COLUMN32, flags),
    FIELD(5, COLUMN32, avail),      FIELD(6, COLUMN32, used),
    FIELD(7, COLUMN32, requests),   FIELD(8, COLUMN32, segs),
    FIELD(9, COLUMN32, request),    FIELD(10, COLUMN32, request_segs),
    FIELD(11, COLUMN64, seg_addr),  FIELD(12, COLUMN32, seg_len),
    FIELD(13, COLUMN32, seg_flags), FIELD(14, COLUMN64, table_addr),
    FIELD(15, COLUMN32, table_len), FIELD(16, COLUMN32, fault),
};
SCHEMA(rings, "Rings");
#undef MESSAGE_OF

#define MESSAGE_OF vdt_wire_switch
static const struct vdt_wire_field switch_fields[] = {
    FIELD(1, BOOL, on),
};
SCHEMA(switch, "Switch");
#undef MESSAGE_OF

#define MESSAGE_OF vdt_wire_mac
static const struct vdt_wire_field mac_fields[] = {
    FIELD(1, BYTES, address),
};
SCHEMA(mac, "Mac");
#undef MESSAGE_OF

#define MESSAGE_OF vdt_wire_mac_table
static const struct vdt_wire_field mac_table_fields[] = {
    FIELD(1, BYTES, unicast),
    FIELD(2, BYTES, multicast),
};
SCHEMA(mac_table, "MacTable");
#undef MESSAGE_OF

#define MESSAGE_OF vdt_wire_vlans
static const struct vdt_wire_field vlans_fields[] = {
    FIELD(1, BYTES, bitmap),
};
SCHEMA(vlans, "Vlans");
#undef MESSAGE_OF

#define MESSAGE_OF vdt_wire_pairs
static const struct vdt_wire_field no_fields[1]; /* not NULL: an end is counted from it */
static const struct vdt_wire_schema pairs_schema = {.name = "Pairs", .fields = no_fields};
#undef MESSAGE_OF

#define MESSAGE_OF vdt_wire_rss
static const struct vdt_wire_field rss_fields[] = {
    FIELD(1, FIXED32, hash_types), FIELD(2, UINT32, unclassified), FIELD(3, UINT32, max_tx_vq),
    FIELD(4, COLUMN32, table),     FIELD(5, BYTES, key),
};
SCHEMA(rss, "Rss");
#undef MESSAGE_OF

#define MESSAGE_OF vdt_wire_hash
static const struct vdt_wire_field hash_fields[] = {
    FIELD(1, FIXED32, hash_types),
    FIELD(2, BYTES, key),
};
SCHEMA(hash, "Hash");
#undef MESSAGE_OF

#define MESSAGE_OF vdt_wire_offloads
static const struct vdt_wire_field offloads_fields[] = {
    FIELD(1, FIXED64, bits),
};
SCHEMA(offloads, "Offloads");
#undef MESSAGE_OF

#define MESSAGE_OF vdt_wire_coalescing
static const struct vdt_wire_field coalescing_fields[] = {
    FIELD(1, FIXED32, max_packets),
    FIELD(2, FIXED32, max_usecs),
};
SCHEMA(coalescing, "Coalescing");
#undef MESSAGE_OF

#define MESSAGE_OF vdt_wire_ring_coalescing
static const struct vdt_wire_field ring_coalescing_fields[] = {
    FIELD(1, FIXED64, rings),
    FIELD(2, COLUMN32, max_packets),
    FIELD(3, COLUMN32, max_usecs),
};
SCHEMA(ring_coalescing, "RingCoalescing");
#undef MESSAGE_OF

#define MESSAGE_OF vdt_wire_control
static const struct vdt_wire_field control_fields[] = {
    SUB(1, switch, promisc),
    SUB(2, switch, allmulti),
    SUB(3, switch, alluni),
    SUB(4, switch, nomulti),
    SUB(5, switch, nouni),
    SUB(6, switch, nobcast),
    SUB(17, mac_table, mac_table),
    SUB(18, mac, mac),
    SUB(33, vlans, vlans),
    SUB(65, pairs, pairs),
    SUB(66, rss, rss),
    SUB(67, hash, hash),
    SUB(81, offloads, guest_offloads),
    SUB(97, coalescing, coalescing_tx),
    SUB(98, coalescing, coalescing_rx),
    SUB(99, ring_coalescing, coalescing_rings),
    FIELD(1024, UINT32, queue_pairs),
    FIELD(1025, BOOL, announce),
};
SCHEMA(control, "Control");
#undef MESSAGE_OF

#define MESSAGE_OF vdt_wire_source
static const struct vdt_wire_field source_fields[] = {
    FIELD(1, FIXED64, abilities), FIELD(2, UINT32, rings),        FIELD(3, UINT32, ring_max),
    FIELD(4, BOOL, used_width),   FIELD(5, BOOL, drives_control), FIELD(6, UINT64, commands),
    FIELD(7, UINT64, refused),    FIELD(8, UINT64, ran_again),
};
SCHEMA(source, "Source");
#undef MESSAGE_OF

#define MESSAGE_OF vdt_wire_snapshot
static const struct vdt_wire_field snapshot_fields[] = {
    FIELD(1, FIXED64, must_understand),
    SUB(2, identity, identity),
    SUB(3, features, features),
    FIELD(4, BYTES, config),
    SUB(5, rings, rings),
    SUB(6, control, control),
    FIELD(7, BOOL, live),
    FIELD(8, TEXT, unmigratable),
    FIELD(9, BOOL, resubmitted_rx_window),
    SUB(10, source, source),
};
const struct vdt_wire_schema vdt_wire_snapshot_schema = {
    .name = "Snapshot", .fields = snapshot_fields, .count = G_N_ELEMENTS(snapshot_fields)};
#undef MESSAGE_OF
