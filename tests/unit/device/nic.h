/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Nic: a tiny virtio-net driver for the tests of the sim. It drives a device through its vtable, on
 * memory that it maps into both address spaces at IOVA = NIC_IOVA + offset.
 */
#pragma once

#include <json-glib/json-glib.h>

#include "device/sim.h"
#include "virtio/device_ring.h"

#define NIC_IOVA 0x100000ull
#define NIC_MEMORY (8u << 20)
#define NIC_RINGS VDT_SIM_RINGS_MAX
#define NIC_NUM 64u
#define NIC_TIMEOUT_MS 5000
#define NIC_SILENT 0xee /* nic_command(): no answer within the time */

struct nic {
    struct vdt_device *dev;
    uint64_t features;
    uint32_t cvq;
    uint8_t *memory;
    size_t next; /* bump allocator */
    struct nic_ring {
        struct vdt_device_ring ring;
        struct vdt_ring_format format;
        struct vdt_ring_addr addr;
        struct vdt_ring_mem mem;
        int kick, call;
        bool made;
        size_t buffer[NIC_NUM]; /* by id: offset of the first buffer */
    } rings[NIC_RINGS];
};

/* Every feature the device offers, but no packed rings. */
#define NIC_SPLIT (~VDT_BIT(VIRTIO_F_RING_PACKED))
#define NIC_PACKED (~0ull)

/* Opened, features negotiated, memory mapped, the control group in ASID 1. Fails the test. */
void nic_open(struct nic *nic, const char *spec, uint64_t mask);
void nic_negotiate(struct nic *nic, uint64_t mask);
void nic_make_ring(struct nic *nic, uint32_t index);
void nic_add_ring(struct nic *nic, uint32_t index); /* and tell the device */
void nic_tell_ring(struct nic *nic, uint32_t index, struct vdt_ring_pos pos);
/* All rings, DRIVER_OK, everything enabled. */
void nic_start(struct nic *nic);
/* nic_open() and nic_start(), with @rx buffers of 2048 bytes on each receive ring. */
void nic_run(struct nic *nic, const char *spec, uint64_t mask, unsigned rx);
void nic_drop_rings(struct nic *nic);
void nic_close(struct nic *nic);

size_t nic_alloc(struct nic *nic, size_t size);
static inline uint64_t
nic_iova(size_t offset)
{
    return NIC_IOVA + offset;
}

/* Post a chain of device addresses and kick. Returns the id. */
uint16_t nic_post(struct nic *nic, uint32_t ring, struct vdt_seg *segs, unsigned count);
void nic_post_rx(struct nic *nic, uint32_t ring, unsigned count, uint32_t size);
uint16_t nic_send(struct nic *nic, uint32_t pair, const void *frame, uint32_t len);
uint16_t nic_send_header(struct nic *nic, uint32_t pair, const struct virtio_net_hdr_v1 *hdr,
                         const void *frame, uint32_t len);

/* False after @timeout_ms without a completion. */
bool nic_wait(struct nic *nic, uint32_t ring, int timeout_ms, struct vdt_used *ret_used);
/* One received frame into @frame (at least 64 KiB), with its header; -1: none came. */
int nic_receive_header(struct nic *nic, uint32_t pair, int timeout_ms, uint8_t *frame,
                       struct virtio_net_hdr_v1_hash *ret_hdr);
int nic_receive(struct nic *nic, uint32_t pair, int timeout_ms, uint8_t *frame);

/* The ack. @ret_reply, @reply_len: bytes behind it, may be NULL and 0. */
uint8_t nic_command_reply(struct nic *nic, uint8_t class, uint8_t command, const void *data,
                          uint32_t len, void *ret_reply, uint32_t reply_len);
uint8_t nic_command(struct nic *nic, uint8_t class, uint8_t command, const void *data,
                    uint32_t len);

/* A frame of @len bytes: to, from, IPv4 UDP from @port to 7. */
void nic_frame(uint8_t *frame, uint32_t len, const uint8_t *to, uint16_t port);

/* A number of describe(): of the device, or of a ring when @ring >= 0. */
gint64 nic_counter(struct nic *nic, int ring, const char *name);
bool nic_has_fault(struct nic *nic, const char *part);
void nic_state(struct nic *nic, struct vdt_net_state *ret_state);
