/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Domain XML: what libvirt's description of a domain says of its NICs and of their trackers, and
 * the changes that attach and a move between hosts make to it.
 *
 * A NIC that is ours has an element in the domain's metadata, which libvirt carries along:
 *
 *   <vt:tracker xmlns:vt='urn:vdpa-tracker:libvirt:1'>
 *     <vt:nic mac='52:54:00:12:34:56' device='vdpa:blue' format='2' features='...' pairs='4'
 *             ring-size='256' mtu='1500'/>
 *   </vt:tracker>
 *
 * From features on the attributes are the keys of vdpa-tracker-baseline(5). What is read here is
 * untrusted; libxml2 has no network, expands no entities, and a document type is refused.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "base/auto.h"

#define VDT_LIBVIRT_NAMESPACE "urn:vdpa-tracker:libvirt:1"
#define VDT_LIBVIRT_PREFIX "vt"
#define VDT_DOMAIN_XML_MAX (16u << 20) /* bytes */

struct vdt_domain_nic {
    char *mac;       /* owned, of all these: lower case */
    char *device;    /* of this host: "vdpa:blue" */
    char *baseline;  /* text of vdpa-tracker-baseline(5); NULL: no limits */
    unsigned format; /* of states that a VMM is given; 0: the newest */
    char *type;      /* of the <interface> of that address; NULL: there is none */
    char *socket;    /* its path, NULL without */
    bool client;     /* the VMM connects to it */
    bool reconnects;
};

struct vdt_domain {
    char *name, *uuid;  /* @uuid: in lower case, the empty string without */
    GPtrArray *nics;    /* of struct vdt_domain_nic, those with our metadata only */
    bool shares_memory; /* <memoryBacking>: file or memfd, shared */
};

/* VDT_ERROR_INVALID: no XML, not a domain, metadata that is not understood. */
struct vdt_domain *vdt_domain_parse(const char *xml, size_t len, GError **error);
void vdt_domain_free(struct vdt_domain *domain); /* accepts NULL */
VDT_DEFINE_AUTO(domain, vdt_domain_free)

/* @xml with a tracker for the NIC: metadata, and a vhostuser interface of @nic->mac at
 * @nic->socket, in the place of one that had that address, whose model and PCI address stay; shared
 * memory. Caller frees. */
char *vdt_domain_attach(const char *xml, size_t len, const struct vdt_domain_nic *nic,
                        GError **error);

/* @xml with the sockets below @from moved below @to. *ret_xml is NULL where none is: nothing
 * changes. Caller frees. */
bool vdt_domain_move_sockets(const char *xml, size_t len, const char *from, const char *to,
                             char **ret_xml, GError **error);
