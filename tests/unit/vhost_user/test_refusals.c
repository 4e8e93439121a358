/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Messages that must be refused: one row each, what was there before, what comes, what follows.
 * Whatever follows, the backend hears nothing (unless the row says that it is the one that refuses)
 * and no descriptor stays.
 */
#include "lib/leak.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "rig.h"

VDT_SUITE(refusals);

enum outcome {
    NACK = 1, /* a u64 other than 0 where REPLY_ACK asks for one, else the connection ends */
    DROP,     /* the connection ends */
    ANSWER,   /* u64 other than 0 in any case */
    EMPTY,    /* an answer without payload */
    NO_AREA,  /* an in-flight area of no size and no descriptor */
};

enum prop {
    P_NONE,
    P_MEMORY,   /* 4 MiB file */
    P_OTHER,    /* another */
    P_READONLY, /* 4 MiB file, opened for reading */
    P_DIR,
    P_CHARDEV,
    P_EVENT,
    P_PIPE_IN, /* can be read only */
    P_PIPE_OUT,
    P_OWN, /* the session's own socket, as a peer that made the pair could send it */
    P_COUNT
};

struct row {
    const char *name;
    enum outcome outcome;
    enum stage stage;
    uint32_t request;
    uint32_t size;
    union vhost_user_payload payload;
    enum prop fds[12];
    uint32_t flags;   /* xored into the header's */
    bool backend_no;  /* the backend refuses, so it is called */
    uint64_t logging; /* set up a log of that size and switch logging on first */
};

#define F RIG_FRONTEND
#define MIB RIG_MIB
#define V1 (1ull << 32 | 1ull << 30)
#define REGION_0                                                                                   \
    {                                                                                              \
        0, 2 * MIB, F, 0                                                                           \
    }
#define TABLE(n) VHOST_USER_MEM_TABLE_SIZE(n)
#define RING_0 .desc = F, .avail = F + 0x4000, .used = F + 0x8000
#define RING_2 .desc = F + 0x20000, .avail = F + 0x24000, .used = F + 0x28000
#define REQ(request, size) VHOST_USER_##request, size

