/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/vdpa-tracker/verb.h"

#include "base/log.h"
#include "daemon/daemon.h"
#include "daemon/runtime.h"
#include "migration/baseline.h"
#include "virtio/features.h"

#define WORKERS_MAX 64
#define DEADLINE_MAX_MS 600000
#define HANDOVER_S 10
#define HANDOVER_MAX_S 600

struct words {
    char *name, *device, *socket_path, *connect, *shadow, *dirty_width, *restore, *mac, *uuid,
        *log_level, *features_from, *socket_owner, *socket_mode, *handover;
    struct vdt_baseline baseline;
    int fd, workers, deadline_ms, format, handover_s;
    gboolean capabilities, untracked, daemonize, no_recovery, await_state, follow_vlans;
};

static void
clear_words(struct words *w)
{
    g_free(w->name);
    g_free(w->device);
    g_free(w->socket_path);
    g_free(w->connect);
    g_free(w->shadow);
    g_free(w->dirty_width);
    g_free(w->restore);
    g_free(w->mac);
    g_free(w->uuid);
    g_free(w->log_level);
    g_free(w->features_from);
    g_free(w->socket_owner);
    g_free(w->socket_mode);
    g_free(w->handover);
}

/* Index of @word in @choices, its default for NULL, -1 with @error. */
static int
choose(const char *option, const char *word, const char *const *choices, GError **error)
{
    if (!word)
        return 0;
    for (int i = 0; choices[i]; i++) {
        if (g_str_equal(word, choices[i]))
            return i;
    }
    g_autofree char *all = g_strjoinv(", ", (char **) choices);
    g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE, "%s %s: one of %s is possible", option, word,
                all);
    return -1;
}

static bool
parse_mac(const char *text, uint8_t mac[6], GError **error)
{
    unsigned b[6];
    char end;

    if (strlen(text) == 17 && sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3],
                                     &b[4], &b[5], &end) == 6) {
        for (int i = 0; i < 6; i++)
            mac[i] = (uint8_t) b[i];
        if (!(mac[0] & 1))
            return true;
    }
    g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE,
                "--mac %s: a unicast address like 52:54:00:12:34:56 is needed", text);
    return false;
}

static bool
parse_range(const char *option, int value, int least, int most, GError **error)
{
    if (value >= least && value <= most)
        return true;
    g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE, "%s %d: %d to %d is possible", option, value,
                least, most);
    return false;
}

static bool
missing(const char *option, GError **error)
{
    g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE,
                "run needs %s; \"vdpa-tracker help run\" says more", option);
    return false;
}

static bool
to_options(struct words *w, struct vdt_daemon_options *options, GError **error)
{
    static const char *const shadows[] = {"auto", "always", "never", NULL};
    static const char *const widths[] = {"chain", "used", NULL};
    static const char *const levels[] = {"info", "error", "warning", "debug", NULL};
    static const enum vdt_log_level as_level[] = {VDT_LOG_INFO, VDT_LOG_ERROR, VDT_LOG_WARNING,
                                                  VDT_LOG_DEBUG};

    if (!w->name)
        return missing("--name NAME", error);
    if (!w->device)
        return missing("--device DEVICE", error);
    if (w->fd != VDT_ABSENT && w->fd < 0) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE, "--fd %d is no descriptor", w->fd);
        return false;
    }
    if ((w->socket_path != NULL) + (w->fd >= 0) + (w->connect != NULL) > 1) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_USAGE,
                            "--socket-path, --connect and --fd exclude each other");
        return false;
    }
    int shadow = choose("--shadow", w->shadow, shadows, error);
    int width = shadow < 0 ? -1 : choose("--dirty-width", w->dirty_width, widths, error);
    int level = width < 0 ? -1 : choose("--log-level", w->log_level, levels, error);
    if (level < 0 || !vdt_runtime_name_valid(w->name, error) ||
        !parse_range("--workers", w->workers, 1, WORKERS_MAX, error) ||
        !parse_range("--deadline", w->deadline_ms, 10, DEADLINE_MAX_MS, error) ||
        !parse_range("--handover-timeout", w->handover_s, 1, HANDOVER_MAX_S, error) ||
        !parse_range("--format", w->format, VDT_SNAPSHOT_FORMAT_OLDEST, VDT_SNAPSHOT_FORMAT,
                     error) ||
        (w->mac && !parse_mac(w->mac, options->nic.mac, error)) ||
        !vdt_socket_access_parse(&options->access, w->socket_owner, w->socket_mode, error))
        return false;
    if (w->uuid && !g_uuid_string_is_valid(w->uuid)) {
        g_set_error(error, VDT_ERROR, VDT_ERROR_USAGE, "--uuid %s is no UUID", w->uuid);
        return false;
    }
    if (w->features_from) {
        if (!vdt_baseline_load(&w->baseline, w->features_from, error))
            return false;
        options->nic.baseline = &w->baseline;
    }
    vdt_log_init(as_level[level]);
    options->name = w->name;
    options->device = w->device;
    options->socket_path = w->socket_path;
    options->connect = w->connect;
    options->fd = w->fd == VDT_ABSENT ? -1 : w->fd;
    options->restore = w->restore;
    options->daemonize = w->daemonize;
    options->no_recovery = w->no_recovery;
    options->nic.uuid = w->uuid;
    options->nic.policy = (enum vdt_shadow_policy) shadow;
    options->nic.workers = (unsigned) w->workers;
    options->nic.dirty_used_width = width == 1;
    options->nic.allow_untracked = w->untracked;
    options->nic.follow_vlans = w->follow_vlans;
    options->nic.mac_given = w->mac != NULL;
    options->nic.format = (unsigned) w->format;
    options->nic.deadline_ms = (unsigned) w->deadline_ms;
    options->nic.handover = w->handover;
    options->nic.handover_ms = (unsigned) w->handover_s * 1000;
    options->nic.await_state = w->await_state;
    return true;
}

