/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reference: what the text of the standard says about one chain (virtio 1.2, 2.7.5 and 2.8.6 to
 * 2.8.7), written to be naive and without a look at the ring code, whose judge it is.
 *
 * A descriptor is chosen when the reader first wants to see it, so that what nobody looks at is not
 * varied: reading and enumerating are one. Nobody may look at a descriptor twice.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "virtio/ring.h"

#define REF_NUM 4u              /* largest ring and table */
#define REF_TABLE 0x40000000ull /* where the indirect table stands */
#define REF_HOLE 0x80000000ull  /* where no memory is */

#define REF_NEXT 1u
#define REF_WRITE 2u
#define REF_INDIRECT 4u

/* How the AVAIL and USED bits of a packed descriptor stand to the wrap counter of its place. */
enum ref_bits { REF_AVAILABLE, REF_USED_NOW, REF_USED_LAP, REF_INVERTED };

/* Split: @link is next, packed: the buffer id. */
struct ref_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t link;
    enum ref_bits bits;
};

/* Digits that are chosen one by one, each with a radix that may depend on those before it. */
#define REF_DIGITS 12u
struct ref_choice {
    unsigned used;  /* in this walk */
    unsigned known; /* chosen already */
    uint16_t digit[REF_DIGITS], radix[REF_DIGITS];
};

static inline unsigned
ref_choose(struct ref_choice *choice, unsigned radix)
{
    unsigned i = choice->used++;

    if (i == choice->known) {
        choice->digit[i] = 0;
        choice->radix[i] = (uint16_t) radix;
        choice->known++;
    }
    return choice->digit[i];
}

struct ref_walk {
    enum vdt_ring_kind kind;
    unsigned num;
    bool indirect; /* negotiated */
    /* Alphabets of the ring's descriptors and of the table's entries. */
    const struct ref_desc *ring_shapes, *entry_shapes;
    unsigned ring_count, entry_count;
    /* The memory that the reader under test gets to see. */
    uint8_t *ring, *table;
    uint32_t ring_touched, table_touched; /* bit for each that this walk has chosen */
    struct ref_choice choice;
};

struct ref_seg {
    uint64_t addr;
    uint32_t len;
    bool write, more;
    uint16_t next; /* split, with @more */
};

struct ref_verdict {
    uint32_t faults; /* bit for each enum vdt_ring_fault that describes it; 0: the chain is good */
    bool empty;      /* packed: nothing is available */
    bool reads;      /* the table is to be fetched */
    bool indirect;
    unsigned count, direct, slots, indirect_slot, id;
    uint64_t readable, writable;
    struct ref_seg seg[2 * REF_NUM];
};

void ref_split(struct ref_walk *walk, unsigned head, struct ref_verdict *verdict);
/* @pos: slot and wrap counter; @room: slots that are not in flight. */
void ref_packed(struct ref_walk *walk, uint16_t pos, unsigned room, struct ref_verdict *verdict);