/* One row a message. */
/* clang-format off */
static const struct row rows[] = {
    /* framing */
    { "version 2", DROP, STAGE_NEGOTIATED, REQ(SET_OWNER, 0), .flags = 3 },
    { "version 0", DROP, STAGE_NEGOTIATED, REQ(SET_OWNER, 0), .flags = 1 },
    { "reply flag on a request", DROP, STAGE_NEGOTIATED, REQ(SET_OWNER, 0), .flags = VHOST_USER_REPLY },
    { "request 0", NACK, STAGE_NEGOTIATED, 0, 0 },
    { "unknown id within the range", NACK, STAGE_NEGOTIATED, 27, 8 },
    { "unknown id beyond the range", NACK, STAGE_NEGOTIATED, 99, 8 },
    { "unknown id, the largest", NACK, STAGE_NEGOTIATED, UINT32_MAX, 8 },
    { "unknown id with a descriptor", NACK, STAGE_NEGOTIATED, 99, 0, .fds = { P_EVENT } },
    { "postcopy", NACK, STAGE_NEGOTIATED, REQ(POSTCOPY_ADVISE, 0) },
    { "IOTLB", NACK, STAGE_NEGOTIATED, REQ(IOTLB_MSG, 32) },
    { "payload too short", DROP, STAGE_NEGOTIATED, REQ(SET_FEATURES, 4) },
    { "payload too long", DROP, STAGE_NEGOTIATED, REQ(SET_FEATURES, 16) },
    { "payload where none belongs", DROP, STAGE_NEGOTIATED, REQ(SET_OWNER, 8) },
    { "payload larger than any message", DROP, STAGE_NEGOTIATED, REQ(SET_FEATURES, 400) },
    { "memory table cut short of its count", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, TABLE(1)), { .table = { 2, 0, { REGION_0, { 2 * MIB, 2 * MIB, RIG_REGION_1, 2 * MIB } } } }, { P_MEMORY, P_MEMORY } },
    { "protocol feature never negotiated", NACK, STAGE_CONNECTED, REQ(NET_SET_MTU, 8), { .u64 = 1500 } },

    /* descriptors */
    { "descriptor with a message that has none", NACK, STAGE_NEGOTIATED, REQ(SET_OWNER, 0), .fds = { P_EVENT } },
    { "table without descriptors", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, TABLE(1)), { .table = { 1, 0, { REGION_0 } } } },
    { "table with one descriptor twice", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, TABLE(1)), { .table = { 1, 0, { REGION_0 } } }, { P_MEMORY, P_MEMORY } },
    { "more descriptors than any message has", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, TABLE(1)), { .table = { 1, 0, { REGION_0 } } }, { P_EVENT, P_EVENT, P_EVENT, P_EVENT, P_EVENT, P_EVENT, P_EVENT, P_EVENT, P_EVENT, P_EVENT, P_EVENT } },
    { "directory as memory", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, TABLE(1)), { .table = { 1, 0, { REGION_0 } } }, { P_DIR } },
    { "read-only memory (used ring included)", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, TABLE(1)), { .table = { 1, 0, { REGION_0 } } }, { P_READONLY } },
    { "eventfd as memory", NACK, STAGE_NEGOTIATED, REQ(ADD_MEM_REG, 40), { .single = { 0, REGION_0 } }, { P_EVENT } },
    { "no-descriptor bit together with one", NACK, STAGE_SET_UP, REQ(SET_VRING_KICK, 8), { .u64 = VHOST_USER_NO_FD }, { P_EVENT } },
    { "kick without descriptor and without the bit", NACK, STAGE_SET_UP, REQ(SET_VRING_KICK, 8), { .u64 = 0 } },
    { "two kicks", NACK, STAGE_SET_UP, REQ(SET_VRING_KICK, 8), { .u64 = 0 }, { P_EVENT, P_EVENT } },
    { "file as kick", NACK, STAGE_SET_UP, REQ(SET_VRING_KICK, 8), { .u64 = 0 }, { P_MEMORY } },
    { "directory as kick", NACK, STAGE_SET_UP, REQ(SET_VRING_KICK, 8), { .u64 = 0 }, { P_DIR } },
    { "character device as kick", NACK, STAGE_SET_UP, REQ(SET_VRING_KICK, 8), { .u64 = 0 }, { P_CHARDEV } },
    { "kick that cannot be read", NACK, STAGE_SET_UP, REQ(SET_VRING_KICK, 8), { .u64 = 0 }, { P_PIPE_OUT } },
    { "our own connection as kick", NACK, STAGE_SET_UP, REQ(SET_VRING_KICK, 8), { .u64 = 0 }, { P_OWN } },
    { "file as call", NACK, STAGE_SET_UP, REQ(SET_VRING_CALL, 8), { .u64 = 0 }, { P_MEMORY } },
    { "call that cannot be written", NACK, STAGE_SET_UP, REQ(SET_VRING_CALL, 8), { .u64 = 0 }, { P_PIPE_IN } },
    { "err that cannot be written", NACK, STAGE_SET_UP, REQ(SET_VRING_ERR, 8), { .u64 = 0 }, { P_PIPE_IN } },
    { "pipe as backend channel", NACK, STAGE_NEGOTIATED, REQ(SET_BACKEND_REQ_FD, 0), .fds = { P_PIPE_IN } },
    { "backend channel missing", NACK, STAGE_NEGOTIATED, REQ(SET_BACKEND_REQ_FD, 0) },
    { "file as log event", NACK, STAGE_NEGOTIATED, REQ(SET_LOG_FD, 0), .fds = { P_MEMORY } },

    /* ring indices and sizes */
    { "first index too high", NACK, STAGE_MEMORY, REQ(SET_VRING_NUM, 8), { .state = { RIG_RINGS, 256 } } },
    { "index that is 0 in 16 bits", NACK, STAGE_MEMORY, REQ(SET_VRING_NUM, 8), { .state = { 0x10000, 256 } } },
    { "largest index", NACK, STAGE_MEMORY, REQ(SET_VRING_ENABLE, 8), { .state = { UINT32_MAX, 1 } } },
    { "position of a ring there is not", DROP, STAGE_RUNNING, REQ(GET_VRING_BASE, 8), { .state = { RIG_RINGS, 0 } } },
    { "base of a ring there is not", NACK, STAGE_MEMORY, REQ(SET_VRING_BASE, 8), { .state = { RIG_RINGS, 0 } } },
    { "addresses of a ring there is not", NACK, STAGE_SET_UP, REQ(SET_VRING_ADDR, 40), { .addr = { .index = RIG_RINGS, RING_0 } } },
    { "kick of a ring there is not", NACK, STAGE_SET_UP, REQ(SET_VRING_KICK, 8), { .u64 = RIG_RINGS }, { P_EVENT } },
    { "kick with bits above the index", NACK, STAGE_SET_UP, REQ(SET_VRING_KICK, 8), { .u64 = 0x10000 }, { P_EVENT } },
    { "call with bits above the index", NACK, STAGE_SET_UP, REQ(SET_VRING_CALL, 8), { .u64 = 1ull << 32 }, { P_EVENT } },
    { "size 0", NACK, STAGE_MEMORY, REQ(SET_VRING_NUM, 8), { .state = { 0, 0 } } },
    { "size not a power of two", NACK, STAGE_MEMORY, REQ(SET_VRING_NUM, 8), { .state = { 0, 255 } } },
    { "size above the device's", NACK, STAGE_MEMORY, REQ(SET_VRING_NUM, 8), { .state = { 0, 2048 } } },
    { "size above the standard's", NACK, STAGE_MEMORY, REQ(SET_VRING_NUM, 8), { .state = { 0, 65536 } } },
    { "size that is 256 in 16 bits", NACK, STAGE_MEMORY, REQ(SET_VRING_NUM, 8), { .state = { 0, 0x10100 } } },
    { "size change of a running ring", NACK, STAGE_RUNNING, REQ(SET_VRING_NUM, 8), { .state = { 0, 512 } } },
    { "base above 65535", NACK, STAGE_SET_UP, REQ(SET_VRING_BASE, 8), { .state = { 1, 0x10000 } } },
    { "base of a running ring", NACK, STAGE_RUNNING, REQ(SET_VRING_BASE, 8), { .state = { 0, 5 } } },
    { "enable with 2", NACK, STAGE_SET_UP, REQ(SET_VRING_ENABLE, 8), { .state = { 0, 2 } } },

    /* memory */
    { "no region", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, 8), { .table = { 0 } } },
    { "no region, a descriptor", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, 8), { .table = { 0 } }, { P_MEMORY } },
    { "nine regions", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, TABLE(8)), { .table = { 9, 0, { REGION_0 } } }, { P_MEMORY, P_MEMORY, P_MEMORY, P_MEMORY, P_MEMORY, P_MEMORY, P_MEMORY, P_MEMORY } },
    { "count whose size wraps", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, TABLE(1)), { .table = { 0x08000001, 0, { REGION_0 } } }, { P_MEMORY } },
    { "guest addresses overlap", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, TABLE(2)), { .table = { 2, 0, { REGION_0, { MIB, MIB, RIG_REGION_1, 2 * MIB } } } }, { P_MEMORY, P_MEMORY } },
    { "frontend addresses overlap", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, TABLE(2)), { .table = { 2, 0, { REGION_0, { 4 * MIB, MIB, F + MIB, 2 * MIB } } } }, { P_MEMORY, P_MEMORY } },
    { "guest address wraps", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, TABLE(1)), { .table = { 1, 0, { { -2 * MIB, 4 * MIB, F, 0 } } } }, { P_MEMORY } },
    { "frontend address wraps", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, TABLE(1)), { .table = { 1, 0, { { 0, 4 * MIB, -2 * MIB, 0 } } } }, { P_MEMORY } },
    { "offset wraps", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, TABLE(1)), { .table = { 1, 0, { { 0, 4 * MIB, F, -2 * MIB } } } }, { P_MEMORY } },
    { "size beyond 63 bits", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, TABLE(1)), { .table = { 1, 0, { { 0, 1ull << 63, 0, 0 } } } }, { P_MEMORY } },
    { "size 0", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, TABLE(1)), { .table = { 1, 0, { { 0, 0, F, 0 } } } }, { P_MEMORY } },
    { "size not of pages", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, TABLE(1)), { .table = { 1, 0, { { 0, MIB + 1, F, 0 } } } }, { P_MEMORY } },
    { "guest address not of pages", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, TABLE(1)), { .table = { 1, 0, { { 16, MIB, F, 0 } } } }, { P_MEMORY } },
    { "offset not of pages", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, TABLE(1)), { .table = { 1, 0, { { 0, MIB, F, 512 } } } }, { P_MEMORY } },
    { "region beyond its file", NACK, STAGE_NEGOTIATED, REQ(SET_MEM_TABLE, TABLE(1)), { .table = { 1, 0, { { 0, 4 * MIB, F, MIB } } } }, { P_MEMORY } },
    { "second region over a first", NACK, STAGE_MEMORY, REQ(ADD_MEM_REG, 40), { .single = { 0, { MIB, MIB, F + 256 * MIB, 0 } } }, { P_MEMORY } },
    { "same region, another file", NACK, STAGE_MEMORY, REQ(ADD_MEM_REG, 40), { .single = { 0, REGION_0 } }, { P_OTHER } },
    { "region to add without descriptor", NACK, STAGE_MEMORY, REQ(ADD_MEM_REG, 40), { .single = { 0, { 8 * MIB, MIB, F + 256 * MIB, 0 } } } },
    { "region to remove is not there", NACK, STAGE_MEMORY, REQ(REM_MEM_REG, 40), { .single = { 0, { 8 * MIB, MIB, F, 0 } } } },
    { "region to remove has another size", NACK, STAGE_MEMORY, REQ(REM_MEM_REG, 40), { .single = { 0, { 0, MIB, F, 0 } } } },
    { "region to remove, with a descriptor", NACK, STAGE_MEMORY, REQ(REM_MEM_REG, 40), { .single = { 0, { 8 * MIB, MIB, F, 0 } } }, { P_EVENT } },
    { "region to remove is in use", NACK, STAGE_RUNNING, REQ(REM_MEM_REG, 40), { .single = { 0, REGION_0 } }, .backend_no = true },
    { "table the backend cannot take", NACK, STAGE_RUNNING, REQ(SET_MEM_TABLE, TABLE(1)), { .table = { 1, 0, { REGION_0 } } }, { P_MEMORY }, .backend_no = true },
    { "memory beyond the log that is in use", NACK, STAGE_RUNNING, REQ(ADD_MEM_REG, 40), { .single = { 0, { 64 * MIB, MIB, F + 256 * MIB, 0 } } }, { P_MEMORY }, .logging = 128 },

    /* rings */
    { "descriptor table unaligned", NACK, STAGE_SET_UP, REQ(SET_VRING_ADDR, 40), { .addr = { .index = 1, .desc = F + 8, .avail = F + 0x4000, .used = F + 0x8000 } } },
    { "avail ring unaligned", NACK, STAGE_SET_UP, REQ(SET_VRING_ADDR, 40), { .addr = { .index = 1, .desc = F, .avail = F + 0x4001, .used = F + 0x8000 } } },
    { "used ring unaligned", NACK, STAGE_SET_UP, REQ(SET_VRING_ADDR, 40), { .addr = { .index = 1, .desc = F, .avail = F + 0x4000, .used = F + 0x8002 } } },
    { "outside memory", NACK, STAGE_SET_UP, REQ(SET_VRING_ADDR, 40), { .addr = { .index = 1, .desc = F + 8 * MIB, .avail = F + 0x4000, .used = F + 0x8000 } } },
    { "guest address in place of a frontend one", NACK, STAGE_SET_UP, REQ(SET_VRING_ADDR, 40), { .addr = { .index = 1, .desc = 0, .avail = 0x4000, .used = 0x8000 } } },
    { "end outside memory", NACK, STAGE_SET_UP, REQ(SET_VRING_ADDR, 40), { .addr = { .index = 1, .desc = F + 2 * MIB - 16, .avail = F + 0x4000, .used = F + 0x8000 } } },
    { "address that wraps", NACK, STAGE_SET_UP, REQ(SET_VRING_ADDR, 40), { .addr = { .index = 1, .desc = -16, .avail = F + 0x4000, .used = F + 0x8000 } } },
    { "areas of one ring overlap", NACK, STAGE_SET_UP, REQ(SET_VRING_ADDR, 40), { .addr = { .index = 1, .desc = F, .avail = F + 0x800, .used = F + 0x8000 } } },
    { "on a running ring", NACK, STAGE_RUNNING, REQ(SET_VRING_ADDR, 40), { .addr = { .index = 1, RING_0 } } },
    { "running ring moved", NACK, STAGE_RUNNING, REQ(SET_VRING_ADDR, 40), { .addr = { .index = 0, RING_2 } } },
    { "flags nobody knows", NACK, STAGE_SET_UP, REQ(SET_VRING_ADDR, 40), { .addr = { .index = 1, .flags = 2, RING_2 } } },
    { "addresses before a size", NACK, STAGE_MEMORY, REQ(SET_VRING_ADDR, 40), { .addr = { .index = 2, RING_2 } } },
    { "addresses before memory", NACK, STAGE_NEGOTIATED, REQ(SET_VRING_ADDR, 40), { .addr = { .index = 0, RING_0 } } },

    /* log */
    { "log without descriptor", ANSWER, STAGE_MEMORY, REQ(SET_LOG_BASE, 16), { .log = { 4096, 0 } } },
    { "log without LOG_SHMFD", NACK, STAGE_CONNECTED, REQ(SET_LOG_BASE, 16), { .log = { 4096, 0 } }, { P_MEMORY } },
    { "log as an address", ANSWER, STAGE_MEMORY, REQ(SET_LOG_BASE, 8), { .u64 = F } },
    { "log's end wraps", ANSWER, STAGE_MEMORY, REQ(SET_LOG_BASE, 16), { .log = { 4096, -2048 } }, { P_MEMORY } },
    { "log's size is everything", ANSWER, STAGE_MEMORY, REQ(SET_LOG_BASE, 16), { .log = { UINT64_MAX, 0 } }, { P_MEMORY } },
    { "log beyond its file", ANSWER, STAGE_MEMORY, REQ(SET_LOG_BASE, 16), { .log = { 4096, 4 * MIB } }, { P_MEMORY } },
    { "log of no size", ANSWER, STAGE_MEMORY, REQ(SET_LOG_BASE, 16), { .log = { 0, 0 } }, { P_MEMORY } },
    { "log in a pipe", ANSWER, STAGE_MEMORY, REQ(SET_LOG_BASE, 16), { .log = { 4096, 0 } }, { P_PIPE_OUT } },
    { "log smaller than memory by a byte", ANSWER, STAGE_MEMORY, REQ(SET_LOG_BASE, 16), { .log = { 127, 0 } }, { P_MEMORY } },
    { "log shrunk while it is used", ANSWER, STAGE_RUNNING, REQ(SET_LOG_BASE, 16), { .log = { 64, 0 } }, { P_MEMORY }, .logging = 128 },
    { "used ring logged beyond the log", NACK, STAGE_RUNNING, REQ(SET_VRING_ADDR, 40), { .addr = { .index = 0, .flags = 1, RING_0, .log = 4 * MIB } }, .logging = 128 },
    { "used ring's place in the log wraps", NACK, STAGE_RUNNING, REQ(SET_VRING_ADDR, 40), { .addr = { .index = 0, .flags = 1, RING_0, .log = UINT64_MAX } }, .logging = 128 },
    { "logging of running rings without a log", NACK, STAGE_RUNNING, REQ(SET_FEATURES, 8), { .u64 = V1 | 1 << 26 } },

    /* order */
    { "kick before addresses", NACK, STAGE_MEMORY, REQ(SET_VRING_KICK, 8), { .u64 = 0 }, { P_EVENT } },
    { "polled ring before addresses", NACK, STAGE_MEMORY, REQ(SET_VRING_KICK, 8), { .u64 = VHOST_USER_NO_FD } },
    { "other features while a ring runs", NACK, STAGE_RUNNING, REQ(SET_FEATURES, 8), { .u64 = V1 | 1 << 17 } },
    { "other protocol features while a ring runs", NACK, STAGE_RUNNING, REQ(SET_PROTOCOL_FEATURES, 8), { .u64 = 8 } },
    { "features that were not offered", NACK, STAGE_NEGOTIATED, REQ(SET_FEATURES, 8), { .u64 = V1 | 1ull << 33 } },
    { "protocol features that were not offered", NACK, STAGE_NEGOTIATED, REQ(SET_PROTOCOL_FEATURES, 8), { .u64 = 1 << 8 } },
    { "features the backend cannot take", NACK, STAGE_NEGOTIATED, REQ(SET_FEATURES, 8), { .u64 = V1 }, .backend_no = true },
    { "status beyond a byte", NACK, STAGE_NEGOTIATED, REQ(SET_STATUS, 8), { .u64 = 0x100 } },
    { "position the backend cannot tell", DROP, STAGE_RUNNING, REQ(GET_VRING_BASE, 8), { .state = { 0, 0 } }, .backend_no = true },

    /* config, MTU, in-flight area, device state */
    { "config of no bytes", EMPTY, STAGE_NEGOTIATED, REQ(GET_CONFIG, 12), { .config = { 0, 0 } } },
    { "config beyond its end", EMPTY, STAGE_NEGOTIATED, REQ(GET_CONFIG, 12 + 8), { .config = { 250, 8 } } },
    { "config offset that wraps", EMPTY, STAGE_NEGOTIATED, REQ(GET_CONFIG, 12 + 8), { .config = { UINT32_MAX, 8 } } },
    { "config size unlike the message's", EMPTY, STAGE_NEGOTIATED, REQ(GET_CONFIG, 12 + 8), { .config = { 0, 9 } } },
    { "config the backend cannot give", EMPTY, STAGE_NEGOTIATED, REQ(GET_CONFIG, 12 + 8), { .config = { 0, 8 } }, .backend_no = true },
    { "config to set without its bytes", NACK, STAGE_NEGOTIATED, REQ(SET_CONFIG, 12), { .config = { 0, 6 } } },
    { "config to set beyond its end", NACK, STAGE_NEGOTIATED, REQ(SET_CONFIG, 12 + 6), { .config = { 255, 6 } } },
    { "MTU of 67", NACK, STAGE_NEGOTIATED, REQ(NET_SET_MTU, 8), { .u64 = 67 } },
    { "MTU that is 1500 in 16 bits", NACK, STAGE_NEGOTIATED, REQ(NET_SET_MTU, 8), { .u64 = 0x10000 + 1500 } },
    { "in-flight area for no ring", NO_AREA, STAGE_NEGOTIATED, REQ(GET_INFLIGHT_FD, 24), { .inflight = { .queues = 0, .queue_size = 256 } } },
    { "in-flight area for more rings", NO_AREA, STAGE_NEGOTIATED, REQ(GET_INFLIGHT_FD, 20), { .inflight = { .queues = RIG_RINGS + 1, .queue_size = 256 } } },
    { "in-flight area for larger rings", NO_AREA, STAGE_NEGOTIATED, REQ(GET_INFLIGHT_FD, 24), { .inflight = { .queues = 2, .queue_size = 2048 } } },
    { "in-flight area for more rings comes", NACK, STAGE_NEGOTIATED, REQ(SET_INFLIGHT_FD, 24), { .inflight = { 4096, 0, 999, 256 } }, { P_MEMORY } },
    { "in-flight area wraps", NACK, STAGE_NEGOTIATED, REQ(SET_INFLIGHT_FD, 24), { .inflight = { 4096, -2048, 2, 256 } }, { P_MEMORY } },
    { "in-flight area beyond its file", NACK, STAGE_NEGOTIATED, REQ(SET_INFLIGHT_FD, 20), { .inflight = { 5 * MIB, 0, 2, 256 } }, { P_MEMORY } },
    { "in-flight area without descriptor", NACK, STAGE_NEGOTIATED, REQ(SET_INFLIGHT_FD, 24), { .inflight = { 4096, 0, 2, 256 } } },
    { "in-flight area of a running device", NACK, STAGE_RUNNING, REQ(SET_INFLIGHT_FD, 24), { .inflight = { 4096, 0, 2, 256 } }, { P_MEMORY } },
    { "state in an unknown direction", ANSWER, STAGE_NEGOTIATED, REQ(SET_DEVICE_STATE_FD, 8), { .transfer = { 2, 0 } }, { P_PIPE_OUT } },
    { "state in an unknown phase", ANSWER, STAGE_NEGOTIATED, REQ(SET_DEVICE_STATE_FD, 8), { .transfer = { 0, 1 } }, { P_PIPE_OUT } },
    { "state of a running device", ANSWER, STAGE_RUNNING, REQ(SET_DEVICE_STATE_FD, 8), { .transfer = { 0, 0 } }, { P_PIPE_OUT } },
    { "state channel that cannot be written", ANSWER, STAGE_NEGOTIATED, REQ(SET_DEVICE_STATE_FD, 8), { .transfer = { 0, 0 } }, { P_PIPE_IN } },
    { "state channel that cannot be read", ANSWER, STAGE_NEGOTIATED, REQ(SET_DEVICE_STATE_FD, 8), { .transfer = { 1, 0 } }, { P_PIPE_OUT } },
    { "state without a channel", ANSWER, STAGE_NEGOTIATED, REQ(SET_DEVICE_STATE_FD, 8), { .transfer = { 0, 0 } } },
    { "state that is not whole", ANSWER, STAGE_NEGOTIATED, REQ(CHECK_DEVICE_STATE, 0), .backend_no = true },
};
/* clang-format on */

