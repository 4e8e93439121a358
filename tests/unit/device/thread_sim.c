/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The control thread interferes while the device thread moves frames; for TSan. Prints TAP. */
#include <stdio.h>
#include <string.h>

#include "nic.h"

#define ROUNDS 300

static uint8_t frame[256], got[70000];
static int failed, number;

static void
report(bool fine, const char *what)
{
    printf("%s %d - %s\n", fine ? "ok" : "not ok", ++number, what);
    failed |= !fine;
}

/* Frames and commands in flight while the control thread suspends, asks, maps and resumes. */
static bool
interfere(const char *spec, uint64_t mask)
{
    struct nic nic;
    bool fine = true;
    size_t floor;

    nic_run(&nic, spec, mask, 16);
    floor = nic.next;
    for (unsigned i = 0; i < ROUNDS && fine; i++) {
        struct vdt_ring_pos pos;
        struct vdt_used used;
        struct vdt_seg seg = {nic_iova(NIC_MEMORY / 2 + i % 32 * 4096), 2048, VDT_SEG_WRITE, 0};
        uint64_t iova = 0x20000000 + (i & 7) * 0x1000;

        nic.next = floor;
        nic_frame(frame, 100, frame, (uint16_t) i);
        nic_send(&nic, 0, frame, 100);
        nic.dev->ops->map(nic.dev, 0, iova, 0x1000, nic.memory, true, NULL);
        if (i % 3 == 0) {
            fine &= nic.dev->ops->suspend(nic.dev, NULL);
            fine &= nic.dev->ops->get_base(nic.dev, 1, &pos, NULL);
            fine &= nic.dev->ops->resume(nic.dev, NULL);
        }
        if (i % 5 == 0)
            json_node_unref(nic.dev->ops->describe(nic.dev));
        if (i % 7 == 0)
            vdt_sim_announce(nic.dev);
        fine &= nic_command(&nic, 2, (uint8_t) (i & 1), "\5\0", 2) == VIRTIO_NET_OK;
        fine &= nic_wait(&nic, 1, NIC_TIMEOUT_MS, &used);
        fine &= nic_receive(&nic, 0, NIC_TIMEOUT_MS, got) == 100;
        nic_post(&nic, 0, &seg, 1);
        fine &= nic.dev->ops->unmap(nic.dev, 0, iova, 0x1000, NULL);
    }
    fine &= nic_counter(&nic, -1, "fault_count") == 0;
    nic_close(&nic);
    return fine;
}

static bool
wire(void)
{
    struct nic a, b;
    bool fine = true;
    size_t floor;

    nic_run(&a, "sim:pair=wire", NIC_SPLIT, 16);
    nic_run(&b, "sim:pair=wire", NIC_PACKED, 16);
    floor = a.next;
    for (unsigned i = 0; i < ROUNDS && fine; i++) {
        struct vdt_seg seg = {nic_iova(NIC_MEMORY / 2 + i % 32 * 4096), 2048, VDT_SEG_WRITE, 0};
        struct vdt_used used;

        a.next = floor;
        nic_frame(frame, 100, frame, (uint16_t) i);
        nic_send(&a, 0, frame, 100);
        fine &= nic_wait(&a, 1, NIC_TIMEOUT_MS, &used);
        fine &= nic_receive(&b, 0, NIC_TIMEOUT_MS, got) == 100;
        nic_post(&b, 0, &seg, 1);
    }
    nic_close(&a);
    nic_close(&b);
    return fine;
}

static bool
reopen(void)
{
    for (unsigned i = 0; i < 50; i++) {
        struct nic nic;

        nic_run(&nic, "sim:pairs=2", i & 1 ? NIC_PACKED : NIC_SPLIT, 8);
        nic_frame(frame, 100, frame, 1);
        nic_send(&nic, 0, frame, 100);
        nic_close(&nic); /* while it works */
    }
    return true;
}

int
main(void)
{
    printf("1..5\n");
    report(interfere("sim:", NIC_SPLIT), "control calls while a split device works");
    report(interfere("sim:", NIC_PACKED), "control calls while a packed device works");
    report(interfere("sim:latency=200", NIC_SPLIT), "the same with the clock involved");
    report(wire(), "two devices on one wire");
    report(reopen(), "closed while it works");
    return failed;
}
