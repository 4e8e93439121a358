/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Null device: it says yes to everything, does nothing, and costs next to nothing, so that what is
 * measured is the tracker. It can all that is asked of a device that is passed through.
 */
#pragma once

#include "device/device.h"

/* @rings data rings, no control queue. @held: requests that it has fetched from each and never
 * finishes. */
struct vdt_device *null_device_new(uint32_t rings, uint16_t held);