struct props {
    int fd[P_COUNT];
};

static void
open_props(struct props *props)
{
    char path[64];
    int ends[2];

    props->fd[P_NONE] = -1;
    props->fd[P_MEMORY] = vdt_memfd("guest", 4 * MIB, NULL);
    props->fd[P_OTHER] = vdt_memfd("other", 4 * MIB, NULL);
    g_snprintf(path, sizeof(path), "/proc/self/fd/%d", props->fd[P_MEMORY]);
    props->fd[P_READONLY] = open(path, O_RDONLY | O_CLOEXEC);
    props->fd[P_DIR] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    props->fd[P_CHARDEV] = open("/dev/null", O_RDWR | O_CLOEXEC);
    props->fd[P_EVENT] = vdt_eventfd(NULL);
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    props->fd[P_PIPE_IN] = ends[0];
    props->fd[P_PIPE_OUT] = ends[1];
    props->fd[P_OWN] = -1;
}

static void
close_props(struct props *props)
{
    for (unsigned i = 0; i < P_OWN; i++)
        vdt_close(props->fd[i]);
}

static void
set_up_log(struct rig *rig, const struct props *props, uint64_t size)
{
    struct vhost_user_log log = {size, 0};
    struct vdt_message *reply;

    rig_send(rig, VHOST_USER_SET_LOG_BASE, 0, &log, sizeof(log), &props->fd[P_OTHER], 1);
    rig_pump(rig);
    reply = rig_reply(rig);
    cr_assert(reply && reply->payload.u64 == 0);
    rig_u64(rig, VHOST_USER_SET_FEATURES, V1 | 1 << 26);
}

