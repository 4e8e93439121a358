/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/vm.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/wire.h"
#include "virtio/features.h"

#define GPA 0x100000u
#define FRONTEND 0x7f1200000000u
#define SIZE (4u << 20)
#define NUM VM_NUM
#define RINGS_AT 0x10000u
#define COMMANDS_AT 0x80000u
#define ACK 16u /* bytes before a command for its ack */
#define BUFFERS_AT 0x100000u
#define BUFFER 2048u
#define FRAME 96u
#define SEEN 65536u
#define TIMEOUT_MS 5000u
#define WAIT_US (5 * G_USEC_PER_SEC)

#define PROTOCOL                                                                                   \
    (VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_MQ) | VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |  \
     VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_STATUS) | VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_CONFIG) | \
     VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD) |                                             \
     VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) |                                           \
     VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) |                                          \
     VHOST_USER_BIT(VHOST_USER_PROTOCOL_F_DEVICE_STATE))

static void
check(bool ok, GError *error)
{
    cr_assert(ok, "%s", error ? error->message : "failed without a message");
}

static void *
host(struct vm *vm, uint64_t gpa)
{
    return vm->mem + (gpa - GPA);
}

static struct vdt_ring_addr
ring_gpa(unsigned i)
{
    uint64_t at = GPA + RINGS_AT + i * 0x10000u;

    return (struct vdt_ring_addr){.desc = at, .driver = at + 0x4000, .device = at + 0x8000};
}

static void
init_rings(struct vm *vm)
{
    struct vdt_ring_format format = vdt_features_ring_format(vm->features, NUM);

    memset(vm->mem, 0, COMMANDS_AT);
    for (unsigned i = 0; i < VM_RINGS; i++) {
        struct vdt_ring_addr gpa = ring_gpa(i);
        struct vdt_ring_mem mem = {host(vm, gpa.desc), host(vm, gpa.driver), host(vm, gpa.device)};

        vdt_device_ring_init(&vm->ring[i], &format, &mem, vdt_ring_pos_initial(format.kind));
        vm->base[i] = vdt_ring_pos_to_base(&format, vdt_ring_pos_initial(format.kind));
    }
    vm->sent_done = vm->received = vm->next_send;
}

void
vm_init(struct vm *vm, uint64_t features)
{
    GError *error = NULL;

    memset(vm, 0, sizeof(*vm));
    vm->features = features | VDT_BIT(VIRTIO_F_VERSION_1);
    vm->cvq = VM_CVQ;
    vm->memfd = vdt_memfd("vm", SIZE, &error);
    check(vm->memfd >= 0, error);
    vm->mem = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, vm->memfd, 0);
    vm->seen = g_malloc0(SEEN);
    for (unsigned i = 0; i < VM_RINGS; i++) {
        vm->kick[i] = vdt_eventfd(NULL);
        vm->call[i] = vdt_eventfd(NULL);
    }
    init_rings(vm);
}

void
vm_reboot(struct vm *vm)
{
    for (unsigned i = 0; i < VM_RINGS; i++)
        vdt_device_ring_clear(&vm->ring[i]);
    init_rings(vm);
}

void
vm_clear(struct vm *vm)
{
    vdt_frontend_free(vm->frontend);
    for (unsigned i = 0; i < VM_RINGS; i++) {
        vdt_device_ring_clear(&vm->ring[i]);
        vdt_close(vm->kick[i]);
        vdt_close(vm->call[i]);
    }
    munmap(vm->mem, SIZE);
    vdt_close(vm->memfd);
    g_free(vm->seen);
}

bool
vm_reach(struct vm *vm, const char *name, GError **error)
{
    g_autofree char *path = g_strdup_printf("%s/%s.sock", vm_runtime_dir(), name);

    /* The socket is there a moment before somebody listens at it. */
    for (unsigned i = 0; i < 100 && !vm->frontend; i++) {
        g_clear_error(error);
        if (i > 0)
            g_usleep(10000);
        vm->frontend =
            vdt_frontend_connect(path, vm->patience_ms ? vm->patience_ms : TIMEOUT_MS, error);
    }
    if (vm->frontend && vdt_frontend_negotiate(vm->frontend, PROTOCOL & ~vm->without, error) &&
        vdt_frontend_get_features(vm->frontend, &vm->device_features, error))
        return true;
    vm_disconnect(vm);
    return false;
}

