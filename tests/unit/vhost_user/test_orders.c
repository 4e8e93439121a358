/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Message orders as real frontends send them (recorded from User-Mode Linux, QEMU and DPDK): all of
 * them must pass, and the backend must hear what the rows say.
 */
#include "lib/leak.h"

#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "rig.h"

VDT_SUITE(orders);

#define V1 (1ull << 32)
#define PROTO (1ull << 30)
#define LOGGING (1ull << 26)
#define PACKED (1ull << 34)

/* What the numbers mean depends on the request: u64 requests take @a, the ring ones (ring, value). */
struct step {
    enum vhost_user_request request;
    uint64_t a, b;
};

enum acks { ACK_NONE, ACK_ALL };

struct order {
    const char *name;
    enum acks acks; /* does it set NEED_REPLY where it can? */
    const char *journal;
    struct step steps[80];
};

/* One row a message. */
/* clang-format off */
#define S(request, ...) { VHOST_USER_##request, __VA_ARGS__ }
#define UML_PROTOCOL 0x220 /* BACKEND_REQ, CONFIG */
static const struct order orders[] = {
    { "UML 6.1: probe, bind, unbind, bind again on the same connection", ACK_ALL,
      "features=split memory=1 call0 num0=256 base0=0 addr0 call1 num1=256 base1=0 addr1 "
      "kick0 on0 kick1 on1 off1 off0 "
      "features=split memory=1 call0 num0=256 base0=0 addr0 kick0 on0",
      { S(SET_OWNER), S(GET_FEATURES), S(GET_PROTOCOL_FEATURES),
        S(SET_PROTOCOL_FEATURES, UML_PROTOCOL | 1 << 3), S(SET_BACKEND_REQ_FD),
        S(SET_FEATURES, V1 | PROTO), S(GET_CONFIG, 0, 12), S(GET_CONFIG, 0, 24), S(SET_MEM_TABLE, 1),
        S(SET_VRING_CALL, 0), S(SET_VRING_NUM, 0, 256), S(SET_VRING_BASE, 0, 0), S(SET_VRING_ADDR, 0),
        S(SET_VRING_CALL, 1), S(SET_VRING_NUM, 1, 256), S(SET_VRING_BASE, 1, 0), S(SET_VRING_ADDR, 1),
        S(SET_VRING_KICK, 0), S(SET_VRING_ENABLE, 0, 1), S(SET_VRING_KICK, 1), S(SET_VRING_ENABLE, 1, 1),
        S(SET_VRING_ENABLE, 1, 0), S(SET_VRING_ENABLE, 0, 0), S(GET_FEATURES),
        S(SET_FEATURES, V1 | PROTO), S(SET_MEM_TABLE, 1),
        S(SET_VRING_CALL, 0), S(SET_VRING_NUM, 0, 256), S(SET_VRING_BASE, 0, 0), S(SET_VRING_ADDR, 0),
        S(SET_VRING_KICK, 0), S(SET_VRING_ENABLE, 0, 1) } },
    { "UML 6.12, packed, base 0 for a fresh ring", ACK_ALL,
      "features=packed memory=1 call0 num0=256 base0=0 addr0 kick0 on0",
      { S(SET_OWNER), S(GET_FEATURES), S(GET_PROTOCOL_FEATURES),
        S(SET_PROTOCOL_FEATURES, UML_PROTOCOL | 1 << 3), S(SET_BACKEND_REQ_FD),
        S(SET_FEATURES, V1 | PROTO | PACKED), S(SET_MEM_TABLE, 1),
        S(SET_VRING_CALL, 0), S(SET_VRING_NUM, 0, 256), S(SET_VRING_BASE, 0, 0), S(SET_VRING_ADDR, 0),
        S(SET_VRING_KICK, 0), S(SET_VRING_ENABLE, 0, 1) } },
    { "UML 7.2: MQ and the number of queues", ACK_ALL,
      "features=split memory=1 call4 num4=256 base4=0 addr4 kick4 on4",
      { S(SET_OWNER), S(GET_FEATURES), S(GET_PROTOCOL_FEATURES),
        S(SET_PROTOCOL_FEATURES, UML_PROTOCOL | 1 << 3 | 1), S(SET_BACKEND_REQ_FD), S(GET_QUEUE_NUM),
        S(SET_FEATURES, V1 | PROTO), S(GET_CONFIG, 0, 24), S(SET_MEM_TABLE, 1),
        S(SET_VRING_CALL, 4), S(SET_VRING_NUM, 4, 256), S(SET_VRING_BASE, 4, 0), S(SET_VRING_ADDR, 4),
        S(SET_VRING_KICK, 4), S(SET_VRING_ENABLE, 4, 1) } },
    { "UML with a backend without protocol features: rings start at the kick", ACK_NONE,
      "features=split features=split memory=1 call0 num0=256 base0=0 addr0 on0 kick0",
      { S(SET_OWNER), S(GET_FEATURES), S(SET_FEATURES, V1 | PROTO), S(SET_FEATURES, V1), S(SET_MEM_TABLE, 1),
        S(SET_VRING_CALL, 0), S(SET_VRING_NUM, 0, 256), S(SET_VRING_BASE, 0, 0), S(SET_VRING_ADDR, 0),
        S(SET_VRING_KICK, 0) } },
    { "QEMU 7.2: regions and log once a pair, status 0 between the positions", ACK_NONE,
      "call0 err0 call1 err1 call2 err2 call3 err3 on0 on1 features=split status=8 memory=1 "
      "num0=256 base0=0 addr0 kick0 call0 num1=256 base1=0 addr1 kick1 call1 "
      "on2 on3 num2=256 base2=0 addr2 kick2 call2 num3=256 base3=0 addr3 kick3 call3 status=f "
      "log=64 log=64 features=split+log addr0+log addr1+log addr2+log addr3+log "
      "stop0 stop1 status=0 stop2 stop3",
      { S(GET_FEATURES), S(GET_PROTOCOL_FEATURES), S(SET_PROTOCOL_FEATURES, 0x1b02f), S(GET_QUEUE_NUM),
        S(GET_MAX_MEM_SLOTS), S(SET_BACKEND_REQ_FD), S(SET_OWNER), S(GET_FEATURES),
        S(SET_VRING_CALL, 0), S(SET_VRING_ERR, 0), S(SET_VRING_CALL, 1), S(SET_VRING_ERR, 1),
        S(GET_FEATURES), S(GET_PROTOCOL_FEATURES), S(SET_PROTOCOL_FEATURES, 0x1b02f),
        S(SET_VRING_CALL, 2), S(SET_VRING_ERR, 2), S(SET_VRING_CALL, 3), S(SET_VRING_ERR, 3),
        S(SET_VRING_ENABLE, 0, 1), S(SET_VRING_ENABLE, 1, 1),
        S(SET_FEATURES, V1 | PROTO), S(GET_STATUS), S(SET_STATUS, 8), S(ADD_MEM_REG, 0),
        S(SET_VRING_NUM, 0, 256), S(SET_VRING_BASE, 0, 0), S(SET_VRING_ADDR, 0), S(SET_VRING_KICK, 0), S(SET_VRING_CALL, 0),
        S(SET_VRING_NUM, 1, 256), S(SET_VRING_BASE, 1, 0), S(SET_VRING_ADDR, 1), S(SET_VRING_KICK, 1), S(SET_VRING_CALL, 1),
        S(SET_VRING_ENABLE, 2, 1), S(SET_VRING_ENABLE, 3, 1),
        S(SET_FEATURES, V1 | PROTO), S(ADD_MEM_REG, 0),
        S(SET_VRING_NUM, 2, 256), S(SET_VRING_BASE, 2, 0), S(SET_VRING_ADDR, 2), S(SET_VRING_KICK, 2), S(SET_VRING_CALL, 2),
        S(SET_VRING_NUM, 3, 256), S(SET_VRING_BASE, 3, 0), S(SET_VRING_ADDR, 3), S(SET_VRING_KICK, 3), S(SET_VRING_CALL, 3),
        S(SET_STATUS, 0xf),
        S(SET_LOG_BASE, 64), S(SET_LOG_BASE, 64), S(SET_FEATURES, V1 | PROTO | LOGGING),
        S(SET_VRING_ADDR, 0, 1), S(SET_VRING_ADDR, 1, 1), S(SET_FEATURES, V1 | PROTO | LOGGING),
        S(SET_VRING_ADDR, 2, 1), S(SET_VRING_ADDR, 3, 1),
        S(GET_VRING_BASE, 0), S(GET_VRING_BASE, 1), S(SET_STATUS, 0), S(GET_VRING_BASE, 2), S(GET_VRING_BASE, 3) } },
    { "QEMU 10: start, migrate away with the device state", ACK_NONE,
      "call0 err0 call1 err1 reset on0 on1 features=split status=8 memory=1 "
      "num0=256 base0=0 addr0 kick0 call0 num1=256 base1=0 addr1 kick1 call1 status=f "
      "log=64 features=split+log addr0+log addr1+log stop0 stop1 status=0 save check",
      { S(GET_FEATURES), S(GET_PROTOCOL_FEATURES), S(SET_PROTOCOL_FEATURES, 0x9b02f), S(GET_QUEUE_NUM),
        S(GET_MAX_MEM_SLOTS), S(SET_BACKEND_REQ_FD), S(SET_OWNER), S(GET_FEATURES),
        S(SET_VRING_CALL, 0), S(SET_VRING_ERR, 0), S(SET_VRING_CALL, 1), S(SET_VRING_ERR, 1),
        S(RESET_DEVICE), S(SET_VRING_ENABLE, 0, 1), S(SET_VRING_ENABLE, 1, 1),
        S(SET_FEATURES, V1 | PROTO), S(GET_STATUS), S(SET_STATUS, 8), S(ADD_MEM_REG, 0),
        S(SET_VRING_NUM, 0, 256), S(SET_VRING_BASE, 0, 0), S(SET_VRING_ADDR, 0), S(SET_VRING_KICK, 0), S(SET_VRING_CALL, 0),
        S(SET_VRING_NUM, 1, 256), S(SET_VRING_BASE, 1, 0), S(SET_VRING_ADDR, 1), S(SET_VRING_KICK, 1), S(SET_VRING_CALL, 1),
        S(SET_STATUS, 0xf),
        S(SET_LOG_BASE, 64), S(SET_FEATURES, V1 | PROTO | LOGGING), S(SET_VRING_ADDR, 0, 1), S(SET_VRING_ADDR, 1, 1),
        S(GET_VRING_BASE, 0), S(GET_VRING_BASE, 1), S(SET_STATUS, 0),
        S(SET_DEVICE_STATE_FD, 0), S(CHECK_DEVICE_STATE) } },
    { "QEMU 10: destination, the state comes before the features", ACK_NONE,
      "load check(state) on0 features=split status=8 memory=1 num0=256 base0=7 addr0 kick0 call0 status=f rarp",
      { S(GET_FEATURES), S(GET_PROTOCOL_FEATURES), S(SET_PROTOCOL_FEATURES, 0x9b02f), S(SET_OWNER),
        S(SET_DEVICE_STATE_FD, 1), S(CHECK_DEVICE_STATE), S(SET_VRING_ENABLE, 0, 1),
        S(SET_FEATURES, V1 | PROTO), S(SET_STATUS, 8), S(ADD_MEM_REG, 0),
        S(SET_VRING_NUM, 0, 256), S(SET_VRING_BASE, 0, 7), S(SET_VRING_ADDR, 0), S(SET_VRING_KICK, 0), S(SET_VRING_CALL, 0),
        S(SET_STATUS, 0xf), S(SEND_RARP, 0x563412005452) } },
    { "QEMU: device restarted while a migration runs, the log comes after the kick", ACK_NONE,
      "on0 features=split+log memory=2 num0=256 base0=0 addr0+log call0 log=128 kick0",
      { S(SET_PROTOCOL_FEATURES, 0x9b02f), S(SET_VRING_ENABLE, 0, 1), S(SET_FEATURES, V1 | PROTO | LOGGING),
        S(SET_MEM_TABLE, 2), S(SET_VRING_NUM, 0, 256), S(SET_VRING_BASE, 0, 0), S(SET_VRING_ADDR, 0, 1),
        S(SET_VRING_KICK, 0), S(SET_VRING_CALL, 0), S(SET_LOG_BASE, 128) } },
    { "QEMU: a failed migration stops logging on running rings", ACK_NONE,
      "features=split memory=1 on0 num0=256 base0=0 addr0 kick0 log=64 features=split+log addr0+log "
      "features=split addr0 log=64 features=split+log",
      { S(SET_PROTOCOL_FEATURES, 0x9b02f), S(SET_FEATURES, V1 | PROTO), S(SET_MEM_TABLE, 1), S(SET_VRING_ENABLE, 0, 1),
        S(SET_VRING_NUM, 0, 256), S(SET_VRING_BASE, 0, 0), S(SET_VRING_ADDR, 0), S(SET_VRING_KICK, 0),
        S(SET_LOG_BASE, 64), S(SET_FEATURES, V1 | PROTO | LOGGING), S(SET_VRING_ADDR, 0, 1),
        S(SET_FEATURES, V1 | PROTO), S(SET_VRING_ADDR, 0, 0),
        S(SET_LOG_BASE, 64), S(SET_FEATURES, V1 | PROTO | LOGGING) } },
    { "DPDK 22.11 virtio_user, split", ACK_NONE,
      "call0 call1 features=split status=b memory=1 num0=256 base0=0 addr0 kick0 num1=256 base1=0 addr1 kick1 "
      "on0 on1 status=f off0 off1 stop0 stop1",
      { S(SET_OWNER), S(GET_FEATURES), S(GET_PROTOCOL_FEATURES), S(SET_PROTOCOL_FEATURES, 0x10009),
        S(SET_VRING_CALL, 0), S(SET_VRING_CALL, 1),
        S(SET_FEATURES, V1 | PROTO), S(SET_STATUS, 0xb), S(GET_STATUS), S(GET_STATUS), S(SET_MEM_TABLE, 1),
        S(SET_VRING_NUM, 0, 256), S(SET_VRING_BASE, 0, 0), S(SET_VRING_ADDR, 0), S(SET_VRING_KICK, 0),
        S(SET_VRING_NUM, 1, 256), S(SET_VRING_BASE, 1, 0), S(SET_VRING_ADDR, 1), S(SET_VRING_KICK, 1),
        S(SET_VRING_ENABLE, 0, 1), S(SET_VRING_ENABLE, 1, 1), S(SET_STATUS, 0xf),
        S(SET_VRING_ENABLE, 0, 0), S(SET_VRING_ENABLE, 1, 0), S(GET_VRING_BASE, 0), S(GET_VRING_BASE, 1) } },
    { "DPDK 22.11 virtio_user, packed: a position of 16 bits", ACK_NONE,
      "features=packed memory=1 num0=256 base0=8000 addr0 kick0 on0",
      { S(SET_OWNER), S(GET_FEATURES), S(GET_PROTOCOL_FEATURES), S(SET_PROTOCOL_FEATURES, 0x10009),
        S(SET_FEATURES, V1 | PROTO | PACKED), S(SET_MEM_TABLE, 1),
        S(SET_VRING_NUM, 0, 256), S(SET_VRING_BASE, 0, 0x8000), S(SET_VRING_ADDR, 0), S(SET_VRING_KICK, 0),
        S(SET_VRING_ENABLE, 0, 1) } },
};
/* clang-format on */

