/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Vdpa message: what the kernel's vdpa netlink family says, between bytes and structs; no socket
 * (linux/vdpa.h, generic netlink). An answer is not trusted to be whole: what does not fit its
 * attribute's type counts as not told. Attributes of newer kernels are passed over.
 */
#pragma once

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/auto.h"

#define VDT_VDPA_REQUEST_MAX 512u
#define VDT_VDPA_NAME_MAX 128u

/* Bits of "told": the attribute was there. */
enum vdt_vdpa_told {
    VDT_VDPA_BUS = 1 << 0,
    VDT_VDPA_MGMT = 1 << 1,
    VDT_VDPA_CLASSES = 1 << 2,
    VDT_VDPA_MGMT_RINGS = 1 << 3,
    VDT_VDPA_MGMT_FEATURES = 1 << 4,
    VDT_VDPA_NAME = 1 << 5,
    VDT_VDPA_TYPE = 1 << 6,
    VDT_VDPA_VENDOR = 1 << 7,
    VDT_VDPA_RINGS = 1 << 8,
    VDT_VDPA_RING_MAX = 1 << 9,
    VDT_VDPA_RING_MIN = 1 << 10,
    VDT_VDPA_MAC = 1 << 11,
    VDT_VDPA_LINK = 1 << 12,
    VDT_VDPA_PAIRS = 1 << 13,
    VDT_VDPA_MTU = 1 << 14,
    VDT_VDPA_NEGOTIATED = 1 << 15,
    VDT_VDPA_FEATURES = 1 << 16,
};

/* One management device, one vDPA device, or one device's config: told says what is valid. */
struct vdt_vdpa_entry {
    uint32_t told;
    /* who makes devices: "pci", "0000:00:02.0"; without a bus a driver's own name, "vdpasim_net" */
    char bus[VDT_VDPA_NAME_MAX], mgmt[VDT_VDPA_NAME_MAX];
    uint64_t classes;       /* bit N: virtio device type N */
    uint32_t mgmt_rings;    /* virtqueues of one device at most */
    uint64_t mgmt_features; /* of the devices that it makes */
    char name[VDT_VDPA_NAME_MAX];
    uint32_t type, vendor, rings;
    uint16_t ring_max, ring_min;
    uint8_t mac[6];
    uint16_t link; /* VIRTIO_NET_S_ */
    uint16_t pairs, mtu;
    uint64_t negotiated, features;
};

/* What one message of an answer is. */
enum vdt_vdpa_part {
    VDT_VDPA_PART_ENTRY,
    VDT_VDPA_PART_OTHER,       /* of another request, or nothing that we know */
    VDT_VDPA_PART_DONE,        /* nothing follows */
    VDT_VDPA_PART_REFUSED,     /* nothing follows: @errnum, and the kernel's own words */
    VDT_VDPA_PART_INTERRUPTED, /* the list changed while it was read: ask again */
};

struct vdt_vdpa_answer {
    int errnum;
    char text[VDT_VDPA_NAME_MAX]; /* the kernel's reason, "" if it gave none */
    uint16_t family;              /* of an answer to ask_family(), 0 if not told */
    struct vdt_vdpa_entry entry;
};

/* Requests, into @buf of VDT_VDPA_REQUEST_MAX; their length, or 0 where @name is too long. @name
 * NULL: all of them. @command: VDPA_CMD_. */
size_t vdt_vdpa_ask_family(void *buf, uint32_t seq);
size_t vdt_vdpa_ask(void *buf, uint16_t family, uint8_t command, const char *name, uint32_t seq);

/*
 * The first message at @bytes (aligned like struct nlmsghdr); *ret_used is what it took, 0 when
 * what is left is no whole message: then there is nothing more. Of other numbers than @seq and
 * @port: OTHER.
 */
enum vdt_vdpa_part vdt_vdpa_take(const void *bytes, size_t len, uint16_t family, uint32_t seq,
                                 uint32_t port, size_t *ret_used, struct vdt_vdpa_answer *answer);
