/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The inside of the fake kernel: fake_vhost_vdpa.c (nodes and ioctls), fake_vhost_iotlb.c. */
#pragma once

#include <sys/types.h>

#include "device/vhost_vdpa.h"
#include "lib/fake_vhost_vdpa.h"

#define FAKE_VHOST_DEVICES 32u
#define FAKE_VHOST_MAPS 64u

struct fake_vhost_mapping {
    uint32_t asid;
    uint64_t iova, size;
    uint64_t pinned;
    bool used;
};

struct fake_vhost_node {
    char path[160];
    int fd;        /* -1: closed */
    bool standing; /* put(): stays when it is closed */
    struct vdt_device *parent;
    bool owned;
    pid_t mm;
    uint64_t backend, features;
    bool failed, suspended, in_batch;
    uint32_t batch_asid;
    unsigned reads;
    struct fake_vhost_mapping maps[FAKE_VHOST_MAPS];
};

extern struct fake_vhost_node fake_vhost_nodes[FAKE_VHOST_DEVICES];

/* What the kernel would answer for a parent's refusal; frees it. */
int fake_vhost_errno(GError *error);
/* 0, or what the kernel knows and does not tell. */
int fake_vhost_message(struct fake_vhost_node *node, const struct vhost_msg_v2 *msg);
void fake_vhost_invalidate(struct fake_vhost_node *node, uint32_t asid, uint64_t from, uint64_t to);