/* Bytes of the answer that @step asks for by itself; -1: none. */
static int
own_answer(const struct step *step)
{
    switch (step->request) {
    case VHOST_USER_GET_FEATURES:
    case VHOST_USER_GET_PROTOCOL_FEATURES:
    case VHOST_USER_GET_QUEUE_NUM:
    case VHOST_USER_GET_MAX_MEM_SLOTS:
    case VHOST_USER_GET_STATUS:
    case VHOST_USER_GET_VRING_BASE:
    case VHOST_USER_SET_LOG_BASE:
    case VHOST_USER_SET_DEVICE_STATE_FD:
    case VHOST_USER_CHECK_DEVICE_STATE:
        return 8;
    case VHOST_USER_GET_CONFIG:
        return 12 + (int) step->b;
    default:
        return -1;
    }
}

/* The descriptors of a test: one of each kind is enough for any number of messages. */
struct props {
    int memory, log, event, socket, pipe[2];
};

static void
send_step(struct rig *rig, const struct step *step, uint32_t flags, const struct props *props)
{
    union vhost_user_payload p = { 0 };
    uint32_t size = 0;
    int fds[2] = { -1, -1 };
    unsigned n = 0;

    switch (step->request) {
    case VHOST_USER_SET_FEATURES:
    case VHOST_USER_SET_PROTOCOL_FEATURES:
    case VHOST_USER_SET_STATUS:
    case VHOST_USER_SEND_RARP:
        p.u64 = step->a;
        size = 8;
        break;
    case VHOST_USER_SET_VRING_NUM:
    case VHOST_USER_SET_VRING_BASE:
    case VHOST_USER_GET_VRING_BASE:
    case VHOST_USER_SET_VRING_ENABLE:
        p.state.index = (uint32_t) step->a;
        p.state.num = (uint32_t) step->b;
        size = 8;
        break;
    case VHOST_USER_SET_VRING_ADDR:
        p.addr = rig_addr_of((uint32_t) step->a, (uint32_t) step->b);
        size = sizeof(p.addr);
        break;
    case VHOST_USER_SET_VRING_KICK:
    case VHOST_USER_SET_VRING_CALL:
    case VHOST_USER_SET_VRING_ERR:
        p.u64 = step->a;
        size = 8;
        /* UML's call descriptors are sockets. */
        fds[n++] = step->request == VHOST_USER_SET_VRING_KICK ? props->event : props->socket;
        break;
    case VHOST_USER_SET_MEM_TABLE:
        p.table.count = (uint32_t) step->a;
        for (; n < step->a; n++) {
            p.table.regions[n] = rig_region(n);
            fds[n] = props->memory;
        }
        size = VHOST_USER_MEM_TABLE_SIZE(2); /* UML: room for two, whatever is in it */
        break;
    case VHOST_USER_ADD_MEM_REG:
        p.single.region = rig_region((unsigned) step->a);
        size = sizeof(p.single);
        fds[n++] = props->memory;
        break;
    case VHOST_USER_SET_LOG_BASE:
        p.log.size = step->a;
        size = sizeof(p.log);
        fds[n++] = props->log;
        break;
    case VHOST_USER_SET_BACKEND_REQ_FD:
        fds[n++] = props->socket;
        break;
    case VHOST_USER_GET_CONFIG:
        p.config.offset = (uint32_t) step->a;
        p.config.size = (uint32_t) step->b;
        size = 12 + p.config.size;
        break;
    case VHOST_USER_SET_DEVICE_STATE_FD:
        p.transfer.direction = (uint32_t) step->a;
        size = 8;
        if (step->a)
            cr_assert_eq(write(props->pipe[1], "state", 5), 5);
        fds[n++] = props->pipe[step->a ? 0 : 1];
        break;
    default:
        break;
    }
    rig_send(rig, step->request, flags, &p, size, fds, n);
}

