/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What can go wrong between a mapping and the kernel, which says EFAULT to all of it, or nothing.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "device/vhost_vdpa.h"
#include "lib/fake_vhost_vdpa.h"
#include "lib/leak.h"
#include "nic.h"

VDT_SUITE(vhost_iotlb);

#define PAGE 4096u

static struct vdt_device *
open_fake(const char *spec)
{
    g_autoptr(GError) error = NULL;
    struct vdt_device *dev = vdt_device_open(spec, &error);

    cr_assert(dev, "%s", error ? error->message : "");
    return dev;
}

static uint8_t *
shared_pages(unsigned n)
{
    return mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static void
expect_map(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size, void *host)
{
    g_autoptr(GError) error = NULL;

    cr_expect(VDT_DEVICE_CALL(dev, map, &error, asid, iova, size, host, true), "%s",
              error ? error->message : "");
}

static void
expect_refusal(struct vdt_device *dev, uint32_t asid, uint64_t iova, uint64_t size, void *host,
               const char *part)
{
    g_autoptr(GError) error = NULL;

    cr_assert_not(VDT_DEVICE_CALL(dev, map, &error, asid, iova, size, host, true), "%s", part);
    cr_expect(strstr(error->message, part), "%s", error->message);
}

Test(vhost_iotlb, what_can_be_known_never_reaches_the_kernel)
{
    fake_vhost_install();
    VDT_AUTO(device) dev = open_fake("vhost-vdpa:sim:iova=0x1000-0x7fffffffff");
    uint8_t *m = shared_pages(4);

    expect_map(dev, 0, 0x10000, 2 * PAGE, m);
    unsigned told = fake_vhost_seen.updates;
    expect_refusal(dev, 0, 0x11000, PAGE, m, "overlaps the mapping at 0x10000");
    expect_refusal(dev, 0, 0xf000, 2 * PAGE, m, "overlaps");
    expect_refusal(dev, 0, 0xf000, 4 * PAGE, m, "overlaps");
    expect_refusal(dev, 2, 0x20000, PAGE, m, "2 address spaces; 2 is none");
    expect_refusal(dev, 0, 0x20001, PAGE, m, "whole pages");
    expect_refusal(dev, 0, 0x20000, PAGE - 1, m, "whole pages");
    expect_refusal(dev, 0, 0x20000, 0, m, "whole pages");
    expect_refusal(dev, 0, 0x20000, PAGE, m + 1, "whole pages");
    expect_refusal(dev, 0, 0, PAGE, m, "its addresses go from 0x1000");
    expect_refusal(dev, 0, 0x8000000000, PAGE, m, "to 0x7fffffffff");
    expect_refusal(dev, 0, UINT64_MAX - PAGE + 1, 2 * PAGE, m, "whole pages");
    cr_expect_eq(fake_vhost_seen.updates, told);
    expect_map(dev, 1, 0x11000, PAGE, m);
    munmap(m, 4 * PAGE);
}

Test(vhost_iotlb, only_what_was_mapped_so_is_unmapped)
{
    fake_vhost_install();
    VDT_AUTO(device) dev = open_fake("vhost-vdpa:sim:");
    uint8_t *m = shared_pages(4);

    /* The kernel would remove the whole of a mapping that a removal touches. */
    expect_map(dev, 0, 0x10000, 2 * PAGE, m);
    expect_map(dev, 0, 0x12000, 2 * PAGE, m);
    cr_expect_not(VDT_DEVICE_CALL(dev, unmap, NULL, 0, 0x11000, PAGE));
    cr_expect_not(VDT_DEVICE_CALL(dev, unmap, NULL, 0, 0x10000, 4 * PAGE));
    cr_expect_not(VDT_DEVICE_CALL(dev, unmap, NULL, 1, 0x10000, 2 * PAGE));
    cr_expect_not(VDT_DEVICE_CALL(dev, unmap, NULL, 0, 0x20000, PAGE));
    cr_expect_eq(fake_vhost_seen.invalidates, 0);
    cr_expect_eq(fake_vhost_pinned(), 4 * PAGE);
    cr_expect(VDT_DEVICE_CALL(dev, unmap, NULL, 0, 0x10000, 2 * PAGE));
    cr_expect_eq(fake_vhost_pinned(), 2 * PAGE);
    expect_map(dev, 0, 0x10000, PAGE, m);
    munmap(m, 4 * PAGE);
}

Test(vhost_iotlb, a_batch_is_for_one_address_space)
{
    fake_vhost_install();
    VDT_AUTO(device) dev = open_fake("vhost-vdpa:sim:");
    uint8_t *m = shared_pages(1);

    cr_expect_not(VDT_DEVICE_CALL(dev, batch, NULL, 0, false));
    cr_expect(VDT_DEVICE_CALL(dev, batch, NULL, 1, true));
    cr_expect_not(VDT_DEVICE_CALL(dev, batch, NULL, 1, true));
    unsigned told = fake_vhost_seen.updates;
    expect_refusal(dev, 0, 0x10000, PAGE, m, "in a batch for address space 1, not 0");
    cr_expect_not(VDT_DEVICE_CALL(dev, batch, NULL, 0, false));
    cr_expect_eq(fake_vhost_seen.updates, told);
    expect_map(dev, 1, 0x10000, PAGE, m);
    cr_expect(VDT_DEVICE_CALL(dev, batch, NULL, 1, false));
    expect_map(dev, 0, 0x10000, PAGE, m);
    cr_expect_eq(fake_vhost_seen.batches, 1);
    munmap(m, PAGE);
}

Test(vhost_iotlb, without_the_feature_no_batch_message_is_sent)
{
    fake_vhost_install();
    fake_vhost.lacks = VDT_BIT(VHOST_BACKEND_F_IOTLB_BATCH);
    VDT_AUTO(device) dev = open_fake("vhost-vdpa:sim:");
    uint8_t *m = shared_pages(1);

    cr_expect(VDT_DEVICE_CALL(dev, batch, NULL, 0, true));
    expect_map(dev, 0, 0x10000, PAGE, m);
    cr_expect(VDT_DEVICE_CALL(dev, batch, NULL, 0, false));
    cr_expect_eq(fake_vhost_seen.batches, 0);
    munmap(m, PAGE);
}

Test(vhost_iotlb, without_the_asid_feature_there_is_one_space)
{
    fake_vhost_install();
    fake_vhost.lacks = VDT_BIT(VHOST_BACKEND_F_IOTLB_ASID);
    VDT_AUTO(device) dev = open_fake("vhost-vdpa:sim:");
    uint8_t *m = shared_pages(1);

    /* The kernel would ignore the number and map it into space 0. */
    expect_refusal(dev, 1, 0x10000, PAGE, m, "1 address space; 1 is none");
    cr_expect_not(VDT_DEVICE_CALL(dev, set_group_asid, NULL, 1, 1));
    munmap(m, PAGE);
}

/* A driver that goes by user address pins nothing, and of an unknown one it is not known. */
Test(vhost_iotlb, the_memlock_limit_is_told_where_memory_is_pinned)
{
    static const struct {
        const char *driver;
        bool told;
    } rows[] = {{"mlx5_core", true}, {"vp-vdpa", true}, {"vdpasim_net", false}, {"acme", false}};
    uint64_t pinned = 1, limit = 1;

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        fake_vhost_install();
        fake_vhost.driver = rows[i].driver;
        VDT_AUTO(device) dev = vdt_device_open("vhost-vdpa:sim:", NULL);

        cr_assert(dev);
        cr_expect_not(dev->ops->memory_limit(dev, &pinned, &limit), "there is none");
        fake_vhost.memlock = 2 * PAGE;
        fake_vhost.memlock_hard = 4 * PAGE;
        cr_expect_eq(dev->ops->memory_limit(dev, &pinned, &limit), rows[i].told, "%s",
                     rows[i].driver);
        if (rows[i].told)
            cr_expect(pinned == 0 && limit == 4 * PAGE, "%s: the hard one", rows[i].driver);
    }
}

