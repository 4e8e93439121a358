/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looking at a shadow device: status, snapshots, what a state carrier brings and takes.
 */
#include <string.h>

#include <vdpa-tracker/error.h>

#include "shadow/shadow_private.h"
#include "virtio/features.h"

struct vdt_device *
vdt_shadow_device(struct vdt_shadow *s)
{
    return s->dev;
}

const struct vdt_negotiation *
vdt_shadow_negotiation(const struct vdt_shadow *s)
{
    return &s->negotiation;
}

struct vdt_guest_map *
vdt_shadow_map(const struct vdt_shadow *s)
{
    return s->map;
}

void
vdt_shadow_send_first(struct vdt_shadow *s, const uint8_t *frame, uint32_t len)
{
    g_free(s->first_frame);
    s->first_frame_len = MIN(len, 1514);
    s->first_frame = g_memdup2(frame, s->first_frame_len);
}

void
vdt_shadow_mark_dirty(struct vdt_shadow *s, uint64_t gpa, uint64_t len)
{
    if (s->log_all && s->log.words)
        vdt_dirty_log_mark(&s->log, gpa, len);
}

uint32_t
vdt_shadow_ring_count(const struct vdt_shadow *s)
{
    return s->ring_count;
}

int
vdt_shadow_guest_cvq_index(const struct vdt_shadow *s)
{
    return s->negotiation.guest_cvq;
}

static uint64_t
look(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

void
vdt_shadow_view_ring(struct vdt_shadow *s, uint32_t index, struct vdt_shadow_ring_view *v)
{
    const struct vdt_shadow_ring *ring = &s->rings[index];
    const struct vdt_relay_counters *c = &ring->relay.counters;

    *v = (struct vdt_shadow_ring_view){
        .num = ring->num,
        .configured = ring->addr_set && ring->num,
        .started = ring->started,
        .enabled = ring->enabled,
        .is_cvq = (int) index == s->negotiation.guest_cvq,
        .exact = ring->exact,
        .broken = ring->broken,
        .fault = (uint16_t) ring->fault,
        .by_reset = ring->by_reset,
        .pos = ring->pos,
        .ran_again = ring->ran_again,
    };
    v->active = v->is_cvq ? s->cvq_running : ring->active && s->mode != VDT_MODE_FROZEN;
    if (ring->relay_live) {
        v->chains = look(&c->chains);
        v->returned = look(&c->returned);
        v->bytes_in = look(&c->bytes_in);
        v->bytes_out = look(&c->bytes_out);
        v->kicks_taken = look(&c->kicks_taken);
        v->kicks_sent = look(&c->kicks_sent);
        v->calls_taken = look(&c->calls_taken);
        v->calls_sent = look(&c->calls_sent);
    }
    v->counted = !(v->active && ring->direct);
    v->in_flight = ring->held->len;
    if (v->active) {
        v->in_flight = 0;
        if (ring->relay_live) {
            v->in_flight = __atomic_load_n(&c->in_flight, __ATOMIC_RELAXED);
            v->pos.avail = __atomic_load_n(&c->pos.avail, __ATOMIC_RELAXED);
            v->pos.used = __atomic_load_n(&c->pos.used, __ATOMIC_RELAXED);
        }
        return;
    }
    v->request_count = ring->held->len;
    v->requests = g_new0(struct vdt_shadow_request, v->request_count + 1);
    for (uint32_t i = 0; i < v->request_count; i++) {
        const struct vdt_held_request *held =
            &g_array_index(ring->held, struct vdt_held_request, i);
        v->requests[i] = (struct vdt_shadow_request){
            .id = held->id,
            .slots = held->slots,
            .seg_count = held->seg_count,
            .segs = held->segs,
            .table_addr = held->table.addr,
            .table_len = held->table.len,
        };
    }
}

bool
vdt_shadow_load_ring(struct vdt_shadow *s, uint32_t index, struct vdt_ring_pos pos,
                     const struct vdt_shadow_request *requests, uint32_t count, GError **error)
{
    if (index >= s->ring_count) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED, "the state has a ring %u, %s has %u",
                    index, s->dev->info.name, s->ring_count);
        return false;
    }
    struct vdt_shadow_ring *ring = &s->rings[index];
    if (ring->active || s->mode != VDT_MODE_STOPPED) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_BUSY,
                    "ring %u has run already: ring state is taken only before the first start",
                    index);
        return false;
    }
    vdt_shadow_ring_forget(ring);
    for (uint32_t i = 0; i < count; i++) {
        vdt_shadow_ring_hold(ring, requests[i].id, requests[i].slots, requests[i].segs,
                             requests[i].seg_count);
        if (requests[i].table_len > 0)
            g_array_index(ring->held, struct vdt_held_request, i).table =
                (struct vdt_seg){.addr = requests[i].table_addr,
                                 .len = requests[i].table_len,
                                 .flags = VDT_SEG_INDIRECT};
    }
    ring->kept_pos = pos;
    ring->kept = ring->exact = ring->base_told = true;
    return true;
}

enum vdt_mode
vdt_shadow_mode(const struct vdt_shadow *s)
{
    return s->mode;
}

uint32_t
vdt_shadow_cvq_asid(const struct vdt_shadow *s)
{
    return s->place->cvq_asid;
}

const char *
vdt_shadow_mode_reason(const struct vdt_shadow *s)
{
    return s->mode_reason;
}

bool
vdt_shadow_logging(const struct vdt_shadow *s)
{
    return s->log_all;
}

const char *
vdt_shadow_unmigratable(const struct vdt_shadow *s)
{
    return s->unmigratable;
}

uint64_t
vdt_shadow_dirty_pages(const struct vdt_shadow *s)
{
    return s->log.words ? vdt_dirty_log_count(&s->log) : 0;
}

int64_t
vdt_shadow_thawed_from(const struct vdt_shadow *s)
{
    return s->thawed_from;
}

int64_t
vdt_shadow_frozen_at(const struct vdt_shadow *s)
{
    return s->frozen_at;
}

int64_t
vdt_shadow_frozen_us(const struct vdt_shadow *s)
{
    return s->frozen_us;
}
