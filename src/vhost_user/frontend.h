/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Frontend: the VMM's side of vhost-user, for the built-in guest, the migration check and tests.
 *
 * Blocking calls, each bounded by the timeout; every request asks for an acknowledgement once
 * REPLY_ACK is negotiated, so that a refusal is an error of the call that caused it. Descriptors
 * and buffers are borrowed. One thread at a time.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/auto.h"
#include "memory/guest_map.h"
#include "vhost_user/protocol.h"

struct vdt_frontend;

struct vdt_frontend *vdt_frontend_connect(const char *path, unsigned timeout_ms, GError **error);
struct vdt_frontend *vdt_frontend_new(int fd, unsigned timeout_ms); /* @fd: owned from now on */
void vdt_frontend_free(struct vdt_frontend *frontend);
VDT_DEFINE_AUTO(frontend, vdt_frontend_free)

/* Owner, protocol features (those of @wanted that are offered), and the backend's channel where
 * that is among them. */
bool vdt_frontend_negotiate(struct vdt_frontend *frontend, uint64_t wanted, GError **error);
bool vdt_frontend_has(const struct vdt_frontend *frontend, enum vhost_user_protocol_feature bit);

bool vdt_frontend_get_features(struct vdt_frontend *frontend, uint64_t *ret, GError **error);
bool vdt_frontend_set_features(struct vdt_frontend *frontend, uint64_t features, GError **error);
bool vdt_frontend_get_queue_num(struct vdt_frontend *frontend, uint64_t *ret, GError **error);

/* @count up to 8 (VHOST_USER_TABLE_REGIONS). */
bool vdt_frontend_set_memory(struct vdt_frontend *frontend, const struct vdt_region_spec *specs,
                             unsigned count, GError **error);
bool vdt_frontend_get_max_slots(struct vdt_frontend *frontend, uint64_t *ret, GError **error);
bool vdt_frontend_add_region(struct vdt_frontend *frontend, const struct vdt_region_spec *spec,
                             GError **error);
bool vdt_frontend_remove_region(struct vdt_frontend *frontend, const struct vdt_region_spec *spec,
                                GError **error);

bool vdt_frontend_set_log(struct vdt_frontend *frontend, int fd, uint64_t offset, uint64_t size,
                          GError **error);

bool vdt_frontend_set_num(struct vdt_frontend *frontend, uint32_t ring, uint32_t num,
                          GError **error);
/* Addresses in the frontend's space, as in struct vdt_region_spec. */
bool vdt_frontend_set_addr(struct vdt_frontend *frontend, const struct vhost_user_vring_addr *addr,
                           GError **error);
bool vdt_frontend_set_base(struct vdt_frontend *frontend, uint32_t ring, uint32_t base,
                           GError **error);
bool vdt_frontend_get_base(struct vdt_frontend *frontend, uint32_t ring, uint32_t *ret_base,
                           GError **error);
/* -1: none (bit 8). */
bool vdt_frontend_set_kick(struct vdt_frontend *frontend, uint32_t ring, int fd, GError **error);
bool vdt_frontend_set_call(struct vdt_frontend *frontend, uint32_t ring, int fd, GError **error);
bool vdt_frontend_set_err(struct vdt_frontend *frontend, uint32_t ring, int fd, GError **error);
bool vdt_frontend_set_enable(struct vdt_frontend *frontend, uint32_t ring, bool enable,
                             GError **error);

bool vdt_frontend_get_status(struct vdt_frontend *frontend, uint8_t *ret, GError **error);
bool vdt_frontend_set_status(struct vdt_frontend *frontend, uint8_t status, GError **error);
bool vdt_frontend_reset_device(struct vdt_frontend *frontend, GError **error);
bool vdt_frontend_get_config(struct vdt_frontend *frontend, uint32_t offset, void *buf,
                             uint32_t len, GError **error);
bool vdt_frontend_set_config(struct vdt_frontend *frontend, uint32_t offset, const void *buf,
                             uint32_t len, uint32_t flags, GError **error);
bool vdt_frontend_send_rarp(struct vdt_frontend *frontend, const uint8_t mac[6], GError **error);
bool vdt_frontend_set_mtu(struct vdt_frontend *frontend, uint16_t mtu, GError **error);

bool vdt_frontend_get_inflight(struct vdt_frontend *frontend, uint16_t queues, uint16_t queue_size,
                               struct vhost_user_inflight *ret, int *ret_fd, GError **error);
bool vdt_frontend_set_inflight(struct vdt_frontend *frontend,
                               const struct vhost_user_inflight *inflight, int fd, GError **error);

/* The backend's state, out of it and into it, over a pipe and with the final check. At most
 * @max bytes are taken. */
GByteArray *vdt_frontend_save(struct vdt_frontend *frontend, size_t max, GError **error);
bool vdt_frontend_load(struct vdt_frontend *frontend, const void *state, size_t len,
                       GError **error);

/* The backend's channel, readable when it says something; -1 without. Borrowed. */
int vdt_frontend_backend_fd(const struct vdt_frontend *frontend);
/* Wait for "config changed", all of them that are there taken as one. False: none came in time. */
bool vdt_frontend_wait_config_changed(struct vdt_frontend *frontend, unsigned timeout_ms);
