/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tools/vdpa-tracker/table.h"

#include <stdbool.h>

static const char *
cell_of(const char *const *heads, const GPtrArray *rows, guint row, unsigned column)
{
    char *const *cells = row ? rows->pdata[row - 1] : NULL;

    if (!cells)
        return heads[column];
    return cells[column] ? cells[column] : "-";
}

void
vdt_table_add(GString *text, const char *const *heads, unsigned columns, unsigned right,
              const GPtrArray *rows)
{
    g_autofree glong *width = g_new0(glong, columns);

    for (unsigned c = 0; c < columns; c++) {
        for (guint r = 0; r <= rows->len; r++)
            width[c] = MAX(width[c], g_utf8_strlen(cell_of(heads, rows, r, c), -1));
    }
    for (guint r = 0; r <= rows->len; r++) {
        for (unsigned c = 0; c < columns; c++) {
            const char *cell = cell_of(heads, rows, r, c);
            int space = (int) (width[c] - g_utf8_strlen(cell, -1));
            bool last = c + 1 == columns;

            if (right >> c & 1)
                g_string_append_printf(text, "%*s%s", space, "", cell);
            else
                g_string_append_printf(text, "%s%*s", cell, last ? 0 : space, "");
            g_string_append(text, last ? "\n" : "  ");
        }
    }
}
