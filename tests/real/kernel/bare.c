/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kernel-bare DEVICE VLANS: how long a network device of the kernel's takes for VLAN_ADD 1 ..
 * VLANS.
 *
 * Nothing of the tracker is in it: the kernel's interface and a bare split ring, which is filled up
 * again whenever the device has used something. Prints "MICROSECONDS COMMANDS": from the first kick
 * to the last answer, the middle of three times, and how many were answered OK in the worst.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define NUM 64u /* of QEMU's control queue */
#define PAGE 4096u
#define RINGS_MAX 16u
#define RING_PAGES 3u
#define PAGES (RINGS_MAX * RING_PAGES + 1)
#define BUFFERS (RINGS_MAX * RING_PAGES * PAGE) /* NUM / 2 of 8 bytes: command, then the ack */
#define IOVA 0x100000000ull
#define BIT(n) (1ull << (n))
#define WAIT_MS 10000
#define TIMES 3

struct bare {
    int fd, kick, call;
    uint8_t *memory;
    uint32_t rings;
    struct vring_desc *desc;
    struct vring_avail *avail;
    struct vring_used *used;
};

static void
fail(const char *what)
{
    perror(what);
    exit(1);
}

static void
tell(const struct bare *bare, unsigned long request, void *arg, const char *what)
{
    if (ioctl(bare->fd, request, arg) < 0)
        fail(what);
}

static void
set_status(const struct bare *bare, uint8_t status)
{
    tell(bare, VHOST_VDPA_SET_STATUS, &status, "status");
}

static void
negotiate(const struct bare *bare)
{
    const uint64_t wanted = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_ACCESS_PLATFORM) |
                            BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) |
                            BIT(VIRTIO_NET_F_CTRL_VLAN) | BIT(VIRTIO_NET_F_MQ);
    uint64_t features, backend = BIT(VHOST_BACKEND_F_IOTLB_MSG_V2);
    uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

    if (ioctl(bare->fd, VHOST_SET_OWNER) < 0)
        fail("owner");
    tell(bare, VHOST_SET_BACKEND_FEATURES, &backend, "backend features");
    tell(bare, VHOST_GET_FEATURES, &features, "features");
    features &= wanted;
    set_status(bare, status);
    tell(bare, VHOST_SET_FEATURES, &features, "features");
    set_status(bare, status | VIRTIO_CONFIG_S_FEATURES_OK);
    tell(bare, VHOST_VDPA_GET_STATUS, &status, "status");
    if (!(status & VIRTIO_CONFIG_S_FEATURES_OK)) {
        fprintf(stderr, "the device does not take the features\n");
        exit(1);
    }
}

static void
map_memory(struct bare *bare)
{
    struct vhost_msg_v2 msg = {.type = VHOST_IOTLB_MSG_V2};

    bare->memory =
        mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (bare->memory == MAP_FAILED)
        fail("memory");
    msg.iotlb = (struct vhost_iotlb_msg){.iova = IOVA,
                                         .size = PAGES * PAGE,
                                         .uaddr = (uintptr_t) bare->memory,
                                         .perm = VHOST_ACCESS_RW,
                                         .type = VHOST_IOTLB_UPDATE};
    if (write(bare->fd, &msg, sizeof(msg)) != sizeof(msg))
        fail("map");
}

/* All rings, the data rings empty; the control queue is the last one. */
static void
set_rings(struct bare *bare)
{
    tell(bare, VHOST_VDPA_GET_VQS_COUNT, &bare->rings, "number of rings");
    if (bare->rings == 0 || bare->rings > RINGS_MAX) {
        fprintf(stderr, "%u rings\n", bare->rings);
        exit(1);
    }
    for (uint32_t i = 0; i < bare->rings; i++) {
        const uint64_t at = IOVA + i * RING_PAGES * PAGE;
        struct vhost_vring_state num = {.index = i, .num = NUM}, on = {.index = i, .num = 1};
        struct vhost_vring_addr addr = {.index = i,
                                        .desc_user_addr = at,
                                        .avail_user_addr = at + PAGE,
                                        .used_user_addr = at + 2 * PAGE};
        struct vhost_vring_file kick = {.index = i, .fd = bare->kick},
                                call = {.index = i, .fd = bare->call};

        tell(bare, VHOST_SET_VRING_NUM, &num, "ring size");
        tell(bare, VHOST_SET_VRING_ADDR, &addr, "ring addresses");
        if (i == bare->rings - 1) {
            tell(bare, VHOST_SET_VRING_KICK, &kick, "kick");
            tell(bare, VHOST_SET_VRING_CALL, &call, "call");
        }
        tell(bare, VHOST_VDPA_SET_VRING_ENABLE, &on, "enable");
    }
    uint8_t *ring = bare->memory + (bare->rings - 1) * RING_PAGES * PAGE;
    bare->desc = (struct vring_desc *) ring;
    bare->avail = (struct vring_avail *) (ring + PAGE);
    bare->used = (struct vring_used *) (ring + 2 * PAGE);
}

