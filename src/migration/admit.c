/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "migration/admit.h"

#include <vdpa-tracker/error.h>

#include "base/wire.h"

bool
vdt_admit_read_config(struct vdt_device *dev, uint8_t config[VDT_CONFIG_MAX], uint32_t *ret_len,
                      GError **error)
{
    uint32_t len = MIN(dev->info.config_size, VDT_CONFIG_MAX);

    if (len > 0 && !VDT_DEVICE_CALL(dev, get_config, error, 0, config, len))
        return false;
    *ret_len = len;
    return true;
}

GPtrArray *
vdt_admit_reasons(const struct vdt_snapshot *snapshot, struct vdt_device *dev, GError **error)
{
    uint8_t config[VDT_CONFIG_MAX] = {0};
    uint32_t len;

    if (!vdt_admit_read_config(dev, config, &len, error))
        return NULL;
    return vdt_snapshot_compat(snapshot, &dev->info, config, len);
}

static char *
join(GPtrArray *lines)
{
    GString *text = g_string_new(NULL);

    for (guint i = 0; i < lines->len; i++)
        g_string_append_printf(text, "%s%s", i ? "; " : "", (const char *) lines->pdata[i]);
    return g_string_free(text, FALSE);
}

char *
vdt_admit_memory(struct vdt_device *dev, uint64_t memory)
{
    uint64_t pinned, limit, need;

    if (memory == 0 || !dev->ops->memory_limit || !dev->ops->memory_limit(dev, &pinned, &limit))
        return NULL;
    bool beyond = !vdt_range_end(pinned, memory, &need);
    if (!beyond && need <= limit)
        return NULL;
    return g_strdup_printf("device pins %" G_GUINT64_FORMAT
                           " MiB of guest memory beside %" G_GUINT64_FORMAT
                           " MiB that are pinned already, and RLIMIT_MEMLOCK is %" G_GUINT64_FORMAT
                           " MiB (LimitMEMLOCK= in the unit, 'ulimit -l')",
                           (memory >> 20) + 1, pinned >> 20, limit >> 20);
}

bool
vdt_admit(const struct vdt_snapshot *snapshot, struct vdt_device *dev, uint64_t memory,
          GError **error)
{
    g_autoptr(GPtrArray) reasons = vdt_admit_reasons(snapshot, dev, error);

    if (!reasons)
        return false;
    char *beyond = vdt_admit_memory(dev, memory);
    if (beyond)
        g_ptr_array_add(reasons, beyond);
    if (reasons->len == 0)
        return true;
    g_autofree char *text = join(reasons);
    g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED, "%s cannot take the state: %s", dev->info.name,
                text);
    return false;
}

bool
vdt_admit_read_back(struct vdt_device *dev, const struct vdt_net_state *state, GError **error)
{
    g_autofree struct vdt_net_state *held = g_new0(struct vdt_net_state, 1);

    if (!dev->ops->read_net_state)
        return true;
    if (!dev->ops->read_net_state(dev, held, error))
        return false;
    /* Replay sends explicit values, also for what the guest never set: those may stand beside. */
    held->set &= state->set;
    held->announce = state->announce;

    g_autoptr(GPtrArray) lines = vdt_net_state_diff(state, held);
    if (lines->len == 0)
        return true;
    g_autofree char *text = join(lines);
    g_set_error(
        error, VDT_ERROR, VDT_ERROR_FAILED,
        "%s answered OK to every command but holds something else (A: asked for, B: held): %s",
        dev->info.name, text);
    return false;
}
