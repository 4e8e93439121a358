/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VM: a guest with one receive, one transmit and one control ring, and the VMM around it, which
 * speaks vhost-user to a tracker that runs as a process of its own. Frames that the guest sends
 * come back to it (back end loop), numbered, and are counted.
 */
#pragma once

#include <glib.h>
#include <json-glib/json-glib.h>

#include "vhost_user/frontend.h"
#include "virtio/device_ring.h"
#include "virtio/net_ctrl.h"

#define VM_RINGS 3u
#define VM_NUM 64u /* entries of each */
#define VM_CVQ 2u

/* A tracker's process in a runtime directory of its own. */
struct tracker {
    char *name;
    GPid pid;
    int ended; /* wait status, -1 while it runs */
};

/* The runtime directory of this test; made on first use, removed by vm_clean(). */
const char *vm_runtime_dir(void);
void vm_clean(void);

/* Start "run --name @name --device @device" and wait until it answers. @more: further words, NULL
 * at the end, or NULL. */
void tracker_start(struct tracker *tracker, const char *name, const char *device,
                   const char *const *more);
/* SIGTERM; the exit code. */
int tracker_end(struct tracker *tracker);
/* SIGKILL; has ended when it returns. */
void tracker_kill(struct tracker *tracker);

/* Run the command line with these words; returns its exit code. Output and errors, both may be
 * NULL, are the caller's. */
int vm_cli(char **ret_out, char **ret_err, ...) G_GNUC_NULL_TERMINATED;
/* The same, exit code 0 and a JSON object expected. */
JsonNode *vm_cli_json(const char *verb, ...) G_GNUC_NULL_TERMINATED;
/* "control" and "device_state" of status, as text: equal when the device holds what the model says.
 */
bool vm_control_matches(const char *name, char **ret_control);

struct vm {
    struct vdt_frontend *frontend;
    uint64_t features, device_features;
    uint8_t *mem;
    int memfd;
    struct vdt_device_ring ring[VM_RINGS];
    int kick[VM_RINGS], call[VM_RINGS];
    uint32_t base[VM_RINGS];
    uint32_t cvq; /* index of the control queue towards the tracker; 2 unless set */
    uint32_t next_send, sent_done, received, duplicated, corrupt;
    uint8_t *seen;
    uint8_t mac[6];
    uint32_t taken[VM_NUM]; /* how often each receive buffer came back since vm_settle() */
    bool indirect;          /* every other frame is sent in two parts, by a table */
    uint64_t without;       /* protocol features that its VMM does not know */
    unsigned patience_ms;   /* of its VMM, for each answer; 0: five seconds */
};

/* @features beside VERSION_1. */
void vm_init(struct vm *vm, uint64_t features);
void vm_clear(struct vm *vm);

void vm_connect(struct vm *vm, const char *name);
/* The same where the tracker may end meanwhile: false with @error, and not connected. */
bool vm_reach(struct vm *vm, const char *name, GError **error);
void vm_disconnect(struct vm *vm);
/* Features, memory, rings at vm->base, DRIVER_OK. False with @error where something is refused. */
bool vm_start(struct vm *vm, GError **error);
/* SET_LOG_BASE and LOG_ALL, as a migration begins; and its end without one. */
void vm_log(struct vm *vm, bool on);
/* GET_VRING_BASE of all rings into vm->base. */
void vm_stop(struct vm *vm);
/* The same where an answer may not come: false with @error. */
bool vm_try_stop(struct vm *vm, GError **error);
/* The guest reboots: driver state and ring memory begin anew. */
void vm_reboot(struct vm *vm);

/* Send a control command and wait for its ack; -1 if none came. */
int vm_command(struct vm *vm, uint8_t class, uint8_t command, const void *data, uint32_t len);
/* Put one there and return; one at a time. */
void vm_command_post(struct vm *vm, uint8_t class, uint8_t command, const void *data, uint32_t len);
/* Wait for it: its ack, -1 if none came. */
int vm_command_wait(struct vm *vm);
/* Promiscuous, VLANs 5 and 256, the address 52:54:00:01:02:03: four commands. */
void vm_configure(struct vm *vm);
/* Send @n frames and wait until all of them came back. */
void vm_traffic(struct vm *vm, unsigned n);
/* Send up to @n frames and take what comes back, without waiting for any. */
void vm_send(struct vm *vm, unsigned n);
/* Wait until every frame is sent and nothing comes back any more. Frames that the device had may be
 * lost or come twice; the next vm_traffic() begins with a clean slate. */
void vm_settle(struct vm *vm);

/* What a VMM that knows nothing sends as base of a ring: QEMU's used index, or DPDK's 0. */
enum vm_base { VM_BASE_USED, VM_BASE_ZERO };
void vm_forget_bases(struct vm *vm, enum vm_base base);
