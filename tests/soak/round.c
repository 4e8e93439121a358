/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "soak/round.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "guest/traffic.h"
#include "vhost_user/frontend_private.h"

#define STEPS_WHOLE 1000u /* more than a visit has */
#define STEPS_CUT 70u
#define RUNNING 0xfu
#define TRANSPORT                                                                                  \
    (VHOST_USER_BIT(VHOST_USER_F_LOG_ALL) | VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES))
#define LOG_SIZE(ram) ((ram)->words * sizeof(uint64_t))
#define FDS_OF_NONSENSE 3u

struct round {
    struct vdt_frontend *f;
    struct vdt_ram *ram;
    GRand *rand;
    struct round_tally *tally;
    unsigned left; /* steps until it leaves */
    bool packed, add, inflight, log, err_fds;
    uint64_t offered, queues;
    struct virtio_net_config net;
    bool guest; /* driver, script and traffic are there */
    struct vdt_driver driver;
    struct vdt_script script;
    struct vdt_traffic traffic;
    int err;
    GError *error;
};

/* One message; or the visit ends before it. */
#define STEP(call)                                                                                 \
    do {                                                                                           \
        if (round->left == 0)                                                                      \
            return true;                                                                           \
        round->left--;                                                                             \
        if (!(call))                                                                               \
            return false;                                                                          \
    } while (0)

static bool
one_in(struct round *round, int n)
{
    return g_rand_int_range(round->rand, 0, n) == 0;
}

static bool
ask(struct round *round)
{
    uint64_t wanted = VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_MQ) |
                      VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
                      VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_STATUS) |
                      VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_CONFIG) |
                      VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD) |
                      VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) |
                      VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_DEVICE_STATE) |
                      VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE);

    if (round->inflight)
        wanted |= VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD);
    if (round->add)
        wanted |= VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS);
    STEP(vdt_frontend_negotiate(round->f, wanted, &round->error));
    STEP(vdt_frontend_get_features(round->f, &round->offered, &round->error));
    STEP(vdt_frontend_get_queue_num(round->f, &round->queues, &round->error));
    STEP(vdt_frontend_get_config(round->f, 0, &round->net, sizeof(round->net), &round->error));
    return true;
}

static bool
make_guest(struct round *round)
{
    const struct vdt_driver_config config = {
        .features = vdt_driver_features(round->offered & ~TRANSPORT, round->packed),
        .pairs = (uint16_t) (1 + g_rand_int_range(round->rand, 0, 2)),
        .num = (uint16_t) (16u << g_rand_int_range(round->rand, 0, 3)),
        .net = round->net,
        .seed = g_rand_int(round->rand),
    };

    memset(round->ram->cpu, 0, LOG_SIZE(round->ram));
    memset(round->ram->region[0].host, 0, round->ram->region[0].size);
    if (!vdt_driver_init(&round->driver, &config, round->ram, &round->error))
        return false;
    vdt_script_init(&round->script, &round->driver, 3, config.seed);
    round->guest = vdt_traffic_init(&round->traffic, &round->driver, &round->script, config.seed);
    return round->guest;
}

static bool
tell_memory(struct round *round)
{
    struct vdt_region_spec specs[VDT_RAM_REGIONS];
    uint64_t slots;

    vdt_ram_specs(round->ram, specs);
    if (!round->add) {
        STEP(vdt_frontend_set_memory(round->f, specs, VDT_RAM_REGIONS, &round->error));
        return true;
    }
    STEP(vdt_frontend_get_max_slots(round->f, &slots, &round->error));
    for (unsigned i = 0; i < VDT_RAM_REGIONS; i++)
        STEP(vdt_frontend_add_region(round->f, &specs[i], &round->error));
    round->tally->added++;
    return true;
}

static bool
share_inflight(struct round *round)
{
    struct vhost_user_inflight area;
    uint16_t rings = (uint16_t) vdt_driver_queue_count(&round->driver);
    VDT_AUTO_FD fd = -1;

    if (!round->inflight)
        return true;
    STEP(vdt_frontend_get_inflight(round->f, rings, round->driver.config.num, &area, &fd,
                                   &round->error));
    STEP(vdt_frontend_set_inflight(round->f, &area, fd, &round->error));
    round->tally->inflight++;
    return true;
}

