/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit/guest/rig.h"

#include <criterion/criterion.h>
#include <endian.h>

#define SIZE (16u << 20)

struct rig rig;

void
rig_init(uint64_t features)
{
    struct vdt_driver_config config = {.features = features, .pairs = 1, .num = 64, .seed = 5};
    struct vdt_ring_pos pos;

    config.net.rss_max_key_size = 40;
    config.net.rss_max_indirection_table_length = htole16(16);
    config.net.supported_hash_types = htole32(0x3f);
    cr_assert(vdt_ram_init(&rig.ram, SIZE, NULL));
    cr_assert(vdt_driver_init(&rig.driver, &config, &rig.ram, NULL));
    vdt_script_init(&rig.script, &rig.driver, 40, 5);
    pos = vdt_ring_pos_initial(rig.driver.pair[0].rx.ring.format.kind);
    toy_attach(&rig.rx, &rig.driver.pair[0].rx, pos);
    toy_attach(&rig.tx, &rig.driver.pair[0].tx, pos);
    toy_attach(&rig.control, &rig.driver.control, pos);
    vdt_driver_poll(&rig.driver);
}

void
rig_clear(void)
{
    vdt_script_clear(&rig.script);
    vdt_driver_clear(&rig.driver);
    vdt_ram_clear(&rig.ram);
}
