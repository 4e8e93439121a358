/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vhost-user on the wire: numbers and payloads (QEMU's docs/interop/vhost-user.rst names them; no
 * system header has them). All numbers are in the byte order of the machine. A message is a
 * header of 12 bytes directly followed by its payload; descriptors ride on its first bytes.
 */
#pragma once

#include <stdint.h>

#define VHOST_USER_VERSION 0x1u
#define VHOST_USER_VERSION_MASK 0x3u
#define VHOST_USER_REPLY (1u << 2)
#define VHOST_USER_NEED_REPLY (1u << 3)

/* Feature bits that live beside the virtio ones. */
#define VHOST_USER_F_LOG_ALL 26
#define VHOST_USER_F_PROTOCOL_FEATURES 30

enum vhost_user_protocol_feature {
    VHOST_USER_PROTOCOL_F_MQ = 0,
    VHOST_USER_PROTOCOL_F_LOG_SHMFD = 1,
    VHOST_USER_PROTOCOL_F_RARP = 2,
    VHOST_USER_PROTOCOL_F_REPLY_ACK = 3,
    VHOST_USER_PROTOCOL_F_NET_MTU = 4,
    VHOST_USER_PROTOCOL_F_BACKEND_REQ = 5,
    VHOST_USER_PROTOCOL_F_CONFIG = 9,
    VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD = 12,
    VHOST_USER_PROTOCOL_F_RESET_DEVICE = 13,
    VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS = 15,
    VHOST_USER_PROTOCOL_F_STATUS = 16,
    VHOST_USER_PROTOCOL_F_DEVICE_STATE = 19,
};

#define VHOST_USER_BIT(bit) (UINT64_C(1) << (bit))

/* Requests of the frontend. */
enum vhost_user_request {
    VHOST_USER_GET_FEATURES = 1,
    VHOST_USER_SET_FEATURES = 2,
    VHOST_USER_SET_OWNER = 3,
    VHOST_USER_RESET_OWNER = 4,
    VHOST_USER_SET_MEM_TABLE = 5,
    VHOST_USER_SET_LOG_BASE = 6,
    VHOST_USER_SET_LOG_FD = 7,
    VHOST_USER_SET_VRING_NUM = 8,
    VHOST_USER_SET_VRING_ADDR = 9,
    VHOST_USER_SET_VRING_BASE = 10,
    VHOST_USER_GET_VRING_BASE = 11,
    VHOST_USER_SET_VRING_KICK = 12,
    VHOST_USER_SET_VRING_CALL = 13,
    VHOST_USER_SET_VRING_ERR = 14,
    VHOST_USER_GET_PROTOCOL_FEATURES = 15,
    VHOST_USER_SET_PROTOCOL_FEATURES = 16,
    VHOST_USER_GET_QUEUE_NUM = 17,
    VHOST_USER_SET_VRING_ENABLE = 18,
    VHOST_USER_SEND_RARP = 19,
    VHOST_USER_NET_SET_MTU = 20,
    VHOST_USER_SET_BACKEND_REQ_FD = 21,
    VHOST_USER_IOTLB_MSG = 22,
    VHOST_USER_GET_CONFIG = 24,
    VHOST_USER_SET_CONFIG = 25,
    VHOST_USER_POSTCOPY_ADVISE = 28,
    VHOST_USER_GET_INFLIGHT_FD = 31,
    VHOST_USER_SET_INFLIGHT_FD = 32,
    VHOST_USER_RESET_DEVICE = 34,
    VHOST_USER_GET_MAX_MEM_SLOTS = 36,
    VHOST_USER_ADD_MEM_REG = 37,
    VHOST_USER_REM_MEM_REG = 38,
    VHOST_USER_SET_STATUS = 39,
    VHOST_USER_GET_STATUS = 40,
    VHOST_USER_SET_DEVICE_STATE_FD = 42,
    VHOST_USER_CHECK_DEVICE_STATE = 43,
    VHOST_USER_MAX = VHOST_USER_CHECK_DEVICE_STATE,
};

/* Requests of the backend, on the channel that SET_BACKEND_REQ_FD brings. */
enum vhost_user_backend_request {
    VHOST_USER_BACKEND_CONFIG_CHANGE_MSG = 2,
};

struct vhost_user_header {
    uint32_t request;
    uint32_t flags;
    uint32_t size; /* of the payload */
};

struct vhost_user_vring_state {
    uint32_t index;
    uint32_t num;
};

#define VHOST_USER_VRING_F_LOG 0x1u

struct vhost_user_vring_addr {
    uint32_t index;
    uint32_t flags;
    uint64_t desc, used, avail, log;
};

/* SET_VRING_KICK, CALL, ERR: a u64 with the ring in bits 0-7. Also in SET_DEVICE_STATE_FD's reply.
 */
#define VHOST_USER_VRING_INDEX_MASK 0xffu
#define VHOST_USER_NO_FD (1u << 8)

struct vhost_user_region {
    uint64_t gpa;
    uint64_t size;
    uint64_t frontend;
    uint64_t offset;
};

#define VHOST_USER_TABLE_REGIONS 8u

struct vhost_user_mem_table {
    uint32_t count;
    uint32_t padding;
    struct vhost_user_region regions[VHOST_USER_TABLE_REGIONS];
};

#define VHOST_USER_MEM_TABLE_SIZE(count)                                                           \
    ((uint32_t) (8u + (count) * sizeof(struct vhost_user_region)))

struct vhost_user_single_region {
    uint64_t padding;
    struct vhost_user_region region;
};

struct vhost_user_log {
    uint64_t size;
    uint64_t offset;
};

#define VHOST_USER_CONFIG_HEADER 12u
#define VHOST_USER_CONFIG_MAX 256u
#define VHOST_USER_CONFIG_F_MIGRATION 0x1u

struct vhost_user_config {
    uint32_t offset;
    uint32_t size;
    uint32_t flags;
    uint8_t data[VHOST_USER_CONFIG_MAX];
};

/* 20 bytes by the text; frontends in C send the 24 of the padded structure. */
#define VHOST_USER_INFLIGHT_SIZE 20u

struct vhost_user_inflight {
    uint64_t mmap_size;
    uint64_t mmap_offset;
    uint16_t queues;
    uint16_t queue_size;
};

enum vhost_user_transfer { VHOST_USER_TRANSFER_SAVE = 0, VHOST_USER_TRANSFER_LOAD = 1 };

#define VHOST_USER_PHASE_STOPPED 0u

struct vhost_user_transfer_params {
    uint32_t direction;
    uint32_t phase;
};

union vhost_user_payload {
    uint64_t u64;
    struct vhost_user_vring_state state;
    struct vhost_user_vring_addr addr;
    struct vhost_user_mem_table table;
    struct vhost_user_single_region single;
    struct vhost_user_log log;
    struct vhost_user_config config;
    struct vhost_user_inflight inflight;
    struct vhost_user_transfer_params transfer;
    uint8_t bytes[sizeof(struct vhost_user_config) + 4];
};

_Static_assert(sizeof(struct vhost_user_header) == 12, "header as on the wire");
_Static_assert(sizeof(struct vhost_user_vring_addr) == 40, "ring addresses as on the wire");
_Static_assert(sizeof(struct vhost_user_mem_table) == 264, "memory table as on the wire");
_Static_assert(sizeof(struct vhost_user_single_region) == 40, "region as on the wire");
_Static_assert(sizeof(union vhost_user_payload) >= 268, "the largest request fits");
