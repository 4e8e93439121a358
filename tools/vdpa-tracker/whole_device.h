/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whole device: the most that a guest of a device could need, as a state that another device may be
 * asked to take.
 */
#pragma once

#include "snapshot/snapshot.h"

/* All features and all rings at full size. Caller frees. */
struct vdt_snapshot *vdt_whole_device(struct vdt_device *dev, GError **error);
