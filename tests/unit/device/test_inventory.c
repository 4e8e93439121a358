/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The devices of a host: sysfs in a folder of its own, netlink from recorded bytes. */
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/vdpa.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <vdpa-tracker/error.h>

#include "device/inventory.h"
#include "lib/leak.h"
#include "vdpa_link.h"

VDT_SUITE(inventory);

/* /dev/null's number stands for a node that a user may make: links do where mknod() is not allowed.
 */
struct host {
    char *root, *sys, *dev, *proc;
    struct vdpa_link netlink;
    struct vdt_inventory_roots roots;
};

static void
put(const struct host *host, const char *path, const char *text)
{
    g_autofree char *at = g_build_filename(host->root, path, NULL);
    g_autofree char *dir = g_path_get_dirname(at);

    g_mkdir_with_parents(dir, 0700);
    cr_assert(g_file_set_contents(at, text, -1, NULL), "%s", path);
}

static void
point(const struct host *host, const char *path, const char *to)
{
    g_autofree char *at = g_build_filename(host->root, path, NULL);
    g_autofree char *dir = g_path_get_dirname(at);

    g_mkdir_with_parents(dir, 0700);
    cr_assert_eq(symlink(to, at), 0, "%s", path);
}

/* Device @name in @folder of sys/devices, bound to @bound, with node vhost-vdpa-@n. */
static void
put_device(const struct host *host, const char *folder, const char *name, const char *bound,
           unsigned n)
{
    g_autofree char *bus = g_strdup_printf("sys/bus/vdpa/devices/%s", name);
    g_autofree char *path = g_strdup_printf("../../../devices%s/%s", folder, name);
    g_autofree char *driver = g_strdup_printf("sys/devices%s/%s/driver", folder, name);
    g_autofree char *to = g_strdup_printf("/bus/vdpa/drivers/%s", bound);
    g_autofree char *number =
        g_strdup_printf("sys/devices%s/%s/vhost-vdpa-%u/dev", folder, name, n);
    g_autofree char *chars = g_strdup_printf("sys/dev/char/244:%u", n);
    g_autofree char *node = g_strdup_printf("../../devices%s/%s/vhost-vdpa-%u", folder, name, n);
    g_autofree char *text = g_strdup_printf("244:%u\n", n);

    point(host, bus, path);
    point(host, driver, to);
    if (g_str_equal(bound, "vhost_vdpa")) {
        put(host, number, text);
        point(host, chars, node);
    }
}

static void
host_init(struct host *host)
{
    *host = (struct host){.root = g_dir_make_tmp("vdt-host-XXXXXX", NULL)};
    host->sys = g_build_filename(host->root, "sys", NULL);
    host->dev = g_build_filename(host->root, "dev", NULL);
    host->proc = g_build_filename(host->root, "proc", NULL);
    vdpa_link_init(&host->netlink);
    host->roots =
        (struct vdt_inventory_roots){host->sys, host->dev, host->proc, &host->netlink.link};
    g_mkdir(host->dev, 0700);
    g_mkdir(host->proc, 0700);
    put_device(host, "/pci0000:00/0000:00:02.0", "vdpa0", "vhost_vdpa", 0);
    put_device(host, "/pci0000:00/0000:00:03.0", "vdpa1", "virtio_vdpa", 9);
    put_device(host, "", "sim0", "vhost_vdpa", 2);
    point(host, "sys/devices/pci0000:00/0000:00:02.0/driver", "../../../bus/pci/drivers/vp-vdpa");
    point(host, "sys/devices/pci0000:00/0000:00:02.0/subsystem", "../../../bus/pci");
    point(host, "sys/bus/pci/devices/0000:00:02.0", "../../../devices/pci0000:00/0000:00:02.0");
}

static void
host_clear(struct host *host)
{
    g_autofree char *clean = g_strdup_printf("rm -r %s", host->root);

    cr_assert_eq(system(clean), 0);
    vdpa_link_clear(&host->netlink);
    g_free(host->root);
    g_free(host->sys);
    g_free(host->dev);
    g_free(host->proc);
}

static const struct vdt_inventory_device *
device_of(const struct vdt_inventory *inventory, const char *name)
{
    const struct vdt_inventory_device *found = NULL;

    for (guint i = 0; i < inventory->devices->len; i++) {
        const struct vdt_inventory_device *device = inventory->devices->pdata[i];
        if (g_str_equal(device->name, name))
            found = device;
    }
    cr_assert(found, "there is no %s", name);
    return found;
}