Test(vhost_iotlb, the_memlock_limit_is_named_with_what_is_needed)
{
    fake_vhost_install();
    fake_vhost.memlock = 8 * PAGE;
    VDT_AUTO(device) dev = open_fake("vhost-vdpa:sim:");
    uint8_t *m = shared_pages(8);
    g_autofree char *prlimit = g_strdup_printf("prlimit --pid %d --memlock=45056", (int) getpid());

    expect_map(dev, 0, 0x10000, 3 * PAGE, m);
    /* Each address space pins the same memory again. */
    expect_map(dev, 1, 0x10000, 3 * PAGE, m);
    expect_refusal(
        dev, 0, 0x100000, 5 * PAGE, m,
        "45056 bytes with the 24576 that are pinned already, and RLIMIT_MEMLOCK is 32768");
    expect_refusal(dev, 0, 0x100000, 5 * PAGE, m, "LimitMEMLOCK=45056");
    expect_refusal(dev, 0, 0x100000, 5 * PAGE, m, "ulimit -l 44");
    expect_refusal(dev, 0, 0x100000, 5 * PAGE, m, prlimit);
    expect_map(dev, 0, 0x100000, 2 * PAGE, m);
    munmap(m, 8 * PAGE);
}

Test(vhost_iotlb, the_limit_is_raised_as_far_as_it_may_be)
{
    fake_vhost_install();
    fake_vhost.memlock = 2 * PAGE;
    fake_vhost.memlock_hard = 4 * PAGE;
    VDT_AUTO(device) dev = open_fake("vhost-vdpa:sim:");
    uint8_t *m = shared_pages(8);

    expect_map(dev, 0, 0x10000, 4 * PAGE, m);
    cr_expect_eq(fake_vhost.memlock, 4 * PAGE);
    expect_refusal(dev, 0, 0x100000, PAGE, m, "RLIMIT_MEMLOCK is 16384");
    munmap(m, 8 * PAGE);
}

