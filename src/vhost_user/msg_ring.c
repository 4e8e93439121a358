/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Rings: size, addresses, position, enable. Everything a ring needs is checked before the backend
 * hears of it; the backend checks again what it maps, since memory may change later. */
#include "vhost_user/session_private.h"

#include <vdpa-tracker/error.h>

#include "virtio/features.h"

struct area {
    uint64_t start, len;
};

static struct vdt_ring_format
format_of(const struct vdt_session *session, uint32_t num)
{
    return vdt_features_ring_format(session->acked, (uint16_t) num);
}

static bool
runs(const struct vdt_session_ring *ring)
{
    return ring->started && ring->enabled;
}

static bool
refuse_running(const struct vdt_session_ring *ring, uint32_t index, const char *what,
               GError **error)
{
    if (!runs(ring))
        return false;
    g_set_error(error, VDT_ERROR, VDT_ERROR_BUSY, "the %s of ring %u cannot change while it runs",
                what, index);
    return true;
}

bool
vdt_msg_set_num(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    uint32_t index = message->payload.state.index, num = message->payload.state.num;
    struct vdt_session_ring *ring = vdt_session_ring(session, index, error);

    if (!ring || (num != ring->num && refuse_running(ring, index, "size", error)))
        return false;
    if (num > session->ops->ring_max(session->ctx) ||
        !vdt_ring_num_valid(format_of(session, 1).kind, num)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "ring %u cannot have %u entries, at most %u", index, num,
                    session->ops->ring_max(session->ctx));
        return false;
    }
    if (!session->ops->set_num(session->ctx, index, num, error))
        return false;
    ring->num = num;
    return true;
}

static void
areas_of(const struct vdt_ring_format *format, const struct vdt_vring_addr *addr,
         struct area ret[3])
{
    ret[0] = (struct area){addr->desc, vdt_ring_desc_size(format)};
    ret[1] = (struct area){addr->avail, vdt_ring_driver_size(format)};
    ret[2] = (struct area){addr->used, vdt_ring_device_size(format)};
}

/* Both lie in guest memory, so no end wraps. */
static bool
areas_meet(const struct area *a, const struct area *b)
{
    return a->start < b->start + b->len && b->start < a->start + a->len;
}

static bool
check_apart(struct vdt_session *session, uint32_t index, uint32_t num,
            const struct vdt_vring_addr *addr, GError **error)
{
    struct vdt_ring_format format = format_of(session, num);
    struct area mine[3], theirs[3];

    areas_of(&format, addr, mine);
    for (uint32_t r = 0; r < session->ring_count; r++) {
        const struct vdt_session_ring *other = &session->rings[r];
        bool self = r == index;

        if (!self && !(runs(other) && other->addr_set))
            continue;
        struct vdt_ring_format other_format = format_of(session, self ? num : other->num);
        areas_of(&other_format, self ? addr : &other->addr, theirs);
        for (unsigned i = 0; i < 3; i++) {
            for (unsigned j = self ? i + 1 : 0; j < 3; j++) {
                if (!areas_meet(&mine[i], &theirs[j]))
                    continue;
                g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                            "an area of ring %u lies on one of ring %u", index, r);
                return false;
            }
        }
    }
    return true;
}

static bool
check_addr(struct vdt_session *session, const struct vdt_session_ring *ring,
           const struct vdt_vring_addr *addr, GError **error)
{
    struct vdt_ring_format format = format_of(session, ring->num);
    struct vdt_ring_addr areas = {.desc = addr->desc, .driver = addr->avail, .device = addr->used};
    struct area all[3];

    if (addr->flags & ~VHOST_USER_VRING_F_LOG) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "ring %u has unknown flags 0x%x",
                    addr->ring, addr->flags);
        return false;
    }
    if (ring->num == 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "ring %u got addresses before a size",
                    addr->ring);
        return false;
    }
    if (!vdt_ring_addr_aligned(&format, &areas)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "an area of ring %u is not aligned",
                    addr->ring);
        return false;
    }
    areas_of(&format, addr, all);
    for (unsigned i = 0; i < 3; i++) {
        if (vdt_guest_map_at_frontend(session->map, all[i].start, all[i].len))
            continue;
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "an area of ring %u at 0x%" G_GINT64_MODIFIER
                    "x does not lie in one region of guest memory",
                    addr->ring, all[i].start);
        return false;
    }
    /* The place in the log need not be guest memory, but it must be in the log. */
    if ((addr->flags & VHOST_USER_VRING_F_LOG) && session->log_fresh &&
        (addr->log > UINT64_MAX - all[2].len ||
         !vdt_session_log_covers(session->log_size, addr->log + all[2].len))) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "ring %u is to be logged at 0x%" G_GINT64_MODIFIER "x, beyond the log",
                    addr->ring, addr->log);
        return false;
    }
    return check_apart(session, addr->ring, ring->num, addr, error);
}

