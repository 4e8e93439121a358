/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One ring's way onto the device: where the guest's ring lies and stands, where ours lies, and what
 * the device is told of it.
 */
#include <string.h>
#include <sys/socket.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/source.h"
#include "base/wire.h"
#include "shadow/shadow_private.h"
#include "virtio/features.h"

static struct vdt_ring_format
format_of(const struct vdt_shadow *s, uint16_t num)
{
    return vdt_features_ring_format(s->negotiation.device, num);
}

static bool
resolve_area(struct vdt_shadow *s, uint32_t index, uint64_t frontend, size_t len, const char *what,
             void **ret_host, uint64_t *ret_gpa, GError **error)
{
    *ret_host = vdt_guest_map_at_frontend(s->map, frontend, len);
    if (*ret_host && vdt_guest_map_frontend_to_gpa(s->map, frontend, len, ret_gpa))
        return true;
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                "ring %u: its %s at 0x%" G_GINT64_MODIFIER
                "x (%zu bytes) lies outside guest memory; the ring does not start",
                index, what, frontend, len);
    return false;
}

bool
vdt_shadow_resolve_ring(struct vdt_shadow *s, uint32_t index, GError **error)
{
    struct vdt_shadow_ring *ring = &s->rings[index];
    struct vdt_ring_format format = format_of(s, ring->num);

    if (!vdt_ring_num_valid(format.kind, ring->num)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "ring %u: %u is no size of a %s ring; the ring does not start", index,
                    ring->num, format.kind == VDT_RING_SPLIT ? "split" : "packed");
        return false;
    }
    if (!resolve_area(s, index, ring->desc, vdt_ring_desc_size(&format), "descriptor area",
                      &ring->guest_mem.desc, &ring->gpa.desc, error) ||
        !resolve_area(s, index, ring->driver, vdt_ring_driver_size(&format), "driver area",
                      &ring->guest_mem.driver, &ring->gpa.driver, error) ||
        !resolve_area(s, index, ring->device, vdt_ring_device_size(&format), "device area",
                      &ring->guest_mem.device, &ring->gpa.device, error))
        return false;
    if (!vdt_ring_addr_aligned(&format, &ring->gpa)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "ring %u: an area is not aligned as virtio demands; the ring does not start",
                    index);
        return false;
    }
    return true;
}

static uint32_t
distance(const struct vdt_ring_format *format, struct vdt_ring_pos pos)
{
    return format->kind == VDT_RING_SPLIT ? (uint16_t) (pos.avail - pos.used)
                                          : vdt_packed_distance(pos.used, pos.avail, format->num);
}

/* In the units of a position: packed counts descriptors, split requests (as of one slot each). */
static uint32_t
held_slots(const struct vdt_ring_format *format, const struct vdt_shadow_ring *ring)
{
    uint32_t n = 0;

    if (format->kind == VDT_RING_SPLIT)
        return ring->held->len;
    for (unsigned i = 0; i < ring->held->len; i++)
        n += g_array_index(ring->held, struct vdt_held_request, i).slots;
    return n;
}

/*
 * Where the guest's ring stands. What we or a state carrier kept counts if it belongs to the base
 * that the frontend set and, for split, to the used index in guest memory: after a guest reset both
 * start anew. Otherwise the used index is the guest's own, and what is made available but not used
 * goes to the device again.
 */
