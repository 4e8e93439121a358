/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rig.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"

static void note(struct rig *rig, const char *format, ...) G_GNUC_PRINTF(2, 3);

static void
note(struct rig *rig, const char *format, ...)
{
    va_list args;

    if (rig->journal->len)
        g_string_append_c(rig->journal, ' ');
    va_start(args, format);
    g_string_append_vprintf(rig->journal, format, args);
    va_end(args);
}

static bool
verdict(struct rig *rig, GError **error)
{
    if (rig->refuse)
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_FAILED, "the backend was told to refuse");
    return !rig->refuse;
}

static uint64_t
features(void *ctx)
{
    return RIG_FEATURES;
}

static bool
set_features(void *ctx, uint64_t acked, GError **error)
{
    note(ctx, "features=%s%s", acked & 1ull << 34 ? "packed" : "split",
         acked & 1ull << 26 ? "+log" : "");
    return verdict(ctx, error);
}

static void
set_protocol_features(void *ctx, uint64_t acked)
{
}

static uint32_t
ring_count(void *ctx)
{
    return RIG_RINGS;
}

static uint16_t
ring_max(void *ctx)
{
    return RIG_RING_MAX;
}

static bool
set_memory(void *ctx, struct vdt_guest_map *map, GError **error)
{
    note(ctx, "memory=%u", vdt_guest_map_count(map));
    return verdict(ctx, error);
}

static bool
keep_fd(struct rig *rig, int *slot, int fd, GError **error)
{
    if (!verdict(rig, error)) {
        vdt_close(fd);
        return false;
    }
    vdt_close(*slot);
    *slot = fd;
    return true;
}

static bool
set_log(void *ctx, int fd, uint64_t offset, uint64_t size, GError **error)
{
    struct rig *rig = ctx;

    note(rig, "log=%" G_GUINT64_FORMAT, size);
    return keep_fd(rig, &rig->log_fd, fd, error);
}

static bool
set_num(void *ctx, uint32_t ring, uint32_t num, GError **error)
{
    note(ctx, "num%u=%u", ring, num);
    return verdict(ctx, error);
}

static bool
set_addr(void *ctx, const struct vdt_vring_addr *addr, GError **error)
{
    note(ctx, "addr%u%s", addr->ring, addr->flags ? "+log" : "");
    return verdict(ctx, error);
}

static bool
set_base(void *ctx, uint32_t ring, uint32_t base, GError **error)
{
    note(ctx, "base%u=%x", ring, base);
    return verdict(ctx, error);
}

static enum vdt_answer
get_base(void *ctx, uint32_t ring, uint32_t *ret_base, GError **error)
{
    struct rig *rig = ctx;

    note(rig, "stop%u", ring);
    if (!verdict(rig, error))
        return VDT_ANSWER_ERROR;
    rig->fds[0][ring] = vdt_close(rig->fds[0][ring]);
    if (rig->answer_inside)
        vdt_session_answer_base(rig->session, ring, 100 + ring, NULL);
    *ret_base = 100 + ring;
    return rig->base_answer;
}

static bool
set_kick(void *ctx, uint32_t ring, int fd, GError **error)
{
    struct rig *rig = ctx;

    note(rig, "kick%u", ring);
    return keep_fd(rig, &rig->fds[0][ring], fd, error);
}

static bool
set_call(void *ctx, uint32_t ring, int fd, GError **error)
{
    struct rig *rig = ctx;

    note(rig, "call%u", ring);
    return keep_fd(rig, &rig->fds[1][ring], fd, error);
}

static bool
set_err(void *ctx, uint32_t ring, int fd, GError **error)
{
    struct rig *rig = ctx;

    note(rig, "err%u", ring);
    return keep_fd(rig, &rig->fds[2][ring], fd, error);
}

static bool
set_enable(void *ctx, uint32_t ring, bool enable, GError **error)
{
    note(ctx, "%s%u", enable ? "on" : "off", ring);
    return verdict(ctx, error);
}

