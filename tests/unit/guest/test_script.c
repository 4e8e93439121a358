/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "unit/guest/rig.h"

VDT_SUITE(script);

/* Answer commands with @ack until the script has nothing to send. */
static void
answer(unsigned turns, uint8_t ack)
{
    uint8_t reply[520] = {0};

    for (unsigned i = 0; i < turns; i++) {
        vdt_script_step(&rig.script);
        while (toy_take(&rig.control)) {
            reply[0] = ack;
            toy_write(&rig.control, reply, rig.control.chain.writable);
            toy_give(&rig.control, ack == VIRTIO_NET_OK ? rig.control.chain.writable : 1);
        }
        vdt_driver_poll(&rig.driver);
    }
}

Test(script, every_class_is_sent)
{
    rig_init(FEATURES);
    answer(200, VIRTIO_NET_OK);
    cr_expect(vdt_script_complete(&rig.script));
    for (unsigned i = 0; i < VDT_SCRIPT_KINDS; i++)
        cr_expect_gt(rig.script.of_kind[i], 0, "%s", vdt_script_kind_name(i));
    for (unsigned vid = 0; vid < 4096; vid++)
        cr_expect_eq(vdt_vlan_test(rig.script.expected.vlan, vid), vid >= 1 && vid <= 40, "%u",
                     vid);
    cr_expect(vdt_net_state_valid(&rig.script.expected, NULL));
    rig_clear();
}

Test(script, what_was_refused_changes_nothing)
{
    struct vdt_net_state fresh;

    rig_init(FEATURES);
    vdt_net_state_init(&fresh);
    answer(100, VIRTIO_NET_ERR);
    cr_expect_eq(rig.script.refused, 100);
    cr_expect_eq(rig.script.acked, 0);
    cr_expect(vdt_net_state_equal(&rig.script.expected, &fresh));
    cr_expect_not_null(rig.script.trouble);
    rig_clear();
}

/* The toy answers every question with zeros. */
Test(script, an_answer_that_contradicts_what_was_set_is_wrong)
{
    rig_init(FEATURES);
    answer(400, VIRTIO_NET_OK);
    cr_expect_gt(rig.script.wrong, 0);
    rig_clear();
}

Test(script, a_settled_guest_is_quiet_and_hears_its_own_frames)
{
    rig_init(FEATURES);
    answer(100, VIRTIO_NET_OK);
    vdt_script_settle(&rig.script);
    answer(50, VIRTIO_NET_OK);
    cr_expect(vdt_script_quiet(&rig.script));
    cr_expect_not(rig.script.expected.rx[VIRTIO_NET_CTRL_RX_PROMISC]);
    cr_expect_not(rig.script.expected.rx[VIRTIO_NET_CTRL_RX_NOUNI]);
    rig_clear();
}

Test(script, the_same_seed_makes_the_same_commands)
{
    static struct vdt_net_state first;

    rig_init(FEATURES);
    answer(150, VIRTIO_NET_OK);
    first = rig.script.expected;
    rig_clear();
    rig_init(FEATURES);
    answer(150, VIRTIO_NET_OK);
    cr_expect(vdt_net_state_equal(&rig.script.expected, &first));
    rig_clear();
}
