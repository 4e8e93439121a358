/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The public face of a snapshot. Encoding, files, text and diff are src/snapshot/ itself.
 */
#include <vdpa-tracker/snapshot.h>

#include "library/json_text.h"
#include "migration/admit.h"
#include "snapshot/snapshot.h"

bool
vdt_snapshot_is_live(const VdtSnapshot *snapshot)
{
    return snapshot->live;
}

unsigned
vdt_snapshot_get_format(const VdtSnapshot *snapshot)
{
    return snapshot->format;
}

const char *
vdt_snapshot_get_unmigratable(const VdtSnapshot *snapshot)
{
    return snapshot->unmigratable;
}

char *
vdt_snapshot_json(const VdtSnapshot *snapshot)
{
    return vdt_json_text(vdt_snapshot_to_json(snapshot));
}

GPtrArray *
vdt_snapshot_check(const VdtSnapshot *snapshot, VdtDevice *device, GError **error)
{
    return vdt_admit_reasons(snapshot, device, error);
}
