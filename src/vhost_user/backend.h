/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Backend: what a vhost-user session asks of the device behind it, and tells it.
 *
 * The session speaks the protocol (framing, descriptors, order, replies) and keeps the guest map;
 * whatever a message means for rings, device and state is behind this table, which the daemon wires
 * to the shadow device, the control path and the state carrier. All calls on the control thread.
 * Descriptors passed in are owned by the callee from then on, also on error. A false return answers
 * the message with an error (REPLY_ACK) or drops the connection; the backend's state is then
 * unchanged.
 *
 * The session has checked what it can know: ring indices, sizes, alignment, that ring areas lie in
 * one region of the map in force and apart from those of running rings, kinds of descriptors (kick,
 * call and err are non-blocking; call may be a socket), that the log covers guest memory, that
 * features change only while no ring runs, and a ring's size and position while it does not. What
 * happens between two messages is the
 * backend's: a ring that is disabled, or set up anew without GET_VRING_BASE (User-Mode Linux when a
 * driver leaves and comes back), and memory that changes under a ring.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "memory/guest_map.h"

enum vdt_answer {
    VDT_ANSWER_ERROR,
    VDT_ANSWER_NOW,
    VDT_ANSWER_LATER, /* vdt_session_answer_base() will follow */
};

/* Ring addresses in the frontend's address space, as VHOST_USER_SET_VRING_ADDR brings them. */
struct vdt_vring_addr {
    uint32_t ring;
    uint32_t flags; /* bit 0: log writes to the used ring at @log */
    uint64_t desc, used, avail, log;
};

struct vdt_backend_ops {
    uint64_t (*features)(void *ctx); /* offered; the session adds PROTOCOL_FEATURES and LOG_ALL */
    /* LOG_ALL included, PROTOCOL_FEATURES not. May come with LOG_ALL before any log: the session
     * starts no ring until the log is there. Not called for a repetition while rings run. */
    bool (*set_features)(void *ctx, uint64_t acked, GError **error);
    void (*set_protocol_features)(void *ctx, uint64_t acked);
    uint32_t (*queue_num)(void *ctx);  /* reply of GET_QUEUE_NUM */
    uint32_t (*ring_count)(void *ctx); /* indices at or above are refused */
    uint16_t (*ring_max)(void *ctx);

    /* A new generation of guest memory is in force; @map is borrowed (take a reference). Refused
     * (false): the old one stays. */
    bool (*set_memory)(void *ctx, struct vdt_guest_map *map, GError **error);
    bool (*set_log)(void *ctx, int fd, uint64_t offset, uint64_t size, GError **error);

    bool (*set_num)(void *ctx, uint32_t ring, uint32_t num, GError **error);
    bool (*set_addr)(void *ctx, const struct vdt_vring_addr *addr, GError **error);
    bool (*set_base)(void *ctx, uint32_t ring, uint32_t base, GError **error);
    enum vdt_answer (*get_base)(void *ctx, uint32_t ring, uint32_t *ret_base, GError **error);
    /* Starts the ring; size and addresses are known. -1: polled, no kicks. Where the frontend did
     * not take PROTOCOL_FEATURES, set_enable(true) comes just before. */
    bool (*set_kick)(void *ctx, uint32_t ring, int fd, GError **error);
    bool (*set_call)(void *ctx, uint32_t ring, int fd, GError **error);
    bool (*set_err)(void *ctx, uint32_t ring, int fd, GError **error);
    bool (*set_enable)(void *ctx, uint32_t ring, bool enable, GError **error);

    bool (*get_config)(void *ctx, uint32_t offset, uint32_t len, uint8_t *buf, GError **error);
    bool (*set_config)(void *ctx, uint32_t offset, uint32_t len, const uint8_t *buf, uint32_t flags,
                       GError **error);
    uint8_t (*get_status)(void *ctx);
    bool (*set_status)(void *ctx, uint8_t status, GError **error);
    bool (*reset_device)(void *ctx, GError **error);
    bool (*send_rarp)(void *ctx, const uint8_t mac[6], GError **error);
    bool (*set_mtu)(void *ctx, uint16_t mtu, GError **error);

    /* GET_INFLIGHT_FD: a fresh area for @queues rings of @size; @ret_fd is the caller's. */
    bool (*get_inflight)(void *ctx, uint16_t queues, uint16_t size, int *ret_fd, uint64_t *ret_size,
                         uint64_t *ret_offset, GError **error);
    bool (*set_inflight)(void *ctx, uint16_t queues, uint16_t size, int fd, uint64_t mmap_size,
                         uint64_t mmap_offset, GError **error);

    /* DEVICE_STATE: SAVE writes our state to @fd and closes it, LOAD reads it to its end; both go
     * on after the reply. check() tells whether the last transfer was whole: waits for it, bounded.
     */
    bool (*state_begin)(void *ctx, bool save, int fd, GError **error);
    bool (*state_check)(void *ctx, GError **error);

    /* The frontend is gone: every ring stops; memory, log and descriptors are given back. */
    void (*disconnected)(void *ctx);
};