static void
check_answer(struct rig *rig, const struct order *order, const struct step *step, bool acked)
{
    int own = own_answer(step);
    struct vdt_message *reply = rig_reply(rig);

    if (own < 0 && !acked) {
        cr_assert_null(reply, "%s: request %u was answered unasked", order->name, step->request);
        return;
    }
    cr_assert_not_null(reply, "%s: request %u was not answered", order->name, step->request);
    cr_assert_eq(reply->header.request, step->request);
    cr_assert_eq(reply->header.size, own < 0 ? 8u : (uint32_t) own);
    if (own < 0 || step->request == VHOST_USER_SET_LOG_BASE ||
        step->request == VHOST_USER_CHECK_DEVICE_STATE)
        cr_assert_eq(reply->payload.u64, 0, "%s: request %u was refused", order->name, step->request);
    if (step->request == VHOST_USER_SET_DEVICE_STATE_FD)
        cr_assert_eq(reply->payload.u64, VHOST_USER_NO_FD);
    if (step->request == VHOST_USER_GET_QUEUE_NUM)
        cr_assert_eq(reply->payload.u64, RIG_RINGS);
    if (step->request == VHOST_USER_GET_VRING_BASE) {
        cr_assert_eq(reply->payload.state.index, step->a);
        cr_assert_eq(reply->payload.state.num, 100 + step->a);
    }
}

