/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The error domain's names on D-Bus, so that a client gets the code back that the daemon gave. */
#pragma once

#define VDT_DBUS_PATH "/io/github/vdpa_tracker/Tracker1"

/* Both ends call it before the first message. */
void vdt_dbus_error_register(void);
