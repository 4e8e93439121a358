/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/runtime.h"

#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <vdpa-tracker/error.h>

#define NAME_MAX_LEN 64u

const char *
vdt_runtime_dir(void)
{
    const char *dir = g_getenv("VDPA_TRACKER_RUNTIME_DIR");

    return dir && *dir ? dir : "/run/vdpa-tracker";
}

bool
vdt_runtime_dir_make(GError **error)
{
    const char *dir = vdt_runtime_dir();

    if (g_mkdir_with_parents(dir, 0750) == 0)
        return true;
    g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED,
                "the runtime directory %s cannot be made: %s (VDPA_TRACKER_RUNTIME_DIR names "
                "another)",
                dir, g_strerror(errno));
    return false;
}

bool
vdt_runtime_name_valid(const char *name, GError **error)
{
    size_t len = strlen(name);
    bool ok = len > 0 && len <= NAME_MAX_LEN && name[0] != '.' && name[0] != '-';

    for (size_t i = 0; ok && i < len; i++)
        ok = g_ascii_isalnum(name[i]) || strchr("-_.", name[i]);
    if (!ok)
        g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE,
                    "\"%s\" is no tracker's name: letters, digits, '-', '_' and '.', at most %u",
                    name, NAME_MAX_LEN);
    return ok;
}

char *
vdt_runtime_path(const char *name, const char *suffix)
{
    return g_strdup_printf("%s/%s%s", vdt_runtime_dir(), name, suffix);
}

char *
vdt_runtime_control_address(const char *name)
{
    g_autofree char *path = vdt_runtime_path(name, ".ctl");
    g_autofree char *escaped = g_dbus_address_escape_value(path);

    return g_strdup_printf("unix:path=%s", escaped);
}
