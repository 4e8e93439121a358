/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "snapshot/snapshot.h"

/* Strings are "" rather than NULL (except @unmigratable), as decode makes them. */
struct vdt_snapshot *
vdt_snapshot_new(void)
{
    struct vdt_snapshot *snapshot = g_new0(struct vdt_snapshot, 1);

    snapshot->format = VDT_SNAPSHOT_FORMAT;
    snapshot->name = g_strdup("");
    snapshot->device = g_strdup("");
    snapshot->driver = g_strdup("");
    snapshot->uuid = g_strdup("");
    snapshot->tool_version = g_strdup("");
    snapshot->cvq_index = -1;
    vdt_net_state_init(&snapshot->net);
    return snapshot;
}

void
vdt_snapshot_free(struct vdt_snapshot *snapshot)
{
    if (!snapshot)
        return;
    for (unsigned i = 0; i < G_N_ELEMENTS(snapshot->rings); i++) {
        if (snapshot->rings[i].requests)
            g_free(snapshot->rings[i].requests);
        if (snapshot->rings[i].segs)
            g_free(snapshot->rings[i].segs);
    }
    g_free(snapshot->name);
    g_free(snapshot->device);
    g_free(snapshot->driver);
    g_free(snapshot->uuid);
    g_free(snapshot->tool_version);
    g_free(snapshot->unmigratable);
    g_free(snapshot);
}
