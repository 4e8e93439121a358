/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the frontend asks of the shadow device: it records what is wanted and schedules one update
 * for a burst of messages. What has to be true when the message is answered is done at once: a ring
 * that stops, a log that goes on, memory that goes away.
 */
#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/log.h"
#include "shadow/shadow_private.h"
#include "virtio/features.h"

static struct vdt_shadow_ring *
ring_at(struct vdt_shadow *s, uint32_t index, GError **error)
{
    if (index < s->ring_count)
        return &s->rings[index];
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "there is no ring %u: %s has %u", index,
                s->dev->info.name, s->ring_count);
    return NULL;
}

static struct vdt_shadow_ring *
idle_ring_at(struct vdt_shadow *s, uint32_t index, const char *what, GError **error)
{
    struct vdt_shadow_ring *ring = ring_at(s, index, error);
    bool runs =
        ring && (ring->active || (s->cvq_running && (int) index == s->negotiation.guest_cvq));

    if (!runs)
        return ring;
    if (s->mode == VDT_MODE_FROZEN && !(ring->started && ring->enabled)) {
        /* The suspended device still has it as it was: it cannot just be resumed. */
        s->cold = true;
        return ring;
    }
    g_set_error(error, VDT_ERROR, VDT_ERROR_BUSY, "ring %u runs: its %s cannot change", index,
                what);
    return NULL;
}

/* A change of what a data thread works with, made on that thread, between two events. */
struct ring_change {
    struct vdt_relay *relay;
    struct vdt_dirty_log *log;
    struct vdt_guest_map *map; /* a reference, exchanged for the old one */
};

static void
change_log(void *arg)
{
    struct ring_change *change = arg;

    change->relay->log = change->log;
}

static void
change_map(void *arg)
{
    struct ring_change *change = arg;
    struct vdt_guest_map *old = change->relay->map;

    change->relay->map = change->map;
    change->map = old;
}

static void
change_ring(struct vdt_shadow *s, uint32_t index, void (*fn)(void *arg), struct ring_change *change)
{
    if (s->rings[index].attached)
        vdt_worker_call(vdt_shadow_worker(s, index), fn, change);
    else
        fn(change);
}

static void
set_log_of_rings(struct vdt_shadow *s, bool on)
{
    for (uint32_t i = 0; i < s->ring_count; i++) {
        struct ring_change change = {.relay = &s->rings[i].relay, .log = on ? &s->log : NULL};
        if (s->rings[i].relay_live)
            change_ring(s, i, change_log, &change);
    }
}

static bool
is_packed(const struct vdt_shadow *s)
{
    return s->negotiation.acked & VDT_BIT(VIRTIO_F_RING_PACKED);
}

bool
vdt_shadow_set_features(struct vdt_shadow *s, uint64_t acked, bool log_all, GError **error)
{
    bool changed = !s->features_set || acked != s->negotiation.acked;
    int packed_before = s->features_set ? is_packed(s) : -1;

    if (changed && s->mode != VDT_MODE_STOPPED && s->mode != VDT_MODE_FROZEN) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_BUSY, "rings run: features cannot change");
        return false;
    }
    if (log_all && s->unmigratable) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED, "dirty logging is refused: %s",
                    s->unmigratable);
        return false;
    }
    if (changed) {
        if (!vdt_negotiation_ack(&s->negotiation, &s->dev->info, acked, s->options.drive,
                                 error))
            return false;
        /* A position of one kind of ring means nothing to the other. */
        for (uint32_t i = 0; packed_before != -1 && i < s->ring_count; i++) {
            if (packed_before != is_packed(s))
                vdt_shadow_ring_forget(&s->rings[i]);
        }
        s->features_set = true;
        s->cold = true;
    }
    if (log_all == s->log_all)
        return true;
    s->log_all = log_all;
    set_log_of_rings(s, log_all && s->log.words);
    /* The answer to this message says that everything is logged from now on. */
    bool ok = vdt_shadow_update(s, error);
    if (ok && log_all && s->unmigratable) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED, "dirty logging is refused: %s",
                    s->unmigratable);
        ok = false;
    }
    if (!ok && log_all) {
        s->log_all = false;
        set_log_of_rings(s, false);
        vdt_shadow_schedule_update(s);
    }
    return ok;
}

