/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one error domain. A message is a sentence a stranger can act on: who could not do what,
 * why, and what follows.
 */
#pragma once

#include <glib.h>

/* What the shared library exports; everything else of it is hidden. */
#define VDT_PUBLIC __attribute__((visibility("default")))

G_BEGIN_DECLS

#define VDT_ERROR (vdt_error_quark())

/* What a caller can act on; the command line turns them into exit codes (design: 0, 1, 2, 3). */
typedef enum {
    VDT_ERROR_FAILED,      /* it went wrong; no finer class helps (exit 1) */
    VDT_ERROR_USAGE,       /* the caller's words are off (exit 2) */
    VDT_ERROR_REFUSED,     /* the state cannot be carried; nothing was changed (exit 3) */
    VDT_ERROR_INVALID,     /* a peer (guest, VMM, device, file) sent something malformed */
    VDT_ERROR_UNSUPPORTED, /* this device, kernel or build cannot do it */
    VDT_ERROR_TIMEOUT,     /* a bounded wait ran out */
    VDT_ERROR_BUSY,        /* held by somebody else, or in the wrong phase; later may work */
} VdtError;

VDT_PUBLIC GQuark vdt_error_quark(void);

G_END_DECLS
