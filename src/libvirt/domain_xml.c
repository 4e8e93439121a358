/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "libvirt/domain_xml.h"

#include <libxml/parser.h>
#include <libxml/xpath.h>
#include <string.h>

#include <vdpa-tracker/error.h>

#include "libvirt/xml_private.h"

static const char *const limits[] = {"features", "pairs",     "ring-size", "mtu",
                                     "rss-key",  "rss-table", "hash-types"};

static bool G_GNUC_PRINTF(2, 3) invalid(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *why = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, VDT_ERROR, VDT_ERROR_INVALID, "the domain's XML: %s", why);
    return false;
}

xmlDoc *
vdt_xml_read(const char *xml, size_t len, GError **error)
{
    const int options = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING |
                        XML_PARSE_COMPACT | XML_PARSE_NOBLANKS;

    if (len == 0 || len > VDT_DOMAIN_XML_MAX) {
        invalid(error, len == 0 ? "there is none" : "it is longer than %u bytes",
                VDT_DOMAIN_XML_MAX);
        return NULL;
    }

    VDT_AUTO_XML doc = xmlReadMemory(xml, (int) len, "domain.xml", NULL, options);
    if (!doc) {
        const xmlError *why = xmlGetLastError();
        g_autofree char *text = g_strchomp(g_strdup(why && why->message ? why->message : "no XML"));
        invalid(error, "line %d: %s", why ? why->line : 0, text);
        return NULL;
    }
    if (doc->intSubset) {
        invalid(error, "it has a document type, which libvirt does not write");
        return NULL;
    }
    const xmlNode *root = xmlDocGetRootElement(doc);
    if (!root || strcmp((const char *) root->name, "domain") != 0) {
        invalid(error, "it is not of a domain");
        return NULL;
    }
    return g_steal_pointer(&doc);
}

bool
vdt_xml_is(const xmlNode *node, const char *name, const char *ns)
{
    return node->type == XML_ELEMENT_NODE && strcmp((const char *) node->name, name) == 0 &&
           (ns ? node->ns && strcmp((const char *) node->ns->href, ns) == 0 : !node->ns);
}

xmlNode *
vdt_xml_child(const xmlNode *parent, const char *name, const char *ns)
{
    for (xmlNode *node = parent ? parent->children : NULL; node; node = node->next) {
        if (vdt_xml_is(node, name, ns))
            return node;
    }
    return NULL;
}

char *
vdt_xml_attribute(const xmlNode *node, const char *name)
{
    xmlChar *value = node ? xmlGetNoNsProp((xmlNode *) node, (const xmlChar *) name) : NULL;
    char *copy = g_strdup((const char *) value);

    xmlFree(value);
    return copy;
}

static char *
text_of(const xmlNode *parent, const char *name)
{
    xmlNode *node = vdt_xml_child(parent, name, NULL);
    xmlChar *value = node ? xmlNodeGetContent(node) : NULL;
    char *copy = g_strstrip(g_strdup(value ? (const char *) value : ""));

    xmlFree(value);
    return copy;
}

/* The interface whose address is @mac, in any case of its letters. */
xmlNode *
vdt_xml_interface(const xmlNode *root, const char *mac)
{
    xmlNode *devices = vdt_xml_child(root, "devices", NULL);

    for (xmlNode *node = devices ? devices->children : NULL; node; node = node->next) {
        if (!vdt_xml_is(node, "interface", NULL))
            continue;
        g_autofree char *address = vdt_xml_attribute(vdt_xml_child(node, "mac", NULL), "address");
        if (address && g_ascii_strcasecmp(address, mac) == 0)
            return node;
    }
    return NULL;
}

static bool
is_mac(const char *text)
{
    if (!text || strlen(text) != 17)
        return false;
    for (unsigned i = 0; i < 17; i++) {
        if (i % 3 == 2 ? text[i] != ':' : !g_ascii_isxdigit(text[i]))
            return false;
    }
    return true;
}

/* A value may hold what an attribute can, line breaks too; a line of a baseline may not. */
static bool
is_line(const char *text)
{
    for (; *text; text++) {
        if (g_ascii_iscntrl(*text))
            return false;
    }
    return true;
}