bool
vdt_shadow_settle_position(struct vdt_shadow *s, uint32_t index, GError **error)
{
    struct vdt_shadow_ring *ring = &s->rings[index];
    struct vdt_ring_format format = format_of(s, ring->num);
    bool split = format.kind == VDT_RING_SPLIT;
    uint16_t used = split ? vdt_load16((uint8_t *) ring->guest_mem.device + 2) : ring->pos.used;

    if (ring->kept && ring->kept_pos.avail == ring->pos.avail && ring->kept_pos.used == used) {
        ring->pos = ring->kept_pos;
        if (!ring->exact || held_slots(&format, ring) == distance(&format, ring->pos))
            return true;
        g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                    "ring %u: the state that came for it lists %u descriptors in flight, its "
                    "positions say %u; the ring does not start",
                    index, held_slots(&format, ring), distance(&format, ring->pos));
        return false;
    }
    bool recovered = false;
    if (!ring->kept && !vdt_shadow_recover_ring(s, index, &recovered, error))
        return false;
    if (recovered)
        return true;
    vdt_shadow_ring_forget(ring);
    ring->pos.used = used;
    if (!vdt_ring_pos_valid(&format, ring->pos)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "ring %u: base %u does not go with used index %u of a ring of %u; the ring "
                    "does not start",
                    index, ring->pos.avail, ring->pos.used, ring->num);
        return false;
    }
    ring->kept = true;
    ring->exact = true;
    ring->kept_pos = ring->pos;
    if (ring->pos.avail == ring->pos.used)
        return true;
    ring->exact = false;
    if (!split) {
        vdt_warning("ring %u: packed requests between used and base are not known; they are lost",
                    index);
        return true;
    }

    struct vdt_guest_ring guest;
    g_autofree uint16_t *heads = g_new(uint16_t, ring->num);
    bool ok;
    vdt_guest_ring_init(&guest, &format, &ring->guest_mem, ring->pos);
    uint32_t n = vdt_guest_ring_heads(&guest, ring->pos.used, ring->pos.avail, heads, &ok);
    if (!ok) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                    "ring %u: the avail ring holds no valid heads between used index and base; the "
                    "ring does not start",
                    index);
        return false;
    }
    for (uint32_t i = 0; i < n; i++)
        vdt_shadow_ring_hold(ring, heads[i], 1, NULL, 0);
    vdt_info("ring %u: no in-flight list came with base %u; %u requests since used index %u go to "
             "the device again",
             index, ring->pos.avail, n, ring->pos.used);
    return true;
}

/*
 * Where the device's area of a ring of ours begins: a page, as the kernel's vDPA drivers ask for
 * (get_vq_align()), so that up to 511 used elements lie in one. At a multiple of 64 one of them
 * could lie on two pages, and QEMU before 9.0, as the device behind an IOMMU, writes its second
 * half, the length, to another address.
 */
#define DEVICE_ALIGN 4096u

void
vdt_shadow_measure(const struct vdt_shadow *s, const struct vdt_negotiation *n,
                   uint64_t need[VDT_ARENA_PARTS])
{
    memset(need, 0, VDT_ARENA_PARTS * sizeof(need[0]));
    for (uint32_t i = 0; i < s->ring_count; i++) {
        struct vdt_ring_format format = vdt_features_ring_format(n->device, s->rings[i].num);
        bool split = format.kind == VDT_RING_SPLIT;

        if (!vdt_shadow_ring_wanted(s, i))
            continue;
        need[split ? VDT_ARENA_READ : VDT_ARENA_WRITE] += vdt_ring_desc_size(&format) + 64;
        need[VDT_ARENA_READ] += vdt_ring_driver_size(&format) + 64;
        need[VDT_ARENA_WRITE] += vdt_ring_device_size(&format) + DEVICE_ALIGN;
        if (format.indirect)
            need[VDT_ARENA_READ] += vdt_inflight_table_size(format.num) + 64;
    }
    need[VDT_ARENA_READ] += 4096; /* the first frame */
    if (n->device_cvq >= 0)
        need[VDT_ARENA_CVQ] = 4 * 4096 + 2 * VDT_CVQ_BUFFER_SIZE;
    for (unsigned i = 0; i < VDT_ARENA_PARTS; i++)
        need[i] = need[i] ? need[i] : 4096;
}

