/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A NIC of a libvirt domain becomes one of a tracker: metadata for the hook, and its interface. */
#include <stdio.h>
#include <string.h>

#include "tools/vdpa-tracker/verb.h"

#include "config.h"
#include "daemon/runtime.h"
#include "device/device.h"
#include "libvirt/domain_xml.h"
#include "libvirt/host_map.h"
#include "migration/baseline.h"
#include "snapshot/snapshot.h"

#ifdef HAVE_LIBVIRT
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#endif

struct wish {
    char *connect, *config, *features_from, *xml, *socket_dir;
    gboolean print;
    int format;
};

static void
clear_wish(struct wish *w)
{
    g_free(w->connect);
    g_free(w->config);
    g_free(w->features_from);
    g_free(w->xml);
    g_free(w->socket_dir);
}

/* What every host that the guest may go to has to give: as the file says, else as this device can.
 */
static char *
limits_of(const struct wish *w, const char *name, GError **error)
{
    struct vdt_baseline baseline;

    if (w->features_from)
        return vdt_baseline_load(&baseline, w->features_from, error)
                   ? vdt_baseline_to_text(&baseline)
                   : NULL;

    struct vdt_host_device mapped;
    VDT_AUTO(host_map) map = vdt_host_map_load(w->config ? w->config : VDT_HOST_MAP_FILE, error);
    if (!map || !vdt_host_map_find(map, name, &mapped, error))
        return NULL;
    VDT_AUTO(device) dev = vdt_device_open(mapped.device, error);
    vdt_host_device_clear(&mapped);
    if (!dev || !vdt_baseline_of_device(&baseline, dev, error)) {
        g_prefix_error(error,
                       "what %s can give a guest is not known (--features-from FILE says "
                       "it): ",
                       name);
        return NULL;
    }
    return vdt_baseline_to_text(&baseline);
}

/* Named after what stays the same on every host: the domain's UUID and the NIC's address. */
static char *
socket_path(const struct wish *w, const char *uuid, const char *mac)
{
    g_auto(GStrv) bytes = g_strsplit(mac, ":", -1);
    g_autofree char *hex = g_strjoinv("", bytes);

    return g_strdup_printf("%s/%s-%s.sock", w->socket_dir ? w->socket_dir : "/run/vdpa-tracker",
                           uuid, hex);
}

static char *
attach(const struct wish *w, const char *xml, const char *mac, const char *device, GError **error)
{
    VDT_AUTO(domain) domain = vdt_domain_parse(xml, strlen(xml), error);

    if (!domain)
        return NULL;
    if (!g_uuid_string_is_valid(domain->uuid)) {
        g_set_error_literal(error, VDT_ERROR, VDT_ERROR_INVALID,
                            "the domain's XML has no <uuid>, after which the tracker is named");
        return NULL;
    }
    g_autofree char *lower = g_ascii_strdown(mac, -1);
    g_autofree char *socket = socket_path(w, domain->uuid, lower);
    g_autofree char *limits = limits_of(w, device, error);
    if (!limits)
        return NULL;
    const struct vdt_domain_nic nic = {.mac = lower,
                                       .device = (char *) device,
                                       .baseline = limits,
                                       .format = (unsigned) w->format,
                                       .socket = socket};
    g_autofree char *changed = vdt_domain_attach(xml, strlen(xml), &nic, error);

    /* As the hook will read it. */
    VDT_AUTO(domain) again = changed ? vdt_domain_parse(changed, strlen(changed), error) : NULL;
    return again ? g_steal_pointer(&changed) : NULL;
}

static bool
attach_file(const struct wish *w, const char *mac, const char *device, GError **error)
{
    g_autofree char *xml = NULL;

    if (!g_file_get_contents(w->xml, &xml, NULL, error))
        return false;
    g_autofree char *changed = attach(w, xml, mac, device, error);
    if (changed)
        fputs(changed, stdout);
    return changed != NULL;
}

