/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Snapshot: everything a fresh device needs to go on where another one stopped: identity, features,
 * config space, ring positions with what was in flight, control state. Bytes: docs/state-format.md.
 *
 * A live snapshot was taken of a running guest: its control state is exact, its rings
 * informational. A stopped one carries both.
 *
 * Plain data: no thread of its own, any thread may use it, one at a time. A snapshot in hand has
 * passed every check of the format, whatever it was read from.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vdpa-tracker/device.h>
#include <vdpa-tracker/error.h>

G_BEGIN_DECLS

typedef struct vdt_snapshot VdtSnapshot;

VDT_PUBLIC void vdt_snapshot_free(VdtSnapshot *snapshot); /* accepts NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdtSnapshot, vdt_snapshot_free)

/*
 * Bytes to carry any way one likes: framed, with version and checksum, canonical (equal snapshots
 * give equal bytes), at most 8 MiB. decode takes what strangers send: VDT_ERROR_INVALID says what
 * is malformed and where, also for a format newer than this library. The caller owns what comes
 * back; @bytes is not kept.
 */
VDT_PUBLIC GBytes *vdt_snapshot_encode(const VdtSnapshot *snapshot, GError **error);
VDT_PUBLIC VdtSnapshot *vdt_snapshot_decode(const uint8_t *bytes, size_t len, GError **error);

/* For an older reader: the same in format @format (docs/state-format.md, "Versions"); 0 is the
 * current one. VDT_ERROR_REFUSED names what cannot be said in it, VDT_ERROR_USAGE says which
 * formats there are. */
VDT_PUBLIC GBytes *vdt_snapshot_encode_as(const VdtSnapshot *snapshot, unsigned format,
                                          GError **error);
VDT_PUBLIC bool vdt_snapshot_save_as(const VdtSnapshot *snapshot, const char *path, unsigned format,
                                     GError **error);
/* The format of the bytes that it was read from. */
VDT_PUBLIC unsigned vdt_snapshot_get_format(const VdtSnapshot *snapshot);

/* The same with a file; "-" is standard input or output. At any instant, also that of a power
 * failure, the file is the old or the new one. */
VDT_PUBLIC bool vdt_snapshot_save(const VdtSnapshot *snapshot, const char *path, GError **error);
VDT_PUBLIC VdtSnapshot *vdt_snapshot_load(const char *path, GError **error);

VDT_PUBLIC bool vdt_snapshot_is_live(const VdtSnapshot *snapshot);
/* Why no device can take it (the guest used a command that is not tracked, ...); NULL if nothing is
 * in the way. Belongs to the snapshot. */
VDT_PUBLIC const char *vdt_snapshot_get_unmigratable(const VdtSnapshot *snapshot);

/* For people, several lines; for scripts, one JSON object (keys: docs/state-format.md). g_free().
 */
VDT_PUBLIC char *vdt_snapshot_to_text(const VdtSnapshot *snapshot);
VDT_PUBLIC char *vdt_snapshot_json(const VdtSnapshot *snapshot);

/* One line a difference, field by field; empty when equal. Time, format and place of writing do not
 * count. Of char *, g_ptr_array_unref(). */
VDT_PUBLIC GPtrArray *vdt_snapshot_diff(const VdtSnapshot *a, const VdtSnapshot *b);

/*
 * Every reason why @device cannot take @snapshot, a sentence each; empty when it can. Nothing is
 * changed in either, so ask before anything is stopped. Of char *, g_ptr_array_unref(). NULL with
 * @error where the device does not answer. Thread: the device's.
 */
VDT_PUBLIC GPtrArray *vdt_snapshot_check(const VdtSnapshot *snapshot, VdtDevice *device,
                                         GError **error);

G_END_DECLS