bool
vdt_shadow_set_log(struct vdt_shadow *s, int fd, uint64_t offset, uint64_t size, GError **error)
{
    VDT_AUTO_FD owned = fd;
    struct vdt_dirty_log fresh = {0}, old = s->log;

    if (!vdt_dirty_log_init(&fresh, owned, offset, size, vdt_guest_map_end(s->map), error))
        return false;
    /* What was marked in the old bitmap is the frontend's to keep; from here on the new one counts.
     * No data thread may see half of each, nor go on without either. */
    vdt_shadow_detach_all(s);
    s->log = fresh;
    set_log_of_rings(s, s->log_all);
    vdt_dirty_log_clear(&old);
    if (s->mode != VDT_MODE_SHADOW || vdt_shadow_attach_all(s, error))
        return true;
    /* Not with half of the rings: they stop, and the next update tries once more. */
    if (!vdt_shadow_freeze(s, NULL))
        vdt_shadow_rest(s);
    vdt_shadow_schedule_update(s);
    return false;
}

/* The rings that run, moved to another generation of guest memory whose old regions are all still
 * there, at the same host addresses. */
static void
move_rings(struct vdt_shadow *s)
{
    for (uint32_t i = 0; i < s->ring_count; i++) {
        struct ring_change change = {.relay = &s->rings[i].relay};
        if (!s->rings[i].relay_live)
            continue;
        change.map = vdt_guest_map_ref(s->map);
        change_ring(s, i, change_map, &change);
        vdt_guest_map_unref(change.map);
    }
}

static bool
holds_running_rings(struct vdt_shadow *s, const struct vdt_guest_map *map)
{
    for (uint32_t i = 0; i < s->ring_count; i++) {
        const struct vdt_shadow_ring *ring = &s->rings[i];
        struct vdt_ring_format format = vdt_features_ring_format(s->negotiation.device, ring->num);
        bool runs = ring->active || (s->cvq_running && (int) i == s->negotiation.guest_cvq);

        if (runs && (vdt_guest_map_at_frontend(map, ring->desc, vdt_ring_desc_size(&format)) !=
                         ring->guest_mem.desc ||
                     vdt_guest_map_at_frontend(map, ring->driver, vdt_ring_driver_size(&format)) !=
                         ring->guest_mem.driver ||
                     vdt_guest_map_at_frontend(map, ring->device, vdt_ring_device_size(&format)) !=
                         ring->guest_mem.device))
            return false;
    }
    return true;
}

static void
use_map(struct vdt_shadow *s, struct vdt_guest_map *map)
{
    struct vdt_guest_map *old = s->map;

    s->map = vdt_guest_map_ref(map);
    vdt_shadow_spare_follows(s);
    vdt_guest_map_unref(old);
}

/* Regions come and go beside running rings. The control queue's follower holds one generation: it
 * is stopped and started between two commands. */
static bool
set_memory_in_place(struct vdt_shadow *s, struct vdt_guest_map *map, bool cvq, GError **error)
{
    use_map(s, map);
    if (!vdt_placement_sync(s->place, map, error))
        return false;
    move_rings(s);
    if (!cvq)
        return true;
    if (!vdt_shadow_start_guest_cvq(s, error))
        return false;
    if (s->events.running)
        s->events.running(s->ctx);
    return true;
}

/* The rings themselves move (a whole new table), or what is theirs at the device: stop, exchange,
 * start. */
static bool
set_memory_anew(struct vdt_shadow *s, struct vdt_guest_map *map, GError **error)
{
    use_map(s, map);
    s->cold = true;
    return vdt_shadow_thaw(s, error);
}

