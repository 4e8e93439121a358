/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The driver over a toy device that loops frames back, split over buffers as the driver allows. */
#include "lib/leak.h"

#include <endian.h>
#include <string.h>

#include "unit/guest/rig.h"

VDT_SUITE(driver);

/* Deliver @len bytes, over as many buffers as that takes. */
static void
deliver(uint8_t *bytes, uint32_t len)
{
    struct toy chains[4];
    uint16_t n = 0;

    for (uint32_t room = 0; room < len; n++) {
        cr_assert(n < 4 && toy_take(&rig.rx));
        chains[n] = rig.rx;
        room += rig.rx.chain.writable;
    }
    ((struct virtio_net_hdr_v1 *) bytes)->num_buffers = htole16(n);
    for (uint16_t i = 0; i < n; i++) {
        struct vdt_chain chain = chains[i].chain;
        uint32_t part = MIN(len, chain.writable);

        memcpy(rig.rx.seg, chains[i].seg, sizeof(rig.rx.seg));
        rig.rx.chain = chain;
        toy_write(&rig.rx, bytes, part);
        toy_give(&rig.rx, part);
        bytes += part;
        len -= part;
    }
}

static void
loop_one(bool twice)
{
    uint8_t bytes[4096];

    cr_assert(toy_take(&rig.tx));
    uint32_t len = toy_read(&rig.tx, bytes, sizeof(bytes));
    toy_give(&rig.tx, 0);
    deliver(bytes, len);
    if (twice)
        deliver(bytes, len);
    vdt_driver_poll(&rig.driver);
}

static void
send_one(uint32_t len)
{
    struct vdt_frame_plan plan = {{0x52}, {0x52}, -1, len};

    cr_assert(vdt_driver_send(&rig.driver, 0, &plan));
    vdt_driver_kick(&rig.driver);
}

static void
loop_all_lengths(uint64_t features)
{
    struct vdt_driver_sums sums;

    rig_init(features);
    for (uint32_t len = VDT_FRAME_MIN; len <= VDT_FRAME_MAX; len += 7) {
        send_one(len);
        loop_one(false);
    }
    vdt_driver_sum(&rig.driver, &sums);
    cr_expect_eq(rig.driver.frames.received, rig.driver.frames.sent);
    cr_expect_eq(rig.driver.frames.corrupt, 0);
    cr_expect_eq(sums.duplicated, 0);
    cr_expect_eq(sums.tx_in_flight, 0);
    cr_expect_eq(sums.available - sums.used, sums.rx_in_flight);
    cr_expect_null(sums.broken);
    rig_clear();
}

Test(driver, frames_come_back_whole_on_split_rings)
{
    loop_all_lengths(FEATURES);
}

Test(driver, frames_come_back_whole_on_packed_rings)
{
    loop_all_lengths(FEATURES | VDT_BIT(VIRTIO_F_RING_PACKED) | VDT_BIT(VIRTIO_RING_F_EVENT_IDX));
}

Test(driver, a_request_that_was_carried_out_twice_counts)
{
    struct vdt_driver_sums sums;

    rig_init(FEATURES);
    send_one(300);
    loop_one(true);
    vdt_driver_sum(&rig.driver, &sums);
    cr_expect_eq(sums.duplicated, 1);
    rig_clear();
}

Test(driver, buffers_return_to_their_pools)
{
    rig_init(FEATURES);
    uint32_t tx_free = rig.driver.tx_pool.count;
    for (unsigned i = 0; i < 200; i++) {
        send_one(1000);
        loop_one(false);
    }
    /* Indirect tables of posted receive chains come out of the transmit pool. */
    unsigned tables = 0;
    for (unsigned i = 0; i < 64; i++)
        tables += rig.driver.pair[0].rx.chains[i].posted && rig.driver.pair[0].rx.chains[i].table;
    cr_expect_leq(tx_free - rig.driver.tx_pool.count, tables);
    rig_clear();
}
