/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Control interface: D-Bus, peer to peer on a unix socket
 * (proto/io.github.vdpa_tracker.Tracker1.xml), for whom control_socket.h lets in.
 *
 * Thread: control (GDBus' own thread does the framing).
 */
#pragma once

#include "daemon/nic.h"

struct vdt_control_interface;

/* For NIC @nic (borrowed), tracker @name, at vdt_runtime_control_address(). Takes the NIC's watch.
 */
struct vdt_control_interface *vdt_control_interface_new(struct vdt_nic *nic, const char *name,
                                                        GError **error);
void vdt_control_interface_free(struct vdt_control_interface *interface); /* accepts NULL */
VDT_DEFINE_AUTO(control_interface, vdt_control_interface_free)
