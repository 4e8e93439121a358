/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "errand.h"

#include <poll.h>
#include <string.h>

#include <vdpa-tracker/error.h>

#define ANSWER_US (4 * G_USEC_PER_SEC) /* no command takes longer */
#define FRAME_US G_USEC_PER_SEC
#define TRIES 4u
#define VLAN 5

const uint8_t errand_mac[6] = {0x52, 0x54, 0x00, 0xfa, 0x17, 0x01};
static const uint8_t other_mac[6] = {0x52, 0x54, 0x00, 0xfa, 0x17, 0x02};

static const struct {
    const char *name;
    uint8_t bytes[8];
    uint32_t len;
} commands[] = {
    {"PROMISC", {VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0}, 3},
    {"MAC_ADDR_SET",
     {VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 0x52, 0x54, 0x00, 0xfa, 0x17, 0x01},
     8},
    {"VLAN_ADD", {VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, VLAN, 0}, 4},
};

static void
on_answer(void *ctx, uint64_t cookie, const uint8_t *reply, uint32_t len)
{
    struct errand *errand = ctx;

    errand->ack = len ? reply[0] : 0xff;
    errand->answered++;
}

bool
errand_boot(struct errand *errand, const struct vdt_driver_config *config, struct vdt_ram *ram,
            GError **error)
{
    errand_clear(errand);
    errand->acked = 0;
    if (!vdt_driver_init(&errand->driver, config, ram, error))
        return false;
    errand->driver.answered = on_answer;
    errand->driver.answered_ctx = errand;
    errand->made = true;
    return true;
}

void
errand_clear(struct errand *errand)
{
    struct vdt_driver_sums sums;

    if (!errand->made)
        return;
    vdt_driver_sum(&errand->driver, &sums);
    errand->duplicated += sums.duplicated;
    errand->corrupt += errand->driver.frames.corrupt;
    vdt_driver_clear(&errand->driver);
    errand->made = false;
}

/* Until a call comes, or it is time to look anyway. */
/* Until a ring calls; false when the tracker has gone. */
static bool
doze(struct errand *errand)
{
    struct vdt_driver *driver = &errand->driver;
    struct pollfd p[VDT_RINGS_MAX + 1];
    unsigned n = vdt_driver_queue_count(driver);

    if (vdt_driver_sleep(driver))
        return true;
    for (unsigned i = 0; i < n; i++)
        p[i] = (struct pollfd){.fd = vdt_driver_queue(driver, i)->call, .events = POLLIN};
    p[n] = (struct pollfd){.fd = errand->line, .events = POLLRDHUP};
    poll(p, n + 1, 20);
    return !(p[n].revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static bool
fail(GError **error, const char *what, const char *name)
{
    g_set_error(error, VDT_ERROR, VDT_ERROR_TIMEOUT, "the guest: %s%s", what, name);
    return false;
}

static bool
command(struct errand *errand, unsigned index, GError **error)
{
    int64_t end = g_get_monotonic_time() + ANSWER_US;
    unsigned answered = errand->answered;

    if (!vdt_driver_command(&errand->driver, commands[index].bytes, commands[index].len, 0, index))
        return fail(error, "no room for command ", commands[index].name);
    while (errand->answered == answered) {
        if (vdt_driver_poll(&errand->driver))
            continue;
        if (!doze(errand) || g_get_monotonic_time() > end)
            return fail(error, "no answer to ", commands[index].name);
    }
    return true;
}

/* Whether it came back. */
static bool
frame(struct errand *errand, const uint8_t to[6], int vlan, bool wait)
{
    struct vdt_driver *driver = &errand->driver;
    struct vdt_frame_plan plan = {.vlan = vlan, .len = 100};
    uint64_t number = driver->frames.sent;
    int64_t end = g_get_monotonic_time() + FRAME_US;

    memcpy(plan.to, to, 6);
    memcpy(plan.from, errand_mac, 6);
    if (!vdt_driver_send(driver, 0, &plan))
        return false;
    vdt_driver_kick(driver);
    while (wait && !driver->frames.seen->data[number]) {
        if (vdt_driver_poll(driver))
            continue;
        if (!doze(errand) || g_get_monotonic_time() > end)
            return false;
    }
    return true;
}

static bool
frame_with_patience(struct errand *errand, int vlan, const char *what, GError **error)
{
    for (unsigned i = 0; i < TRIES; i++) {
        if (frame(errand, errand_mac, vlan, true))
            return true;
        errand->lost++;
    }
    return fail(error, "nothing comes back of what it sends: ", what);
}

bool
errand_run(struct errand *errand, GError **error)
{
    struct vdt_driver *driver = &errand->driver;
    uint64_t dark = 0;

    while (errand->acked < G_N_ELEMENTS(commands)) {
        if (!command(errand, errand->acked, error))
            return false;
        if (errand->ack != 0 && errand->refused++ > 0)
            return fail(error, "refused twice: ", commands[errand->acked].name);
        if (errand->ack == 0)
            errand->acked++;
    }
    if (!frame_with_patience(errand, -1, "plain", error))
        return false;
    dark = driver->frames.sent;
    frame(errand, other_mac, -1, false);
    frame(errand, errand_mac, VLAN + 1, false);
    if (!frame_with_patience(errand, VLAN, "tagged", error) ||
        !frame_with_patience(errand, -1, "plain", error))
        return false;
    if (driver->frames.seen->data[dark] || driver->frames.seen->data[dark + 1])
        return fail(error, "a frame came that its filters keep out", "");
    /* Every frame is out of the ring again. */
    int64_t end = g_get_monotonic_time() + FRAME_US;
    while (vdt_queue_in_flight(&driver->pair[0].tx) > 0) {
        if (vdt_driver_poll(driver))
            continue;
        if (!doze(errand) || g_get_monotonic_time() > end)
            return fail(error, "a transmit chain does not come back", "");
    }
    return true;
}
