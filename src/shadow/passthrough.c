/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Passthrough: the device works on the guest's own rings and the tracker costs nothing.
 *
 * Only where a later switch to shadow can tell exactly what is in flight. Requests are made
 * available in the order of the ring; what is not used yet is its window [used, avail) as long as
 * requests complete in order. That is certain with IN_ORDER. Without it a split ring shows it for
 * the past by used[i].id == avail[i], or by being full of unfinished requests; otherwise the window
 * may name finished requests and miss open ones. In a packed ring the used descriptors overwrite
 * the open ones, so that one has to be in order.
 */
#include "shadow/shadow_private.h"

#include "base/wire.h"
#include "virtio/features.h"

static bool
read_map(void *ctx, uint64_t addr, void *dst, uint32_t len)
{
    struct vdt_shadow *s = ctx;

    return vdt_guest_map_read(s->map, addr, dst, len);
}

typedef bool (*each_chain)(struct vdt_shadow_ring *ring, const struct vdt_chain *chain, uint32_t n);

/* The chains between used and avail of a packed ring in order: no slot there is overwritten yet.
 * False when one is malformed, does not end at avail, or @each wants no more. */
static bool
walk_packed_window(struct vdt_shadow *s, struct vdt_shadow_ring *ring,
                   const struct vdt_ring_format *format, each_chain each)
{
    struct vdt_ring_pos from = {.avail = ring->pos.used, .used = ring->pos.used};
    uint32_t slots = vdt_packed_distance(ring->pos.used, ring->pos.avail, format->num);
    g_autofree struct vdt_seg *segs = g_new(struct vdt_seg, 3u * ring->num);
    struct vdt_chain chain = {.seg = segs, .capacity = 3u * ring->num};
    struct vdt_reader reader = {.read = read_map, .ctx = s};
    struct vdt_guest_ring guest;

    vdt_guest_ring_init(&guest, format, &ring->guest_mem, from);
    for (uint32_t n = 0; guest.in_flight < slots; n++) {
        if (vdt_guest_ring_take(&guest, &reader, &chain) != VDT_TAKE_CHAIN ||
            !each(ring, &chain, n))
            return false;
    }
    return guest.in_flight == slots;
}

static bool
hold_chain(struct vdt_shadow_ring *ring, const struct vdt_chain *chain, uint32_t n)
{
    vdt_shadow_ring_hold(ring, chain->id, chain->slots, chain->seg, chain->count);
    if (chain->indirect)
        g_array_index(ring->held, struct vdt_held_request, n).table = (struct vdt_seg){
            .addr = chain->table_addr, .len = chain->table_len, .flags = VDT_SEG_INDIRECT};
    return true;
}

static bool
holds_chain(struct vdt_shadow_ring *ring, const struct vdt_chain *chain, uint32_t n)
{
    const struct vdt_held_request *held = &g_array_index(ring->held, struct vdt_held_request, n);

    return n < ring->held->len && held->id == chain->id && held->slots == chain->slots;
}

/* Is what the ring holds the window of its avail ring, so that a device can find it by itself? */
static bool
window_is_in_flight(struct vdt_shadow *s, struct vdt_shadow_ring *ring)
{
    struct vdt_ring_format format = vdt_features_ring_format(s->negotiation.device, ring->num);
    g_autofree uint16_t *heads = g_new(uint16_t, ring->num);
    struct vdt_guest_ring guest;
    bool ok;

    if (ring->held->len == 0 && ring->pos.avail == ring->pos.used)
        return true;
    if (format.kind == VDT_RING_PACKED)
        return walk_packed_window(s, ring, &format, holds_chain);
    vdt_guest_ring_init(&guest, &format, &ring->guest_mem, ring->pos);
    uint32_t n = vdt_guest_ring_heads(&guest, ring->pos.used, ring->pos.avail, heads, &ok);
    if (!ok || n != ring->held->len)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (g_array_index(ring->held, struct vdt_held_request, i).id != heads[i])
            return false;
    }
    return true;
}

/* Warm from shadow: the device's ring has to stand where the guest's does. */
static bool
positions_agree(const struct vdt_shadow_ring *ring)
{
    return !ring->relay_live || ring->in_step;
}

