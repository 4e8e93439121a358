/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snapshot/net_config.h"

#include <string.h>

#include "base/wire.h"

void
vdt_net_config_parse(struct vdt_net_config *config, const uint8_t *bytes, uint32_t len)
{
    uint8_t padded[VDT_CONFIG_HASH_TYPES] = {0};
    static const uint8_t ends[] = {
        VDT_CONFIG_MAC,     VDT_CONFIG_STATUS,    VDT_CONFIG_PAIRS,
        VDT_CONFIG_MTU,     VDT_CONFIG_SPEED,     VDT_CONFIG_DUPLEX,
        VDT_CONFIG_RSS_KEY, VDT_CONFIG_RSS_TABLE, VDT_CONFIG_HASH_TYPES,
    };

    /* Whole fields only. */
    for (unsigned i = 0; i < sizeof(ends) && ends[i] <= len; i++)
        memcpy(padded, bytes, ends[i]);
    config->len = len;
    memcpy(config->mac, padded, 6);
    config->status = vdt_get16(padded + 6);
    config->max_pairs = vdt_get16(padded + 8);
    config->mtu = vdt_get16(padded + 10);
    config->speed = vdt_get32(padded + 12);
    config->duplex = padded[16];
    config->rss_key_max = padded[17];
    config->rss_table_max = vdt_get16(padded + 18);
    config->hash_types = vdt_get32(padded + 20);
}