static bool
is_unread(const struct vdt_inventory *inventory, const char *part)
{
    for (guint i = 0; i < inventory->unread->len; i++) {
        if (strstr(inventory->unread->pdata[i], part))
            return true;
        fprintf(stderr, "# %s\n", (char *) inventory->unread->pdata[i]);
    }
    return false;
}

/* Whether this user may make @number's node; else a test of it has nothing to look at. */
static bool
make_node(const struct host *host, const char *name, dev_t number)
{
    g_autofree char *path = g_build_filename(host->dev, name, NULL);

    return mknod(path, S_IFCHR | 0640, number) == 0;
}

Test(inventory, netlink_and_sysfs_are_one_list)
{
    struct host host;

    host_init(&host);
    VDT_AUTO(inventory) inventory = vdt_inventory_new(&host.roots);
    const struct vdt_inventory_device *card = device_of(inventory, "vdpa0");
    const struct vdt_inventory_device *sim = device_of(inventory, "sim0");
    const struct vdt_inventory_device *other = device_of(inventory, "blk0");

    cr_expect_eq(inventory->devices->len, 5, "three in sysfs, two more by netlink");
    cr_assert(inventory->managers);
    cr_expect_eq(inventory->managers->len, 4);
    cr_expect_str_eq(card->driver, "vp-vdpa");
    cr_expect_str_eq(card->manager, "pci/0000:00:02.0");
    cr_expect_str_eq(card->parent, "pci/0000:00:02.0");
    cr_expect_str_eq(card->bound, "vhost_vdpa");
    cr_expect_eq(card->entry.pairs, 4);
    cr_expect_eq(card->entry.rings, 9);
    cr_expect_str_eq(sim->driver, "vdpasim_net");
    cr_expect_str_eq(sim->manager, "vdpasim_net");
    cr_expect_null(sim->parent);
    cr_expect_eq(sim->entry.mtu, 1500);
    cr_expect_null(other->bound);
    cr_expect_str_eq(other->driver, "vdpasim_blk");
    host_clear(&host);
}

Test(inventory, driver_is_told_by_the_management_device)
{
    struct host host;

    host_init(&host);
    g_autofree char *sim = vdt_inventory_driver(&host.roots, makedev(244, 2), 1);
    g_autofree char *card = vdt_inventory_driver(&host.roots, makedev(244, 0), 1);
    cr_expect_str_eq(sim, "vdpasim_net");
    cr_expect_str_eq(card, "vp-vdpa");
    cr_expect_null(vdt_inventory_driver(&host.roots, makedev(244, 77), 1));
    host_clear(&host);
}

/* /sys/devices and a bus are no driver. */
Test(inventory, without_netlink_only_a_parents_driver_counts)
{
    struct host host;

    host_init(&host);
    host.netlink.no_family = true;
    g_autofree char *card = vdt_inventory_driver(&host.roots, makedev(244, 0), 1);
    VDT_AUTO(inventory) inventory = vdt_inventory_new(&host.roots);

    cr_expect_str_eq(card, "vp-vdpa");
    cr_expect_null(vdt_inventory_driver(&host.roots, makedev(244, 2), 1));
    put(&host, "sys/module/vdpa_sim_net/initstate", "live");
    g_autofree char *sim = vdt_inventory_driver(&host.roots, makedev(244, 2), 1);
    cr_expect_str_eq(sim, "vdpasim_net", "without a parent, with that module");
    cr_expect_null(vdt_inventory_driver(&host.roots, makedev(244, 2), 2), "no disk of its");
    cr_expect_eq(inventory->devices->len, 3);
    cr_expect_str_eq(device_of(inventory, "vdpa0")->driver, "vp-vdpa");
    cr_expect_null(device_of(inventory, "sim0")->driver);
    cr_expect_null(inventory->managers);
    cr_expect(is_unread(inventory, "no vdpa netlink family"));
    host_clear(&host);
}

Test(inventory, management_device_that_is_gone_leaves_the_parents_driver)
{
    struct host host;
    g_autofree char *link = NULL;

    host_init(&host);
    link = g_build_filename(host.sys, "bus/pci/devices/0000:00:02.0", NULL);
    g_unlink(link);
    g_autofree char *card = vdt_inventory_driver(&host.roots, makedev(244, 0), 1);
    cr_expect_str_eq(card, "vp-vdpa");
    host_clear(&host);
}

