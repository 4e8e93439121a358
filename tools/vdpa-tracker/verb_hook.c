/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What libvirt's qemu hook calls: trackers come and go with their domains. It never talks to
 * libvirt, which waits for it under a lock; and it is bounded and may be called twice.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/vdpa-tracker/tracker_unit.h"
#include "tools/vdpa-tracker/verb.h"

#include "daemon/runtime.h"
#include "libvirt/domain_xml.h"
#include "libvirt/host_map.h"
#include "snapshot/snapshot.h"
#include "tools/vdpa-tracker/client.h"

#define START_MS 5000u
#define STOP_MS 1500u

struct hook {
    const char *config;
    char *xml;
    size_t len;
    struct vdt_domain *domain; /* with NICs of ours, or the operation is not called */
    struct vdt_host_map *map;
    enum vdt_unit_way way;
};

static bool G_GNUC_PRINTF(3, 4)
    refuse(const struct vdt_domain_nic *nic, GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *why = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VDT_ERROR, VDT_ERROR_REFUSED, "NIC %s: %s", nic->mac, why);
    return false;
}

/* The tracker's name is its socket's. */
static char *
tracker_of(const struct vdt_domain_nic *nic)
{
    g_autofree char *base = nic->socket ? g_path_get_basename(nic->socket) : NULL;

    if (!base || !g_str_has_suffix(base, ".sock"))
        return NULL;
    base[strlen(base) - strlen(".sock")] = '\0';
    return vdt_runtime_name_valid(base, NULL) ? g_steal_pointer(&base) : NULL;
}

static bool
check_interface(const struct vdt_domain *domain, const struct vdt_domain_nic *nic, GError **error)
{
    g_autofree char *name = tracker_of(nic);

    if (!nic->type)
        return refuse(nic, error, "the metadata names it, and there is no such <interface>");
    if (!g_str_equal(nic->type, "vhostuser") || !nic->client)
        return refuse(nic, error,
                      "its <interface> is not of type vhostuser, mode client "
                      "(vdpa-tracker attach writes one)");
    if (!name || nic->socket[0] != '/')
        return refuse(nic, error, "its socket %s is not the /DIRECTORY/NAME.sock of a tracker",
                      nic->socket ? nic->socket : "without a path");
    if (!domain->shares_memory)
        return refuse(nic, error,
                      "the guest's memory is not shared: <memoryBacking> needs "
                      "<source type='memfd'/> and <access mode='shared'/>");
    if (nic->format > VDT_SNAPSHOT_FORMAT)
        return refuse(nic, error,
                      "states of format %u are asked for, and the newest of this tracker is %u",
                      nic->format, VDT_SNAPSHOT_FORMAT);
    return true;
}

/* What the tracker there is about; NULL: there is none, or it does not answer. */
static JsonNode *
running(const char *name)
{
    g_autofree char *text = NULL;
    g_autoptr(VdtTracker1) tracker = vdt_unit_pid(name) ? vdt_client_new(name, NULL) : NULL;

    if (!tracker || !vdt_tracker1_call_status_sync(tracker, &text, NULL, NULL))
        return NULL;
    return vdt_client_json(text, NULL);
}

static bool
write_limits(const char *name, const struct vdt_domain_nic *nic, GPtrArray *options, GError **error)
{
    g_autofree char *path = vdt_runtime_path(name, ".baseline");

    if (!nic->baseline)
        return true;
    if (!vdt_runtime_dir_make(error) ||
        !g_file_set_contents_full(path, nic->baseline, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600,
                                  error))
        return false;
    g_ptr_array_add(options, g_strdup("--features-from"));
    g_ptr_array_add(options, g_steal_pointer(&path));
    return true;
}

static void
add_option(GPtrArray *options, const char *option, const char *value)
{
    if (!value || !*value)
        return;
    g_ptr_array_add(options, g_strdup(option));
    g_ptr_array_add(options, g_strdup(value));
}

