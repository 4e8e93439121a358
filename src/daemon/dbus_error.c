/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/dbus_error.h"

#include <gio/gio.h>

#include <vdpa-tracker/error.h>

#define PREFIX "io.github.vdpa_tracker.Error."

static const GDBusErrorEntry entries[] = {
    {VDT_ERROR_FAILED, PREFIX "Failed"},
    {VDT_ERROR_USAGE, PREFIX "Usage"},
    {VDT_ERROR_REFUSED, PREFIX "Refused"},
    {VDT_ERROR_INVALID, PREFIX "Invalid"},
    {VDT_ERROR_UNSUPPORTED, PREFIX "Unsupported"},
    {VDT_ERROR_TIMEOUT, PREFIX "Timeout"},
    {VDT_ERROR_BUSY, PREFIX "Busy"},
};

void
vdt_dbus_error_register(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(entries); i++)
        g_dbus_error_register_error(VDT_ERROR, entries[i].error_code, entries[i].dbus_error_name);
}
