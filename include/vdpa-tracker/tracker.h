/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tracker: one guest network (or block) device, served over vhost-user (QEMU's
 * docs/interop/vhost-user.rst) and carried by a vDPA device: rings are shadowed and dirty pages
 * logged while a migration runs, control commands are followed always.
 *
 * Thread: every call is made on the thread that runs the tracker's GMainContext, and every callback
 * comes from that context. A call may block for as long as the device takes, at most @deadline_ms
 * for each thing that is waited for. Data threads are the tracker's own.
 *
 * In the process: the first guest memory that is mapped installs a SIGBUS handler, which passes on
 * the faults that are not ours; install yours before. SIGPIPE has to be ignored.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <vdpa-tracker/device.h>
#include <vdpa-tracker/error.h>
#include <vdpa-tracker/snapshot.h>

G_BEGIN_DECLS

typedef struct vdt_tracker VdtTracker;

/* When the device works on our rings instead of the guest's own. */
typedef enum {
    VDT_TRACKER_SHADOW_AUTO, /* as long as the driver's row of docs/devices.md asks for it */
    VDT_TRACKER_SHADOW_ALWAYS,
    VDT_TRACKER_SHADOW_NEVER, /* no migration then */
} VdtTrackerShadow;

/*
 * Begin with VDT_TRACKER_OPTIONS_INIT and set what is to differ: zero is the default of each field.
 * Later versions add fields at the end; @size tells which of them the caller knows. Nothing is kept
 * of it but a reference to @context.
 */
typedef struct {
    gsize size;            /* of this struct, as the caller was compiled with */
    const char *name;      /* in messages, status and snapshots; "tracker" */
    const char *uuid;      /* of the VM, for snapshots; none */
    GMainContext *context; /* the default one */
    VdtTrackerShadow shadow;
    unsigned workers;      /* data threads, 1 to 64; 1 */
    unsigned deadline_ms;  /* of each wait for the device; 5000 */
    uint64_t feature_mask; /* offer no feature outside; 0 is no limit */
    const uint8_t *mac;    /* 6 bytes: the guest's, for VMMs that keep the control queue; none */
    bool dirty_used_width; /* log only as many bytes as the device says it wrote */
    bool allow_untracked;  /* offer commands that cannot be followed; using one makes the state
                            * unmigratable */
    uint64_t format;       /* of the state that goes to a VMM (vdt_snapshot_encode_as()); 0 is the
                            * current one. 64 bits: behind what older callers know, padding too */
} VdtTrackerOptions;

#define VDT_TRACKER_OPTIONS_INIT                                                                   \
    {                                                                                              \
        sizeof(VdtTrackerOptions)                                                                  \
    }

/*
 * @device belongs to the tracker from now on, also on error. @options may be NULL. NULL with
 * @error: neither a network nor a block device, or newer options than this library knows
 * (VDT_ERROR_UNSUPPORTED); a value out of range (VDT_ERROR_USAGE).
 */
VDT_PUBLIC VdtTracker *vdt_tracker_new(VdtDevice *device, const VdtTrackerOptions *options,
                                       GError **error);
/* Accepts NULL. The VMM is hung up on without a callback, the device is reset and closed. */
VDT_PUBLIC void vdt_tracker_free(VdtTracker *tracker);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdtTracker, vdt_tracker_free)

/* The VMM has gone: @reason is NULL for an orderly end, and belongs to the caller. Comes once for
 * each vdt_tracker_serve() that returned true. It may serve again, or free the tracker. */
typedef void (*VdtTrackerEnded)(VdtTracker *tracker, const GError *reason, gpointer user_data);

/*
 * Serve the VMM at @fd, a connected unix stream socket, which belongs to the tracker from now on,
 * also on error. One VMM at a time: VDT_ERROR_BUSY otherwise. @ended may be NULL. What the guest's
 * device was is kept over a VMM's going and coming.
 */
VDT_PUBLIC bool vdt_tracker_serve(VdtTracker *tracker, int fd, VdtTrackerEnded ended,
                                  gpointer user_data, GError **error);

/*
 * A control command of the guest is done (virtio 1.2, 5.1.6.5): @command_class and @command, @text
 * for people, @ack 0 for OK, @us microseconds from the guest's ring to the answer. Must not call
 * the tracker. One listener; a NULL function takes it away.
 */
typedef void (*VdtTrackerCommand)(uint8_t command_class, uint8_t command, const char *text,
                                  uint8_t ack, int64_t us, gpointer user_data);
VDT_PUBLIC void vdt_tracker_set_command_func(VdtTracker *tracker, VdtTrackerCommand func,
                                             gpointer user_data);

/* Device features as offered to the VMM, without vhost-user's own bits. */
VDT_PUBLIC uint64_t vdt_tracker_get_features(VdtTracker *tracker);

/* Mode, rings, rates, control state and what stands in the way of a migration, one JSON object;
 * that of "vdpa-tracker status --json". g_free(). */
VDT_PUBLIC char *vdt_tracker_status_json(VdtTracker *tracker);

/* Stopped if the guest's rings were stopped, else live. The caller owns it. */
VDT_PUBLIC VdtSnapshot *vdt_tracker_snapshot(VdtTracker *tracker, GError **error);

/*
 * Take a state. A stopped one: with the guest's next start, only while no ring runs
 * (VDT_ERROR_BUSY). A live one: its control state, at once if the guest runs. VDT_ERROR_REFUSED
 * with every reason, and nothing was changed. @ret_commands (NULL if not wanted): replayed now, 0
 * when that is to come.
 */
VDT_PUBLIC bool vdt_tracker_restore(VdtTracker *tracker, const VdtSnapshot *snapshot,
                                    unsigned *ret_commands, GError **error);

/*
 * Move the guest to another device (@spec as in vdt_device_open()) while it runs: open, check,
 * freeze, replay, go on. Fails with VDT_ERROR_REFUSED before anything was touched, or later with
 * the first device going on, if it can; @error says which. @ret_report (NULL if not wanted): what
 * it took, a JSON object, g_free(). Needs locked memory (RLIMIT_MEMLOCK) of twice the guest's.
 */
VDT_PUBLIC bool vdt_tracker_swap(VdtTracker *tracker, const char *spec, char **ret_report,
                                 GError **error);

G_END_DECLS