static int64_t
now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000ll + t.tv_nsec / 1000;
}

static void
post(struct bare *bare, uint16_t head, uint16_t vid, uint16_t index)
{
    uint8_t *buffer = bare->memory + BUFFERS + head * 4u;
    const uint64_t iova = IOVA + BUFFERS + head * 4u;

    buffer[0] = VIRTIO_NET_CTRL_VLAN;
    buffer[1] = VIRTIO_NET_CTRL_VLAN_ADD;
    buffer[2] = (uint8_t) vid;
    buffer[3] = (uint8_t) (vid >> 8);
    buffer[4] = VIRTIO_NET_ERR;
    bare->desc[head] = (struct vring_desc){iova, 4, VRING_DESC_F_NEXT, (uint16_t) (head + 1)};
    bare->desc[head + 1] = (struct vring_desc){iova + 4, 1, VRING_DESC_F_WRITE, 0};
    bare->avail->ring[index % NUM] = head;
}

static void
publish(struct bare *bare, uint16_t index)
{
    const uint64_t one = 1;

    __atomic_store_n(&bare->avail->idx, index, __ATOMIC_RELEASE);
    /* The index is seen before the flag is read. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!(__atomic_load_n(&bare->used->flags, __ATOMIC_RELAXED) & VRING_USED_F_NO_NOTIFY) &&
        write(bare->kick, &one, sizeof(one)) != sizeof(one))
        fail("kick");
}

/* Returns how many were answered OK. The ring begins at *@at. */
static unsigned
send_all(struct bare *bare, unsigned vlans, uint16_t *at)
{
    const uint16_t end = (uint16_t) (*at + vlans);
    uint16_t index = *at, seen = *at;
    unsigned sent = 0, ok = 0;

    while (sent < vlans && sent < NUM / 2) {
        post(bare, (uint16_t) (2 * sent), (uint16_t) (sent + 1), index++);
        sent++;
    }
    publish(bare, index);
    while (seen != end) {
        const uint16_t before = index;
        uint64_t calls;

        while (seen != __atomic_load_n(&bare->used->idx, __ATOMIC_ACQUIRE)) {
            const uint16_t head = (uint16_t) bare->used->ring[seen++ % NUM].id;

            ok += bare->memory[BUFFERS + head * 4u + 4] == VIRTIO_NET_OK;
            if (sent < vlans)
                post(bare, head, (uint16_t) ++sent, index++);
        }
        if (index != before) {
            publish(bare, index);
            continue;
        }
        struct pollfd pollfd = {.fd = bare->call, .events = POLLIN};
        if (seen != end && poll(&pollfd, 1, WAIT_MS) == 0) {
            fprintf(stderr, "no answer after %u of %u\n", (uint16_t) (seen - *at), vlans);
            exit(1);
        }
        if (pollfd.revents && read(bare->call, &calls, sizeof(calls)) < 0 && errno != EAGAIN)
            fail("call");
    }
    *at = end;
    return ok;
}

static int
by_size(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;

    return (x > y) - (x < y);
}

int
main(int argc, char **argv)
{
    const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
    struct bare bare;

    if (argc != 3) {
        fprintf(stderr, "usage: kernel-bare DEVICE VLANS\n");
        return 2;
    }
    setrlimit(RLIMIT_MEMLOCK, &all);
    bare.fd = open(argv[1], O_RDWR | O_CLOEXEC);
    bare.kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bare.call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bare.fd < 0 || bare.kick < 0 || bare.call < 0)
        fail(argv[1]);
    negotiate(&bare);
    map_memory(&bare);
    set_rings(&bare);
    set_status(&bare, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
                          VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
    const unsigned vlans = (unsigned) atoi(argv[2]);
    int64_t us[TIMES];
    unsigned worst = vlans;
    uint16_t at = 0;

    for (unsigned i = 0; i < TIMES; i++) {
        const int64_t began = now_us();
        const unsigned ok = send_all(&bare, vlans, &at);

        us[i] = now_us() - began;
        worst = ok < worst ? ok : worst;
    }
    qsort(us, TIMES, sizeof(us[0]), by_size);
    printf("%lld %u\n", (long long) us[TIMES / 2], worst);
    return 0;
}
