/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/junit.h"

#include <libxml/xmlwriter.h>
#include <string.h>

#include <vdpa-tracker/error.h>

#define ENDED "the test ended here by force"

char *
vdt_junit_text(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    GString *out = g_string_new(NULL);

    for (const char *at = valid; *at; at = g_utf8_next_char(at)) {
        gunichar c = g_utf8_get_char(at);
        bool allowed = c >= 0x20 ? c != 0xfffe && c != 0xffff : c == '\t' || c == '\n' || c == '\r';

        g_string_append_unichar(out, allowed ? c : 0xfffd);
    }
    return g_string_free(out, FALSE);
}

static void
attribute(xmlTextWriter *writer, const char *name, const char *value)
{
    g_autofree char *text = vdt_junit_text(value);

    xmlTextWriterWriteAttribute(writer, BAD_CAST name, BAD_CAST text);
}

static void G_GNUC_PRINTF(3, 4)
    attribute_format(xmlTextWriter *writer, const char *name, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *value = g_strdup_vprintf(format, args);
    va_end(args);
    attribute(writer, name, value);
}

/* Without a decimal comma, whatever the locale says. */
static void
attribute_seconds(xmlTextWriter *writer, int64_t us)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];

    attribute(writer, "time",
              g_ascii_formatd(text, sizeof(text), "%.6f", (double) us / G_USEC_PER_SEC));
}

/* The message is its first line; all of it is the element's text. */
static void
element(xmlTextWriter *writer, const char *name, const char *message, const char *text)
{
    xmlTextWriterStartElement(writer, BAD_CAST name);
    if (message) {
        const char *end = strchr(message, '\n');
        g_autofree char *first = end ? g_strndup(message, (gsize) (end - message)) : NULL;

        attribute(writer, "message", first ? first : message);
    }
    if (text) {
        g_autofree char *valid = vdt_junit_text(text);
        xmlTextWriterWriteString(writer, BAD_CAST valid);
    }
    xmlTextWriterEndElement(writer);
}

static void
write_case(xmlTextWriter *writer, const char *title, const struct vdt_case *one)
{
    const char *said = one->said ? one->said : "no reason is known";
    bool over = one->verdict > VDT_CASE_RUNNING;

    xmlTextWriterStartElement(writer, BAD_CAST "testcase");
    attribute_format(writer, "classname", "%s.%s", title, one->group);
    attribute(writer, "name", one->name);
    attribute_seconds(writer, over ? one->us : 0);
    if (one->verdict == VDT_CASE_FAILED)
        element(writer, "failure", said, said);
    else if (one->verdict == VDT_CASE_RUNNING)
        element(writer, "error", ENDED, NULL);
    else if (one->verdict != VDT_CASE_PASSED)
        element(writer, "skipped", one->verdict == VDT_CASE_PLANNED ? "not reached: " ENDED : said,
                NULL);
    else if (one->said)
        element(writer, "system-out", NULL, one->said);
    xmlTextWriterEndElement(writer);
}

static void
write_sums(xmlTextWriter *writer, const struct vdt_case_list *list)
{
    unsigned skipped = vdt_case_list_count(list, VDT_CASE_SKIPPED);

    attribute(writer, "name", list->title);
    attribute_format(writer, "tests", "%u", list->cases->len);
    attribute_format(writer, "failures", "%u", vdt_case_list_count(list, VDT_CASE_FAILED));
    attribute_format(writer, "errors", "%u", vdt_case_list_count(list, VDT_CASE_RUNNING));
    attribute_format(writer, "skipped", "%u",
                     skipped + vdt_case_list_count(list, VDT_CASE_PLANNED));
    attribute_seconds(writer, g_get_monotonic_time() - list->began);
}

static void
write_list(xmlTextWriter *writer, const struct vdt_case_list *list)
{
    g_autoptr(GDateTime) created = g_date_time_new_from_unix_utc(list->created_us / G_USEC_PER_SEC);
    g_autofree char *timestamp = g_date_time_format(created, "%Y-%m-%dT%H:%M:%S");

    xmlTextWriterStartDocument(writer, NULL, "UTF-8", NULL);
    xmlTextWriterStartElement(writer, BAD_CAST "testsuites");
    write_sums(writer, list);
    xmlTextWriterStartElement(writer, BAD_CAST "testsuite");
    write_sums(writer, list);
    attribute(writer, "timestamp", timestamp);
    attribute(writer, "hostname", g_get_host_name());
    xmlTextWriterStartElement(writer, BAD_CAST "properties");
    for (unsigned i = 0; i < list->properties->len; i += 2) {
        xmlTextWriterStartElement(writer, BAD_CAST "property");
        attribute(writer, "name", list->properties->pdata[i]);
        attribute(writer, "value", list->properties->pdata[i + 1]);
        xmlTextWriterEndElement(writer);
    }
    xmlTextWriterEndElement(writer);
    for (unsigned i = 0; i < list->cases->len; i++)
        write_case(writer, list->title, list->cases->pdata[i]);
    xmlTextWriterEndDocument(writer);
}

bool
vdt_junit_write(const struct vdt_case_list *list, GError **error)
{
    g_autoptr(GError) reason = NULL;
    xmlBuffer *buffer = xmlBufferCreate();
    xmlTextWriter *writer = buffer ? xmlNewTextWriterMemory(buffer, 0) : NULL;
    bool ok = false;

    if (writer) {
        xmlTextWriterSetIndent(writer, 1);
        write_list(writer, list);
        xmlFreeTextWriter(writer);
        ok = g_file_set_contents(list->path, (const char *) xmlBufferContent(buffer),
                                 xmlBufferLength(buffer), &reason);
    }
    if (buffer)
        xmlBufferFree(buffer);
    if (!ok)
        g_set_error(error, VDT_ERROR, VDT_ERROR_FAILED, "the test's results cannot be written: %s",
                    reason ? reason->message : "no memory");
    return ok;
}
