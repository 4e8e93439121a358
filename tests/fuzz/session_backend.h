/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Backend: the far side of a session, which believes nothing: each call is checked against what
 * "vhost_user/backend.h" says that the session has made sure of.
 */
#pragma once

#include "fuzz.h"

#include "vhost_user/protocol.h"
#include "vhost_user/session.h"
#include "virtio/ring.h"

#define BACKEND_RINGS 5u
#define BACKEND_RING_MAX 1024u
#define BACKEND_FEATURES 0x0000000530620023ull

struct backend_ring {
    uint32_t num;
    struct vdt_vring_addr addr;
    bool addr_set, started, enabled;
};

struct backend {
    GMainContext *context;
    struct vdt_session *session;
    bool refuse, later; /* answers: no; not yet */
    int pending;        /* ring whose position is owed, -1 for none */
    struct backend_ring rings[BACKEND_RINGS];
    uint64_t features;
    bool log, was_logged; /* a log for the migration that runs; at any time */
    uint64_t log_size;
    struct vdt_guest_map *map;
    unsigned disconnects, ends;
};

void backend_init(struct backend *backend, int fd);
/* Answer what get_base() owes; @how: as asked, wrong ring, with an error. */
void backend_answer_later(struct backend *backend, unsigned how);
void backend_clear(struct backend *backend);