void
vm_connect(struct vm *vm, const char *name)
{
    GError *error = NULL;

    check(vm_reach(vm, name, &error), error);
}

void
vm_disconnect(struct vm *vm)
{
    g_clear_pointer(&vm->frontend, vdt_frontend_free);
}

static uint32_t
index_of(const struct vm *vm, unsigned ring)
{
    return ring == VM_CVQ ? vm->cvq : ring;
}

bool
vm_start(struct vm *vm, GError **error)
{
    const struct vdt_region_spec region = {
        .gpa = GPA, .size = SIZE, .frontend = FRONTEND, .fd = vm->memfd};
    struct vdt_frontend *f = vm->frontend;
    uint64_t transport = vm->device_features & VDT_BIT(30); /* VHOST_USER_F_PROTOCOL_FEATURES */

    if (!vdt_frontend_set_features(f, vm->features | transport, error) ||
        !vdt_frontend_set_memory(f, &region, 1, error) ||
        !vdt_frontend_get_config(f, 0, vm->mac, sizeof(vm->mac), error))
        return false;
    for (unsigned i = 0; i < VM_RINGS; i++) {
        struct vdt_ring_addr gpa = ring_gpa(i);
        uint32_t index = index_of(vm, i);
        const struct vhost_user_vring_addr addr = {
            .index = index,
            .desc = gpa.desc - GPA + FRONTEND,
            .avail = gpa.driver - GPA + FRONTEND,
            .used = gpa.device - GPA + FRONTEND,
        };

        if (!vdt_frontend_set_num(f, index, NUM, error) ||
            !vdt_frontend_set_base(f, index, vm->base[i], error) ||
            !vdt_frontend_set_addr(f, &addr, error) ||
            !vdt_frontend_set_kick(f, index, vm->kick[i], error) ||
            !vdt_frontend_set_call(f, index, vm->call[i], error) ||
            !vdt_frontend_set_enable(f, index, true, error))
            return false;
    }
    return vdt_frontend_set_status(f, 0xf, error);
}

void
vm_log(struct vm *vm, bool on)
{
    uint64_t transport = vm->device_features & VDT_BIT(30);
    uint64_t size = (GPA + SIZE) / 4096 / 8;
    GError *error = NULL;
    VDT_AUTO_FD log = vdt_memfd("log", size, &error);

    check(log >= 0, error);
    check(!on || vdt_frontend_set_log(vm->frontend, log, 0, size, &error), error);
    check(vdt_frontend_set_features(
              vm->frontend,
              vm->features | transport | (on ? VHOST_USER_BIT(VHOST_USER_F_LOG_ALL) : 0), &error),
          error);
}

bool
vm_try_stop(struct vm *vm, GError **error)
{
    for (unsigned i = 0; i < VM_RINGS; i++) {
        if (!vdt_frontend_get_base(vm->frontend, index_of(vm, i), &vm->base[i], error))
            return false;
    }
    return true;
}

void
vm_stop(struct vm *vm)
{
    GError *error = NULL;

    check(vm_try_stop(vm, &error), error);
}

/* One ring's post from @at on: readable bytes first, writable behind them. */
static bool
post(struct vm *vm, unsigned ring, struct vdt_seg *segs, uint32_t count, uint16_t *ret_id)
{
    struct vdt_chain chain = {
        .seg = segs, .capacity = count, .count = count, .direct = count, .slots = (uint16_t) count};

    for (uint32_t i = 0; i < count; i++) {
        if (segs[i].flags & VDT_SEG_WRITE)
            chain.writable += segs[i].len;
        else
            chain.readable += segs[i].len;
        if (i + 1 < count)
            segs[i].flags |= VDT_SEG_NEXT;
    }
    if (!vdt_device_ring_lay(&vm->ring[ring], &chain, ret_id))
        return false;
    if (ring != VM_CVQ)
        segs[0].addr = GPA + BUFFERS_AT + (uint64_t) (ring * NUM + *ret_id) * BUFFER;
    vdt_device_ring_post(&vm->ring[ring], &chain, *ret_id, 0, 0);
    return true;
}

