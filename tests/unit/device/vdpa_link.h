/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A kernel's vdpa netlink family from recorded bytes: answers carry the question's number, and can
 * be spoilt.
 */
#pragma once

#include "device/vdpa_netlink.h"

#define VDPA_LINK_PORT 4711u

struct vdpa_link {
    struct vdt_vdpa_link link; /* for vdt_vdpa_netlink_new() */
    bool no_family;            /* the module is not there */
    bool closed;               /* sockets cannot be had */
    bool silent;               /* no answer ever comes */
    unsigned interrupted;      /* so many lists change while they are read */
    unsigned stale;            /* answers of an earlier question come first */
    int refuses;               /* a command that ends with EAGAIN; 0: none */
    size_t cut;                /* answers end after so many bytes, if not 0 */
    void (*spoil)(uint8_t *bytes, size_t len, void *ctx); /* before it is handed out */
    void *spoil_ctx;
    unsigned asked, opened;
    GQueue *queue; /* of GBytes */
};

void vdpa_link_init(struct vdpa_link *link);
void vdpa_link_clear(struct vdpa_link *link);

/* One recorded message, aligned: of @command about @name. Caller frees. */
uint8_t *vdpa_link_message(uint8_t command, const char *name, size_t *ret_len);
/* The kernel's refusal of a device that is not there. Caller frees. */
uint8_t *vdpa_link_absent(size_t *ret_len);