bool
vdt_shadow_set_memory(struct vdt_shadow *s, struct vdt_guest_map *map, GError **error)
{
    VDT_AUTO(guest_map) old = vdt_guest_map_ref(s->map);
    bool running = s->mode == VDT_MODE_SHADOW || s->mode == VDT_MODE_PASSTHROUGH;
    bool in_place =
        running && vdt_placement_fits_as_placed(s->place, map) && holds_running_rings(s, map);
    bool cvq = s->cvq_running;
    g_autoptr(GError) back = NULL;

    if (s->log.words && vdt_guest_map_end(map) > s->log.pages * VDT_LOG_PAGE) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "the dirty log ends below the new memory: a larger log has to be set first");
        return false;
    }
    if (!running) {
        /* Frozen, the control queue still has its follower: that starts again with the device. */
        if (cvq)
            vdt_shadow_stop_guest_cvq(s);
        use_map(s, map);
        s->cold = true;
        return true;
    }
    if (in_place ? cvq && s->events.quiesce && !s->events.quiesce(s->ctx, error)
                 : !vdt_shadow_freeze(s, error))
        return false;
    if (cvq)
        vdt_shadow_stop_guest_cvq(s);
    if (in_place ? set_memory_in_place(s, map, cvq, error) : set_memory_anew(s, map, error))
        return true;
    if (!(in_place ? set_memory_in_place(s, old, cvq, &back) : set_memory_anew(s, old, &back)))
        vdt_warning("cannot go back to the old memory table either: %s", back->message);
    return false;
}

bool
vdt_shadow_set_num(struct vdt_shadow *s, uint32_t index, uint32_t num, GError **error)
{
    struct vdt_shadow_ring *ring = idle_ring_at(s, index, "size", error);

    if (!ring)
        return false;
    if (num == 0 || num > s->dev->info.ring_max) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "ring %u: size %u is not within 1 to %u",
                    index, num, s->dev->info.ring_max);
        return false;
    }
    ring->num = (uint16_t) num;
    return true;
}

bool
vdt_shadow_set_addr(struct vdt_shadow *s, uint32_t index, uint64_t desc, uint64_t driver,
                    uint64_t device, GError **error)
{
    struct vdt_shadow_ring *ring = ring_at(s, index, error);

    if (!ring)
        return false;
    /* QEMU repeats the addresses of running rings when logging goes on or off. */
    if (ring->addr_set && ring->desc == desc && ring->driver == driver && ring->device == device)
        return true;
    if (!idle_ring_at(s, index, "addresses", error))
        return false;
    ring->desc = desc;
    ring->driver = driver;
    ring->device = device;
    ring->addr_set = true;
    return true;
}

bool
vdt_shadow_set_base(struct vdt_shadow *s, uint32_t index, uint32_t base, GError **error)
{
    struct vdt_shadow_ring *ring = idle_ring_at(s, index, "base", error);

    if (!ring)
        return false;
    struct vdt_ring_format format = vdt_features_ring_format(
        s->negotiation.acked, ring->num ? ring->num : s->dev->info.ring_max);
    /* A packed base of 0 is UML's word for "initial", and also a real position (slot 0, both wrap
     * counters 0). It is the latter only if that is what this frontend was told. */
    if (ring->kept && ring->base_told && vdt_ring_pos_to_base(&format, ring->kept_pos) == base) {
        ring->pos = ring->kept_pos;
        return true;
    }
    if (!vdt_ring_pos_from_base(&format, base, &ring->pos)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "ring %u: 0x%x is no base of a ring of %u",
                    index, base, format.num);
        return false;
    }
    return true;
}

bool
vdt_shadow_get_base(struct vdt_shadow *s, uint32_t index, uint32_t *ret_base, GError **error)
{
    struct vdt_shadow_ring *ring = ring_at(s, index, error);

    if (!ring)
        return false;
    bool cvq = s->cvq_running && (int) index == s->negotiation.guest_cvq;
    if (cvq)
        vdt_shadow_stop_guest_cvq(s);
    else if (ring->active && !vdt_shadow_freeze(s, error))
        return false;
    ring->started = false;
    if (ring->active || cvq)
        vdt_shadow_schedule_update_after_stop(s);
    if (ring->broken) {
        /* Set up anew it may work again. */
        vdt_shadow_end_ring(s, ring);
        ring->broken = NULL;
    }

    struct vdt_ring_format format = vdt_features_ring_format(
        s->negotiation.acked, ring->num ? ring->num : s->dev->info.ring_max);
    *ret_base = vdt_ring_pos_to_base(&format, ring->pos);
    ring->base_told = ring->kept;
    return true;
}

