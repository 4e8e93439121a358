/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ledger: the guest's books against what a stopped side says that it still has. Each chain that the
 * guest made available came back, or is on the list of requests in flight, or was not fetched yet:
 * exactly one of the three, chain by chain.
 */
#pragma once

#include "guest/driver.h"
#include "snapshot/snapshot.h"

/* NULL, or what does not agree. g_free(). The driver has taken what came back. */
char *ledger_check(struct vdt_driver *driver, const struct vdt_snapshot *snapshot);

/* Which frame went out on which pair, so that a later one that came back first is noticed. */
struct ledger_order {
    GByteArray *pair; /* owned: of each frame, by number */
};

void ledger_order_note(struct ledger_order *order, struct vdt_driver *driver);
/* Is a frame still in flight that was sent before one of the same ring that has come back? */
bool ledger_order_gap(const struct ledger_order *order, struct vdt_driver *driver);