Test(vhost_iotlb, memory_that_is_not_there_is_told_apart)
{
    fake_vhost_install();
    fake_vhost.driver = "mlx5_core";
    VDT_AUTO(device) dev = open_fake("vhost-vdpa:sim:");
    uint8_t *m = shared_pages(4);

    munmap(m + 2 * PAGE, PAGE);
    expect_refusal(dev, 0, 0x10000, 4 * PAGE, m, "not all of them are memory of this process");
    expect_map(dev, 0, 0x10000, 2 * PAGE, m);
    munmap(m, 4 * PAGE);
}

Test(vhost_iotlb, the_limit_of_pieces_is_named_with_the_two_ways_out)
{
    fake_vhost_install();
    fake_vhost.driver = "vp-vdpa";
    fake_vhost.iotlb_entries = 8;
    VDT_AUTO(device) dev = open_fake("vhost-vdpa:sim:");
    uint8_t *m = shared_pages(8);

    expect_map(dev, 0, 0x10000, 4 * PAGE, m);
    expect_refusal(dev, 0, 0x100000, 5 * PAGE, m,
                   "at most 8 pieces of contiguous physical memory for a device "
                   "(max_iotlb_entries of module vhost_vdpa), and these 9 pages");
    expect_refusal(dev, 0, 0x100000, 5 * PAGE, m, "huge pages");
    expect_refusal(dev, 0, 0x100000, 5 * PAGE, m, "'options vhost_vdpa max_iotlb_entries=9'");
    expect_map(dev, 0, 0x100000, 4 * PAGE, m);
    fake_vhost.iotlb_refuses = true;
    expect_refusal(dev, 0, 0x200000, PAGE, m, "max_iotlb_entries");
    munmap(m, 8 * PAGE);
}

Test(vhost_iotlb, what_is_left_is_the_iommu_and_the_kernels_log)
{
    fake_vhost_install();
    fake_vhost.iotlb_refuses = true;
    VDT_AUTO(device) dev = open_fake("vhost-vdpa:sim:");
    uint8_t *m = shared_pages(1);

    expect_refusal(dev, 0, 0x10000, PAGE, m, "the kernel's log may say");
    cr_expect_eq(fake_vhost_pinned(), 0);
    munmap(m, PAGE);
}

