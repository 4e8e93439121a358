/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stand: a tracker's process, which may be killed, and a guest that lives on and remembers what it
 * was told.
 */
#pragma once

#include "lib/vm.h"

#include "virtio/net_state.h"

#define CONTROL                                                                                    \
    (VDT_BIT(VIRTIO_NET_F_CTRL_VQ) | VDT_BIT(VIRTIO_NET_F_CTRL_RX) |                               \
     VDT_BIT(VIRTIO_NET_F_CTRL_VLAN) | VDT_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) |                       \
     VDT_BIT(VIRTIO_NET_F_MAC) | VDT_BIT(VIRTIO_NET_F_STATUS))
#define PACKED VDT_BIT(VIRTIO_F_RING_PACKED)
#define EVENT VDT_BIT(VIRTIO_RING_F_EVENT_IDX)
#define ORDER VDT_BIT(VIRTIO_F_IN_ORDER)
#define INDIRECT VDT_BIT(VIRTIO_RING_F_INDIRECT_DESC)

struct stand {
    struct tracker tracker;
    struct vm vm;
    const char *device, *shadow;
    struct vdt_net_state model; /* what was acknowledged */
    uint16_t pending;           /* VLAN whose ADD is out, 0: none */
    GRand *rand;
};

void stand_must(bool ok, GError *error);
void stand_run(struct stand *stand);
void stand_attach(struct stand *stand);
void stand_begin(struct stand *stand, const char *device, const char *shadow, uint64_t features);
bool stand_there(const char *suffix);
void stand_end(struct stand *stand);
void stand_crash(struct stand *stand, enum vm_base base);
void stand_go_on(struct stand *stand);
void stand_add_vlan(struct stand *stand, uint16_t vid);
void stand_vlan_added(struct stand *stand);
void stand_set_mac(struct stand *stand, uint8_t last);
uint16_t stand_any_vlan(struct stand *stand);
void stand_check_control(struct stand *stand);
char *stand_recovery(int64_t *ret_requests, int64_t *ret_commands);
char *stand_text_of(const char *member);
void stand_check_requests(struct stand *stand);
