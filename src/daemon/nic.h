/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * NIC: one guest network device: the shadow device, the control path and the state carrier, wired
 * to each other and to a vhost-user session.
 *
 *   nic.c          life: new, free, swap
 *   nic_backend.c  what the frontend asks (struct vdt_backend_ops)
 *   nic_control.c  the control queue: replay into the device, relay of the guest's commands
 *   nic_config.c   the config space as the guest sees it, announcement
 *   nic_state.c    frozen state, snapshots in and out, DEVICE_STATE
 *   nic_load.c     a state that comes in, a guest that comes without
 *   nic_handover.c the VMM held while the state goes to the destination
 *   nic_recover.c  what the next tracker finds after kill -9, and what we find
 *   nic_status.c   all of it as JSON
 *
 * Thread: control.
 */
#pragma once

#include "control/cvq_relay.h"
#include "migration/baseline.h"
#include "migration/swap.h"
#include "shadow/shadow.h"
#include "vhost_user/session.h"

struct vdt_nic;

struct vdt_nic_options {
    const char *name;
    const char *uuid; /* of the domain; may be NULL */
    enum vdt_shadow_policy policy;
    unsigned workers;
    bool dirty_used_width;
    bool allow_untracked;
    bool follow_vlans; /* the device filters VLANs, also of a guest whose control queue ends in the
                          VMM */
    uint64_t feature_mask;               /* offer nothing outside; 0 is "no limit" */
    const struct vdt_baseline *baseline; /* offer that and no more; NULL: all the device can */
    bool mac_given; /* --mac: for frontends that keep the control queue to themselves */
    uint8_t mac[6];
    unsigned deadline_ms;           /* of each wait for device or peer */
    unsigned format;                /* of states that are given away; 0 is the current one */
    const char *handover;           /* carries the state where the VMM does not; NULL: nothing */
    unsigned handover_ms;           /* and how long it may hold the VMM */
    bool await_state;               /* do not start a guest of elsewhere without its state */
    const char *journal, *inflight; /* files for the next tracker after a crash; NULL: none */
    GMainContext *context;
};

/* Whoever listens to the control queue; may be replaced, NULL function for nobody. */
struct vdt_nic_watch {
    void (*command)(void *ctx, const struct vdt_cvq_event *event);
    void *ctx;
};

/* @dev is owned from now on, also on error. Strings of @options are copied. */
struct vdt_nic *vdt_nic_new(struct vdt_device *dev, const struct vdt_nic_options *options,
                            GError **error);
void vdt_nic_free(struct vdt_nic *nic); /* accepts NULL; the VMM is hung up on */
VDT_DEFINE_AUTO(nic, vdt_nic_free)

void vdt_nic_set_watch(struct vdt_nic *nic, const struct vdt_nic_watch *watch);

/* What the frontend asks, for a session with the NIC as ctx (tests drive it without one). */
const struct vdt_backend_ops *vdt_nic_backend(void);

/* A VMM is there: @fd is a connected socket, owned from now on. @ended is called once from the loop
 * when it has gone, with the reason or NULL. One at a time. */
void vdt_nic_connect(struct vdt_nic *nic, int fd, void (*ended)(void *ctx, const GError *reason),
                     void *ctx);

const struct vdt_device_info *vdt_nic_device_info(struct vdt_nic *nic);
uint64_t vdt_nic_offered(struct vdt_nic *nic); /* features, without vhost-user's transport bits */

/* Everything a person or script may want to know, a JSON object. */
JsonNode *vdt_nic_status(struct vdt_nic *nic);
/* The control state that the device itself holds; NULL with @error where it cannot tell. */
JsonNode *vdt_nic_device_state(struct vdt_nic *nic, GError **error);

/* The stopped state if rings were stopped, else a live one. NULL with @error. */
struct vdt_snapshot *vdt_nic_snapshot(struct vdt_nic *nic, GError **error);
unsigned vdt_nic_format(const struct vdt_nic *nic); /* in which states are given away */

/*
 * Take a state. A stopped one: with the guest's next start, only while no ring runs. A live one:
 * its control state, at once if the guest runs. VDT_ERROR_REFUSED with all reasons. @ret_commands:
 * replayed now, 0 when that is to come.
 */
bool vdt_nic_restore(struct vdt_nic *nic, const struct vdt_snapshot *snapshot,
                     unsigned *ret_commands, GError **error);

/* What a guest wants to receive whose control queue ends in the VMM. */
struct vdt_nic_filter {
    uint8_t mac[6];
    bool promisc, allmulti;
    uint16_t unicast_count, multicast_count; /* up to VDT_MAC_TABLE_MAX, beside @mac */
    uint8_t unicast[VDT_MAC_TABLE_MAX][6], multicast[VDT_MAC_TABLE_MAX][6];
    uint8_t vlan[VDT_VLAN_BYTES]; /* without effect unless follow_vlans */
};

/* The device of such a guest, which runs, filters like this from now on, until the guest's driver
 * begins anew; also after a swap. @ret_commands: what that took, 0 where nothing changed. False:
 * what was let through before still is, or everything. */
bool vdt_nic_filter(struct vdt_nic *nic, const struct vdt_nic_filter *filter,
                    unsigned *ret_commands, GError **error);

bool vdt_nic_swap(struct vdt_nic *nic, const char *spec, struct vdt_swap_report *report,
                  GError **error);