bool
vdt_session_check_place(struct vdt_session *session, uint32_t index, GError **error)
{
    const struct vdt_session_ring *ring = &session->rings[index];

    if (!vdt_ring_num_valid(format_of(session, 1).kind, ring->num)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "ring %u cannot have %u entries with the features that are in force", index,
                    ring->num);
        return false;
    }
    return check_addr(session, ring, &ring->addr, error);
}

bool
vdt_msg_set_addr(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    const struct vhost_user_vring_addr *in = &message->payload.addr;
    struct vdt_vring_addr addr = {
        .ring = in->index,
        .flags = in->flags,
        .desc = in->desc,
        .used = in->used,
        .avail = in->avail,
        .log = in->log,
    };
    struct vdt_session_ring *ring = vdt_session_ring(session, addr.ring, error);

    if (!ring)
        return false;
    /* A running ring may only be told where to log. */
    bool moved = addr.desc != ring->addr.desc || addr.used != ring->addr.used ||
                 addr.avail != ring->addr.avail;
    if (moved && refuse_running(ring, addr.ring, "place", error))
        return false;
    if (!check_addr(session, ring, &addr, error) ||
        !session->ops->set_addr(session->ctx, &addr, error))
        return false;
    ring->addr = addr;
    ring->addr_set = true;
    return true;
}

bool
vdt_msg_set_base(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    uint32_t index = message->payload.state.index, base = message->payload.state.num;
    struct vdt_session_ring *ring = vdt_session_ring(session, index, error);

    if (!ring || refuse_running(ring, index, "position", error))
        return false;

    struct vdt_ring_format format = format_of(session, ring->num ? ring->num : VDT_RING_MAX);
    struct vdt_ring_pos pos;
    if (!vdt_ring_pos_from_base(&format, base, &pos)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "ring %u has no position 0x%x", index,
                    base);
        return false;
    }
    return session->ops->set_base(session->ctx, index, base, error);
}

bool
vdt_msg_get_base(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    uint32_t index = message->payload.state.index, base = 0;
    struct vdt_session_ring *ring = vdt_session_ring(session, index, error);

    if (!ring)
        return false;
    /* Set before the call, so that an answer out of it counts. */
    session->waiting = true;
    session->waiting_ring = index;
    enum vdt_answer answer = session->ops->get_base(session->ctx, index, &base, error);
    if (answer == VDT_ANSWER_ERROR) {
        session->waiting = false;
        return false;
    }
    ring->started = false;
    vdt_session_unhold_kick(ring);
    session->deferred = answer == VDT_ANSWER_LATER;
    if (answer == VDT_ANSWER_NOW) {
        session->waiting = false;
        message->payload.state.num = base;
        message->reply_size = sizeof(message->payload.state);
    }
    return true;
}

bool
vdt_msg_set_enable(struct vdt_session *session, struct vdt_message *message, GError **error)
{
    uint32_t index = message->payload.state.index, value = message->payload.state.num;
    struct vdt_session_ring *ring = vdt_session_ring(session, index, error);

    if (!ring)
        return false;
    if (value > 1) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "ring %u can be enabled (1) or not (0), not %u", index, value);
        return false;
    }
    if (value && !ring->enabled && ring->started && !vdt_session_check_place(session, index, error))
        return false;
    if (!session->ops->set_enable(session->ctx, index, value, error))
        return false;
    ring->enabled = value;
    return true;
}