Test(inventory, what_cannot_be_read_is_said)
{
    struct host host;

    host_init(&host);
    host.netlink.refuses = VDPA_CMD_DEV_CONFIG_GET;
    VDT_AUTO(inventory) inventory = vdt_inventory_new(&host.roots);
    cr_expect(is_unread(inventory, "the config of vDPA device vdpa0"));
    cr_expect_not(device_of(inventory, "vdpa0")->entry.told & VDT_VDPA_MAC);
    cr_expect_eq(device_of(inventory, "vdpa0")->entry.rings, 9, "the rest is there");
    cr_expect(is_unread(inventory, "vhost-vdpa-0: No such file"));
    host_clear(&host);
}

Test(inventory, host_without_vdpa_has_an_empty_list_and_a_reason)
{
    const struct vdt_inventory_roots nowhere = {"/nonexistent", "/nonexistent", "/nonexistent",
                                                &(struct vdt_vdpa_link){0}};
    struct vdpa_link netlink;
    struct vdt_inventory_roots roots = nowhere;

    vdpa_link_init(&netlink);
    netlink.closed = true;
    roots.link = &netlink.link;
    VDT_AUTO(inventory) inventory = vdt_inventory_new(&roots);
    cr_expect_eq(inventory->devices->len, 0);
    cr_expect(is_unread(inventory, "module vdpa"));
    cr_expect(is_unread(inventory, "Address family not supported"));
    vdpa_link_clear(&netlink);
}

Test(inventory, node_is_the_one_with_that_number)
{
    struct host host;

    host_init(&host);
    if (!make_node(&host, "vhost-vdpa-0", makedev(244, 0)) ||
        !make_node(&host, "vhost-vdpa-2", makedev(244, 5)))
        cr_skip("nodes are root's to make");
    VDT_AUTO(inventory) inventory = vdt_inventory_new(&host.roots);
    const struct vdt_inventory_device *card = device_of(inventory, "vdpa0");

    cr_assert(card->node);
    cr_expect(g_str_has_suffix(card->node, "/dev/vhost-vdpa-0"));
    cr_expect(g_str_has_suffix(card->owner, " 0640"), "%s", card->owner);
    cr_expect(card->may_open, "root may");
    cr_expect_null(device_of(inventory, "sim0")->node);
    cr_expect(is_unread(inventory, "is not the node of that device"));
    cr_expect_eq(inventory->devices->pdata[0], card, "nodes come first");
    host_clear(&host);
}

Test(inventory, who_uses_a_device)
{
    struct host host;

    host_init(&host);
    if (!make_node(&host, "vhost-vdpa-2", makedev(244, 2)))
        cr_skip("nodes are root's to make");
    g_autofree char *node = g_build_filename(host.dev, "vhost-vdpa-2", NULL);
    put(&host, "proc/321/comm", "qemu\x1b x86\n");
    point(&host, "proc/321/fd/0", "/dev/null");
    point(&host, "proc/321/fd/5", node);
    put(&host, "proc/version", "no process");
    point(&host, "proc/self/ns/pid", "pid:[4026531836]");
    VDT_AUTO(inventory) inventory = vdt_inventory_new(&host.roots);
    const struct vdt_inventory_device *sim = device_of(inventory, "sim0");

    cr_expect_eq(sim->use, VDT_USE_PROCESS);
    cr_expect_eq(sim->pid, 321);
    cr_expect_str_eq(sim->program, "qemu??x86");
    cr_expect_eq(device_of(inventory, "vdpa0")->use, VDT_USE_FREE, "negotiated once");
    cr_expect_eq(device_of(inventory, "vdpa1")->use, VDT_USE_KERNEL);
    cr_expect_eq(device_of(inventory, "sim1")->use, VDT_USE_FREE);
    host_clear(&host);
}

Test(inventory, processes_that_are_not_shown_leave_a_device_unknown)
{
    struct host host;

    host_init(&host);
    if (getuid() == 0) {
        /* Root is shown everything, unless it sits in a container. */
        point(&host, "proc/self/ns/pid", "pid:[4026532444]");
    } else {
        g_autofree char *fd = g_build_filename(host.proc, "1/fd", NULL);
        point(&host, "proc/self/ns/pid", "pid:[4026531836]");
        g_mkdir_with_parents(fd, 0700);
        g_chmod(fd, 0);
    }
    VDT_AUTO(inventory) inventory = vdt_inventory_new(&host.roots);
    cr_expect_eq(device_of(inventory, "sim0")->use, VDT_USE_UNKNOWN);
    cr_expect_eq(device_of(inventory, "vdpa0")->use, VDT_USE_LIKELY, "negotiated");
    cr_expect(is_unread(inventory, "shown all processes"));
    host_clear(&host);
}

