/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lib/leak.h"

#include "libvirt/host_map.h"

#include <glib/gstdio.h>
#include <string.h>

#include <vdpa-tracker/error.h>

VDT_SUITE(host_map);

static struct vdt_host_map *
load(const char *text, GError **error)
{
    g_autofree char *path = g_strdup_printf("%s/vdt-host-map-XXXXXX", g_get_tmp_dir());
    int fd = g_mkstemp(path);

    cr_assert(fd >= 0 && g_close(fd, NULL) && g_file_set_contents(path, text, -1, NULL));
    struct vdt_host_map *map = vdt_host_map_load(path, error);
    g_unlink(path);
    return map;
}

Test(host_map, a_name_is_a_device_here)
{
    g_autoptr(GError) error = NULL;
    struct vdt_host_device device;
    VDT_AUTO(host_map)
    map = load("# ours\n[host]\nsocket-owner = libvirt-qemu:kvm\n"
               "socket-mode = 0660\nsocket-dir = /run/a /run/b\n"
               "start-with = fork\n"
               "[vdpa:blue]\ndevice = vhost-vdpa:/dev/vhost-vdpa-3\n"
               "options = --workers 2 --shadow always\n"
               "[vdpa:red]\ndevice = sim:\n",
               &error);

    cr_assert(map, "%s", error ? error->message : "");
    cr_expect_str_eq(map->socket_owner, "libvirt-qemu:kvm");
    cr_expect_str_eq(map->socket_mode, "0660");
    cr_expect_str_eq(map->moved_from, "/run/a");
    cr_expect_str_eq(map->moved_to, "/run/b");
    cr_expect_str_eq(map->start_with, "fork");
    cr_assert(vdt_host_map_find(map, "vdpa:blue", &device, &error));
    cr_expect_str_eq(device.device, "vhost-vdpa:/dev/vhost-vdpa-3");
    cr_expect_str_eq(device.options, "--workers 2 --shadow always");
    vdt_host_device_clear(&device);
    cr_assert(vdt_host_map_find(map, "vdpa:red", &device, &error));
    cr_expect_null(device.options);
    vdt_host_device_clear(&device);
}

Test(host_map, a_name_that_is_none_here_is_a_refusal)
{
    static const char *const names[] = {"vdpa:green", "host", "blue", "", "vdpa:"};
    VDT_AUTO(host_map) map = load("[host]\n[vdpa:blue]\ndevice = sim:\n", NULL);

    cr_assert(map);
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GError) error = NULL;
        struct vdt_host_device device;

        cr_expect_not(vdt_host_map_find(map, names[i], &device, &error), "%s", names[i]);
        cr_expect(g_error_matches(error, VDT_ERROR, VDT_ERROR_REFUSED), "%s", names[i]);
    }
}

Test(host_map, a_word_that_is_not_understood_is_refused_by_name)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        {"[host]\nsocket-user = a\n", "'socket-user' in [host]"},
        {"[blue]\ndevice = sim:\n", "[vdpa:NAME] is wanted"},
        {"[vdpa:]\ndevice = sim:\n", "[vdpa:NAME] is wanted"},
        {"[vdpa:a]\noptions = --workers 2\n", "lacks the line 'device = ...'"},
        {"[vdpa:a]\ndevice = sim:\nmtu = 9000\n", "'mtu' in [vdpa:a]"},
        {"[host]\nsocket-dir = /one\n", "socket-dir"},
        {"[host]\nsocket-dir = one two\n", "socket-dir"},
        {"[host]\nstart-with = upstart\n", "systemd or fork"},
        {"no group\n", "group"},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        VDT_AUTO(host_map) map = load(rows[i].text, &error);

        cr_expect_null(map, "%s", rows[i].text);
        cr_assert(g_error_matches(error, VDT_ERROR, VDT_ERROR_INVALID));
        cr_expect(strstr(error->message, rows[i].why), "%s: %s", rows[i].text, error->message);
    }
    g_autoptr(GError) error = NULL;
    cr_expect_null(vdt_host_map_load("/nonexistent/devices.conf", &error));
    cr_expect(strstr(error->message, "it is not there"), "%s", error->message);
}