static void
check_outcome(struct rig *rig, const struct row *row, bool acks)
{
    enum outcome outcome = row->outcome == NACK && !acks ? DROP : row->outcome;

    if (outcome == DROP) {
        cr_assert_null(rig->session, "%s: the session goes on", row->name);
        cr_assert_eq(rig->ends, 1);
        cr_assert_not_null(rig->reason, "%s: no reason given", row->name);
        cr_assert_null(rig_reply(rig), "%s: answered", row->name);
        return;
    }
    cr_assert_not_null(rig->session, "%s: the session ended: %s", row->name, rig->reason);
    struct vdt_message *reply = rig_reply(rig);
    cr_assert_not_null(reply, "%s: no answer", row->name);
    cr_assert_eq(reply->header.request, row->request);
    cr_assert_eq(reply->fd_count, 0, "%s: a descriptor came back", row->name);
    if (outcome == EMPTY) {
        cr_assert_eq(reply->header.size, 0, "%s: payload with an error", row->name);
    } else if (outcome == NO_AREA) {
        cr_assert_eq(reply->header.size, row->size);
        cr_assert_eq(reply->payload.inflight.mmap_size, 0, "%s: an area came back", row->name);
    } else {
        cr_assert_eq(reply->header.size, 8);
        cr_assert_neq(reply->payload.u64 & 0xff, 0, "%s: acknowledged", row->name);
    }
    cr_assert_null(rig_reply(rig), "%s: two answers", row->name);
}

