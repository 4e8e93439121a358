/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>
#include <sys/mman.h>

#include "lib/leak.h"
#include "nic.h"

VDT_SUITE(sim_iotlb);

#define DO(nic, op, ...) (nic).dev->ops->op((nic).dev, ##__VA_ARGS__, NULL)

static uint8_t frame[100], got[70000];

Test(sim_iotlb, what_the_kernel_refuses_is_refused)
{
    struct nic nic;
    uint8_t *m;

    nic_open(&nic, "sim:iova=0x1000-0xffffff", NIC_SPLIT);
    m = nic.memory;
    cr_assert_not(DO(nic, map, 0, NIC_IOVA, 4096, m, true), "overlap");
    cr_assert_not(DO(nic, map, 0, NIC_IOVA - 4096, 8192, m, true), "overlap from below");
    cr_assert_not(DO(nic, map, 0, NIC_IOVA + NIC_MEMORY - 4096, 8192, m, true), "from above");
    cr_assert_not(DO(nic, map, 2, 0x1000, 4096, m, true), "address space");
    cr_assert_not(DO(nic, map, 0, 0x2001, 4096, m, true), "misaligned");
    cr_assert_not(DO(nic, map, 0, 0x2000, 4095, m, true), "odd size");
    cr_assert_not(DO(nic, map, 0, 0x2000, 0, m, true), "no size");
    cr_assert_not(DO(nic, map, 0, 0x2000, 4096, m + 1, true), "host address");
    cr_assert_not(DO(nic, map, 0, 0, 4096, m, true), "below the range");
    cr_assert_not(DO(nic, map, 0, 0xfff000, 8192, m, true), "beyond the range");
    cr_assert_not(DO(nic, map, 0, 0xfffffffffffff000ull, 0x2000, m, true), "wrap");
    cr_assert_not(DO(nic, unmap, 0, NIC_IOVA, 4096), "part of a mapping");
    cr_assert_not(DO(nic, unmap, 0, 0x8000, 4096), "never mapped");
    cr_assert(DO(nic, map, 0, 0x2000, 4096, m, true));
    cr_assert(DO(nic, unmap, 0, 0x2000, 4096));
    nic_close(&nic);
}

Test(sim_iotlb, a_batch_is_for_one_address_space)
{
    struct nic nic;

    nic_open(&nic, "sim:", NIC_SPLIT);
    cr_assert_not(DO(nic, batch, 0, false));
    cr_assert(DO(nic, batch, 0, true));
    cr_assert_not(DO(nic, batch, 0, true));
    cr_assert_not(DO(nic, map, 1, 0x2000, 4096, nic.memory, true));
    cr_assert(DO(nic, map, 0, 0x2000, 4096, nic.memory, true));
    cr_assert(DO(nic, batch, 0, false));
    nic_close(&nic);
}

Test(sim_iotlb, a_read_outside_the_mappings_is_a_fault)
{
    struct vdt_seg seg = {0x70000000, 100, 0, 0};
    struct vdt_used used;
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 4);
    nic.rings[1].buffer[0] = 0;
    nic_post(&nic, 1, &seg, 1);
    cr_assert_not(nic_wait(&nic, 1, 50, &used));
    cr_assert(nic_has_fault(&nic, "DMA fault: read of 100 bytes at 0x70000000"));
    cr_assert_eq(nic_counter(&nic, -1, "fault_count"), 1);
    nic_close(&nic);
}

Test(sim_iotlb, a_write_to_a_read_only_mapping_is_a_fault)
{
    struct vdt_seg seg = {0x10000000, 4096, VDT_SEG_WRITE, 0};
    struct vdt_used used;
    struct nic nic;
    uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    nic_run(&nic, "sim:", NIC_SPLIT, 0);
    cr_assert(DO(nic, map, 0, 0x10000000, 4096, page, false));
    nic_post(&nic, 0, &seg, 1);
    nic_frame(frame, 100, frame, 1);
    nic_send(&nic, 0, frame, 100);
    cr_assert_not(nic_wait(&nic, 0, 50, &used));
    cr_assert(nic_has_fault(&nic, "DMA fault: write"));
    for (unsigned i = 0; i < 4096; i++)
        cr_assert_eq(page[i], 0);
    nic_close(&nic);
    munmap(page, 4096);
}

Test(sim_iotlb, a_buffer_may_cross_adjacent_mappings)
{
    struct vdt_seg seg = {0x10000f00, 4096, VDT_SEG_WRITE, 0};
    struct nic nic;
    uint8_t *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    nic_run(&nic, "sim:", NIC_SPLIT, 0);
    /* The second page first: next to each other for the device, not for the host. */
    cr_assert(DO(nic, map, 0, 0x10000000, 4096, pages + 4096, true));
    cr_assert(DO(nic, map, 0, 0x10001000, 4096, pages, true));
    nic_post(&nic, 0, &seg, 1);
    nic_frame(frame, 100, frame, 1);
    nic_send(&nic, 0, frame, 100);
    {
        struct vdt_used used;

        cr_assert(nic_wait(&nic, 0, NIC_TIMEOUT_MS, &used));
        cr_assert_eq(used.len, 112);
    }
    cr_assert_eq(memcmp(pages + 4096 + 0xf00 + 12, frame, 100), 0);
    nic_close(&nic);
    munmap(pages, 8192);
}

Test(sim_iotlb, a_ring_whose_mapping_goes_away_stops)
{
    struct vdt_used used;
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 4);
    cr_assert(DO(nic, unmap, 0, NIC_IOVA, NIC_MEMORY));
    nic_frame(frame, 100, frame, 1);
    nic_send(&nic, 0, frame, 100);
    cr_assert_not(nic_wait(&nic, 1, 50, &used));
    cr_assert(nic_has_fault(&nic, "not mapped any more"));
    cr_assert_eq(nic_command(&nic, 0, 0, "\0", 1), VIRTIO_NET_OK, "the other space is untouched");
    nic_close(&nic);
}

Test(sim_iotlb, mappings_come_and_go_while_the_rings_run)
{
    struct nic nic;

    nic_run(&nic, "sim:", NIC_SPLIT, 32);
    for (unsigned i = 0; i < 32; i++) {
        cr_assert(DO(nic, map, 0, 0x10000000 + i * 0x10000, 4096, nic.memory, true));
        nic_frame(frame, 100, frame, 1);
        nic_send(&nic, 0, frame, 100);
        cr_assert_eq(nic_receive(&nic, 0, NIC_TIMEOUT_MS, got), 100);
        {
            struct vdt_used used;
            cr_assert(nic_wait(&nic, 1, NIC_TIMEOUT_MS, &used));
        }
        if (i & 1)
            cr_assert(DO(nic, unmap, 0, 0x10000000 + i * 0x10000, 4096));
    }
    nic_close(&nic);
}

Test(sim_iotlb, groups_stay_where_they_are_put)
{
    struct nic nic;

    nic_open(&nic, "sim:", NIC_SPLIT);
    cr_assert_not(DO(nic, set_group_asid, 2, 0));
    cr_assert_not(DO(nic, set_group_asid, 0, 2));
    cr_assert(DO(nic, unmap, 1, NIC_IOVA, NIC_MEMORY));
    nic_add_ring(&nic, 2);
    cr_assert(DO(nic, set_enable, 2, true));
    cr_assert_not(DO(nic, set_status, 15), "the control ring is in address space 1");
    nic_close(&nic);
}