static void
play(const struct order *order)
{
    struct props props;
    struct rig rig;
    int pair[2];
    bool acks = false;

    rig_init(&rig);
    props.memory = vdt_memfd("guest", 4 * RIG_MIB, NULL);
    props.log = vdt_memfd("log", 4096, NULL);
    props.event = vdt_eventfd(NULL);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    cr_assert_eq(pipe(props.pipe), 0);
    props.socket = pair[0];

    for (unsigned i = 0; order->steps[i].request; i++) {
        const struct step *step = &order->steps[i];

        if (step->request == VHOST_USER_SET_PROTOCOL_FEATURES && order->acks == ACK_ALL)
            acks = step->a & VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK);
        send_step(&rig, step, acks ? VHOST_USER_NEED_REPLY : 0, &props);
        rig_pump(&rig);
        cr_assert_not_null(rig.session, "%s: step %u, request %u ended the session: %s", order->name,
                           i, step->request, rig.reason);
        check_answer(&rig, order, step, acks);
    }
    cr_assert_str_eq(rig.journal->str, order->journal, "%s\n is: %s\nnot: %s", order->name,
                     rig.journal->str, order->journal);

    rig_clear(&rig);
    const int all[] = { props.memory, props.log, props.event, pair[0], pair[1], props.pipe[0],
                        props.pipe[1] };
    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++)
        vdt_close(all[i]);
}

Test(orders, of_real_frontends_are_accepted)
{
    unsigned before = rig_open_fds();

    for (unsigned i = 0; i < G_N_ELEMENTS(orders); i++)
        play(&orders[i]);
    cr_assert_eq(rig_open_fds(), before);
}