static bool
tell_ring(struct round *round, const struct vdt_queue *queue)
{
    const struct vdt_ring_format *format = &queue->ring.format;
    uint32_t i = queue->index;
    const struct vhost_user_vring_addr addr = {
        .index = i,
        .desc = vdt_ram_frontend(round->ram, queue->addr.desc),
        .avail = vdt_ram_frontend(round->ram, queue->addr.driver),
        .used = vdt_ram_frontend(round->ram, queue->addr.device),
    };

    STEP(vdt_frontend_set_num(round->f, i, format->num, &round->error));
    STEP(vdt_frontend_set_base(round->f, i,
                               vdt_ring_pos_to_base(format, vdt_ring_pos_initial(format->kind)),
                               &round->error));
    STEP(vdt_frontend_set_addr(round->f, &addr, &round->error));
    STEP(vdt_frontend_set_call(round->f, i, queue->call, &round->error));
    if (round->err_fds)
        STEP(vdt_frontend_set_err(round->f, i, round->err, &round->error));
    STEP(vdt_frontend_set_kick(round->f, i, queue->kick, &round->error));
    return true;
}

/* A few turns of the guest's processor. */
static void
live(struct round *round, unsigned turns)
{
    for (unsigned i = 0; i < turns; i++) {
        vdt_traffic_step(&round->traffic);
        g_usleep(20);
    }
}

static bool
start(struct round *round)
{
    unsigned count = vdt_driver_queue_count(&round->driver);
    uint64_t transport = round->offered & VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES);

    STEP(vdt_frontend_set_features(round->f, round->driver.config.features | transport,
                                   &round->error));
    if (!tell_memory(round) || !share_inflight(round))
        return false;
    for (unsigned i = 0; i < count; i++) {
        if (!tell_ring(round, vdt_driver_queue(&round->driver, i)))
            return false;
    }
    for (unsigned i = 0; i < count; i++)
        STEP(vdt_frontend_set_enable(round->f, vdt_driver_queue(&round->driver, i)->index, true,
                                     &round->error));
    STEP(vdt_frontend_set_status(round->f, RUNNING, &round->error));
    round->tally->started++;
    round->tally->packed += round->packed;
    live(round, 8);
    return true;
}

static bool
log_on_and_off(struct round *round)
{
    uint64_t features = round->driver.config.features |
                        (round->offered & VHOST_USER_BIT(VHOST_USER_F_PROTOCOL_FEATURES));
    VDT_AUTO_FD log = -1;

    if (!round->log)
        return true;
    log = vdt_memfd("soak-log", LOG_SIZE(round->ram), &round->error);
    STEP(log >= 0 && vdt_frontend_set_log(round->f, log, 0, LOG_SIZE(round->ram), &round->error));
    STEP(vdt_frontend_set_features(round->f, features | VHOST_USER_BIT(VHOST_USER_F_LOG_ALL),
                                   &round->error));
    round->tally->logged++;
    live(round, 4);
    if (!one_in(round, 2))
        return true;
    STEP(vdt_frontend_set_features(round->f, features, &round->error));
    live(round, 2);
    return true;
}

static bool
stop(struct round *round)
{
    uint32_t base;

    for (unsigned i = 0; i < vdt_driver_queue_count(&round->driver); i++)
        STEP(vdt_frontend_get_base(round->f, vdt_driver_queue(&round->driver, i)->index, &base,
                                   &round->error));
    if (one_in(round, 2)) {
        GByteArray *state = NULL;

        STEP((state = vdt_frontend_save(round->f, 1u << 20, &round->error)) != NULL);
        g_byte_array_unref(state);
    }
    if (one_in(round, 2))
        STEP(vdt_frontend_reset_device(round->f, &round->error));
    else
        STEP(vdt_frontend_set_status(round->f, 0, &round->error));
    round->tally->stopped++;
    if (round->add && one_in(round, 2)) {
        struct vdt_region_spec specs[VDT_RAM_REGIONS];

        vdt_ram_specs(round->ram, specs);
        STEP(vdt_frontend_remove_region(round->f, &specs[0], &round->error));
    }
    return true;
}