#ifdef HAVE_LIBVIRT
static bool
fail(const char *what, GError **error)
{
    const virError *why = virGetLastError();

    g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "%s: %s", what,
                why && why->message ? why->message : "libvirt does not say why");
    return false;
}

static void
quiet(void *ctx, virErrorPtr error)
{
}

static bool
define(virConnectPtr connection, virDomainPtr domain, const struct wish *w, const char *mac,
       const char *device, GError **error)
{
    char *xml = virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE);

    if (!xml)
        return fail("the domain's XML cannot be read", error);
    g_autofree char *changed = attach(w, xml, mac, device, error);
    free(xml);
    if (!changed)
        return false;
    if (w->print) {
        fputs(changed, stdout);
        return true;
    }
    virDomainPtr defined = virDomainDefineXML(connection, changed);
    if (!defined)
        return fail("libvirt does not take the domain with it", error);
    printf("%s: NIC %s is on %s%s\n", virDomainGetName(defined), mac, device,
           virDomainIsActive(defined) == 1 ? ", from its next start on" : "");
    virDomainFree(defined);
    return true;
}

static bool
attach_domain(const struct wish *w, const char *name, const char *mac, const char *device,
              GError **error)
{
    virSetErrorFunc(NULL, quiet);
    virConnectPtr connection = virConnectOpen(w->connect);
    if (!connection)
        return fail(w->connect ? w->connect : "libvirt", error);
    virDomainPtr domain = virDomainLookupByName(connection, name);
    if (!domain)
        domain = virDomainLookupByUUIDString(connection, name);
    bool ok = domain ? define(connection, domain, w, mac, device, error) : fail(name, error);
    if (domain)
        virDomainFree(domain);
    virConnectClose(connection);
    return ok;
}
#else
static bool
attach_domain(const struct wish *w, const char *name, const char *mac, const char *device,
              GError **error)
{
    g_set_error_literal(error, VDT_ERROR, VDT_ERROR_UNSUPPORTED,
                        "this build has no libvirt; --xml FILE changes a domain's XML without it");
    return false;
}
#endif

int
vdt_verb_attach(const struct vdt_verb *verb, int argc, char **argv)
{
    struct wish w = {0};
    const GOptionEntry entries[] = {
        {"connect", 'c', 0, G_OPTION_ARG_STRING, &w.connect, "libvirt's connection URI", "URI"},
        {"features-from", 0, 0, G_OPTION_ARG_FILENAME, &w.features_from,
         "Promise the guest this baseline, not all that the device has here", "FILE"},
        {"format", 0, 0, G_OPTION_ARG_INT, &w.format,
         "States in this format, for hosts with an older tracker", "N"},
        {"print", 0, 0, G_OPTION_ARG_NONE, &w.print, "Print the new XML and define nothing", NULL},
        {"xml", 0, 0, G_OPTION_ARG_FILENAME, &w.xml,
         "Take the domain's XML from this file and print the new one; DOMAIN is not looked for",
         "FILE"},
        {"socket-dir", 0, 0, G_OPTION_ARG_FILENAME, &w.socket_dir,
         "Where its socket will be (/run/vdpa-tracker)", "DIR"},
        {"config", 0, 0, G_OPTION_ARG_FILENAME, &w.config,
         "This host's devices, instead of " VDT_HOST_MAP_FILE, "FILE"},
        {NULL},
    };
    GError *error = NULL;
    int exit_code;

    if (!vdt_verb_parse(verb, entries, &argc, &argv, 3, 3, &exit_code))
        ;
    else if (w.format < 0 || w.format > (int) VDT_SNAPSHOT_FORMAT)
        exit_code =
            vdt_verb_misused(false, "--format: a format that this tracker writes is wanted");
    else if (w.xml ? !attach_file(&w, argv[2], argv[3], &error)
                   : !attach_domain(&w, argv[1], argv[2], argv[3], &error))
        exit_code = vdt_verb_fail(false, error);
    else
        exit_code = VDT_EXIT_DONE;
    clear_wish(&w);
    return exit_code;
}
