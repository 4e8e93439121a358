/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "device/sim.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <vdpa-tracker/error.h>

#include "base/fd.h"

#define HASH_TYPES 0x3fu /* IPv4, TCPv4, UDPv4, IPv6, TCPv6, UDPv6 */

/* The interrupt of virtio 1.2, 4.1.5.3, and the generation that readers compare. */
void
vdt_sim_config_changed(struct vdt_sim *sim)
{
    sim->config_generation++;
    if ((sim->status & VIRTIO_CONFIG_S_DRIVER_OK) && sim->config_call >= 0)
        vdt_event_signal(sim->config_call);
}

void
vdt_sim_config_reset(struct vdt_sim *sim)
{
    struct virtio_net_config *config = &sim->config;
    uint8_t mac[6];

    memcpy(mac, sim->options.mac_sticky && sim->resets > 1 ? config->mac : sim->mac, sizeof mac);
    *config = (struct virtio_net_config){
        .status = htole16(VIRTIO_NET_S_LINK_UP),
        .max_virtqueue_pairs = htole16((uint16_t) sim->options.pairs),
        .mtu = htole16((uint16_t) sim->options.mtu),
        .speed = htole32(sim->options.speed),
        .duplex = 1,
    };
    memcpy(config->mac, mac, sizeof mac);
    if (sim->offered & (VDT_BIT(VIRTIO_NET_F_RSS) | VDT_BIT(VIRTIO_NET_F_HASH_REPORT))) {
        config->rss_max_key_size = 40;
        config->rss_max_indirection_table_length = htole16(128);
        config->supported_hash_types = htole32(HASH_TYPES);
    }
    if (sim->options.config_garbage) {
        config->max_virtqueue_pairs = 0xffff;
        config->mtu = htole16(1);
        config->rss_max_key_size = 0xff;
        config->rss_max_indirection_table_length = 0xffff;
        config->supported_hash_types = 0xffffffff;
    }
    vdt_close(sim->config_call);
    sim->config_call = -1;
    sim->config_generation++;
}

static bool
check_range(struct vdt_sim *sim, uint32_t offset, uint32_t len, GError **error)
{
    uint32_t size = sizeof sim->config;

    if (offset > size || len > size - offset)
        return vdt_sim_fail(sim, error, VDT_ERROR_INVALID,
                            "has %u bytes of config space; %u at %u lie outside", size, len,
                            offset);
    return true;
}

bool
vdt_sim_get_config(struct vdt_device *dev, uint32_t offset, void *buf, uint32_t len, GError **error)
{
    VDT_SIM_LOCKED(dev);

    if (!check_range(sim, offset, len, error))
        return false;
    memcpy(buf, (uint8_t *) &sim->config + offset, len);
    return true;
}

/* A virtio 1.x driver may write no field of virtio-net's config space (5.1.4.1). */
bool
vdt_sim_set_config(struct vdt_device *dev, uint32_t offset, const void *buf, uint32_t len,
                   GError **error)
{
    VDT_SIM_LOCKED(dev);

    return check_range(sim, offset, len, error) &&
           vdt_sim_fail(sim, error, VDT_ERROR_UNSUPPORTED, "has a read-only config space");
}

bool
vdt_sim_set_config_call(struct vdt_device *dev, int fd, GError **error)
{
    VDT_SIM_LOCKED(dev);
    int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);

    if (fd >= 0 && copy < 0)
        return vdt_sim_fail(sim, error, VDT_ERROR_FAILED, "cannot take the config call eventfd: %s",
                            g_strerror(errno));
    vdt_close(sim->config_call);
    sim->config_call = copy;
    return true;
}

void
vdt_sim_set_link(struct vdt_device *dev, bool up)
{
    VDT_SIM_LOCKED(dev);
    uint16_t status = le16toh(sim->config.status);

    status = (uint16_t) (up ? status | VIRTIO_NET_S_LINK_UP : status & ~VIRTIO_NET_S_LINK_UP);
    sim->config.status = htole16(status);
    vdt_sim_config_changed(sim);
}

void
vdt_sim_config_announce(struct vdt_sim *sim)
{
    if (!(sim->features & VDT_BIT(VIRTIO_NET_F_GUEST_ANNOUNCE)))
        return;
    sim->config.status |= htole16(VIRTIO_NET_S_ANNOUNCE);
    sim->net.announce = true;
    vdt_sim_config_changed(sim);
}

void
vdt_sim_announce(struct vdt_device *dev)
{
    VDT_SIM_LOCKED(dev);

    vdt_sim_config_announce(sim);
}
