/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fake control path: a guest, the relay with its model, and a device, all on the default context.
 */
#pragma once

#include "control/cvq_relay.h"
#include "lib/fake_cvq_device.h"
#include "lib/fake_driver.h"

struct fake_control_path {
    struct fake_driver *guest;
    struct fake_cvq_device *fake;
    struct vdt_device_cvq *cvq;
    struct vdt_control_model model;
    struct vdt_cvq_relay *relay;
    /* Heard by the hooks. */
    GString *events; /* "VLAN_ADD 1 OK forwarded\n" */
    bool keep_events;
    unsigned done, broken;
    char *reason;    /* of the last broken() */
    uint8_t *dirty;  /* a byte for each of the guest's, 1 = marked */
    uint8_t *shadow; /* guest memory at the last mark: what was written by then */
    bool watch_dirty;
    unsigned calls; /* signalled to the guest */
};

/* Asked for; zero is a usable default (but for @ring). */
struct fake_control_options {
    struct vdt_ring_format ring; /* the guest's */
    struct vdt_ring_pos pos;     /* 0/0: initial */
    bool no_device;              /* set_device() is the test's */
    bool allow_untracked;
    bool polled; /* no kick eventfd */
    unsigned deadline_ms;
};

struct fake_control_path *fake_control_path_new(const struct fake_control_options *options);
void fake_control_path_free(struct fake_control_path *path);

/* Let the loop run until the guest has its next answer; false after two seconds. */
bool fake_control_path_wait(struct fake_control_path *path, struct vdt_used *ret_used);
/* Let the loop run until nothing is pending in it. */
void fake_control_path_settle(struct fake_control_path *path);

/* One command, whole, with one writable byte: its ack, or 0xfd when there was no answer. */
uint8_t fake_control_path_do(struct fake_control_path *path, uint8_t class, uint8_t command,
                             const void *data, uint32_t len);