static void
play(const struct row *row, bool acks)
{
    struct props props;
    struct rig rig;
    int fds[G_N_ELEMENTS(row->fds)];
    unsigned n = 0;

    rig_init(&rig);
    open_props(&props);
    rig_reach(&rig, row->stage);
    if (row->logging)
        set_up_log(&rig, &props, row->logging);
    for (; n < G_N_ELEMENTS(row->fds) && row->fds[n] != P_NONE; n++)
        fds[n] = row->fds[n] == P_OWN ? rig.own : props.fd[row->fds[n]];

    struct vdt_guest_map *map = vdt_session_map(rig.session);
    g_string_truncate(rig.journal, 0);
    rig.refuse = row->backend_no;
    unsigned before = rig_open_fds();
    struct {
        struct vhost_user_header header;
        uint8_t bytes[512];
    } message = {{row->request, 0, row->size}, {0}};
    message.header.flags = (VHOST_USER_VERSION | (acks ? VHOST_USER_NEED_REPLY : 0)) ^ row->flags;
    memcpy(message.bytes, &row->payload, sizeof(row->payload));
    rig_send_bytes(&rig, &message, 12 + row->size, fds, n);
    rig_pump(&rig);

    /* Before anything is negotiated nobody can be told no. */
    check_outcome(&rig, row, acks && row->stage > STAGE_CONNECTED);
    if (rig.session) {
        cr_assert_eq(vdt_session_map(rig.session), map, "%s: memory changed", row->name);
        cr_assert_eq(rig_open_fds(), before, "%s: %d descriptors too many", row->name,
                     (int) rig_open_fds() - (int) before);
        rig.refuse = false;
        rig_u64(&rig, VHOST_USER_SET_PROTOCOL_FEATURES, vdt_session_protocol_features(rig.session));
    }
    if (!row->backend_no)
        cr_assert_str_eq(rig.journal->str, "", "%s: the backend heard %s", row->name,
                         rig.journal->str);
    rig_clear(&rig);
    close_props(&props);
}

