/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Scope: the alphabets that descriptors are drawn from, and how large each of them is.
 */
#pragma once

#include "reference.h"

#define SCOPE_SHAPES 1024u

enum scope_size { SCOPE_BRIEF, SCOPE_USUAL, SCOPE_NIGHTLY, SCOPE_SIZES };

struct scope {
    const char *name;
    enum vdt_ring_kind kind;
    unsigned num;
    bool indirect; /* negotiated, and tables are varied */
    /* Pairs of address and length for the ring's descriptors and for the table's entries. */
    unsigned ring_pairs[SCOPE_SIZES], entry_pairs[SCOPE_SIZES];
    uint64_t floor[SCOPE_SIZES]; /* tables there are; fewer: the enumeration has a defect */
};

extern const struct scope scopes[];
extern const unsigned scope_count;

struct scope_shapes {
    struct ref_desc ring[SCOPE_SHAPES], entry[SCOPE_SHAPES];
    unsigned ring_count, entry_count;
};

void scope_fill(const struct scope *scope, enum scope_size size, struct scope_shapes *shapes);