Test(inventory, json_has_null_for_what_is_not_told)
{
    struct host host;

    host_init(&host);
    VDT_AUTO(inventory) inventory = vdt_inventory_new(&host.roots);
    JsonNode *node = vdt_inventory_to_json(inventory);
    g_autofree char *text = json_to_string(node, FALSE);

    cr_expect(strstr(text, "\"name\":\"sim0\",\"node\":null,\"driver\":\"vdpasim_net\","
                           "\"row\":\"vdpa_sim_net\",\"manager\":\"vdpasim_net\",\"parent\":null"),
              "%s", text);
    cr_expect(strstr(text, "\"mac\":\"52:54:00:00:51:00\",\"link\":true,\"mtu\":1500,"
                           "\"max_pairs\":null"),
              "%s", text);
    cr_expect(strstr(text, "{\"name\":\"vdpasim_blk\",\"types\":[2],\"rings\":0,\"features\":[]}"),
              "%s", text);
    json_node_unref(node);
    host_clear(&host);
}

/* --- the socket's end --- */

Test(inventory, list_that_changes_is_read_again_and_not_for_ever)
{
    struct vdpa_link link;
    GError *error = NULL;

    vdpa_link_init(&link);
    link.stale = 2;
    VDT_AUTO(vdpa_netlink) netlink = vdt_vdpa_netlink_new(&link.link, &error);
    cr_assert(netlink, "%s", error ? error->message : "");
    link.interrupted = 2;
    g_autoptr(GArray) devices = vdt_vdpa_netlink_devices(netlink, NULL);
    cr_assert(devices);
    cr_expect_eq(devices->len, 5);
    link.interrupted = 100;
    cr_expect_null(vdt_vdpa_netlink_devices(netlink, &error));
    cr_expect(strstr(error->message, "changed each time"), "%s", error->message);
    g_clear_error(&error);
    link.silent = true;
    g_queue_clear_full(link.queue, (GDestroyNotify) g_bytes_unref);
    cr_expect_null(vdt_vdpa_netlink_devices(netlink, &error));
    cr_expect_eq(error->code, VDT_ERROR_TIMEOUT);
    g_clear_error(&error);
    vdt_vdpa_netlink_free(g_steal_pointer(&netlink));
    vdpa_link_clear(&link);
}

Test(inventory, device_that_is_not_there_is_refused_in_the_kernels_words)
{
    struct vdpa_link link;
    struct vdt_vdpa_entry entry;
    g_autoptr(GError) error = NULL;

    vdpa_link_init(&link);
    VDT_AUTO(vdpa_netlink) netlink = vdt_vdpa_netlink_new(&link.link, NULL);
    cr_expect_not(vdt_vdpa_netlink_device(netlink, "nosuch", &entry, &error));
    cr_expect(strstr(error->message, "vDPA device nosuch over netlink: vdpa: device not found"),
              "%s", error->message);
    vdt_vdpa_netlink_free(g_steal_pointer(&netlink));
    vdpa_link_clear(&link);
}

static void
flip(uint8_t *bytes, size_t len, void *ctx)
{
    unsigned *state = ctx;

    for (unsigned i = 0; i < 4 && len; i++) {
        *state = *state * 1103515245u + 12345u;
        bytes[(*state >> 8) % len] ^= (uint8_t) (1u << (*state >> 4 & 7));
    }
}

Test(inventory, spoilt_answers_harm_nobody)
{
    for (unsigned seed = 1; seed < 400; seed++) {
        unsigned state = seed;
        struct host host;

        host_init(&host);
        host.netlink.spoil = seed % 4 ? flip : NULL;
        host.netlink.spoil_ctx = &state;
        host.netlink.cut = seed % 4 ? 0 : seed / 4;
        VDT_AUTO(inventory) inventory = vdt_inventory_new(&host.roots);
        cr_expect_geq(inventory->devices->len, 3, "what sysfs has stays, seed %u", seed);
        host_clear(&host);
    }
}