static bool
get_config(void *ctx, uint32_t offset, uint32_t len, uint8_t *buf, GError **error)
{
    for (uint32_t i = 0; i < len; i++)
        buf[i] = (uint8_t) (offset + i);
    return verdict(ctx, error);
}

static bool
set_config(void *ctx, uint32_t offset, uint32_t len, const uint8_t *buf, uint32_t flags,
           GError **error)
{
    note(ctx, "config%u+%u=%02x", offset, len, buf[0]);
    return verdict(ctx, error);
}

static uint8_t
get_status(void *ctx)
{
    return ((struct rig *) ctx)->status;
}

static bool
set_status(void *ctx, uint8_t status, GError **error)
{
    note(ctx, "status=%x", status);
    ((struct rig *) ctx)->status = status;
    return verdict(ctx, error);
}

static bool
reset_device(void *ctx, GError **error)
{
    note(ctx, "reset");
    return verdict(ctx, error);
}

static bool
send_rarp(void *ctx, const uint8_t mac[6], GError **error)
{
    note(ctx, "rarp");
    memcpy(((struct rig *) ctx)->rarp, mac, 6);
    return verdict(ctx, error);
}

static bool
set_mtu(void *ctx, uint16_t mtu, GError **error)
{
    note(ctx, "mtu=%u", mtu);
    return verdict(ctx, error);
}

static bool
get_inflight(void *ctx, uint16_t queues, uint16_t size, int *ret_fd, uint64_t *ret_size,
             uint64_t *ret_offset, GError **error)
{
    note(ctx, "area=%ux%u", queues, size);
    if (!verdict(ctx, error))
        return false;
    *ret_fd = vdt_memfd("inflight", 8192, error);
    *ret_size = 8192;
    *ret_offset = 0;
    return *ret_fd >= 0;
}

static bool
set_inflight(void *ctx, uint16_t queues, uint16_t size, int fd, uint64_t mmap_size,
             uint64_t mmap_offset, GError **error)
{
    struct rig *rig = ctx;

    note(rig, "inflight=%ux%u", queues, size);
    return keep_fd(rig, &rig->inflight_fd, fd, error);
}

static bool
state_begin(void *ctx, bool save, int fd, GError **error)
{
    struct rig *rig = ctx;

    note(rig, save ? "save" : "load");
    if (!keep_fd(rig, &rig->state_fd, fd, error))
        return false;
    if (save) {
        /* Small enough for any pipe. */
        cr_assert_eq(write(rig->state_fd, "state", 5), 5);
        rig->state_fd = vdt_close(rig->state_fd);
    }
    return true;
}

static bool
state_check(void *ctx, GError **error)
{
    struct rig *rig = ctx;
    char state[16] = "";

    if (rig->state_fd >= 0) {
        ssize_t n = read(rig->state_fd, state, sizeof(state) - 1);
        rig->state_fd = vdt_close(rig->state_fd);
        note(rig, "check(%.*s)", (int) MAX(n, 0), state);
        if (n != 5) {
            g_set_error_literal(error, VDT_ERROR, VDT_ERROR_INVALID, "the state is cut short");
            return false;
        }
    } else {
        note(rig, "check");
    }
    return verdict(rig, error);
}

static void
disconnected(void *ctx)
{
    ((struct rig *) ctx)->disconnects++;
}

static const struct vdt_backend_ops ops = {
    .features = features,
    .set_features = set_features,
    .set_protocol_features = set_protocol_features,
    .queue_num = ring_count,
    .ring_count = ring_count,
    .ring_max = ring_max,
    .set_memory = set_memory,
    .set_log = set_log,
    .set_num = set_num,
    .set_addr = set_addr,
    .set_base = set_base,
    .get_base = get_base,
    .set_kick = set_kick,
    .set_call = set_call,
    .set_err = set_err,
    .set_enable = set_enable,
    .get_config = get_config,
    .set_config = set_config,
    .get_status = get_status,
    .set_status = set_status,
    .reset_device = reset_device,
    .send_rarp = send_rarp,
    .set_mtu = set_mtu,
    .get_inflight = get_inflight,
    .set_inflight = set_inflight,
    .state_begin = state_begin,
    .state_check = state_check,
    .disconnected = disconnected,
};

