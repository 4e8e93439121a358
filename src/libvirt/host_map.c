/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libvirt/host_map.h"

#include <string.h>

#include <vdpa-tracker/error.h>

#define HOST "host"
#define PREFIX "vdpa:"

static const char *const host_keys[] = {"socket-owner", "socket-mode", "socket-dir", "start-with",
                                        NULL};
static const char *const device_keys[] = {"device", "options", NULL};

static bool G_GNUC_PRINTF(3, 4)
    invalid(const struct vdt_host_map *map, GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *why = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "%s: %s", map->path, why);
    return false;
}

static bool
check_group(const struct vdt_host_map *map, const char *group, GError **error)
{
    bool host = g_str_equal(group, HOST);
    g_auto(GStrv) keys = g_key_file_get_keys(map->file, group, NULL, NULL);

    if (!host && (!g_str_has_prefix(group, PREFIX) || !group[strlen(PREFIX)]))
        return invalid(map, error, "[%.60s]: [" HOST "] or [" PREFIX "NAME] is wanted", group);
    for (unsigned i = 0; keys && keys[i]; i++) {
        if (!g_strv_contains(host ? host_keys : device_keys, keys[i]))
            return invalid(map, error, "the word '%.60s' in [%s] is not known", keys[i], group);
    }
    if (!host && !g_key_file_has_key(map->file, group, "device", NULL))
        return invalid(map, error, "[%s] lacks the line 'device = ...'", group);
    return true;
}

/* "socket-dir = FROM TO" */
static bool
take_move(struct vdt_host_map *map, GError **error)
{
    g_autofree char *text = g_key_file_get_string(map->file, HOST, "socket-dir", NULL);

    if (!text)
        return true;
    g_auto(GStrv) words = g_strsplit(text, " ", -1);
    if (g_strv_length(words) != 2 || words[0][0] != '/' || words[1][0] != '/')
        return invalid(map, error,
                       "socket-dir = %.80s: the folder in the domain's XML and the one of this "
                       "host are wanted",
                       text);
    map->moved_from = g_strdup(words[0]);
    map->moved_to = g_strdup(words[1]);
    return true;
}

static bool
take(struct vdt_host_map *map, GError **error)
{
    g_autoptr(GError) why = NULL;

    if (!g_key_file_load_from_file(map->file, map->path, G_KEY_FILE_NONE, &why)) {
        if (g_error_matches(why, G_FILE_ERROR, G_FILE_ERROR_NOENT))
            return invalid(map, error, "it is not there, so that no device has a name");
        return invalid(map, error, "%s", why->message);
    }
    g_auto(GStrv) groups = g_key_file_get_groups(map->file, NULL);
    for (unsigned i = 0; groups[i]; i++) {
        if (!check_group(map, groups[i], error))
            return false;
    }
    map->socket_owner = g_key_file_get_string(map->file, HOST, "socket-owner", NULL);
    map->socket_mode = g_key_file_get_string(map->file, HOST, "socket-mode", NULL);
    map->start_with = g_key_file_get_string(map->file, HOST, "start-with", NULL);
    if (map->start_with && !g_str_equal(map->start_with, "systemd") &&
        !g_str_equal(map->start_with, "fork"))
        return invalid(map, error, "start-with = %.60s: systemd or fork is wanted",
                       map->start_with);
    return take_move(map, error);
}

struct vdt_host_map *
vdt_host_map_load(const char *path, GError **error)
{
    VDT_AUTO(host_map) map = g_new0(struct vdt_host_map, 1);

    map->path = g_strdup(path);
    map->file = g_key_file_new();
    return take(map, error) ? g_steal_pointer(&map) : NULL;
}

void
vdt_host_map_free(struct vdt_host_map *map)
{
    if (!map)
        return;
    g_key_file_unref(map->file);
    g_free(map->path);
    g_free(map->socket_owner);
    g_free(map->socket_mode);
    g_free(map->moved_from);
    g_free(map->moved_to);
    g_free(map->start_with);
    g_free(map);
}

bool
vdt_host_map_find(const struct vdt_host_map *map, const char *name, struct vdt_host_device *ret,
                  GError **error)
{
    *ret = (struct vdt_host_device){0};
    if (!g_str_has_prefix(name, PREFIX) || !g_key_file_has_group(map->file, name)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED,
                    "this host has no device %.60s (there is no [%.60s] in %s)", name, name,
                    map->path);
        return false;
    }
    ret->device = g_key_file_get_string(map->file, name, "device", NULL);
    ret->options = g_key_file_get_string(map->file, name, "options", NULL);
    return true;
}

void
vdt_host_device_clear(struct vdt_host_device *device)
{
    g_free(device->device);
    g_free(device->options);
}
