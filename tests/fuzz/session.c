/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Session target: a frontend that sends messages with descriptors out of a fixed set, in any order,
 * whole or cut, well-formed or not. The backend behind the session checks what it is promised in
 * "vhost_user/backend.h"; afterwards as many descriptors are open as before.
 */
#include "session_backend.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

#define MESSAGES_MAX 64u
#define TURNS_MAX 200u
#define FDS_WATCHED 64
#define MIB (UINT64_C(1) << 20)
#define FRONTEND UINT64_C(0x7f0000000000)

/* What a frontend may send along. Made once and never closed, so that runs are alike. */
enum {
    FD_MEMORY,
    FD_SMALL,
    FD_EVENT,
    FD_PIPE_IN,
    FD_PIPE_OUT,
    FD_SOCKET,
    FD_NULL,
    FD_DIR,
    FD_COUNT
};
static int fds[FD_COUNT];

static void
make_fds(void)
{
    int pair[2];

    fds[FD_MEMORY] = vdt_memfd("memory", 4 * MIB, NULL);
    fds[FD_SMALL] = vdt_memfd("small", 4096, NULL);
    fds[FD_EVENT] = vdt_eventfd(NULL);
    FUZZ_CHECK(pipe2(pair, O_CLOEXEC | O_NONBLOCK) == 0);
    fds[FD_PIPE_IN] = pair[0];
    fds[FD_PIPE_OUT] = pair[1];
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    fds[FD_SOCKET] = pair[0];
    fds[FD_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
    fds[FD_DIR] = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (unsigned i = 0; i < FD_COUNT; i++)
        FUZZ_CHECK(fds[i] >= 0 && fds[i] < FDS_WATCHED);
}

static uint64_t
open_fds(void)
{
    uint64_t open = 0;

    for (int fd = 0; fd < FDS_WATCHED; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            open |= UINT64_C(1) << fd;
    }
    return open;
}

/* As much as the socket takes; a peer that is gone takes nothing. */
static void
send_bytes(int peer, const void *bytes, size_t len, const int *pass, unsigned count)
{
    struct iovec iov = {(void *) bytes, len};
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(16 * sizeof(int))];
    } control = {0};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (count > 0) {
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(cmsg), pass, count * sizeof(int));
    }
    if (len > 0)
        FUZZ_CHECK(sendmsg(peer, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0 || errno == EAGAIN ||
                   errno == EPIPE || errno == ECONNRESET || errno == ETOOMANYREFS);
}

static void
pump(struct backend *backend)
{
    unsigned turns = 0;

    while (g_main_context_iteration(backend->context, FALSE))
        FUZZ_CHECK(++turns < TURNS_MAX);
}

/* Answers are read and forgotten, the descriptors that come with them closed. */
static void
read_answers(int peer)
{
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(8 * sizeof(int))];
    } control;
    uint8_t bytes[1024];
    struct iovec iov = {bytes, sizeof(bytes)};

    for (;;) {
        struct msghdr msg = {.msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof(control)};

        if (recvmsg(peer, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
            return;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
            int passed[8];
            size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

            memcpy(passed, CMSG_DATA(c), n * sizeof(int));
            for (size_t i = 0; i < n; i++)
                close(passed[i]);
        }
    }
}

static void
send_message(struct backend *backend, int peer, uint32_t request, uint32_t flags,
             const void *payload, uint32_t size, const int *pass, unsigned count)
{
    uint8_t bytes[sizeof(struct vhost_user_header) + 512];
    struct vhost_user_header header = {request, VHOST_USER_VERSION | flags, size};

    memcpy(bytes, &header, sizeof(header));
    memcpy(bytes + sizeof(header), payload, MIN(size, 512u));
    send_bytes(peer, bytes, sizeof(header) + MIN(size, 512u), pass, count);
    pump(backend);
    read_answers(peer);
}

static void
send_u64(struct backend *backend, int peer, uint32_t request, uint64_t value, int fd)
{
    send_message(backend, peer, request, 0, &value, 8, &fd, fd >= 0);
}