/* A descriptor of a ring is exchanged; a running ring is told between two events. */
static bool
replace_fd(struct vdt_shadow *s, uint32_t index, int *slot, int fd, GError **error)
{
    struct vdt_shadow_ring *ring = &s->rings[index];
    bool attached = ring->attached;

    if (attached)
        vdt_worker_detach(vdt_shadow_worker(s, index), &ring->relay);
    vdt_close(*slot);
    *slot = fd;
    if (!ring->relay_live)
        return true;
    ring->relay.guest_kick = ring->kick;
    ring->relay.guest_call = ring->call;
    if (attached)
        ring->attached = vdt_worker_attach(vdt_shadow_worker(s, index), &ring->relay, error);
    return !attached || ring->attached;
}

bool
vdt_shadow_set_kick(struct vdt_shadow *s, uint32_t index, int fd, GError **error)
{
    struct vdt_shadow_ring *ring = ring_at(s, index, error);

    if (!ring || !ring->addr_set || ring->num == 0) {
        if (ring)
            g_set_error(error, VDT_ERROR, VDT_ERROR_BUSY,
                        "ring %u is kicked before its size and addresses are set", index);
        vdt_close(fd);
        return false;
    }
    if (!replace_fd(s, index, &ring->kick, fd, error))
        return false;
    if (ring->direct && !VDT_DEVICE_CALL(s->dev, set_kick, error, index, fd))
        return false;
    ring->started = true;
    vdt_shadow_schedule_update(s);
    return true;
}

bool
vdt_shadow_set_call(struct vdt_shadow *s, uint32_t index, int fd, GError **error)
{
    struct vdt_shadow_ring *ring = ring_at(s, index, error);

    if (!ring) {
        vdt_close(fd);
        return false;
    }
    if (!replace_fd(s, index, &ring->call, fd, error))
        return false;
    if (s->cvq_running && (int) index == s->negotiation.guest_cvq && s->events.cvq_call_changed)
        s->events.cvq_call_changed(s->ctx, fd);
    return !ring->direct || vdt_shadow_point_call(s, index, error);
}

bool
vdt_shadow_set_err(struct vdt_shadow *s, uint32_t index, int fd, GError **error)
{
    struct vdt_shadow_ring *ring = ring_at(s, index, error);

    if (!ring) {
        vdt_close(fd);
        return false;
    }
    vdt_close(ring->err);
    ring->err = fd;
    return true;
}

bool
vdt_shadow_set_enable(struct vdt_shadow *s, uint32_t index, bool enable, GError **error)
{
    struct vdt_shadow_ring *ring = ring_at(s, index, error);

    if (!ring)
        return false;
    /* The guest takes its buffers back once this is answered: the device stops now, the rings that
     * stay enabled start again with the update. */
    if (!enable && ring->active && !vdt_shadow_freeze(s, error))
        return false;
    ring->enabled = enable;
    ring->disabled = !enable;
    if (!enable && s->cvq_running && (int) index == s->negotiation.guest_cvq)
        vdt_shadow_stop_guest_cvq(s);
    vdt_shadow_schedule_update(s);
    return true;
}

void
vdt_shadow_use_status(struct vdt_shadow *s, bool used)
{
    s->use_status = used;
}

bool
vdt_shadow_set_status(struct vdt_shadow *s, uint8_t status, GError **error)
{
    s->status = status;
    if (status == 0)
        vdt_shadow_reset(s);
    else
        vdt_shadow_schedule_update(s);
    return true;
}

uint8_t
vdt_shadow_status(const struct vdt_shadow *s)
{
    return s->status;
}