Test(vhost_iotlb, private_memory_is_refused_where_it_would_be_skipped)
{
    fake_vhost_install();
    fake_vhost.user_va = true;
    VDT_AUTO(device) dev = open_fake("vhost-vdpa:sim:");
    uint8_t *m = shared_pages(4);

    /* One private page in the middle of shared ones. */
    cr_assert_eq(mmap(m + PAGE, PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                 m + PAGE);
    expect_refusal(dev, 0, 0x10000, 4 * PAGE, m, "vdpa_sim_net would leave the rest out");
    expect_refusal(dev, 0, 0x10000, PAGE, m + PAGE, "shared memory");
    expect_map(dev, 0, 0x10000, PAGE, m);
    expect_map(dev, 0, 0x20000, 2 * PAGE, m + 2 * PAGE);
    munmap(m, 4 * PAGE);
}

Test(vhost_iotlb, a_child_cannot_map_what_its_parent_opened)
{
    fake_vhost_install();
    VDT_AUTO(device) dev = open_fake("vhost-vdpa:sim:");
    uint8_t *m = shared_pages(1);
    pid_t child = fork();
    int status = 0;

    if (child == 0) {
        g_autoptr(GError) error = NULL;
        bool ok = VDT_DEVICE_CALL(dev, map, &error, 0, 0x10000, PAGE, m, true);
        _exit(!ok && strstr(error->message, "process that opened it only") ? 7 : 1);
    }
    waitpid(child, &status, 0);
    cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    expect_map(dev, 0, 0x10000, PAGE, m);
    munmap(m, PAGE);
}

/* After a reset that dropped the device's maps the kernel's list still has them: a new UPDATE over
 * an old one is EEXIST. The list here says so first, and unmap() works on it. */
Test(vhost_iotlb, maps_that_a_reset_dropped_are_unmapped_and_mapped_again)
{
    struct nic nic;
    uint8_t frame[100];

    fake_vhost_install();
    fake_vhost.lacks = VDT_BIT(VHOST_BACKEND_F_IOTLB_PERSIST);
    nic_run(&nic, "vhost-vdpa:sim:", NIC_SPLIT, 4);
    cr_expect_not(nic.dev->info.maps_survive_reset);
    nic_drop_rings(&nic);
    nic.next = 0;
    cr_assert(VDT_DEVICE_CALL(nic.dev, set_status, NULL, 0));
    expect_refusal(nic.dev, 0, NIC_IOVA, NIC_MEMORY, nic.memory, "overlaps");
    for (uint32_t asid = 0; asid < 2; asid++)
        cr_assert(VDT_DEVICE_CALL(nic.dev, unmap, NULL, asid, NIC_IOVA, NIC_MEMORY));
    nic_negotiate(&nic, NIC_SPLIT);
    for (uint32_t asid = 0; asid < 2; asid++)
        expect_map(nic.dev, asid, NIC_IOVA, NIC_MEMORY, nic.memory);
    nic_start(&nic);
    nic_post_rx(&nic, 0, 4, 2048);
    nic_frame(frame, sizeof frame, frame, 1);
    nic_send(&nic, 0, frame, sizeof frame);
    struct vdt_used used;
    cr_expect(nic_wait(&nic, 1, NIC_TIMEOUT_MS, &used), "it works on them");
    nic_close(&nic);
}

Test(vhost_iotlb, groups_are_asked_for_and_tried)
{
    uint32_t group = 9;

    fake_vhost_install();
    VDT_AUTO(device) dev = open_fake("vhost-vdpa:sim:");
    cr_expect(VDT_DEVICE_CALL(dev, get_group, NULL, 0, &group));
    cr_expect_eq(group, 0);
    cr_expect_not(VDT_DEVICE_CALL(dev, get_group, NULL, 3, &group), "no such ring");
    cr_expect_not(VDT_DEVICE_CALL(dev, set_group_asid, NULL, 2, 0), "no such group");
    cr_expect_not(VDT_DEVICE_CALL(dev, set_group_asid, NULL, 0, 2), "no such space");
    cr_expect(VDT_DEVICE_CALL(dev, set_group_asid, NULL, 0, 1));
    fake_vhost.no_groups = true;
    g_autoptr(GError) error = NULL;
    cr_expect_not(VDT_DEVICE_CALL(dev, get_group, &error, 0, &group));
    cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED));
}

Test(vhost_iotlb, a_group_stays_where_it_is_while_the_device_runs)
{
    struct nic nic;
    g_autoptr(GError) error = NULL;

    fake_vhost_install();
    nic_run(&nic, "vhost-vdpa:sim:", NIC_SPLIT, 0);
    cr_expect_not(VDT_DEVICE_CALL(nic.dev, set_group_asid, &error, 1, 0));
    cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_BUSY));
    nic_close(&nic);
}