enum vdt_mode
vdt_shadow_choose_mode(struct vdt_shadow *s, bool anew, const char **ret_reason)
{
    const struct vdt_device_info *info = &s->dev->info;
    bool packed = s->negotiation.device & VDT_BIT(VIRTIO_F_RING_PACKED);
    bool in_order = s->negotiation.device & VDT_BIT(VIRTIO_F_IN_ORDER);
    const struct {
        bool shadow;
        const char *reason;
    } rules[] = {
        {s->options.policy == VDT_SHADOW_ALWAYS, "asked for (--shadow always)"},
        {s->log_all, "dirty logging is on"},
        {s->area != NULL && s->options.policy != VDT_SHADOW_NEVER,
         "the frontend keeps an in-flight area: what the device has is written down"},
        {s->place->translated,
         "guest memory does not fit the device's address range at IOVA = GPA"},
        {!info->suspend || !info->ring_state,
         "the device cannot be suspended or does not tell its ring state"},
        {!info->set_base || !info->enable_after_driver_ok,
         "the device cannot start its rings at the guest's positions after the replay"},
        {s->options.policy == VDT_SHADOW_AUTO && !info->passthrough,
         "the driver is not known to re-address suspended rings"},
        {packed && !in_order,
         "packed rings tell what is in flight only with IN_ORDER: used entries overwrite it"},
        {anew && s->events.late && s->events.late(s->ctx),
         "the device takes part of the control state only with its rings enabled: they start "
         "empty"},
        {anew && s->first_frame, "a frame of our own went out first: since then the device's "
                                 "transmit ring stands elsewhere than the guest's"},
    };

    /* What a ring that runs has in flight is known only once it stands. */
    bool stands = s->mode == VDT_MODE_FROZEN || s->mode == VDT_MODE_STOPPED;

    for (unsigned i = 0; i < G_N_ELEMENTS(rules); i++) {
        if (rules[i].shadow) {
            *ret_reason = rules[i].reason;
            return VDT_MODE_SHADOW;
        }
    }
    for (uint32_t i = 0; i < s->ring_count; i++) {
        if (!vdt_shadow_ring_wanted(s, i))
            continue;
        if (s->rings[i].broken) {
            *ret_reason = "a ring is out of service: no device is to work on it";
            return VDT_MODE_SHADOW;
        }
        if ((stands && !window_is_in_flight(s, &s->rings[i])) || !positions_agree(&s->rings[i])) {
            *ret_reason = "requests completed out of order: what is in flight cannot be handed to "
                          "the device in place";
            return VDT_MODE_SHADOW;
        }
    }
    *ret_reason = s->options.policy == VDT_SHADOW_NEVER
                      ? "asked for (--shadow never)"
                      : "no migration runs and the device can be suspended";
    return VDT_MODE_PASSTHROUGH;
}

/* How long a guest may take from writing an avail entry to publishing it. */
#define PUBLISH_US 20000

/* Finished entries of the avail ring that the guest has not overwritten: it has those that stand
 * one round before its newest. */
static uint16_t
visible(const struct vdt_shadow_ring *ring, uint16_t used_index)
{
    uint16_t ahead =
        (uint16_t) (vdt_load16_acquire((uint8_t *) ring->guest_mem.driver + 2) - used_index);

    return ahead < ring->num ? (uint16_t) (ring->num - ahead) : 0;
}

/* The guest runs on and overwrites the oldest entries first, before it publishes: one that does not
 * fit counts as overwritten if the guest's index covers it soon. */
static bool
overwritten(const struct vdt_shadow_ring *ring, uint16_t used_index, uint16_t back)
{
    int64_t deadline = g_get_monotonic_time() + PUBLISH_US;

    while (visible(ring, used_index) >= back) {
        if (g_get_monotonic_time() > deadline)
            return false;
        g_usleep(50);
    }
    return true;
}

/* used[i].id == avail[i] for what the used ring still shows of this device's work; nothing to show
 * is exact as well when it has finished nothing yet. */
