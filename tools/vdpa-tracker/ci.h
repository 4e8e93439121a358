/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CI: what a migration between two devices has to show, as test cases. The devices' cases are the
 * same for each guest; the guests' are in a file each.
 */
#pragma once

#include "device/device.h"
#include "snapshot/net_config.h"
#include "snapshot/snapshot.h"
#include "tools/vdpa-tracker/case_list.h"

struct vdt_ci_options {
    const char *device[2]; /* source, destination */
    const char *shadow;
    bool packed;
    bool reflects;  /* the guest's frames have to come back */
    bool common;    /* the guest is offered what both can give it, else what the source can */
    unsigned pairs; /* of the guest, at most; 0: what it is offered */
    unsigned vlans, rounds, repeat, memory_mib;
    double duration, max_downtime_ms; /* < 0: any */
    uint64_t seed;
    bool uml; /* Linux is the guest, else the built-in one */
};

/* What is known of the two once they have been opened. */
struct vdt_ci_device {
    bool opened;
    struct vdt_device_info info;
    unsigned pairs;
};

struct vdt_ci {
    const struct vdt_ci_options *options;
    struct vdt_case_list *list; /* borrowed */
    struct vdt_ci_device device[2];
    char *scratch;  /* owned: where trackers have their sockets and logs */
    char *baseline; /* owned, NULL: a file there, of what the guest is offered */
    void *guest;    /* of the guest's file */
    /* Kill what the guest's cases have started. From the watcher, at any time. */
    void (*kill_guest)(void *guest);
};

/* "source", "destination". */
const char *vdt_ci_side(unsigned side);

/* The group's name of a move: leg 0 is there, leg 1 back, and so on. */
const char *vdt_ci_leg(unsigned leg);
/* What is added to its cases' names where there are several: "", " (2)". Caller frees. */
char *vdt_ci_again(unsigned leg);

/* Move the message of @error into @said. */
void vdt_ci_say(GString *said, GError *error);

/* The control state of tracker @name, as a snapshot of it holds it. Caller frees. */
struct vdt_snapshot *vdt_ci_snapshot(const char *name, GError **error);

/* Both open, are network devices and not the same, and the destination can take what the guest may
 * use; and in the end, both can be opened again. */
void vdt_ci_devices_add(struct vdt_ci *ci);
void vdt_ci_end_add(struct vdt_ci *ci);

/* The built-in guest: everything that it can know is known. */
void vdt_ci_builtin_add(struct vdt_ci *ci);
void vdt_ci_builtin_end(struct vdt_ci *ci);

/* Linux in User-Mode Linux. */
void vdt_ci_uml_add(struct vdt_ci *ci);
void vdt_ci_uml_end(struct vdt_ci *ci);
