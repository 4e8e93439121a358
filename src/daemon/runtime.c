/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

#include "base/fd.h"

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

    if (g_mkdir_with_parents(dir, 0711) == 0)
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

/* The file that is locked is still the one of that name: its last owner may have removed it while
 * we waited to open it. */
static bool
stands(int fd, const char *path)
{
    struct stat own, there;

    return fstat(fd, &own) == 0 && lstat(path, &there) == 0 && own.st_ino == there.st_ino &&
           own.st_dev == there.st_dev;
}

int
vdt_runtime_lock(const char *name, GError **error)
{
    g_autofree char *path = vdt_runtime_path(name, ".lock");

    for (unsigned tries = 0; tries < 100; tries++) {
        VDT_AUTO_FD fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) {
            if (stands(fd, path))
                return vdt_steal_fd(&fd);
            continue;
        }
        if (errno == EWOULDBLOCK)
            break;
        if (errno == EINTR)
            continue;
        /* The file stays: whether somebody else holds it is not known. */
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "cannot lock %s: %s", path,
                    g_strerror(errno));
        return -1;
    }
    g_set_error(error, VDT_ERROR, VDT_ERROR_BUSY,
                "a tracker named \"%s\" is running (%s is locked)", name, path);
    return -1;
}

void
vdt_runtime_unlock(const char *name, int lock)
{
    g_autofree char *path = vdt_runtime_path(name, ".lock");

    if (lock >= 0)
        unlink(path);
    vdt_close(lock);
}

char *
vdt_runtime_control_address(const char *name)
{
    g_autofree char *path = vdt_runtime_path(name, ".ctl");
    g_autofree char *escaped = g_dbus_address_escape_value(path);

    return g_strdup_printf("unix:path=%s", escaped);
}
