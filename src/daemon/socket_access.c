/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/socket_access.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vdpa-tracker/error.h>

static bool
find_user(const char *name, uid_t *ret_uid)
{
    const struct passwd *user = getpwnam(name);
    guint64 number;

    if (user)
        *ret_uid = user->pw_uid;
    else if (g_ascii_string_to_unsigned(name, 10, 0, UINT32_MAX - 1, &number, NULL))
        *ret_uid = (uid_t) number;
    else
        return false;
    return true;
}

static bool
find_group(const char *name, gid_t *ret_gid)
{
    const struct group *group = getgrnam(name);
    guint64 number;

    if (group)
        *ret_gid = group->gr_gid;
    else if (g_ascii_string_to_unsigned(name, 10, 0, UINT32_MAX - 1, &number, NULL))
        *ret_gid = (gid_t) number;
    else
        return false;
    return true;
}

bool
vdt_socket_access_parse(struct vdt_socket_access *access, const char *owner, const char *mode,
                        GError **error)
{
    guint64 bits;

    *access = (struct vdt_socket_access){(uid_t) -1, (gid_t) -1, 0};
    if (owner) {
        g_auto(GStrv) words = g_strsplit(owner, ":", 2);
        const char *group = words[0] ? words[1] : NULL;

        if ((!words[0] || (!words[0][0] && !group)) ||
            (words[0][0] && !find_user(words[0], &access->uid)) ||
            (group && !find_group(group, &access->gid))) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE,
                        "--socket-owner %s: USER, USER:GROUP or :GROUP of this host is wanted",
                        owner);
            return false;
        }
    }
    if (mode) {
        if (!g_ascii_string_to_unsigned(mode, 8, 1, 0777, &bits, NULL)) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE,
                        "--socket-mode %s: octal permissions like 0660 are wanted", mode);
            return false;
        }
        access->mode = (mode_t) bits;
    }
    return true;
}

bool
vdt_socket_access_apply(const struct vdt_socket_access *access, const char *path, GError **error)
{
    bool owned = access->uid != (uid_t) -1 || access->gid != (gid_t) -1;

    if ((!owned || lchown(path, access->uid, access->gid) == 0) &&
        (!access->mode || chmod(path, access->mode) == 0))
        return true;
    g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED,
                "the socket %s cannot be given to the VMM's user: %s", path, g_strerror(errno));
    return false;
}