static void
ended(void *ctx, const GError *reason)
{
    struct rig *rig = ctx;

    cr_assert_eq(rig->disconnects, 1, "the backend hears of it first");
    rig->ends++;
    rig->reason = g_strdup(reason ? reason->message : NULL);
    vdt_session_free(rig->session);
    rig->session = NULL;
}

void
rig_init(struct rig *rig)
{
    int pair[2];

    memset(rig, 0, sizeof(*rig));
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    rig->own = pair[0];
    rig->peer = pair[1];
    rig->context = g_main_context_new();
    rig->journal = g_string_new(NULL);
    rig->base_answer = VDT_ANSWER_NOW;
    for (unsigned i = 0; i < 3 * RIG_RINGS; i++)
        rig->fds[i / RIG_RINGS][i % RIG_RINGS] = -1;
    rig->log_fd = rig->state_fd = rig->inflight_fd = -1;
    vdt_channel_init(&rig->replies, pair[1]);
    rig->session = vdt_session_new(pair[0], &ops, rig, rig->context, ended);
}

void
rig_clear(struct rig *rig)
{
    vdt_session_free(rig->session);
    rig->session = NULL;
    cr_assert_eq(rig->disconnects, 1, "disconnected() came %u times", rig->disconnects);
    vdt_channel_clear(&rig->replies);
    for (unsigned i = 0; i < 3 * RIG_RINGS; i++)
        vdt_close(rig->fds[i / RIG_RINGS][i % RIG_RINGS]);
    vdt_close(rig->log_fd);
    vdt_close(rig->state_fd);
    vdt_close(rig->inflight_fd);
    g_string_free(rig->journal, TRUE);
    g_free(rig->reason);
    g_main_context_unref(rig->context);
}

void
rig_pump(struct rig *rig)
{
    for (unsigned i = 0; i < 1000 && g_main_context_iteration(rig->context, FALSE); i++)
        ;
}

