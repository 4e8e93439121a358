/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "reference.h"

#include <string.h>

#define FAULT(name) (1u << VDT_FAULT_##name)

static void
put(uint8_t *at, const struct ref_desc *desc, uint16_t a, uint16_t b)
{
    memcpy(at, &desc->addr, 8);
    memcpy(at + 8, &desc->len, 4);
    memcpy(at + 12, &a, 2);
    memcpy(at + 14, &b, 2);
}

static const struct ref_desc *
look_ring(struct ref_walk *walk, unsigned slot, bool wrap)
{
    const struct ref_desc *desc = &walk->ring_shapes[ref_choose(&walk->choice, walk->ring_count)];
    uint16_t flags = desc->flags;

    walk->ring_touched |= 1u << slot;
    if (walk->kind == VDT_RING_SPLIT) {
        put(walk->ring + 16 * slot, desc, flags, desc->link);
    } else {
        bool avail = desc->bits == REF_AVAILABLE || desc->bits == REF_USED_NOW ? wrap : !wrap;
        bool used = desc->bits == REF_USED_NOW || desc->bits == REF_INVERTED ? wrap : !wrap;

        flags = (uint16_t) ((flags & 0x7f7f) | avail << 7 | used << 15);
        put(walk->ring + 16 * slot, desc, desc->link, flags);
    }
    return desc;
}

static const struct ref_desc *
look_table(struct ref_walk *walk, unsigned entry)
{
    const struct ref_desc *desc = &walk->entry_shapes[ref_choose(&walk->choice, walk->entry_count)];

    walk->table_touched |= 1u << entry;
    if (walk->kind == VDT_RING_SPLIT)
        put(walk->table + 16 * entry, desc, desc->flags, desc->link);
    else
        put(walk->table + 16 * entry, desc, desc->link, desc->flags);
    return desc;
}

/* One buffer more; what is wrong with it by itself and behind those before it. */
static uint32_t
append(struct ref_verdict *verdict, const struct ref_desc *desc, bool more, unsigned next)
{
    bool write = desc->flags & REF_WRITE;
    uint32_t faults = 0;

    if (!write && verdict->count > 0 && verdict->seg[verdict->count - 1].write)
        faults |= FAULT(ORDER);
    /* The end has to be a number of 64 bits too; no memory reaches up to there. */
    if (desc->len > 0 && desc->addr > UINT64_MAX - desc->len)
        faults |= FAULT(ADDRESS);
    verdict->seg[verdict->count++] =
        (struct ref_seg){desc->addr, desc->len, write, more, (uint16_t) next};
    if (write)
        verdict->writable += desc->len;
    else
        verdict->readable += desc->len;
    return faults;
}

/* A list that comes back to one of its own: who follows it finds that out either by counting or,
 * if the list goes from buffers to write back to one to read, by that. */
static uint32_t
loop(bool from_write, bool to_write)
{
    return FAULT(LOOP) | (from_write && !to_write ? FAULT(ORDER) : 0);
}

static void
read_table(struct ref_walk *walk, const struct ref_desc *desc, struct ref_verdict *verdict)
{
    unsigned entries = desc->len / 16, entry = 0, seen = 0;
    bool write[REF_NUM] = {false};

    if (!walk->indirect || desc->flags & REF_NEXT || desc->len == 0 || desc->len % 16 != 0 ||
        entries > walk->num) {
        verdict->faults = FAULT(INDIRECT);
        return;
    }
    if (desc->addr > UINT64_MAX - desc->len) {
        verdict->faults = FAULT(ADDRESS);
        return;
    }
    verdict->reads = true;
    if (desc->addr != REF_TABLE) {
        verdict->faults = FAULT(INDIRECT);
        return;
    }
    verdict->indirect = true;
    for (unsigned n = 1;; n++) {
        const struct ref_desc *next = look_table(walk, entry);
        bool more = walk->kind == VDT_RING_SPLIT ? next->flags & REF_NEXT : n < entries;

        if (walk->kind == VDT_RING_SPLIT && next->flags & REF_INDIRECT) {
            verdict->faults = FAULT(INDIRECT);
            return;
        }
        write[entry] = next->flags & REF_WRITE;
        seen |= 1u << entry;
        verdict->faults = append(verdict, next, more, n);
        if (verdict->faults || !more)
            return;
        if (walk->kind == VDT_RING_PACKED) {
            entry++;
        } else if (next->link >= entries) {
            verdict->faults = FAULT(NEXT);
            return;
        } else if (seen & 1u << next->link) {
            verdict->faults = loop(write[entry], write[next->link]);
            return;
        } else {
            entry = next->link;
        }
    }
}

static void
check_sum(struct ref_verdict *verdict)
{
    if (!verdict->faults && verdict->readable + verdict->writable > UINT32_MAX)
        verdict->faults = FAULT(TOO_LONG);
}

static void
start(struct ref_walk *walk, struct ref_verdict *verdict)
{
    walk->ring_touched = walk->table_touched = 0;
    verdict->faults = 0;
    verdict->empty = verdict->reads = verdict->indirect = false;
    verdict->count = verdict->direct = verdict->slots = 0;
    verdict->readable = verdict->writable = 0;
}

void
ref_split(struct ref_walk *walk, unsigned head, struct ref_verdict *verdict)
{
    unsigned slot = head;
    bool write[REF_NUM] = {false};

    start(walk, verdict);
    verdict->id = head;
    if (head >= walk->num) {
        verdict->faults = FAULT(HEAD);
        return;
    }
    for (;;) {
        const struct ref_desc *desc = look_ring(walk, slot, false);

        verdict->slots++;
        if (desc->flags & REF_INDIRECT) {
            verdict->indirect_slot = slot;
            read_table(walk, desc, verdict);
            break;
        }
        write[slot] = desc->flags & REF_WRITE;
        verdict->faults = append(verdict, desc, desc->flags & REF_NEXT, desc->link);
        verdict->direct++;
        if (verdict->faults || !(desc->flags & REF_NEXT))
            break;
        if (desc->link >= walk->num) {
            verdict->faults = FAULT(NEXT);
            break;
        }
        if (walk->ring_touched & 1u << desc->link) {
            verdict->faults = loop(write[slot], write[desc->link]);
            break;
        }
        slot = desc->link;
    }
    check_sum(verdict);
}

void
ref_packed(struct ref_walk *walk, uint16_t pos, unsigned room, struct ref_verdict *verdict)
{
    unsigned slot = pos & 0x7fff;
    bool wrap = pos >> 15;

    start(walk, verdict);
    verdict->indirect_slot = slot;
    for (;;) {
        const struct ref_desc *desc = look_ring(walk, slot, wrap);

        verdict->slots++;
        verdict->id = desc->link;
        if (desc->bits != REF_AVAILABLE) {
            verdict->empty = verdict->slots == 1;
            verdict->faults = verdict->empty ? 0 : FAULT(FLAGS);
            return;
        }
        if (room == 0) {
            verdict->faults = FAULT(AVAIL_INDEX);
            return;
        }
        if (desc->flags & REF_INDIRECT) {
            if (verdict->slots > 1)
                verdict->faults = FAULT(INDIRECT);
            else
                read_table(walk, desc, verdict);
            break;
        }
        verdict->faults = append(verdict, desc, desc->flags & REF_NEXT, 0);
        verdict->direct++;
        if (verdict->faults || !(desc->flags & REF_NEXT))
            break;
        if (verdict->slots == room) {
            verdict->faults = FAULT(TOO_LONG);
            return;
        }
        if (++slot == walk->num) {
            slot = 0;
            wrap = !wrap;
        }
    }
    check_sum(verdict);
}
