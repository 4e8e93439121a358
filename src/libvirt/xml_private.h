/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What reading and changing a domain's XML share: libxml2 in the words of this folder. */
#pragma once

#include <glib.h>
#include <libxml/tree.h>
#include <stdbool.h>

static inline void
vdt_xml_free(xmlDoc **doc)
{
    if (*doc)
        xmlFreeDoc(*doc);
}
#define VDT_AUTO_XML __attribute__((cleanup(vdt_xml_free))) xmlDoc *

/* A domain's document. NULL with VDT_ERROR_INVALID. */
xmlDoc *vdt_xml_read(const char *xml, size_t len, GError **error);
/* @ns NULL: an element of no namespace. */
bool vdt_xml_is(const xmlNode *node, const char *name, const char *ns);
/* These accept NULL, and have nothing of it. */
xmlNode *vdt_xml_child(const xmlNode *parent, const char *name, const char *ns);
char *vdt_xml_attribute(const xmlNode *node, const char *name); /* caller frees */
xmlNode *vdt_xml_interface(const xmlNode *root, const char *mac);
