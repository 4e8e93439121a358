/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/log.h"

#include <stdbool.h>

static enum vdt_log_level shown = VDT_LOG_WARNING;

static const GLogLevelFlags glib_level[] = {
    [VDT_LOG_ERROR] = G_LOG_LEVEL_CRITICAL,
    [VDT_LOG_WARNING] = G_LOG_LEVEL_WARNING,
    [VDT_LOG_INFO] = G_LOG_LEVEL_MESSAGE,
    [VDT_LOG_DEBUG] = G_LOG_LEVEL_DEBUG,
};

static GLogWriterOutput
write_log(GLogLevelFlags level, const GLogField *fields, gsize n, gpointer user_data)
{
    for (int i = VDT_LOG_ERROR; i <= VDT_LOG_DEBUG; i++) {
        if (glib_level[i] == (level & G_LOG_LEVEL_MASK) && i > (int) shown)
            return G_LOG_WRITER_HANDLED;
    }
    if (g_log_writer_is_journald(2))
        return g_log_writer_journald(level, fields, n, user_data);
    return g_log_writer_standard_streams(level, fields, n, user_data);
}

void
vdt_log_init(enum vdt_log_level level)
{
    static bool installed;

    shown = level;
    if (!installed)
        g_log_set_writer_func(write_log, NULL, NULL);
    installed = true;
    g_log_writer_default_set_use_stderr(TRUE);
}

void
vdt_log(enum vdt_log_level level, const char *format, ...)
{
    if (level > shown)
        return;

    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);

    const GLogField fields[] = {
        { "MESSAGE", text, -1 },
        { "GLIB_DOMAIN", "vdpa-tracker", -1 },
    };
    g_log_structured_array(glib_level[level], fields, G_N_ELEMENTS(fields));
}
