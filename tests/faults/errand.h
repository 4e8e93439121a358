/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Errand: what the guest does over and over: set its address and a VLAN, send itself a few frames,
 * and see that exactly those come back that these two let through. No thread and no chance in it,
 * so that each run makes the same system calls.
 */
#pragma once

#include "guest/driver.h"

extern const uint8_t errand_mac[6];

struct errand {
    struct vdt_driver driver;
    bool made;
    int line;         /* borrowed: hung up when the tracker has gone, so that nobody waits for it */
    unsigned acked;   /* commands of the errand that the device has acknowledged, in order */
    unsigned refused; /* commands that came back with an error and were sent once more */
    unsigned lost;    /* frames that did not come back and were sent once more */
    uint8_t ack;      /* of the last command */
    unsigned answered;            /* commands */
    uint64_t duplicated, corrupt; /* of drivers before a reboot */
};

/* The guest boots, or boots again. */
bool errand_boot(struct errand *errand, const struct vdt_driver_config *config, struct vdt_ram *ram,
                 GError **error);
void errand_clear(struct errand *errand);

/* False with @error when a command or a frame gets no answer, or a frame comes that must not. */
bool errand_run(struct errand *errand, GError **error);
