/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Changes to a domain's XML. What they do not touch stays as it is, but for quotes and indentation.
 */
#include <libxml/parser.h>
#include <string.h>

#include <vdpa-tracker/error.h>

#include "libvirt/domain_xml.h"
#include "libvirt/xml_private.h"

static xmlNode *
add(xmlNode *parent, xmlNs *ns, const char *name)
{
    return xmlNewChild(parent, ns, (const xmlChar *) name, NULL);
}

static void
set(xmlNode *node, const char *name, const char *value)
{
    xmlSetProp(node, (const xmlChar *) name, (const xmlChar *) value);
}

static void
drop(xmlNode *node)
{
    xmlUnlinkNode(node);
    xmlFreeNode(node);
}

static xmlNode *
child_or_new(xmlNode *parent, const char *name)
{
    xmlNode *node = vdt_xml_child(parent, name, NULL);

    return node ? node : add(parent, NULL, name);
}

static char *
to_text(xmlDoc *doc)
{
    xmlBuffer *buffer = xmlBufferCreate();

    /* Of the root only: libvirt writes no XML declaration either. */
    xmlNodeDump(buffer, doc, xmlDocGetRootElement(doc), 0, 1);
    char *text = g_strdup_printf("%s\n", (const char *) xmlBufferContent(buffer));
    xmlBufferFree(buffer);
    return text;
}

/* A baseline's lines become attributes again. */
static void
write_limits(xmlNode *node, const char *baseline)
{
    g_auto(GStrv) lines = g_strsplit(baseline ? baseline : "", "\n", -1);

    for (unsigned i = 0; lines[i]; i++) {
        g_auto(GStrv) words = g_strsplit(lines[i], " = ", 2);

        if (lines[i][0] != '#' && words[0] && words[1] && !g_str_equal(words[0], "format") &&
            !g_str_equal(words[0], "type"))
            set(node, words[0], words[1]);
    }
}

static void
write_metadata(xmlNode *root, const struct vdt_domain_nic *nic)
{
    xmlNode *metadata = child_or_new(root, "metadata");
    xmlNode *tracker = vdt_xml_child(metadata, "tracker", VDT_LIBVIRT_NAMESPACE);

    if (!tracker) {
        tracker = add(metadata, NULL, "tracker");
        xmlSetNs(tracker, xmlNewNs(tracker, (const xmlChar *) VDT_LIBVIRT_NAMESPACE,
                                   (const xmlChar *) VDT_LIBVIRT_PREFIX));
    }
    for (xmlNode *node = tracker->children, *next; node; node = next) {
        next = node->next;
        g_autofree char *mac =
            vdt_xml_is(node, "nic", VDT_LIBVIRT_NAMESPACE) ? vdt_xml_attribute(node, "mac") : NULL;
        if (mac && g_ascii_strcasecmp(mac, nic->mac) == 0)
            drop(node);
    }

    xmlNode *node = add(tracker, tracker->ns, "nic");
    g_autofree char *format = g_strdup_printf("%u", nic->format);
    set(node, "mac", nic->mac);
    set(node, "device", nic->device);
    if (nic->format)
        set(node, "format", format);
    write_limits(node, nic->baseline);
}

/* Guest memory that another process can map: what vhost-user is built on. */
static void
write_memory(xmlNode *root)
{
    xmlNode *backing = child_or_new(root, "memoryBacking");

    if (!vdt_xml_child(backing, "hugepages", NULL) && !vdt_xml_child(backing, "source", NULL))
        set(add(backing, NULL, "source"), "type", "memfd");
    set(child_or_new(backing, "access"), "mode", "shared");
}

/* What ties an interface to the network that it had. */
static const char *const of_source[] = {"source", "target", "virtualport", "bandwidth",
                                        "vlan",   "port",   "backend",     "portForwards"};

static void
write_interface(xmlNode *root, const struct vdt_domain_nic *nic)
{
    xmlNode *interface = vdt_xml_interface(root, nic->mac);

    if (!interface) {
        interface = add(child_or_new(root, "devices"), NULL, "interface");
        set(add(interface, NULL, "mac"), "address", nic->mac);
    }
    set(interface, "type", "vhostuser");
    for (unsigned i = 0; i < G_N_ELEMENTS(of_source); i++) {
        xmlNode *node = vdt_xml_child(interface, of_source[i], NULL);
        if (node)
            drop(node);
    }

    xmlNode *source = add(interface, NULL, "source");
    set(source, "type", "unix");
    set(source, "path", nic->socket);
    set(source, "mode", "client");
    xmlNode *reconnect = add(source, NULL, "reconnect");
    set(reconnect, "enabled", "yes");
    set(reconnect, "timeout", "1");
    set(child_or_new(interface, "model"), "type", "virtio");
}

char *
vdt_domain_attach(const char *xml, size_t len, const struct vdt_domain_nic *nic, GError **error)
{
    VDT_AUTO_XML doc = vdt_xml_read(xml, len, error);

    if (!doc)
        return NULL;
    xmlNode *root = xmlDocGetRootElement(doc);
    write_metadata(root, nic);
    write_memory(root);
    write_interface(root, nic);
    return to_text(doc);
}

bool
vdt_domain_move_sockets(const char *xml, size_t len, const char *from, const char *to,
                        char **ret_xml, GError **error)
{
    VDT_AUTO(domain) domain = vdt_domain_parse(xml, len, error);
    VDT_AUTO_XML doc = domain ? vdt_xml_read(xml, len, error) : NULL;
    bool moved = false;

    *ret_xml = NULL;
    if (!doc)
        return false;
    for (guint i = 0; i < domain->nics->len; i++) {
        const struct vdt_domain_nic *nic = domain->nics->pdata[i];
        xmlNode *source =
            vdt_xml_child(vdt_xml_interface(xmlDocGetRootElement(doc), nic->mac), "source", NULL);
        g_autofree char *dir = g_strdup_printf("%s/", from);

        if (!nic->socket || !g_str_has_prefix(nic->socket, dir))
            continue;
        g_autofree char *path = g_strdup_printf("%s/%s", to, nic->socket + strlen(dir));
        set(source, "path", path);
        moved = true;
    }
    if (moved)
        *ret_xml = to_text(doc);
    return true;
}
