/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rig: a session over a socket pair, a backend that writes down what it is asked, and the test as
 * a frontend that can send any bytes. Everything runs in the test's thread: send, pump, look.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "vhost_user/channel.h"
#include "vhost_user/session.h"

#define RIG_RINGS 5u
#define RIG_RING_MAX 1024u
#define RIG_MIB (UINT64_C(1) << 20)
#define RIG_FRONTEND UINT64_C(0x7f0000000000)
#define RIG_REGION_1 (RIG_FRONTEND + 64 * RIG_MIB) /* frontend address of the second region */
#define RIG_FEATURES                                                                               \
    0x0000000530620023ull     /* VERSION_1, RING_PACKED, EVENT_IDX, INDIRECT, some of net */
#define RIG_PROTOCOL 0x9b23fu /* all that a session offers */

struct rig {
    GMainContext *context;
    struct vdt_session *session;
    int peer; /* our end */
    int own;  /* the session's end, borrowed */
    struct vdt_channel replies;

    GString *journal; /* one word a backend call: "kick0 base1=7" */
    unsigned disconnects, ends;
    char *reason; /* of the end, NULL when orderly */
    bool refuse;  /* the backend says no to everything */
    enum vdt_answer base_answer;
    bool answer_inside;    /* answer LATER out of get_base() itself */
    int fds[3][RIG_RINGS]; /* kick, call, err as the backend holds them */
    int log_fd, state_fd, inflight_fd;
    uint8_t status;
    uint8_t rarp[6];
};

void rig_init(struct rig *rig);
void rig_clear(struct rig *rig);
void rig_pump(struct rig *rig); /* until nothing is left to do */

/* Send raw bytes with descriptors (borrowed). */
void rig_send_bytes(struct rig *rig, const void *bytes, size_t len, const int *fds, unsigned n);
/* A message with @payload of @size; @flags beside the version. */
void rig_send(struct rig *rig, uint32_t request, uint32_t flags, const void *payload, uint32_t size,
              const int *fds, unsigned n);
/* The next reply, which stays valid until the next one; NULL when there is none. */
struct vdt_message *rig_reply(struct rig *rig);

/* One request that must succeed, NEED_REPLY set; its kind of payload by number. */
void rig_u64(struct rig *rig, uint32_t request, uint64_t value);
void rig_state(struct rig *rig, uint32_t request, uint32_t ring, uint32_t num);
void rig_fd(struct rig *rig, uint32_t request, uint64_t value, int fd);
void rig_addr(struct rig *rig, uint32_t ring, uint32_t flags);
void rig_memory(struct rig *rig);

struct vhost_user_vring_addr rig_addr_of(uint32_t ring, uint32_t flags);
/* Region 0: GPA 0, 2 MiB; region 1: 2 MiB at GPA 2 MiB, elsewhere in the frontend. */
struct vhost_user_region rig_region(unsigned i);

/* Stages that tests start from; each includes those before it. */
enum stage {
    STAGE_CONNECTED,
    STAGE_NEGOTIATED, /* every protocol feature, REPLY_ACK among them */
    STAGE_MEMORY,     /* features acknowledged, two regions there */
    STAGE_SET_UP,     /* rings 0 and 1: size, position, addresses, enabled */
    STAGE_RUNNING,    /* ring 0 kicked */
};
void rig_reach(struct rig *rig, enum stage stage);

unsigned rig_open_fds(void);