static void
publish(struct vm *vm, unsigned ring)
{
    if (vdt_device_ring_publish(&vm->ring[ring]))
        vdt_event_signal(vm->kick[ring]);
}

void
vm_command_post(struct vm *vm, uint8_t class, uint8_t command, const void *data, uint32_t len)
{
    uint8_t *out = host(vm, GPA + COMMANDS_AT);
    struct vdt_seg segs[] = {
        {.addr = GPA + COMMANDS_AT + ACK, .len = 2 + len},
        {.addr = GPA + COMMANDS_AT, .len = 1, .flags = VDT_SEG_WRITE},
    };
    uint16_t id;

    out[ACK] = class;
    out[ACK + 1] = command;
    if (len > 0)
        memcpy(out + ACK + 2, data, len);
    *out = 0xee;
    cr_assert(post(vm, VM_CVQ, segs, 2, &id));
    publish(vm, VM_CVQ);
}

int
vm_command_wait(struct vm *vm)
{
    int64_t end = g_get_monotonic_time() + WAIT_US;
    struct vdt_used used;

    while (vdt_device_ring_reap(&vm->ring[VM_CVQ], &used) != VDT_REAP_USED) {
        cr_assert_eq(vm->ring[VM_CVQ].fault, 0);
        if (g_get_monotonic_time() > end)
            return -1;
        g_usleep(100);
    }
    return *(uint8_t *) host(vm, GPA + COMMANDS_AT);
}

int
vm_command(struct vm *vm, uint8_t class, uint8_t command, const void *data, uint32_t len)
{
    vm_command_post(vm, class, command, data, len);
    return vm_command_wait(vm);
}

void
vm_configure(struct vm *vm)
{
    const uint8_t on = 1, mac[6] = {0x52, 0x54, 0, 1, 2, 3}, vid[2][2] = {{5, 0}, {0, 1}};

    cr_assert_eq(vm_command(vm, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 1), 0);
    cr_assert_eq(vm_command(vm, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, mac, 6), 0);
    for (unsigned i = 0; i < 2; i++)
        cr_assert_eq(vm_command(vm, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, vid[i], 2), 0);
    memcpy(vm->mac, mac, 6);
}

static void
fill(const struct vm *vm, uint8_t frame[12 + FRAME], uint32_t sequence)
{
    memset(frame, 0, 12 + FRAME);
    memcpy(frame + 12, vm->mac, 6);
    memcpy(frame + 18, vm->mac, 6);
    vdt_put16(frame + 24, 0xb588); /* local experimental ethertype 0x88b5 */
    vdt_put32(frame + 26, sequence);
    for (unsigned i = 30; i < 12 + FRAME; i++)
        frame[i] = (uint8_t) (sequence * 31 + i);
}

static void
take(struct vm *vm, const uint8_t *buffer, uint32_t len)
{
    uint8_t expected[12 + FRAME];
    uint32_t sequence = vdt_get32(buffer + 26);

    /* RARP of the tracker's comes back as well, and is none of ours. */
    if (vdt_get16(buffer + 24) == 0x3580)
        return;
    fill(vm, expected, sequence);
    if (len != sizeof(expected) || sequence >= vm->next_send ||
        memcmp(buffer + 12, expected + 12, FRAME) != 0) {
        vm->corrupt++;
        return;
    }
    if (vm->seen[sequence % SEEN]++)
        vm->duplicated++;
    vm->received++;
}

static void
poll_rings(struct vm *vm)
{
    struct vdt_seg seg;
    struct vdt_used used;
    uint16_t id;

    while (vdt_device_ring_reap(&vm->ring[1], &used) == VDT_REAP_USED)
        vm->sent_done++;
    while (vdt_device_ring_reap(&vm->ring[0], &used) == VDT_REAP_USED) {
        vm->taken[used.id]++;
        take(vm, host(vm, GPA + BUFFERS_AT + (uint64_t) used.id * BUFFER), used.len);
    }
    cr_assert_eq(vm->ring[0].fault, 0, "receive: %s", vdt_ring_fault_name(vm->ring[0].fault));
    cr_assert_eq(vm->ring[1].fault, 0, "transmit: %s", vdt_ring_fault_name(vm->ring[1].fault));
    do {
        seg = (struct vdt_seg){.len = BUFFER, .flags = VDT_SEG_WRITE};
    } while (post(vm, 0, &seg, 1, &id));
    publish(vm, 0);
}