/* Limits as the text of a baseline, which is judged where it is loaded. */
static bool
take_limits(struct vdt_domain_nic *nic, const xmlNode *node, GError **error)
{
    g_autoptr(GString) text = g_string_new("[baseline]\nformat = 1\ntype = net\n");
    unsigned count = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(limits); i++) {
        g_autofree char *value = vdt_xml_attribute(node, limits[i]);

        if (!value)
            continue;
        if (!is_line(value))
            return invalid(error, "metadata of NIC %s: %s is not one line", nic->mac, limits[i]);
        g_string_append_printf(text, "%s = %s\n", limits[i], value);
        count++;
    }
    if (count > 0)
        nic->baseline = g_strdup(text->str);
    return true;
}

static bool
take_interface(struct vdt_domain_nic *nic, const xmlNode *root)
{
    const xmlNode *interface = vdt_xml_interface(root, nic->mac);
    const xmlNode *source = vdt_xml_child(interface, "source", NULL);
    g_autofree char *mode = vdt_xml_attribute(source, "mode");
    g_autofree char *enabled =
        vdt_xml_attribute(vdt_xml_child(source, "reconnect", NULL), "enabled");

    if (!interface)
        return false;
    nic->type = vdt_xml_attribute(interface, "type");
    nic->socket = vdt_xml_attribute(source, "path");
    nic->client = g_strcmp0(mode, "client") == 0;
    nic->reconnects = g_strcmp0(enabled, "yes") == 0;
    return true;
}

static void
free_nic(gpointer data)
{
    struct vdt_domain_nic *nic = data;

    g_free(nic->mac);
    g_free(nic->device);
    g_free(nic->baseline);
    g_free(nic->type);
    g_free(nic->socket);
    g_free(nic);
}

static bool
take_nic(struct vdt_domain *domain, const xmlNode *node, const xmlNode *root, GError **error)
{
    struct vdt_domain_nic *nic = g_new0(struct vdt_domain_nic, 1);
    g_autofree char *mac = vdt_xml_attribute(node, "mac");
    g_autofree char *format = vdt_xml_attribute(node, "format");
    guint64 number = 0;

    g_ptr_array_add(domain->nics, nic);
    if (!is_mac(mac))
        return invalid(error, "metadata: a NIC's mac is %.40s", mac ? mac : "missing");
    nic->mac = g_ascii_strdown(mac, -1);
    for (guint i = 0; i + 1 < domain->nics->len; i++) {
        const struct vdt_domain_nic *other = domain->nics->pdata[i];
        if (g_str_equal(other->mac, nic->mac))
            return invalid(error, "metadata has NIC %s twice", nic->mac);
    }
    nic->device = vdt_xml_attribute(node, "device");
    if (!nic->device)
        return invalid(error, "metadata of NIC %s names no device", nic->mac);
    if (format && !g_ascii_string_to_unsigned(format, 10, 1, G_MAXUINT16, &number, NULL))
        return invalid(error, "metadata of NIC %s: format %.40s is no number", nic->mac, format);
    nic->format = (unsigned) number;
    take_interface(nic, root);
    return take_limits(nic, node, error);
}

static bool
shares_memory(const xmlNode *root)
{
    const xmlNode *backing = vdt_xml_child(root, "memoryBacking", NULL);
    g_autofree char *mode = vdt_xml_attribute(vdt_xml_child(backing, "access", NULL), "mode");

    return g_strcmp0(mode, "shared") == 0;
}

struct vdt_domain *
vdt_domain_parse(const char *xml, size_t len, GError **error)
{
    VDT_AUTO_XML doc = vdt_xml_read(xml, len, error);

    if (!doc)
        return NULL;
    VDT_AUTO(domain) domain = g_new0(struct vdt_domain, 1);
    const xmlNode *root = xmlDocGetRootElement(doc);
    const xmlNode *metadata = vdt_xml_child(root, "metadata", NULL);
    const xmlNode *tracker = vdt_xml_child(metadata, "tracker", VDT_LIBVIRT_NAMESPACE);
    g_autofree char *uuid = text_of(root, "uuid");

    domain->name = text_of(root, "name");
    domain->uuid = g_ascii_strdown(uuid, -1);
    domain->nics = g_ptr_array_new_with_free_func(free_nic);
    domain->shares_memory = shares_memory(root);
    for (const xmlNode *node = tracker ? tracker->children : NULL; node; node = node->next) {
        if (vdt_xml_is(node, "nic", VDT_LIBVIRT_NAMESPACE) && !take_nic(domain, node, root, error))
            return NULL;
    }
    return g_steal_pointer(&domain);
}

void
vdt_domain_free(struct vdt_domain *domain)
{
    if (!domain)
        return;
    g_free(domain->name);
    g_free(domain->uuid);
    g_clear_pointer(&domain->nics, g_ptr_array_unref);
    g_free(domain);
}