static void
take_ring(struct vdt_arena *arena, const struct vdt_ring_format *format, bool cvq,
          struct vdt_ring_mem *mem, struct vdt_ring_addr *addr)
{
    enum vdt_arena_part read = cvq ? VDT_ARENA_CVQ : VDT_ARENA_READ;
    enum vdt_arena_part write = cvq ? VDT_ARENA_CVQ : VDT_ARENA_WRITE;
    size_t desc = vdt_ring_desc_size(format), driver = vdt_ring_driver_size(format),
           device = vdt_ring_device_size(format);

    mem->desc =
        vdt_arena_take(arena, format->kind == VDT_RING_SPLIT ? read : write, desc, 64, &addr->desc);
    mem->driver = vdt_arena_take(arena, read, driver, 64, &addr->driver);
    mem->device = vdt_arena_take(arena, write, device, DEVICE_ALIGN, &addr->device);
    memset(mem->desc, 0, desc);
    memset(mem->driver, 0, driver);
    memset(mem->device, 0, device);
}

/*
 * A device that only gets other addresses goes on with what it has fetched, by the ids it has read.
 * In a split ring those are heads, the same in the guest's ring and in ours; in a packed ring they
 * are the guest's own on one side and ours on the other, so it has to fetch once more.
 */
static bool
moves_base(const struct vdt_ring_format *format, bool warm)
{
    return !warm || format->kind == VDT_RING_PACKED;
}

static bool
program_ring(struct vdt_device *dev, uint32_t index, uint16_t num, struct vdt_ring_pos pos,
             bool set_base, const struct vdt_ring_addr *addr, int kick, GError **error)
{
    return VDT_DEVICE_CALL(dev, set_num, error, index, num) &&
           (!set_base || VDT_DEVICE_CALL(dev, set_base, error, index, pos)) &&
           VDT_DEVICE_CALL(dev, set_addr, error, index, addr) &&
           VDT_DEVICE_CALL(dev, set_kick, error, index, kick);
}

static void
relay_call(void *ctx)
{
    struct vdt_shadow_ring *ring = ctx;

    vdt_event_signal(ring->call);
}

/* The kernel signals eventfds; a frontend may have given us a socket (UML does). */
static bool
is_socket(int fd)
{
    int type;
    socklen_t len = sizeof(type);

    return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0;
}

/* Where a device that works on the guest's own ring signals: the frontend's eventfd, or one of ours
 * that is passed on where the frontend's is none. */
bool
vdt_shadow_point_call(struct vdt_shadow *s, uint32_t index, GError **error)
{
    struct vdt_shadow_ring *ring = &s->rings[index];
    bool relayed = is_socket(ring->call);

    vdt_source_clear(&ring->call_source);
    if (relayed)
        ring->call_source =
            vdt_event_source_new(s->options.context, ring->device_call, relay_call, ring);
    return VDT_DEVICE_CALL(s->dev, set_call, error, index,
                           relayed ? ring->device_call : ring->call);
}

bool
vdt_shadow_start_direct(struct vdt_shadow *s, uint32_t index, bool warm, GError **error)
{
    struct vdt_shadow_ring *ring = &s->rings[index];
    /* From the used index on, the device fetches what it had in flight from the guest's own ring.
     */
    struct vdt_ring_pos pos = {.avail = ring->pos.used, .used = ring->pos.used};
    struct vdt_ring_format format = format_of(s, ring->num);
    ring->direct = true;
    ring->direct_from = ring->pos.used;
    vdt_shadow_untrack_ring(s, index);
    return program_ring(s->dev, index, ring->num, pos, moves_base(&format, warm), &ring->gpa,
                        ring->kick, error) &&
           vdt_shadow_point_call(s, index, error);
}

static void
set_worker_side(struct vdt_shadow *s, struct vdt_shadow_ring *ring)
{
    ring->relay.guest_kick = ring->kick;
    ring->relay.guest_call = ring->call;
    ring->relay.device_kick = ring->device_kick;
    ring->relay.device_call = ring->device_call;
    ring->relay.attention = s->attention;
    ring->relay.table = s->place->table;
    ring->relay.log = s->log_all && s->log.words ? &s->log : NULL;
    /* A disk may have written more than it says: only a network device's word is taken. */
    ring->relay.dirty_used_width =
        s->options.dirty_used_width && s->dev->info.device_id == VIRTIO_ID_NET;
}