/* A header that is none, a payload that is, descriptors that nobody asked for. */
static void
talk_nonsense(struct round *round)
{
    static const struct vhost_user_header headers[] = {
        {VHOST_USER_MAX + 100, VHOST_USER_VERSION, 8},
        {VHOST_USER_GET_FEATURES, VHOST_USER_VERSION, 0},
        {VHOST_USER_SET_MEM_TABLE, VHOST_USER_VERSION, 40},
        {VHOST_USER_SET_LOG_BASE, VHOST_USER_VERSION, 16},
        {VHOST_USER_SET_VRING_KICK, VHOST_USER_VERSION, 8},
        {VHOST_USER_SET_VRING_CALL, VHOST_USER_VERSION, 4},
        {VHOST_USER_SET_INFLIGHT_FD, VHOST_USER_VERSION, 24},
        {VHOST_USER_ADD_MEM_REG, VHOST_USER_VERSION, 40},
        {VHOST_USER_SET_DEVICE_STATE_FD, VHOST_USER_VERSION, 8},
        {VHOST_USER_SET_BACKEND_REQ_FD, VHOST_USER_VERSION, 0},
        {VHOST_USER_GET_CONFIG, 0, 0xffffffff},
    };
    uint8_t bytes[sizeof(headers[0]) + 64];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FDS_OF_NONSENSE * sizeof(int))];
    } control = {0};
    int fds[FDS_OF_NONSENSE];
    unsigned count = (unsigned) g_rand_int_range(round->rand, 0, FDS_OF_NONSENSE + 1);
    size_t len = sizeof(headers[0]) + (size_t) g_rand_int_range(round->rand, -11, 65);
    struct iovec iov = {bytes, len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t) (one_in(round, 2) ? 0 : g_rand_int(round->rand));
    memcpy(bytes, &headers[g_rand_int_range(round->rand, 0, G_N_ELEMENTS(headers))],
           sizeof(headers[0]));
    for (unsigned i = 0; i < FDS_OF_NONSENSE; i++)
        fds[i] = i == 1 ? vdt_memfd("nonsense", 4096, NULL) : vdt_eventfd(NULL);
    if (count > 0) {
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    }
    sendmsg(round->f->channel.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    for (unsigned i = 0; i < FDS_OF_NONSENSE; i++)
        vdt_close(fds[i]);
    round->tally->nonsense++;
}

static bool
visit(struct round *round)
{
    if (!ask(round))
        return false;
    if (round->left == 0)
        return true;
    return make_guest(round) && start(round) && (round->left == 0 || log_on_and_off(round)) &&
           (round->left == 0 || stop(round));
}

bool
round_run(struct vdt_frontend *frontend, struct vdt_ram *ram, uint64_t seed,
          struct round_tally *tally, char **ret_why)
{
    struct round round = {.f = frontend,
                          .ram = ram,
                          .rand = g_rand_new_with_seed((guint32) seed * 2654435761u + 5),
                          .tally = tally,
                          .err = vdt_eventfd(NULL)};
    bool whole = one_in(&round, 2);

    round.left = whole ? STEPS_WHOLE : (unsigned) g_rand_int_range(round.rand, 0, STEPS_CUT);
    round.packed = one_in(&round, 2);
    round.add = one_in(&round, 2);
    round.inflight = one_in(&round, 3);
    round.log = one_in(&round, 2);
    round.err_fds = one_in(&round, 2);
    bool ok = visit(&round);
    *ret_why =
        ok ? NULL
           : g_strdup_printf("%s (%s, features 0x%" G_GINT64_MODIFIER "x%s%s%s)",
                             round.error ? round.error->message : "no reason given",
                             round.packed ? "packed" : "split",
                             round.guest ? round.driver.config.features : 0,
                             round.add ? ", single regions" : "",
                             round.inflight ? ", in-flight area" : "", round.log ? ", logged" : "");
    g_clear_error(&round.error);
    tally->rounds++;
    tally->whole += round.left > 0;
    tally->cut += round.left == 0;
    if (one_in(&round, 4))
        talk_nonsense(&round);
    vdt_frontend_free(frontend);
    if (round.guest) {
        tally->frames += round.driver.frames.sent;
        tally->commands += round.script.acked;
        vdt_traffic_clear(&round.traffic);
        vdt_script_clear(&round.script);
        vdt_driver_clear(&round.driver);
    }
    vdt_close(round.err);
    g_rand_free(round.rand);
    return ok;
}

bool
round_sweep(struct vdt_frontend *frontend)
{
    bool ok =
        vdt_frontend_negotiate(frontend, VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK), NULL) &&
        vdt_frontend_set_features(frontend, VDT_BIT(VIRTIO_F_VERSION_1), NULL);

    vdt_frontend_free(frontend);
    return ok;
}