Test(refusals, are_answered_where_answers_were_asked_for)
{
    unsigned before = rig_open_fds();

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        play(&rows[i], true);
        cr_assert_eq(rig_open_fds(), before, "%s: descriptors stay", rows[i].name);
    }
}

Test(refusals, end_the_connection_where_they_cannot_be_answered)
{
    unsigned before = rig_open_fds();

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        play(&rows[i], false);
        cr_assert_eq(rig_open_fds(), before, "%s: descriptors stay", rows[i].name);
    }
}

Test(refusals, packed_positions_outside_the_ring_are_refused)
{
    static const uint32_t bad[] = {0x100, 0x8100, 0x01008000, 0x81008000};
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_NEGOTIATED);
    rig_u64(&rig, VHOST_USER_SET_FEATURES, V1 | 1ull << 34);
    rig_state(&rig, VHOST_USER_SET_VRING_NUM, 0, 256);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        struct vhost_user_vring_state state = {0, bad[i]};
        rig_send(&rig, VHOST_USER_SET_VRING_BASE, VHOST_USER_NEED_REPLY, &state, 8, NULL, 0);
        rig_pump(&rig);
        struct vdt_message *reply = rig_reply(&rig);
        cr_assert(reply && reply->payload.u64 != 0, "position 0x%x was taken", bad[i]);
    }
    rig_clear(&rig);
}

/* Two rings set up on the same place while neither runs: the second may not start. */
Test(refusals, a_ring_does_not_start_on_a_running_one)
{
    struct vhost_user_vring_addr addr = rig_addr_of(0, 0);
    VDT_AUTO_FD kick = vdt_eventfd(NULL);
    uint64_t one = 1;
    struct rig rig;

    rig_init(&rig);
    rig_reach(&rig, STAGE_SET_UP);
    addr.index = 1;
    rig_send(&rig, VHOST_USER_SET_VRING_ADDR, VHOST_USER_NEED_REPLY, &addr, sizeof(addr), NULL, 0);
    rig_pump(&rig);
    cr_assert_eq(rig_reply(&rig)->payload.u64, 0);
    rig_fd(&rig, VHOST_USER_SET_VRING_KICK, 0, kick);
    rig_send(&rig, VHOST_USER_SET_VRING_KICK, VHOST_USER_NEED_REPLY, &one, 8, &kick, 1);
    rig_pump(&rig);
    cr_assert_neq(rig_reply(&rig)->payload.u64, 0);
    rig_clear(&rig);
}