bool
vdt_shadow_start_relay(struct vdt_shadow *s, uint32_t index, bool warm, GError **error)
{
    struct vdt_shadow_ring *ring = &s->rings[index];
    struct vdt_ring_format format = format_of(s, ring->num);
    /* Where the device's ring begins: at the guest's used index, so that both positions are equal
     * once the requests in flight are posted again; at the initial place where it takes no other.
     */
    struct vdt_ring_pos pos = {.avail = ring->pos.used, .used = ring->pos.used};
    if (!s->dev->info.set_base)
        pos = vdt_ring_pos_initial(format.kind);

    struct vdt_relay_config config = {.format = format,
                                      .guest_mem = ring->guest_mem,
                                      .gpa = ring->gpa,
                                      .guest_pos = ring->pos,
                                      .device_pos = pos,
                                      .map = s->map};
    struct vdt_ring_addr addr;
    take_ring(s->place->arena, &format, false, &config.device_mem, &addr);
    if (format.indirect)
        config.table_memory.host =
            vdt_arena_take(s->place->arena, VDT_ARENA_READ, vdt_inflight_table_size(format.num), 64,
                           &config.table_memory.iova);
    vdt_relay_init(&ring->relay, &config);
    ring->relay_live = true;
    ring->direct = false;
    set_worker_side(s, ring);
    return program_ring(s->dev, index, format.num, pos, moves_base(&format, warm), &addr,
                        ring->device_kick, error) &&
           VDT_DEVICE_CALL(s->dev, set_call, error, index, ring->device_call);
}

bool
vdt_shadow_start_port(struct vdt_shadow *s, struct vdt_cvq_port *port, GError **error)
{
    uint16_t num = MIN(VDT_CVQ_RING_SIZE, s->dev->info.ring_max);
    struct vdt_ring_addr addr;

    *port = (struct vdt_cvq_port){
        .format = format_of(s, num), .kick_fd = s->cvq_kick, .call_fd = s->cvq_call};
    port->format.indirect = false;
    take_ring(s->place->arena, &port->format, true, &port->mem, &addr);
    port->out_size = port->in_size = VDT_CVQ_BUFFER_SIZE;
    port->out = vdt_arena_take(s->place->arena, VDT_ARENA_CVQ, port->out_size, 64, &port->out_iova);
    port->in = vdt_arena_take(s->place->arena, VDT_ARENA_CVQ, port->in_size, 64, &port->in_iova);
    memset(port->out, 0, port->out_size);
    memset(port->in, 0, port->in_size);
    vdt_event_drain(s->cvq_kick);
    vdt_event_drain(s->cvq_call);
    return program_ring(s->dev, (uint32_t) s->negotiation.device_cvq, num,
                        vdt_ring_pos_initial(port->format.kind), s->dev->info.set_base, &addr,
                        s->cvq_kick, error) &&
           VDT_DEVICE_CALL(s->dev, set_call, error, (uint32_t) s->negotiation.device_cvq,
                           s->cvq_call);
}

void
vdt_shadow_end_ring(struct vdt_shadow *s, struct vdt_shadow_ring *ring)
{
    if (ring->relay_live)
        vdt_relay_clear(&ring->relay);
    vdt_area_ring_close(&ring->area);
    /* A call that the source did not come to pass on: the guest may wait for it. */
    if (ring->call_source && vdt_event_drain(ring->device_call))
        vdt_event_signal(ring->call);
    vdt_source_clear(&ring->call_source);
    ring->relay_live = false;
    ring->active = false;
    ring->direct = false;
}

void
vdt_shadow_end_rings(struct vdt_shadow *s)
{
    for (uint32_t i = 0; i < s->ring_count; i++)
        vdt_shadow_end_ring(s, &s->rings[i]);
}
