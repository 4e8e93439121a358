/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * kernel-poke PCI-DEVICE: negotiates every feature that a virtio PCI device without a driver
 * offers, and leaves it so.
 *
 * QEMU's virtio-net has three queues until VIRTIO_NET_F_MQ is negotiated; vp_vdpa reads their
 * number when it binds, before anybody negotiates, so that a device of four pairs would stay one of
 * three queues. A card in hardware does not need this.
 */
#include <endian.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CONFIG_SPACE 256u

static void
fail(const char *what)
{
    perror(what);
    exit(1);
}

static int
open_in(const char *device, const char *name, int flags)
{
    char path[256];

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", device, name);
    int fd = open(path, flags | O_CLOEXEC);
    if (fd < 0)
        fail(path);
    return fd;
}

/* The capability of the common configuration (virtio 1.2, 4.1.4.3); false when there is none. */
static int
find_common(const uint8_t *space, struct virtio_pci_cap *ret_cap)
{
    uint8_t at = space[PCI_CAPABILITY_LIST];

    for (unsigned steps = 0; at != 0 && steps < 48; steps++) {
        if (at + sizeof(*ret_cap) > CONFIG_SPACE)
            return 0;
        memcpy(ret_cap, space + at, sizeof(*ret_cap));
        if (ret_cap->cap_vndr == PCI_CAP_ID_VNDR && ret_cap->cfg_type == VIRTIO_PCI_CAP_COMMON_CFG)
            return 1;
        at = ret_cap->cap_next;
    }
    return 0;
}

static void
negotiate(volatile struct virtio_pci_common_cfg *common)
{
    common->device_status = 0;
    while (common->device_status != 0)
        usleep(1000);
    common->device_status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    for (uint32_t word = 0; word < 2; word++) {
        common->device_feature_select = htole32(word);
        common->guest_feature_select = htole32(word);
        common->guest_feature = common->device_feature;
    }
    common->device_status =
        VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK;
    if (!(common->device_status & VIRTIO_CONFIG_S_FEATURES_OK)) {
        fprintf(stderr, "the device does not take the features it offers\n");
        exit(1);
    }
    printf("%u queues\n", le16toh(common->num_queues));
}

int
main(int argc, char **argv)
{
    uint8_t space[CONFIG_SPACE];
    struct virtio_pci_cap cap;
    char name[16];

    if (argc != 2) {
        fprintf(stderr, "usage: kernel-poke PCI-DEVICE\n");
        return 2;
    }
    int enable = open_in(argv[1], "enable", O_WRONLY);
    if (write(enable, "1", 1) != 1)
        fail("enable");
    int config = open_in(argv[1], "config", O_RDONLY);
    if (read(config, space, sizeof(space)) != sizeof(space))
        fail("config");
    if (!find_common(space, &cap)) {
        fprintf(stderr, "%s is no modern virtio device\n", argv[1]);
        return 1;
    }
    snprintf(name, sizeof(name), "resource%u", cap.bar);
    int bar = open_in(argv[1], name, O_RDWR);
    size_t len = le32toh(cap.offset) + le32toh(cap.length);
    uint8_t *base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, bar, 0);
    if (base == MAP_FAILED)
        fail(name);
    negotiate((volatile struct virtio_pci_common_cfg *) (base + le32toh(cap.offset)));
    return 0;
}