void
rig_send_bytes(struct rig *rig, const void *bytes, size_t len, const int *fds, unsigned n)
{
    char control[CMSG_SPACE(64 * sizeof(int))] __attribute__((aligned(8))) = "";
    struct iovec iov = {.iov_base = (void *) bytes, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (n > 0) {
        msg.msg_control = control;
        msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    }
    ssize_t sent = sendmsg(rig->peer, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    cr_assert(sent == (ssize_t) len || !rig->session, "sent %zd of %zu bytes", sent, len);
}

void
rig_send(struct rig *rig, uint32_t request, uint32_t flags, const void *payload, uint32_t size,
         const int *fds, unsigned n)
{
    struct {
        struct vhost_user_header header;
        uint8_t payload[512];
    } message = {{request, VHOST_USER_VERSION | flags, size}, {0}};

    if (size)
        memcpy(message.payload, payload, size);
    rig_send_bytes(rig, &message, sizeof(message.header) + size, fds, n);
}

struct vdt_message *
rig_reply(struct rig *rig)
{
    g_autoptr(GError) error = NULL;

    if (vdt_channel_receive(&rig->replies, &error) != VDT_RECEIVE_MESSAGE)
        return NULL;
    cr_assert_eq(rig->replies.message.header.flags & 0xf, VHOST_USER_VERSION | VHOST_USER_REPLY);
    return &rig->replies.message;
}

static void
expect_ack(struct rig *rig, uint32_t request)
{
    rig_pump(rig);
    cr_assert_not_null(rig->session, "request %u ended the session: %s", request, rig->reason);
    struct vdt_message *reply = rig_reply(rig);
    cr_assert(reply && reply->header.request == request && reply->header.size == 8 &&
                  reply->payload.u64 == 0,
              "request %u was not acknowledged (%s)", request, rig->journal->str);
}

void
rig_u64(struct rig *rig, uint32_t request, uint64_t value)
{
    rig_send(rig, request, VHOST_USER_NEED_REPLY, &value, sizeof(value), NULL, 0);
    expect_ack(rig, request);
}

void
rig_state(struct rig *rig, uint32_t request, uint32_t ring, uint32_t num)
{
    struct vhost_user_vring_state state = {ring, num};

    rig_send(rig, request, VHOST_USER_NEED_REPLY, &state, sizeof(state), NULL, 0);
    expect_ack(rig, request);
}

void
rig_fd(struct rig *rig, uint32_t request, uint64_t value, int fd)
{
    rig_send(rig, request, VHOST_USER_NEED_REPLY, &value, sizeof(value), &fd, 1);
    expect_ack(rig, request);
}

struct vhost_user_vring_addr
rig_addr_of(uint32_t ring, uint32_t flags)
{
    uint64_t base = RIG_FRONTEND + ring * 0x10000;

    return (struct vhost_user_vring_addr){
        .index = ring,
        .flags = flags,
        .desc = base,
        .avail = base + 0x4000,
        .used = base + 0x8000,
        .log = ring * 0x10000 + 0x8000,
    };
}

void
rig_addr(struct rig *rig, uint32_t ring, uint32_t flags)
{
    struct vhost_user_vring_addr addr = rig_addr_of(ring, flags);

    rig_send(rig, VHOST_USER_SET_VRING_ADDR, VHOST_USER_NEED_REPLY, &addr, sizeof(addr), NULL, 0);
    expect_ack(rig, VHOST_USER_SET_VRING_ADDR);
}

struct vhost_user_region
rig_region(unsigned i)
{
    return (struct vhost_user_region){
        .gpa = i * 2 * RIG_MIB,
        .size = 2 * RIG_MIB,
        .frontend = i ? RIG_REGION_1 : RIG_FRONTEND,
        .offset = i * 2 * RIG_MIB,
    };
}

void
rig_memory(struct rig *rig)
{
    struct vhost_user_mem_table table = {.count = 2, .regions = {rig_region(0), rig_region(1)}};
    VDT_AUTO_FD fd = vdt_memfd("guest", 4 * RIG_MIB, NULL);
    int fds[] = {fd, fd};

    rig_send(rig, VHOST_USER_SET_MEM_TABLE, VHOST_USER_NEED_REPLY, &table,
             VHOST_USER_MEM_TABLE_SIZE(2), fds, 2);
    expect_ack(rig, VHOST_USER_SET_MEM_TABLE);
}

void
rig_reach(struct rig *rig, enum stage stage)
{
    if (stage >= STAGE_NEGOTIATED)
        rig_u64(rig, VHOST_USER_SET_PROTOCOL_FEATURES, RIG_PROTOCOL);
    if (stage >= STAGE_MEMORY) {
        rig_u64(rig, VHOST_USER_SET_FEATURES, 1ull << 32 | 1ull << 30);
        rig_memory(rig);
    }
    for (unsigned i = 0; i < 2 && stage >= STAGE_SET_UP; i++) {
        rig_state(rig, VHOST_USER_SET_VRING_NUM, i, 256);
        rig_state(rig, VHOST_USER_SET_VRING_BASE, i, 0);
        rig_addr(rig, i, 0);
        rig_state(rig, VHOST_USER_SET_VRING_ENABLE, i, 1);
    }
    if (stage >= STAGE_RUNNING) {
        VDT_AUTO_FD kick = vdt_eventfd(NULL);
        rig_fd(rig, VHOST_USER_SET_VRING_KICK, 0, kick);
    }
}

unsigned
rig_open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    cr_assert_not_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}
