/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Net config: struct virtio_net_config taken apart, as far as it reaches.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Fields past the end of the config space are 0. */
struct vdt_net_config {
    uint32_t len; /* how much there was; see vdt_net_config_has() */
    uint8_t mac[6];
    uint16_t status;
    uint16_t max_pairs;
    uint16_t mtu;
    uint32_t speed; /* Mbit/s */
    uint8_t duplex;
    uint8_t rss_key_max;
    uint16_t rss_table_max;
    uint32_t hash_types;
};

/* Where each field ends in the config space. */
enum vdt_net_config_end {
    VDT_CONFIG_MAC = 6,
    VDT_CONFIG_STATUS = 8,
    VDT_CONFIG_PAIRS = 10,
    VDT_CONFIG_MTU = 12,
    VDT_CONFIG_SPEED = 16,
    VDT_CONFIG_DUPLEX = 17,
    VDT_CONFIG_RSS_KEY = 18,
    VDT_CONFIG_RSS_TABLE = 20,
    VDT_CONFIG_HASH_TYPES = 24,
};

void vdt_net_config_parse(struct vdt_net_config *config, const uint8_t *bytes, uint32_t len);

static inline bool
vdt_net_config_has(const struct vdt_net_config *config, enum vdt_net_config_end field)
{
    return config->len >= (uint32_t) field;
}
