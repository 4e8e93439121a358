/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tap: the wire is a tap interface of the host. The queue is attached only while the device runs,
 * so that a device that was opened to take over (swap) steals no frame from the one before it.
 */
#include "device/sim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>
#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/wire.h"

#define TAG_WIRE 0x10002u

struct tap {
    char name[IFNAMSIZ];
    int fd;
    bool many;     /* a multi-queue tap: the queue can be detached and attached again */
    bool attached; /* frames go through @fd */
    uint64_t lost;
    uint8_t buffer[sizeof(struct virtio_net_hdr_v1) + VDT_SIM_FRAME_MAX];
};

static int
set_interface(struct tap *tap, bool many)
{
    struct ifreq request = {0};

    g_strlcpy(request.ifr_name, tap->name, sizeof request.ifr_name);
    request.ifr_flags = (short) (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (many ? IFF_MULTI_QUEUE : 0));
    return ioctl(tap->fd, TUNSETIFF, &request) < 0 ? -errno : 0;
}

static bool
set_queue(struct tap *tap, bool attach)
{
    struct ifreq request = {0};

    request.ifr_flags = attach ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE;
    return ioctl(tap->fd, TUNSETQUEUE, &request) == 0;
}

static bool
set_header(struct tap *tap)
{
    int size = sizeof(struct virtio_net_hdr_v1), little = 1;

    return ioctl(tap->fd, TUNSETVNETHDRSZ, &size) == 0 &&
           ioctl(tap->fd, TUNSETVNETLE, &little) == 0;
}

static bool
reopen(struct tap *tap)
{
    vdt_close(tap->fd);
    tap->fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    return tap->fd >= 0;
}

/* A multi-queue tap is joined and left again; one with a single queue may be busy now, and is
 * joined when the device starts. */
static int
join(struct tap *tap)
{
    int result = set_interface(tap, true);

    if (result == 0) {
        tap->many = true;
        return set_header(tap) && set_queue(tap, false) ? 0 : -errno;
    }
    if (result != -EINVAL)
        return result;
    result = set_interface(tap, false);
    if (result != 0 && result != -EBUSY)
        return result;
    return reopen(tap) ? 0 : -errno;
}

static bool
open_tap(struct vdt_sim *sim, const char *arg, GError **error)
{
    struct tap *tap = g_new0(struct tap, 1);
    int result;

    g_strlcpy(tap->name, arg, sizeof tap->name);
    tap->fd = -1;
    result = reopen(tap) ? join(tap) : -errno;
    if (result != 0) {
        vdt_close(tap->fd);
        g_free(tap);
        return vdt_sim_fail(sim, error, VDT_ERROR_FAILED, "cannot use tap interface %s: %s", arg,
                            g_strerror(-result));
    }
    sim->backend_state = tap;
    return true;
}

static void
close_tap(struct vdt_sim *sim)
{
    struct tap *tap = sim->backend_state;

    vdt_sim_worker_unwatch(sim, tap->fd);
    vdt_close(tap->fd);
    g_free(tap);
}

static void
send_tap(struct vdt_sim *sim, struct vdt_sim_frame *frame)
{
    struct tap *tap = sim->backend_state;
    struct iovec parts[] = {
        {&frame->hdr, sizeof frame->hdr},
        {frame->data, frame->len},
    };

    if (!tap->attached || writev(tap->fd, parts, G_N_ELEMENTS(parts)) < 0) {
        tap->lost++;
        sim->frames_dropped++;
    }
    g_free(frame);
}

static struct vdt_sim_frame *
receive_tap(struct vdt_sim *sim)
{
    struct tap *tap = sim->backend_state;
    struct vdt_sim_frame *frame;
    ssize_t got;

    if (!tap->attached)
        return NULL;
    got = read(tap->fd, tap->buffer, sizeof tap->buffer);
    if (got < (ssize_t) sizeof frame->hdr)
        return NULL;
    frame = vdt_sim_frame_new(tap->buffer + sizeof frame->hdr,
                              (uint32_t) ((size_t) got - sizeof frame->hdr));
    memcpy(&frame->hdr, tap->buffer, sizeof frame->hdr);
    return frame;
}

static void
offloads_tap(struct vdt_sim *sim)
{
    struct tap *tap = sim->backend_state;
    uint64_t offloads = vdt_sim_guest_offloads(sim);
    unsigned long flags = 0;

    if (offloads & VDT_BIT(VIRTIO_NET_F_GUEST_CSUM)) {
        flags = TUN_F_CSUM;
        if (offloads & VDT_BIT(VIRTIO_NET_F_GUEST_TSO4))
            flags |= TUN_F_TSO4;
        if (offloads & VDT_BIT(VIRTIO_NET_F_GUEST_TSO6))
            flags |= TUN_F_TSO6;
    }
    if (tap->attached && ioctl(tap->fd, TUNSETOFFLOAD, flags) < 0)
        vdt_sim_fault(sim, "tap %s: cannot set offloads: %s", tap->name, g_strerror(errno));
}

static bool
attach(struct tap *tap)
{
    if (tap->many)
        return set_queue(tap, true);
    return set_interface(tap, false) == 0 && set_header(tap);
}

static void
run_tap(struct vdt_sim *sim, bool running)
{
    struct tap *tap = sim->backend_state;

    if (running == tap->attached)
        return;
    if (!running) {
        vdt_sim_worker_unwatch(sim, tap->fd);
        tap->attached = false;
        if (!(tap->many ? set_queue(tap, false) : reopen(tap)))
            vdt_sim_fault(sim, "tap %s: cannot leave it: %s", tap->name, g_strerror(errno));
        return;
    }
    if (!attach(tap) || !vdt_sim_worker_watch(sim, tap->fd, TAG_WIRE, NULL)) {
        vdt_sim_fault(sim, "tap %s: cannot join it, frames are lost: %s", tap->name,
                      g_strerror(errno));
        return;
    }
    tap->attached = true;
    offloads_tap(sim);
}

const struct vdt_sim_backend_ops vdt_sim_backend_tap = {
    .name = "tap",
    .open = open_tap,
    .close = close_tap,
    .send = send_tap,
    .receive = receive_tap,
    .run = run_tap,
    .offloads = offloads_tap,
};