/* Behind `run --name NAME`; NULL with @error. */
static GPtrArray *
options_of(const struct hook *hook, const struct vdt_domain_nic *nic, const char *name,
           const struct vdt_host_device *device, GError **error)
{
    g_autoptr(GPtrArray) options = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *format = nic->format ? g_strdup_printf("%u", nic->format) : NULL;
    g_auto(GStrv) more = NULL;
    int count = 0;

    if (device->options && *device->options &&
        !g_shell_parse_argv(device->options, &count, &more, error)) {
        g_prefix_error(error, "[%s] in %s, options: ", nic->device, hook->config);
        return NULL;
    }
    add_option(options, "--device", device->device);
    add_option(options, "--socket-path", nic->socket);
    add_option(options, "--mac", nic->mac);
    add_option(options, "--uuid", hook->domain->uuid);
    add_option(options, "--format", format);
    add_option(options, "--socket-owner", hook->map->socket_owner);
    add_option(options, "--socket-mode", hook->map->socket_mode);
    if (!write_limits(name, nic, options, error))
        return NULL;
    for (int i = 0; i < count; i++)
        g_ptr_array_add(options, g_strdup(more[i]));
    g_ptr_array_add(options, NULL);
    return g_steal_pointer(&options);
}

/* Up after it, whether it was before (*ret_new) or not. */
static bool
bring_up(const struct hook *hook, const struct vdt_domain_nic *nic, bool *ret_new, GError **error)
{
    struct vdt_host_device device;
    g_autofree char *name = tracker_of(nic);
    bool ok = false;

    *ret_new = false;
    if (!vdt_host_map_find(hook->map, nic->device, &device, error)) {
        g_prefix_error(error, "NIC %s: ", nic->mac);
        return false;
    }
    g_autoptr(JsonNode) status = running(name);
    if (status) {
        JsonObject *fields = json_node_get_object(status);
        JsonObject *owned = json_object_get_object_member(fields, "device");
        const char *has = json_object_get_string_member_with_default(owned, "name", "");

        ok = g_str_equal(has, device.device) ||
             refuse(nic, error, "tracker %s runs already, with %s and not with %s", name, has,
                    device.device);
    } else {
        g_autoptr(GPtrArray) options = options_of(hook, nic, name, &device, error);

        ok = options &&
             vdt_unit_start(hook->way, name, (const char *const *) options->pdata, START_MS, error);
        *ret_new = ok;
        if (!ok)
            g_prefix_error(error, "NIC %s: ", nic->mac);
    }
    vdt_host_device_clear(&device);
    return ok;
}

static bool
prepare(struct hook *hook, GError **error)
{
    const GPtrArray *nics = hook->domain->nics;
    g_autofree bool *fresh = g_new0(bool, nics->len);
    guint i;

    for (i = 0; i < nics->len; i++) {
        if (!check_interface(hook->domain, nics->pdata[i], error))
            return false;
    }
    for (i = 0; i < nics->len; i++) {
        if (!bring_up(hook, nics->pdata[i], &fresh[i], error))
            break;
    }
    if (i == nics->len)
        return true;
    /* All or none: what follows a refusal may know nothing of those. */
    for (guint k = 0; k < i; k++) {
        g_autofree char *name = tracker_of(nics->pdata[k]);
        if (fresh[k])
            vdt_unit_stop(hook->way, name, STOP_MS, NULL);
    }
    return false;
}

static bool
release(struct hook *hook, GError **error)
{
    bool ok = true;

    for (guint i = 0; i < hook->domain->nics->len; i++) {
        g_autofree char *name = tracker_of(hook->domain->nics->pdata[i]);

        if (name && !vdt_unit_stop(hook->way, name, STOP_MS, ok ? error : NULL))
            ok = false;
    }
    return ok;
}