/* The frame in two parts, by a table behind it in its buffer. */
static uint32_t
make_table(struct vm *vm, struct vdt_chain *chain, struct vdt_seg segs[2])
{
    uint64_t at = segs[0].addr;

    segs[0] = (struct vdt_seg){.addr = at, .len = 12, .flags = VDT_SEG_NEXT};
    segs[1] = (struct vdt_seg){.addr = at + 12, .len = FRAME};
    return vdt_chain_write_table(chain, vm->ring[1].format.kind, host(vm, at + BUFFER / 2));
}

static bool
send_one(struct vm *vm)
{
    struct vdt_seg segs[2] = {{.len = 12 + FRAME}};
    bool indirect = vm->indirect && vm->next_send % 2;
    struct vdt_chain chain = {.seg = segs,
                              .capacity = 2,
                              .count = indirect ? 2 : 1,
                              .direct = indirect ? 0 : 1,
                              .slots = 1,
                              .indirect = indirect,
                              .readable = 12 + FRAME};
    uint32_t table = 0;
    uint16_t id;

    if (vm->ring[1].in_flight >= NUM || !vdt_device_ring_lay(&vm->ring[1], &chain, &id))
        return false;
    uint64_t at = segs[0].addr = GPA + BUFFERS_AT + (uint64_t) (NUM + id) * BUFFER;
    fill(vm, host(vm, at), vm->next_send++);
    if (indirect)
        table = make_table(vm, &chain, segs);
    vdt_device_ring_post(&vm->ring[1], &chain, id, table ? at + BUFFER / 2 : 0, table);
    publish(vm, 1);
    return true;
}

void
vm_send(struct vm *vm, unsigned n)
{
    poll_rings(vm);
    while (n-- > 0 && send_one(vm))
        ;
    poll_rings(vm);
}

void
vm_settle(struct vm *vm)
{
    int64_t end = g_get_monotonic_time() + WAIT_US, quiet = 0;

    while (!quiet || g_get_monotonic_time() - quiet < 20000) {
        uint32_t before = vm->received;
        cr_assert_lt(g_get_monotonic_time(), end, "of %u requests %u were used", vm->next_send,
                     vm->sent_done);
        poll_rings(vm);
        if (vm->sent_done < vm->next_send || vm->received != before)
            quiet = 0;
        else if (!quiet)
            quiet = g_get_monotonic_time();
        g_usleep(100);
    }
    vm->received = vm->next_send;
    vm->duplicated = 0;
    memset(vm->seen, 0, SEEN);
    memset(vm->taken, 0, sizeof(vm->taken));
}

void
vm_forget_bases(struct vm *vm, enum vm_base base)
{
    bool packed = vm->features & VDT_BIT(VIRTIO_F_RING_PACKED);

    for (unsigned i = 0; i < VM_RINGS; i++) {
        if (packed)
            vm->base[i] = base == VM_BASE_ZERO ? 0x8000u : 0x80008000u;
        else
            vm->base[i] =
                base == VM_BASE_ZERO ? 0 : vdt_get16((uint8_t *) vm->ring[i].mem.device + 2);
    }
}

void
vm_traffic(struct vm *vm, unsigned n)
{
    uint32_t goal = vm->next_send + n;
    int64_t end = g_get_monotonic_time() + WAIT_US;

    while (vm->next_send < goal || vm->sent_done < goal || vm->received < goal) {
        cr_assert_lt(g_get_monotonic_time(), end, "frame %u of %u: %u sent, %u came back",
                     vm->next_send, goal, vm->sent_done, vm->received);
        poll_rings(vm);
        if (vm->next_send >= goal || !send_one(vm))
            g_usleep(50);
    }
    cr_assert_eq(vm->duplicated, 0);
    cr_assert_eq(vm->corrupt, 0);
}
