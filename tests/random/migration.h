/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Migration: one seed, from the start of the guest to the last look at its books.
 */
#pragma once

#include "guest/ram.h"
#include "random/plan.h"

struct tally {
    unsigned long migrations, packed, in_flight, out_of_order, refused, no_suspend, twice;
    unsigned long resumed, cancelled; /* at the source: after a refusal, without */
    unsigned long passed_through, packed_through, wavered; /* before the log went on */
    unsigned long grown, nacked;
    unsigned long commands, chains, pages, looks;
};

/* Both memories are lent, and used by one seed after the other. NULL, or why it failed; g_free().
 */
char *migration_run(struct plan *plan, struct vdt_ram ram[2], struct tally *tally);
