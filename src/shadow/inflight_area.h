/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * In-flight area: a shared file that the frontend holds for us, in which each ring's requests in
 * flight are written down, so that a tracker that comes after a crash of this one can make them
 * available again: at least once. Layout: docs of vhost-user, "Inflight I/O tracking"; one region
 * of whole pages for each ring, sized for a packed ring, so that the kind need not be known when it
 * is made.
 *
 * The file comes back from the frontend, which may have written anything into it and may shorten
 * it: what read() returns is checked, private and bounded; what is needed at run time is kept in
 * private memory and only written through.
 *
 * For frontends that keep no area there is a file of our own, which says more: a region bears the
 * tag of the ring that it is about, tells that a device works on the guest's own ring (since which
 * used index), and has a copy, which counts while the region is written anew.
 *
 * Order against a crash of this process (not of the host): a chain is marked before it is posted;
 * a batch is noted before its used index is published, and cleared after it. Between the two the
 * guest's ring tells which.
 *
 * Thread: make, map, read, open, close: control. take, give, settle: the relay's.
 */
#pragma once

#include <glib.h>

#include "base/auto.h"
#include "shadow/inflight.h"

struct vdt_inflight_area;

/* A fresh file for @queues rings of at most @size; the caller's. -1 with @error. */
int vdt_inflight_area_make(uint16_t queues, uint16_t size, uint64_t *ret_size, GError **error);

/* Map the area at @offset of @fd (borrowed). NULL with @error where it does not hold that much. */
struct vdt_inflight_area *vdt_inflight_area_map(int fd, uint64_t offset, uint64_t size,
                                                uint16_t queues, uint16_t queue_size,
                                                GError **error);
void vdt_inflight_area_free(struct vdt_inflight_area *area); /* accepts NULL */
VDT_DEFINE_AUTO(inflight_area, vdt_inflight_area_free)

/* An area of our own: @fd (borrowed) holds own_size() bytes, zeros where nothing is known. */
uint64_t vdt_inflight_area_own_size(uint16_t queues, uint16_t size);
struct vdt_inflight_area *vdt_inflight_area_map_own(int fd, uint16_t queues, uint16_t size,
                                                    GError **error);

/* A request that was in flight. */
struct vdt_area_request {
    uint64_t counter;
    uint32_t seg;       /* packed: the first of @slots in @segs, raw: the last may be INDIRECT */
    uint16_t id, slots; /* split: the head, 1 */
};

struct vdt_area_history {
    bool known;     /* false: nothing was written down, or of an earlier life of the guest's ring */
    bool direct;    /* a device has worked on the guest's own ring since pos.used; no requests */
    uint64_t tag;   /* as it was opened with; 0 in a frontend's area */
    bool of_ring;   /* the caller's: it is about the ring that asks */
    uint16_t noted; /* the used position as it was written down last */
    struct vdt_ring_pos pos;
    GArray *requests; /* struct vdt_area_request in the order in which they were fetched */
    struct vdt_seg *segs;
};

void vdt_area_history_clear(struct vdt_area_history *history);

/*
 * What ring @index had in flight when its backend was last seen, and where it stood, by the area
 * and the guest's ring at @mem. False with @error: what is there cannot be.
 */
bool vdt_inflight_area_read(const struct vdt_inflight_area *area, uint32_t index,
                            const struct vdt_ring_format *format, const struct vdt_ring_mem *mem,
                            struct vdt_area_history *ret, GError **error);

/* Nothing that is written about ring @index counts any more. */
void vdt_inflight_area_forget(struct vdt_inflight_area *area, uint32_t index);
/* From here on nobody writes down what the ring has in flight: a device works on it itself. A
 * frontend's area has no word for that and forgets the ring. */
void vdt_inflight_area_set_direct(struct vdt_inflight_area *area, uint32_t index, uint64_t tag,
                                  uint16_t used);
/* A region of our own is opened anew: what it says is saved and stands until settled(), when all
 * that is resubmitted is written down again. Nothing happens to a frontend's. */
void vdt_inflight_area_save(struct vdt_inflight_area *area, uint32_t index);
void vdt_inflight_area_settled(struct vdt_inflight_area *area, uint32_t index);

/* One ring's region, as its relay writes it. */
struct vdt_area_ring {
    uint8_t *at; /* borrowed; NULL: closed */
    struct vdt_ring_format format;
    uint16_t entries;
    uint64_t counter;
    uint16_t *batch; /* owned, num: ids given and not settled */
    uint32_t staged;
    uint16_t *next, *first, *last; /* owned; packed: by entry; by id */
    uint16_t free_head;
};

/*
 * Begin to write at @pos with nothing in flight but what take() brings next: requests that are
 * resubmitted, in order. What is written about those of @heads stays until then (split); a packed
 * region begins anew, so that a crash between open() and the last of them loses the rest, unless
 * it was saved. @tag is kept in an area of our own. False where the ring is not in the area, or
 * larger than its region.
 */
bool vdt_area_ring_open(struct vdt_area_ring *ring, struct vdt_inflight_area *area, uint32_t index,
                        const struct vdt_ring_format *format, uint64_t tag, struct vdt_ring_pos pos,
                        const uint16_t *heads, uint32_t head_count);
void vdt_area_ring_close(struct vdt_area_ring *ring);

/* @id (as the device knows it) is about to be posted. Packed: the chain's descriptors in the ring
 * as the guest wrote them are kept from @first on; one INDIRECT for a table. */
void vdt_area_ring_take(struct vdt_area_ring *ring, uint16_t id, uint16_t guest_id, uint16_t slots,
                        const struct vdt_kept *kept, uint16_t first);
/* @id is given back; then, when a batch is to be published and when it is. */
void vdt_area_ring_give(struct vdt_area_ring *ring, uint16_t id);
/* Split: where ids that are given may be put instead, and counted in @staged. */
static inline uint16_t *
vdt_area_ring_batch(struct vdt_area_ring *ring)
{
    return ring->batch + ring->staged;
}
void vdt_area_ring_publishing(struct vdt_area_ring *ring, uint16_t used);
void vdt_area_ring_published(struct vdt_area_ring *ring, uint16_t used);
