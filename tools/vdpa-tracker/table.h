/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Table: columns as wide as what stands in them. */
#pragma once

#include <glib.h>

/* Appended to @text. @rows: of char *const *, @columns cells each; NULL is "-". @right: a bit for
 * each column that is aligned to the right. */
void vdt_table_add(GString *text, const char *const *heads, unsigned columns, unsigned right,
                   const GPtrArray *rows);