/* The vhost-user backend program conventions: what a management layer asks before it starts us. */
static int
print_capabilities(void)
{
    puts("{\"type\":\"net\",\"features\":[]}");
    return VDT_EXIT_DONE;
}

int
vdt_verb_run(const struct vdt_verb *verb, int argc, char **argv)
{
    struct words w = {.fd = VDT_ABSENT,
                      .workers = 1,
                      .deadline_ms = 5000,
                      .format = VDT_SNAPSHOT_FORMAT,
                      .handover_s = HANDOVER_S};
    const GOptionEntry entries[] = {
        {"name", 'n', 0, G_OPTION_ARG_STRING, &w.name, "Name of the tracker", "NAME"},
        {"device", 'd', 0, G_OPTION_ARG_STRING, &w.device,
         "vhost-vdpa:/dev/vhost-vdpa-N or sim:[options]", "DEVICE"},
        {"socket-path", 0, 0, G_OPTION_ARG_FILENAME, &w.socket_path,
         "vhost-user socket instead of NAME.sock in the runtime directory", "PATH"},
        {"socket-owner", 0, 0, G_OPTION_ARG_STRING, &w.socket_owner,
         "Whose VMM may connect, besides root's and the tracker's own", "USER[:GROUP]"},
        {"socket-mode", 0, 0, G_OPTION_ARG_STRING, &w.socket_mode,
         "Permissions of the socket (0660)", "MODE"},
        {"connect", 0, 0, G_OPTION_ARG_FILENAME, &w.connect,
         "Connect to a VMM that listens at this socket, again whenever it has gone", "PATH"},
        {"fd", 0, 0, G_OPTION_ARG_INT, &w.fd, "Inherited vhost-user socket, listening or connected",
         "N"},
        {"print-capabilities", 0, 0, G_OPTION_ARG_NONE, &w.capabilities,
         "Print what this vhost-user backend is, as JSON, and end", NULL},
        {"shadow", 0, 0, G_OPTION_ARG_STRING, &w.shadow,
         "auto (by the device's driver), always, or never", "WHEN"},
        {"dirty-width", 0, 0, G_OPTION_ARG_STRING, &w.dirty_width,
         "Log a buffer's whole length (chain) or only what the device says (used)", "HOW"},
        {"workers", 0, 0, G_OPTION_ARG_INT, &w.workers, "Data threads (1)", "N"},
        {"deadline", 0, 0, G_OPTION_ARG_INT, &w.deadline_ms,
         "Longest wait for the device, in ms (5000)", "MS"},
        {"format", 0, 0, G_OPTION_ARG_INT, &w.format,
         "Give states away in this format, for an older destination", "N"},
        {"restore", 0, 0, G_OPTION_ARG_FILENAME, &w.restore, "Start from this snapshot", "FILE"},
        {"handover", 0, 0, G_OPTION_ARG_STRING, &w.handover,
         "Carries the state to the destination of a VMM that cannot: a shell command, the state is "
         "its standard input",
         "COMMAND"},
        {"handover-timeout", 0, 0, G_OPTION_ARG_INT, &w.handover_s,
         "Longest time that it holds the VMM for, in seconds (10)", "SECONDS"},
        {"await-state", 0, 0, G_OPTION_ARG_NONE, &w.await_state,
         "Let the rings of a guest that comes from elsewhere without its state wait for it", NULL},
        {"features-from", 0, 0, G_OPTION_ARG_FILENAME, &w.features_from,
         "Offer no more than this baseline, and refuse a device with less", "FILE"},
        {"mac", 0, 0, G_OPTION_ARG_STRING, &w.mac,
         "The guest's MAC address, for VMMs that keep the control queue to themselves", "MAC"},
        {"follow-vlans", 0, 0, G_OPTION_ARG_NONE, &w.follow_vlans,
         "Let the device filter VLANs too for a VMM that keeps the control queue to itself; each "
         "start "
         "tells it of all 4096",
         NULL},
        {"uuid", 0, 0, G_OPTION_ARG_STRING, &w.uuid, "The domain's UUID, for snapshots", "UUID"},
        {"allow-untracked", 0, 0, G_OPTION_ARG_NONE, &w.untracked,
         "Offer control commands that cannot be followed; using one makes the state unmigratable",
         NULL},
        {"no-recovery", 0, 0, G_OPTION_ARG_NONE, &w.no_recovery,
         "Keep nothing that a tracker after a crash of this one could go on from", NULL},
        {"log-level", 0, 0, G_OPTION_ARG_STRING, &w.log_level, "error, warning, info or debug",
         "LEVEL"},
        {"daemonize", 0, 0, G_OPTION_ARG_NONE, &w.daemonize, "Go to the background once ready",
         NULL},
        {NULL},
    };
    struct vdt_daemon_options options = {0};
    GError *error = NULL;
    int exit_code;

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 0, 0, &exit_code))
        ;
    else if (w.capabilities)
        exit_code = print_capabilities();
    else if (!to_options(&w, &options, &error) || !vdt_daemon_run(&options, &error))
        exit_code = vdt_verb_fail(false, error);
    else
        exit_code = VDT_EXIT_DONE;
    clear_words(&w);
    return exit_code;
}