/* Where to start from, so that the bytes need not find the way there each time. */
static void
set_the_stage(struct backend *backend, int peer, unsigned stage)
{
    const struct vhost_user_mem_table table = {
        .count = 2,
        .regions = {{0, 2 * MIB, FRONTEND, 0}, {2 * MIB, 2 * MIB, FRONTEND + 64 * MIB, 2 * MIB}}};
    const int memory[2] = {fds[FD_MEMORY], fds[FD_MEMORY]};

    if (stage > 0)
        send_u64(backend, peer, VHOST_USER_SET_PROTOCOL_FEATURES, 0x9b23f & ~(stage > 5 ? 8u : 0u),
                 -1);
    if (stage > 1) {
        uint64_t features = BACKEND_FEATURES | 1ull << 30;

        if (stage & 1)
            features &= ~(1ull << 34);
        send_u64(backend, peer, VHOST_USER_SET_FEATURES, features, -1);
        send_message(backend, peer, VHOST_USER_SET_MEM_TABLE, 0, &table,
                     VHOST_USER_MEM_TABLE_SIZE(2), memory, 2);
    }
    for (uint32_t ring = 0; stage > 2 && ring < 2; ring++) {
        const uint64_t at = FRONTEND + 64 * MIB * ring + 0x10000 * (ring + 1);
        const struct vhost_user_vring_state num = {ring, 256}, one = {ring, 1};
        const struct vhost_user_vring_addr addr = {ring, 0, at, at + 0x2000, at + 0x1000, 0};

        send_message(backend, peer, VHOST_USER_SET_VRING_NUM, 0, &num, 8, NULL, 0);
        send_message(backend, peer, VHOST_USER_SET_VRING_ADDR, 0, &addr, 40, NULL, 0);
        send_message(backend, peer, VHOST_USER_SET_VRING_ENABLE, 0, &one, 8, NULL, 0);
        if (stage > 4)
            send_u64(backend, peer, VHOST_USER_SET_VRING_KICK, ring, fds[FD_EVENT]);
    }
}

/* request, flags, descriptors, payload; numbers of 64 bits are made of the frontend's addresses. */
static void
send_chosen(struct backend *backend, int peer, struct fuzz_input *in)
{
    uint8_t request = fuzz_u8(in), how = fuzz_u8(in), which = fuzz_u8(in), size = fuzz_u8(in);
    uint8_t payload[512] = {0};
    unsigned count = how & 3;
    int pass[16];

    for (unsigned i = 0; i < G_N_ELEMENTS(pass); i++)
        pass[i] = fds[(which >> (i % 2 * 4)) % FD_COUNT];
    if (how & 0x40)
        count = how & 0x80 ? 16 : 8;
    for (uint32_t i = 0; i < size; i++) {
        if ((how & 0x10) && i >= 8 && i % 8 == 0 && i + 8 <= size) {
            const uint64_t base = fuzz_u8(in) & 1 ? FRONTEND : 0;
            uint64_t value = base + 16 * fuzz_take(in, 3);

            memcpy(payload + i, &value, 8);
            i += 7;
        } else {
            payload[i] = fuzz_u8(in);
        }
    }
    send_message(backend, peer, request, (how & 4 ? VHOST_USER_NEED_REPLY : 0) | (how & 8 ? 4 : 0),
                 payload, size + (how & 0x20 ? 256u : 0u), pass, count);
}

static void
send_raw(struct backend *backend, int peer, struct fuzz_input *in)
{
    uint8_t bytes[256], size = fuzz_u8(in), count = fuzz_u8(in) & 3;

    for (unsigned i = 0; i < size; i++)
        bytes[i] = fuzz_u8(in);
    send_bytes(peer, bytes, size, fds, count);
    pump(backend);
    read_answers(peer);
}

static void
step(struct backend *backend, int peer, struct fuzz_input *in)
{
    uint8_t op = fuzz_u8(in);

    switch (op & 7) {
    case 0:
        send_raw(backend, peer, in);
        break;
    case 1:
        backend->refuse = op & 8;
        backend->later = op & 16;
        break;
    case 2:
        backend_answer_later(backend, op >> 3);
        pump(backend);
        read_answers(peer);
        break;
    case 3:
        if (backend->session)
            vdt_session_config_changed(backend->session);
        pump(backend);
        break;
    default:
        send_chosen(backend, peer, in);
        break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    uint8_t start = fuzz_u8(&in);
    struct backend backend;
    uint64_t before;
    int pair[2];

    if (fds[FD_MEMORY] == 0)
        make_fds();
    before = open_fds();
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    backend_init(&backend, pair[1]);
    set_the_stage(&backend, pair[0], start % 8);
    for (unsigned i = 0; in.left > 0 && i < MESSAGES_MAX; i++)
        step(&backend, pair[0], &in);
    if (start & 0x80)
        vdt_session_free(g_steal_pointer(&backend.session));
    close(pair[0]);
    pump(&backend);
    backend_clear(&backend);
    FUZZ_CHECK(open_fds() == before);
    return 0;
}
