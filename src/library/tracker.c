/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The public face of a NIC.
 */
#include <vdpa-tracker/tracker.h>

#include <string.h>

#include "base/fd.h"
#include "daemon/nic.h"
#include "library/json_text.h"

#define NAME_DEFAULT "tracker"
#define WORKERS_MAX 64u
#define DEADLINE_DEFAULT_MS 5000u
#define DEADLINE_MAX_MS 600000u

struct vdt_tracker {
    struct vdt_nic *nic;   /* owned */
    GMainContext *context; /* owned reference */
    bool serving;
    VdtTrackerEnded ended;
    gpointer ended_data;
    VdtTrackerCommand command;
    gpointer command_data;
};

/* The caller's struct may be older (shorter) than ours, or newer (longer); what we do not know must
 * not be asked for. */
static bool
take_options(VdtTrackerOptions *options, const VdtTrackerOptions *given, GError **error)
{
    const uint8_t *bytes = (const uint8_t *) given;

    memset(options, 0, sizeof(*options));
    if (!given)
        return true;
    for (gsize i = sizeof(*options); i < given->size; i++) {
        if (bytes[i] != 0) {
            g_set_error_literal(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                                "the tracker's options have fields that this library is too old "
                                "for; no tracker was made");
            return false;
        }
    }
    memcpy(options, given, MIN(given->size, sizeof(*options)));
    return true;
}

static bool
in_range(const char *what, uint64_t value, uint64_t most, GError **error)
{
    if (value <= most)
        return true;
    g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE,
                "%s: %" G_GUINT64_FORMAT " is more than %" G_GUINT64_FORMAT "; no tracker was made",
                what, value, most);
    return false;
}

static bool
to_nic_options(struct vdt_nic_options *nic, const VdtTrackerOptions *given, GError **error)
{
    VdtTrackerOptions options;

    G_STATIC_ASSERT((int) VDT_TRACKER_SHADOW_AUTO == (int) VDT_SHADOW_AUTO);
    G_STATIC_ASSERT((int) VDT_TRACKER_SHADOW_ALWAYS == (int) VDT_SHADOW_ALWAYS);
    G_STATIC_ASSERT((int) VDT_TRACKER_SHADOW_NEVER == (int) VDT_SHADOW_NEVER);

    if (!take_options(&options, given, error) ||
        !in_range("shadow", options.shadow, VDT_TRACKER_SHADOW_NEVER, error) ||
        !in_range("workers", options.workers, WORKERS_MAX, error) ||
        !in_range("deadline_ms", options.deadline_ms, DEADLINE_MAX_MS, error) ||
        !in_range("format", options.format, VDT_SNAPSHOT_FORMAT, error))
        return false;
    *nic = (struct vdt_nic_options){
        .name = options.name ? options.name : NAME_DEFAULT,
        .uuid = options.uuid,
        .policy = (enum vdt_shadow_policy) options.shadow,
        .workers = MAX(options.workers, 1u),
        .dirty_used_width = options.dirty_used_width,
        .allow_untracked = options.allow_untracked,
        .feature_mask = options.feature_mask,
        .mac_given = options.mac != NULL,
        .format = (unsigned) options.format,
        .deadline_ms = options.deadline_ms ? options.deadline_ms : DEADLINE_DEFAULT_MS,
        .context = options.context ? options.context : g_main_context_default(),
    };
    if (options.mac)
        memcpy(nic->mac, options.mac, sizeof(nic->mac));
    return true;
}

static void
on_command(void *ctx, const struct vdt_cvq_event *event)
{
    VdtTracker *tracker = ctx;
    g_autofree char *text = vdt_command_describe(&event->command);

    tracker->command(event->command.class, event->command.command, text, event->ack, event->us,
                     tracker->command_data);
}

static void
on_ended(void *ctx, const GError *reason)
{
    VdtTracker *tracker = ctx;

    tracker->serving = false;
    if (tracker->ended)
        tracker->ended(tracker, reason, tracker->ended_data); /* may free the tracker */
}

VdtTracker *
vdt_tracker_new(VdtDevice *device, const VdtTrackerOptions *options, GError **error)
{
    struct vdt_nic_options nic;

    if (!to_nic_options(&nic, options, error)) {
        vdt_device_close(device);
        return NULL;
    }
    g_autoptr(VdtTracker) tracker = g_new0(VdtTracker, 1);
    tracker->context = g_main_context_ref(nic.context);
    tracker->nic = vdt_nic_new(device, &nic, error);
    return tracker->nic ? g_steal_pointer(&tracker) : NULL;
}

void
vdt_tracker_free(VdtTracker *tracker)
{
    if (!tracker)
        return;
    vdt_nic_free(tracker->nic);
    g_main_context_unref(tracker->context);
    g_free(tracker);
}

bool
vdt_tracker_serve(VdtTracker *tracker, int fd, VdtTrackerEnded ended, gpointer user_data,
                  GError **error)
{
    if (tracker->serving) {
        vdt_close(fd);
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_BUSY,
                            "a VMM is being served already; the new one was hung up on");
        return false;
    }
    tracker->serving = true;
    tracker->ended = ended;
    tracker->ended_data = user_data;
    vdt_nic_connect(tracker->nic, fd, on_ended, tracker);
    return true;
}

void
vdt_tracker_set_command_func(VdtTracker *tracker, VdtTrackerCommand func, gpointer user_data)
{
    const struct vdt_nic_watch watch = {func ? on_command : NULL, tracker};

    tracker->command = func;
    tracker->command_data = user_data;
    vdt_nic_set_watch(tracker->nic, &watch);
}

uint64_t
vdt_tracker_get_features(VdtTracker *tracker)
{
    return vdt_nic_offered(tracker->nic);
}

char *
vdt_tracker_status_json(VdtTracker *tracker)
{
    return vdt_json_text(vdt_nic_status(tracker->nic));
}

VdtSnapshot *
vdt_tracker_snapshot(VdtTracker *tracker, GError **error)
{
    return vdt_nic_snapshot(tracker->nic, error);
}

bool
vdt_tracker_restore(VdtTracker *tracker, const VdtSnapshot *snapshot, unsigned *ret_commands,
                    GError **error)
{
    unsigned commands;

    if (!vdt_nic_restore(tracker->nic, snapshot, &commands, error))
        return false;
    if (ret_commands)
        *ret_commands = commands;
    return true;
}

bool
vdt_tracker_swap(VdtTracker *tracker, const char *spec, char **ret_report, GError **error)
{
    struct vdt_swap_report report = {0};
    bool ok = vdt_nic_swap(tracker->nic, spec, &report, error);

    if (ok && ret_report)
        *ret_report = vdt_json_text(vdt_swap_report_to_json(&report));
    vdt_swap_report_clear(&report);
    return ok;
}