/* The guest runs, and libvirt would end it if this failed: what can be is brought up again. */
static bool
reconnect(struct hook *hook, GError **error)
{
    for (guint i = 0; i < hook->domain->nics->len; i++) {
        const struct vdt_domain_nic *nic = hook->domain->nics->pdata[i];
        g_autoptr(GError) why = NULL;
        bool fresh;

        if (!check_interface(hook->domain, nic, &why) || !bring_up(hook, nic, &fresh, &why))
            fprintf(stderr, "vdpa-tracker: %s\n", why->message);
    }
    return true;
}

/* A filter: nothing on standard output is "as it is". */
static bool
move_sockets(struct hook *hook, GError **error)
{
    g_autofree char *xml = NULL;

    if (!hook->map->moved_from)
        return true;
    if (!vdt_domain_move_sockets(hook->xml, hook->len, hook->map->moved_from, hook->map->moved_to,
                                 &xml, error))
        return false;
    if (xml)
        fputs(xml, stdout);
    return true;
}

static bool
nothing(struct hook *hook, GError **error)
{
    return true;
}

static const struct operation {
    const char *name;
    bool (*run)(struct hook *hook, GError **error);
    bool forgiving; /* its failure would end a running guest */
} operations[] = {
    {"migrate", move_sockets}, {"restore", move_sockets}, {"prepare", prepare},
    {"start", nothing},        {"started", nothing},      {"stopped", nothing},
    {"release", release},      {"attach", nothing},       {"reconnect", reconnect, true},
};

static bool
read_all(struct hook *hook, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    char part[65536];
    ssize_t n;

    while ((n = read(STDIN_FILENO, part, sizeof part)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 || text->len + (size_t) n > VDT_DOMAIN_XML_MAX) {
            g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID,
                        "the domain's XML cannot be read from standard input: %s",
                        n < 0 ? g_strerror(errno) : "it is too long");
            return false;
        }
        g_string_append_len(text, part, n);
    }
    hook->len = text->len;
    hook->xml = g_string_free(g_steal_pointer(&text), FALSE);
    return true;
}

static bool
carry_out(struct hook *hook, const struct operation *operation, GError **error)
{
    if (operation->run == nothing)
        return true;
    if (!read_all(hook, error))
        return false;
    hook->domain = vdt_domain_parse(hook->xml, hook->len, error);
    if (!hook->domain)
        return false;
    if (hook->domain->nics->len == 0)
        return true;
    hook->map = vdt_host_map_load(hook->config, error);
    if (!hook->map)
        return false;
    hook->way = !hook->map->start_with                          ? vdt_unit_way_of_host()
                : g_str_equal(hook->map->start_with, "systemd") ? VDT_UNIT_SYSTEMD
                                                                : VDT_UNIT_FORK;
    return operation->run(hook, error);
}

int
vdt_verb_hook(const struct vdt_verb *verb, int argc, char **argv)
{
    g_autofree char *config = NULL;
    const GOptionEntry entries[] = {
        {"config", 0, 0, G_OPTION_ARG_FILENAME, &config,
         "This host's devices, instead of " VDT_HOST_MAP_FILE, "FILE"},
        {NULL},
    };
    struct hook hook = {0};
    GError *error = NULL;
    int exit_code;

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 2, 4, &exit_code))
        return exit_code;
    hook.config = config ? config : VDT_HOST_MAP_FILE;
    exit_code = VDT_EXIT_DONE; /* an operation of a newer libvirt is none of ours */
    for (unsigned i = 0; i < G_N_ELEMENTS(operations); i++) {
        if (!g_str_equal(operations[i].name, argv[2]))
            continue;
        exit_code =
            carry_out(&hook, &operations[i], &error) ? VDT_EXIT_DONE : vdt_verb_fail(false, error);
        if (operations[i].forgiving)
            exit_code = VDT_EXIT_DONE;
    }
    g_free(hook.xml);
    vdt_domain_free(hook.domain);
    vdt_host_map_free(hook.map);
    return exit_code;
}