static bool
completed_in_order(const struct vdt_shadow_ring *ring, uint16_t used_index)
{
    const uint8_t *avail = (const uint8_t *) ring->guest_mem.driver + 4;
    const uint8_t *used = (const uint8_t *) ring->guest_mem.device + 4;
    uint16_t finished = (uint16_t) (used_index - ring->direct_from);
    uint16_t window = MIN(MIN(finished, ring->num), visible(ring, used_index));

    for (uint16_t back = 1; back <= window; back++) {
        uint16_t at = (uint16_t) ((used_index - back) & (ring->num - 1));
        if (vdt_load32(used + 8u * at) != vdt_load16(avail + 2u * at))
            return back > 1 && overwritten(ring, used_index, back);
    }
    return window > 0 || finished == 0;
}

/*
 * A receive ring that the guest keeps full shows no finished entry at all. But then each of the num
 * descriptors is a request of its own, made available and not used: the last num entries of the
 * avail ring are all of them, so those the device has not fetched are known and the rest it has.
 */
static bool
all_unfinished(const struct vdt_shadow_ring *ring, uint16_t used_index)
{
    const uint8_t *avail = (const uint8_t *) ring->guest_mem.driver + 4;
    uint16_t ahead = (uint16_t) (vdt_load16_acquire(avail - 2) - used_index);
    g_autofree bool *seen = g_new0(bool, ring->num);

    for (uint16_t i = 0; i < ring->num && ahead == ring->num; i++) {
        uint16_t head = vdt_load16(avail + 2u * i);
        if (head >= ring->num || seen[head])
            return false;
        seen[head] = true;
    }
    return ahead == ring->num;
}

bool
vdt_shadow_window_exact(struct vdt_shadow *s, const struct vdt_shadow_ring *ring,
                        uint16_t used_index)
{
    struct vdt_ring_format format = vdt_features_ring_format(s->negotiation.device, ring->num);

    return format.in_order || all_unfinished(ring, used_index) ||
           completed_in_order(ring, used_index);
}

void
vdt_shadow_read_direct(struct vdt_shadow *s, uint32_t index)
{
    struct vdt_shadow_ring *ring = &s->rings[index];
    struct vdt_ring_format format = vdt_features_ring_format(s->negotiation.device, ring->num);
    g_autofree uint16_t *heads = g_new(uint16_t, ring->num);
    g_autoptr(GError) error = NULL;
    struct vdt_ring_pos pos = {0};
    struct vdt_guest_ring guest;
    bool ok = true;

    vdt_shadow_ring_forget(ring);
    ring->exact = false;
    ring->kept = true;
    bool told = VDT_DEVICE_CALL(s->dev, get_base, &error, index, &pos);
    if (!told)
        vdt_shadow_refuse_migration(s, error->message);
    if (format.kind == VDT_RING_SPLIT) {
        uint16_t used = vdt_load16((uint8_t *) ring->guest_mem.device + 2);

        /* A device that does not tell fetches everything from the used index on again. */
        pos = (struct vdt_ring_pos){.avail = told ? pos.avail : used, .used = used};
    } else if (!told) {
        return;
    }
    if (!vdt_ring_pos_valid(&format, pos)) {
        vdt_shadow_refuse_migration(
            s, "the device's ring position does not go with the guest's used ring");
        return;
    }
    ring->pos = ring->kept_pos = pos;
    if (pos.avail == pos.used) {
        ring->exact = told;
        return;
    }
    vdt_guest_ring_init(&guest, &format, &ring->guest_mem, pos);
    if (format.kind == VDT_RING_SPLIT) {
        uint32_t n = vdt_guest_ring_heads(&guest, pos.used, pos.avail, heads, &ok);
        for (uint32_t i = 0; ok && i < n; i++)
            vdt_shadow_ring_hold(ring, heads[i], 1, NULL, 0);
        ring->exact = ok && vdt_shadow_window_exact(s, ring, pos.used);
    } else {
        ring->exact = walk_packed_window(s, ring, &format, hold_chain);
    }
    if (!ring->exact && format.kind == VDT_RING_PACKED)
        vdt_shadow_refuse_migration(s, "a request in flight in a packed ring is malformed: what is "
                                       "in flight cannot be told");
    else if (!ring->exact)
        vdt_shadow_refuse_migration(
            s, "requests completed out of order while the device worked on the guest's own rings: "
               "what is in flight cannot be told (run with --shadow always)");
}
